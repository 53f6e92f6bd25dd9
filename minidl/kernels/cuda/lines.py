"""Softmax and its relatives: a warp, or a thread, for each line."""

from __future__ import annotations

import math
from typing import Any

import cupy

from .loader import launch, plain, single


def _launch(name: str, like: Any, dim: int, *args: Any) -> None:
    n, inner = like.shape[dim], math.prod(like.shape[dim + 1 :])
    lines = like.size // max(n, 1)
    lanes = 32 if inner == 1 and lines * 32 < 2**31 else 1  # an `int` counts the threads
    launch("lines", name, lines * lanes, *args, lines, n, inner, lanes, real=like.dtype)


@single
def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    out = cupy.empty(x.shape, x.dtype)
    _launch("softmax", x, dim, plain(x), out, 0)
    return out


@single
def log_softmax(x: Any, dim: int) -> Any:
    """``log(softmax(x))`` along ``dim``."""
    out = cupy.empty(x.shape, x.dtype)
    _launch("softmax", x, dim, plain(x), out, 1)
    return out


@single
def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``out * (g - sum(g * out))`` along ``dim``."""
    gx = cupy.empty(out.shape, out.dtype)
    _launch("softmax_grad", out, dim, plain(g), plain(out), gx, 0)
    return gx


@single
def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``g - exp(out) * sum(g)`` along ``dim``."""
    gx = cupy.empty(out.shape, out.dtype)
    _launch("softmax_grad", out, dim, plain(g), plain(out), gx, 1)
    return gx


@single
def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""
    out = cupy.empty(places.shape, x.dtype)
    _launch("log_softmax_at", x, dim, plain(x), plain(places.astype("int64", copy=False)), out)
    return out


@single
def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""
    gx = cupy.empty(x.shape, x.dtype)
    _launch("log_softmax_at_grad", x, dim, plain(g), plain(x), plain(places.astype("int64", copy=False)), gx)
    return gx
