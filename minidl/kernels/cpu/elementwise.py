"""Element by element, and sums over many elements; the threads share what is large."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import threads
from .order import empty, order_of, ordered


def _share(ufunc: Any, *arrays: Any) -> Any:
    """A ufunc of arrays of one shape, whose result has the memory order of the last."""
    order = order_of(arrays[-1])
    views = [ordered(a, arrays[-1]).transpose(order) for a in arrays]
    out = empty(arrays[-1].shape, np.result_type(*arrays), arrays[-1])
    flat = out.transpose(order)

    def work(part: slice) -> None:
        ufunc(*(v[part] for v in views), out=flat[part])

    threads.run(work, threads.parts(len(flat), 2 * out.nbytes))
    return out


def relu(x: Any) -> Any:
    """The larger of each element and 0."""
    if getattr(x, "nbytes", 0) < threads.WORTH_A_THREAD:
        return np.maximum(x, 0)
    return _share(lambda v, out: np.maximum(v, 0, out=out), x)


def relu_grad(g: Any, out: Any) -> Any:
    """0 where ``out``, a result of `relu`, is at most 0, else ``g``."""
    if 1024 * g.size <= threads.WORTH_A_THREAD:  # `without` would take longer to start than to run
        return np.where(out <= 0, 0, g)
    if g.nbytes < threads.WORTH_A_THREAD:
        return without(g, out <= 0)
    return _share(lambda g, y, out: without(g, y <= 0, out), g, out)


def without(g: Any, dropped: Any, out: Any = None) -> Any:
    """``g``, and 0 where ``dropped``. By its bits: a product makes NaN of ``inf * 0``, and ``np.where`` is ten times slower."""
    bits, all_or_none = f"i{g.itemsize}", np.subtract(dropped.view(np.int8), 1)
    return np.bitwise_and(g.view(bits), all_or_none, out=None if out is None else out.view(bits)).view(g.dtype)


BLOCK = 1 << 18  # elements at a time: fewer, and the threads wait for the interpreter more than for memory


def blockwise(function: Callable[..., None], *arrays: Any) -> None:
    """``function(*arrays)``, which works in place and element by element, a block at a time; the threads share the blocks."""
    size = arrays[0].size
    if size <= BLOCK:
        function(*arrays)
        return
    if not all(a.flags.c_contiguous for a in arrays):  # but perhaps all in some other order
        order = order_of(arrays[0])
        arrays = tuple(a.transpose(order) for a in arrays)
    if not all(a.flags.c_contiguous for a in arrays):
        function(*arrays)
        return
    flat = [a.reshape(-1) for a in arrays]

    def work(part: slice) -> None:
        for start in range(part.start, part.stop, BLOCK):
            function(*(a[start : min(start + BLOCK, part.stop)] for a in flat))

    threads.run(work, threads.parts(size, 2 * size * arrays[0].itemsize))


def fused(function: Callable[..., None], steps: list[Any], again: Any = None) -> list[Any]:
    """All that are to be done: in blocks that stay in the cache, several passes cost little more than one."""
    return steps


def add_at(out: Any, index: Any, values: Any) -> None:
    """``out[index] += values``, adding every time an index repeats, in order."""
    if is_basic(index):
        out[index] += values
        return
    named = named_rows(out, index, values)
    if named is None:
        np.add.at(out, index, values)
        return
    names, rows = named
    places = np.multiply.outer(names, rows.shape[1])[:, None] + np.arange(rows.shape[1])
    np.add.at(out.reshape(-1), places.reshape(-1), rows.reshape(-1))  # along one dimension it is quick


def named_rows(out: Any, index: Any, values: Any) -> tuple[Any, Any] | None:
    """The index as numbers of rows of ``out``, and the values as so many rows; None where it is not made so."""
    parts = index if isinstance(index, tuple) else (index,)
    whole = out.flags.c_contiguous and all(getattr(p, "dtype", np.dtype(bool)).kind in "iu" for p in parts)
    if not whole or getattr(values, "dtype", None) != out.dtype:
        return None
    lead, rest = np.broadcast_arrays(*parts), out.shape[len(parts) :]
    names = np.ravel_multi_index(lead, out.shape[: len(parts)], "wrap").reshape(-1)
    return names, np.broadcast_to(values, (*lead[0].shape, *rest)).reshape(len(names), math.prod(rest))


def is_basic(index: Any) -> bool:
    """Whether ``index`` is made of integers and slices, so that no element can repeat."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        p is None or p is Ellipsis or (isinstance(p, (int, slice, np.integer)) and not isinstance(p, bool)) for p in parts
    )


# erf on [0, 1] and erfc beyond as ratios of polynomials, highest power first: S. L. Moshier, Cephes, ndtr.c (1988).
# fmt: off
_ERF = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
        5.55923013010394962768e4)
_ERF_BELOW = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
              4.92673942608635921086e4)
_ERFC = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
         1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
         5.57535335369399327526e2)
_ERFC_BELOW = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
               1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2)
# fmt: on


# erf(x) = tanh(x * P(x**2)) for |x| < 4.25, to 1.4e-7: P is fitted to atanh(erf(x)) / x, the largest error made smallest.
_ERF32 = (1.58950502e-7, -5.98555624e-6, 8.97119268e-5, -6.25718149e-4, -1.84385044e-4, 1.02765482e-1, 1.12837971)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    out = coefficients[0] * x
    for c in coefficients[1:-1]:
        out += c
        out *= x
    out += coefficients[-1]
    return out


def erf(x: Any) -> Any:
    """The error function, to the precision of float32 or float64."""
    if x.dtype != np.float64:
        a = np.clip(x.astype(np.float32, copy=False), -4.25, 4.25)  # where it is 1 in float32
        return np.tanh(a * _polynomial(_ERF32, a * a)).astype(x.dtype, copy=False)
    a = np.minimum(np.abs(x), 6.0)  # beyond 6 it is 1
    square = a * a
    near = a * _polynomial(_ERF, square) / _polynomial(_ERF_BELOW, square)
    far = 1 - np.exp(-square) * _polynomial(_ERFC, a) / _polynomial(_ERFC_BELOW, a)
    return np.copysign(np.where(a < 1, near, far), x)


def running_extreme(x: Any, dim: int, largest: bool) -> Any:
    """The largest (or smallest) element up to each place along ``dim``."""
    return (np.maximum if largest else np.minimum).accumulate(x, dim)


def bits(n: int, seed: int, draw: int) -> Any:
    """Random numbers from 0 to 2**32 - 1."""
    return np.random.SFC64((seed, draw)).random_raw((n + 1) // 2).view(np.uint32)[:n]
