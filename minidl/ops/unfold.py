"""Windows as columns, and columns added up to a picture: each is the transpose of the other, and its rule."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import kernels
from ..shapes import Window


@differentiable
def columns(input: Any, window: Window) -> Any:
    """What the window sees at each position, (N, C, H, W) -> (N, C * K * L, positions)."""
    return kernels(input).unfold(input, window)


@differentiable
def picture(input: Any, window: Window, size: tuple[int, int]) -> Any:
    """Columns added where the window saw them, (N, C * K * L, positions) -> (N, C, H, W) with ``size`` = (H, W)."""
    return kernels(input).fold(input, window, size)


columns.op.name = "unfold"
columns.vjp(input=lambda g, window, input_shape: picture(g, window, input_shape[2:]))
picture.op.name = "fold"
picture.vjp(input=lambda g, window: columns(g, window))
