"""Weighted sums along one dimension, whole slices at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import threads
from .order import order_of

BLOCK_BYTES = 1 << 18  # of the output at a time, so that what is computed in between stays in the cache


def _key(places: Any) -> Any:
    return slice(*places) if isinstance(places, tuple) else places


def resample(x: Any, dim: int, groups: Any, size: int) -> Any:
    """In the memory order of x: slices of ``inner`` numbers, side by side along ``dim``, in blocks of what lies around."""
    order = order_of(x)
    axis, y = order.index(dim), np.ascontiguousarray(x.transpose(order))
    lead, inner = math.prod(y.shape[:axis]), math.prod(y.shape[axis + 1 :])
    y, out = y.reshape(lead, y.shape[axis], inner), np.empty((lead, size, inner), x.dtype)
    written, clean, steps = np.zeros(size, bool), True, []
    for to, terms in groups:
        before = written[_key(to)]
        clean &= bool(before.all() == before.any())
        steps.append((_key(to), [(_key(source), _factor(weight, x.dtype)) for source, weight in terms], before.any()))
        written[_key(to)] = True
    clean &= bool(written.all())

    def work(part: slice) -> None:
        step = max(1, BLOCK_BYTES // max(out.nbytes // max(lead, 1), 1))
        for start in range(part.start, part.stop, step):
            block = slice(start, min(start + step, part.stop))
            _map(y[block], out[block], steps, clean)

    threads.run(work, threads.parts(lead, 4 * (y.nbytes + out.nbytes)))
    shape = [x.shape[d] if d != dim else size for d in order]
    return out.reshape(shape).transpose([order.index(d) for d in range(x.ndim)])


def _factor(weight: Any, dtype: Any) -> Any:
    return weight if weight is None or isinstance(weight, float) else weight.astype(dtype)[:, None]


def _map(x: Any, out: Any, steps: Any, clean: bool) -> None:
    """The groups of one block; ``clean`` if each place is either written first or added to as a whole group."""
    products = {w: x * x.dtype.type(w) for w in {w for _, terms, _ in steps for _, w in terms if isinstance(w, float)}}
    if not clean:
        out[...] = 0
    for to, terms, again in steps:
        parts = [
            products[w][:, source] if isinstance(w, float) else x[:, source] if w is None else x[:, source] * w
            for source, w in terms
        ]
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        for part in parts[2:]:
            total += part
        if again or not clean:
            out[:, to] += total
        else:
            out[:, to] = total
