"""The order of dimensions in memory, which the kernels keep: what comes in batch-innermost goes out batch-innermost."""

from __future__ import annotations

from typing import Any

import numpy as np


def order_of(x: Any) -> list[int]:
    """The dimensions from the outermost in memory to the innermost; those of size 1, whose place is no matter, last."""
    return sorted(range(x.ndim), key=lambda d: (x.shape[d] == 1, -abs(x.strides[d])))


def empty(shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """A new array whose memory order is that of ``like``."""
    order = order_of(like)
    return np.empty([shape[d] for d in order], dtype).transpose([order.index(d) for d in range(len(order))])


def ordered(x: Any, like: Any) -> Any:
    """``x`` in the memory order of ``like``, copied if it is in another."""
    if order_of(x) == order_of(like):
        return x
    out = empty(x.shape, x.dtype, like)
    out[...] = x
    return out
