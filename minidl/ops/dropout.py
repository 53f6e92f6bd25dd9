"""Dropout: random zeros while training."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import xp
from ..random import rng


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero each element with probability ``p`` and multiply the others by ``1 / (1 - p)``, so that the mean stays.

    Source: Srivastava et al., Dropout, JMLR 15, 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must lie between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    dtype = getattr(input, "_array", input).dtype
    if dtype.kind != "f":
        raise TypeError(f"dropout: wants a floating dtype, got {dtype}")
    return input.mul_(_mask(getattr(input, "_array", input), p)) if inplace else _dropout(input, p)


def _mask(array: Any, p: float) -> Any:
    """0 or the factor, drawn for each element."""
    keep = rng(None).random(array.shape, "float32") >= p
    return xp(array).asarray(keep * (1 / (1 - p) if p < 1 else 0.0), array.dtype)


@differentiable(keeps="mask")
def _dropout(input: Any, p: float) -> Any:
    mask = _mask(input, p)
    return input * mask, mask


_dropout.op.name = "dropout"
_dropout.vjp(input=lambda g, mask: g * mask)
