"""Rows added where an index says: the gradient of an embedding, of a gather."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cpu
from ..cpu.elementwise import is_basic, named_rows
from .compile import loop


@loop
def _add_rows(out, names, rows):
    """``out[name] += row``, one after the other."""
    for k in range(names.size):
        to, row = out[names[k]], rows[k]
        for i in range(to.size):
            to[i] += row[i]


def add_at(out: Any, index: Any, values: Any) -> None:
    """Where whole rows, or single numbers, are named by integers. Threads do not share it: it is done before they wake."""
    named = None if is_basic(index) or out.dtype != np.float32 else named_rows(out, index, values)
    if named is None or not named[1].size:
        return cpu.add_at(out, index, values)
    names, rows = named
    _add_rows(out.reshape(-1, rows.shape[1]), names, np.ascontiguousarray(rows))
