"""Pooling, and windows as columns and back: a thread for each number of the result."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from ...shapes import Window
from .loader import launch, plain, single, window


def taps_dtype(w: Window) -> type:
    """The smallest type for numbers of taps."""
    return np.int8 if w.kernel[0] * w.kernel[1] < 128 else np.int32


def max_pool(x: Any, w: Window, cut: bool = False, with_taps: bool = False) -> tuple[Any, Any]:
    """The largest of each window, cut off below 0 if wanted, and if wanted the taps; one launch for all."""
    out, tap = cupy.empty((*x.shape[:2], *w.out_size(x.shape[2:])), x.dtype), np.dtype(taps_dtype(w))
    taps = cupy.empty(out.shape if with_taps else 1, tap)
    lowest = x.dtype.type(-np.inf if x.dtype.kind == "f" else 0 if x.dtype == bool else np.iinfo(x.dtype).min)
    geometry = window(w, x.shape[2:])
    numbers = out.size, int(cut), int(with_taps), lowest, geometry
    launch("pool", "max_pool2d", out.size, plain(x), out, taps, *numbers, real=x.dtype, tap=tap)
    return out, taps if with_taps else None


@single
def max_pool2d(x: Any, w: Window) -> Any:
    """The largest pixel of each window."""
    return max_pool(x, w)[0]


@single
def max_pool2d_taps(x: Any, out: Any, w: Window) -> Any:
    """Which tap that was."""
    taps = cupy.empty(out.shape, taps_dtype(w))
    given = plain(x), plain(out), taps, out.size, window(w, x.shape[2:])
    launch("pool", "max_pool2d_taps", out.size, *given, real=x.dtype, tap=taps.dtype)
    return taps


@single
def max_pool2d_place(g: Any, taps: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added where its tap points."""
    gx = cupy.empty((*g.shape[:2], *size), g.dtype)
    given = plain(g), plain(taps), gx, gx.size, window(w, size)
    launch("pool", "max_pool2d_place", gx.size, *given, real=g.dtype, tap=taps.dtype)
    return gx


@single
def max_pool2d_pick(x: Any, taps: Any, w: Window) -> Any:
    """What each tap points at."""
    out = cupy.empty((*x.shape[:2], *w.out_size(x.shape[2:])), x.dtype)
    given = plain(x), plain(taps), out, out.size, window(w, x.shape[2:])
    launch("pool", "max_pool2d_pick", out.size, *given, real=x.dtype, tap=taps.dtype)
    return out


@single
def sum_pool2d(x: Any, w: Window) -> Any:
    """The sum of each window."""
    out = cupy.empty((*x.shape[:2], *w.out_size(x.shape[2:])), x.dtype)
    launch("pool", "sum_pool2d", out.size, plain(x), out, out.size, window(w, x.shape[2:]), real=x.dtype, tap=np.int8)
    return out


@single
def sum_pool2d_spread(g: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to its whole window."""
    return _gathered(g, cupy.empty((*g.shape[:2], *size), g.dtype), w, math.prod(g.shape[2:]), 0)


@single
def unfold(x: Any, w: Window) -> Any:
    """The pixel under each tap at each position, 0 in the padding."""
    taps, positions = w.kernel[0] * w.kernel[1], math.prod(w.out_size(x.shape[2:]))
    out = cupy.empty((len(x), x.shape[1] * taps, positions), x.dtype)
    launch("pool", "unfold", out.size, plain(x), out, out.size, window(w, x.shape[2:]), real=x.dtype, tap=np.int8)
    return out


@single
def fold(columns: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each pixel the sum of what was seen of it."""
    taps, positions = w.kernel[0] * w.kernel[1], math.prod(w.out_size(size))
    out = cupy.empty((len(columns), columns.shape[1] // taps, *size), columns.dtype)
    return _gathered(columns, out, w, taps * positions, positions)


def _gathered(g: Any, gx: Any, w: Window, plane: int, tap: int) -> Any:
    given = plain(g), gx, gx.size, plane, w.kernel[1] * tap, tap, window(w, gx.shape[2:])
    launch("pool", "gather_taps", gx.size, *given, real=g.dtype, tap=np.int8)
    return gx
