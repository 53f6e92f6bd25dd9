"""Rows of a table, by their numbers."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...autograd import no_grad
from ...functions.deviation import norm
from ...ops import embedding as ops
from ...shapes import ShapeError


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` that ``input`` names.

    Shapes: input of integers (...), weight (V, D) -> (..., D).

    Parameters
    ----------
    input : Tensor
        Numbers of rows, int64 or int32.
    weight : Tensor
        The table.
    padding_idx : int, optional
        A row that gets no gradient; a negative number counts from the end.
    max_norm : float, optional
        The rows named are first, in place, shortened to this norm (of order ``norm_type``) where they are longer.
    norm_type : float
        See ``max_norm``.
    scale_grad_by_freq : bool
        Divide the gradient of a row by how often ``input`` names it.
    sparse : bool
        Not supported.

    Raises
    ------
    IndexError
        For a number of no row.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not supported; leave sparse=False")
    kind = getattr(input, "_array", input).dtype
    if kind.kind != "i" or kind.itemsize < 4:
        raise TypeError(f"embedding: input must be int64 or int32, got {input.dtype}; write .long()")
    if len(weight.shape) != 2:
        raise ShapeError(f"embedding: weight must have shape (V, D), got {tuple(weight.shape)}")
    if padding_idx is not None:
        padding_idx = padding_row(padding_idx, weight.shape[0], "embedding")
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    return ops.embedding(weight, input, padding_idx, scale_grad_by_freq)


def padding_row(padding_idx: int, n: int, op: str) -> int:
    """``padding_idx`` counted from the start."""
    if not -n <= padding_idx < n:
        raise ValueError(f"{op}: padding_idx {padding_idx} is out of range for {n} rows")
    return padding_idx % n


def _shorten(weight: Any, input: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that ``input`` names and that are longer than ``max_norm`` down to it, in place."""
    with no_grad():
        names = input.unique()
        rows = ops.embedding(weight, names)
        length = norm(rows, norm_type, 1, True)
        factor = (max_norm / (length + 1e-7)).where(length > max_norm, 1.0)
        weight[names] = rows * factor
