"""Softmax and its relatives, some lines at a time: few enough that all passes over them find them in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import threads
from .order import order_of

BLOCK = 1 << 18  # elements of one array at a time


def _blocks(shape: Any, order: list[int], size: int) -> Iterator[dict[int, slice]]:
    """Slices of the dimensions in ``order``, outermost first, that cut ``size`` elements into blocks."""
    d, *inner = order
    each = size // shape[d]
    if inner and each > BLOCK:
        for i in range(shape[d]):
            yield from ({d: slice(i, i + 1), **rest} for rest in _blocks(shape, inner, each))
    else:
        step = max(1, BLOCK // each)
        yield from ({d: slice(start, start + step)} for start in range(0, shape[d], step))


def _by_lines(function: Callable[..., None], dim: int, *arrays: Any) -> Any:
    """Call ``function`` with blocks of ``arrays`` that hold whole lines along ``dim``; returns the first array."""
    like = max(arrays, key=lambda a: a.size)
    order = [d for d in order_of(like) if d != dim]
    if not like.size:
        return arrays[0]
    if not order or like.size <= BLOCK:
        function(*arrays)
        return arrays[0]
    keys = [tuple(b.get(d, slice(None)) for d in range(like.ndim)) for b in _blocks(like.shape, order, like.size)]

    def work(part: slice) -> None:
        for key in keys[part]:
            function(*(a[key] for a in arrays))

    threads.run(work, threads.parts(len(keys), 8 * like.nbytes))
    return arrays[0]


def _sums(a: Any, b: Any, dim: int) -> Any:
    """``sum(a * b)`` along ``dim``, which stays; with None for ``b`` the sum of ``a``."""
    if a.strides[dim] == a.itemsize:  # a dot product is twice as quick as a sum
        rows, others = a.swapaxes(dim, -1), np.ones(a.shape[dim], a.dtype) if b is None else b.swapaxes(dim, -1)
        return np.vecdot(rows, others)[..., None].swapaxes(dim, -1)
    return np.add.reduce(a if b is None else a * b, dim, keepdims=True)


def _exponentials(x: Any, dim: int, limit: float, out: Any = None) -> tuple[Any, Any, Any]:
    """``exp(x - top)``, its sums along ``dim``, and ``top``: the largest of each line, or None where all of ``x`` is at most
    ``limit`` and no line is far below, so that nothing needs to be taken out.
    """
    if x.dtype == np.float16:  # its largest number is exp(11)
        x, out = x.astype(np.float32), None
    if x.max(initial=-np.inf) <= limit:
        e = np.exp(x, out=out)
        total = _sums(e, None, dim)
        if total.min(initial=1) > 1e-3:
            return e, total, None
    top = x.max(dim, keepdims=True, initial=-np.inf)
    e = np.subtract(x, top, out=out)
    np.exp(e, out=e)
    return e, _sums(e, None, dim), top


def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``."""

    def lines(out: Any, x: Any) -> None:
        e, total, _ = _exponentials(x, dim, 40, out)
        np.multiply(e, 1 / total, out=out, casting="same_kind")

    return _by_lines(lines, dim, np.empty_like(x), x)


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``out * (g - sum(g * out))`` along ``dim``."""

    def lines(to: Any, g: Any, out: Any) -> None:
        np.subtract(g, _sums(g, out, dim), out=to)
        to *= out

    return _by_lines(lines, dim, np.empty_like(out), g, out)


def log_softmax(x: Any, dim: int) -> Any:
    """``log(softmax(x))`` along ``dim``."""

    def lines(out: Any, x: Any) -> None:
        _, total, top = _exponentials(x, dim, 8, out)
        if top is not None:
            x = np.subtract(x, top, out=out, casting="same_kind")
        np.subtract(x, np.log(total), out=out, casting="same_kind")

    return _by_lines(lines, dim, np.empty_like(x), x)


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``g - exp(out) * sum(g)`` along ``dim``."""

    def lines(to: Any, g: Any, out: Any) -> None:
        np.exp(out, out=to)
        to *= _sums(g, None, dim)
        np.subtract(g, to, out=to)

    return _by_lines(lines, dim, np.empty_like(out), g, out)


def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""

    def lines(out: Any, x: Any, places: Any) -> None:
        _, total, top = _exponentials(x, dim, 8)
        at = np.take_along_axis(x, places, dim)
        out[...] = (at if top is None else at - top) - np.log(total)

    return _by_lines(lines, dim, np.empty(places.shape, x.dtype), x, places)


def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""

    def lines(to: Any, g: Any, x: Any, places: Any) -> None:
        e, total, _ = _exponentials(x, dim, 40, to)
        np.multiply(e, -g / total, out=to, casting="same_kind")
        np.put_along_axis(to, places, np.take_along_axis(to, places, dim) + g, dim)

    return _by_lines(lines, dim, np.empty_like(x), g, x, places)
