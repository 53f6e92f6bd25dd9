"""Several tensors from one, and one from several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import broadcast_to
from ..ops.layout import cat, narrow, reshape, transpose, unsqueeze
from ..shapes import ShapeError, wrap_dim


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
