"""Pooling, with the images innermost.

Pictures are (C, H, W * N), the images innermost: what a tap sees of a row of pixels is a row of the output moved aside, so the
innermost loop is long. A `Slide` says how a window slides along one dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ...shapes import Window
from .. import cpu
from ..cpu.pool import taps_dtype
from .compile import loop, part, parts, shared


class Slide(NamedTuple):
    """A window along one dimension: so many ``taps``, ``dilation`` pixels apart, the first ``before`` pixels outside."""

    taps: int
    stride: int
    before: int
    dilation: int


def _slides(window: Window) -> tuple[Slide, Slide]:
    rows, columns = (Slide(*pair) for pair in zip(window.kernel, window.stride, window.before, window.dilation))
    return rows, columns


@loop
def _span(slide, tap, size, count):
    """The first and the last (excluded) of ``count`` positions that see one of ``size`` pixels through a tap."""
    ahead = tap * slide.dilation - slide.before
    low = max(0, -(ahead // slide.stride))
    return low, max(low, min(count, (size - 1 - ahead) // slide.stride + 1)), ahead


@loop
def _add(to, x):
    for i in range(to.size):
        to[i] += x[i]


@loop
def _see(row, pixels, slide, tap, n):
    """Add to a row of the output what it sees through a tap of a row of pixels."""
    low, high, ahead = _span(slide, tap, pixels.size // n, row.size // n)
    if slide.stride == 1:
        _add(row[low * n : high * n], pixels[(low + ahead) * n : (high + ahead) * n])
    else:
        for j in range(low, high):
            at = j * slide.stride + ahead
            _add(row[j * n : (j + 1) * n], pixels[at * n : (at + 1) * n])


@loop
def _spread(row, pixels, slide, tap, n):
    """The transpose: add a row of the output to the pixels that it sees."""
    low, high, ahead = _span(slide, tap, pixels.size // n, row.size // n)
    if slide.stride == 1:
        _add(pixels[(low + ahead) * n : (high + ahead) * n], row[low * n : high * n])
    else:
        for j in range(low, high):
            at = j * slide.stride + ahead
            _add(pixels[at * n : (at + 1) * n], row[j * n : (j + 1) * n])


def _flat(x: Any) -> Any:
    """(N, C, H, W) as (C, H, W * N)."""
    return x.transpose(1, 2, 3, 0).reshape(*x.shape[1:3], x.shape[3] * x.shape[0])


def _images(x: Any, n: int) -> Any:
    """(C, H, W * N) as (N, C, H, W)."""
    return x.reshape(*x.shape[:2], x.shape[2] // n, n).transpose(3, 0, 1, 2)


@shared
def _sums(parts, x, out, rows, columns, n):
    """(C, H, W * N) -> (C, I, J * N): the sum of each window."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        for c in range(first, last):
            for i in range(out.shape[1]):
                out[c, i, :] = 0
                for k in range(rows.taps):
                    y = i * rows.stride + k * rows.dilation - rows.before
                    if 0 <= y < x.shape[1]:
                        for l in range(columns.taps):
                            _see(out[c, i], x[c, y], columns, l, n)


@shared
def _sums_back(parts, g, out, rows, columns, n):
    """Its transpose."""
    for p in prange(parts):
        first, last = part(len(g), p, parts)
        for c in range(first, last):
            out[c] = 0
            for i in range(g.shape[1]):
                for k in range(rows.taps):
                    y = i * rows.stride + k * rows.dilation - rows.before
                    if 0 <= y < out.shape[1]:
                        for l in range(columns.taps):
                            _spread(g[c, i], out[c, y], columns, l, n)


@loop
def _mark(taps, out, pixels, number):
    """Note a tap where its pixel is the result."""
    for b in range(taps.size):
        taps[b] = number if pixels[b] == out[b] else taps[b]


