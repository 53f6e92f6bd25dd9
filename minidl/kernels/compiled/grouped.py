"""Convolution in small groups: tap by tap, for there is no matrix to multiply with.

Pictures are (C, H, W * N), the images innermost. The channels that a filter sees are copied into padded ones that stay in
the cache, (C / G, H, S, W / S * N) with stride S: the columns that one tap meets lie side by side there. So what a row of the
output sees through a tap is one run of numbers, and nine taps go in one loop.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import prange

from ...shapes import Window
from .. import cpu
from ..cpu import conv
from ..cpu.columns import batch_last
from ..threads import as_bytes
from .compile import loop, part, parts, shared
from .mathematics import f32

FEW = 128  # taps times channels that a filter sees: with more, a matrix product is quicker


@functools.lru_cache(1000)
def _of(window: Window, shape: tuple[int, ...]) -> Any:
    """What the loops know of a window on pictures of a shape (N, C / G, H, W): that of the padded channels, what is above and
    on the left, N, how far the pixels of one row of the output are from those of the next, and each tap from the first.
    """
    (n, c, h, w), (above, left), (below, right), step = shape, window.before, window.after, window.stride
    each = -(-(w + left + right) // step[1]) * n
    padded = c, h + above + below, step[1], each
    column = [l * window.dilation[1] for l in range(window.kernel[1])]
    inside = [place % step[1] * each + place // step[1] * n for place in column]
    rows = [(own * padded[1] + k * window.dilation[0]) * step[1] * each for own in range(c) for k in range(window.kernel[0])]
    return padded, (above, left), n, step[0] * step[1] * each, np.add.outer(rows, inside).reshape(-1)


@loop
def _pad(x, padded, before, n):
    """The pixels of some channels where they belong; around them are zeros. They themselves if there is nothing around."""
    if x.size == padded.size and padded.shape[2] == 1:
        return x.reshape(-1)
    step = padded.shape[2]
    for c in range(len(x)):
        for h in range(x.shape[1]):
            row, places = x[c, h], padded[c, before[0] + h]
            if step == 1:
                to = places[0, before[1] * n :]
                for i in range(row.size):
                    to[i] = row[i]
            else:
                for w in range(row.size // n):
                    place = before[1] + w
                    to, pixel = places[place % step, place // step * n :], row[w * n : w * n + n]
                    for i in range(n):
                        to[i] = pixel[i]
    return padded.reshape(-1)


@loop
def _add_taps(row, seen, factors, places):
    """Add to a row of the output what it sees through each tap, times the tap's factor."""
    t = 0
    while t + 9 <= places.size:
        p0, p1, p2 = seen[places[t] :], seen[places[t + 1] :], seen[places[t + 2] :]
        p3, p4, p5 = seen[places[t + 3] :], seen[places[t + 4] :], seen[places[t + 5] :]
        p6, p7, p8 = seen[places[t + 6] :], seen[places[t + 7] :], seen[places[t + 8] :]
        a, b, c, d, e = factors[t], factors[t + 1], factors[t + 2], factors[t + 3], factors[t + 4]
        f, g, h, k = factors[t + 5], factors[t + 6], factors[t + 7], factors[t + 8]
        for i in range(row.size):
            some = a * p0[i] + b * p1[i] + c * p2[i] + d * p3[i] + e * p4[i]
            row[i] += some + f * p5[i] + g * p6[i] + h * p7[i] + k * p8[i]
        t += 9
    while t + 3 <= places.size:
        p0, p1, p2 = seen[places[t] :], seen[places[t + 1] :], seen[places[t + 2] :]
        a, b, c = factors[t], factors[t + 1], factors[t + 2]
        for i in range(row.size):
            row[i] += a * p0[i] + b * p1[i] + c * p2[i]
        t += 3
    for rest in range(t, places.size):
        p0, a = seen[places[rest] :], factors[rest]
        for i in range(row.size):
            row[i] += a * p0[i]


