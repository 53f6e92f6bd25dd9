"""Normalisation: distances from the mean, in units of the standard deviation."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..autograd.tape import TensorBase, mark_changed
from ..backend import kernels, xp
from ..shapes import ShapeError
from .elementwise import rsqrt
from .layout import reshape
from .reduce import mean


@differentiable
def _standardize(input: Any, center: Any, scale: Any, dims: tuple[int, ...], eps: float) -> Any:
    """``(input - center) * scale`` where these are input's own mean and ``1 / sqrt(variance + eps)`` over ``dims``.

    They are passed in because their owner wants them too, but they are functions of the input, and the rule knows it.
    """
    out = input - center
    out *= scale
    return out


def _standardize_rule(g: Any, input: Any, out: Any, scale: Any, dims: tuple[int, ...], eps: float) -> Any:
    """A change of the input that shifts or stretches all of it leaves the output as it is: such parts of g are taken out."""
    if isinstance(input, TensorBase):  # the sweep is recorded: scale depends on the input as well
        distance = input - mean(input, dims, True)
        scale = rsqrt(mean(distance * distance, dims, True) + eps)
    return scale * (g - mean(g, dims, True) - out * mean(g * out, dims, True))


_standardize.op.name = "standardize"
_standardize.vjp(input=_standardize_rule)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel.

    When ``training``, mean and (biased) variance are the batch's own, over all dimensions but the second, and the running ones
    move towards them: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance. Otherwise the
    running ones are used.

    Shapes: (N, C, ...) with all others (C,) -> (N, C, ...). Source: Ioffe and Szegedy, Batch Normalization, ICML 2015.

    Raises
    ------
    ValueError
        If a channel has only one value while ``training``, or the running statistics are missing while not.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ShapeError(f"batch_norm: wants input (N, C, ...), got shape {shape}")
    for name, x in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if x is not None and tuple(x.shape) != shape[1:2]:
            raise ShapeError(
                f"batch_norm: {name} must have shape ({shape[1]},), one number for each channel, got {tuple(x.shape)}"
            )
    dims = (0, *range(2, len(shape)))
    per_channel = (shape[1],) + (1,) * (len(shape) - 2)
    if training:
        array = getattr(input, "_array", input)
        count = array.size // max(shape[1], 1)
        if count <= 1:
            raise ValueError(f"batch_norm: training wants more than one value for each channel, got input of shape {shape}")
        center, variance = kernels(array).moments(array, dims)
        _move(running_mean, center, momentum)
        _move(running_var, variance * (count / (count - 1)), momentum)
        out = _standardize(input, center, 1 / xp(array).sqrt(variance + eps), dims, eps)
    elif running_mean is None or running_var is None:
        raise ValueError("batch_norm: without training it wants running_mean and running_var")
    else:
        out = (input - reshape(running_mean, per_channel)) * rsqrt(reshape(running_var, per_channel) + eps)
    if weight is not None:
        out = out * reshape(weight, per_channel)
    return out if bias is None else out + reshape(bias, per_channel)


def _move(running: Any, batch: Any, momentum: float) -> None:
    """Move a running statistic towards the batch's, in place; it is no part of the graph."""
    if running is None:
        return
    array = getattr(running, "_array", running)
    array *= 1 - momentum
    array += momentum * batch.reshape(array.shape).astype(array.dtype)
    if isinstance(running, TensorBase):
        mark_changed(running, "batch_norm")
