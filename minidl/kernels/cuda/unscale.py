"""Gradients of a loss that was made larger, made smaller again: many in a launch."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .capture import given
from .loader import launch
from .traced import defines, most, packed

STEPS = "real g = a0[t]; if (g - g != 0) a1[0] = 1; a0[t] = g / told[0];"  # all that write to a1 write the same


def unscale(grads: list[Any], scale: float) -> tuple[list[Any], list[Any]]:
    """Divide gradients by ``scale``, in place.

    Returns
    -------
    list, list
        Arrays of one number, not 0 if one in a gradient was infinite or NaN; and gradients that were not divided, since no
        kernel takes them: of 2**31 elements and more, or with gaps.
    """
    alike: dict[Any, list[Any]] = {}
    others = []
    for g in grads:
        if g.flags.c_contiguous and g.dtype in (np.float32, np.float64) and g.size < 2**31:
            alike.setdefault(g.dtype, []).append(g)
        else:
            others.append(g)
    flags = {dtype: cupy.zeros(1, dtype) for dtype in alike}
    for dtype, own in alike.items():
        n = most(2, 1)
        for start in range(0, len(own), n):
            table, blocks = packed([(g, flags[dtype]) for g in own[start : start + n]], n)
            launch("traced", "many", (blocks,), table, given([scale], dtype), text=defines(2, 1, STEPS), real=dtype)
    return [*flags.values()], others
