"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..functions.creation import empty
from ..shapes import per_dim
from . import functional as F
from .linear import reset
from .module import Module
from .parameter import Parameter

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What convolutions and their transposes have in common."""

    dims: int
    transposed = False

    def _begin(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self.dims
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: {in_channels=} and {out_channels=} must be multiples of {groups=}")
        modes = _MODES[:1] if self.transposed else _MODES
        if padding_mode not in modes:
            raise ValueError(f"{name}: padding_mode must be one of {modes}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size = per_dim(kernel_size, dims, f"{name}: kernel_size")
        self.stride = per_dim(stride, dims, f"{name}: stride")
        self.dilation = per_dim(dilation, dims, f"{name}: dilation")
        self.output_padding = per_dim(output_padding, dims, f"{name}: output_padding")
        if isinstance(padding, str) and not self.transposed:
            if padding not in ("same", "valid"):
                raise ValueError(f"{name}: padding must be 'same', 'valid' or integers, got {padding!r}")
            if padding == "same" and max(self.stride) > 1:
                raise ValueError(f"{name}: padding='same' wants stride 1, got {self.stride}")
            self.padding: Any = padding
        else:
            self.padding = per_dim(padding, dims, f"{name}: padding")
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: evenly between ``±1 / sqrt(fan_in)``, where ``fan_in`` is the size of ``weight[0]``."""
        reset(self)

    def extra_repr(self) -> str:
        """The sizes, and whatever is not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            text += f", {name}={value}" if value != (usual,) * self.dims else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += ", bias=False" if self.bias is None else ""
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Conv(_Convolution):
    """`Conv1d` and `Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._begin(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device, dtype
        )

    def forward(self, input: Any) -> Any:
        """See `nn.functional.conv1d` and `conv2d`."""
        convolve, padding = (F.conv1d if self.dims == 1 else F.conv2d), self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._edges(), self.padding_mode), 0
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _edges(self) -> list[int]:
        """How far each edge is moved, as `nn.functional.pad` wants it: the last dimension first."""
        both = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
        if not isinstance(self.padding, str):
            both = [2 * n for n in self.padding]
        elif self.padding == "valid":
            both = [0] * self.dims
        return [edge for n in reversed(both) for edge in (n // 2, n - n // 2)]


class _ConvTranspose(_Convolution):
    """`ConvTranspose1d` and `ConvTranspose2d`."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self._begin(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        """See `nn.functional.conv_transpose1d` and `conv_transpose2d`; ``output_size``, of the output's last dimensions or of
        all, takes the place of ``output_padding``.
        """
        transpose = F.conv_transpose1d if self.dims == 1 else F.conv_transpose2d
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return transpose(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """The output padding that leads to that size."""
        name, dims, lead = type(self).__name__, self.dims, len(input.shape) - self.dims
        if not hasattr(output_size, "__len__") or len(output_size) not in (dims, dims + lead):
            raise ValueError(f"{name}: output_size wants {dims} numbers or {dims + lead} for this input, got {output_size}")
        size = tuple(output_size)[-dims:]
        smallest = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size)
        )
        extra = tuple(n - low for n, low in zip(size, smallest))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride)):
            largest = tuple(low + s - 1 for low, s in zip(smallest, self.stride))
            raise ValueError(f"{name}: output_size {size} is not between {smallest} and {largest}, all this input may come to")
        return extra


class Conv1d(_Conv):
    """A window of weights slides over the sequence; see `nn.functional.conv1d`, and `Conv2d` for the parameters.

    Shapes: input (N, in_channels, W) or without N, weight (out_channels, in_channels / groups, L) -> (N, out_channels, W').
    """

    dims = 1


class Conv2d(_Conv):
    """A window of weights slides over the picture; see `nn.functional.conv2d`.

    Shapes: input (N, in_channels, H, W) or without N, weight (out_channels, in_channels / groups, K, L) ->
    (N, out_channels, H', W').

    Parameters
    ----------
    padding : int, pair, 'same' or 'valid'
        How far the picture is continued at its edges; ``'same'`` as far as keeps its size (stride 1 only), ``'valid'`` not at
        all.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}
        With what it is continued; see `nn.functional.pad`.

    Raises
    ------
    ValueError
        If the channels do not divide into the groups, or ``padding`` or ``padding_mode`` is no known word.
    """

    dims = 2


class ConvTranspose1d(_ConvTranspose):
    """The transpose of a `Conv1d`; see `nn.functional.conv_transpose1d` and `ConvTranspose2d`.

    Shapes: input (N, in_channels, W) or without N, weight (in_channels, out_channels / groups, L) -> (N, out_channels, W').
    """

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a `Conv2d` of the same kernel, stride, padding and dilation; see `nn.functional.conv_transpose2d`.

    Shapes: input (N, in_channels, H, W) or without N, weight (in_channels, out_channels / groups, K, L) ->
    (N, out_channels, H', W'), with ``H' = (H - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1``.

    Raises
    ------
    ValueError
        If the channels do not divide into the groups, or for a ``padding_mode`` other than ``'zeros'``.
    """

    dims = 2
