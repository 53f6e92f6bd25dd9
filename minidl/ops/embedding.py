"""Rows of a table, by their numbers."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import kernels, xp
from ..devices import check
from .elementwise import where
from .layout import unsqueeze


@differentiable
def embedding(weight: Any, input: Any, padding_idx: int | None = None, scale_grad_by_freq: bool = False) -> Any:
    """``weight[input]``; the row ``padding_idx`` gets no gradient, and with ``scale_grad_by_freq`` each row gets its mean.

    Raises
    ------
    IndexError
        For a number of no row.
    """
    if input.size:
        n, largest = len(weight), input.view(f"u{input.itemsize}").max()  # without a sign a negative number is a large one
        said = lambda: f"embedding: input holds {int(min(input.min(), 0) or input.max())}, but weight has {n} rows"  # noqa: E731
        check(largest >= n, IndexError, said, f"embedding: input holds a number of no row; weight has {n} rows")
    return xp(weight).take(weight, input, 0)


@differentiable
def _table(rows: Any, input: Any, n: int, padding_idx: int | None) -> Any:
    """A table of ``n`` rows, each the sum of the ``rows`` that have its number; ``padding_idx`` is left out."""
    out = xp(rows).zeros((n, rows.shape[-1]), rows.dtype)
    kernels(rows).add_at(out, (input.reshape(-1),), rows.reshape(input.size, rows.shape[-1]))
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


def _embedding_rule(g: Any, input: Any, weight_shape: Any, padding_idx: int | None, scale_grad_by_freq: bool) -> Any:
    if scale_grad_by_freq:
        array = getattr(input, "_array", input)
        counts = xp(array).bincount(array.reshape(-1), minlength=1)
        g = g / unsqueeze(counts[array], -1).astype(getattr(g, "_array", g).dtype)
    return _table(g, input, weight_shape[0], padding_idx)


def _table_rule(g: Any, input: Any, padding_idx: int | None) -> Any:
    rows = embedding(g, input)
    return rows if padding_idx is None else where(unsqueeze(input == padding_idx, -1), 0.0, rows)


embedding.vjp(weight=_embedding_rule)
_table.op.name = "embedding_table"
_table.vjp(rows=_table_rule)
