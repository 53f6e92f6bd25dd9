"""Convolution tap by tap: each is a matrix that turns channels into filters, wherever it is.

Pictures are (C, H, W * N), the images innermost: what a tap sees of a row of pixels is a matrix as it lies, (C, positions * N),
and so is the row of the output that it adds to. Nothing is copied for the products; nor is there padding, for taps beyond the
edge are left out. A strided convolution is a sum of plain ones (see `minidl.kernels.cpu.phases`).

The products are small on purpose. OpenBLAS lays out the factors of a product anew, for its innermost loops, which takes as long
as a third of the product here. With AVX-512 it has loops for small products that go without that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ...shapes import Window
from .. import cpu, threads
from ..cpu.phases import mirrored, phases
from . import grouped
from .compile import loop, part, parts, shared
from .mathematics import f32
from .matmul import PLAIN, ROWS, TURNED, _sgemm
from .pool import max_pool2d_taps

FEWEST = 12  # channels, filters and columns: with fewer, all taps at once are quicker
COLUMNS = 512  # positions times images, of a product that is not small: it stays in the cache for all taps
WITH_SMALL = ("SkylakeX", "Cooperlake", "SapphireRapids")  # OpenBLAS's kernels that have loops for small products
_small = any(getattr(library, "architecture", "") in WITH_SMALL for library in threads.blas_of_numpy().lib_controllers)
SMALL = 1_000_000 if _small else 0  # multiplications, of which there may be so many
SMALL_OUT = 1024 if _small else 0  # and where both factors have the sum along their rows, numbers of the product


@loop
def _at_once(f, c, n):
    """How many positions of a row all taps go over, one after the other."""
    columns = SMALL // (f * c)
    return max((columns if columns >= COLUMNS // 4 else COLUMNS) // n, 1)


@loop
def _met(tap, dilation, padding, start, stop, size):
    """How far aside a tap looks, and which of the positions start to stop see one of ``size`` pixels through it."""
    aside = tap * dilation - padding
    return aside, max(start, -aside), min(stop, size - aside)


@loop
def _place(item, rows, columns, size):
    """Group, row, and first and last position of one of the pieces that the work is cut into."""
    blocks = -(-columns // size)
    start = item % blocks * size
    return item // blocks // rows, item // blocks % rows, start, min(start + size, columns)


@loop
def _make(x, w, bias, out, down, along, n, groups, p, parts):
    """Part p of the output of `_conv`."""
    f, c, height, width = w.shape[2] // groups, w.shape[3], x.shape[1], x.shape[2]
    size, direct = _at_once(f, c, n), out.strides[2] == 4 * n and out.strides[3] == 4
    elsewhere = np.empty((f, 1 if direct else size, n), np.float32)
    first, last = part(groups * out.shape[1] * -(-out.shape[2] // size), p, parts)
    for item in range(first, last):
        group, i, start, stop = _place(item, out.shape[1], out.shape[2], size)
        place = out[group * f : group * f + f, i, start:stop]
        to = place if direct else elsewhere[:, : stop - start]
        for own in range(f if bias.size else 0):
            to[own] = bias[group * f + own]
        for k in range(w.shape[0]):
            h = i + k * down[0] - down[1]
            for l in range(w.shape[1] if 0 <= h < height else 0):
                aside, low, high = _met(l, along[0], along[1], start, stop, width // n)
                if low < high:
                    at_w = w.ctypes.data + 4 * ((k * w.shape[1] + l) * w.shape[2] + group * f) * c
                    at_x = x.ctypes.data + 4 * ((group * c * height + h) * width + (low + aside) * n)
                    at_out, many = to.ctypes.data + 4 * (low - start) * n, (high - low) * n
                    apart, ld_out = height * width, to.strides[0] // 4
                    _sgemm(ROWS, PLAIN, PLAIN, f, many, c, f32(1), at_w, c, at_x, apart, f32(1), at_out, ld_out)
        if not direct:
            place[:] = to


@loop
def _add_products(x, g, out, down, along, n, groups, p, parts):
    """What a part of the gradient contributes to that of the weights, (K, L, F, C / G)."""
    f, c, height, width = out.shape[2] // groups, out.shape[3], x.shape[1], x.shape[2]
    rows, columns = g.shape[1], g.shape[2] // n
    size, some = _at_once(f, c, n), SMALL_OUT // c if 4 * c <= SMALL_OUT < f * c else f
    first, last = part(groups * rows * -(-columns // size), p, parts)
    for item in range(first, last):
        group, i, start, stop = _place(item, rows, columns, size)
        for k in range(out.shape[0]):
            h = i + k * down[0] - down[1]
            for l in range(out.shape[1] if 0 <= h < height else 0):
                aside, low, high = _met(l, along[0], along[1], start, stop, width // n)
                for own in range(group * f, group * f + f if low < high else 0, some):
                    at_out = out.ctypes.data + 4 * ((k * out.shape[1] + l) * out.shape[2] + own) * c
                    at_x = x.ctypes.data + 4 * ((group * c * height + h) * width + (low + aside) * n)
                    at_g = g.ctypes.data + 4 * ((own * rows + i) * columns + low) * n
                    many, apart, ld_g = (high - low) * n, height * width, rows * columns * n
                    filters = min(some, group * f + f - own)
                    _sgemm(ROWS, PLAIN, TURNED, filters, c, many, f32(1), at_g, ld_g, at_x, apart, f32(1), at_out, c)


@shared
def _conv(parts, x, w, bias, out, down, along, n, groups):
    """(C, H, W * N), (K, L, F, C / G), (F,) -> (F, I, J, N). Without a bias, (0,), it is added to. ``down`` is (dilation,
    padding) from row to row, ``along`` within one.
    """
    for p in prange(parts):
        _make(x, w, bias, out, down, along, n, groups, p, parts)


@shared
def _conv_weight_grad(parts, x, g, out, down, along, n, groups):
    """(C, H, W * N), (F, I, J * N) -> (parts, K, L, F, C / G), which is added to."""
    for p in prange(parts):
        _add_products(x, g, out[p], down, along, n, groups, p, parts)


def _is_large(x: Any, w: Any, *sizes: int) -> bool:
    """Whether the products of one tap are large enough: filters and channels of a group, and columns of a row."""
    return _sgemm is not None and x.dtype == w.dtype == np.float32 and min(sizes) >= FEWEST and x.size > 0


def _of(window: Window) -> Any:
    """``down`` and ``along`` of a window of stride 1."""
    return tuple(zip(window.dilation, window.before))


def _fill(out: Any, x: Any, w: Any, bias: Any, window: Window, groups: int) -> None:
    """A convolution of stride 1 into (N, F, I, J), whatever its strides; or, without bias, (0,), added to it."""
    out, taps = out.transpose(1, 2, 3, 0), np.ascontiguousarray(w.transpose(2, 3, 0, 1))
    count = parts(out.size, threads.as_bytes(out.size * w[0].size))
    if count > 1:
        threads.hold_blas()
    _conv(count, grouped.flat(x), taps, bias, out, *_of(window), len(x), groups)


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Tap by tap, by products or, where the groups are small, number by number."""
    n, (i, j) = len(x), window.out_size(x.shape[2:])
    if not _is_large(x, w, len(w) // groups, w.shape[1], j * n) or (bias is not None and bias.dtype != np.float32):
        return grouped.conv2d(x, w, bias, window, groups)
    out = np.empty((len(w), i, j, n), np.float32).transpose(3, 0, 1, 2)
    bias = np.zeros(len(w), np.float32) if bias is None else np.ascontiguousarray(bias)
    for phase in phases(window, x.shape[2:]):
        _fill(out, x[phase.pixels], w[phase.taps], bias, phase.window, groups)
        bias = bias[:0]
    if bias.size:  # the windows see padding alone
        out[...] = bias[:, None, None]
    return out


def conv2d_relu_pool(
    x: Any, w: Any, bias: Any, window: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """One after the other: the quicker products are worth more than that what they make stays in the cache."""
    if not _is_large(x, w, len(w) // groups, w.shape[1], window.out_size(x.shape[2:])[1] * len(x)):
        return cpu.conv2d_relu_pool(x, w, bias, window, groups, pool, with_taps)
    convolved = conv2d(x, w, bias, window, groups)
    if pool is None:
        return cpu.relu(convolved), None
    out = cpu.max_pool2d(convolved, pool)
    return cpu.relu(out), max_pool2d_taps(convolved, out, pool) if with_taps else None


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """Convolutions of the gradient with the mirrored taps, one for each phase."""
    f, c, (k, l) = len(w) // groups, w.shape[1], window.kernel
    if not _is_large(g, w, f, c, g.shape[3] * len(g)):
        return grouped.conv2d_input_grad(g, w, window, groups, size)
    turned = w.reshape(groups, f, c, k, l).swapaxes(1, 2).reshape(groups * c, f, k, l)
    found = phases(window, size)
    seen = sum(math.prod(len(range(*pixels.indices(n))) for pixels, n in zip(phase.pixels[2:], size)) for phase in found)
    make = np.empty if seen == math.prod(size) else np.zeros
    out, zeros = make((groups * c, *size, len(g)), np.float32).transpose(3, 0, 1, 2), np.zeros(groups * c, np.float32)
    for phase in found:
        there, back = mirrored(phase)
        _fill(out[phase.pixels], g[there], turned[phase.taps][:, :, ::-1, ::-1], zeros, back, groups)
    return out


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """Products along the rows, for each tap."""
    f, c = g.shape[1], x.shape[1] // groups
    if not _is_large(x, g, f // groups, c, g.shape[3] * len(g)):
        return grouped.conv2d_weight_grad(x, g, window, groups)
    out, gradient = np.zeros((f, c, *window.kernel), np.float32), grouped.flat(g)
    count = parts(g.size, threads.as_bytes(g.size * out[0].size))
    if count > 1:
        threads.hold_blas()
    for phase in phases(window, x.shape[2:]):
        sums = np.zeros((count, *phase.window.kernel, f, c), np.float32)
        _conv_weight_grad(count, grouped.flat(x[phase.pixels]), gradient, sums, *_of(phase.window), len(x), groups)
        out[phase.taps] = sums.sum(0).transpose(2, 3, 0, 1)
    return out
