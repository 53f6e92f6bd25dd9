"""Reading and writing by position: slices, index tensors, masks, gather and scatter.

Reading with repeated indices copies an element to several places, so its gradient is the sum over them. Every pair here
is a linear map and its transpose: `getitem` and `_put_add`, `gather` and `scatter_add`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import broadcast_to, differentiable
from ..autograd.mode import mode
from ..backend import kernels, xp
from ..devices import allow_writing, check, device_of, may_write, moved
from ..shapes import ShapeError, as_index, wrap_dim
from .layout import permute, reshape, zeros_for

_ENDS = {int, type(None)}
_PLAIN = {*_ENDS, type(...)}


@differentiable(view=True)
def _getitem(input: Any, index: Any) -> Any:
    try:
        out = input[index]
    except IndexError as error:
        raise IndexError(f"getitem: shape {input.shape}: {error}") from None
    if not out.ndim and not any(p is ... for p in index):
        return input[(*index, ...)]  # of a single element NumPy gives a copy, but with ... a view
    return out


@differentiable
def _put_add(input: Any, values: Any, index: Any) -> Any:
    """``input`` with ``values`` added at ``index``; where an index repeats, all are added."""
    out = input.copy()
    kernels(out).add_at(out, index, values)
    return out


@differentiable
def put(input: Any, values: Any, index: Any) -> Any:
    """``input`` with ``values`` in place of what was at ``index``."""
    out = input.copy()
    out[index] = values
    return out


_getitem.op.name = "getitem"
_getitem.vjp(input=lambda g, input_shape, index: _put_add(zeros_for(g, input_shape), g, index))
_getitem.op.into = lambda before, g, kept: kernels(before).add_at(before, kept["index"], g)
_put_add.vjp(input=lambda g: g, values=lambda g, index: _getitem(g, index))
put.vjp(
    input=lambda g, index: put(g, zeros_for(g, ()), index), values=lambda g, index, values_shape: _read(g, index, values_shape)
)


def _read(g: Any, index: Any, shape: Any) -> Any:
    """What stands at ``index`` now that values of ``shape`` were put there, which may have had sizes of 1 in front."""
    out = _getitem(g, index)
    spare = len(shape) - len(out.shape)
    return reshape(out, (1,) * spare + tuple(out.shape)) if spare > 0 else out


def as_key(index: Any, input: Any) -> tuple[Any, ...]:
    """An index of ``input`` as a tuple of what NumPy indexes with: integers, slices, ``...``, None, and arrays, where ``input``
    is, for index tensors and lists.

    Raises
    ------
    IndexError
        For an index tensor of a dtype that PyTorch refuses, or (uint8) takes for a mask.
    ValueError
        For a slice that runs backwards.
    """
    if isinstance(index, list) and any(not isinstance(x, (int, np.integer, np.bool_)) for x in index):
        raise IndexError("index: a list of lists or tensors may mean two things; write a tuple of lists, or tensor(list)")
    where = device_of(getattr(input, "_array", input))
    return tuple(_as_key_part(i, where) for i in (index if isinstance(index, tuple) else (index,)))


def _as_key_part(part: Any, where: Any) -> Any:
    if isinstance(part, slice):
        if part.step is not None and part.step <= 0:
            raise ValueError(f"index: the step of a slice must be positive, got {part.step}; use flip() for the reverse order")
        bounds = part.start, part.stop, part.step
        return slice(*(n if n is None else as_index(n, "index: the bound of a slice") for n in bounds))
    if isinstance(part, list):
        part = np.array(part, dtype=None if part else int)
    array = getattr(part, "_array", part)
    if array is not part and mode.watcher is not None:
        mode.watcher.seen(part, "it is an index")
    if getattr(array, "dtype", None) is None:
        return part
    if array.dtype.name not in ("int64", "int32", "bool") and (array is not part or array.dtype.kind not in "iu"):
        raise IndexError(f"index: an index tensor must be int64, int32 or bool, got {array.dtype}; write .long() or .bool()")
    if not array.ndim and array.dtype != bool:
        return int(array)  # one integer is as good as a plain one: it gives a view
    if device_of(array) != where:
        if where.type == "cpu":
            raise RuntimeError(f"index: an index tensor on {str(device_of(array))!r} for a tensor on 'cpu'; write .cpu()")
        return moved(array, where)
    return array.copy()  # the rules read it again, and by then its owner may have changed it


def split_key(index: Any, input: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """``index`` of ``input`` as two keys, to be used one after the other; the first may be ``()``.

    They are two if integers stand beside index tensors: PyTorch takes the integers first, where NumPy broadcasts them together.
    """
    key = as_key(index, input)
    is_array = [hasattr(p, "ndim") for p in key]
    if not any(is_array) or not any(isinstance(p, int) and not isinstance(p, bool) for p in key):
        return (), key
    basic, rest = [], []
    for part, array in zip(key, is_array):
        if array:
            basic.extend([slice(None)] * (part.ndim if part.dtype == bool else 1))
            rest.append(part)
        else:
            basic.append(part)
            if part is ... or not isinstance(part, int):
                rest.append(... if part is ... else slice(None))
    return tuple(basic), tuple(rest)


def _is_plain(part: Any) -> bool:
    return type(part) in _PLAIN or (type(part) is slice and part.step is None and {type(part.start), type(part.stop)} <= _ENDS)


def getitem(input: Any, index: Any) -> Any:
    """``input[index]``: a view for integers, slices, ``...`` and None; a copy for index tensors and masks."""
    key = index if type(index) is tuple else (index,)
    if all(map(_is_plain, key)):  # the usual case, quickly
        return _getitem(input, key)
    basic, rest = split_key(index, input)
    return _getitem(_getitem(input, basic), rest) if basic else _getitem(input, rest)


# -- along one dimension


def _check_index(op: str, input: Any, dim: int, index: Any) -> None:
    if index.dtype.kind not in "iu":
        raise TypeError(f"{op}: index must hold integers, got {index.dtype}")
    if index.ndim != input.ndim and (index.ndim, input.ndim) != (0, 1):  # one place of a vector needs no dimension
        raise ShapeError(f"{op}: index of shape {index.shape} must have as many dimensions as input of shape {input.shape}")
    _check_range(op, index, dim, input.shape[dim] if input.ndim else 1)


def _check_range(op: str, index: Any, dim: int, n: int) -> None:
    """Refuse what NumPy would count from the end, too."""
    if not index.size:
        return
    low, high, beyond = index.min(), index.max(), f"is out of range for dim {dim} of size {n}"
    wrong = (low < 0) | (high >= n)
    check(wrong, IndexError, lambda: f"{op}: index {int(low if low < 0 else high)} {beyond}", f"{op}: an index {beyond}")


def _check_dtype(op: str, input: Any, source: Any) -> None:
    if source.dtype != input.dtype:
        raise RuntimeError(f"{op}: input and what is put there want one dtype, got {input.dtype} and {source.dtype}")


def _along(x: Any, index: Any, dim: int) -> Any:
    """The positions ``[i][j][index[i][j][k]]`` as one key, for ``dim`` = 2."""
    grid = [xp(index).arange(n).reshape(n, *[1] * (index.ndim - 1 - i)) for i, n in enumerate(index.shape)]
    if not grid:
        return (index,) if x.ndim else ()
    grid[dim] = index
    return tuple(grid)


@differentiable
def gather(input: Any, dim: int, index: Any) -> Any:
    """``out[i][j][k] = input[i][index[i][j][k]][k]`` for ``dim`` = 1; ``index`` gives the output's shape."""
    dim = wrap_dim(dim, input.ndim, "gather")
    _check_index("gather", input, dim, index)
    if any(m > n for i, (m, n) in enumerate(zip(index.shape, input.shape)) if i != dim):
        raise ShapeError(f"gather: index of shape {index.shape} reaches beyond input of shape {input.shape}")
    return input[_along(input, index, dim)]


