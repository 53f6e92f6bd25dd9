"""Convolution as matrix products with the columns of the picture.

Pictures are kept batch-innermost, memory order C, H, W, N under the shape (N, C, H, W): then any slice of a row is one long
run, and a copy of it is quick. The columns, (C * K * L, positions * N), are made for a strip of positions at a time, small
enough to stay in the cache, and used there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...shapes import Window
from .. import threads

STRIP_BYTES = 1 << 21  # of columns at a time: fewer, and the interpreter is in the way; more, and they leave the cache


def _batch_last(x: Any, window: Window) -> Any:
    """(N, C, H, W) in any memory order to (C, padded H, padded W, N) in plain order, the padding filled with zeros."""
    x = x.transpose(1, 2, 3, 0)
    (top, left), (bottom, right) = window.before, window.after
    if not (top or left or bottom or right):
        return np.ascontiguousarray(x)
    c, h, w, n = x.shape
    out = np.empty((c, h + top + bottom, w + left + right, n), x.dtype)

    def fill(part: slice) -> None:
        piece = out[part]
        piece[:, :top] = piece[:, top + h :] = 0
        piece[:, top : top + h, :left] = piece[:, top : top + h, left + w :] = 0
        piece[:, top : top + h, left : left + w] = x[part]

    threads.run(fill, threads.parts(c, out.nbytes))
    return out


def _strips(out_size: tuple[int, int], bytes_each: int) -> Iterator[tuple[slice, slice]]:
    """The output's positions in strips of whole rows, or of parts of one row where a row is too much."""
    rows, columns = out_size
    at_once = max(1, STRIP_BYTES // max(bytes_each, 1))
    if at_once >= columns:
        step = at_once // columns
        for i in range(0, rows, step):
            yield slice(i, min(i + step, rows)), slice(0, columns)
    else:
        for i, j in itertools.product(range(rows), range(0, columns, at_once)):
            yield slice(i, i + 1), slice(j, min(j + at_once, columns))


def _under_tap(window: Window, k: int, l: int, rows: slice, columns: slice) -> tuple[slice, slice, slice]:
    """Which pixels of the padded picture tap (k, l) falls on while the window is at these positions."""
    (dk, dl), (sk, sl) = window.dilation, window.stride
    top, left = rows.start * sk + k * dk, columns.start * sl + l * dl
    return (
        slice(None),
        slice(top, top + (rows.stop - rows.start - 1) * sk + 1, sk),
        slice(left, left + (columns.stop - columns.start - 1) * sl + 1, sl),
    )


def _windows(padded: Any, window: Window, out_size: tuple[int, int]) -> Any:
    """(C, K, L, I, J, N): the pixel that tap (k, l) falls on at position (i, j). A view: most of these are the same pixels."""
    (k, l), (c, h, w, n) = window.kernel, padded.strides
    strides = c, h * window.dilation[0], w * window.dilation[1], h * window.stride[0], w * window.stride[1], n
    return as_strided(padded, (len(padded), k, l, *out_size, padded.shape[3]), strides, writeable=False)


def _columns(windows: Any, rows: slice, columns: slice) -> Any:
    """What the window sees at a strip of positions, (C * K * L, positions * N)."""
    part = windows[:, :, :, rows, columns]
    out = threads.scratch("columns", part.shape, part.dtype)
    out[...] = part
    return out.reshape(part.shape[0] * part.shape[1] * part.shape[2], -1)


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Columns of the picture, then one matrix product for each strip and group; the threads share the strips."""
    padded, out_size, f = _batch_last(x, window), window.out_size(x.shape[2:]), w.shape[0] // groups
    weights, dtype = w.reshape(groups, f, -1), np.result_type(x, w)
    out = np.empty((w.shape[0], *out_size, x.shape[0]), dtype)
    strips, windows = list(_strips(out_size, weights[0, 0].size * x.shape[0] * x.itemsize)), _windows(padded, window, out_size)

    def work(part: slice) -> None:
        for (rows, columns), group in itertools.product(strips[part], range(groups)):
            seen = windows[group * w.shape[1] : (group + 1) * w.shape[1]]
            place = out[group * f : (group + 1) * f, rows, columns].reshape(f, -1)  # a view: whole rows, or part of one
            np.matmul(weights[group], _columns(seen, rows, columns), out=place)
            if bias is not None:
                place += bias[group * f : (group + 1) * f, None]

    threads.run(work, threads.parts(len(strips), out.size * weights[0, 0].size))
    return out.transpose(3, 0, 1, 2)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """The same columns times the gradient of their strip, added up over the strips: by each thread, then over the threads."""
    padded, g, f = _batch_last(x, window), _batch_last(g, Window((1, 1))), g.shape[1] // groups
    c = x.shape[1] // groups
    taps = c * window.kernel[0] * window.kernel[1]
    strips = list(_strips(g.shape[1:3], taps * x.shape[0] * x.itemsize))
    windows, work = _windows(padded, window, g.shape[1:3]), threads.parts(len(strips), g.size * taps)
    sums = np.zeros((len(work), groups, taps, f), np.result_type(x, g))

    def add_up(numbered: tuple[int, slice]) -> None:
        i, part = numbered
        for (rows, columns), group in itertools.product(strips[part], range(groups)):
            strip = _columns(windows[group * c : (group + 1) * c], rows, columns)
            gradient = g[group * f : (group + 1) * f, rows, columns].reshape(f, -1)
            sums[i, group] += strip @ gradient.T  # this way round the product is quicker than its transpose

    threads.run(add_up, list(enumerate(work)))
    return sums.sum(0).transpose(0, 2, 1).reshape(f * groups, c, *window.kernel)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """With stride 1 and no more filters than channels a convolution of the gradient, else by way of the columns' gradient."""
    mirrored = _mirrored(window, g.shape[2:], size)
    if mirrored is None or g.shape[1] > w.shape[1] * groups:
        return _add_columns_back(g, w, window, groups, size)
    f, c = w.shape[0] // groups, w.shape[1]
    turned = w.reshape(groups, f, c, *window.kernel).swapaxes(1, 2)[..., ::-1, ::-1].reshape(groups * c, f, *window.kernel)
    return conv2d(g, turned, None, mirrored, groups)


def _mirrored(window: Window, out_size: tuple[int, int], size: tuple[int, int]) -> Window | None:
    """The window that a pixel's gradient sees on the output's: mirrored, and padded so that each tap meets its pixel again.

    None where there is no such window: the stride leaves gaps, or the padding is wider than the window reaches.
    """
    reach = [d * (k - 1) for d, k in zip(window.dilation, window.kernel)]
    before = tuple(r - b for r, b in zip(reach, window.before))
    after = tuple(n + r - o - b for n, r, o, b in zip(size, reach, out_size, before))
    if window.stride != (1, 1) or min(*before, *after) < 0:
        return None
    return Window(window.kernel, (1, 1), before, after, window.dilation)  # type: ignore[arg-type]


def _add_columns_back(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """The gradient of the columns, each row of it added where it was copied from; the threads share the channels."""
    g, f, c, (k, l) = _batch_last(g, Window((1, 1))), w.shape[0] // groups, w.shape[1], window.kernel
    weights = w.reshape(groups, f, c, k * l).transpose(0, 2, 3, 1)
    padded_size = [n + b + a for n, b, a in zip(size, window.before, window.after)]
    out = np.empty((c * groups, *padded_size, g.shape[3]), np.result_type(g, w))
    channels = threads.parts(c, g.size * c * k * l)

    def work(part: slice) -> None:
        share = part.stop - part.start
        for group in range(groups):
            pixels = out[group * c + part.start : group * c + part.stop]
            pixels[...] = 0
            kernel = weights[group, part].reshape(share * k * l, f)
            for rows, columns in _strips(g.shape[1:3], share * k * l * g.shape[3] * g.itemsize):
                gradient = g[group * f : (group + 1) * f, rows, columns]
                strip = threads.scratch("columns", (share * k * l, gradient[0].size), out.dtype)
                np.matmul(kernel, gradient.reshape(f, -1), out=strip)
                strip = strip.reshape(share, k, l, *gradient.shape[1:])
                for tap in itertools.product(range(k), range(l)):
                    pixels[_under_tap(window, *tap, rows, columns)] += strip[:, tap[0], tap[1]]

    threads.run(work, channels)
    top, left = window.before
    return out[:, top : top + size[0], left : left + size[1]].transpose(3, 0, 1, 2)
