"""Sums over some of the dimensions; the threads share what is large."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from .order import empty, order_of

_reduce: Any = np.add.reduce  # as x.sum(), without its detour through Python


def sum(x: Any, dims: tuple[int, ...], keepdims: bool) -> Any:
    """The sum over ``dims``; shared out along the dimension whose slices lie furthest apart, if that one is kept."""
    if x.nbytes <= threads.WORTH_A_THREAD:
        return _reduce(x, dims, x.dtype, keepdims=keepdims)
    first = order_of(x)[0]
    if first in dims or x.dtype.kind != "f":
        return _reduce(x, dims, x.dtype, keepdims=keepdims)
    out = empty(tuple(1 if d in dims else n for d, n in enumerate(x.shape)), x.dtype, x)

    def work(part: slice) -> None:
        place = (slice(None),) * first + (part,)
        _reduce(x[place], dims, out=out[place], keepdims=True)

    threads.run(work, threads.parts(x.shape[first], x.nbytes))
    return out if keepdims else out.squeeze(dims)
