"""Weighted sums along some dimensions, whole slices at a time, in blocks that stay in the cache through all dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import threads
from .order import order_of

BLOCK_BYTES = 1 << 19  # of the output at a time
ITEM = 8  # slices of so many numbers or more are moved as one item
ROW = 1024  # NumPy takes rows that are shorter than its buffer through it; with a buffer of so many numbers, only short ones


def _key(places: Any) -> Any:
    return slice(*places) if isinstance(places, tuple) else places


class _Map:
    """One dimension's map, ready for blocks: what to write where, and whether anything was written there before."""

    def __init__(self, groups: Any, size: int, dtype: Any) -> None:
        self.size, self.steps, self.clean = size, [], True
        written = np.zeros(size, bool)
        for to, terms in groups:
            before = written[_key(to)]
            self.clean &= bool(before.all() == before.any())
            self.steps.append((_key(to), [(_key(source), _factor(w, dtype)) for source, w in terms], before.any()))
            written[_key(to)] = True
        self.clean &= bool(written.all())
        self.factors = {w for _, terms, _ in self.steps for _, w in terms if isinstance(w, float)}

    def __call__(self, x: Any, out: Any) -> None:
        """From (L, n, inner) to (L, size, inner)."""
        products = {w: x * x.dtype.type(w) for w in self.factors}
        if not self.clean:
            out[...] = 0
        for to, terms, again in self.steps:
            parts = [_pick(products.get(w, x) if isinstance(w, float) else x, source, w) for source, w in terms]
            total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
            for part in parts[2:]:
                total += part
            if again or not self.clean:
                out[:, to] += total
            else:
                _items(out)[:, to] = _items(total)


def _factor(weight: Any, dtype: Any) -> Any:
    return weight if weight is None or isinstance(weight, float) else weight.astype(dtype)[:, None]


def _items(x: Any) -> Any:
    """The slices of ``x`` as one item each, if they are long enough and in one piece."""
    long = x.shape[2] >= ITEM and x.strides[2] == x.itemsize
    return x.view(f"V{x.shape[2] * x.itemsize}") if long else x


def _pick(x: Any, source: Any, weight: Any) -> Any:
    """The slices at ``source``; put side by side if they are short and lie apart."""
    apart = not isinstance(source, slice) or source.step > 1
    part = _items(x)[:, source].copy().view(x.dtype) if apart and x.shape[2] < ROW else x[:, source]
    return part if weight is None or isinstance(weight, float) else part * weight


def repeats(shape: tuple[int, ...], maps: Any) -> dict[int, int]:
    """How often each slice along a mapped dimension is repeated, one beside the other, if that is all the maps do."""
    times = {dim: _times(shape[dim], groups, size) for dim, groups, size in maps}
    return times if all(times.values()) else {}


def _times(n: int, groups: Any, size: int) -> int:
    r = len(groups)
    for k, (to, [(source, weight), *more]) in enumerate(groups):
        plain = isinstance(to, tuple) and isinstance(source, tuple) and weight is None and not more
        if not plain or to[::2] != (k, r) or source != (0, n, 1):
            return 0
    return r if size == r * n else 0


def _repeat(x: Any, times: dict[int, int]) -> Any:
    """One copy does it: each dimension seen as (n, 1) goes to (n, times)."""
    order = order_of(x)
    wide = [m for d in order for m in (x.shape[d], times.get(d, 1))]
    y, out = x.transpose(order).reshape([m for d in order for m in (x.shape[d], 1)]), np.empty(wide, x.dtype)
    threads.run(lambda part: np.copyto(out[part], y[part]), threads.parts(wide[0], 2 * out.nbytes))
    return out.reshape([n * r for n, r in zip(wide[::2], wide[1::2])]).transpose([order.index(d) for d in range(x.ndim)])


def resample(x: Any, maps: Any) -> Any:
    """In the memory order of x; what lies around all mapped dimensions is cut into blocks, which the threads share."""
    if times := repeats(x.shape, maps):
        return _repeat(x, times)
    order = order_of(x)
    y = np.ascontiguousarray(x.transpose(order))
    first = min(order.index(dim) for dim, _, _ in maps)
    lead, shape = math.prod(y.shape[:first]), list(y.shape[first:])
    y, steps = y.reshape(lead, math.prod(shape)), []
    for dim, groups, size in maps:
        axis = order.index(dim) - first
        n, inner, shape[axis] = shape[axis], math.prod(shape[axis + 1 :]), size
        steps.append((_Map(groups, size, x.dtype), n, inner))
    out = np.empty((lead, math.prod(shape)), x.dtype)

    def work(part: slice) -> None:
        at_once, before = max(1, BLOCK_BYTES * lead // max(out.nbytes, 1)), np.setbufsize(ROW)
        try:
            for start in range(part.start, part.stop, at_once):
                block = slice(start, min(start + at_once, part.stop))
                now = y[block]
                for i, (step, n, inner) in enumerate(steps, 1):
                    now = now.reshape(-1, n, inner)
                    size = (len(now), step.size, inner)
                    after = out[block].reshape(size) if i == len(steps) else np.empty(size, x.dtype)
                    step(now, after)
                    now = after
        finally:
            np.setbufsize(before)

    threads.run(work, threads.parts(lead, 4 * (y.nbytes + out.nbytes)))
    whole = [*(x.shape[d] for d in order[:first]), *shape]
    return out.reshape(whole).transpose([order.index(d) for d in range(x.ndim)])
