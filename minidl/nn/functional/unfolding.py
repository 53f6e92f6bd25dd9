"""Windows as columns, and back."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...ops.layout import reshape
from ...ops.unfold import columns, picture
from ...shapes import ShapeError, Window, pair


def _window(op: str, size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Window:
    kernel, stride, padding, dilation = (
        pair(value, f"{op}: {name}")
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("padding", padding), ("dilation", dilation))
    )
    return Window(kernel, stride, padding, padding, dilation).check(size, op)


def _batch(op: str, input: Any, ndim: int) -> Any:
    """``input`` of ``ndim`` dimensions, the first, which alone may be empty, put there if it is missing."""
    shape = tuple(input.shape)
    if len(shape) not in (ndim - 1, ndim) or 0 in shape[len(shape) - ndim + 1 :]:
        raise ShapeError(
            f"{op}: wants {ndim} dimensions, or {ndim - 1} without the batch, and only that empty; got shape {shape}"
        )
    return input if len(shape) == ndim else reshape(input, (1, *shape))


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """What a window sees at each of its positions, as a column (zeros in the padding).

    Shapes: (N, C, H, W) -> (N, C * K * L, positions); also without N. `conv2d` is a matrix product with these columns.
    """
    batch = _batch("unfold", input, 4)
    out = columns(batch, _window("unfold", batch.shape[2:], kernel_size, dilation, padding, stride))
    return out if len(input.shape) == 4 else reshape(out, out.shape[1:])


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Columns as `unfold` makes them, each added to the pixels where its window stands; the transpose of `unfold`.

    Shapes: (N, C * K * L, positions) -> (N, C, H, W) with ``output_size`` = (H, W); also without N.
    """
    batch, size = _batch("fold", input, 3), pair(output_size, "fold: output_size")
    window = _window("fold", size, kernel_size, dilation, padding, stride)
    taps, (down, across) = window.kernel[0] * window.kernel[1], window.out_size(size)
    if batch.shape[1] % taps or batch.shape[2] != down * across:
        raise ShapeError(
            f"fold: wants columns of a multiple of {taps} elements for {down} x {across} positions, got {tuple(input.shape)}"
        )
    out = picture(batch, window, size)
    return out if len(input.shape) == 3 else reshape(out, out.shape[1:])
