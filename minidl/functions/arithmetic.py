"""Functions of numbers that are put together of others."""

from __future__ import annotations

import math
from typing import Any

from ..backend import xp
from ..ops.elementwise import trunc, where


def square(input: Any) -> Any:
    """``input ** 2``."""
    return input * input


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """``input + weight * (end - input)``."""
    return input + weight * (end - input)


def frac(input: Any) -> Any:
    """The fraction that `trunc` leaves out."""
    return input - trunc(input)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """``value`` where ``mask`` is true, ``input`` elsewhere, in ``input``'s dtype."""
    if getattr(mask, "dtype", None) != bool:
        raise TypeError(f"masked_fill: mask must be a bool tensor, got {getattr(mask, 'dtype', type(mask).__name__)}")
    out = where(mask, value, input)
    return out if out.dtype == input.dtype else out.to(input.dtype)


def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """``input`` with NaN replaced by ``nan``, and infinities by ``posinf`` and ``neginf`` or the largest finite numbers."""
    limits = xp(getattr(input, "_array", input)).finfo(getattr(input, "_array", input).dtype)
    out = where(input != input, nan, input)
    out = where(out == math.inf, float(limits.max) if posinf is None else posinf, out)
    return where(out == -math.inf, float(limits.min) if neginf is None else neginf, out)
