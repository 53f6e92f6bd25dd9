"""Pooling: a loop over taps, never over positions. For each tap, all positions at once; the threads share the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...shapes import Window
from .. import threads
from .elementwise import without
from .order import empty, ordered


def _outermost(x: Any) -> int:
    """Images or channels: the dimension whose slices lie furthest apart in memory."""
    return 0 if abs(x.strides[0]) >= abs(x.strides[1]) else 1


def _share(function: Callable[..., None], *arrays: Any) -> None:
    """Call ``function`` with each thread's part of the arrays: some of the images or of the channels, all their pixels."""
    axis = _outermost(arrays[0])

    def work(part: slice) -> None:
        function(*(a[part] if axis == 0 else a[:, part] for a in arrays))

    threads.run(work, threads.parts(arrays[0].shape[axis], sum(a.nbytes for a in arrays)))


def _taps(window: Window, size: tuple[int, int]) -> Iterator[tuple[int, Any, Any]]:
    """Each tap's number, the outputs that see a pixel through it, and those pixels."""
    everything = slice(None)
    for k, l, rows, columns, rows_in, columns_in in window.taps(size):
        yield k * window.kernel[1] + l, (everything, everything, rows, columns), (everything, everything, rows_in, columns_in)


def max_pool2d(x: Any, window: Window) -> tuple[Any, Any]:
    """The running maximum over the taps, and the tap that set it: the largest number among those that were an improvement."""
    size = window.out_size(x.shape[2:])
    small = window.kernel[0] * window.kernel[1] < 128
    shape = (*x.shape[:2], *size)
    out, taps = empty(shape, x.dtype, x), empty(shape, np.int8 if small else np.int32, x)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    steps = list(_taps(window, x.shape[2:]))

    def work(x: Any, out: Any, taps: Any) -> None:
        out[...] = lowest
        taps[...] = 0
        for number, positions, _ in reversed(steps):
            taps[positions] = number  # at first, the first tap that sees a pixel
        for number, positions, pixels in steps:
            value, best, tap = x[pixels], out[positions], taps[positions]
            better = value > best
            better |= value != value  # NaN goes before all
            np.maximum(best, value, out=best)
            np.maximum(tap, better * tap.dtype.type(number), out=tap)

    _share(work, x, out, taps)
    return out, taps


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, the gradients that belong to it are added at its pixels."""
    g, gx = ordered(g, taps), empty((*g.shape[:2], *size), g.dtype, taps)

    def work(gx: Any, g: Any, taps: Any) -> None:
        gx[...] = 0
        for number, positions, pixels in _taps(window, size):
            gx[pixels] += without(g[positions], taps[positions] != number)

    _share(work, gx, g, taps)
    return gx


def max_pool2d_pick(x: Any, taps: Any, window: Window) -> Any:
    """For each tap, its pixels are copied to the positions that point at it."""
    out = empty((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype, x)

    def work(out: Any, x: Any, taps: Any) -> None:
        out[...] = 0
        for number, positions, pixels in _taps(window, x.shape[2:]):
            np.copyto(out[positions], x[pixels], where=taps[positions] == number)

    _share(work, out, x, taps)
    return out


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum over the taps."""
    out = empty((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype, x)

    def work(out: Any, x: Any) -> None:
        out[...] = 0
        for _, positions, pixels in _taps(window, x.shape[2:]):
            out[positions] += x[pixels]

    _share(work, out, x)
    return out


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, every gradient is added at its pixel."""
    gx = empty((*g.shape[:2], *size), g.dtype, g)

    def work(gx: Any, g: Any) -> None:
        gx[...] = 0
        for _, positions, pixels in _taps(window, size):
            gx[pixels] += g[positions]

    _share(work, gx, g)
    return gx
