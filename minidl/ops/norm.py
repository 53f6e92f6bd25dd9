"""Normalisation: distances from the mean, in units of the standard deviation."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import differentiable
from ..autograd.tape import TensorBase, mark_changed
from ..backend import kernels
from ..shapes import ShapeError
from .elementwise import rsqrt
from .layout import reshape
from .reduce import mean, sum


@differentiable
def _batch_norm(input: Any, weight: Any, bias: Any, result: Any, center: Any, variance: Any, eps: float) -> Any:
    """``(input - center) / sqrt(variance + eps) * weight + bias``, with the mean and variance of each of input's channels.

    The kernel made ``result`` of these, and center and variance on the way, which `batch_norm` wants too. But they are
    functions of the input, and the rule knows it.
    """
    return result


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
    array, weight_array, bias_array = (getattr(x, "_array", x) for x in (pictures, weight, bias))
    count = array.size // max(shape[1], 1)
    if count <= 1:
        raise ValueError(f"batch_norm: training wants more than one value for each channel, got input of shape {shape}")
    result, center, variance = kernels(array).batch_norm(array, weight_array, bias_array, eps)
    _move(running_mean, center, momentum)
    _move(running_var, variance * (count / (count - 1)), momentum)
    out = _batch_norm(pictures, weight, bias, result, center, variance, eps)
    return out if len(shape) == 4 else reshape(out, shape)


def _move(running: Any, batch: Any, momentum: float) -> None:
    """Move a running statistic towards the batch's, in place; it is no part of the graph."""
    if running is None:
        return
    array = getattr(running, "_array", running)
    array *= 1 - momentum
    array += momentum * batch.reshape(array.shape).astype(array.dtype)
    if isinstance(running, TensorBase):
        mark_changed(running, "batch_norm")
