"""Softmax and its relatives: a warp, or a thread, for each line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .loader import BLOCK, empty, launch, plain, single

FEW = 32  # classes: where a block has all lines, a thread does one by itself, and no other launch must follow
MOST_BLOCKS = 512  # that share out slopes; each adds up the parts of the loss for itself


def _lanes(lines: int, inner: int) -> int:
    return 32 if inner == 1 and lines * 32 < 2**31 else 1  # an `int` counts the threads


def _launch(name: str, like: Any, dim: int, *args: Any) -> None:
    n, inner = like.shape[dim], math.prod(like.shape[dim + 1 :])
    lines = like.size // max(n, 1)
    lanes = _lanes(lines, inner)
    launch("lines", name, lines * lanes, *args, lines, n, inner, lanes, real=like.dtype)


@single
def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    out = empty(x.shape, x.dtype)
    _launch("softmax", x, dim, plain(x), out, 0)
    return out


@single
def log_softmax(x: Any, dim: int) -> Any:
    """``log(softmax(x))`` along ``dim``."""
    out = empty(x.shape, x.dtype)
    _launch("softmax", x, dim, plain(x), out, 1)
    return out


@single
def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``out * (g - sum(g * out))`` along ``dim``."""
    gx = empty(out.shape, out.dtype)
    _launch("softmax_grad", out, dim, plain(g), plain(out), gx, 0)
    return gx


@single
def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``g - exp(out) * sum(g)`` along ``dim``."""
    gx = empty(out.shape, out.dtype)
    _launch("softmax_grad", out, dim, plain(g), plain(out), gx, 1)
    return gx


@single
def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""
    out = empty(places.shape, x.dtype)
    _launch("log_softmax_at", x, dim, plain(x), plain(places.astype("int64", copy=False)), out)
    return out


@single
def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""
    g, gx = plain(g), empty(x.shape, x.dtype)
    _launch("log_softmax_at_grad", x, dim, g, plain(x), plain(places.astype("int64", copy=False)), gx, 1, None)
    return gx


def class_loss(soft: bool, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> tuple[Any, ...]:
    """The loss over classes of ``x`` (N, C, ...), scores if ``soft`` or else log-probabilities; minus the share of each target
    in it; the targets as places along dimension 1; and whether one is no class. See `minidl.ops.loss`.
    """
    shape, dtype, mean = target.shape, x.dtype, reduction == "mean"
    lines, inner = target.size, math.prod(shape[1:])
    lanes = 1 if lines <= BLOCK and x.shape[1] <= FEW else _lanes(lines, inner)
    blocks = -(-lines * lanes // BLOCK)
    loss, slopes, places = empty((), dtype), empty(shape, dtype), empty(shape, np.int64)
    wrong, losses = empty((), bool), empty(shape, dtype) if reduction == "none" else None
    parts = empty(3 * blocks, dtype) if blocks != 1 else None  # a single block ends by itself
    x, target = plain(x), plain(target.astype(np.int64, copy=False))
    weights = None if weight is None else plain(weight.astype(dtype, copy=False))
    made, sizes = (losses, slopes, places, parts, int(mean), loss, wrong), (lines, x.shape[1], inner, lanes)
    launch("lines", "class_losses", (blocks,), x, target, weights, np.int64(ignore_index), int(soft), *made, *sizes, real=dtype)
    if parts is not None:
        grid = (min(-(-lines // BLOCK), MOST_BLOCKS) if mean and lines else 1,)
        launch("lines", "class_loss", grid, parts, blocks, int(mean), loss, slopes, wrong, lines, real=dtype)
    return loss if losses is None else losses, slopes, places[:, None], wrong


def class_loss_grad(g: Any, x: Any, slopes: Any, places: Any) -> Any:
    """The gradient of its scores."""
    gx = empty(x.shape, x.dtype)
    _launch("log_softmax_at_grad", x, 1, plain(g), plain(x), places, gx, int(g.ndim > 0), slopes)
    return gx
