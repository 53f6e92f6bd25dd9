"""Layers that put edges around their input; each is a mode of `nn.functional.pad`."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module


class _Pad(Module):
    """``n_dims`` dimensions padded: ``padding`` on every side, or a number for each, as in `nn.functional.pad`."""

    n_dims: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.n_dims)

    def forward(self, input: Any) -> Any:
        """See `nn.functional.pad`."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"{self.padding}"


class ConstantPad1d(_Pad):
    """``value`` at both ends of the last dimension."""

    n_dims, mode = 1, "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        """See `nn.functional.pad`."""
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """The numbers and the value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """``value`` around the last two dimensions."""

    n_dims = 2


class ZeroPad1d(ConstantPad1d):
    """Zeros at both ends of the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"{self.padding}"


class ZeroPad2d(ZeroPad1d):
    """Zeros around the last two dimensions."""

    n_dims = 2


class ReflectionPad1d(_Pad):
    """The last dimension mirrored at its ends; (C, W) or (N, C, W)."""

    n_dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pictures mirrored at their edges; (C, H, W) or (N, C, H, W)."""

    n_dims, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """The outermost elements repeated; (C, W) or (N, C, W)."""

    n_dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The outermost pixels repeated; (C, H, W) or (N, C, H, W)."""

    n_dims, mode = 2, "replicate"


class CircularPad1d(_Pad):
    """The last dimension continued from its other end; (C, W) or (N, C, W)."""

    n_dims, mode = 1, "circular"

    def forward(self, input: Any) -> Any:
        """See `nn.functional.pad`.

        Raises
        ------
        ValueError
            For another number of dimensions than one or two more than are padded.
        """
        if len(input.shape) - self.n_dims not in (1, 2):
            wanted = f"{self.n_dims + 1} or {self.n_dims + 2} dimensions"
            raise ValueError(f"{type(self).__name__}: wants {wanted}, got shape {tuple(input.shape)}")
        return F.pad(input, self.padding, self.mode)


class CircularPad2d(CircularPad1d):
    """Pictures continued from their other side; (C, H, W) or (N, C, H, W)."""

    n_dims = 2
