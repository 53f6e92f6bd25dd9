"""The largest, the smallest, the middle: values with their places."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ops.elementwise import maximum, minimum, where
from ..ops.index import gather
from ..ops.layout import narrow, reshape
from ..ops.reduce import amax, amin, argmax, argmin, sum
from ..ops.scan import argsort
from ..shapes import ShapeError, wrap_dim


class max_result(NamedTuple):
    """What `max`, `min`, `sort`, `topk` ... along a dimension return."""

    values: Any
    indices: Any


def max(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; or with ``dim`` a pair ``(values, indices)``; or with a tensor as ``dim``, `maximum`."""
    return _extreme("max", input, dim, keepdim)


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


def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> tuple[Any, Any]:
    """The smallest and the largest element."""
    return amin(input, dim, keepdim), amax(input, dim, keepdim)


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """``(values, indices)`` along ``dim`` in rising (or falling) order; always stable."""
    indices = argsort(input, dim, descending)
    return max_result(gather(input, dim, indices), indices)


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """``(values, indices)`` of the ``k`` largest (or smallest) elements along ``dim``, in order."""
    n = input.shape[wrap_dim(dim, len(input.shape), "topk")] if len(input.shape) else 1
    if not 0 <= k <= n:
        raise ShapeError(f"topk: k = {k} is not between 0 and {n}, the size of dim {dim}")
    values, indices = sort(input, dim, descending=largest)
    return max_result(narrow(values, dim, 0, k), narrow(indices, dim, 0, k)) if len(input.shape) else (values, indices)


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element (the lower one of two), or NaN if there is one; with ``dim`` a pair ``(values, indices)``."""
    flat = reshape(input, (-1,)) if dim is None or not len(input.shape) else input
    axis = 0 if dim is None else dim
    values, indices = sort(flat, axis)
    n, nans = flat.shape[wrap_dim(axis, len(flat.shape), "median")], sum(flat != flat, axis, True)
    middle = where(nans == 0, (n - 1) // 2, n - nans)  # NaN is sorted last
    values, indices = gather(values, axis, middle), gather(indices, axis, middle)
    if dim is None:
        return values.reshape(())
    if keepdim and len(input.shape):
        return max_result(values, indices)
    return max_result(values.squeeze(axis), indices.squeeze(axis))
