"""How a tensor prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes


def tensor_text(t: Any) -> str:
    """The tensor's numbers as PyTorch would print them, then what is not plain about it."""
    array = t._array
    prefix = f"{'Parameter containing:' + chr(10) if type(t).__name__ == 'Parameter' else ''}tensor("
    if array.size == 0:
        numbers = "[]" if array.ndim == 1 else "[]"
    else:
        precision = 0 if array.dtype.kind == "f" and _is_whole(array) else 4
        numbers = np.array2string(
            array, separator=", ", prefix="tensor(", precision=precision, floatmode="fixed", threshold=1000, edgeitems=3, max_line_width=80
        )
    notes = []
    if array.size == 0 and array.ndim != 1:
        notes.append(f"size={t.shape}")
    if t.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_):
        notes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return prefix + ", ".join([numbers, *notes]) + ")"


def _is_whole(array: Any) -> bool:
    finite = array[np.isfinite(array)]
    return bool((finite == np.trunc(finite)).all() and (np.abs(finite) < 1e8).all())
