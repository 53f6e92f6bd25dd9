"""Batch normalisation: each channel brought to mean 0 and variance 1 over the batch."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..functions.creation import empty, ones, tensor, zeros
from ..shapes import ShapeError
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _BatchNorm(Module):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel; see `nn.functional.batch_norm`.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015.

    Parameters
    ----------
    num_features : int
        The number of channels, dimension 1 of the input.
    eps : float
        Added to the variance.
    momentum : float or None
        How far the running statistics move towards each batch's: ``running += momentum * (batch - running)``. None for
        the plain mean over all batches so far.
    affine : bool
        Whether there is a weight and, unless ``bias=False``, a bias.
    track_running_stats : bool
        Whether to keep running statistics, which `eval` mode uses; without them it uses the batch's own.
    """

    dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(empty(num_features, device=device, dtype=dtype)) if wanted else None)
        for name, start in (("running_mean", zeros), ("running_var", ones)):
            self.register_buffer(name, start(num_features, device=device, dtype=dtype) if track_running_stats else None)
        count = tensor(0, dtype=dtypes.int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, no running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        """See `nn.functional.batch_norm`."""
        if len(input.shape) not in self.dims:
            wanted = " or ".join(map(str, self.dims))
            raise ShapeError(f"{self._get_name()}: wants {wanted} dimensions, got shape {tuple(input.shape)}")
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        tracked = self.track_running_stats or not self.training
        return F.batch_norm(
            input,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum or 0.0,
            self.eps,
        )

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of inputs (N, C) or (N, C, L); the parameters are those of `_BatchNorm`."""

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of inputs (N, C, H, W); the parameters are those of `_BatchNorm`."""

    dims = (4,)
