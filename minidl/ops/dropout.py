"""Dropout: random zeros while training. What is composed of these two is in `nn.functional`."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..devices import device_of
from ..random import Philox, rng


def _drawn(input: Any, p: float, channels: bool, value: float) -> Any:
    """0 with probability ``p``, else ``value``: for each element, or for each channel (the first two dimensions) at once."""
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2)) if channels else input.shape
    source = rng(None, device_of(input))
    if isinstance(source, Philox):
        return source.keep(shape, input.dtype, p, value)
    return (source.random(shape, "float32") >= p).astype(input.dtype) * input.dtype.type(value)


@differentiable
def keep_mask(input: Any, p: float, channels: bool = False) -> Any:
    """1 with probability ``1 - p`` and 0 elsewhere, in input's dtype: for each element, or for each channel at once."""
    return _drawn(input, p, channels, 1.0)


@differentiable(keeps="mask")
def dropped(input: Any, p: float, channels: bool = False) -> Any:
    """``input`` times a `keep_mask` and ``1 / (1 - p)``."""
    mask = _drawn(input, p, channels, 1 / (1 - p) if p < 1 else 0.0)
    return input * mask, mask


dropped.op.name = "dropout"
dropped.vjp(input=lambda g, mask: g * mask)
