"""New tensors with numbers or positions in a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes
from .creation import _float, _new, _number_dtype, _numbers, _size, tensor

if TYPE_CHECKING:
    from .._tensor import Tensor


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` numbers from ``base ** start`` to ``base ** end``, both included, each the same multiple of the one before."""
    (steps,), (start, end) = _size((steps,), "logspace"), _numbers("logspace", start=start, end=end)
    wanted = _number_dtype(_float(dtype), "logspace")
    return _new(np.logspace(start, end, steps, base=base), wanted, device, requires_grad, "logspace")


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor without dimensions, of a floating dtype unless ``dtype`` says otherwise."""
    return tensor(s, dtype=_float(dtype), device=device, requires_grad=requires_grad)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The positions in the lower triangle of a matrix, row by row: a tensor of (rows, columns). See `tril` for ``offset``."""
    return _triangle("tril_indices", np.tril(np.ones(_size((row, col), "tril_indices")), offset), dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The positions in the upper triangle of a matrix, row by row: a tensor of (rows, columns). See `triu` for ``offset``."""
    return _triangle("triu_indices", np.triu(np.ones(_size((row, col), "triu_indices")), offset), dtype, device)


def _triangle(op: str, mask: Any, dtype: Any, device: Any) -> Any:
    if dtypes.as_dtype(dtype).category != 1:
        raise TypeError(f"{op}: dtype must be an integer one, got {dtype}")
    return _new(np.stack(mask.nonzero()), dtype, device, False, op)
