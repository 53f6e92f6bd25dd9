"""The largest, the smallest, the middle, the most frequent: values with their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..autograd import differentiable
from ..autograd.op import cast, numpy_names
from ..backend import kernels, xp
from ..dtypes import as_dtype, int64
from ..ops.elementwise import ceil, clamp, floor, maximum, minimum, round, where
from ..ops.index import gather
from ..ops.layout import narrow, reshape, unsqueeze, zeros_for
from ..ops.reduce import amax, amin, argmax, argmin, mean, sum
from ..ops.scan import argsort
from ..shapes import ShapeError, wrap_dim
from .arithmetic import lerp
from .joining import select
from .selecting import masked_select
from .shaping import movedim, squeeze

if TYPE_CHECKING:
    from .._tensor import Tensor


class max_result(NamedTuple):
    """What `max`, `min`, `sort`, `topk` ... along a dimension return."""

    values: Any
    indices: Any


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; or with ``dim`` a pair ``(values, indices)``; or with a tensor as ``dim``, `maximum`."""
    return _extreme("max", input, dim, keepdim)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; or with ``dim`` a pair ``(values, indices)``; or with a tensor as ``dim``, `minimum`."""
    return _extreme("min", input, dim, keepdim)


def _extreme(op: str, input: Any, dim: Any, keepdim: bool) -> Any:
    if dim is None:
        return (amax if op == "max" else amin)(input)
    if hasattr(dim, "shape"):
        return (maximum if op == "max" else minimum)(input, dim)
    indices = (argmax if op == "max" else argmin)(input, dim, True)
    values = gather(input, dim, indices)
    if not keepdim and len(input.shape):
        shape = [n for i, n in enumerate(input.shape) if i != wrap_dim(dim, len(input.shape), op)]
        values, indices = reshape(values, shape), reshape(indices, shape)
    return max_result(values, indices)


@numpy_names
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> tuple[Any, Any]:
    """The smallest and the largest element."""
    return amin(input, dim, keepdim), amax(input, dim, keepdim)


@numpy_names
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """``(values, indices)`` along ``dim`` in rising (or falling) order; always stable."""
    indices = argsort(input, dim, descending)
    return max_result(gather(input, dim, indices), indices)


@numpy_names
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """``(values, indices)`` of the ``k`` largest (or smallest) elements along ``dim``, in order."""
    n = input.shape[wrap_dim(dim, len(input.shape), "topk")] if len(input.shape) else 1
    if not 0 <= k <= n:
        raise ShapeError(f"topk: k = {k} is not between 0 and {n}, the size of dim {dim}")
    values, indices = sort(input, dim, descending=largest)
    return max_result(narrow(values, dim, 0, k), narrow(indices, dim, 0, k)) if len(input.shape) else (values, indices)


@numpy_names
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element (the lower one of two), or NaN if there is one; with ``dim`` a pair ``(values, indices)``.

    Without ``dim`` equal elements share the gradient equally, with it the one at the index takes all.
    """
    return _median("median", input, dim, keepdim)


@numpy_names
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of all that is not NaN."""
    return _median("nanmedian", input, dim, keepdim)


def _median(op: str, input: Any, dim: int | None, keepdim: bool) -> Any:
    if input.dtype == bool:
        raise TypeError(f"{op}: wants numbers, got bool")
    flat = reshape(input, (-1,)) if dim is None or not len(input.shape) else input
    axis = 0 if dim is None else wrap_dim(dim, len(input.shape), op)
    n = flat.shape[axis]
    if n == 0:
        if dim is None:
            return mean(flat)  # NaN, and an error for integers
        raise ShapeError(f"{op}: no element to choose from in shape {tuple(input.shape)} along dim {dim}")
    values, indices = sort(flat, axis)
    nans = sum(flat != flat, axis, True)  # sorted last
    middle = where(nans == 0, (n - 1) // 2, n - nans)
    if op == "nanmedian":
        middle = clamp(n - nans - 1, 0) // 2
    if dim is None:
        value = gather(values, axis, middle)
        same = (flat == value) | ((flat != flat) & (value != value))
        return amax(masked_select(flat, same))
    return _picked(flat, axis, gather(indices, axis, middle), keepdim, input)


def _picked(flat: Any, axis: int, indices: Any, keepdim: bool, input: Any) -> Any:
    """The elements at ``indices``, one along ``axis``, and the indices."""
    values = gather(flat, axis, indices)
    if keepdim and len(input.shape):
        return max_result(values, indices)
    return max_result(squeeze(values, axis), squeeze(indices, axis))


@numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """``(value, index)`` of the ``k``-th smallest element along ``dim``, counted from 1."""
    flat = input if len(input.shape) else reshape(input, (1,))
    axis = wrap_dim(dim, len(input.shape), "kthvalue")
    if not 1 <= k <= flat.shape[axis]:
        raise ShapeError(f"kthvalue: k = {k} is not between 1 and {flat.shape[axis]}, the size of dim {dim}")
    return _picked(flat, axis, narrow(argsort(flat, axis), axis, k - 1, 1), keepdim, input)


@numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """``(value, index)`` of the most frequent element along ``dim``: the smallest of them, and the last place where it is."""
    flat = input if len(input.shape) else reshape(input, (1,))
    axis = wrap_dim(dim, len(input.shape), "mode")
    if flat.shape[axis] == 0:
        raise ShapeError(f"mode: no element to choose from in shape {tuple(input.shape)} along dim {dim}")
    return _picked(flat, axis, _mode_index(flat, axis), keepdim, input)


@differentiable
def _mode_index(input: Any, dim: int) -> Any:
    m, input = xp(input), xp(input).moveaxis(input, dim, -1)
    order = m.argsort(input, -1, kind="stable")
    ordered, places = m.take_along_axis(input, order, -1), m.arange(input.shape[-1])
    starts = m.ones(input.shape, bool)  # of runs of equal elements
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    lengths = places - kernels(input).running_extreme(m.where(starts, places, 0), input.ndim - 1, True)
    return m.moveaxis(m.take_along_axis(order, lengths.argmax(-1, keepdims=True), -1), -1, dim)


def msort(input: Any) -> Tensor:
    """The elements along dimension 0 in rising order."""
    return sort(input, 0)[0]


@numpy_names
def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """The element that a share ``q`` of the others is below, between 0 and 1; several ``q`` give a first dimension for them.

    Between two elements ``interpolation`` decides: ``"linear"``, ``"lower"``, ``"higher"``, ``"nearest"``, ``"midpoint"``.
    A NaN makes the result NaN.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@numpy_names
def nanquantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """`quantile` of all that is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)


_BETWEEN: dict[str, Any] = {"lower": floor, "higher": ceil, "nearest": round, "linear": None, "midpoint": None}


def _quantile(op: str, input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Any:
    if interpolation not in _BETWEEN:
        raise ValueError(f"{op}: interpolation must be one of {', '.join(_BETWEEN)}, got {interpolation!r}")
    dtype, ndim = as_dtype(input.dtype), len(input.shape)
    if dtype.name not in ("float32", "float64"):
        raise TypeError(f"{op}: input must be float32 or float64, got {dtype}")
    if isinstance(q, (int, float)):
        q = zeros_for(input, ()) + dtype.dtype.type(q)
    if q.dtype != dtype or len(q.shape) > 1:
        raise TypeError(f"{op}: q must be a number or a vector of {dtype}, got {q.dtype} and shape {tuple(q.shape)}")
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"{op}: q must lie between 0 and 1")
    if 0 in input.shape:
        raise ShapeError(f"{op}: input is empty, of shape {tuple(input.shape)}")
    axis = 0 if dim is None else wrap_dim(dim, ndim, op)
    rows = reshape(input, (-1,)) if dim is None or not ndim else movedim(input, axis, -1)
    values, n = sort(rows, -1)[0], rows.shape[-1]
    nans = sum(rows != rows, -1, True)  # which are sorted last
    if op == "nanquantile":
        ranks = q * cast(clamp(n - nans, 1) - 1, dtype.dtype)
    else:
        ranks = where(nans > 0, n - 1.0, q * (n - 1))
    if _BETWEEN[interpolation] is not None:
        ranks = _BETWEEN[interpolation](ranks)
    below = floor(ranks)
    out = gather(values, -1, cast(below, int64.dtype))
    if interpolation in ("linear", "midpoint"):
        share = 0.5 if interpolation == "midpoint" else ranks - below
        out = lerp(out, gather(values, -1, cast(ceil(ranks), int64.dtype)), share)
    out = movedim(out, -1, 0)  # the quantiles first
    if keepdim and ndim:
        out = reshape(out, (-1, *(1,) * ndim)) if dim is None else unsqueeze(out, axis + 1)
    return out if len(q.shape) else select(out, 0, 0)


@differentiable
def _running_index(input: Any, dim: int, largest: bool) -> Any:
    """Where the largest (or smallest) element so far is: the last place of equal ones; a NaN beats everything."""
    m = xp(input)
    top = kernels(input).running_extreme(input, dim, largest)
    places = m.arange(input.shape[dim]).reshape((-1,) + (1,) * (input.ndim - 1 - dim))
    return kernels(input).running_extreme(m.where((input == top) | (input != input), places, 0), dim, True)


def _running(op: str, input: Any, dim: int) -> Any:
    flat = input if len(input.shape) else reshape(input, (1,))
    dim = wrap_dim(dim, len(input.shape), op)
    indices = _running_index(flat, dim, op == "cummax")
    found = gather(flat, dim, indices), indices
    return max_result(*(reshape(x, tuple(input.shape)) for x in found))


@numpy_names
def cummax(input: Any, dim: int) -> Any:
    """``(values, indices)`` of the largest element so far along ``dim``, the last one of equal ones."""
    return _running("cummax", input, dim)


@numpy_names
def cummin(input: Any, dim: int) -> Any:
    """``(values, indices)`` of the smallest element so far along ``dim``, the last one of equal ones."""
    return _running("cummin", input, dim)
