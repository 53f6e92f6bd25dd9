"""Several tensors from one, and one from several."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import broadcast_to
from ..autograd.op import numpy_names
from ..dtypes import as_dtype, check_tensors
from ..ops.index import _getitem, getitem
from ..ops.layout import cat, constant_pad, reshape, transpose, unsqueeze
from ..shapes import ShapeError, solid_dim, wrap_dim
from .creation import tensor
from .shaping import atleast_2d, atleast_3d

if TYPE_CHECKING:
    from .._tensor import Tensor


@numpy_names
def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """``tensors`` of one shape joined along a new dimension ``dim``."""
    check_tensors("stack", tensors)
    for i, x in enumerate(tensors):
        if tuple(x.shape) != tuple(tensors[0].shape):
            raise ShapeError(f"stack: tensor {i} has shape {tuple(x.shape)}, the first has {tuple(tensors[0].shape)}")
    return cat([unsqueeze(x, dim) for x in tensors], wrap_dim(dim, len(tensors[0].shape) + 1, "stack"))


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Vectors joined end to end, anything else along dimension 1."""
    check_tensors("hstack", tensors)
    return cat([reshape(x, (-1,)) if len(x.shape) < 2 else x for x in tensors], 0 if len(tensors[0].shape) < 2 else 1)


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Rows joined one below the other, anything else along dimension 0."""
    check_tensors("vstack", tensors)
    return cat([reshape(x, (1, -1)) if len(x.shape) < 2 else x for x in tensors], 0)


def dstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors made three-dimensional (see `atleast_3d`) and joined along dimension 2."""
    check_tensors("dstack", tensors)
    return cat([atleast_3d(x) for x in tensors], 2)


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Vectors as columns side by side, anything else joined along dimension 1."""
    check_tensors("column_stack", tensors)
    return cat([reshape(x, (-1, 1)) if len(x.shape) < 2 else x for x in tensors], 1)


def block_diag(*tensors: Any) -> Tensor:
    """A matrix with ``tensors`` (matrices, or vectors as rows, or numbers) along its diagonal, and zeros around them."""
    tensors = tensors or (tensor([[]]),)
    check_tensors("block_diag", tensors)
    blocks = [atleast_2d(x) for x in tensors]
    if any(len(x.shape) != 2 for x in blocks):
        raise ShapeError(f"block_diag: wants at most 2 dimensions, got shapes {[tuple(x.shape) for x in tensors]}")
    width, rows, left = sum(x.shape[1] for x in blocks), [], 0
    for x in blocks:
        rows.append(constant_pad(x, (0, left), (0, width - left - x.shape[1])))
        left += x.shape[1]
    return cat(rows, 0)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """``tensor`` cut along ``dim`` into pieces of one size (the last may be smaller) or of the sizes listed; views."""
    dim = solid_dim(dim, tensor.shape, "split")
    length = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and length):
            raise ShapeError(f"split: the size of a piece must be positive, got {size}")
        sizes = [min(size, length - i) for i in range(0, length, size or 1)] or [0]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != length or any(n < 0 for n in sizes):
            raise ShapeError(f"split: sizes {sizes} must add up to {length}, the size of dim {dim}")
    before, ends = (slice(None),) * dim, itertools.accumulate(sizes, initial=0)
    return tuple([_getitem(tensor, (*before, slice(start, stop))) for start, stop in itertools.pairwise(ends)])


@numpy_names
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """``input`` cut along ``dim`` into at most ``chunks`` pieces of equal size (the last may be smaller); views."""
    if chunks < 1:
        raise ShapeError(f"chunk: chunks must be at least 1, got {chunks}")
    dim = solid_dim(dim, input.shape, "chunk")
    length = input.shape[dim]
    return split(input, -(-length // chunks) if length else [0] * chunks, dim)


@numpy_names
def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The slices along ``dim``, that dimension removed; views."""
    dim = solid_dim(dim, input.shape, "unbind")
    before = (slice(None),) * dim
    return tuple([_getitem(input, (*before, i)) for i in range(input.shape[dim])])


