"""Pictures with the batch innermost, and the columns that a window sees in them.

Pictures are kept batch-innermost, memory order C, H, W, N under the shape (N, C, H, W): then any slice of a row is one long
run, and a copy of it is quick. The columns, (C * K * L, positions * N), are made for a strip of positions at a time, small
enough to stay in the cache, and used there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...shapes import Window
from .. import threads

STRIP_BYTES = 1 << 22  # at a time: fewer, and the interpreter is in the way; more, and they leave the cache
IMAGES = 8  # at a time when the batch is turned innermost: their pixels of one cache line are written together


def batch_last(x: Any, window: Window) -> Any:
    """(N, C, H, W) in any memory order to (C, padded H, padded W, N) in plain order, the padding filled with zeros."""
    x = x.transpose(1, 2, 3, 0)
    (top, left), (bottom, right) = window.before, window.after
    if not (top or left or bottom or right) and x.flags.c_contiguous:
        return x
    c, h, w, n = x.shape
    out = np.empty((c, h + top + bottom, w + left + right, n), x.dtype)
    inner = out[:, top : top + h, left : left + w]

    def fill(part: slice) -> None:
        piece, pixels = out[:, part], slice(max(part.start - top, 0), min(max(part.stop - top, 0), h))
        piece[:, : max(top - part.start, 0)] = piece[:, max(top + h - part.start, 0) :] = 0
        piece[:, :, :left] = piece[:, :, left + w :] = 0
        if x.strides[3] <= x.itemsize:
            inner[:, pixels] = x[:, pixels]
            return
        for i in range(0, n, IMAGES):
            inner[:, pixels, :, i : i + IMAGES] = x[:, pixels, :, i : i + IMAGES]

    threads.run(fill, threads.parts(out.shape[1], 2 * out.nbytes))
    return out


def strips(rows: slice, columns: slice, bytes_each: int) -> Iterator[tuple[slice, slice]]:
    """A rectangle of positions in strips of whole rows, or of parts of one row where a row is too much."""
    width = columns.stop - columns.start
    at_once = max(1, STRIP_BYTES // max(bytes_each, 1))
    down, across = max(1, at_once // max(width, 1)), max(1, -(-width // max(1, -(-width // at_once))))
    for i in range(rows.start, rows.stop, down):
        for j in range(columns.start, columns.stop, across):
            yield slice(i, min(i + down, rows.stop)), slice(j, min(j + across, columns.stop))


def windows(padded: Any, window: Window, out_size: tuple[int, int]) -> Any:
    """(C, K, L, I, J, N): the pixel that tap (k, l) falls on at position (i, j). A view: most of these are the same pixels."""
    (k, l), (c, h, w, n) = window.kernel, padded.strides
    strides = c, h * window.dilation[0], w * window.dilation[1], h * window.stride[0], w * window.stride[1], n
    return as_strided(padded, (len(padded), k, l, *out_size, padded.shape[3]), strides, writeable=False)


def gathered(seen: Any, rows: slice, columns: slice) -> Any:
    """What the window sees at a strip of positions, (C * K * L, positions * N)."""
    part = seen[:, :, :, rows, columns]
    out = threads.scratch("columns", part.shape, part.dtype)
    out[...] = part
    c, k, l, i, j, n = part.shape
    return out.reshape(c * k * l, i * j * n)
