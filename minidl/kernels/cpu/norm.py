"""Normalisation, a block at a time that stays in the cache for all passes over it; the threads share the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import threads
from .order import empty, order_of, ordered

BLOCK_BYTES = 1 << 21  # of one array at a time: fewer, and the threads wait for the interpreter more than for memory
SMALL = 1 << 15  # numbers: so few are normalised as the formula stands, without blocks
RUN = 256  # numbers in a row in memory: with fewer, NumPy's loop costs more than what is done in it

Axes = tuple[int, ...]


class _View:
    """How to see arrays in the memory order of x, after an axis of size 1; ``axes`` are those of ``dims``."""

    def __init__(self, x: Any, dims: Sequence[int]) -> None:
        order = order_of(x)
        self.order = (0, *(d + 1 for d in order))
        self.axes = tuple(i for i, d in enumerate(order, 1) if d in dims)
        shape = self(x).shape
        kept = [i for i in range(max(self.axes, default=x.ndim + 1)) if i not in self.axes]
        self.cut = max(kept, key=lambda i: min(shape[i], 32))  # where blocks are cut: far out in memory, if there are enough
        self.parts = threads.parts(shape[self.cut], 4 * x.nbytes) if x.size else []
        self.step = max(1, BLOCK_BYTES * shape[self.cut] // max(x.nbytes, 1))

    def __call__(self, a: Any) -> Any:
        return a.reshape((1,) * (len(self.order) - a.ndim) + a.shape).transpose(self.order)

    def share(self, function: Callable[..., None], *arrays: Any) -> None:
        """Call ``function`` with the number of the thread's part and blocks of the arrays, whole where they are 1 wide."""
        views = [None if a is None else self(a) for a in arrays]

        def work(numbered: tuple[int, slice]) -> None:
            number, part = numbered
            for start in range(part.start, part.stop, self.step):
                block = (slice(None),) * self.cut + (slice(start, min(start + self.step, part.stop)),)
                function(number, *(v if v is None or v.shape[self.cut] == 1 else v[block] for v in views))

        threads.run(work, list(enumerate(self.parts)))


def _near(x: Any, axes: Axes) -> Axes:
    """Those of ``axes`` that make a long run in memory with the innermost axis, where that one is not among them."""
    found, run = [], 1
    for i in range(x.ndim - 1, -1, -1):
        if run >= RUN or (i in axes and run == 1 and x.shape[i] > 1):
            break
        found += [i] if i in axes else []
        run *= x.shape[i]
    return tuple(found)


def _wide(p: Any, x: Any, axes: Axes) -> Any:
    """``p``, which is 1 wide along ``axes``, stretched to long runs of ``x``."""
    near = _near(x, axes)
    return np.broadcast_to(p, [x.shape[i] if i in near else n for i, n in enumerate(p.shape)]).copy() if near else p


def _sum(a: Any, axes: Axes) -> Any:
    """The sum over ``axes``, which stay, 1 wide; whole runs first."""
    axes = tuple([i for i in axes if a.shape[i] > 1])
    near = _near(a, axes)
    if near:
        a = np.add.reduce(a, tuple(i for i in axes if i not in near), keepdims=True)
    return np.add.reduce(a, axes, keepdims=True) if axes else a


def _dot(a: Any, b: Any, axes: Axes) -> Any:
    """The sum of ``a * b`` over ``axes``, likewise; ``b`` may be 1 wide."""
    axes, first = tuple([i for i in axes if a.shape[i] > 1]), a.ndim
    while first and (a.shape[first - 1] == 1 or (first - 1 in axes and a.shape[first - 1] == b.shape[first - 1])):
        first -= 1
    if not axes:
        return a * b
    if axes[-1] >= first:
        rows = [x.reshape(*x.shape[:first], math.prod(x.shape[first:])) for x in (a, b)]
        sums = np.vecdot(*rows).reshape(*a.shape[:first], *[1] * (a.ndim - first))
    else:
        near, letters = _near(a, axes), [*range(a.ndim)]
        kept = [i for i in letters if i not in axes or i in near]
        sums = np.einsum(a, letters, b, letters, kept).reshape([a.shape[i] if i in kept else 1 for i in letters])
    return _sum(sums, axes)


def _mean(a: Any, dims: Sequence[int]) -> Any:
    return np.add.reduce(a, tuple(dims), keepdims=True) / math.prod(a.shape[d] for d in dims)


def _small(x: Any, weight: Any, bias: Any, dims: Sequence[int], eps: float, center: Any, variance: Any) -> tuple[Any, Any, Any]:
    """`normalise` as the formula stands."""
    own_center = center is None
    center = _mean(x, dims) if own_center else center
    out = x - center
    if own_center and [x.strides[d] for d in dims] != [x.itemsize]:  # not all summed in pairs: rounding has left something
        rest = _mean(out, dims)
        center += rest
        out -= rest
    variance = _mean(out * out, dims) if variance is None else variance
    out *= 1 / np.sqrt(variance + x.dtype.type(eps))
    if weight is not None:
        out *= weight
    return (out if bias is None else out + bias), center, variance


