"""Normalisation: sums by lines, then everything else element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from .loader import divisor, empty, launch, plain
from .sums import sum, sum_parts

BLOCKS = 528  # that a large GPU should have to work on at a time: four on each of its multiprocessors
SHORTEST = 2048  # numbers that are worth a block of their own
Rule = tuple[int, int]  # repeat and period: element t of the whole belongs to t // repeat % period


@lru_cache(1000)
def _rule(wide: tuple[int, ...], shape: tuple[int, ...]) -> Rule | None:
    """How an array whose sizes are 1 or those of ``shape`` repeats, if it does so in one way."""
    kept = [d for d, n in enumerate(wide) if n != 1]
    if not kept:
        return 1, 1
    between = shape[kept[0] : kept[-1] + 1]
    if math.prod(between) != math.prod(wide):
        return None
    return math.prod(shape[kept[-1] + 1 :]), math.prod(between)


def _spread(a: Any, like: Any) -> tuple[Any, ...]:
    """An array that is broadcast, as the arguments that ``RULE`` in the .cu file names."""
    wide = (1,) * (like.ndim - a.ndim) + a.shape
    rule = _rule(wide, like.shape)
    if rule is None:  # as it would be in full
        a, rule = cupy.broadcast_to(a, like.shape), (1, like.size)
    return plain(a.astype(like.dtype, copy=False)), divisor(max(rule[0], 1)), divisor(max(rule[1], 1))


def _maybe(a: Any, like: Any) -> tuple[Any, ...]:
    """The same of one that may be None."""
    return (None, divisor(1), divisor(1)) if a is None else _spread(a, like)


def _flat(*rules: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x for rule in rules for x in rule)


class _Lines:
    """How an array is made of lines: of runs of ``inner`` numbers, the runs of all lines taking turns."""

    def __init__(self, shape: tuple[int, ...], dims: Sequence[int]) -> None:
        self.shape = tuple(1 if d in dims else n for d, n in enumerate(shape))
        rule = _rule(self.shape, shape)
        self.simple, (self.inner, self.lines) = rule is not None, rule or (1, 1)
        if self.lines == 1:
            self.inner = math.prod(shape)
        self.count = math.prod(shape[d] for d in dims)
        parts = max(1, min(BLOCKS // max(self.lines, 1), self.count // SHORTEST))
        self.length = -(-self.count // parts)  # of a part
        self.parts = max(1, -(-self.count // max(self.length, 1)))  # fewer where these are empty
        self.block = min(512, max(32, -(-self.length // 32) * 32))
        self.grid = self.lines, self.parts

    @property
    def sizes(self) -> tuple[Any, ...]:
        """As the kernels take them."""
        return self.lines, divisor(max(self.inner, 1)), self.count, self.length

    def __call__(self, a: Any, dtype: Any) -> Any:
        """An array that is broadcast, as one number for each line."""
        return plain(cupy.broadcast_to(a, self.shape).astype(dtype))


_lines = lru_cache(1000)(_Lines)


def _moved(x: Any, dims: Sequence[int]) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """An order of the dimensions with ``dims`` last, its inverse, and where they are then."""
    order = [d for d in range(x.ndim) if d not in dims] + list(dims)
    back = tuple(order.index(d) for d in range(x.ndim))
    return order, back, tuple(range(x.ndim - len(dims), x.ndim))


def _turned(a: Any, ndim: int, order: Sequence[int]) -> Any:
    return None if a is None else a.reshape((1,) * (ndim - a.ndim) + a.shape).transpose(order)


def normalise(
    x: Any, weight: Any, bias: Any, dims: Sequence[int], eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """The result, and the center and variance that it was made with."""
    if x.dtype == np.float16:
        out, *moments = normalise(x.astype(np.float32), weight, bias, dims, eps, center, variance)
        return out.astype(x.dtype), *moments
    lines = _lines(x.shape, tuple(dims))
    if not lines.simple and variance is None:
        order, back, last = _moved(x, dims)
        w, b, c = (_turned(a, x.ndim, order) for a in (weight, bias, center))
        out, moved, variance = normalise(x.transpose(order), w, b, last, eps, c)
        return out.transpose(back), moved.transpose(back) if center is None else center, variance.transpose(back)
    x, out, given = plain(x), empty(x.shape, x.dtype), center
    if variance is None:
        center, variance = _moments(x, lines, None if center is None else lines(center, x.dtype))
    rules = _flat(_spread(center, x), _spread(variance, x), _maybe(weight, x), _maybe(bias, x))
    launch("norm", "normalise", x.size, x, out, x.size, *rules, float(eps), real=x.dtype)
    return out, center if given is None else given, variance


def _moments(x: Any, lines: _Lines, given: Any) -> tuple[Any, Any]:
    """Center, unless it is given, and variance of each line."""
    found = [empty((lines.parts, *lines.shape), x.dtype) for _ in range(2)]
    launch("norm", "moments", lines.grid, x, given, *found, *lines.sizes, block=lines.block, real=x.dtype)
    if lines.parts == 1:
        return found[0][0], found[1][0]
    whole = [empty(lines.shape, x.dtype) for _ in range(2)]
    launch("norm", "merge", lines.lines, *found, *whole, lines.lines, lines.parts, lines.count, lines.length, real=x.dtype)
    return whole[0], whole[1]


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Sequence[int], eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, and of a weight and a bias of that ``shape``."""
    if x.dtype == np.float16:
        g, x = g.astype(np.float32), x.astype(np.float32)
    wide, lines = (1,) * (x.ndim - len(shape)) + tuple(shape), _lines(x.shape, tuple(dims))
    if not lines.simple or _rule(wide, x.shape) is None:
        return _grad_in_arrays(g, x, weight, center, variance, dims, eps, own, wide, shape)
    g, x, gx = plain(g), plain(x), empty(x.shape, x.dtype)
    places = _flat(_spread(center, x), _spread(variance, x))
    repeat, period = _rule(wide, x.shape) or (1, 1)
    across = 32 if repeat < 32 and period > 1 else 1
    parts = max(1, min(64, x.size // max(period, 1) // (8 * 256 // across)))
    sums = empty((parts, 2, period), x.dtype)
    args = g, x, sums, x.size, divisor(max(repeat, 1)), period, across, parts, *places, float(eps)
    launch("norm", "parameter_sums", (-(-period // across), parts), *args, block=256, real=x.dtype)
    found = empty(shape, x.dtype), empty(shape, x.dtype)
    sum_parts(sums.reshape(parts, 2 * period), *found)
    alone = (repeat, period) == (lines.inner, lines.lines)  # a line has one weight, as in batch_norm: its sums are these
    if alone:
        along = found
    else:
        along = _line_sums(g, x, weight, lines, places, eps) if any(own) else empty((2, lines.lines), x.dtype)
    rules = _flat(*(_spread(a.reshape(lines.shape), x) for a in along), places, _maybe(weight, x))
    flags = int(not alone), int(bool(own[0])), int(bool(own[1])), float(lines.count)
    launch("norm", "input_grad", x.size, g, x, gx, x.size, *rules, *flags, float(eps), real=x.dtype)
    return gx, *found


def _line_sums(g: Any, x: Any, weight: Any, lines: _Lines, places: Any, eps: float) -> Any:
    """The sums of g * weight * standard, and of g * weight, for each line."""
    sums = empty((lines.parts, 2, lines.lines), x.dtype)
    args = g, x, sums, *lines.sizes, *places, *_maybe(weight, x), float(eps)
    launch("norm", "line_sums", lines.grid, *args, block=lines.block, real=x.dtype)
    return sums[0] if lines.parts == 1 else sum(sums, (0,), False)


def _grad_in_arrays(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Any, eps: float, own: Any, wide: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The same, where a line is not made of runs that lie evenly."""
    count, scale = math.prod(x.shape[d] for d in dims), 1 / cupy.sqrt(variance + x.dtype.type(eps))
    standard, gx = (x - center) * scale, g if weight is None else g * weight
    dims, weighted = tuple(dims), gx
    if own[0]:
        gx = gx - weighted.sum(dims, keepdims=True) / count
    if own[1]:
        gx = gx - standard * ((weighted * standard).sum(dims, keepdims=True) / count)
    same = tuple(d for d, n in enumerate(wide) if n == 1)
    return gx * scale, (g * standard).sum(same).reshape(shape), g.sum(same).reshape(shape)
