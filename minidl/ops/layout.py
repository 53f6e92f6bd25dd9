"""Shapes and order: the same numbers seen otherwise. Most of these are views that share the input's memory."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from .. import dtypes
from ..autograd import broadcast_to, differentiable
from ..autograd.op import numpy_names
from ..backend import kernels, xp
from ..devices import allow_writing, may_write
from ..shapes import ShapeError, as_shape, broadcast_shapes, infer_size, solid_dim, wrap_dim, wrap_dims

# -- one array, another shape


@differentiable(view=True)
def reshape(input: Any, shape: Any) -> Any:
    """``input`` in another ``shape`` (one size may be -1): a view where memory allows, else a copy."""
    return input.reshape(infer_size((shape,) if isinstance(shape, int) else tuple(shape), input.size, "reshape"))


@numpy_names
def unsqueeze(input: Any, dim: int) -> Any:
    """``input`` with a dimension of size 1 put in at ``dim``."""
    shape = tuple(input.shape)
    dim = wrap_dim(dim, len(shape) + 1, "unsqueeze")
    return reshape(input, (*shape[:dim], 1, *shape[dim:]))


# -- one array, another order


@differentiable(view=True)
def _permute(input: Any, dims: Any) -> Any:
    return input.transpose(dims)


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in the order ``dims``."""
    order = wrap_dims(as_shape(dims, "permute"), len(input.shape), "permute")
    if len(order) != len(input.shape):
        raise ShapeError(f"permute: dims {order} must name each of the {len(input.shape)} dimensions once")
    return _permute(input, order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged."""
    ndim = len(input.shape)
    a, b = wrap_dim(dim0, ndim, "transpose"), wrap_dim(dim1, ndim, "transpose")
    order = list(range(ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return _permute(input, tuple(order))


@differentiable
def flip(input: Any, dims: Any) -> Any:
    """The order of elements reversed along ``dims``; a copy, as in PyTorch."""
    return xp(input).flip(input, wrap_dims(dims, input.ndim, "flip")).copy()


@differentiable
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements moved ``shifts`` places along ``dims``, those that fall off put in at the other end; None: as if flattened."""
    n_shifts, n_dims = (len(x) if isinstance(x, (tuple, list)) else 1 for x in (shifts, dims))
    if n_shifts != n_dims:
        raise ShapeError(f"roll: wants a dim for each shift, got shifts {shifts} and dims {dims}")
    return xp(input).roll(input, shifts, dims)


def _unroll(g: Any, shifts: Any, dims: Any) -> Any:
    return roll(g, tuple(-s for s in shifts) if isinstance(shifts, (tuple, list)) else -shifts, dims)


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All tensors expanded to their common shape."""
    shape = broadcast_shapes(*(t.shape for t in tensors), op="broadcast_tensors")
    return tuple(broadcast_to(t, shape) for t in tensors)


@differentiable
def copy(input: Any) -> Any:
    """The same numbers in memory of their own."""
    return input.copy()


def contiguous(input: Any) -> Any:
    """``input`` itself if its memory is in row-major order, else a copy in that order."""
    return input if getattr(input, "_array", input).flags.c_contiguous else _row_major(input)


@differentiable
def _row_major(input: Any) -> Any:
    return xp(input).ascontiguousarray(input)


reshape.vjp(input=lambda g, input_shape: reshape(g, input_shape))
_permute.op.name = "permute"
_permute.vjp(input=lambda g, dims: _permute(g, tuple(dims.index(i) for i in range(len(dims)))))
flip.vjp(input=lambda g, dims: flip(g, dims))
roll.vjp(input=_unroll)
copy.op.name = "clone"
copy.vjp(input=lambda g: g)
_row_major.op.name = "contiguous"
_row_major.vjp(input=lambda g: g)


# -- parts


@differentiable(view=True)
def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of the matrices in dimensions ``dim1`` and ``dim2``, as the last dimension."""
    _check_matrix("diagonal", input)
    out = input.diagonal(offset, *wrap_dims((dim1, dim2), input.ndim, "diagonal"))
    if out.base is not None and may_write(input):
        allow_writing(out, True)  # NumPy gives a read-only view; here it is one like any other
    return out


@differentiable
def _diagonal_scatter(input: Any, src: Any, offset: int, dim1: int, dim2: int) -> Any:
    out = input.copy()
    diagonal(out, offset, dim1, dim2)[...] = src
    return out


def zeros_for(g: Any, shape: Any) -> Any:
    """Zeros of another shape in ``g``'s dtype, on ``g``'s device."""
    array = getattr(g, "_array", g)
    return xp(array).zeros(shape, array.dtype)


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices, in the dimensions ``dim1`` and ``dim2`` of the result, with the last dimension of ``input`` on diagonal
    number ``offset``.
    """
    n, shape = input.shape[-1] + (offset if offset > 0 else -offset), list(input.shape[:-1])
    dims = wrap_dims((dim1, dim2), len(shape) + 2, "diag_embed")
    for dim in sorted(dims):
        shape.insert(dim, n)
    return _diagonal_scatter(zeros_for(input, tuple(shape)), input, offset, *dims)


def _check_matrix(op: str, input: Any) -> None:
    if input.ndim < 2:
        raise ShapeError(f"{op}: wants at least 2 dimensions, got {input.ndim}")


@differentiable
def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of a matrix, zeros above diagonal number ``diagonal``."""
    _check_matrix("tril", input)
    return xp(input).tril(input, diagonal)


@differentiable
def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of a matrix, zeros below diagonal number ``diagonal``."""
    _check_matrix("triu", input)
    return xp(input).triu(input, diagonal)


@differentiable
def constant_pad(input: Any, before: Any, after: Any, value: float = 0.0) -> Any:
    """``input`` with ``before`` and ``after`` further elements of ``value`` around each dimension; negative numbers crop."""
    shape = tuple(n + b + a for n, b, a in zip(input.shape, before, after))
    if min(shape, default=0) < 0:
        raise ShapeError(f"pad: cropping {before} and {after} leaves nothing of shape {input.shape}")
    out = xp(input).full(shape, value, input.dtype)
    inner = tuple(slice(max(b, 0), n - max(a, 0)) for n, b, a in zip(shape, before, after))
    cropped = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, b, a in zip(input.shape, before, after))
    out[inner] = input[cropped]
    return out


diagonal.vjp(
    input=lambda g, input_shape, offset, dim1, dim2: _diagonal_scatter(zeros_for(g, input_shape), g, offset, dim1, dim2)
)
_diagonal_scatter.vjp(
    input=lambda g, offset, dim1, dim2: _diagonal_scatter(g, zeros_for(g, ()), offset, dim1, dim2),
    src=lambda g, offset, dim1, dim2: diagonal(g, offset, dim1, dim2),
)
tril.vjp(input=lambda g, diagonal: tril(g, diagonal))
triu.vjp(input=lambda g, diagonal: triu(g, diagonal))
constant_pad.vjp(input=lambda g, before, after: constant_pad(g, tuple(-b for b in before), tuple(-a for a in after)))


# -- several arrays


@differentiable(keeps="ends")
def cat(tensors: Any, dim: int = 0) -> Any:
    """``tensors`` joined along ``dim``, in their common dtype; they agree in all other sizes.

    An empty vector joins anything and adds nothing, so that a list may be collected from ``tensor([])`` on.
    """
    dtypes.check_tensors("cat", tensors)
    solid = [x.shape != (0,) for x in tensors]
    first = tensors[solid.index(True) if any(solid) else 0]
    if 0 in [x.ndim for x in tensors]:
        raise ShapeError("cat: a tensor without dimensions has none to be joined along; use stack(...)")
    dim = wrap_dim(dim, first.ndim, "cat")
    around = first.ndim, first.shape[:dim], first.shape[dim + 1 :]
    for i, x in enumerate(tensors):
        if solid[i] and (x.ndim, x.shape[:dim], x.shape[dim + 1 :]) != around:
            raise ShapeError(f"cat: tensor {i} has shape {x.shape}, which does not join {first.shape} along dim {dim}")
    if len({x.dtype for x in tensors}) > 1:
        common = dtypes.result_type(*tensors).dtype
        tensors = [x.astype(common, copy=False) for x in tensors]
    ends = [*accumulate((x.shape[dim] if counts else 0 for x, counts in zip(tensors, solid)), initial=0)]
    joined = [x for x, counts in zip(tensors, solid) if counts] or [first]
    return (kernels(first).in_one("cat", first.dtype) or xp(first).concatenate)(joined, dim), (dim, ends, ends[1:], solid)


def _uncat(g: Any, ends: Any) -> Any:
    dim, *places = ends
    return tuple(g[(slice(None),) * dim + (slice(a, b),)] if counts else g[:0].reshape((0,)) for a, b, counts in zip(*places))


cat.vjp(tensors=_uncat)


@numpy_names
def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """The slice ``start`` to ``start + length`` along ``dim``; a view."""
    dim = solid_dim(dim, input.shape, "narrow")
    n = input.shape[dim]
    start = start + n if start < 0 else start
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise ShapeError(f"narrow: start {start} and length {length} leave dim {dim} of size {n}")
    return input[(slice(None),) * dim + (slice(start, start + length),)]