@numpy_names
def select(input: Any, dim: int, index: int) -> Tensor:
    """The slice number ``index`` along ``dim``, that dimension removed; a view."""
    return input[(slice(None),) * solid_dim(dim, input.shape, "select") + (index,)]


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Coordinates of the grid spanned by vectors; ``indexing`` is ``"ij"`` (rows first) or ``"xy"``."""
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    check_tensors("meshgrid", tensors)
    n = len(tensors)
    sizes = tuple(math.prod(x.shape) for x in tensors)
    grids = [broadcast_to(reshape(x, (1,) * i + (-1,) + (1,) * (n - i - 1)), sizes) for i, x in enumerate(tensors)]
    return tuple(transpose(x, 0, 1) for x in grids) if indexing == "xy" and n > 1 else tuple(grids)


def cartesian_prod(*tensors: Any) -> Tensor:
    """All ways to take one element from each of several vectors, a row each; of one vector, the vector."""
    check_tensors("cartesian_prod", tensors)
    if not tensors or any(len(x.shape) != 1 for x in tensors):
        raise ShapeError(f"cartesian_prod: wants one or more vectors, got shapes {[tuple(x.shape) for x in tensors]}")
    if len({x.dtype for x in tensors}) > 1:
        raise RuntimeError(f"cartesian_prod: wants one dtype for all, got {[str(x.dtype) for x in tensors]}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(x, (-1,)) for x in meshgrid(*tensors)], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to take ``r`` elements of a vector, a row each, in the order of the vector."""
    if len(input.shape) != 1 or r < 0:
        raise ShapeError(f"combinations: wants a vector and r of at least 0, got shape {tuple(input.shape)} and r = {r}")
    if not r:
        return input[:0]
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return getitem(input, (places,))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The Vandermonde matrix: for each element a row of ``N`` (as many as elements) powers, falling unless ``increasing``."""
    if len(x.shape) != 1 or (N is not None and N < 0):
        raise ShapeError(f"vander: wants a vector and N of at least 0, got shape {tuple(x.shape)} and N = {N}")
    x = x + 0 if x.dtype != bool else x * 1
    powers = [reshape(x**i, (-1, 1)) for i in range(x.shape[0] if N is None else N)]
    return cat(powers if increasing else powers[::-1], 1) if powers else reshape(x, (-1, 1))[:, :0]


# -- pieces


@numpy_names
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """``input`` cut along ``dim`` into so many pieces, the first larger by 1 if need be, or before the places listed; views."""
    if not len(input.shape):
        raise ShapeError("tensor_split: wants at least 1 dimension")
    dim = wrap_dim(dim, len(input.shape), "tensor_split")
    n = input.shape[dim]
    if hasattr(indices_or_sections, "tolist"):
        if as_dtype(indices_or_sections.dtype).category != 1:
            raise TypeError(f"tensor_split: indices_or_sections must be integers, got {indices_or_sections.dtype}")
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1:
            raise ShapeError(f"tensor_split: sections must be at least 1, got {indices_or_sections}")
        size, more = divmod(n, indices_or_sections)
        places = [i * size + min(i, more) for i in range(1, indices_or_sections)]
    else:
        places = list(indices_or_sections)
    lead = (slice(None),) * dim
    return tuple(input[(*lead, slice(a, b))] for a, b in zip([0, *places], [*places, n]))


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dimension 1 (0 of a vector), where a number of pieces must divide it."""
    return _split_evenly("hsplit", input, indices_or_sections, 0 if len(input.shape) == 1 else 1, 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dimension 0, which a number of pieces must divide."""
    return _split_evenly("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """`tensor_split` along dimension 2, which a number of pieces must divide."""
    return _split_evenly("dsplit", input, indices_or_sections, 2, 3)


def _split_evenly(op: str, input: Any, pieces: Any, dim: int, least: int) -> tuple[Any, ...]:
    if len(input.shape) < least:
        raise ShapeError(f"{op}: wants at least {least} dimension{'s' * (least > 1)}, got shape {tuple(input.shape)}")
    if isinstance(pieces, int) and (pieces < 1 or input.shape[dim] % pieces):
        raise ShapeError(f"{op}: dim {dim} of size {input.shape[dim]} cannot be cut into {pieces} equal pieces")
    cut: tuple[Any, ...] = tensor_split(input, pieces, dim)
    return cut
