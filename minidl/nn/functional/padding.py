"""Edges put around a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ops.layout import constant_pad
from ...shapes import ShapeError, as_index


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """``input`` with ``value`` (0) around it; negative numbers crop.

    ``pad`` is (left, right) of the last dimension, then (top, bottom) of the one before, and so on.

    Raises
    ------
    NotImplementedError
        For a ``mode`` other than ``"constant"``.
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: mode {mode!r} is not supported, only 'constant'")
    ndim, edges = len(input.shape), [as_index(n, "pad: pad") for n in pad]
    if len(edges) % 2 or len(edges) > 2 * ndim:
        raise ShapeError(f"pad: wants pairs of numbers for at most {ndim} dimensions, got pad={tuple(pad)}")
    edges += [0] * (2 * ndim - len(edges))
    return constant_pad(input, tuple(edges[-2::-2]), tuple(edges[::-2]), 0.0 if value is None else value)
