"""Reading and writing by position, put together of `gather`, `put` and their like in `minidl.ops.index`; searching."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import differentiable
from ..autograd.op import cast, numpy_names
from ..backend import xp
from ..dtypes import as_dtype, int32, int64
from ..ops.elementwise import div, maximum, where
from ..ops.index import _check_dtype, _put_add, as_key, getitem, nonzero, scatter, scatter_add, scatter_extreme
from ..ops.index import put as put_at
from ..ops.layout import reshape, zeros_for
from ..ops.scan import cumsum
from ..shapes import ShapeError, as_index, wrap_dim
from .counting import bincount
from .selecting import _slices, index_select
from .shaping import expand

if TYPE_CHECKING:
    from .._tensor import Tensor


def argwhere(input: Any) -> Tensor:
    """The positions of all elements that are not 0, a row each."""
    return nonzero(input)


def _long(op: str, index: Any) -> Any:
    if as_dtype(index.dtype) != int64:
        raise TypeError(f"{op}: index must be int64, got {index.dtype}; write .long()")
    return index


def take(input: Any, index: Any) -> Tensor:
    """The elements at ``index`` of the flattened tensor, in the shape of ``index``; negative ones count from the end."""
    return getitem(reshape(input, (-1,)), _long("take", index))


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Tensor:
    """``input`` with ``source`` at the places ``index`` of the flattened tensor, or (``accumulate``) added there."""
    _check_dtype("put", input, source)
    if math.prod(index.shape) != math.prod(source.shape):
        raise IndexError(f"put: index of shape {tuple(index.shape)} and source of shape {tuple(source.shape)} differ in size")
    key = as_key(reshape(_long("put", index), (-1,)), input)
    out = (_put_add if accumulate else put_at)(reshape(input, (-1,)), reshape(source, (-1,)), key)
    return reshape(out, tuple(input.shape))


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """``input`` with ``input[indices] = values``, or (``accumulate``) ``values`` added there, all where an index repeats."""
    _check_dtype("index_put", input, values)
    return (_put_add if accumulate else put_at)(input, values, as_key(tuple(indices), input))


@numpy_names
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Tensor:
    """``input`` with the slices of ``source`` at the places along ``dim`` listed in the vector ``index``."""
    _check_dtype("index_copy", input, source)
    key = _slices("index_copy", input, dim, index)
    wanted = (*input.shape[: len(key) - 1], len(key[-1]), *input.shape[len(key) :])
    if tuple(source.shape) != wanted and len(source.shape):
        raise IndexError(f"index_copy: source must have shape {wanted}, a slice for each index, got {tuple(source.shape)}")
    return put_at(input, source, key)


@numpy_names
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Tensor:
    """``input`` with ``value``, a number, at the places along ``dim`` listed in the vector ``index``."""
    if getattr(value, "ndim", 0):
        raise ShapeError(f"index_fill: value must be a number or a tensor without dimensions, got shape {tuple(value.shape)}")
    n = input.shape[wrap_dim(dim, len(input.shape), "index_fill")]
    index = _long("index_fill", index)
    return put_at(input, value, _slices("index_fill", input, dim, where(index < 0, index + n, index)))


def masked_scatter(input: Any, mask: Any, source: Any) -> Tensor:
    """``input`` with the elements of ``source``, in order, where ``mask`` is true."""
    _check_dtype("masked_scatter", input, source)
    if mask.dtype != bool:
        raise TypeError(f"masked_scatter: mask must be a bool tensor, got {mask.dtype}")
    input = input + 0 if len(mask.shape) <= len(input.shape) else expand(input, tuple(mask.shape))
    (places,) = as_key(expand(mask, tuple(input.shape)), input)
    count = int(places.sum())
    if count > math.prod(source.shape):
        raise ShapeError(f"masked_scatter: source has {math.prod(source.shape)} elements for {count} true places in mask")
    return put_at(input, reshape(source, (-1,))[:count], (places,))


@numpy_names
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Tensor:
    """For each place, all ``src`` that ``index`` sends there (see `scatter`) and, with ``include_self``, what is there in
    ``input``, brought to one number: ``reduce`` is ``"sum"``, ``"mean"``, ``"amax"`` or ``"amin"``.

    Equal extremes share the gradient equally. ``"prod"`` is not supported.
    """
    if reduce == "prod":
        raise NotImplementedError("scatter_reduce: reduce 'prod' is not supported")
    if reduce not in ("sum", "mean", "amax", "amin"):
        raise ValueError(f"scatter_reduce: reduce must be 'sum', 'mean', 'amax' or 'amin', got {reduce!r}")
    _check_dtype("scatter_reduce", input, src)
    dtype = as_dtype(input.dtype)
    if reduce in ("amax", "amin"):
        src = getitem(src, tuple(slice(n) for n in index.shape))
        worst = math.inf if dtype.is_floating_point else xp(0).iinfo(dtype.dtype).max
        worst = -worst if reduce == "amax" else worst
        return scatter_extreme(input if include_self else scatter(input, dim, index, worst), dim, index, src, reduce == "amax")
    total = scatter_add(input if include_self else scatter(input, dim, index, 0), dim, index, src)
    if reduce == "sum":
        return total
    ones = zeros_for(input, tuple(input.shape)) + 1, zeros_for(src, tuple(src.shape)) + 1
    counts = scatter_add(ones[0] if include_self else scatter(ones[0], dim, index, 0), dim, index, ones[1])
    return div(total, maximum(counts, 1), rounding_mode=None if dtype.is_floating_point else "floor")


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """The positions, a tensor for each dimension, of places in a flattened tensor of ``shape``."""
    sizes = [as_index(n, "unravel_index: shape") for n in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    if as_dtype(indices.dtype).category != 1:
        raise TypeError(f"unravel_index: indices must be integers, got {indices.dtype}")
    found = []
    for n in reversed(sizes):
        found.append(indices % n)
        indices = indices // n
    return tuple(reversed(found))


# -- searching


@differentiable
def _isin(elements: Any, test_elements: Any, invert: bool) -> Any:
    m = xp(elements if hasattr(elements, "shape") else test_elements)
    return m.isin(m.asarray(elements), test_elements, invert=invert)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each of ``elements`` is among ``test_elements`` (or, with ``invert``, is not); one of them may be a number.

    ``assume_unique``, PyTorch's word that nothing occurs twice, makes no difference.
    """
    for x in (elements, test_elements):
        if getattr(x, "dtype", None) == bool:
            raise TypeError("isin: bool tensors are not supported")
    if not hasattr(elements, "shape") and not hasattr(test_elements, "shape"):
        raise TypeError("isin: wants a tensor as elements or test_elements, got two numbers")
    return _isin(elements, test_elements, invert)


