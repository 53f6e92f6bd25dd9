"""Normalisation in two passes over memory: one for the moments, one for the result.

Arrays are seen as (A, R, B) in the order of memory: the moments belong to A and B, and are taken over R. If B is 1 the numbers
of R lie side by side: layer norm of rows, batch norm of pictures. Else those of B do, and R is gone through row by row: group
norm and layer norm of pictures, whose images are innermost. A weight is (1 or A, W): each of its numbers for R / W in turn.

Moments are those of short runs, which are taken exactly, put together: T. F. Chan, G. H. Golub and R. J. LeVeque, Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from .. import cpu
from ..cpu.order import order_of, ordered
from .compile import loop, part, parts, shared
from .mathematics import f32

u64 = np.uint64  # an index that is known not to count from the end

RUN = 1024  # numbers whose moments are taken together
LINE = 16  # numbers that are in the cache together


@loop
def _part(a, b, p, parts):
    """Part p of all A, with all B; or, if there is but one A, of B, in whole lines of the cache."""
    if a > 1:
        first, last = part(a, p, parts)
        return first, last, 0, b
    low, high = part(-(-b // LINE), p, parts)
    return 0, 1, low * LINE, min(high * LINE, b)


@loop
def _row_sum(x, origin):
    """The sum of the distances from a number near them, which are small, and so is what rounding takes from them."""
    total = f32(0)
    for i in range(x.size):
        total += x[i] - origin
    return total


@loop
def _row_square(x, center):
    total = f32(0)
    for i in range(x.size):
        total += (x[i] - center) * (x[i] - center)
    return total


@loop
def _row_moments(x, own_center):
    """Mean and variance of a row; with the center 0 if it is not its own."""
    mean, square, n = 0.0, 0.0, 0
    for start in range(0, x.size, RUN):
        part = x[start : start + RUN]
        center = part[0] + _row_sum(part, part[0]) / f32(part.size) if own_center else f32(0)
        distance, more = center - mean, part.size
        square += _row_square(part, center) + distance * distance * n * more / (n + more)
        mean += distance * more / (n + more)
        n += more
    return f32(mean), f32(square / n)


@loop
def _scale(x, out, center, factor, shift):
    for r in range(x.size):
        out[r] = (x[r] - center) * factor + shift


@shared
def _rows(parts, x, out, weight, bias, center, variance, eps, own_center, own_variance):
    """`normalise` where B is 1: x and out (A, R), weight and bias (1 or A, W), the others (A,)."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        width = weight.shape[1]
        run = x.shape[1] // width
        for a in range(first, last):
            if own_variance:
                center[a], variance[a] = _row_moments(x[a], own_center)
            c, scale, k = center[a], f32(1 / math.sqrt(variance[a] + eps)), a if len(weight) > 1 else 0
            if run == 1:
                for r in range(width):
                    out[a, r] = (x[a, r] - c) * scale * weight[k, r] + bias[k, r]
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    _scale(x[a, here], out[a, here], c, scale * weight[k, w], bias[k, w])