@loop
def _add_products(row, seen, to, places):
    """Add to each tap's place the sum of a row of the output times what it sees through the tap."""
    t = 0
    while t + 3 <= places.size:
        p0, p1, p2 = seen[places[t] :], seen[places[t + 1] :], seen[places[t + 2] :]
        x, y, z = f32(0), f32(0), f32(0)
        for i in range(row.size):
            x += row[i] * p0[i]
            y += row[i] * p1[i]
            z += row[i] * p2[i]
        to[t] += x
        to[t + 1] += y
        to[t + 2] += z
        t += 3
    for rest in range(t, places.size):
        p0, x = seen[places[rest] :], f32(0)
        for i in range(row.size):
            x += row[i] * p0[i]
        to[rest] += x


@shared
def _conv(parts, x, w, bias, out, groups, shape, before, n, step, places):
    """(C, H, W * N), (F, C / G * taps), (F,) -> (F, I, J * N); the rest: see `_of`."""
    for p in prange(parts):
        first, last = part(len(w), p, parts)
        c, each, padded = len(x) // groups, len(w) // groups, np.zeros(shape, np.float32)
        for group in range(first // each, -(-last // each)):
            seen = _pad(x[group * c : group * c + c], padded, before, n)
            for f in range(max(first, group * each), min(last, group * each + each)):
                for i in range(out.shape[1]):
                    row = out[f, i]
                    for j in range(row.size):
                        row[j] = bias[f]
                    _add_taps(row, seen[i * step :], w[f], places)


@shared
def _conv_weight_grad(parts, x, g, out, groups, shape, before, n, step, places):
    """(C, H, W * N), (F, I, J * N) -> (F, C / G * taps), which is added to."""
    for p in prange(parts):
        first, last = part(len(g), p, parts)
        c, each, padded = len(x) // groups, len(g) // groups, np.zeros(shape, np.float32)
        for group in range(first // each, -(-last // each)):
            seen = _pad(x[group * c : group * c + c], padded, before, n)
            for f in range(max(first, group * each), min(last, group * each + each)):
                for i in range(g.shape[1]):
                    _add_products(g[f, i], seen[i * step :], out[f], places)


def flat(x: Any) -> Any:
    """(N, C, H, W) as (C, H, W * N)."""
    x = batch_last(x, Window((1, 1)))
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _is_few(x: Any, w: Any, groups: int) -> bool:
    return groups > 1 and x.dtype == w.dtype == np.float32 and 0 < w[0].size <= FEW and x.size > 0


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    if not len(w) or not _is_few(x, w, groups):
        return cpu.conv2d(x, w, bias, window, groups)
    n, (i, j), b = len(x), window.out_size(x.shape[2:]), np.zeros(len(w), np.float32) if bias is None else bias
    out = np.empty((len(w), i, j * n), np.float32)
    count, of = parts(len(w), as_bytes(out.size * w[0].size)), _of(window, (n, w.shape[1], *x.shape[2:]))
    _conv(count, flat(x), np.ascontiguousarray(w).reshape(len(w), -1), b, out, groups, *of)
    return out.reshape(len(w), i, j, n).transpose(3, 0, 1, 2)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """As `minidl.kernels.cpu` does it, by convolutions."""
    return conv.conv2d_input_grad(g, w, window, groups, size, conv2d)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    n, f = len(x), g.shape[1]
    out = np.zeros((f, x.shape[1] // groups, *window.kernel), np.float32)
    if not f or not _is_few(x, out, groups) or g.dtype != np.float32:
        return cpu.conv2d_weight_grad(x, g, window, groups)
    count, of = parts(f, as_bytes(g.size * out[0].size)), _of(window, (n, out.shape[1], *x.shape[2:]))
    _conv_weight_grad(count, flat(x), flat(g), out.reshape(f, -1), groups, *of)
    return out