@differentiable
def _searchsorted(sorted_sequence: Any, values: Any, side: str, sorter: Any) -> Any:
    m = xp(sorted_sequence)
    if sorter is not None:
        sorted_sequence = m.take_along_axis(sorted_sequence, sorter, -1)
    if sorted_sequence.ndim == 1:
        return m.asarray(sorted_sequence.searchsorted(m.asarray(values), side))
    found = m.empty(values.shape, "int64")
    for place in np.ndindex(*values.shape[:-1]):
        found[place] = sorted_sequence[place].searchsorted(values[place], side)
    return found


def searchsorted(
    sorted_sequence: Any,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Tensor:
    """Where to put each of ``values`` into ``sorted_sequence``, which rises along its last dimension, to keep it sorted: before
    equal elements, or (``right``, ``side="right"``) after them.

    ``sorted_sequence`` is a vector, or has a row for each row of ``values``. ``sorter`` is the `argsort` of one not sorted.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ValueError(f"searchsorted: side must be 'left' or 'right' and agree with right, got {side!r} and {right}")
    sequence = tuple(sorted_sequence.shape)
    if not sequence or (len(sequence) > 1 and tuple(getattr(values, "shape", ()))[:-1] != sequence[:-1]):
        raise ShapeError(
            "searchsorted: sorted_sequence must be a vector or have a row for each row of values, got shapes "
            f"{sequence} and {tuple(getattr(values, 'shape', ()))}"
        )
    if sorter is not None and tuple(sorter.shape) != sequence:
        raise ShapeError(f"searchsorted: sorter must have the shape {sequence} of sorted_sequence, got {tuple(sorter.shape)}")
    found = _searchsorted(sorted_sequence, values, "right" if right or side == "right" else "left", sorter)
    return cast(found, int32.dtype) if out_int32 else found


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Between which of the rising ``boundaries`` each element lies: how many are below it (or, with ``right``, not above)."""
    if len(boundaries.shape) != 1:
        raise ShapeError(f"bucketize: boundaries must be a vector, got shape {tuple(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@differentiable
def _unique(input: Any, dim: int | None, part: int) -> Any:
    parts = xp(input).unique(input, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    return parts[1].reshape(input.shape if dim is None else (-1,)) if part == 1 else parts[part]


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements, or the different slices along ``dim``, in rising order (whatever ``sorted`` says).

    With ``return_inverse`` also where each element of ``input`` is among them, with ``return_counts`` how often each occurs.
    """
    dim = None if dim is None else wrap_dim(dim, len(input.shape), "unique")
    if dim is not None and 0 in input.shape and input.shape[dim]:
        raise ShapeError(f"unique: slices of shape {tuple(input.shape)} along dim {dim} have no elements to compare")
    parts = tuple(_unique(input, dim, i) for i in range(3) if (True, return_inverse, return_counts)[i])
    return parts if len(parts) > 1 else parts[0]


@differentiable
def _starts(input: Any, dim: int) -> Any:
    """Whether each slice along ``dim`` differs from the one before it."""
    m, n = xp(input), input.shape[dim]
    rows = m.moveaxis(input, dim, 0).reshape(n, input.size // max(n, 1))
    return m.concatenate([m.ones(min(n, 1), bool), (rows[1:] != rows[:-1]).any(1)])


def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """The elements, or slices along ``dim``, without those that are equal to their neighbour before; see `unique`."""
    x = reshape(input, (-1,)) if dim is None else input
    axis = 0 if dim is None else wrap_dim(dim, len(x.shape), "unique_consecutive")
    if 0 in x.shape and x.shape[axis]:
        raise ShapeError(f"unique_consecutive: slices of shape {tuple(x.shape)} along dim {dim} have no elements to compare")
    starts = _starts(x, axis)
    run = cumsum(starts, 0) - 1
    parts = [index_select(x, axis, reshape(nonzero(starts), (-1,)))]
    if return_inverse:
        parts.append(reshape(run, tuple(input.shape)) if dim is None else run)
    if return_counts:
        parts.append(bincount(run))
    return tuple(parts) if len(parts) > 1 else parts[0]
