"""Batch and instance normalisation: each channel brought to mean 0 and variance 1, over the batch or in each example."""

from __future__ import annotations

import warnings
from typing import Any

from .. import dtypes
from ..functions.creation import empty, ones, tensor, zeros
from ..shapes import ShapeError
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _Affine(Module):
    """What all normalisations have: a weight that starts as 1 and a bias that starts as 0, or None."""

    weight: Any
    bias: Any

    def _register(self, shape: Any, device: Any, dtype: Any, **wanted: bool) -> None:
        for name, want in wanted.items():
            self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if want else None)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        for name, fill in (("weight", init.ones_), ("bias", init.zeros_)):
            if getattr(self, name, None) is not None:
                fill(getattr(self, name))


class _ChannelNorm(_Affine):
    """Batch and instance normalisation.

    Parameters
    ----------
    num_features : int
        The number of channels, dimension 1 of the input.
    eps : float
        Added to the variance.
    momentum : float or None
        How far the running statistics move towards each batch's: ``running += momentum * (batch - running)``. None: with batch
        normalisation the plain mean over all batches so far, with instance normalisation not at all.
    affine : bool
        Whether there is a weight and, unless ``bias=False``, a bias.
    track_running_stats : bool
        Whether to keep running statistics, which `eval` mode uses; without them it uses the input's own.
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
        self._register(num_features, device, dtype, weight=affine, bias=affine and bias)
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
        super().reset_parameters()

    def _check_dims(self, input: Any) -> None:
        if len(input.shape) not in self.dims:
            wanted = " or ".join(map(str, self.dims))
            raise ShapeError(f"{self._get_name()}: wants {wanted} dimensions, got shape {tuple(input.shape)}")

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel; see `nn.functional.batch_norm`.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015. The parameters are those of `_ChannelNorm`.
    """

    def forward(self, input: Any) -> Any:
        """See `nn.functional.batch_norm`."""
        self._check_dims(input)
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
            self.training or (self.running_mean is None and self.running_var is None),
            momentum or 0.0,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of inputs (N, C) or (N, C, L); the parameters are those of `_ChannelNorm`."""

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of inputs (N, C, H, W); the parameters are those of `_ChannelNorm`."""

    dims = (4,)


class _InstanceNorm(_ChannelNorm):
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel of each example: `nn.functional.instance_norm`.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016. The parameters are those of `_ChannelNorm`, but unless
    it is asked for there is neither a weight nor running statistics.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Any) -> Any:
        """See `nn.functional.instance_norm`."""
        self._check_dims(input)
        single = len(input.shape) == self.dims[0]  # (C, ...): one example, without the dimension of the batch
        channels = input.shape[0 if single else 1]
        if channels != self.num_features:
            message = f"{self._get_name()}: input has {channels} channels, num_features is {self.num_features}"
            if self.affine:
                raise ShapeError(message)
            warnings.warn(f"{message}, which without affine makes no difference", UserWarning, stacklevel=2)
        out = F.instance_norm(
            input.unsqueeze(0) if single else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum or 0.0,
            self.eps,
        )
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of inputs (N, C, L) or (C, L); the parameters are those of `_InstanceNorm`."""

    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of inputs (N, C, H, W) or (C, H, W); the parameters are those of `_InstanceNorm`."""

    dims = (3, 4)
