"""Shapes and order, put together of `reshape`, `permute` and their like in `minidl.ops.layout`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import broadcast_to, differentiable
from ..autograd.op import numpy_names
from ..backend import xp
from ..devices import on_host
from ..dtypes import check_tensors
from ..ops import layout
from ..ops.index import windows
from ..ops.layout import copy, diag_embed, flip, permute, reshape, transpose, unsqueeze
from ..shapes import ShapeError, as_index, as_shape, infer_size, wrap_dim, wrap_dims
from .selecting import index_select

if TYPE_CHECKING:
    from .._tensor import Tensor


def view(input: Any, *size: Any) -> Tensor:
    """``input`` in another shape and the same memory; like `reshape`, but an error where that needs a copy."""
    array, shape = getattr(input, "_array", input), as_shape(size, "view")
    out = reshape(input, infer_size(shape, array.size, "view"))
    if array.size and not xp(array).may_share_memory(getattr(out, "_array", out), array):
        raise ShapeError(
            f"view: a tensor of shape {array.shape} with its memory in another order cannot be seen as {shape} without a copy; "
            "use reshape(...), or contiguous() first"
        )
    return out


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions ``start_dim`` to ``end_dim`` joined into one."""
    shape = tuple(input.shape)
    if not shape:
        return reshape(input, (1,))
    start, end = wrap_dim(start_dim, len(shape), "flatten"), wrap_dim(end_dim, len(shape), "flatten")
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def ravel(input: Any) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (-1,))


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension ``dim`` split into ``sizes`` (one may be -1)."""
    shape = tuple(input.shape)
    dim = wrap_dim(dim, len(shape), "unflatten")
    return reshape(input, (*shape[:dim], *infer_size(tuple(sizes), shape[dim], "unflatten"), *shape[dim + 1 :]))


@numpy_names
def squeeze(input: Any, dim: Any = None) -> Tensor:
    """``input`` without its dimensions of size 1, or without those among ``dim``."""
    shape = tuple(input.shape)
    dims = wrap_dims(dim, len(shape), "squeeze")
    return reshape(input, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims))


def t(input: Any) -> Tensor:
    """The transpose of a matrix; a vector as it is."""
    if len(input.shape) > 2:
        raise ShapeError(f"t: wants at most 2 dimensions, got {len(input.shape)}; use transpose or mT")
    return permute(input, tuple(reversed(range(len(input.shape)))))


def movedim(input: Any, source: Any, destination: Any) -> Tensor:
    """Dimensions ``source`` moved to the places ``destination``, the others kept in order."""
    ndim = len(input.shape)
    start, end = wrap_dims(source, ndim, "movedim"), wrap_dims(destination, ndim, "movedim")
    if len(start) != len(end):
        raise ShapeError(f"movedim: source {source} and destination {destination} must name equally many dimensions")
    order = [i for i in range(ndim) if i not in start]
    for place, dim in sorted(zip(end, start)):
        order.insert(place, dim)
    return permute(input, tuple(order))


def expand(input: Any, *size: Any) -> Tensor:
    """Sizes of 1 stretched to ``size`` without copying; -1 keeps a size. The result cannot be written to."""
    shape, wanted = tuple(input.shape), as_shape(size, "expand")
    lead = len(wanted) - len(shape)
    if lead < 0:
        raise ShapeError(f"expand: size {wanted} has fewer dimensions than the tensor's shape {shape}")
    full = tuple(shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted))
    if any(n < 0 for n in full) or any(m not in (1, n) for m, n in zip(shape, full[lead:])):
        raise ShapeError(f"expand: shape {shape} does not stretch to {wanted}")
    return broadcast_to(input, full)


def expand_as(input: Any, other: Any) -> Tensor:
    """``input`` expanded to the shape of ``other``."""
    return expand(input, tuple(other.shape))


def repeat(input: Any, *sizes: Any) -> Tensor:
    """Copies of ``input`` laid side by side, ``sizes[i]`` of them along dimension i (NumPy's ``tile``)."""
    counts, shape = as_shape(sizes, "repeat"), tuple(input.shape)
    if len(counts) < len(shape):
        raise ShapeError(f"repeat: sizes {counts} must cover the tensor's {len(shape)} dimensions")
    shape = (1,) * (len(counts) - len(shape)) + shape
    spread = broadcast_to(
        reshape(input, tuple(n for size in shape for n in (1, size))),
        tuple(n for count, size in zip(counts, shape) for n in (count, size)),
    )
    return reshape(copy(spread), tuple(count * size for count, size in zip(counts, shape)))


def tile(input: Any, *dims: Any) -> Tensor:
    """`repeat` for which ``dims`` may be fewer than the dimensions, and then are those of the last ones."""
    counts = as_shape(dims, "tile")
    return repeat(input, *(1,) * (len(input.shape) - len(counts)), *counts)


@numpy_names
def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Tensor:
    """Each element repeated ``repeats`` times in place, along ``dim`` or (None) of the flattened tensor.

    ``repeats`` is a number, or a vector with one for each element.
    """
    if dim is None:
        input, dim = ravel(input), 0
    shape = tuple(input.shape)
    dim = wrap_dim(dim, len(shape), "repeat_interleave")
    if getattr(repeats, "shape", ()):
        return index_select(input, dim, _repeated(repeats, shape[dim]))
    repeats = as_index(repeats, "repeat_interleave: repeats")
    if repeats < 0:
        raise ValueError(f"repeat_interleave: repeats must not be negative, got {repeats}")
    spread = broadcast_to(unsqueeze(input, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return reshape(copy(spread), (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))


@differentiable
def _repeated(repeats: Any, n: int) -> Any:
    """The numbers up to ``n``, each as often as ``repeats`` says."""
    if repeats.shape not in ((n,), (1,)) or repeats.dtype.kind not in "iu" or (repeats < 0).any():
        raise ValueError(f"repeat_interleave: repeats must hold one or {n} integers, none negative, got shape {repeats.shape}")
    return xp(repeats).asarray(np.repeat(np.arange(n), on_host(repeats)))


def diag(input: Any, diagonal: int = 0) -> Tensor:
    """Diagonal number ``diagonal`` of a matrix, or the matrix with a vector on it."""
    if len(input.shape) == 1:
        return diag_embed(input, diagonal)
    if len(input.shape) != 2:
        raise ShapeError(f"diag: wants 1 or 2 dimensions, got {len(input.shape)}")
    return copy(layout.diagonal(input, diagonal))


def diagflat(input: Any, offset: int = 0) -> Tensor:
    """The matrix with all elements of ``input`` on diagonal number ``offset``."""
    return diag_embed(ravel(input), offset)


def atleast_1d(*tensors: Any) -> Any:
    """A tensor without dimensions as a vector; several, or a list of them, as a tuple."""
    return _each("atleast_1d", tensors, lambda x: x if len(x.shape) else reshape(x, (1,)))


def atleast_2d(*tensors: Any) -> Any:
    """Vectors as matrices of one row; several, or a list of them, as a tuple."""
    return _each("atleast_2d", tensors, lambda x: x if len(x.shape) > 1 else reshape(x, (1, -1)))


def atleast_3d(*tensors: Any) -> Any:
    """With three dimensions: vectors become (1, N, 1), matrices (M, N, 1); several, or a list of them, as a tuple."""

    def three(x: Any) -> Any:
        return x if len(x.shape) > 2 else unsqueeze(x, -1) if len(x.shape) == 2 else reshape(x, (1, -1, 1))

    return _each("atleast_3d", tensors, three)


def _each(op: str, tensors: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """``change`` of one tensor, or of each of several."""
    alone = len(tensors) == 1 and not isinstance(tensors[0], (tuple, list))
    listed = tensors[0] if len(tensors) == 1 and not alone else tensors
    if len(listed):  # none give none, as in PyTorch
        check_tensors(op, listed)
    return change(listed[0]) if alone else tuple(change(x) for x in listed)


def fliplr(input: Any) -> Tensor:
    """The order of columns, dimension 1, reversed; a copy."""
    _check_ndim("fliplr", input, 2)
    return flip(input, 1)


def flipud(input: Any) -> Tensor:
    """The order of rows, dimension 0, reversed; a copy."""
    _check_ndim("flipud", input, 1)
    return flip(input, 0)


def _check_ndim(op: str, input: Any, least: int) -> None:
    if len(input.shape) < least:
        raise ShapeError(f"{op}: wants at least {least} dimension{'s' * (least > 1)}, got shape {tuple(input.shape)}")


def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """The plane of two dimensions turned ``k`` times by 90 degrees, from the first of ``dims`` towards the second; a copy."""
    _check_ndim("rot90", input, 2)
    a, b = wrap_dims(tuple(dims), len(input.shape), "rot90") if len(dims) == 2 else (0, 0)
    if a == b:
        raise ShapeError(f"rot90: wants two different dims, got {tuple(dims)}")
    turned = (copy(input), flip(input, b), flip(input, (a, b)), flip(input, a))[k % 4]
    return transpose(turned, a, b) if k % 2 else turned


def unfold(input: Any, dimension: int, size: int, step: int) -> Tensor:
    """All slices of ``size`` along ``dimension`` that start ``step`` apart, each laid along a new last dimension; a view."""
    dim = wrap_dim(dimension, len(input.shape), "unfold")
    return windows(input, dim, size, step) if len(input.shape) else windows(reshape(input, (1,)), dim, size, step)[0]
