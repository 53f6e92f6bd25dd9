"""Convolution, ReLU and max-pooling in one pass: what is convolved is cut off and pooled while it is in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...shapes import Window
from .. import threads
from .columns import STRIP_BYTES
from .conv import Part, conv2d, filler, parts_of
from .elementwise import relu
from .grouped import is_fine
from .pool import max_pool2d, max_pool2d_taps, taps_dtype


def conv2d_relu_pool(
    x: Any, w: Any, bias: Any, window: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """``max_pool2d(relu(conv2d(...)))`` and, if wanted, which tap of the pool was the largest; ``pool`` tiles the picture."""
    if is_fine(w.shape[0] // groups, w.shape[1], groups):
        return _one_by_one(x, w, bias, window, groups, pool, with_taps)
    fill, size, dtype = filler(x, w, None, window, groups), window.out_size(x.shape[2:]), np.result_type(x, w)
    f, n, (down, across) = w.shape[0], x.shape[0], pool.kernel if pool else (1, 1)
    out = np.empty((f, size[0] // down, size[1] // across, n), dtype)
    taps: Any = np.empty(out.shape, taps_dtype(pool)) if pool and with_taps else None
    step = max(1, STRIP_BYTES // max(f * size[1] * n * out.itemsize * down, 1))  # rows of the output at a time

    def work(part: Part) -> None:
        columns = slice(part[1].start * across, part[1].stop * across)
        for start in range(part[0].start, part[0].stop, step):
            rows = slice(start, min(start + step, part[0].stop))
            place = out[:, rows, part[1]]
            if pool is None:
                fill(place, (rows, columns))
            else:
                shape = f, (rows.stop - rows.start) * down, columns.stop - columns.start, n
                convolved = threads.scratch("convolved", shape, dtype)
                fill(convolved, (slice(rows.start * down, rows.stop * down), columns))
                pictures = convolved.transpose(3, 0, 1, 2)
                place[...] = max_pool2d(pictures, pool).transpose(1, 2, 3, 0)
                if taps is not None:
                    found = max_pool2d_taps(pictures, place.transpose(3, 0, 1, 2), pool)
                    taps[:, rows, part[1]] = found.transpose(1, 2, 3, 0)
            if bias is not None:  # the largest of all, with the bias, is the largest with the bias of all
                place += bias[:, None, None, None]
            np.maximum(place, 0, out=place)

    threads.run(work, parts_of(out.shape[1:3], out.size * down * across * math.prod(w.shape[1:])))
    return out.transpose(3, 0, 1, 2), None if taps is None else taps.transpose(3, 0, 1, 2)


def _one_by_one(
    x: Any, w: Any, bias: Any, window: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """The same, one after the other, for a convolution that goes by groups and not by positions."""
    convolved = conv2d(x, w, bias, window, groups)
    if pool is None:
        return relu(convolved), None
    out = max_pool2d(convolved, pool)
    return relu(out), max_pool2d_taps(convolved, out, pool) if with_taps else None
