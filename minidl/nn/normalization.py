"""Normalisation of groups of channels, over the last dimensions, and by the neighbouring channels."""

from __future__ import annotations

from typing import Any

from ..shapes import as_index
from . import functional as F
from .batchnorm import _Affine
from .module import Module


class GroupNorm(_Affine):
    """Each of ``num_groups`` groups of channels brought to mean 0 and variance 1; see `nn.functional.group_norm`.

    Source: Wu and He, Group Normalization, ECCV 2018.

    Parameters
    ----------
    num_groups, num_channels : int
        The first must divide the second.
    eps : float
        Added to the variance.
    affine : bool
        Whether each channel has a weight and, unless ``bias=False``, a bias.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups {num_groups} must divide num_channels {num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._register(num_channels, device, dtype, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        """See `nn.functional.group_norm`."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


def _as_sizes(normalized_shape: Any, name: str) -> tuple[int, ...]:
    """One size or several, as a tuple."""
    sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    return tuple(as_index(n, f"{name}: normalized_shape") for n in sizes)


class LayerNorm(_Affine):
    """The last dimensions of each example brought to mean 0 and variance 1; see `nn.functional.layer_norm`.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.

    Parameters
    ----------
    normalized_shape : int or tuple
        The sizes of the last dimensions.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there is a weight and, unless ``bias=False``, a bias, both of ``normalized_shape``.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_sizes(normalized_shape, "LayerNorm")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._register(self.normalized_shape, device, dtype, weight=elementwise_affine, bias=elementwise_affine and bias)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        """See `nn.functional.layer_norm`."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(_Affine):
    """The last dimensions of each example brought to mean square 1; see `nn.functional.rms_norm`.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019.

    Parameters
    ----------
    normalized_shape : int or tuple
        The sizes of the last dimensions.
    eps : float or None
        Added to the mean square. None: the spacing of numbers at 1.
    elementwise_affine : bool
        Whether there is a weight of ``normalized_shape``.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_sizes(normalized_shape, "RMSNorm")
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._register(self.normalized_shape, device, dtype, weight=elementwise_affine)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        """See `nn.functional.rms_norm`."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """Each number divided by a power of the mean square of ``size`` channels around it; `nn.functional.local_response_norm`.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification, 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Any) -> Any:
        """See `nn.functional.local_response_norm`."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
