"""Random numbers: Philox, from a seed and the number of the draw."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from .loader import launch


def _draw(name: str, shape: Any, dtype: Any, per_thread: int, seed: int, draw: int, *args: Any, real: Any = None) -> Any:
    out = cupy.empty(shape, dtype)
    key = np.uint64(seed % 2**64), np.uint64(draw % 2**64)
    launch("random", name, -(-math.prod(out.shape) // per_thread), out, out.size, *args, *key, real=real or dtype)
    return out


def bits(shape: Any, seed: int, draw: int) -> Any:
    """Words of 32 random bits."""
    return _draw("bits", shape, np.uint32, 4, seed, draw, real=np.float32)


def uniform(shape: Any, dtype: Any, seed: int, draw: int) -> Any:
    """Numbers from 0 up to but without 1, in float32 or float64."""
    return _draw("uniform", shape, dtype, 16 // np.dtype(dtype).itemsize, seed, draw)


def normal(shape: Any, dtype: Any, seed: int, draw: int) -> Any:
    """Numbers of mean 0 and variance 1, in float32 or float64."""
    return _draw("normal", shape, dtype, 16 // np.dtype(dtype).itemsize, seed, draw)


def keep(shape: Any, dtype: Any, p: float, value: float, seed: int, draw: int) -> Any:
    """0 with probability ``p``, else ``value``: dropout's mask."""
    if dtype == np.float16:
        return keep(shape, np.float32, p, value, seed, draw).astype(dtype)
    return _draw("keep", shape, dtype, 4, seed, draw, np.float32(p), float(value))
