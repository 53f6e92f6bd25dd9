"""Pooling, and windows as columns and back: a thread for each number of the result."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ...shapes import Window
from .loader import empty, launch, plain, positions, single, window


def taps_dtype(w: Window) -> type:
    """The smallest type for numbers of taps."""
    return np.int8 if w.kernel[0] * w.kernel[1] < 128 else np.int32


@cache
def _lowest(dtype: Any) -> Any:
    return dtype.type(-np.inf if dtype.kind == "f" else 0 if dtype == bool else np.iinfo(dtype).min)


def max_pool(x: Any, w: Window, cut: bool = False, with_taps: bool = False) -> tuple[Any, Any]:
    """The largest of each window, cut off below 0 if wanted, and if wanted the taps; one launch for all."""
    (n, c, *size), tap = x.shape, taps_dtype(w)
    out = empty((n, c, *positions(w, size)), x.dtype)
    taps = empty(out.shape, tap) if with_taps else None
    numbers = out.size, int(cut), _lowest(x.dtype), window(w, size)
    launch("pool", "max_pool2d", out.size, plain(x), out, taps, *numbers, real=x.dtype, tap=tap)
    return out, taps


@single
def max_pool2d(x: Any, w: Window) -> Any:
    """The largest pixel of each window."""
    return max_pool(x, w)[0]


@single
def max_pool2d_taps(x: Any, out: Any, w: Window) -> Any:
    """Which tap that was."""
    taps = empty(out.shape, taps_dtype(w))
    given = plain(x), plain(out), taps, out.size, window(w, x.shape[2:])
    launch("pool", "max_pool2d_taps", out.size, *given, real=x.dtype, tap=taps.dtype)
    return taps


@single
def max_pool2d_place(g: Any, taps: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added where its tap points."""
    gx = empty((*g.shape[:2], *size), g.dtype)
    given = plain(g), plain(taps), gx, gx.size, window(w, size)
    launch("pool", "max_pool2d_place", gx.size, *given, real=g.dtype, tap=taps.dtype)
    return gx


def max_pool2d_grad(g: Any, x: Any, w: Window) -> Any:
    """The gradient of `max_pool2d`, in one pass; None for windows that leave out pixels or share them."""
    if not w.tiles(x.shape[2:]):
        return None
    gx = empty(x.shape, x.dtype)
    launch("pool", "max_pool2d_grad", g.size, plain(g), plain(x), gx, g.size, window(w, x.shape[2:]), real=x.dtype, tap=np.int8)
    return gx


@single
def max_pool2d_pick(x: Any, taps: Any, w: Window) -> Any:
    """What each tap points at."""
    out = empty((*x.shape[:2], *positions(w, x.shape[2:])), x.dtype)
    given = plain(x), plain(taps), out, out.size, window(w, x.shape[2:])
    launch("pool", "max_pool2d_pick", out.size, *given, real=x.dtype, tap=taps.dtype)
    return out


@single
def sum_pool2d(x: Any, w: Window) -> Any:
    """The sum of each window."""
    out = empty((*x.shape[:2], *positions(w, x.shape[2:])), x.dtype)
    launch("pool", "sum_pool2d", out.size, plain(x), out, out.size, window(w, x.shape[2:]), real=x.dtype, tap=np.int8)
    return out


@single
def sum_pool2d_spread(g: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to its whole window."""
    return _gathered(g, empty((*g.shape[:2], *size), g.dtype), w, math.prod(g.shape[2:]), 0)


@single
def unfold(x: Any, w: Window) -> Any:
    """The pixel under each tap at each position, 0 in the padding."""
    taps = math.prod(w.kernel)
    out = empty((len(x), x.shape[1] * taps, math.prod(positions(w, x.shape[2:]))), x.dtype)
    launch("pool", "unfold", out.size, plain(x), out, out.size, window(w, x.shape[2:]), real=x.dtype, tap=np.int8)
    return out


@single
def fold(columns: Any, w: Window, size: tuple[int, int]) -> Any:
    """Each pixel the sum of what was seen of it."""
    taps, plane = math.prod(w.kernel), math.prod(positions(w, size))
    out = empty((len(columns), columns.shape[1] // taps, *size), columns.dtype)
    return _gathered(columns, out, w, taps * plane, plane)


def _gathered(g: Any, gx: Any, w: Window, plane: int, tap: int) -> Any:
    given = plain(g), gx, gx.size, plane, w.kernel[1] * tap, tap, window(w, gx.shape[2:])
    launch("pool", "gather_taps", gx.size, *given, real=g.dtype, tap=np.int8)
    return gx
