"""Weighted sums along one or two dimensions, each output in one pass over its terms.

Of two dimensions that lie one inside the other in memory, as the height and width of pictures do, the outer one is done first,
a row of the output at a time, and the inner one while that row is in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from .. import cpu
from ..cpu import resize
from ..cpu.order import order_of
from .compile import loop, part, parts, shared
from .mathematics import f32

u64 = np.uint64  # an index that is known not to count from the end

# A map as a list of terms (starts, sources, weights): output o is the sum over those from ``starts[o]`` to ``starts[o + 1]``.
ITSELF = np.arange(2), np.zeros(1, np.int64), np.ones(1, np.float32)


@loop
def _sums(x, out, n, terms, first, last):
    """Outputs first to last of a map of runs of ``n`` numbers."""
    starts, sources, weights = terms
    n = u64(n)
    for o in range(first, last):
        t, end, to = starts[o], starts[o + 1], u64(o - first) * n
        if end - t >= 2:
            a, b, v, w = u64(sources[t]) * n, u64(sources[t + 1]) * n, weights[t], weights[t + 1]
            for i in range(n):
                out[to + i] = v * x[a + i] + w * x[b + i]
            t += 2
        else:
            out[to : to + n] = 0
        for more in range(t, end):
            a, v = u64(sources[more]) * n, weights[more]
            for i in range(n):
                out[to + i] += v * x[a + i]


@loop
def _sum_each(x, out, terms):
    """All outputs of a map of single numbers."""
    starts, sources, weights = terms
    for o in range(out.size):
        total = f32(0)
        for t in range(starts[o], starts[o + 1]):
            total += weights[t] * x[sources[t]]
        out[o] = total


@shared
def _resample(parts, x, out, outer, inner, width, n):
    """(L, I * J * n) -> (L, P, Q * n), by a map from I to P and one from J to Q; ``width`` is J * n."""
    for p in prange(parts):
        size, row = out.shape[1], np.empty(width, np.float32)
        first, last = part(len(x) * size, p, parts)
        for k in range(first, last):
            o, to = k % size, out[k // size, k % size]
            _sums(x[k // size], row, width, outer, o, o + 1)
            if n == 1:
                _sum_each(row, to, inner)
            else:
                _sums(row, to, n, inner, 0, to.size // n)


def _terms(groups: Any, size: int) -> Any:
    """A map as a list of terms."""
    found = []
    for to, terms in groups:
        places = np.arange(*to) if isinstance(to, tuple) else to
        for source, weight in terms:
            read = np.arange(*source) if isinstance(source, tuple) else source
            factors = np.broadcast_to(np.asarray(1.0 if weight is None else weight, np.float32), places.shape)
            found.append((places, read, factors))
    to, source, weight = (np.concatenate(parts) for parts in zip(*found))
    order = np.argsort(to, kind="stable")
    return np.searchsorted(to[order], np.arange(size + 1)), source[order], weight[order]


def resample(x: Any, maps: Any) -> Any:
    """In the memory order of x, from the outermost of the mapped dimensions to the innermost."""
    if x.dtype != np.float32 or not x.size or not all(groups for _, groups, _ in maps) or resize.repeats(x.shape, maps):
        return cpu.resample(x, maps)
    order = order_of(x)
    now = np.ascontiguousarray(x.transpose(order))
    todo = {order.index(dim): (_terms(groups, size), size) for dim, groups, size in maps}
    for axis in sorted(todo):
        if axis not in todo:  # it is done, with the one before it
            continue
        before, (n, *rest) = now.shape[:axis], now.shape[axis:]
        outer, made, (inner, size) = ITSELF, [], todo.pop(axis)
        if axis + 1 in todo:
            outer, made, (n, *rest) = inner, [size], rest
            inner, size = todo.pop(axis + 1)
        lead, each = math.prod(before), math.prod(rest)
        out = np.empty((lead, math.prod(made), size * each), np.float32)
        count = parts(lead * out.shape[1], 2 * (now.nbytes + out.nbytes))
        _resample(count, now.reshape(lead, now.size // lead), out, outer, inner, n * each, each)
        now = out.reshape(*before, *made, size, *rest)
    return now.transpose([order.index(d) for d in range(now.ndim)])
