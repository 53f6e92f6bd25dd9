"""Convolution's three partial derivatives, in tiles; in many small groups number by number."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ...shapes import Window
from .cores import operands, rounded
from .loader import empty, launch, pairs, plain, single, window
from .sums import sum_parts

THREADS = WIDTH = 128  # as in tiles.cuh; a tile of positions is as wide
FINE = 8  # filters or channels in a group: with fewer, most of a tile would be empty
BLOCKS = 264  # that a large GPU can work on at a time: two on each of its multiprocessors


def _is_fine(filters: int, channels: int, groups: int) -> bool:
    return groups > 1 and min(filters, channels) < FINE


def _tiles(n: int, size: int) -> int:
    return -(-n // size)


def _height(rows: int, others: int, dtype: Any) -> int:
    """Of tiles: what so many rows fill; lower where a GPU would have nothing to do, with so many tiles beside each other."""
    height = 64 if dtype == np.float32 else 32
    while height > 16 and (rows <= height // 2 or _tiles(rows, height) * others < BLOCKS):
        height //= 2
    return height


@cache
def _grid(rows: int, columns: int, groups: int, dtype: Any) -> tuple[int, tuple[int, int, int]]:
    """The height of tiles that are `WIDTH` wide, and how many there are in each direction."""
    across = _tiles(columns, WIDTH)
    height = _height(rows, across * groups, dtype)
    return height, (across, _tiles(rows, height), groups)


@cache
def _cut(rows: int, columns: int, groups: int, positions: int, dtype: Any) -> tuple[int, int, int, int, tuple[int, int, int]]:
    """Where sums are long and results few: height and width of tiles, parts of a sum, the length of one, and the grid."""
    width, height = min(WIDTH, max(32, 1 << (columns - 1).bit_length())), _height(rows, BLOCKS, dtype)
    across, down = _tiles(columns, width), _tiles(rows, height)
    parts = max(1, min(_tiles(2 * BLOCKS, max(across * down * groups, 1)), positions // 256, 65535 // groups))
    length = max(16, _tiles(_tiles(positions, parts), 16) * 16)  # four positions are fetched at a time
    parts = max(1, _tiles(positions, length))
    return height, width, parts, length, (across, down, groups * parts)


@cache
def _text(height: int, width: int, together: bool, apart_h: int, apart_w: int) -> str:
    named = {"HEIGHT": height, "WIDTH": width, "TOGETHER": 4 if together else 1, "APART_H": apart_h, "APART_W": apart_w}
    return "".join(f"#define {name} {n}\n" for name, n in named.items())


def _launch(
    name: str, height: int, width: int, together: bool, apart: tuple[int, int], grid: Any, *args: Any, real: Any
) -> None:
    text = _text(height, width, together, *apart)
    launch("conv", name, grid, *args, text=text, block=THREADS, real=real, operand=operands(real, "conv"))


def _by_taps(w: Any, groups: int, turned: bool) -> Any:
    """Weights (F, C/G, K, L) as (G, F/G, K, L, C/G), or for the way back as (G, C/G, K, L, F/G)."""
    (_, c, *window), f = w.shape, len(w) // groups
    out = empty((groups, c if turned else f, *window, f if turned else c), w.dtype)
    launch("weights", "by_taps", out.size, plain(w), out, out.size, f, c, math.prod(window), int(turned), real=w.dtype)
    return out


def _look(x: Any, w: Any, bias: Any, out: Any, groups: int, numbers: Any, apart: tuple[int, int] = (1, 1)) -> None:
    """The kernel of this name. w is (G, F/G, K, L, C/G)."""
    n, c, f, size = len(x), w.shape[4], w.shape[1], math.prod(out.shape[2:])
    height, grid = _grid(f, n * size, groups, x.dtype)
    given = plain(x), w, plain(bias), out, n, c, f, groups, numbers
    together = c % 4 == 0  # and new memory begins where 16 bytes can be read
    _launch("look", height, WIDTH, together, apart, grid, *given, real=x.dtype)


@cache
def _back(win: Window, size: tuple[int, int]) -> Any:
    """The window that looks back, from a pixel to the positions that see it, as `window` has the other."""
    (up, left), (down, right) = win.before, win.dilation
    return pairs(win.out_size(size), size, win.kernel, (1, 1), (-up, -left), (-down, -right))


@single
def conv2d(x: Any, w: Any, bias: Any, win: Window, groups: int) -> Any:
    """(N, C, H, W), (F, C/G, K, L), (F,) or None -> (N, F, I, J)."""
    (n, c, *size), f = x.shape, len(w) // groups
    out = empty((n, len(w), *win.out_size(size)), x.dtype)
    if not _is_fine(f, c // groups, groups):
        _look(x, _by_taps(w, groups, False), bias, out, groups, window(win, size))
        return out
    given = plain(x), plain(w), plain(bias), out
    sizes = n, c // groups, f, groups, window(win, size)
    launch("conv_fine", "forward", out.size, *given, *sizes, real=x.dtype)
    return out


@single
def conv2d_input_grad(g: Any, w: Any, win: Window, groups: int, size: tuple[int, int]) -> Any:
    """(N, F, I, J), (F, C/G, K, L) -> (N, C, H, W)."""
    n, f, c = g.shape[0], g.shape[1] // groups, w.shape[1]
    gx = empty((n, c * groups, *size), g.dtype)
    if not _is_fine(f, c, groups):
        _look(g, _by_taps(w, groups, True), None, gx, groups, _back(win, tuple(size)), win.stride)
        return gx
    given = plain(g), plain(w), gx, n, c, f, groups, window(win, size)
    launch("conv_fine", "input_grad", gx.size, *given, real=g.dtype)
    return gx


@single
def conv2d_weight_grad(x: Any, g: Any, win: Window, groups: int) -> Any:
    """(N, C, H, W), (N, F, I, J) -> (F, C/G, K, L)."""
    gw = empty((g.shape[1], x.shape[1] // groups, *win.kernel), x.dtype)
    if not _is_fine(len(gw) // groups, gw.shape[1], groups):
        _weigh(x, g, gw, None, win, groups)
        return gw
    sizes = len(x), gw.shape[1], len(gw) // groups, groups, window(win, x.shape[2:])
    launch("conv_fine", "weight_grad", (gw.size,), plain(x), plain(g), gw, *sizes, real=x.dtype)
    return gw


def conv2d_parameters_grad(x: Any, g: Any, win: Window, groups: int) -> tuple[Any, Any] | None:
    """The same, and the gradient of the bias, (F,), in one pass; not where numbers are rounded, since sums should not be."""
    f, c = g.shape[1], x.shape[1] // groups
    if rounded(g.dtype, "conv") or x.dtype != g.dtype or _is_fine(f // groups, c, groups):
        return None
    gw, gb = empty((f, c, *win.kernel), g.dtype), empty(f, g.dtype)
    _weigh(x, g, gw, gb, win, groups)
    return gw, gb


def _weigh(x: Any, g: Any, gw: Any, gb: Any, win: Window, groups: int) -> None:
    """The gradient of weights (F, C/G, K, L), and of a bias if there is one: of weights whose pixels are always 1."""
    f, c, outs = len(gw) // groups, gw.shape[1], (gw,) if gb is None else (gw, gb)
    sizes, weights, positions = (len(x), c, f, groups), c * math.prod(win.kernel), len(g) * math.prod(g.shape[2:])
    height, width, splits, length, grid = _cut(f, weights + (gb is not None), groups, positions, g.dtype)
    x, g = plain(x), plain(g)
    to, biases = (gw, gb), 0  # where these begin in what they go to
    if splits > 1:
        parts = empty((splits, sum([out.size for out in outs])), g.dtype)
        to, biases = (parts, None if gb is None else parts), gw.size
    together = g.shape[3] % 4 == 0 and g.data.ptr % 16 == 0
    given = x, g, *to, biases, *sizes, splits, length, window(win, x.shape[2:])
    _launch("weight_grad", height, width, together, (1, 1), grid, *given, real=g.dtype)
    if splits > 1:
        sum_parts(parts, *outs)
