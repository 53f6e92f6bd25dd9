"""Convolution in many small groups, as depthwise: some rows of the output at a time.

A filter that sees one channel is no matrix to multiply with. But the filter for R rows of the output at once is: R rows, each
with the filter's taps a little further down, zero elsewhere. With 3 x 3 taps and R = 2 the band is, row by row of what is seen
(each entry stands for the three taps of a row of the filter):

    w0 w1 w2  0
     0 w0 w1 w2

This multiplies with zeros, but BLAS is quicker by more than that, and fewer columns have to be gathered: for two rows of the
output four rows of pixels, not six. All groups, or as many as fit into the cache, are one batch of products.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ...shapes import Window
from .. import threads
from .columns import batch_last, windows
from .phases import phases

ROWS, PRODUCT_ROWS = 4, 8  # rows of the output at a time, at most; and of a group's product, filters and all
BLOCK_BYTES = 1 << 21  # of columns at a time
FEW = 8  # filters times channels of a group: up to this many, sums of products of rows are quicker than BLAS


def is_fine(f: int, c: int, groups: int) -> bool:
    """Whether groups of ``f`` filters that see ``c`` channels are too small for a matrix product each."""
    return groups > 1 and 0 < f <= PRODUCT_ROWS and c > 0


def is_few(f: int, c: int, groups: int) -> bool:
    """Whether so few products are to be added up that they are no matrix product, to be done by `conv2d_weight_grad`."""
    return groups > 1 and f * c <= FEW


def banded(w: Any, window: Window, groups: int, rows: int) -> Any:
    """The filters for ``rows`` rows of the output: (G, F / G * rows, C / G * pixels high * L)."""
    (f, c, k, l), (step, _), (spread, _) = w.shape, window.stride, window.dilation
    reach = (k - 1) * spread + 1
    out = np.zeros((f, rows, c, (rows - 1) * step + reach, l), w.dtype)
    for i in range(rows):
        out[:, i, :, i * step : i * step + reach : spread] = w
    return out.reshape(groups, f // groups * rows, math.prod(out.shape[2:]))


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int, most: int = ROWS) -> Any:
    """The bands, of at most ``most`` rows, times the columns under them; the threads share the groups.

    Zero times infinity would be NaN, in rows that do not see it. Groups with such a result are done again a row at a time.
    """
    f, c, n, (i, j) = w.shape[0] // groups, w.shape[1], x.shape[0], window.out_size(x.shape[2:])
    out_dtype = np.result_type(x, w)
    pieces = -(-i // (min(most, PRODUCT_ROWS // f) if out_dtype in (np.float32, np.float64) else 1))  # else there is no BLAS
    rows = -(-i // pieces)
    band = banded(w, window, groups, rows)
    (_, l), (step, across), (top, left), (_, right), (_, spread) = window
    high = band.shape[2] // (c * l)
    below = max(0, (pieces - 1) * rows * step + high - x.shape[2] - top)  # the last piece may reach further than the last row
    tall = Window((high, l), (rows * step, across), (top, left), (below, right), (1, spread))
    out = np.empty((groups, f, pieces, rows, j, n), out_dtype)

    def work(part: slice) -> None:
        for own, some in _blocks(part, pieces, band.shape[2] * j * n * x.itemsize):
            channels, share, place = x[:, own.start * c : own.stop * c], own.stop - own.start, out[own, :, some]
            columns = _columns(windows(batch_last(channels, tall), tall, (pieces, j))[:, :, :, some], share)
            shape = (*columns.shape[:2], f * rows, j * n)
            # of a single filter the rows lie in memory as the product has them
            product = place.reshape(shape) if f == 1 else threads.scratch("product", shape, out_dtype)
            with np.errstate(invalid=np.geterr()["invalid"] if rows == 1 else "ignore"):
                np.matmul(band[own, None], columns, out=product)
            if rows > 1 and not np.isfinite(np.vdot(product, product)):
                filters = slice(own.start * f, own.stop * f)
                again = conv2d(channels, w[filters], None if bias is None else bias[filters], window, share, 1)
                out.reshape(groups * f, pieces * rows, j, n)[filters, :i] = again.transpose(1, 2, 3, 0)
                continue
            if f > 1:
                place[...] = product.reshape(*columns.shape[:2], f, rows, j, n).swapaxes(1, 2)
            if bias is not None:
                place += bias.reshape(groups, f, 1, 1, 1, 1)[own]

    threads.run(work, threads.parts(groups, threads.as_bytes(out.size * band.shape[2])))
    return np.ascontiguousarray(out.reshape(groups * f, pieces * rows, j, n)[:, :i]).transpose(3, 0, 1, 2)


def _columns(seen: Any, groups: int) -> Any:
    """What the window sees, (C, K, L, I, J, N), as (G, I, C / G * K * L, J * N)."""
    c, k, l, i, j, n = seen.shape
    seen = seen.reshape(groups, c // groups, k, l, i, j, n).transpose(0, 4, 1, 2, 3, 5, 6)
    out = threads.scratch("columns", seen.shape, seen.dtype)
    out[...] = seen
    return out.reshape(groups, i, c // groups * k * l, j * n)


def _blocks(part: slice, pieces: int, nbytes: int) -> Any:
    """Groups, and pieces of theirs, as many as fit."""
    across = max(1, BLOCK_BYTES // max(nbytes, 1))
    down = max(1, across // pieces)
    for i, j in itertools.product(range(part.start, part.stop, down), range(0, pieces, across)):
        yield slice(i, min(i + down, part.stop)), slice(j, min(j + across, pieces))


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """For each tap, the products of a row of pixels with the gradient's row, added up; the threads share the groups."""
    f, c, n, (i, j) = g.shape[1] // groups, x.shape[1] // groups, x.shape[0], g.shape[2:]
    out = np.zeros((groups, f, c, *window.kernel), np.result_type(x, g))
    steps = phases(window, x.shape[2:])

    def work(part: slice) -> None:
        for own, _ in _blocks(part, 1, g.nbytes // groups):
            share = own.stop - own.start
            rows = batch_last(g[:, own.start * f : own.stop * f], Window((1, 1))).reshape(share, f, 1, 1, 1, i, j * n)
            for phase in steps:
                padded = batch_last(x[:, own.start * c : own.stop * c][phase.pixels], phase.window)
                seen = windows(padded, phase.window, (i, j)).reshape(share, 1, c, *phase.window.kernel, i, j * n)
                out[(own, slice(None), *phase.taps[1:])] = np.vecdot(rows, seen).sum(-1)

    threads.run(work, threads.parts(groups, g.nbytes * c * math.prod(window.kernel)))
    return out.reshape(groups * f, c, *window.kernel)
