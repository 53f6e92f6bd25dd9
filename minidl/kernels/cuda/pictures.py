"""Batches out of a data set of pictures that lies on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from .capture import given
from .loader import empty, launch, plain


def augmented(data: Any, index: Any, chances: Any, mean: list[float], std: list[float], padding: int, flip: float) -> Any:
    """(N, C, H, W) of bytes, (n,), (n, 3) -> (n, C, H, W): see `minidl.vision.augmented`. An index out of range goes round."""
    (n_all, c, h, w), n = data.shape, len(index)
    out = empty((n, c, h, w), np.float32)
    fill = [0.0] * (4 - c)
    scales = given([*mean, *fill, *std, *fill], np.float32)
    arrays = plain(data), plain(index.astype(np.int64, copy=False)), chances, out
    launch("pictures", "augmented", n * h * w, *arrays, n, n_all, c, h, w, padding, float(flip), scales, real=np.float32)
    return out
