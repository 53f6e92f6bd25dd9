"""Dropout: random zeros while training. What is composed of these two is in `nn.functional`."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import xp
from ..devices import device_of
from ..random import rng


def _drawn(input: Any, p: float, channels: bool) -> Any:
    """True with probability ``1 - p``, drawn for each element, or for each channel (the first two dimensions) at once."""
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2)) if channels else input.shape
    return rng(None, device_of(input)).random(shape, "float32") >= p


@differentiable
def keep_mask(input: Any, p: float, channels: bool = False) -> Any:
    """1 with probability ``1 - p`` and 0 elsewhere, in input's dtype: for each element, or for each channel at once."""
    return xp(input).asarray(_drawn(input, p, channels), input.dtype)


@differentiable(keeps="mask")
def dropped(input: Any, p: float, channels: bool = False) -> Any:
    """``input`` times a `keep_mask` and ``1 / (1 - p)``."""
    factor = 1 / (1 - p) if p < 1 else 0.0
    mask = _drawn(input, p, channels).astype(input.dtype) * input.dtype.type(factor)
    return input * mask, mask


dropped.op.name = "dropout"
dropped.vjp(input=lambda g, mask: g * mask)
