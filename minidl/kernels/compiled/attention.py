"""The weights of attention where they are few: one loop over the scores for six passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import loop
from .lines import _exponentials, _largest
from .mathematics import f32, log


@loop
def _weighed(scores, scale, out, lse):
    for r in range(len(scores)):
        for i in range(scores.shape[1]):
            scores[r, i] *= scale
        total = _exponentials(scores[r], out[r])
        lse[r] = _largest(scores[r]) + log(total)
        factor = f32(1) / total
        for i in range(scores.shape[1]):
            out[r, i] *= factor


def weighed(m: Any, scores: Any, scale: float) -> tuple[Any, Any]:
    """As `minidl.sequences.attention` does it."""
    rows = scores.reshape(-1, scores.shape[-1])
    out, lse = np.empty_like(rows), np.empty(len(rows), np.float32)
    _weighed(rows, f32(scale), out, lse)
    return out.reshape(scores.shape), lse.reshape(*scores.shape[:-1], 1)
