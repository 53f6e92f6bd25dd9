"""Normalisation in two passes over memory: one for the moments, one for the result.

Arrays are seen as (A, R, B) in the order of memory: the moments belong to A and B, and are taken over R. If B is 1 the numbers
of R lie side by side (`norm_rows`): layer norm of rows, batch norm of pictures. Else those of B do (`norm_columns`): group
norm and layer norm of pictures, whose images are innermost. A weight is (1 or A, W): each of its numbers for R / W in turn.

Moments are those of short runs put together: T. F. Chan, G. H. Golub and R. J. LeVeque, Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import cpu
from ..cpu.order import order_of, ordered
from .compile import parts
from .norm_columns import columns, columns_grad
from .norm_rows import rows, rows_grad


@dataclasses.dataclass(frozen=True, eq=False)
class _View:
    """How arrays of one shape are seen as (A, R, B)."""

    full: tuple[int, ...]
    kept: tuple[int, ...]  # the shape of the moments beside that one
    order: tuple[int, ...]
    plain: bool  # whether that is the order of the dimensions, those of size 1 aside, whose place is no matter
    shape: tuple[int, ...]  # (A, R, B), or (A, R) where B is 1
    few: tuple[int, ...]  # (A, B), or (A,): of the moments
    cuts: tuple[int, int]  # where R begins and ends among the dimensions in the order of memory

    def __call__(self, x: Any) -> Any:
        """An array so."""
        return (x if self.plain else x.transpose(self.order)).reshape(self.shape)

    def back(self, x: Any, shape: Any) -> Any:
        """In the dimensions that it has elsewhere."""
        if self.plain:
            return x.reshape(shape)
        return x.reshape([shape[d] for d in self.order]).transpose([self.order.index(d) for d in range(len(shape))])

    def moments(self, c: Any) -> Any:
        """Center or variance, in the shape `few`."""
        if c.shape != self.kept:
            c = np.array(np.broadcast_to(c, self.kept))
        return np.ascontiguousarray(c if self.plain else c.transpose(self.order), np.float32).reshape(self.few)

    def weight(self, w: Any) -> Any:
        """A weight or bias as (1 or A, W); None where it is not made so."""
        shape = _weight_shape(self, w.shape) if w.dtype == np.float32 else None
        if shape is None:
            return None
        if not self.plain:
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
    kept = tuple([1 if d in dims else n for d, n in enumerate(shape)])
    long = [d for d in order if shape[d] > 1]
    return _View(shape, kept, order, long == sorted(long), seen, few, (first, last))


def _count(view: _View, nbytes: int) -> int:
    """In how many parts: columns may be cut too."""
    return parts(view.shape[0] if len(view.shape) == 2 else max(view.shape[:2]), nbytes)


def normalise(
    x: Any, weight: Any, bias: Any, dims: Sequence[int], eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """The result, and the center and variance that it was made with."""
    if center is None and variance is None and _is_layer(x, weight, bias, dims):
        return _layer(x, weight, bias, eps)
    view = _view(x, dims)
    factors = None if view is None else _weights(view, weight, bias)
    if view is None or factors is None:
        return cpu.normalise(x, weight, bias, dims, eps, center, variance)
    own = center is None, variance is None
    if own[1]:  # written by the loop; a center that is not its own is then 0
        c, v = np.zeros((2, *view.few), np.float32)
    else:
        c, v = view.moments(center), view.moments(variance)
    out, kernel = np.empty(view.shape, np.float32), rows if len(view.shape) == 2 else columns
    kernel(_count(view, 8 * x.nbytes), view(x), out, *factors, c, v, float(eps), *own)
    if own[0]:
        center = view.back(c, view.kept)
    if own[1]:
        variance = view.back(v, view.kept)
    return view.back(out, x.shape), center, variance


def _is_layer(x: Any, weight: Any, bias: Any, dims: Sequence[int]) -> bool:
    """Whether this is layer norm as it mostly comes, for which no view need be looked for."""
    if weight is None or bias is None or not x.dtype == weight.dtype == bias.dtype == np.float32 or not x.size:
        return False
    last = x.ndim - len(dims)
    contiguous = x.flags.c_contiguous and weight.flags.c_contiguous and bias.flags.c_contiguous
    return contiguous and min(dims) == last and x.shape[last:] == weight.shape == bias.shape


def _layer(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    """`normalise` of the last dimensions, those of weight and bias."""
    shape, out, n = (*x.shape[: -weight.ndim], *[1] * weight.ndim), np.empty(x.shape, np.float32), weight.size
    center, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    flat, factors = (x.reshape(-1, n), out.reshape(-1, n)), (weight.reshape(1, n), bias.reshape(1, n))
    count = parts(center.size, 8 * x.nbytes)
    rows(count, *flat, *factors, center.reshape(-1), variance.reshape(-1), float(eps), True, True)
    return out, center, variance


def _weights(view: _View, weight: Any, bias: Any) -> Any:
    """Both as (1 or A, W), ones and zeros if they are missing; None where they are not made so."""
    if weight is None:
        weight = np.ones(() if bias is None else bias.shape, np.float32)
    if bias is None:
        bias = np.zeros(weight.shape, np.float32)
    weight, bias = view.weight(weight), view.weight(bias)
    return None if weight is None or bias is None or weight.shape != bias.shape else (weight, bias)


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Sequence[int], eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, and of a weight and a bias of that ``shape``."""
    view = _view(x, dims)
    w = None if view is None else view.weight(np.ones(shape, x.dtype) if weight is None else weight)
    if view is None or w is None:
        return cpu.normalise_grad(g, x, weight, center, variance, dims, eps, own, shape)
    g, out, kernel = ordered(g, x), np.empty(view.shape, np.float32), rows_grad if len(view.shape) == 2 else columns_grad
    c, v = view.moments(center), view.moments(variance)
    n = _count(view, 8 * x.nbytes)
    sums = np.zeros((2, n, *w.shape), np.float32)
    kernel(n, view(g), view(x), out, w, c, v, float(eps), *map(bool, own), *sums)
    lead = [1] * (x.ndim - len(shape))
    others = (view.back(s, [*lead, *shape]).reshape(shape) for s in sums.sum(1))
    return view.back(out, x.shape), *others
