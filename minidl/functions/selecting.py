"""Elements and slices listed by number or mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import broadcast_to
from ..autograd.op import numpy_names
from ..ops.index import _check_dtype, _check_range, _getitem, _put_add, as_key, gather
from ..ops.layout import broadcast_tensors, reshape
from ..shapes import ShapeError, broadcast_shapes, wrap_dim

if TYPE_CHECKING:
    from .._tensor import Tensor


@numpy_names
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Tensor:
    """`gather` with sizes of 1 stretched; without ``dim`` from all elements in one dimension."""
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    dim = wrap_dim(dim, len(input.shape), "take_along_dim")
    shapes = [tuple(x.shape) for x in (input, indices)]
    full = broadcast_shapes(*((*shape[:dim], 1, *shape[dim + 1 :]) for shape in shapes), op="take_along_dim")
    input, indices = (
        broadcast_to(x, (*full[:dim], shape[dim], *full[dim + 1 :])) for x, shape in zip((input, indices), shapes)
    )
    return gather(input, dim, indices)


@numpy_names
def index_select(input: Any, dim: int, index: Any) -> Tensor:
    """The slices of ``input`` along ``dim`` listed in the vector ``index``."""
    return _getitem(input, _slices("index_select", input, dim, index))


def _slices(op: str, input: Any, dim: int, index: Any) -> tuple[Any, ...]:
    """The key of the slices along ``dim`` listed in the vector ``index``."""
    dim = wrap_dim(dim, len(input.shape), op)
    if not input.shape:
        raise ShapeError(f"{op}: wants at least 1 dimension, got a tensor without any")
    if len(index.shape) > 1:
        raise ShapeError(f"{op}: index must be a vector, got shape {tuple(index.shape)}")
    (places,) = as_key(index if len(index.shape) else index[None], input)
    if places.dtype.kind not in "iu":
        raise TypeError(f"{op}: index must hold integers, got {places.dtype}")
    _check_range(op, places, dim, input.shape[dim])
    return (*(slice(None),) * dim, places)


@numpy_names
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: float = 1) -> Tensor:
    """``input`` with the slices of ``source`` added at the places along ``dim`` listed in the vector ``index``."""
    _check_dtype("index_add", input, source)
    key = _slices("index_add", input, dim, index)
    wanted = (*input.shape[: len(key) - 1], len(key[-1]), *input.shape[len(key) :])
    if tuple(source.shape) != wanted:
        raise ShapeError(f"index_add: source must have shape {wanted}, a slice for each index, got {tuple(source.shape)}")
    return _put_add(input, source if alpha == 1 else source * alpha, key)


def masked_select(input: Any, mask: Any) -> Tensor:
    """The elements where ``mask`` is true, as a vector."""
    (array,) = as_key(mask, input)
    if array.dtype != bool:
        raise TypeError(f"masked_select: mask must be a bool tensor, got {array.dtype}")
    if tuple(array.shape) != tuple(input.shape):
        input, array = broadcast_tensors(input, array)
    return _getitem(input, (array,))
