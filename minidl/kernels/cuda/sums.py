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
    _launch(x, [out], math.prod(shape[:first]), out.size, math.prod(shape[last:]))
    return out


def sum_parts(parts: Any, *outs: Any) -> None:
    """The sums of ``parts`` (P, K) over P, in one or two arrays that have K numbers together."""
    _launch(parts, outs, len(parts), parts.shape[1], 1)


def _launch(x: Any, outs: Any, a: int, k: int, b: int) -> None:
    across = 32 if b < 32 and k > 1 else 1
    blocks, work = -(-k // across), a * b * across
    block = 1024 if work > 1024 else BLOCK
    parts = max(1, min(BLOCKS // max(blocks, 1), work // (LEAST * block)))
    if parts > 1:
        some = empty((parts, k), x.dtype)
        launch("sums", "sums", (blocks, parts), x, some, some, k, a, k, divisor(b), across, parts, block=block, real=x.dtype)
        x, a, b, block = some, parts, 1, BLOCK
    out, others = outs[0], outs[-1]
    launch("sums", "sums", (blocks, 1), x, out, others, out.size, a, k, divisor(b), across, 1, block=block, real=x.dtype)
