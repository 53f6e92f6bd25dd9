"""Batch normalisation, some channels at a time: few enough that all passes over them find them in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import threads

BLOCK_BYTES = 1 << 21  # of one array's channels at a time: fewer, and the threads wait for the interpreter more than for memory


def _rows(x: Any) -> Any:
    """(N, C, H, W) in any memory order to (C, H * W * N): a view where x is batch-innermost, else a copy."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0)).reshape(x.shape[1], -1)


def _pictures(rows: Any, shape: tuple[int, ...]) -> Any:
    """(C, H * W * N) seen as (N, C, H, W) again."""
    n, c, h, w = shape
    return rows.reshape(c, h, w, n).transpose(3, 0, 1, 2)


def _share(function: Callable[[slice], None], rows: Any) -> None:
    """Call ``function`` with slices of channels; the threads share them."""
    step = max(1, BLOCK_BYTES // max(rows[0].nbytes, 1))

    def work(part: slice) -> None:
        for start in range(part.start, part.stop, step):
            function(slice(start, min(start + step, part.stop)))

    threads.run(work, threads.parts(len(rows), 4 * rows.nbytes))


def batch_norm(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    """The result, and the mean and variance of each channel."""
    rows, c, count = _rows(x), x.shape[1], x.size // x.shape[1]
    out = np.empty_like(rows)
    center, variance = np.empty((c, 1), x.dtype), np.empty((c, 1), x.dtype)

    def normalise(part: slice) -> None:
        row, to = rows[part], out[part]
        center[part] = np.add.reduce(row, 1, keepdims=True) / count
        np.subtract(row, center[part], out=to)
        variance[part, 0] = np.vecdot(to, to) / count
        scale = 1 / np.sqrt(variance[part] + to.dtype.type(eps))
        to *= scale if weight is None else scale * weight[part, None]
        if bias is not None:
            to += bias[part, None]

    _share(normalise, rows)
    return _pictures(out, x.shape), center[:, 0], variance[:, 0]


def batch_norm_grad(g: Any, x: Any, weight: Any, center: Any, variance: Any, eps: float) -> tuple[Any, Any, Any]:
    """The gradients of input, weight and bias."""
    rows, gradient, count = _rows(x), _rows(g), x.size // x.shape[1]
    out, sums = np.empty_like(rows), np.empty((2, x.shape[1], 1), x.dtype)
    scale = 1 / np.sqrt(variance + x.dtype.type(eps))[:, None]

    def back(part: slice) -> None:
        along, to = gradient[part], out[part]
        np.subtract(rows[part], center[part, None], out=to)
        to *= scale[part]  # the standardised input
        sums[0, part, 0] = np.vecdot(along, to)
        sums[1, part] = np.add.reduce(along, 1, keepdims=True)
        to *= sums[0, part] / -count
        to += along
        to -= sums[1, part] / count
        to *= scale[part] if weight is None else scale[part] * weight[part, None]

    _share(back, rows)
    return _pictures(out, x.shape), sums[0, :, 0], sums[1, :, 0]
