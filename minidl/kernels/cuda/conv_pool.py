"""Convolution of 3 x 3 pixels, ReLU and pooling of 2 x 2 as one kernel, and its gradients; others in steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...shapes import Window
from .conv import conv2d
from .cores import rounded
from .elementwise import relu, relu_grad
from .loader import BLOCK, SHARED, empty, launch, plain, single
from .pool import max_pool
from .sums import sum

THREE, TWO = Window((3, 3), before=(1, 1), after=(1, 1)), Window((2, 2), (2, 2))
CHANNELS = 8  # of a picture that are there at a time, if they fit
BLOCKS = 512  # that a GPU should have to work on at a time, at least


def _fits(x: Any, win: Window, groups: int, pool: Window | None) -> bool:
    """Whether the kernels take it; where tensor cores may be used, they are quicker in steps."""
    even, exact = x.shape[2] % 2 == x.shape[3] % 2 == 0, not rounded(x.dtype, "conv")
    known = win == THREE and pool == TWO and groups == 1 and even
    return known and exact and x.dtype in (np.float32, np.float64) and x.size > 0


def _grid(n_windows: int, channels: int, itemsize: int) -> tuple[int, int]:
    """Blocks for so many windows and channels, of which a thread has 32 bytes."""
    return -(-n_windows // BLOCK), -(-channels // (32 // itemsize))


@single
def conv2d_relu_pool(
    x: Any, w: Any, bias: Any, win: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """``max_pool2d(relu(conv2d(...)))``, and which tap of the pool was the largest."""
    if not _fits(x, win, groups, pool):
        out = conv2d(x, w, bias, win, groups)
        return (relu(out), None) if pool is None else max_pool(out, pool, True, with_taps)
    (n, c, h, width), f = x.shape, len(w)
    out = empty((n, f, h // 2, width // 2), x.dtype)
    taps = empty(out.shape, np.int8) if with_taps else None
    arrays = plain(x), plain(w), plain(bias), out, taps
    numbers = n, c, f, *out.shape[2:]
    grid = _grid(n * out.shape[2] * out.shape[3], f, x.itemsize)
    launch("conv_pool", "forward", grid, *arrays, *numbers, real=x.dtype, tap=np.int8)
    return out, taps


def conv2d_relu_pool_grad(
    g: Any, x: Any, w: Any, out: Any, taps: Any, win: Window, groups: int, pool: Window | None, wanted: tuple[bool, ...]
) -> tuple[Any, ...] | None:
    """The gradients of x, w and the bias that are wanted, if the kernel can do it, else None."""
    if not _fits(x, win, groups, pool) or g.dtype != x.dtype or (wanted[1] and not _channels(x)):
        return None
    (n, c, *_), f, (i, j) = x.shape, len(w), out.shape[2:]
    g, taps = relu_grad(g, out), plain(taps)
    gx = gw = None
    if wanted[0]:
        gx = empty(x.shape, x.dtype)
        arrays = g, taps, plain(w), gx
        launch("conv_pool", "input_grad", _grid(n * i * j, c, x.itemsize), *arrays, n, c, f, i, j, real=x.dtype, tap=np.int8)
    if wanted[1]:
        gw = _weight_grad(plain(x), g, taps, f)
    return gx, gw, sum(g, (0, 2, 3), False) if wanted[2] else None


def _channels(x: Any) -> int:
    """How many channels of a picture, with its border, are in shared memory at a time: a power of 2, or 0 if none fits."""
    channels = CHANNELS
    while channels > 1 and channels // 2 >= x.shape[1]:
        channels //= 2
    while channels * (x.shape[2] + 2) * (x.shape[3] + 2) * x.itemsize > SHARED:
        channels //= 2
    return channels


def _weight_grad(x: Any, g: Any, taps: Any, f: int) -> Any:
    (n, c, h, width), channels = x.shape, _channels(x)
    grid = -(-c // channels), -(-f // (BLOCK // channels))
    length = max(1, n * grid[0] * grid[1] // BLOCKS)
    splits = -(-n // length)
    sums = empty((splits, f, c, 3, 3), x.dtype)
    numbers, text = (n, c, f, h // 2, width // 2, channels, length), f"#define PIXELS {channels * (h + 2) * (width + 2)}\n"
    launch("conv_pool", "weight_grad", (*grid, splits), x, g, taps, sums, *numbers, text=text, real=x.dtype, tap=np.int8)
    return sums[0] if splits == 1 else sum(sums, (0,), False)
