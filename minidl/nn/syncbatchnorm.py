"""Batch normalisation over the batch of all ranks."""

from __future__ import annotations

from typing import Any

from ..autograd import no_grad
from ..distributed.group import is_initialized, summed, world
from ..dtypes import float16
from ..ops.layout import cat
from ..shapes import ShapeError
from .batchnorm import _BatchNorm
from .functional.normalization import _check
from .module import Module


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation with mean and variance of the whole batch, of which each rank has a part: ``(N, C, ...)``.

    With small parts (some 16 pictures or fewer) statistics of one rank's are noisy; with larger ones a plain `BatchNorm2d` does
    as well and costs no exchange. The parts may differ in size. In `eval` mode, and with one rank, it is batch normalisation.

    Its mean and variance are sums over the ranks within the graph, so gradients of any order come by themselves. It exchanges
    twice a forward pass and twice a backward pass, as many numbers as there are channels. The parameters are those of
    `BatchNorm2d`, and ``process_group``, which must be the group of all ranks or None.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        if process_group is not None:
            world(process_group, "SyncBatchNorm")
        self.process_group = process_group

    def _check_dims(self, input: Any) -> None:
        if input.ndim < 2:
            raise ShapeError(f"SyncBatchNorm: wants at least 2 dimensions, got shape {tuple(input.shape)}")

    def forward(self, input: Any) -> Any:
        """See the class."""
        if not self.training or not is_initialized() or world().size == 1:
            return super().forward(input)
        self._check_dims(input)
        if input.shape[1] != self.num_features:
            raise ShapeError(f"SyncBatchNorm: input has {input.shape[1]} channels, num_features is {self.num_features}")
        those = {name: getattr(self, name) for name in ("running_mean", "running_var", "weight", "bias")}
        _check("SyncBatchNorm", input, (self.num_features,), **those)
        dims, shape = [0, *range(2, input.ndim)], [1, -1] + [1] * (input.ndim - 2)
        wide = input.float() if input.dtype == float16 else input  # float16 ends at 65504, which sums and counts go beyond
        sums = summed(cat([wide.sum(dims), wide.new_tensor([input.numel() // max(input.shape[1], 1)])]))
        n = sums[-1].item()
        if n <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}")
        mean = sums[:-1] / n
        distance = wide - mean.reshape(shape)
        variance = summed((distance * distance).sum(dims)) / n
        self._track(mean, variance, n)
        out = distance * (variance + self.eps).rsqrt().reshape(shape)
        if self.weight is not None:
            out = out * self.weight.reshape(shape)
        return (out if self.bias is None else out + self.bias.reshape(shape)).to(input.dtype)

    @no_grad()
    def _track(self, mean: Any, variance: Any, n: float) -> None:
        """Move the running statistics."""
        if not self.training or not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        for running, batch in ((self.running_mean, mean), (self.running_var, variance * (n / (n - 1)))):
            running.mul_(1 - momentum).add_(momentum * batch)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Any:
        """``module`` with every batch normalisation in it made synchronous; they keep their parameters and buffers.

        Returns the module, which is another one only if it is a batch normalisation itself.
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, process_group
            )
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(made, name, getattr(module, name))
            made.training = module.training
            return made
        for name, child in module.named_children():
            module.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return module
