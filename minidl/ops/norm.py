"""Normalisation: distances from the mean, in units of the standard deviation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ..autograd import differentiable, sum_to
from ..autograd.tape import TensorBase
from ..backend import kernels, xp
from .elementwise import rsqrt
from .layout import reshape
from .reduce import mean


@differentiable(keeps="center variance")
def normalise(
    input: Any,
    weight: Any,
    bias: Any,
    dims: tuple[int, ...],
    shape: tuple[int, ...] | None = None,
    eps: float = 1e-5,
    own: tuple[bool, bool] = (True, True),
    running_mean: Any = None,
    running_var: Any = None,
    momentum: float = 0.0,
) -> tuple[Any, Any, Any]:
    """``(input - center) / sqrt(variance + eps) * weight + bias``.

    What is ``own`` of center and variance is the input's: the mean over ``dims``, and the mean square of the distances from the
    center. Else the center is 0, or with a variance that is not own both are the running statistics. Where both are own the
    running statistics move towards them, in place; that is no part of the graph.

    Weight and bias are broadcast, seen in ``shape`` if that is given. The rule gets center and variance as arrays, but it knows
    that they are functions of the input.
    """
    mean, var = (None, None) if all(own) else (running_mean, running_var)
    if shape is not None:
        weight, bias, mean, var = (None if x is None else x.reshape(shape) for x in (weight, bias, mean, var))
    if own[1] and not own[0]:
        mean = xp(input).zeros((), input.dtype)
    result, center, variance = kernels(input).normalise(input, weight, bias, dims, eps, mean, var)
    if all(own) and running_mean is not None and input.size:
        count = math.prod(input.shape[d] for d in dims)
        ours = [(b if len(b) == 1 else b.mean(0)).reshape(-1).astype(running_var.dtype, copy=False) for b in (center, variance)]
        approach = partial(_approach, momentum, count / (count - 1))
        kernels(input).blockwise(approach, running_mean, ours[0], running_var, ours[1])
    return result, center, variance


def _approach(momentum: float, factor: float, mean: Any, own_mean: Any, var: Any, own_var: Any) -> None:
    for running, batch in ((mean, own_mean), (var, own_var * factor)):
        running *= 1 - momentum
        running += momentum * batch


def _rule(
    g: Any, input: Any, weight: Any, center: Any, variance: Any, dims: Any, shape: Any, eps: float, own: Any, wanted: Any
) -> tuple[Any, Any, Any]:
    """A change of the input that shifts or stretches all of it leaves the output as it is: such parts of g are taken out."""
    seen = shape or tuple(input.shape[-len(dims) :])
    w = None if weight is None else reshape(weight, seen)
    if not any(isinstance(x, TensorBase) for x in (g, input, weight)):
        part = () if weight is None and not wanted[2] else seen
        inner, *others = kernels(g).normalise_grad(g, input, w, center, variance, dims, eps, own, part)
    else:  # the sweep is recorded: the same once more, in ops, and the moments as functions of the input
        distance = input - (mean(input, dims, True) if own[0] else center)
        scale = rsqrt((mean(distance * distance, dims, True) if own[1] else variance) + eps)
        standard, inner = distance * scale, g if w is None else g * w
        shift = mean(inner, dims, True) if own[0] else 0.0
        stretch = standard * mean(inner * standard, dims, True) if own[1] else 0.0
        inner = scale * (inner - shift - stretch)
        others = [sum_to(g * standard, seen), sum_to(g, seen)]
    return inner, *(reshape(x, (-1,)) if shape and want else x for x, want in zip(others, wanted[1:]))


normalise.vjp(_rule, input=None, weight=None, bias=None)