def _small_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Sequence[int], eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """`normalise_grad` likewise: what would shift or stretch all of x changes nothing, and is taken out."""
    scale = 1 / np.sqrt(variance + x.dtype.type(eps))
    standard, inner = (x - center) * scale, g * weight
    product = g * standard
    out = inner - standard * _mean(inner * standard, dims) if own[1] else inner
    if own[0]:
        out = out - _mean(inner, dims)
    lead = x.ndim - len(shape)
    alike = tuple(i for i in range(x.ndim) if i < lead or shape[i - lead] == 1)  # over these weight and bias are the same
    return (scale * out, *(np.add.reduce(a, alike).reshape(shape) for a in (product, g)))


def normalise(
    x: Any, weight: Any, bias: Any, dims: Sequence[int], eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """The result, and the center and variance that it was made with."""
    if x.dtype == np.float16:
        out, *moments = normalise(x.astype(np.float32), weight, bias, dims, eps, center, variance)
        return out.astype(x.dtype), *moments
    if 0 < x.size <= SMALL:
        return _small(x, weight, bias, dims, eps, center, variance)
    own_center, own_variance, count = center is None, variance is None, math.prod(x.shape[d] for d in dims)
    view = _View(x, dims if own_variance else ())  # what needs no sums may be cut anywhere
    out, axes, shape = empty(x.shape, x.dtype, x), view.axes, [1 if d in dims else n for d, n in enumerate(x.shape)]
    center = np.zeros(shape, x.dtype) if own_center else center
    variance = np.zeros(shape, x.dtype) if own_variance else variance

    def work(_: int, row: Any, to: Any, w: Any, b: Any, c: Any, v: Any) -> None:
        if own_center:
            c[...] = _sum(row, axes) / count
        if own_variance:
            np.subtract(row, _wide(c, row, axes), out=to)
            v[...] = _dot(to, to, axes) / count
            if own_center and axes and axes[0] != row.ndim - len(axes):  # not summed in pairs: rounding has left something
                rest = _sum(to, axes) / count
                if (rest * rest > 2.0**-36 * v).any():
                    c += rest
                    to -= _wide(rest, row, axes)
        factors = [1 / np.sqrt(v + x.dtype.type(eps)), w]
        if w is None:
            factors.pop()
        elif not own_variance or 2 * factors[0].size * w.size <= row.size:  # their product is small
            factors = [factors[0] * w]
        if not own_variance:
            shift = -c * factors[0]
            b = shift if b is None else b + shift
            np.multiply(row, factors.pop(), out=to)
        for factor in factors:
            to *= _wide(factor, row, axes)
        if b is not None:
            to += b

    view.share(work, x, out, weight, bias, center, variance)
    return out, center, variance


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Sequence[int], eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, and of a weight and a bias of that ``shape``."""
    if x.dtype == np.float16:
        g, x = g.astype(np.float32), x.astype(np.float32)
    weight = np.ones(shape, x.dtype) if weight is None else weight
    if 0 < x.size <= SMALL:
        return _small_grad(g, x, weight, center, variance, dims, eps, own, shape)
    g, view, out, count = ordered(g, x), _View(x, dims), empty(x.shape, x.dtype, x), math.prod(x.shape[d] for d in dims)
    sums = np.zeros((2, len(view.parts), *[1] * (x.ndim - len(shape)), *shape), x.dtype)
    axes, even = view.axes, tuple(i for i, d in enumerate(view.order) if d == 0 or sums.shape[d + 1] == 1)
    inner = tuple(i for i in axes if i in even)  # over these weight and bias are the same

    def work(number: int, along: Any, row: Any, to: Any, w: Any, c: Any, v: Any, *places: Any) -> None:
        scale = 1 / np.sqrt(v + x.dtype.type(eps))
        np.subtract(row, _wide(c, row, axes), out=to)
        product, total = (_dot(along, to, inner), _sum(along, inner)) if inner else (along * to, along)
        for place, found in zip(places, (_dot(product, scale, even), _sum(total, even))):
            place[number] += found[0]
        last = scale
        if inner == axes:
            last = scale * w
        else:
            along, product, total = along * w, _dot(product, w, axes), _dot(total, w, axes)
        if own[1]:
            to *= _wide(product * scale**2 / -count, row, axes)
            to += along
            along = to
        if own[0]:
            to -= _wide(total / count, row, axes)
        np.multiply(along, _wide(last, row, axes), out=to)

    view.share(work, g, x, out, weight, center, variance, *sums)
    return (out, *sums.sum(1).reshape(2, *shape))
