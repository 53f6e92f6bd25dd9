"""Element by element: what CuPy does well is left to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import cupy
import numpy as np

from .capture import here, refuse
from .loader import empty, launch, plain, single

AT_ONCE = 8  # arrays that CuPy joins without sending anything
SEARCHED_AT_ONCE = 1 << 29  # steps of a search that is over before the many launches of a sort have been given
MOST_SEARCHED = 1 << 34  # steps of a search, all threads together, before it takes longer than the rest of a training step


@single
def erf(x: Any) -> Any:
    """The error function."""
    out = empty(x.shape, x.dtype)
    launch("elementwise", "error_function", x.size, plain(x), out, x.size, real=x.dtype)
    return out


@single
def relu(x: Any) -> Any:
    """The larger of each element and 0."""
    out = empty(x.shape, x.dtype)
    launch("elementwise", "relu", x.size, plain(x), out, x.size, real=x.dtype)
    return out


@single
def relu_grad(g: Any, out: Any) -> Any:
    """0 where ``out``, a result of `relu`, is at most 0, else ``g``."""
    gx = empty(g.shape, g.dtype)
    launch("elementwise", "relu_grad", g.size, plain(g), plain(out), gx, g.size, real=g.dtype)
    return gx


def share(function: Callable[[slice], None], n_items: int, products: int) -> None:
    """``function`` for all items at once: the GPU shares out its work by itself."""
    if n_items:
        function(slice(0, n_items))


def cat(arrays: Any, dim: int) -> Any:
    """Arrays of one dtype joined along ``dim``. CuPy joins more than 8 in one launch and sends it where they are, by way of the
    host, which a capture does not allow; there each has a launch of its own.
    """
    if not here.suitable or len(arrays) <= AT_ONCE:
        return cupy.concatenate(arrays, dim)
    ends = [*accumulate((a.shape[dim] for a in arrays), initial=0)]
    first, lead = arrays[0], (slice(None),) * dim
    out = empty((*first.shape[:dim], ends[-1], *first.shape[dim + 1 :]), first.dtype)
    for a, start, end in zip(arrays, ends, ends[1:]):
        out[(*lead, slice(start, end))] = a
    return out


def add_at(out: Any, index: Any, values: Any) -> None:
    """``out[index] += values``, adding every time an index repeats, in order."""
    parts = index if isinstance(index, tuple) else (index,)
    if all(p is None or p is Ellipsis or (isinstance(p, (int, slice, np.integer)) and type(p) is not bool) for p in parts):
        out[index] += values  # no element can repeat
    elif all(isinstance(p, cupy.ndarray) and p.dtype.kind in "iu" for p in parts):  # the first dimensions: rows of a table
        places: Any = None
        for part, size in zip(parts, out.shape):
            row = part.astype(np.int64, copy=False) % size  # -1 is the last
            places = row if places is None else places * size + row
        _add_rows(out, places, values, out.shape[len(parts) :])
    else:
        _add_rows(out, cupy.arange(out.size).reshape(out.shape)[index], values, ())


def _add_rows(out: Any, places: Any, values: Any, rest: tuple[int, ...]) -> None:
    """Add ``values`` to the parts of shape ``rest`` that ``places`` counts: sorted, so that each place is one thread's own."""
    dtype = np.dtype(np.float32 if out.dtype == np.float16 else out.dtype)
    values = cupy.broadcast_to(cupy.asarray(values, dtype), (*places.shape, *rest))
    whole = plain(out.astype(dtype, copy=False))
    flat, width = places.reshape(-1).astype(np.int64, copy=False), math.prod(rest)
    numbers = flat.size, width, out.size // max(width, 1)
    if out.size * flat.size <= (MOST_SEARCHED if here.suitable else SEARCHED_AT_ONCE):
        launch("scatter", "add_searched", out.size, whole, plain(flat), plain(values), *numbers, real=dtype)
    else:
        refuse(f"additions at {flat.size} places that may repeat, of {out.size} numbers: they are sorted")
        order = cupy.argsort(flat, kind="stable").astype(np.int64, copy=False)
        launch("scatter", "add_sorted", flat.size * width, whole, flat[order], order, plain(values), *numbers, real=dtype)
    if whole is not out:
        out[...] = whole


def running_extreme(x: Any, dim: int, largest: bool) -> Any:
    """The largest (or smallest) element up to each place along ``dim``: each step looks twice as far back."""
    out, extreme, reach = x.copy(), cupy.maximum if largest else cupy.minimum, 1
    lead = (slice(None),) * dim
    while reach < x.shape[dim]:
        late, early = (*lead, slice(reach, None)), (*lead, slice(None, -reach))
        out[late] = extreme(out[late], out[early])
        reach *= 2
    return out
