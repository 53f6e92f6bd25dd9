"""The kernels in plain NumPy: whole arrays at a time, each in a few lines, with no thought of caches, threads or memory order.

Between `reference`, which says what is computed, and `cpu`, which does it quickly, this is how one would write it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..shapes import Window
from . import reference


def __getattr__(name: str) -> Any:
    """What is not here is as in `reference`: there is no plainer way, or no other one."""
    return getattr(reference, name)


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions."""
    return np.matmul(a, b)


def linear(x: Any, w: Any, bias: Any, with_relu: bool = False) -> Any:
    """``x @ w.T + bias``, or relu of it."""
    out = x @ w.T if bias is None else x @ w.T + bias
    return np.maximum(out, 0) if with_relu else out


def sum(x: Any, dims: tuple[int, ...], keepdims: bool) -> Any:
    """The sum over some dimensions."""
    return np.sum(x, axis=dims, keepdims=keepdims, dtype=x.dtype)


def add_at(out: Any, index: Any, values: Any) -> None:
    """``out[index] += values``, adding every time an index repeats."""
    np.add.at(out, index, values)


def blockwise(function: Callable[..., None], *arrays: Any) -> None:
    """``function(*arrays)``, all at once."""
    function(*arrays)


def share(function: Callable[[slice], None], n_items: int, products: int) -> None:
    """``function`` for all items at once."""
    function(slice(0, n_items))


def erf(x: Any) -> Any:
    """The error function, which NumPy lacks."""
    return np.vectorize(math.erf, [x.dtype])(x) if x.size else x.copy()


def relu(x: Any) -> Any:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


def relu_grad(g: Any, out: Any) -> Any:
    """0 where ``out`` is at most 0, else ``g``."""
    return np.where(out <= 0, np.zeros((), g.dtype), g)


def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))``, the largest taken out first so that nothing overflows."""
    e = np.exp(x - x.max(dim, keepdims=True)) if x.size else x.copy()
    return e / e.sum(dim, keepdims=True)


def log_softmax(x: Any, dim: int) -> Any:
    """``x - log(sum(exp(x)))``."""
    x = x - x.max(dim, keepdims=True) if x.size else x
    return x - np.log(np.exp(x).sum(dim, keepdims=True))


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``out * (g - sum(g * out))``."""
    return out * (g - (g * out).sum(dim, keepdims=True))


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """``g - exp(out) * sum(g)``."""
    return g - np.exp(out) * g.sum(dim, keepdims=True)


def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""
    return np.take_along_axis(log_softmax(x, dim), places, dim)


def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""
    hot = -softmax(x, dim)
    np.put_along_axis(hot, places, np.take_along_axis(hot, places, dim) + 1, dim)
    return g * hot


# -- windows


def _padded(x: Any, window: Window, fill: float = 0) -> Any:
    (top, left), (bottom, right) = window.before, window.after
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)


def _taps(padded: Any, window: Window, out_size: Any) -> Any:
    """A view (K, L, N, C, I, J) of what each tap sees at each position; it can be written to if ``padded`` can."""
    n, c, h, w = padded.strides
    (sh, sw), (dh, dw) = window.stride, window.dilation
    shape = (*window.kernel, *padded.shape[:2], *out_size)
    return np.lib.stride_tricks.as_strided(padded, shape, (h * dh, w * dw, n, c, h * sh, w * sw))


def _seen(x: Any, window: Window, fill: float = 0) -> Any:
    return _taps(_padded(x, window, fill), window, window.out_size(x.shape[2:]))


