"""Softmax and its relatives along lines that lie in one piece: a line stays in the nearest cache for all passes over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from .. import cpu
from ..cpu.order import order_of
from .compile import loop, part, parts, shared
from .mathematics import bits, exp, f32, in_order, less, log, number


def _run(kernel: Callable[..., None], dim: int, like: Any, *others: Any, width: int | None = None) -> Any:
    """``kernel(parts, out, like, *others)`` on arrays as (lines, n). None if ``like`` is not made so.

    ``out`` has the shape and memory order of ``like``, or ``width`` along ``dim``.
    """
    plain = dim == like.ndim - 1 and like.flags.c_contiguous  # the usual case, quickly
    order = [*range(like.ndim)] if plain else [*(d for d in order_of(like) if d != dim), dim]
    if like.dtype != np.float32 or not like.size or not like.transpose(order).flags.c_contiguous:
        return None
    rows = [np.ascontiguousarray(a.transpose(order)).reshape(-1, a.shape[dim]) for a in (like, *others)]
    out = np.empty((len(rows[0]), width or like.shape[dim]), like.dtype)
    kernel(parts(len(out), 8 * like.nbytes), out, *rows)
    shape = *[like.shape[d] for d in order[:-1]], out.shape[1]
    return out.reshape(shape) if plain else out.reshape(shape).transpose([order.index(d) for d in range(like.ndim)])


@loop
def _largest(row):
    """The largest of a row, NaN if it has one: of whole numbers, for which the compiler need not think of NaN."""
    top = in_order(bits(f32(-np.inf)))
    for i in range(row.size):
        top = max(top, in_order(bits(row[i])))
    return number(in_order(top))


@loop
def _exponentials(x, out):
    """``exp(x - top)`` into ``out``; returns its sum."""
    top, total = _largest(x), f32(0)
    for i in range(x.size):
        out[i] = exp(x[i] - top)
        total += out[i]
    return total


@loop
def _sum_of_exponentials(x, top):
    total = f32(0)
    for i in range(x.size):
        total += exp(x[i] - top)
    return total


@shared
def _softmax(parts, out, x):
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        for r in range(first, last):
            factor = f32(1) / _exponentials(x[r], out[r])
            for i in range(x.shape[1]):
                out[r, i] *= factor


@shared
def _softmax_grad(parts, to, out, g):
    for p in prange(parts):
        first, last = part(len(to), p, parts)
        for r in range(first, last):
            total = f32(0)
            for i in range(g.shape[1]):
                total += g[r, i] * out[r, i]
            for i in range(g.shape[1]):
                to[r, i] = out[r, i] * (g[r, i] - total)


@shared
def _log_softmax(parts, out, x):
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        for r in range(first, last):
            top = _largest(x[r])
            rest = log(_sum_of_exponentials(x[r], top))
            for i in range(x.shape[1]):
                out[r, i] = less(x[r, i], top, rest)


@shared
def _log_softmax_grad(parts, to, out, g):
    for p in prange(parts):
        first, last = part(len(to), p, parts)
        for r in range(first, last):
            total = f32(0)
            for i in range(g.shape[1]):
                total += g[r, i]
            for i in range(g.shape[1]):
                to[r, i] = g[r, i] - exp(out[r, i]) * total


@shared
def _log_softmax_at(parts, out, x, places):
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        for r in range(first, last):
            top = _largest(x[r])
            out[r, 0] = less(x[r, places[r, 0]], top, log(_sum_of_exponentials(x[r], top)))


@shared
def _log_softmax_at_grad(parts, to, x, g, places):
    for p in prange(parts):
        first, last = part(len(to), p, parts)
        for r in range(first, last):
            factor = -g[r, 0] / _exponentials(x[r], to[r])
            for i in range(x.shape[1]):
                to[r, i] *= factor
            to[r, places[r, 0]] += g[r, 0]


def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    out = _run(_softmax, dim, x)
    return cpu.softmax(x, dim) if out is None else out


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``out * (g - sum(g * out))`` along ``dim``."""
    found = _run(_softmax_grad, dim, out, g)
    return cpu.softmax_grad(g, out, dim) if found is None else found


def log_softmax(x: Any, dim: int) -> Any:
    """``log(softmax(x))`` along ``dim``."""
    out = _run(_log_softmax, dim, x)
    return cpu.log_softmax(x, dim) if out is None else out


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``g - exp(out) * sum(g)`` along ``dim``."""
    found = _run(_log_softmax_grad, dim, out, g)
    return cpu.log_softmax_grad(g, out, dim) if found is None else found


def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""
    out = _run(_log_softmax_at, dim, x, places, width=1)
    return cpu.log_softmax_at(x, dim, places) if out is None else out


def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""
    found = _run(_log_softmax_at_grad, dim, x, g, places)
    return cpu.log_softmax_at_grad(g, x, dim, places) if found is None else found
