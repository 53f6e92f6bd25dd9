"""Shapes and order: the same numbers seen otherwise. Most of these are views that share the input's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import dtypes
from ..autograd import broadcast_to, differentiable
from ..backend import xp
from ..shapes import ShapeError, as_index, as_shape, broadcast_shapes, infer_size, wrap_dim, wrap_dims

# -- one array, another shape


@differentiable(view=True)
def reshape(input: Any, shape: Any) -> Any:
    """``input`` in another ``shape`` (one size may be -1): a view where memory allows, else a copy."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return input.reshape(infer_size(shape, input.size, "reshape"))


def view(input: Any, *size: Any) -> Any:
    """``input`` in another shape and the same memory; like `reshape`, but an error where that needs a copy."""
    array, shape = getattr(input, "_array", input), as_shape(size, "view")
    out = reshape(input, infer_size(shape, array.size, "view"))
    if array.size and not xp(array).may_share_memory(getattr(out, "_array", out), array):
        raise ShapeError(
            f"view: a tensor of shape {array.shape} with its memory in another order cannot be seen as {shape} without a copy; "
            "use reshape(...), or contiguous() first"
        )
    return out


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions ``start_dim`` to ``end_dim`` joined into one."""
    shape = tuple(input.shape)
    if not shape:
        return reshape(input, (1,))
    start, end = wrap_dim(start_dim, len(shape), "flatten"), wrap_dim(end_dim, len(shape), "flatten")
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    length = 1
    for n in shape[start : end + 1]:
        length *= n
    return reshape(input, (*shape[:start], length, *shape[end + 1 :]))


def ravel(input: Any) -> Any:
    """All elements in one dimension."""
    return reshape(input, (-1,))


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Dimension ``dim`` split into ``sizes`` (one may be -1)."""
    shape = tuple(input.shape)
    dim = wrap_dim(dim, len(shape), "unflatten")
    return reshape(input, (*shape[:dim], *infer_size(tuple(sizes), shape[dim], "unflatten"), *shape[dim + 1 :]))


def squeeze(input: Any, dim: Any = None) -> Any:
    """``input`` without its dimensions of size 1, or without those among ``dim``."""
    shape = tuple(input.shape)
    dims = wrap_dims(dim, len(shape), "squeeze")
    return reshape(input, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims))


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


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is."""
    if len(input.shape) > 2:
        raise ShapeError(f"t: wants at most 2 dimensions, got {len(input.shape)}; use transpose or mT")
    return _permute(input, tuple(reversed(range(len(input.shape)))))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions ``source`` moved to the places ``destination``, the others kept in order."""
    ndim = len(input.shape)
    start, end = wrap_dims(source, ndim, "movedim"), wrap_dims(destination, ndim, "movedim")
    if len(start) != len(end):
        raise ShapeError(f"movedim: source {source} and destination {destination} must name equally many dimensions")
    order = [i for i in range(ndim) if i not in start]
    for place, dim in sorted(zip(end, start)):
        order.insert(place, dim)
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


def expand(input: Any, *size: Any) -> Any:
    """Sizes of 1 stretched to ``size`` without copying; -1 keeps a size. The result cannot be written to."""
    shape, wanted = tuple(input.shape), as_shape(size, "expand")
    lead = len(wanted) - len(shape)
    if lead < 0:
        raise ShapeError(f"expand: size {wanted} has fewer dimensions than the tensor's shape {shape}")
    full = tuple(shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted))
    if any(n < 0 for n in full) or any(m not in (1, n) for m, n in zip(shape, full[lead:])):
        raise ShapeError(f"expand: shape {shape} does not stretch to {wanted}")
    return broadcast_to(input, full)


