"""Sums over dimensions."""

from __future__ import annotations

import math
from typing import Any

from .loader import BLOCK, FLOATS, divisor, empty, launch

BLOCKS = 512  # that a GPU should have to work on at a time, if there is so much to do
LEAST = 32  # numbers for a thread; with fewer, parts of a sum are not worth another launch


def sum(x: Any, dims: tuple[int, ...], keepdims: bool) -> Any:
    """The sum over ``dims``, in an order that is always the same."""
    if not dims:
        return x.copy()
    kept = [d for d in range(x.ndim) if d not in dims]
    first, last = (kept[0], kept[-1] + 1) if kept else (0, 0)
    if x.dtype not in FLOATS or not x.size or not x.flags.c_contiguous or last - first != len(kept):
        return x.sum(dims, x.dtype, keepdims=keepdims)  # what is kept lies in several pieces, or else, CuPy does well
    shape = x.shape
    out = empty([1 if d in dims else n for d, n in enumerate(shape)] if keepdims else shape[first:last], x.dtype)
    _launch(x, out, math.prod(shape[:first]), out.size, math.prod(shape[last:]))
    return out


def _launch(x: Any, out: Any, a: int, k: int, b: int) -> None:
    across = 32 if b < 32 and k > 1 else 1
    blocks, work = -(-k // across), a * b * across
    block = 1024 if work > 1024 else BLOCK
    parts = max(1, min(BLOCKS // blocks, work // (LEAST * block)))
    to = out if parts == 1 else empty((parts, k), x.dtype)
    launch("sums", "sums", (blocks, parts), x, to, a, k, divisor(b), across, parts, block=block, real=x.dtype)
    if parts > 1:
        launch("sums", "sums", (blocks, 1), to, out, parts, k, divisor(1), across, 1, real=x.dtype)
