"""Normalisation: distances from the mean, in units of the standard deviation."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import differentiable
from ..autograd.mode import mode
from ..autograd.tape import TensorBase, mark_changed
from ..backend import kernels
from ..shapes import ShapeError
from .elementwise import rsqrt
from .layout import reshape
from .reduce import mean, sum


@differentiable(keeps="center variance")
def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    """``(input - center) / sqrt(variance + eps) * weight + bias``, with the mean and variance of each of input's channels.

    The running statistics move towards these, in place; that is no part of the graph. The rule gets center and variance as
    arrays, but it knows that they are functions of the input.
    """
    result, center, variance = kernels(input).batch_norm(input, weight, bias, eps)
    count = input.size // input.shape[1]
    _move(running_mean, center, momentum)
    _move(running_var, variance * (count / (count - 1)), momentum)
    return result, center, variance


def _batch_norm_rule(g: Any, input: Any, weight: Any, center: Any, variance: Any, eps: float) -> tuple[Any, Any, Any]:
    """A change of the input that shifts or stretches all of it leaves the output as it is: such parts of g are taken out."""
    if not any(isinstance(x, TensorBase) for x in (g, input, weight)):
        return kernels(g).batch_norm_grad(g, input, weight, center, variance, eps)  # type: ignore[no-any-return]
    dims = (0, 2, 3)  # the sweep is recorded: the same once more, in ops, and the moments as functions of the input
    distance = input - mean(input, dims, True)
    scale = rsqrt(mean(distance * distance, dims, True) + eps)
    standard = distance * scale
    inner = scale * (g - mean(g, dims, True) - standard * mean(g * standard, dims, True))
    return inner if weight is None else inner * reshape(weight, (-1, 1, 1)), sum(g * standard, dims), sum(g, dims)


_batch_norm.op.name = "batch_norm"
_batch_norm.vjp(_batch_norm_rule, input=None, weight=None, bias=None)


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
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without training it wants running_mean and running_var")
        scale = rsqrt(running_var + eps) if weight is None else rsqrt(running_var + eps) * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        per_channel = (shape[1],) + (1,) * (len(shape) - 2)
        return input * reshape(scale, per_channel) + reshape(shift, per_channel)
    pictures = input if len(shape) == 4 else reshape(input, (*shape[:2], math.prod(shape[2:]), 1))
    if math.prod(pictures.shape) // max(shape[1], 1) <= 1:
        raise ValueError(f"batch_norm: training wants more than one value for each channel, got input of shape {shape}")
    out = _batch_norm(pictures, weight, bias, running_mean, running_var, momentum, eps)
    if mode.watcher is None:
        _mark(running_mean, running_var)
    else:
        mode.watcher.effect(_mark, (running_mean, running_var))
    return out if len(shape) == 4 else reshape(out, shape)


def _mark(*running: Any) -> None:
    """Count the changes that the op has made."""
    for t in running:
        if isinstance(t, TensorBase):
            mark_changed(t, "batch_norm")


def _move(running: Any, batch: Any, momentum: float) -> None:
    """Move a running statistic towards the batch's, in place."""
    if running is not None:
        running *= 1 - momentum
        running += momentum * batch.reshape(running.shape).astype(running.dtype)
