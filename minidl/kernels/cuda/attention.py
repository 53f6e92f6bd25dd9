"""Attention in one kernel, and three on the way back; see attention.cu."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cupy
import numpy as np

from .capture import told
from .cores import rounded
from .loader import SHARED, empty, launch, plain

WARP = 32


@cache
def _text(e: int, v: int, itemsize: int) -> str | None:
    """The sizes for attention.cu, or None if no tiles of rows with so many features fit into shared memory."""
    e, v = (-(-n // 16) * 16 for n in (e, v))  # for up to so many features the same kernel
    pitch_e, pitch_v = e + 1, v + 1

    def fits(rows: int, columns: int, own: int) -> bool:
        numbers = rows * own + columns * (pitch_e + pitch_v) + rows * (columns + 1)
        return e > 0 and v > 0 and numbers * itemsize <= SHARED

    tiles = (64, 32), (32, 32), (16, 32), (16, 16)
    found = next(((r, c) for r, c in tiles[1:] if fits(r, c, pitch_e + pitch_v)), None)
    if found is None:
        return None
    rows = next(r for r, _ in tiles if fits(r, found[1], pitch_e))
    sizes = {"E": e, "V": v, "ROWS": rows, "BACK_ROWS": found[0], "COLUMNS": found[1]}
    return "".join(f"#define {name} {size}\n" for name, size in sizes.items())


def attention(query: Any, value: Any, mask: Any) -> Any:
    """The functions below, if the kernels take arrays like these, else None."""
    rows, width = max(math.prod(x.shape[:3]) for x in (query, value)), max(query.shape[3], value.shape[3])
    small = max(rows * width, 0 if mask is None else mask.size) < 2**31  # also the key and the result
    fits = query.dtype in (np.float32, np.float64) and _text(query.shape[3], value.shape[3], query.itemsize)
    exact = not rounded(query.dtype, "matmul")  # else the tensor cores make its products, one by one
    return Attention if small and fits and exact else None


class Attention:
    """The three ways through attention.cu."""

    def __init__(self, query: Any, key: Any, value: Any, mask: Any, scale: float, causal: bool, p: float, seed: Any) -> None:
        (self.n, self.h, self.length, e), (self.n_keys, v) = query.shape, value.shape[2:]
        self.features, self.dtype, self.places = (e, v), query.dtype, [_lying(x) for x in (query, key, value)]
        text = _text(e, v, query.itemsize)
        assert text is not None
        self.text, self.pairs = text, self.n * self.h
        sizes = dict(line.split()[1:] for line in text.splitlines())
        self.rows, self.back_rows = int(sizes["ROWS"]), int(sizes["BACK_ROWS"])
        nothing = empty(1, bool), empty(1, query.dtype)
        masks, (seen, added) = 0, nothing
        per: tuple[int, ...] = (0, 0, 0, 0)
        if mask is not None:
            masks = 1 if mask.dtype == bool else 2
            mask = plain(mask.astype(bool if masks == 1 else query.dtype, copy=False))
            seen, added = (mask, added) if masks == 1 else (seen, mask)
            per = tuple(0 if n == 1 else math.prod(mask.shape[i + 1 :]) for i, n in enumerate(mask.shape))
        below = np.uint32(min(round((1 - p) * 2**32), 2**32 - 1))
        drops = int(p > 0), below, float(1 / (1 - p) if p < 1 else 0), float(scale)
        self.pair = seen, added, masks, *per, int(causal), *drops
        self.key = told(lambda: (int(seed), 0), np.uint64, 2)

    def launch(self, name: str, threads: Any, *args: Any, turned: list[bool]) -> None:
        """Launch a kernel; ``turned`` tells of the arrays, in the order of attention.cu, which lie by length first."""
        bits = sum(1 << i for i, t in enumerate(turned) if t)
        sizes = self.h, self.length, self.n_keys, *self.features, bits
        launch("attention", name, threads, *args, *sizes, *self.pair, self.key, text=self.text, real=self.dtype)

    def forward(self) -> tuple[Any, Any]:
        """The result, and of each query the logarithm of the sum of its exponentials, (N, H, L, 1)."""
        (q, k, v), turned = zip(*self.places)
        out = empty((self.n, self.length, self.h, v.shape[-1]), self.dtype)  # as the heads are put together afterwards
        lse = empty((self.n, self.h, self.length, 1), self.dtype)
        tiles = -(-self.length // self.rows)
        self.launch("forward", (self.pairs * tiles,), q, k, v, out, lse, tiles, turned=[*turned, True])
        return out.swapaxes(1, 2), lse

    def backward(self, g: Any, out: Any, lse: Any) -> tuple[Any, ...]:
        """The gradients of query, key and value, each lying as that does."""
        arrays, turned = zip(*self.places)
        (g, of_g), (out, of_out), (lse, _) = map(_lying, (g, out, lse))
        grads, mean = [cupy.empty_like(a) for a in arrays], empty(lse.shape, self.dtype)
        layout = [*turned, of_out, of_g, *turned]
        n_queries = self.pairs * self.length
        self.launch("means", n_queries * WARP, g, out, mean, n_queries, turned=layout)
        tiles, tiles_of_keys = (-(-n // self.back_rows) for n in (self.length, self.n_keys))
        given = *arrays, g, lse, mean
        self.launch("back_queries", (self.pairs * tiles,), *given, grads[0], tiles, turned=layout)
        self.launch("back_keys", (self.pairs * tiles_of_keys,), *given, *grads[1:], tiles_of_keys, turned=layout)
        return tuple(x.swapaxes(1, 2) if t else x for x, t in zip(grads, turned))

    def factors(self) -> Any:
        """Dropout's factors for all weights, (N, H, L, S)."""
        out = empty((self.n, self.h, self.length, self.n_keys), self.dtype)
        self.launch("factors", out.size, out, out.size, turned=[])
        return out


def _lying(x: Any) -> tuple[Any, bool]:
    """(N, H, L, features) in C order: as it is, or if it lies so, with the length before the heads; and whether it is that."""
    turned = x.swapaxes(1, 2)
    return (turned, True) if turned.flags.c_contiguous and not x.flags.c_contiguous else (plain(x), False)
