"""Random numbers: Philox, from a seed and the number of the draw, which ``key()`` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .capture import told
from .loader import empty, launch

Key = Callable[[], tuple[int, int]]  # of 64 bits each


def _draw(name: str, shape: Any, dtype: Any, per_thread: int, key: Key, *args: Any, real: Any = None) -> Any:
    out = empty(shape, dtype)
    if out.size:
        launch("random", name, -(-out.size // per_thread), out, out.size, *args, told(key, np.uint64, 2), real=real or dtype)
    else:
        key()  # counts too
    return out


def bits(shape: Any, seed: Any, draw: int) -> Any:
    """Words of 32 random bits."""
    return _draw("bits", shape, np.uint32, 4, lambda: (int(seed), draw), real=np.float32)


def uniform(shape: Any, dtype: Any, key: Key) -> Any:
    """Numbers from 0 up to but without 1, in float32 or float64."""
    return _draw("uniform", shape, dtype, 16 // np.dtype(dtype).itemsize, key)


def normal(shape: Any, dtype: Any, key: Key) -> Any:
    """Numbers of mean 0 and variance 1, in float32 or float64."""
    return _draw("normal", shape, dtype, 16 // np.dtype(dtype).itemsize, key)


def keep(shape: Any, dtype: Any, p: float, value: float, key: Key) -> Any:
    """0 with probability ``p``, else ``value``: dropout's mask."""
    if dtype == np.float16:
        return keep(shape, np.float32, p, value, key).astype(dtype)
    return _draw("keep", shape, dtype, 4, key, np.float32(p), float(value))
