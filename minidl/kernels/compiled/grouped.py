"""Convolution in small groups: tap by tap, for there is no matrix to multiply with.

Pictures are (C, H, W * N), the images innermost, with their padding: what a tap sees of a row of pixels is a row of the output,
moved aside. So the innermost loop is long.
"""

from __future__ import annotations

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


@loop
def _add_row(row, pixels, factors, step, reach, n):
    """Add to a row of the output what it sees of a row of pixels through each tap, times the tap's factor.

    ``step`` pixels lie from position to position, and ``reach`` from tap to tap.
    """
    if step == 1 and factors.size == 3:  # at a time, so that the row is read and written once
        a, b, c = factors[0], factors[1], factors[2]
        second, third = pixels[reach * n :], pixels[2 * reach * n :]
        for i in range(row.size):
            row[i] += a * pixels[i] + b * second[i] + c * third[i]
    else:
        for tap in range(factors.size):
            seen, factor = pixels[tap * reach * n :], factors[tap]
            if step == 1:
                for i in range(row.size):
                    row[i] += factor * seen[i]
            else:
                for j in range(row.size // n):
                    here, there = row[j * n : (j + 1) * n], seen[j * step * n : (j * step + 1) * n]
                    for i in range(n):
                        here[i] += factor * there[i]


@loop
def _dot(a, b):
    total = f32(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@loop
def _add_products(row, pixels, to, step, reach, n):
    """Add to each tap's place the sum of a row of the output times what it sees through the tap."""
    if step == 1 and to.size == 3:
        second, third, x, y, z = pixels[reach * n :], pixels[2 * reach * n :], f32(0), f32(0), f32(0)
        for i in range(row.size):
            x += row[i] * pixels[i]
            y += row[i] * second[i]
            z += row[i] * third[i]
        to[0] += x
        to[1] += y
        to[2] += z
    else:
        for tap in range(to.size):
            seen = pixels[tap * reach * n :]
            if step == 1:
                to[tap] += _dot(row, seen[: row.size])
            else:
                for j in range(row.size // n):
                    to[tap] += _dot(row[j * n : (j + 1) * n], seen[j * step * n : (j * step + 1) * n])


@shared
def _conv(parts, x, w, bias, out, stride, dilation, n, groups):
    """(C, padded H, padded W * N), (F, C / G, K, L), (F,) -> (F, I, J * N)."""
    for p in prange(parts):
        first, last = part(len(w), p, parts)
        c, each = w.shape[1], len(w) // groups
        for f in range(first, last):
            for i in range(out.shape[1]):
                out[f, i, :] = bias[f]
                for own in range(c):
                    for k in range(w.shape[2]):
                        pixels = x[f // each * c + own, i * stride[0] + k * dilation[0]]
                        _add_row(out[f, i], pixels, w[f, own, k], stride[1], dilation[1], n)


@shared
def _conv_weight_grad(parts, x, g, out, stride, dilation, n, groups):
    """(C, padded H, padded W * N), (F, I, J * N) -> (F, C / G, K, L)."""
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        c, each = out.shape[1], len(out) // groups
        for f in range(first, last):
            out[f] = 0
            for i in range(g.shape[1]):
                for own in range(c):
                    for k in range(out.shape[2]):
                        pixels = x[f // each * c + own, i * stride[0] + k * dilation[0]]
                        _add_products(g[f, i], pixels, out[f, own, k], stride[1], dilation[1], n)


def _flat(x: Any, window: Window) -> Any:
    """(N, C, H, W) as (C, H, W * N), with the padding."""
    x = batch_last(x, window)
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _is_few(x: Any, w: Any, groups: int) -> bool:
    return groups > 1 and x.dtype == w.dtype == np.float32 and 0 < w[0].size <= FEW and x.size > 0


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Tap by tap where the groups are small."""
    if not len(w) or not _is_few(x, w, groups):
        return cpu.conv2d(x, w, bias, window, groups)
    n, (i, j), b = len(x), window.out_size(x.shape[2:]), np.zeros(len(w), np.float32) if bias is None else bias
    out = np.empty((len(w), i, j * n), np.float32)
    count = parts(len(w), as_bytes(out.size * w[0].size))
    _conv(count, _flat(x, window), np.ascontiguousarray(w), b, out, window.stride, window.dilation, n, groups)
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
    _conv_weight_grad(count, _flat(x, window), _flat(g, Window((1, 1))), out, window.stride, window.dilation, n, groups)
    return out