def _laid_back(taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """The transpose of `_seen`: each (K, L) of ``taps`` added where that tap looked."""
    n, c, *out_size = taps.shape[2:]
    (top, left), (bottom, right) = window.before, window.after
    padded = np.zeros((n, c, size[0] + top + bottom, size[1] + left + right), taps.dtype)
    view = _taps(padded, window, out_size)
    for k, l in np.ndindex(*window.kernel):
        view[k, l] += taps[k, l]
    return padded[:, :, top : top + size[0], left : left + size[1]]


def _grouped(x: Any, dim: int, groups: int) -> Any:
    """Dimension ``dim`` as two: groups, and what is in one."""
    return x.reshape(*x.shape[:dim], groups, x.shape[dim] // groups, *x.shape[dim + 1 :])


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """Every filter times what the window sees, summed over channels and taps."""
    seen, filters = _grouped(_seen(x, window), 3, groups), _grouped(w, 0, groups)
    out = np.einsum("klngcij,gfckl->ngfij", seen, filters, optimize=True)
    out = out.reshape(len(x), len(w), *out.shape[3:])
    return out if bias is None else out + bias[:, None, None]


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """``g`` times the filters, laid back where the window was."""
    taps = np.einsum("ngfij,gfckl->klngcij", _grouped(g, 1, groups), _grouped(w, 0, groups), optimize=True)
    return _laid_back(taps.reshape(*window.kernel, len(g), w.shape[1] * groups, *g.shape[2:]), window, size)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """``g`` times what the window saw, summed over pictures and positions."""
    out = np.einsum("klngcij,ngfij->gfckl", _grouped(_seen(x, window), 3, groups), _grouped(g, 1, groups), optimize=True)
    return out.reshape(g.shape[1], *out.shape[2:])


def max_pool2d(x: Any, window: Window) -> Any:
    """The largest that any tap sees."""
    return _seen(x, window, -np.inf).max((0, 1))


def max_pool2d_taps(x: Any, out: Any, window: Window) -> Any:
    """The first tap that sees the maximum; of NaNs the last."""
    seen = _seen(x, window, -np.inf)
    taps = seen.reshape(math.prod(window.kernel), *seen.shape[2:])
    last = len(taps) - 1 - np.isnan(taps[::-1]).argmax(0)
    inside = _seen(np.ones_like(x), window).reshape(taps.shape) > 0
    return np.where(np.isnan(out), last, ((taps == out) & inside).argmax(0))


def conv2d_relu_pool(
    x: Any, w: Any, bias: Any, window: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """One after the other."""
    out, taps = conv2d(x, w, bias, window, groups), None
    if pool is not None:
        out, convolved = max_pool2d(out, pool), out
        taps = max_pool2d_taps(convolved, out, pool) if with_taps else None
    return relu(out), taps


def _hit(taps: Any, window: Window) -> Any:
    """(K, L, ...): whether ``taps`` points at this one."""
    return taps == np.arange(math.prod(window.kernel)).reshape(*window.kernel, *(1,) * taps.ndim)


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to the pixel that its tap points at."""
    return _laid_back(_hit(taps, window) * g, window, size)


def max_pool2d_pick(x: Any, taps: Any, window: Window) -> Any:
    """The pixel that each tap points at."""
    return np.where(_hit(taps, window), _seen(x, window), np.zeros((), x.dtype)).sum((0, 1))


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum of what the taps see."""
    return _seen(x, window).sum((0, 1))


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to every pixel of its window."""
    return _laid_back(np.broadcast_to(g, (*window.kernel, *g.shape)), window, size)


def unfold(x: Any, window: Window) -> Any:
    """What each tap sees, as columns."""
    seen = _seen(x, window)
    rows, places = x.shape[1] * math.prod(window.kernel), math.prod(seen.shape[4:])
    return np.moveaxis(seen, (0, 1), (2, 3)).reshape(len(x), rows, places)


def fold(columns: Any, window: Window, size: tuple[int, int]) -> Any:
    """What `unfold` reads, it gives back."""
    channels = columns.shape[1] // math.prod(window.kernel)
    seen = columns.reshape(len(columns), channels, *window.kernel, *window.out_size(size))
    return _laid_back(np.moveaxis(seen, (2, 3), (0, 1)), window, size)


# -- normalisation


def _mean(x: Any, dims: Any) -> Any:
    return x.sum(dims, keepdims=True, dtype=x.dtype) / (math.prod(x.shape[d] for d in dims) or 1)


def normalise(
    x: Any, weight: Any, bias: Any, dims: Any, eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """``(x - center) / sqrt(variance + eps) * weight + bias``, and center and variance."""
    center = _mean(x, dims) if center is None else center
    variance = _mean((x - center) ** 2, dims) if variance is None else variance
    out = (x - center) / np.sqrt(variance + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias, center, variance


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Any, eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, weight and bias: what only shifts or stretches x is taken out."""
    standard = (x - center) / np.sqrt(variance + eps)
    weighted = gx = g if weight is None else g * weight
    if own[0]:
        gx = gx - _mean(weighted, dims)
    if own[1]:
        gx = gx - standard * _mean(weighted * standard, dims)
    same = tuple(d for d, n in enumerate((1,) * (x.ndim - len(shape)) + tuple(shape)) if n == 1)
    return gx / np.sqrt(variance + eps), *(a.sum(same, keepdims=True).reshape(shape) for a in (g * standard, g))
