"""Windows over pictures where there is no matrix to multiply with: convolution in small groups, and pooling.

Pictures are (C, H, W * N), the images innermost: what a tap sees of a row of pixels is a row of the output moved aside, so the
innermost loop is long. A `Slide` says how a window slides along one dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ...shapes import Window
from .. import cpu
from ..cpu.columns import batch_last
from ..cpu.pool import taps_dtype
from ..threads import as_bytes
from .compile import loop, part, parts, shared
from .mathematics import f32

FEW = 32  # taps times channels that a filter sees: with more, a matrix product is quicker


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
def _add(to, x, factor):
    for i in range(to.size):
        to[i] += factor * x[i]


@loop
def _dot(a, b):
    total = f32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@loop
def _see(row, pixels, factor, slide, tap, n):
    """Add to a row of the output what it sees through a tap of a row of pixels."""
    low, high, ahead = _span(slide, tap, pixels.size // n, row.size // n)
    if slide.stride == 1:
        _add(row[low * n : high * n], pixels[(low + ahead) * n : (high + ahead) * n], factor)
    else:
        for j in range(low, high):
            at = j * slide.stride + ahead
            _add(row[j * n : (j + 1) * n], pixels[at * n : (at + 1) * n], factor)


@loop
def _spread(row, pixels, factor, slide, tap, n):
    """The transpose: add a row of the output to the pixels that it sees."""
    low, high, ahead = _span(slide, tap, pixels.size // n, row.size // n)
    if slide.stride == 1:
        _add(pixels[(low + ahead) * n : (high + ahead) * n], row[low * n : high * n], factor)
    else:
        for j in range(low, high):
            at = j * slide.stride + ahead
            _add(pixels[at * n : (at + 1) * n], row[j * n : (j + 1) * n], factor)


@loop
def _product(row, pixels, slide, tap, n):
    """The sum of a row of the output times what it sees."""
    low, high, ahead = _span(slide, tap, pixels.size // n, row.size // n)
    if slide.stride == 1:
        return _dot(row[low * n : high * n], pixels[(low + ahead) * n : (high + ahead) * n])
    total = f32(0)
    for j in range(low, high):
        at = j * slide.stride + ahead
        total += _dot(row[j * n : (j + 1) * n], pixels[at * n : (at + 1) * n])
    return total


@shared
def _conv(parts, x, w, bias, out, rows, columns, n, per_group):
    """(C, H, W * N), (F, C / G, K, L), (F,) -> (F, I, J * N)."""
    for p in prange(parts):
        first, last = part(len(w), p, parts)
        c = w.shape[1]
        for f in range(first, last):
            group = f // per_group * c
            for i in range(out.shape[1]):
                out[f, i, :] = bias[f]
                for own in range(c):
                    for k in range(rows.taps):
                        y = i * rows.stride + k * rows.dilation - rows.before
                        if 0 <= y < x.shape[1]:
                            for l in range(columns.taps):
                                _see(out[f, i], x[group + own, y], w[f, own, k, l], columns, l, n)


@shared
def _conv_input_grad(parts, g, w, out, rows, columns, n, per_group):
    """(F, I, J * N), (F, C / G, K, L) -> (C, H, W * N)."""
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        c = w.shape[1]
        for channel in range(first, last):
            group = channel // c
            for y in range(out.shape[1]):
                out[channel, y, :] = 0
                for f in range(group * per_group, (group + 1) * per_group):
                    for k in range(rows.taps):
                        i, off = divmod(y + rows.before - k * rows.dilation, rows.stride)
                        if off == 0 and 0 <= i < g.shape[1]:
                            for l in range(columns.taps):
                                _spread(g[f, i], out[channel, y], w[f, channel - group * c, k, l], columns, l, n)


@shared
def _conv_weight_grad(parts, x, g, out, rows, columns, n, per_group):
    """(C, H, W * N), (F, I, J * N) -> (F, C / G, K, L)."""
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        c = out.shape[1]
        for f in range(first, last):
            group = f // per_group * c
            for own in range(c):
                for k in range(rows.taps):
                    for l in range(columns.taps):
                        total = 0.0
                        for i in range(g.shape[1]):
                            y = i * rows.stride + k * rows.dilation - rows.before
                            if 0 <= y < x.shape[1]:
                                total += _product(g[f, i], x[group + own, y], columns, l, n)
                        out[f, own, k, l] = total


def _flat(x: Any) -> Any:
    """(N, C, H, W) as (C, H, W * N)."""
    x = batch_last(x, Window((1, 1)))
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _images(x: Any, n: int) -> Any:
    """(C, H, W * N) as (N, C, H, W)."""
    return x.reshape(*x.shape[:2], x.shape[2] // n, n).transpose(3, 0, 1, 2)


def _is_few(x: Any, w: Any, groups: int) -> bool:
    return groups > 1 and x.dtype == w.dtype == np.float32 and 0 < w[0].size <= FEW and x.size > 0 and w.size > 0


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    if not _is_few(x, w, groups):
        return cpu.conv2d(x, w, bias, window, groups)
    n, (i, j), b = len(x), window.out_size(x.shape[2:]), np.zeros(len(w), np.float32) if bias is None else bias
    out, pixels, w = np.empty((len(w), i, j * n), np.float32), _flat(x), np.ascontiguousarray(w)
    count = parts(len(w), as_bytes(out.size * w[0].size))
    _conv(count, pixels, w, b, out, *_slides(window), n, len(w) // groups)
    return _images(out, n)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """Likewise."""
    if not _is_few(g, w, groups):
        return cpu.conv2d_input_grad(g, w, window, groups, size)
    n, channels = len(g), groups * w.shape[1]
    out, g, w = np.empty((channels, size[0], size[1] * n), np.float32), _flat(g), np.ascontiguousarray(w)
    count = parts(channels, as_bytes(g.size * w[0].size))
    _conv_input_grad(count, g, w, out, *_slides(window), n, len(w) // groups)
    return _images(out, n)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """Likewise."""
    n, f = len(x), g.shape[1]
    out = np.empty((f, x.shape[1] // groups, *window.kernel), np.float32)
    if not _is_few(x, out, groups) or g.dtype != np.float32:
        return cpu.conv2d_weight_grad(x, g, window, groups)
    x, g = _flat(x), _flat(g)
    count = parts(f, as_bytes(g.size * out[0].size))
    _conv_weight_grad(count, x, g, out, *_slides(window), n, f // groups)
    return out


# -- pooling


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
                            _see(out[c, i], x[c, y], f32(1), columns, l, n)


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
                            _spread(g[c, i], out[c, y], f32(1), columns, l, n)


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
