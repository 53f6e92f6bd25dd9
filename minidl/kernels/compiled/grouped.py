"""Convolution in small groups: tap by tap, for there is no matrix to multiply with.

Pictures are (C, H, W * N), the images innermost: what a tap sees of a row of pixels is a part of a row of the output, moved
aside. So the innermost loop is long, and there is no need for padding: taps beyond the edge are left out.
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

FEW = 64  # taps times channels that a filter sees: with more, a matrix product is quicker
AT_ONCE = 3  # taps, so that a row is read and written once for all of them


@functools.lru_cache(1000)
def _runs(window: Window, width: int, count: int) -> Any:
    """How a row of the window meets a row of pixels: a table of (first tap, taps, first position, positions, first pixel).

    Positions are put together where their pixels lie side by side, and taps if all of `AT_ONCE` meet pixels.
    """
    found: list[list[int]] = []
    step, reach, left = window.stride[1], window.dilation[1], window.before[1]
    for first in range(0, window.kernel[1], AT_ONCE):
        taps = range(first, min(first + AT_ONCE, window.kernel[1]))
        before: dict[tuple[int, int], list[int]] = {}
        for j in range(count):
            met = [t for t in taps if 0 <= j * step + t * reach - left < width]
            starts = [(first, AT_ONCE)] if len(met) == AT_ONCE else [(t, 1) for t in met]
            now = {(t, n): before.get((t, n)) or [t, n, j, 0, j * step + t * reach - left] for t, n in starts}
            found += [run for run in now.values() if not run[3]]
            for run in now.values():
                run[3] += 1
            before = now if step == 1 else {}
    return np.array(found, np.int64).reshape(-1, 5)


@loop
def _add_row(row, pixels, factors, runs, reach, n):
    """Add to a row of the output what it sees of a row of pixels through each tap, times the tap's factor."""
    for r in range(len(runs)):
        tap, taps, j, count, pixel = runs[r]
        here, first = row[j * n : (j + count) * n], pixels[pixel * n :]
        if taps == 1:
            factor = factors[tap]
            for i in range(here.size):
                here[i] += factor * first[i]
        else:
            second, third, a, b, c = (
                first[reach * n :],
                first[2 * reach * n :],
                factors[tap],
                factors[tap + 1],
                factors[tap + 2],
            )
            for i in range(here.size):
                here[i] += a * first[i] + b * second[i] + c * third[i]


@loop
def _add_products(row, pixels, to, runs, reach, n):
    """Add to each tap's place the sum of a row of the output times what it sees through the tap."""
    for r in range(len(runs)):
        tap, taps, j, count, pixel = runs[r]
        here, first, x = row[j * n : (j + count) * n], pixels[pixel * n :], f32(0)
        if taps == 1:
            for i in range(here.size):
                x += here[i] * first[i]
        else:
            second, third, y, z = first[reach * n :], first[2 * reach * n :], f32(0), f32(0)
            for i in range(here.size):
                x += here[i] * first[i]
                y += here[i] * second[i]
                z += here[i] * third[i]
            to[tap + 1] += y
            to[tap + 2] += z
        to[tap] += x


@shared
def _conv(parts, x, w, bias, out, rows, runs, reach, n, groups):
    """(C, H, W * N), (F, C / G, K, L), (F,) -> (F, I, J * N); ``rows``: see `_of`."""
    for p in prange(parts):
        first, last = part(len(w), p, parts)
        step, spread, above = rows
        c, each = w.shape[1], len(w) // groups
        for f in range(first, last):
            for i in range(out.shape[1]):
                out[f, i, :] = bias[f]
                for own in range(c):
                    for k in range(w.shape[2]):
                        h = i * step + k * spread - above
                        if 0 <= h < x.shape[1]:
                            _add_row(out[f, i], x[f // each * c + own, h], w[f, own, k], runs, reach, n)


@shared
def _conv_weight_grad(parts, x, g, out, rows, runs, reach, n, groups):
    """(C, H, W * N), (F, I, J * N) -> (F, C / G, K, L)."""
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        step, spread, above = rows
        c, each = out.shape[1], len(out) // groups
        for f in range(first, last):
            out[f] = 0
            for i in range(g.shape[1]):
                for own in range(c):
                    for k in range(out.shape[2]):
                        h = i * step + k * spread - above
                        if 0 <= h < x.shape[1]:
                            _add_products(g[f, i], x[f // each * c + own, h], out[f, own, k], runs, reach, n)


def flat(x: Any) -> Any:
    """(N, C, H, W) as (C, H, W * N)."""
    x = batch_last(x, Window((1, 1)))
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _of(window: Window, width: int, count: int) -> Any:
    """What the loops know of a window: stride, dilation and padding from row to row, and `_runs` and dilation within one."""
    rows, reach = (window.stride[0], window.dilation[0], window.before[0]), window.dilation[1]
    return rows, _runs(window, width, count), reach


def _is_few(x: Any, w: Any, groups: int) -> bool:
    return groups > 1 and x.dtype == w.dtype == np.float32 and 0 < w[0].size <= FEW and x.size > 0


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    if not len(w) or not _is_few(x, w, groups):
        return cpu.conv2d(x, w, bias, window, groups)
    n, (i, j), b = len(x), window.out_size(x.shape[2:]), np.zeros(len(w), np.float32) if bias is None else bias
    out = np.empty((len(w), i, j * n), np.float32)
    count = parts(len(w), as_bytes(out.size * w[0].size))
    _conv(count, flat(x), np.ascontiguousarray(w), b, out, *_of(window, x.shape[3], j), n, groups)
    return out.reshape(len(w), i, j, n).transpose(3, 0, 1, 2)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """As `minidl.kernels.cpu` does it, by convolutions."""
    return conv.conv2d_input_grad(g, w, window, groups, size, conv2d)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    n, f = len(x), g.shape[1]
    out = np.empty((f, x.shape[1] // groups, *window.kernel), np.float32)
    if not f or not _is_few(x, out, groups) or g.dtype != np.float32:
        return cpu.conv2d_weight_grad(x, g, window, groups)
    count = parts(f, as_bytes(g.size * out[0].size))
    _conv_weight_grad(count, flat(x), flat(g), out, *_of(window, x.shape[3], g.shape[3]), n, groups)
    return out
