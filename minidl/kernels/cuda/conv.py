"""Convolution's three partial derivatives, in tiles; in many small groups number by number."""

from __future__ import annotations

import math
from typing import Any

import cupy

from ...shapes import Window
from .cores import operands
from .loader import launch, plain, single, window

TILE = 64  # as in tiles.cuh
FINE = 8  # filters or channels in a group: with fewer, most of a tile would be empty
BLOCKS = 512  # that a GPU should have to work on at a time, at least


def _file(filters: int, channels: int, groups: int) -> str:
    return "conv_fine" if groups > 1 and min(filters, channels) < FINE else "conv"


def _types(file: str, dtype: Any) -> dict[str, Any]:
    return {"real": dtype, "operand": operands(dtype, "conv")} if file == "conv" else {"real": dtype}


def _tiles(n: int) -> int:
    return -(-n // TILE)


@single
def conv2d(x: Any, w: Any, bias: Any, win: Window, groups: int) -> Any:
    """(N, C, H, W), (F, C/G, K, L), (F,) or None -> (N, F, I, J)."""
    (n, c, *size), f = x.shape, w.shape[0] // groups
    out = cupy.empty((n, w.shape[0], *win.out_size(size)), x.dtype)
    positions, file = n * math.prod(out.shape[2:]), _file(f, c // groups, groups)
    threads = out.size if file == "conv_fine" else (_tiles(positions), _tiles(f), groups)
    given = plain(x), plain(w), plain(w if bias is None else bias), out
    sizes = n, c // groups, f, groups, int(bias is not None), window(win, size)
    launch(file, "forward", threads, *given, *sizes, **_types(file, x.dtype))
    return out


@single
def conv2d_input_grad(g: Any, w: Any, win: Window, groups: int, size: tuple[int, int]) -> Any:
    """(N, F, I, J), (F, C/G, K, L) -> (N, C, H, W)."""
    n, f, c = g.shape[0], g.shape[1] // groups, w.shape[1]
    gx, file = cupy.empty((n, c * groups, *size), g.dtype), _file(f, c, groups)
    threads = gx.size if file == "conv_fine" else (_tiles(n * math.prod(size)), _tiles(c), groups)
    given = plain(g), plain(w), gx, n, c, f, groups, window(win, size)
    launch(file, "input_grad", threads, *given, **_types(file, g.dtype))
    return gx


@single
def conv2d_weight_grad(x: Any, g: Any, win: Window, groups: int) -> Any:
    """(N, C, H, W), (N, F, I, J) -> (F, C/G, K, L)."""
    (n, c, *size), f = x.shape, g.shape[1] // groups
    c //= groups
    shape, taps, positions = (g.shape[1], c, *win.kernel), c * math.prod(win.kernel), n * math.prod(g.shape[2:])
    sizes = n, c, f, groups
    if _file(f, c, groups) == "conv_fine":
        gw = cupy.empty(shape, x.dtype)
        launch("conv_fine", "weight_grad", (gw.size,), plain(x), plain(g), gw, *sizes, window(win, size), real=x.dtype)
        return gw
    tiles = _tiles(f) * _tiles(taps) * groups
    splits = max(1, min(-(-BLOCKS // max(tiles, 1)), positions // 256, 65535 // groups))
    length = max(1, -(-positions // splits))
    sums = cupy.empty((splits, *shape), x.dtype)
    grid = _tiles(taps), _tiles(f), groups * splits
    given = plain(x), plain(g), sums, *sizes, splits, length, window(win, size)
    launch("conv", "weight_grad", grid, *given, **_types("conv", x.dtype))
    return sums[0] if splits == 1 else sums.sum(0)
