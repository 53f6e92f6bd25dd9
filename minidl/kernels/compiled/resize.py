"""Weighted sums along some dimensions, each output in one pass over its terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cpu
from ..cpu import resize
from .compile import loop
from .mathematics import f32


@loop
def _apply(x, out, starts, sources, weights):
    """(L, n, inner) -> (L, size, inner): output o is the sum over the terms from ``starts[o]`` to ``starts[o + 1]``."""
    for k in range(len(x)):
        for o in range(out.shape[1]):
            _sum_rows(x[k], out[k, o], sources[starts[o] : starts[o + 1]], weights[starts[o] : starts[o + 1]])


@loop
def _sum_rows(x, to, sources, weights):
    if sources.size == 2:
        a, b, v, w = x[sources[0]], x[sources[1]], weights[0], weights[1]
        for i in range(to.size):
            to[i] = v * a[i] + w * b[i]
        return
    to[:] = f32(0)
    for source, weight in zip(sources, weights):
        a = x[source]
        for i in range(to.size):
            to[i] += weight * a[i]


class _Map:
    """One dimension's map as a list of terms for each output."""

    def __init__(self, groups: Any, size: int, dtype: Any) -> None:
        self.size, found = size, []
        for to, terms in groups:
            places = np.arange(*to) if isinstance(to, tuple) else to
            for source, weight in terms:
                read = np.arange(*source) if isinstance(source, tuple) else source
                factors = np.broadcast_to(np.asarray(1.0 if weight is None else weight, np.float32), places.shape)
                found.append((places, read, factors))
        to, source, weight = (np.concatenate(parts) for parts in zip(*found))
        order = np.argsort(to, kind="stable")
        self.terms = np.searchsorted(to[order], np.arange(size + 1)), source[order], weight[order]

    def __call__(self, x: Any, out: Any) -> None:
        """From (L, n, inner) to (L, size, inner)."""
        _apply(x, out, *self.terms)


def resample(x: Any, maps: Any) -> Any:
    """As `minidl.kernels.cpu` does it, with another loop inside."""
    fits = x.dtype == np.float32 and x.size and all(groups for _, groups, _ in maps)
    return resize.resample(x, maps, _Map) if fits else cpu.resample(x, maps)