@shared
def _which(parts, x, out, taps, rows, columns, n):
    """The first tap whose pixel is the result; where that is NaN, the last that is NaN."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        for c in range(first, last):
            for i in range(out.shape[1]):
                taps[c, i, :] = 0
                for tap in range(rows.taps * columns.taps - 1, -1, -1):  # what is noted last is what stays
                    k, l = divmod(tap, columns.taps)
                    y = i * rows.stride + k * rows.dilation - rows.before
                    if 0 <= y < x.shape[1]:
                        low, high, ahead = _span(columns, l, x.shape[2] // n, out.shape[2] // n)
                        for j in range(low, high):
                            here, at = slice(j * n, (j + 1) * n), (j * columns.stride + ahead) * n
                            _mark(taps[c, i, here], out[c, i, here], x[c, y, at : at + n], tap)
                for b in range(out.shape[2]):
                    if out[c, i, b] != out[c, i, b]:
                        taps[c, i, b] = _last_nan(x[c], rows, columns, n, i, b)


@loop
def _last_nan(x, rows, columns, n, i, b):
    found = 0
    for k in range(rows.taps):
        for l in range(columns.taps):
            y, at = (
                i * rows.stride + k * rows.dilation - rows.before,
                b // n * columns.stride + l * columns.dilation - columns.before,
            )
            if 0 <= y < x.shape[0] and 0 <= at < x.shape[1] // n and np.isnan(x[y, at * n + b % n]):
                found = k * columns.taps + l
    return found


@shared
def _place(parts, g, taps, out, rows, columns, n):
    """Add each gradient where its tap points; a window that sees no pixel points outside."""
    for p in prange(parts):
        first, last = part(len(g), p, parts)
        places = np.empty(rows.taps * columns.taps, np.int64)
        for c in range(first, last):
            out[c] = 0
            flat = out[c].reshape(-1)
            for i in range(g.shape[1]):
                for j in range(g.shape[2] // n):
                    _find(places, rows, columns, i, j, out.shape[1], out.shape[2] // n)
                    for b in range(n):
                        at = places[taps[c, i, j * n + b]]
                        if at >= 0:
                            flat[at * n + b] += g[c, i, j * n + b]


@loop
def _find(places, rows, columns, i, j, height, width):
    """The pixel under each tap at a position; -1 outside."""
    for tap in range(places.size):
        k, l = divmod(tap, columns.taps)
        y = i * rows.stride + k * rows.dilation - rows.before
        x = j * columns.stride + l * columns.dilation - columns.before
        places[tap] = y * width + x if 0 <= y < height and 0 <= x < width else -1


def _is_plain(*arrays: Any) -> bool:
    """Whether the images are innermost in memory, and the numbers float32."""
    last = [a.transpose(1, 2, 3, 0) for a in arrays]
    return all(a.flags.c_contiguous and a.size > 0 for a in last) and arrays[0].dtype == np.float32


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum over the taps."""
    if not _is_plain(x):
        return cpu.sum_pool2d(x, window)
    n, (i, j) = len(x), window.out_size(x.shape[2:])
    out = np.empty((x.shape[1], i, j * n), np.float32)
    _sums(parts(x.shape[1], 4 * x.nbytes), _flat(x), out, *_slides(window), n)
    return _images(out, n)


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, every gradient is added at its pixel."""
    if not _is_plain(g):
        return cpu.sum_pool2d_spread(g, window, size)
    n, out = len(g), np.empty((g.shape[1], size[0], size[1] * len(g)), np.float32)
    _sums_back(parts(g.shape[1], 4 * out.nbytes), _flat(g), out, *_slides(window), n)
    return _images(out, n)


def max_pool2d_taps(x: Any, out: Any, window: Window) -> Any:
    """The first tap whose pixel is the maximum; where that is NaN, the last that is NaN."""
    if not _is_plain(x, out):
        return cpu.max_pool2d_taps(x, out, window)
    n, taps = len(x), np.empty((out.shape[1], out.shape[2], out.shape[3] * len(x)), taps_dtype(window))
    _which(parts(x.shape[1], 8 * x.nbytes), _flat(x), _flat(out), taps, *_slides(window), n)
    return _images(taps, n)


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each gradient is added where its tap points."""
    if not _is_plain(g, taps):
        return cpu.max_pool2d_place(g, taps, window, size)
    n, out = len(g), np.empty((g.shape[1], size[0], size[1] * len(g)), np.float32)
    _place(parts(g.shape[1], 8 * out.nbytes), _flat(g), _flat(taps), out, *_slides(window), n)
    return _images(out, n)