@loop
def _column_moments(x, own_center, mean, square, low, high):
    """The same of some columns of x, (R, B), into ``mean`` and ``square``, (B,), which begin with 0."""
    r, b = x.shape
    step, center, total = max(RUN // (high - low), 1), np.zeros(b, np.float32), np.empty(b, np.float32)
    for start in range(0, r, step):
        stop = min(start + step, r)
        n, more = start, stop - start
        if own_center:
            center[low:high] = 0
            for i in range(start, stop):
                for j in range(u64(low), u64(high)):
                    center[j] += x[i, j] - x[start, j]
            for j in range(u64(low), u64(high)):
                center[j] = x[start, j] + center[j] / f32(more)
                distance = center[j] - mean[j]
                square[j] += distance * distance * n * more / (n + more)
                mean[j] += distance * more / (n + more)
        total[low:high] = 0
        for i in range(start, stop):
            for j in range(u64(low), u64(high)):
                total[j] += (x[i, j] - center[j]) * (x[i, j] - center[j])
        for j in range(u64(low), u64(high)):
            square[j] += total[j]


@shared
def _columns(parts, x, out, weight, bias, center, variance, eps, own_center, own_variance):
    """`normalise` where B is not 1: x and out (A, R, B), center and variance (A, B)."""
    for p in prange(parts):
        first, last, low, high = _part(len(x), x.shape[2], p, parts)
        n, b = x.shape[1:]
        width = weight.shape[1]
        run, factor, shift = n // width, np.empty(b, np.float32), np.empty(b, np.float32)
        for a in range(first, last):
            c, k = center[a], a if len(weight) > 1 else 0
            if own_variance:
                mean, square = np.zeros(b), np.zeros(b)
                _column_moments(x[a], own_center, mean, square, low, high)
                for j in range(u64(low), u64(high)):
                    c[j], variance[a, j] = mean[j], square[j] / n
            for w in range(width):
                for j in range(u64(low), u64(high)):
                    factor[j] = f32(1 / math.sqrt(variance[a, j] + eps)) * weight[k, w]
                    shift[j] = bias[k, w]
                for r in range(w * run, w * run + run):
                    for j in range(u64(low), u64(high)):
                        out[a, r, j] = (x[a, r, j] - c[j]) * factor[j] + shift[j]


@loop
def _products(g, x, center):
    """The sums of g and of ``g * (x - center)``."""
    total, product = f32(0), f32(0)
    for r in range(g.size):
        total += g[r]
        product += g[r] * (x[r] - center)
    return total, product


@loop
def _weighted_products(g, x, center, weight):
    """The same of ``g * weight``."""
    total, product = f32(0), f32(0)
    for r in range(g.size):
        total += g[r] * weight[r]
        product += g[r] * weight[r] * (x[r] - center)
    return total, product


@loop
def _row_products(g, x, center, weight):
    """One of these of a row, however long; ``weight`` is as long as the row, or one number."""
    total, product = 0.0, 0.0
    for start in range(0, g.size, RUN):
        stop = start + RUN
        if weight.size == 1:
            some, other = _products(g[start:stop], x[start:stop], center)
            some *= weight[0]
            other *= weight[0]
        else:
            some, other = _weighted_products(g[start:stop], x[start:stop], center, weight[start:stop])
        total += some
        product += other
    return total, product


@loop
def _row_grad(g, x, out, weight, center, scale, shift, stretch):
    """``g * weight``, and what would shift or stretch all of the row taken out; times ``scale``."""
    if weight.size == 1:
        for r in range(g.size):
            out[r] = (g[r] * weight[0] - shift - (x[r] - center) * stretch) * scale
    else:
        for r in range(g.size):
            out[r] = (g[r] * weight[r] - shift - (x[r] - center) * stretch) * scale


@loop
def _add_to(g_weight, g_bias, g, x, center, scale):
    for r in range(g.size):
        g_weight[r] += g[r] * (x[r] - center) * scale
    for r in range(g.size):
        g_bias[r] += g[r]


@shared
def _rows_grad(parts, g, x, out, weight, center, variance, eps, own_center, own_variance, g_weight, g_bias):
    """`normalise_grad` where B is 1; ``g_weight`` and ``g_bias``, (parts, 1 or A, W), are added to."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        n, width, one = x.shape[1], weight.shape[1], np.ones(1, np.float32)
        run = n // width
        for a in range(first, last):
            c, scale, k = center[a], f32(1 / math.sqrt(variance[a] + eps)), a if len(weight) > 1 else 0
            total, product = 0.0, 0.0
            if run == 1:
                total, product = _row_products(g[a], x[a], c, weight[k])
                _add_to(g_weight[p, k], g_bias[p, k], g[a], x[a], c, scale)
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    some, other = _row_products(g[a, here], x[a, here], c, one)
                    g_bias[p, k, w] += some
                    g_weight[p, k, w] += other * scale
                    total += some * weight[k, w]
                    product += other * weight[k, w]
            shift = f32(total / n) if own_center else f32(0)
            stretch = f32(product / n * scale * scale) if own_variance else f32(0)
            if run == 1:
                _row_grad(g[a], x[a], out[a], weight[k], c, scale, shift, stretch)
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    _row_grad(g[a, here], x[a, here], out[a, here], weight[k, w : w + 1], c, scale, shift, stretch)


@shared
def _columns_grad(parts, g, x, out, weight, center, variance, eps, own_center, own_variance, g_weight, g_bias):
    """`normalise_grad` where B is not 1; as `_rows_grad`."""
    for p in prange(parts):
        first, last, low, high = _part(len(x), x.shape[2], p, parts)
        n, b = x.shape[1:]
        width = weight.shape[1]
        run = n // width
        some, other, scale = np.empty(b, np.float32), np.empty(b, np.float32), np.empty(b, np.float32)
        shift, stretch = np.empty(b, np.float32), np.empty(b, np.float32)
        step = max(min(RUN // (high - low), run), 1)
        for a in range(first, last):
            c, k = center[a], a if len(weight) > 1 else 0
            total, product = np.zeros(b), np.zeros(b)
            for j in range(u64(low), u64(high)):
                scale[j] = 1 / math.sqrt(variance[a, j] + eps)
            for w in range(width):
                for start in range(w * run, w * run + run, step):
                    some[low:high] = 0
                    other[low:high] = 0
                    for r in range(start, min(start + step, w * run + run)):
                        for j in range(u64(low), u64(high)):
                            some[j] += g[a, r, j]
                            other[j] += g[a, r, j] * (x[a, r, j] - c[j])
                    for j in range(u64(low), u64(high)):
                        g_bias[p, k, w] += some[j]
                        g_weight[p, k, w] += other[j] * scale[j]
                        total[j] += some[j] * weight[k, w]
                        product[j] += other[j] * scale[j] * weight[k, w]
            for j in range(u64(low), u64(high)):
                shift[j] = total[j] / n if own_center else 0.0
                stretch[j] = product[j] / n * scale[j] if own_variance else 0.0
            for w in range(width):
                factor = weight[k, w]
                for r in range(w * run, w * run + run):
                    for j in range(u64(low), u64(high)):
                        out[a, r, j] = (g[a, r, j] * factor - shift[j] - (x[a, r, j] - c[j]) * stretch[j]) * scale[j]


# -- which of these, and how arrays are seen


class _View(NamedTuple):
    """How arrays of one shape are seen as (A, R, B)."""

    full: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]  # (A, R, B), or (A, R) where B is 1
    few: tuple[int, ...]  # (A, B), or (A,): of the moments
    cuts: tuple[int, int]  # where R begins and ends among the dimensions in the order of memory

    def __call__(self, x: Any) -> Any:
        """An array so."""
        return x.transpose(self.order).reshape(self.shape)

    def back(self, x: Any, shape: Any) -> Any:
        """In the dimensions that it has elsewhere."""
        return x.reshape([shape[d] for d in self.order]).transpose([self.order.index(d) for d in range(len(shape))])

    def moments(self, c: Any, dims: Sequence[int]) -> Any:
        """Center or variance, in the shape `few`."""
        kept = [1 if d in dims else n for d, n in enumerate(self.full)]
        c = np.broadcast_to(c, kept).transpose(self.order)
        return np.array(c, np.float32, order="C").reshape(self.few)  # a copy: it may be written to

    def weight(self, w: Any) -> Any:
        """A weight or bias as (1 or A, W); None where it is not made so."""
        shape = _weight_shape(self, w.shape) if w.dtype == np.float32 else None
        if shape is None:
            return None
        w = w.reshape((1,) * (len(self.full) - w.ndim) + w.shape).transpose(self.order)
        return np.ascontiguousarray(w).reshape(shape)


@functools.lru_cache(1000)
def _weight_shape(view: _View, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(1 or A, W) for a weight of this shape."""
    shape = (1,) * (len(view.full) - len(shape)) + shape
    sizes = [(shape[d], view.full[d]) for d in view.order if view.full[d] > 1]
    n_before = sum(view.full[d] > 1 for d in view.order[: view.cuts[0]])
    n_inside = sum(view.full[d] > 1 for d in view.order[view.cuts[0] : view.cuts[1]])
    varies = [m == n for m, n in sizes]
    lead, inside, rest = varies[:n_before], varies[n_before : n_before + n_inside], varies[n_before + n_inside :]
    fits = all(lead) == any(lead) or not lead, sorted(inside, reverse=True) == inside, not any(rest)
    each = math.prod(n for (_, n), v in zip(sizes[n_before:], inside) if v)
    return (math.prod(m for m, _ in sizes[:n_before]), each) if all(fits) else None


def _view(x: Any, dims: Sequence[int]) -> _View | None:
    """How x is seen, if it is float32 and its dimensions lie so in memory."""
    return _seen(x.shape, x.strides, tuple(dims)) if x.dtype == np.float32 and x.size else None


@functools.lru_cache(1000)
def _seen(shape: tuple[int, ...], strides: tuple[int, ...], dims: tuple[int, ...]) -> _View | None:
    x = np.lib.stride_tricks.as_strided(np.empty(1, np.float32), shape, strides)  # to ask about it, not to read
    order = tuple(order_of(x))
    inside = [i for i, d in enumerate(order) if d in dims and shape[d] > 1]
    if not inside or not x.transpose(order).flags.c_contiguous:
        return None
    first, last = inside[0], inside[-1] + 1
    if any(order[i] not in dims and shape[order[i]] > 1 for i in range(first, last)):
        return None
    a, r, b = (math.prod(shape[d] for d in part) for part in (order[:first], order[first:last], order[last:]))
    seen, few = ((a, r, b), (a, b)) if b > 1 else ((a, r), (a,))
    return _View(shape, order, seen, few, (first, last))


def _count(view: _View, nbytes: int) -> int:
    """In how many parts, as `_part` cuts them."""
    a, *rest = view.shape
    return parts(a if a > 1 or len(rest) == 1 else -(-rest[1] // LINE), nbytes)


def normalise(
    x: Any, weight: Any, bias: Any, dims: Sequence[int], eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """The result, and the center and variance that it was made with."""
    view = _view(x, dims)
    factors = None if view is None else _weights(view, weight, bias)
    if view is None or factors is None:
        return cpu.normalise(x, weight, bias, dims, eps, center, variance)
    own = center is None, variance is None
    c, v = (np.empty(view.few, np.float32) if m is None else view.moments(m, dims) for m in (center, variance))
    out, kernel = np.empty(view.shape, np.float32), _rows if len(view.shape) == 2 else _columns
    if own[1] and not own[0]:
        c[...] = 0
    kernel(_count(view, 8 * x.nbytes), view(x), out, *factors, c, v, float(eps), *own)
    kept = [1 if d in dims else n for d, n in enumerate(x.shape)]
    moments = (view.back(m, kept) if own else given for m, own, given in zip((c, v), own, (center, variance)))
    return view.back(out, x.shape), *moments


def _weights(view: _View, weight: Any, bias: Any) -> Any:
    """Both as (1 or A, W), ones and zeros if they are missing; None where they are not made so."""
    found = [None if w is None else view.weight(w) for w in (weight, bias)]
    if any(f is None and w is not None for f, w in zip(found, (weight, bias))):
        return None
    shape, *others = [f.shape for f in found if f is not None] or [(1, 1)]
    if any(other != shape for other in others):
        return None
    return [default(shape, np.float32) if f is None else f for f, default in zip(found, (np.ones, np.zeros))]


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Sequence[int], eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, and of a weight and a bias of that ``shape``."""
    view = _view(x, dims)
    w = None if view is None else view.weight(np.ones(shape, x.dtype) if weight is None else weight)
    if view is None or w is None:
        return cpu.normalise_grad(g, x, weight, center, variance, dims, eps, own, shape)
    g, out, kernel = ordered(g, x), np.empty(view.shape, np.float32), _rows_grad if len(view.shape) == 2 else _columns_grad
    c, v = (view.moments(m, dims) for m in (center, variance))
    n = _count(view, 8 * x.nbytes)
    sums = np.zeros((2, n, *w.shape), np.float32)
    kernel(n, view(g), view(x), out, w, c, v, float(eps), *map(bool, own), *sums)
    lead = [1] * (x.ndim - len(shape))
    others = (view.back(s, [*lead, *shape]).reshape(shape) for s in sums.sum(1))
    return view.back(out, x.shape), *others
