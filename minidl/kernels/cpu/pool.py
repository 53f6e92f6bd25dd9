"""Pooling: a loop over taps, never over positions. For each tap, all positions at once; the threads share the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...shapes import Window
from .. import threads
from .elementwise import without
from .order import empty, order_of, ordered

BLOCK_BYTES = 1 << 20  # of all arrays at a time, so that they stay in the cache from one tap to the next


def share(function: Callable[..., None], *arrays: Any) -> None:
    """Call ``function`` with some of the images or of the channels, all their pixels, at a time; the threads share them."""
    axis, nbytes = min(order_of(arrays[0])[0], 1), sum(a.nbytes for a in arrays)
    n = arrays[0].shape[axis]
    step = max(1, BLOCK_BYTES * n // max(nbytes, 1))

    def work(part: slice) -> None:
        for start in range(part.start, part.stop, step):
            block = slice(start, min(start + step, part.stop))
            function(*(a[block] if axis == 0 else a[:, block] for a in arrays))

    threads.run(work, threads.parts(n, nbytes))


def _taps(window: Window, size: tuple[int, int]) -> Iterator[tuple[int, Any, Any]]:
    """Each tap's number, the outputs that see a pixel through it, and those pixels."""
    everything = slice(None)
    for k, l, rows, columns, rows_in, columns_in in window.taps(size):
        yield k * window.kernel[1] + l, (everything, everything, rows, columns), (everything, everything, rows_in, columns_in)


def max_pool2d(x: Any, window: Window) -> Any:
    """The maximum over the rows of the window, then over its columns: whole rows are long runs, and quicker."""
    for i in (0, 1):
        x = _max_along(x, i, window)
    return x


def _max_along(x: Any, i: int, window: Window) -> Any:
    """The running maximum over the taps of one dimension of the window."""
    line = window.along(i)
    out, steps = empty((*x.shape[:2], *line.out_size(x.shape[2:])), x.dtype, x), list(_taps(line, x.shape[2:]))
    whole = [step for step in steps if out[step[1]].shape == out.shape]  # every output sees a pixel through these taps

    def work(x: Any, out: Any) -> None:
        if len(whole) > 1:
            np.maximum(x[whole[0][2]], x[whole[1][2]], out=out)
        elif whole:
            out[...] = x[whole[0][2]]
        else:
            out[...] = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        for step in steps:
            if step not in whole[:2]:
                np.maximum(out[step[1]], x[step[2]], out=out[step[1]])

    share(work, x, out)
    return out


def taps_dtype(window: Window) -> type:
    """The smallest type for numbers of taps."""
    return np.int8 if window.kernel[0] * window.kernel[1] < 128 else np.int32


def max_pool2d_taps(x: Any, out: Any, window: Window) -> Any:
    """The first tap whose pixel is the maximum: for each, where it is and none before was. In a second round NaN, the last."""
    taps = empty(out.shape, taps_dtype(window), out)
    steps, tiles = list(_taps(window, x.shape[2:])), window.tiles(x.shape[2:])

    def work(x: Any, out: Any, taps: Any) -> None:
        missing = _count(x, out, taps, steps) if tiles else None
        if missing is None or missing.any():
            _look(x, out, taps, steps)

    share(work, x, out, taps)
    return taps


def _count(x: Any, out: Any, taps: Any, steps: Any) -> Any:
    """Where every position has all taps the number wanted is the count of those that were passed by in vain."""
    missing = x[steps[0][2]] != out
    taps[...] = missing
    for _, _, pixels in steps[1:-1]:
        missing &= x[pixels] != out
        taps += missing
    missing &= x[steps[-1][2]] != out
    return missing


def _look(x: Any, out: Any, taps: Any, steps: Any) -> None:
    """For each tap, where its pixel is the maximum and no tap before was it."""
    taps[...] = 0
    missing = empty(out.shape, np.bool_, out)
    missing[...] = True
    for same, order in ((np.equal, steps), (lambda pixel, _: pixel != pixel, steps[::-1])):
        for number, positions, pixels in order:
            found = same(x[pixels], out[positions])
            found &= missing[positions]
            missing[positions] ^= found
            taps[positions] += found * taps.dtype.type(number)
        if not missing.any():
            break


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, the gradients that belong to it are added at its pixels."""
    g, gx = ordered(g, taps), empty((*g.shape[:2], *size), g.dtype, taps)
    tiles = window.tiles(size)

    def work(gx: Any, g: Any, taps: Any) -> None:
        if not tiles:
            gx[...] = 0
        for number, positions, pixels in _taps(window, size):
            if tiles:
                without(g[positions], taps[positions] != number, gx[pixels])
            else:
                gx[pixels] += without(g[positions], taps[positions] != number)

    share(work, gx, g, taps)
    return gx


def max_pool2d_pick(x: Any, taps: Any, window: Window) -> Any:
    """For each tap, its pixels are copied to the positions that point at it."""
    out = empty((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype, x)

    def work(out: Any, x: Any, taps: Any) -> None:
        out[...] = 0
        for number, positions, pixels in _taps(window, x.shape[2:]):
            np.copyto(out[positions], x[pixels], where=taps[positions] == number)

    share(work, out, x, taps)
    return out


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum over the taps."""
    out = empty((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype, x)

    def work(out: Any, x: Any) -> None:
        out[...] = 0
        for _, positions, pixels in _taps(window, x.shape[2:]):
            out[positions] += x[pixels]

    share(work, out, x)
    return out


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, every gradient is added at its pixel."""
    gx = empty((*g.shape[:2], *size), g.dtype, g)

    def work(gx: Any, g: Any) -> None:
        gx[...] = 0
        for _, positions, pixels in _taps(window, size):
            gx[pixels] += g[positions]

    share(work, gx, g)
    return gx
