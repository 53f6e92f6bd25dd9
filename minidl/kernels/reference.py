"""The definition of every kernel, as loops over single numbers: slow on purpose, to be read and compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..shapes import Window


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, lead + a.shape[-2:]), np.broadcast_to(b, lead + b.shape[-2:])
    out = np.zeros((*lead, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for place in np.ndindex(*lead):
        for m, n, k in np.ndindex(a.shape[-2], b.shape[-1], a.shape[-1]):
            out[(*place, m, n)] += a[(*place, m, k)] * b[(*place, k, n)]
    return out


def linear(x: Any, w: Any, bias: Any, with_relu: bool = False) -> Any:
    """The rows of x times those of w, and the bias added; then cut off at 0, if that is wanted."""
    out = matmul(np.atleast_2d(x), w.swapaxes(0, 1)).reshape(*x.shape[:-1], len(w)) + (0 if bias is None else bias)
    return relu(out) if with_relu else out


def sum(x: Any, dims: tuple[int, ...], keepdims: bool) -> Any:
    """Every element added to where it belongs."""
    out = np.zeros([1 if d in dims else n for d, n in enumerate(x.shape)], x.dtype)
    for place in np.ndindex(*x.shape):
        out[tuple(0 if d in dims else i for d, i in enumerate(place))] += x[place]
    return out if keepdims else out.squeeze(dims)


def add_at(out: Any, index: Any, values: Any) -> None:
    """``out[index] += values``, adding every time an index repeats."""
    places = np.arange(out.size).reshape(out.shape)[index]
    for place, value in zip(np.ravel(places), np.ravel(np.broadcast_to(values, np.shape(places)))):
        out[np.unravel_index(place, out.shape)] += value


def blockwise(function: Callable[..., None], *arrays: Any) -> None:
    """``function(*arrays)``, which works in place and element by element, for one element after the other."""
    for place in np.ndindex(*arrays[0].shape):
        function(*(a[tuple(slice(i, i + 1) for i in place)] for a in arrays))


def fused(function: Callable[..., None], steps: list[Any], again: Any = None) -> list[Any]:
    """All that are to be done: none is done here."""
    return steps


def in_one(name: Any, dtype: Any) -> None:
    """None: everything is in steps, as it should be read."""


def share(function: Callable[[slice], None], n_items: int, products: int) -> None:
    """``function`` for one item after the other."""
    for i in range(n_items):
        function(slice(i, i + 1))


def running_extreme(x: Any, dim: int, largest: bool) -> Any:
    """The largest (or smallest) element up to each place along ``dim``; from a NaN on, NaN."""
    out = x.copy()
    for place in np.ndindex(*x.shape):
        if place[dim]:
            before = out[tuple(i - (d == dim) for d, i in enumerate(place))]
            beats = before > x[place] if largest else before < x[place]
            out[place] = before if beats or before != before else x[place]
    return out


def bits(n: int, seed: int, draw: int) -> Any:
    """Random numbers from 0 to 2**32 - 1: NumPy's SFC64, two of each of its words."""
    words = np.random.SFC64((seed, draw)).random_raw((n + 1) // 2)
    return np.array([part for word in words.tolist() for part in (word % 2**32, word >> 32)][:n], np.uint32)


def erf(x: Any) -> Any:
    """The error function."""
    return np.array([math.erf(v) for v in x.ravel()], x.dtype).reshape(x.shape)


def _by_lines(function: Callable[..., Any], dim: int, shape: Any, *arrays: Any) -> Any:
    """An array of ``shape``, each line along ``dim`` the function of the lines there in ``arrays``, as lists."""
    out = np.empty(shape, arrays[0].dtype)
    for place in np.ndindex(*(1 if d == dim else n for d, n in enumerate(shape))):
        line = *place[:dim], slice(None), *place[dim + 1 :]
        out[line] = function(*(a[line].tolist() for a in arrays))
    return out


def softmax(x: Any, dim: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``dim``."""
    return np.exp(log_softmax(x, dim))


def softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """The gradient of softmax's input: ``out * (g - sum(g * out))``."""

    def line(g: list[float], out: list[float]) -> list[float]:
        mean = math.fsum(a * y for a, y in zip(g, out))
        return [y * (a - mean) for a, y in zip(g, out)]

    return _by_lines(line, dim, out.shape, g, out)


def log_softmax(x: Any, dim: int) -> Any:
    """``log(softmax(x))`` along ``dim``."""

    def line(x: list[float]) -> list[float]:
        total = math.fsum(math.exp(v - max(x)) for v in x)
        return [v - max(x) - math.log(total) for v in x]

    return _by_lines(line, dim, x.shape, x)


def log_softmax_grad(g: Any, out: Any, dim: int) -> Any:
    """The gradient of log_softmax's input: ``g - exp(out) * sum(g)``."""
    return _by_lines(lambda g, out: [a - math.exp(y) * math.fsum(g) for a, y in zip(g, out)], dim, out.shape, g, out)


def log_softmax_at(x: Any, dim: int, places: Any) -> Any:
    """``log_softmax(x)`` at one place of each line along ``dim``."""
    return _by_lines(lambda y, place: [y[place[0]]], dim, places.shape, log_softmax(x, dim), places)


def log_softmax_at_grad(g: Any, x: Any, dim: int, places: Any) -> Any:
    """The gradient of its input: ``g`` times 1 at ``places`` and 0 elsewhere, less ``softmax(x)``."""

    def line(p: list[float], g: list[float], place: list[int]) -> list[float]:
        return [g[0] * ((i == place[0]) - v) for i, v in enumerate(p)]

    return _by_lines(line, dim, x.shape, softmax(x, dim), g, places)


def relu(x: Any) -> Any:
    """The larger of each element and 0."""
    return np.array([max(v, 0) for v in x.ravel()], x.dtype).reshape(x.shape)


def relu_grad(g: Any, out: Any) -> Any:
    """0 where ``out``, a result of `relu`, is at most 0, else (also at NaN) ``g``."""
    return np.array([0 if y <= 0 else a for a, y in zip(g.ravel(), out.ravel())], g.dtype).reshape(g.shape)


def _windows(window: Window, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Every position (i, j) of the window with every tap (k, l) that falls on a pixel, and that pixel (h, w)."""
    out_i, out_j = window.out_size(size)
    for i, j, k, l in itertools.product(range(out_i), range(out_j), range(window.kernel[0]), range(window.kernel[1])):
        h = i * window.stride[0] - window.before[0] + k * window.dilation[0]
        w = j * window.stride[1] - window.before[1] + l * window.dilation[1]
        if 0 <= h < size[0] and 0 <= w < size[1]:
            yield i, j, k, l, h, w


def _connections(n_channels: int, n_filters: int, groups: int) -> Iterator[tuple[int, int, int]]:
    """Every filter with every channel it sees: (filter, channel of the input, channel of the filter)."""
    per_group = n_channels // groups
    for f, c in itertools.product(range(n_filters), range(per_group)):
        yield f, f // (n_filters // groups) * per_group + c, c


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """``out[n, f, i, j] = bias[f] + sum over c, k, l of x[n, c, i * stride - padding + k * dilation, ...] * w[f, c, k, l]``."""
    out = np.zeros((x.shape[0], w.shape[0], *window.out_size(x.shape[2:])), np.result_type(x, w))
    for n, (f, c, cw) in itertools.product(range(x.shape[0]), _connections(x.shape[1], w.shape[0], groups)):
        for i, j, k, l, row, column in _windows(window, x.shape[2:]):
            out[n, f, i, j] += x[n, c, row, column] * w[f, cw, k, l]
    for f in range(w.shape[0] if bias is not None else 0):
        out[:, f] += bias[f]
    return out


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """What `conv2d` reads, it gives back: the same products with ``x`` and ``out`` exchanged."""
    gx = np.zeros((g.shape[0], w.shape[1] * groups, *size), np.result_type(g, w))
    for n, (f, c, cw) in itertools.product(range(g.shape[0]), _connections(gx.shape[1], w.shape[0], groups)):
        for i, j, k, l, row, column in _windows(window, size):
            gx[n, c, row, column] += g[n, f, i, j] * w[f, cw, k, l]
    return gx


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """The same products with ``w`` and ``out`` exchanged."""
    gw = np.zeros((g.shape[1], x.shape[1] // groups, *window.kernel), np.result_type(x, g))
    for n, (f, c, cw) in itertools.product(range(x.shape[0]), _connections(x.shape[1], g.shape[1], groups)):
        for i, j, k, l, row, column in _windows(window, x.shape[2:]):
            gw[f, cw, k, l] += x[n, c, row, column] * g[n, f, i, j]
    return gw


def max_pool2d(x: Any, window: Window) -> Any:
    """The largest pixel of each window, a NaN before all."""
    out = np.full((*x.shape[:2], *window.out_size(x.shape[2:])), -np.inf, x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for i, j, _, _, row, column in _windows(window, x.shape[2:]):
            value = x[n, c, row, column]
            if value > out[n, c, i, j] or math.isnan(value):
                out[n, c, i, j] = value
    return out


def max_pool2d_taps(x: Any, out: Any, window: Window) -> Any:
    """The number ``k * L + l`` of the tap that the maximum ``out`` comes from: of equal ones the first, of NaNs the last."""
    taps = np.full(out.shape, -1)
    for n, c in np.ndindex(*x.shape[:2]):
        for i, j, k, l, row, column in _windows(window, x.shape[2:]):
            value = x[n, c, row, column]
            if math.isnan(value) or (taps[n, c, i, j] < 0 and value == out[n, c, i, j]):
                taps[n, c, i, j] = k * window.kernel[1] + l
    return taps


def conv2d_relu_pool(
    x: Any, w: Any, bias: Any, window: Window, groups: int, pool: Window | None, with_taps: bool
) -> tuple[Any, Any]:
    """One after the other."""
    out, taps = conv2d(x, w, bias, window, groups), None
    if pool is not None:
        out, convolved = max_pool2d(out, pool), out
        taps = max_pool2d_taps(convolved, out, pool) if with_taps else None
    return relu(out), taps


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to the pixel that its tap points at."""
    gx = np.zeros((*g.shape[:2], *size), g.dtype)
    for n, c in np.ndindex(*g.shape[:2]):
        for i, j, k, l, row, column in _windows(window, size):
            if taps[n, c, i, j] == k * window.kernel[1] + l:
                gx[n, c, row, column] += g[n, c, i, j]
    return gx


def max_pool2d_pick(x: Any, taps: Any, window: Window) -> Any:
    """The pixel that each tap points at."""
    out = np.zeros((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for i, j, k, l, row, column in _windows(window, x.shape[2:]):
            if taps[n, c, i, j] == k * window.kernel[1] + l:
                out[n, c, i, j] = x[n, c, row, column]
    return out


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum of each window; what it covers of the padding counts as 0."""
    out = np.zeros((*x.shape[:2], *window.out_size(x.shape[2:])), x.dtype)
    for n, c in np.ndindex(*x.shape[:2]):
        for i, j, _, _, row, column in _windows(window, x.shape[2:]):
            out[n, c, i, j] += x[n, c, row, column]
    return out


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """Each ``g`` added to every pixel of its window."""
    gx = np.zeros((*g.shape[:2], *size), g.dtype)
    for n, c in np.ndindex(*g.shape[:2]):
        for i, j, _, _, row, column in _windows(window, size):
            gx[n, c, row, column] += g[n, c, i, j]
    return gx


def unfold(x: Any, window: Window) -> Any:
    """The pixel under each tap at each position, 0 in the padding."""
    out = np.zeros((*x.shape[:2], *window.kernel, *window.out_size(x.shape[2:])), x.dtype)
    for i, j, k, l, row, column in _windows(window, x.shape[2:]):
        out[:, :, k, l, i, j] = x[:, :, row, column]
    return out.reshape(len(x), x.shape[1] * out.shape[2] * out.shape[3], out.shape[4] * out.shape[5])


def fold(columns: Any, window: Window, size: tuple[int, int]) -> Any:
    """What `unfold` reads, it gives back."""
    channels = columns.shape[1] // math.prod(window.kernel)
    seen = columns.reshape(len(columns), channels, *window.kernel, *window.out_size(size))
    out = np.zeros((*seen.shape[:2], *size), columns.dtype)
    for i, j, k, l, row, column in _windows(window, size):
        out[:, :, row, column] += seen[:, :, k, l, i, j]
    return out


def resample(x: Any, maps: Any) -> Any:
    """Dimension by dimension, slice by slice: ``out[to] += x[source] * weight``."""
    for dim, groups, size in maps:
        x, before = np.zeros((size, *np.moveaxis(x, dim, 0).shape[1:]), x.dtype), np.moveaxis(x, dim, 0)
        for to, terms in groups:
            for source, weight in terms:
                targets, sources = (range(*p) if isinstance(p, tuple) else p for p in (to, source))
                for i, (o, s) in enumerate(zip(targets, sources)):
                    x[o] += before[s] * (1 if weight is None else weight if isinstance(weight, float) else weight[i])
        x = np.moveaxis(x, 0, dim)
    return x


def normalise(
    x: Any, weight: Any, bias: Any, dims: Any, eps: float, center: Any = None, variance: Any = None
) -> tuple[Any, Any, Any]:
    """``(x - center) / sqrt(variance + eps) * weight + bias``, all broadcast, and center and variance.

    Where they are not given these are the mean over ``dims`` and the mean square of the distances from the center.
    """
    count = math.prod(x.shape[d] for d in dims) or 1
    center = sum(x / count, dims, True) if center is None else center
    variance = sum((x - center) ** 2 / count, dims, True) if variance is None else variance
    out, given = np.zeros_like(x), (center, variance, 1 if weight is None else weight, 0 if bias is None else bias)
    c, v, w, b = (np.broadcast_to(a, x.shape) for a in given)
    for place in np.ndindex(*x.shape):
        out[place] = (x[place] - c[place]) / math.sqrt(v[place] + eps) * w[place] + b[place]
    return out, center, variance


def normalise_grad(
    g: Any, x: Any, weight: Any, center: Any, variance: Any, dims: Any, eps: float, own: Any, shape: Any
) -> tuple[Any, Any, Any]:
    """The gradients of x, and of a weight and a bias of that ``shape``; ``own`` says whether center and variance are x's own.

    A change of x that only shifts its own center, or only stretches what is measured by its own variance, does nothing: it is
    taken out.
    """
    standard, count = normalise(x, None, None, dims, eps, center, variance)[0], math.prod(x.shape[d] for d in dims) or 1
    weighted = gx = g if weight is None else g * weight
    if own[0]:
        gx = gx - sum(weighted, dims, True) / count
    if own[1]:
        gx = gx - standard * sum(weighted * standard, dims, True) / count
    same = [d for d, n in enumerate((1,) * (x.ndim - len(shape)) + tuple(shape)) if n == 1]  # over these weight and bias are
    return gx / np.sqrt(variance + eps), *(sum(a, tuple(same), True).reshape(shape) for a in (g * standard, g))