def _cut(src: Any, index: Any, input: Any, op: str) -> Any:
    """The part of ``src`` that ``index`` covers."""
    if not getattr(src, "ndim", 0) and not hasattr(src, "shape"):
        return src
    _check_dtype(op, input, src)
    if src.ndim != index.ndim or any(m > n for m, n in zip(index.shape, src.shape)):
        raise ShapeError(f"{op}: index of shape {index.shape} reaches beyond src of shape {src.shape}")
    return src[tuple(slice(n) for n in index.shape)]


@differentiable
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """``out[i][index[i][j][k]][k] += src[i][j][k]`` for ``dim`` = 1, starting from ``input``."""
    dim = wrap_dim(dim, input.ndim, "scatter_add")
    _check_index("scatter_add", input, dim, index)
    out = input.copy()
    kernels(out).add_at(out, _along(input, index, dim), _cut(src, index, input, "scatter_add"))
    return out


@differentiable
def _scatter(input: Any, dim: int, index: Any, src: Any) -> Any:
    dim = wrap_dim(dim, input.ndim, "scatter")
    _check_index("scatter", input, dim, index)
    out = input.copy("K")
    out[_along(input, index, dim)] = _cut(src, index, input, "scatter")
    return out


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """``out[i][index[i][j][k]][k] = src[i][j][k]`` for ``dim`` = 1, starting from ``input``; or ``value``, a number, put there.

    Where an index repeats, one of the values stays; its gradient is then not defined, as in PyTorch.
    """
    if reduce is not None:
        raise NotImplementedError(f"scatter: reduce {reduce!r} is not supported; use scatter_add or scatter_reduce")
    if (src is None) == (value is None):
        raise TypeError("scatter: wants src or value")
    src = value if src is None else src
    return _scatter(input, dim, index, broadcast_to(src, tuple(index.shape)) if getattr(src, "ndim", 1) == 0 else src)


