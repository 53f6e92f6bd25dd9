"""Windows as columns and back: a loop over taps, for each all positions at once; the threads share the pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...shapes import Window
from .order import order_of
from .pool import share


def _zeros(n: int, rest: tuple[int, ...], like: Any) -> Any:
    """Zeros of shape (n, *rest), in memory the batch innermost where it is so in ``like``."""
    if order_of(like)[0] == 0:
        return np.zeros((n, *rest), like.dtype)
    return np.moveaxis(np.zeros((*rest, n), like.dtype), -1, 0)


def unfold(x: Any, window: Window) -> Any:
    """Each tap's pixels are copied to its row of all columns."""
    n, c, *size = x.shape
    out = _zeros(n, (c, *window.kernel, *window.out_size(size)), x)

    def work(x: Any, out: Any) -> None:
        for k, l, rows, columns, rows_in, columns_in in window.taps(size):
            out[:, :, k, l, rows, columns] = x[:, :, rows_in, columns_in]

    share(work, x, out)
    return out.reshape(n, c * out.shape[2] * out.shape[3], out.shape[4] * out.shape[5])


def fold(columns: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each tap's row of all columns is added at its pixels."""
    n, c = len(columns), columns.shape[1] // (window.kernel[0] * window.kernel[1])
    out, seen = _zeros(n, (c, *size), columns), columns.reshape(n, c, *window.kernel, *window.out_size(size))

    def work(out: Any, seen: Any) -> None:
        for k, l, rows, there, rows_in, there_in in window.taps(size):
            out[:, :, rows_in, there_in] += seen[:, :, k, l, rows, there]

    share(work, out, seen)
    return out
