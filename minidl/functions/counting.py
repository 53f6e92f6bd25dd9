"""How often, and which one: integers as counts and as ones among zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import differentiable
from ..backend import kernels, xp
from ..devices import check
from ..shapes import ShapeError

if TYPE_CHECKING:
    from .._tensor import Tensor


@differentiable
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 occurs in a vector, or the sum of their ``weights``."""
    if input.ndim != 1:
        raise ShapeError(f"bincount: wants a vector, got shape {input.shape}")
    if input.dtype.kind not in "iu":
        raise TypeError(f"bincount: wants integers, got {input.dtype}")
    if input.size and input.min() < 0:
        raise ValueError(f"bincount: the integers must not be negative, got {int(input.min())}")
    if minlength < 0:
        raise ValueError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is None:
        return xp(input).bincount(input, None, minlength)
    if weights.shape != input.shape:
        raise ShapeError(f"bincount: weights of shape {weights.shape} do not fit integers of shape {input.shape}")
    sums = xp(input).zeros(max(minlength, int(input.max()) + 1 if input.size else 0))
    kernels(sums).add_at(sums, input, weights.astype("float64"))
    return sums.astype("float32") if weights.dtype == "float32" else sums


@differentiable
def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """A last dimension of ``num_classes`` with a 1 at the place each integer names (-1: one more than the largest)."""
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"one_hot: wants integers, got {tensor.dtype}")
    if tensor.size:
        negative = "one_hot: class numbers must not be negative"
        check(tensor.min() < 0, ValueError, lambda: f"{negative}, got {int(tensor.min())}", negative)
    if num_classes == -1:
        if not tensor.size:
            raise ValueError("one_hot: give num_classes, for there is no element to take it from")
        num_classes = int(tensor.max()) + 1
    if tensor.size:
        beyond = f"does not fit num_classes {num_classes}"
        said = lambda: f"one_hot: class number {int(tensor.max())} {beyond}"  # noqa: E731
        check(tensor.max() >= num_classes, ValueError, said, f"one_hot: a class number {beyond}")
    return (tensor[..., None] == xp(tensor).arange(num_classes)).astype("int64")