def expand_as(input: Any, other: Any) -> Any:
    """``input`` expanded to the shape of ``other``."""
    return expand(input, tuple(other.shape))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All tensors expanded to their common shape."""
    shape = broadcast_shapes(*(t.shape for t in tensors), op="broadcast_tensors")
    return tuple(broadcast_to(t, shape) for t in tensors)


def repeat(input: Any, *sizes: Any) -> Any:
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


def tile(input: Any, *dims: Any) -> Any:
    """`repeat` for which ``dims`` may be fewer than the dimensions, and then are those of the last ones."""
    counts = as_shape(dims, "tile")
    return repeat(input, *(1,) * (len(input.shape) - len(counts)), *counts)


def repeat_interleave(input: Any, repeats: int, dim: int | None = None) -> Any:
    """Each element repeated ``repeats`` times in place, along ``dim`` or (None) of the flattened tensor."""
    repeats = as_index(repeats, "repeat_interleave: repeats")
    if dim is None:
        input, dim = ravel(input), 0
    shape = tuple(input.shape)
    dim = wrap_dim(dim, len(shape), "repeat_interleave")
    spread = broadcast_to(unsqueeze(input, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return reshape(copy(spread), (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))


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
    out = input.diagonal(offset, dim1, dim2)
    if out.base is not None and input.flags.writeable:
        out.flags.writeable = True  # NumPy gives a read-only view; here it is one like any other
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


def diag(input: Any, diagonal_: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    if len(input.shape) == 1:
        return diag_embed(input, diagonal_)
    if len(input.shape) != 2:
        raise ShapeError(f"diag: wants 1 or 2 dimensions, got {len(input.shape)}")
    return copy(diagonal(input, diagonal_))


def diag_embed(input: Any, offset: int = 0) -> Any:
    """Matrices, in two last dimensions, with the last dimension of ``input`` on their diagonal."""
    n = input.shape[-1] + (offset if offset > 0 else -offset)
    lead = tuple(input.shape[:-1])
    return _diagonal_scatter(zeros_for(input, (*lead, n, n)), input, offset, len(lead), len(lead) + 1)


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
    if not tensors:
        raise ShapeError("cat: wants at least one tensor")
    solid = [x.shape != (0,) for x in tensors]
    first = tensors[solid.index(True) if any(solid) else 0]
    dim = wrap_dim(dim, first.ndim, "cat")
    for i, x in enumerate(tensors):
        fits = x.ndim == first.ndim and all(m == n for k, (m, n) in enumerate(zip(x.shape, first.shape)) if k != dim)
        if solid[i] and not fits:
            raise ShapeError(f"cat: tensor {i} has shape {x.shape}, which does not join {first.shape} along dim {dim}")
    if len({x.dtype for x in tensors}) > 1:
        common = dtypes.result_type(*tensors).dtype
        tensors = [x.astype(common, copy=False) for x in tensors]
    ends = [0]
    for x, counts in zip(tensors, solid):
        ends.append(ends[-1] + (x.shape[dim] if counts else 0))
    joined = [x for x, counts in zip(tensors, solid) if counts] or [first]
    return xp(first).concatenate(joined, axis=dim), (dim, ends)


def _uncat(g: Any, ends: Any) -> Any:
    dim, edges = ends
    return tuple(g[(slice(None),) * dim + (slice(a, b),)] if a < b else None for a, b in zip(edges, edges[1:]))


cat.vjp(tensors=_uncat)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """``tensors`` of one shape joined along a new dimension ``dim``."""
    if not len(tensors):
        raise ShapeError("stack: wants at least one tensor")
    for i, x in enumerate(tensors):
        if tuple(x.shape) != tuple(tensors[0].shape):
            raise ShapeError(f"stack: tensor {i} has shape {tuple(x.shape)}, the first has {tuple(tensors[0].shape)}")
    return cat([unsqueeze(x, dim) for x in tensors], wrap_dim(dim, len(tensors[0].shape) + 1, "stack"))


def hstack(tensors: Sequence[Any]) -> Any:
    """Vectors joined end to end, anything else along dimension 1."""
    return cat([reshape(x, (-1,)) if len(x.shape) < 2 else x for x in tensors], 0 if len(tensors[0].shape) < 2 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Rows joined one below the other, anything else along dimension 0."""
    return cat([reshape(x, (1, -1)) if len(x.shape) < 2 else x for x in tensors], 0)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """``tensor`` cut along ``dim`` into pieces of one size (the last may be smaller) or of the sizes listed; views."""
    dim = wrap_dim(dim, len(tensor.shape), "split")
    length = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size <= 0:
            raise ShapeError(f"split: the size of a piece must be positive, got {size}")
        sizes = [min(size, length - i) for i in range(0, length, size)] or [0]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != length or any(n < 0 for n in sizes):
            raise ShapeError(f"split: sizes {sizes} must add up to {length}, the size of dim {dim}")
    pieces, start = [], 0
    for n in sizes:
        pieces.append(narrow(tensor, dim, start, n))
        start += n
    return tuple(pieces)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """``input`` cut along ``dim`` into at most ``chunks`` pieces of equal size (the last may be smaller); views."""
    if chunks < 1:
        raise ShapeError(f"chunk: chunks must be at least 1, got {chunks}")
    dim = wrap_dim(dim, len(input.shape), "chunk")
    return split(input, max(1, -(-input.shape[dim] // chunks)), dim)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The slices along ``dim``, that dimension removed; views."""
    dim = wrap_dim(dim, len(input.shape), "unbind")
    return tuple(input[(slice(None),) * dim + (i,)] for i in range(input.shape[dim]))


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """The slice ``start`` to ``start + length`` along ``dim``; a view."""
    dim = wrap_dim(dim, len(input.shape), "narrow")
    n = input.shape[dim]
    start = start + n if start < 0 else start
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise ShapeError(f"narrow: start {start} and length {length} leave dim {dim} of size {n}")
    return input[(slice(None),) * dim + (slice(start, start + length),)]


def select(input: Any, dim: int, index: int) -> Any:
    """The slice number ``index`` along ``dim``, that dimension removed; a view."""
    return input[(slice(None),) * wrap_dim(dim, len(input.shape), "select") + (index,)]


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Coordinates of the grid spanned by vectors; ``indexing`` is ``"ij"`` (rows first) or ``"xy"``."""
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    n = len(tensors)
    sizes = tuple(x.shape[0] for x in tensors)
    grids = [broadcast_to(reshape(x, (1,) * i + (-1,) + (1,) * (n - i - 1)), sizes) for i, x in enumerate(tensors)]
    return tuple(transpose(x, 0, 1) for x in grids) if indexing == "xy" and n > 1 else tuple(grids)