def _src_rule(g: Any, dim: int, index: Any, src_shape: Any) -> Any:
    """Read back what was written; elements of src that ``index`` does not cover have no part."""
    out = gather(g, dim, index)
    if tuple(out.shape) == tuple(src_shape):
        return out
    key = tuple(slice(n) for n in index.shape)
    return put(zeros_for(g, src_shape), out, key)


gather.vjp(input=lambda g, input_shape, dim, index: scatter_add(zeros_for(g, input_shape), dim, index, g))
scatter_add.vjp(input=lambda g: g, src=_src_rule)
_scatter.op.name = "scatter"
_scatter.vjp(input=lambda g, dim, index: _scatter(g, dim, index, 0.0), src=_src_rule)


@differentiable
def scatter_extreme(input: Any, dim: int, index: Any, src: Any, largest: bool) -> Any:
    """`scatter_add` with the largest (or smallest) in place of the sum; equal ones share the gradient equally."""
    dim = wrap_dim(dim, input.ndim, "scatter_reduce")
    _check_index("scatter_reduce", input, dim, index)
    out, m = input.copy(), xp(input)
    (m.maximum if largest else m.minimum).at(out, _along(input, index, dim), _cut(src, index, input, "scatter_reduce"))
    return out


def _extreme_rule(g: Any, input: Any, dim: int, index: Any, src: Any, out: Any) -> tuple[Any, Any]:
    mine, theirs = (input == out) * 1.0, (src == gather(out, dim, index)) * 1.0
    share = g / scatter_add(mine, dim, index, theirs)
    return share * mine, gather(share, dim, index) * theirs


scatter_extreme.vjp(_extreme_rule, input=None, src=None)


@differentiable(view=True)
def windows(input: Any, dim: int, size: int, step: int) -> Any:
    """All slices of ``size`` along ``dim`` that start ``step`` apart, each laid along a new last dimension."""
    n = input.shape[dim]
    if not 0 <= size <= n or step < 1:
        raise ShapeError(f"unfold: size {size} and step {step} do not fit dim {dim} of size {n}")
    shape = (*input.shape[:dim], (n - size) // step + 1, *input.shape[dim + 1 :], size)
    strides = (*input.strides[:dim], input.strides[dim] * step, *input.strides[dim + 1 :], input.strides[dim])
    out = xp(input).lib.stride_tricks.as_strided(input, shape, strides)
    if size > step or not may_write(input):  # windows that overlap are like something expanded: not to be written to
        allow_writing(out, False)
    return out


def _windows_rule(g: Any, input_shape: Any, dim: int, size: int, step: int) -> Any:
    m = xp(getattr(g, "_array", g))
    places = step * m.arange(g.shape[dim])[:, None] + m.arange(size)
    order = (*range(dim + 1), len(input_shape), *range(dim + 1, len(input_shape)))
    return _put_add(zeros_for(g, input_shape), permute(g, order), (*(slice(None),) * dim, places))


windows.op.name = "unfold"
windows.vjp(input=_windows_rule)


@differentiable
def _nonzero(input: Any) -> Any:
    return xp(input).argwhere(input)


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The positions of all elements that are not 0: rows of a matrix, or one vector for each dimension."""
    found = _nonzero(input if len(input.shape) or not as_tuple else reshape(input, (1,)))
    return tuple(found[:, i] for i in range(found.shape[1])) if as_tuple else found
