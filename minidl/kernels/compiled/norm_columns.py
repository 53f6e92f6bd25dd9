"""Normalisation of columns: what is normalised together lies in steps of B. See `minidl.kernels.compiled.norm`.

The threads share A; where that is little they share R, the moments of their pieces are put together, and then each writes its
piece of the result. The innermost loop is always along B, in the order of memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .compile import loop, part, shared
from .mathematics import f32

RUN = 4096  # numbers whose moments are taken together
ROWS = 256  # at most: their sums are in float32, one row after the other


@loop
def _moments(x, own_center, mean, square):
    """Mean of each column of x, (R, B), and the sum of its squared distances from it; from 0 if the center is not its own.

    One pass does it for all runs but the first: from the mean of those before. What cancels in the difference of the two sums
    is the square of this run's distance from them, which is a part of the result.
    """
    r, b = x.shape
    step, origin = min(max(RUN // b, 1), ROWS), np.zeros(b, np.float32)
    total, squares = np.empty(b, np.float32), np.empty(b, np.float32)
    mean[:] = 0
    square[:] = 0
    for n in range(0, r, step):
        some = x[n : n + step]
        more = len(some)
        if own_center and n == 0:
            _distances(some, some[0], total, squares)
            for j in range(b):
                origin[j] = some[0, j] + total[j] / f32(more)
        _distances(some, origin, total, squares)
        for j in range(b):
            shift = total[j] / f32(more) if own_center else f32(0)
            distance = origin[j] + shift - mean[j]
            square[j] += max(squares[j] - total[j] * shift, f32(0)) + distance * distance * n * more / (n + more)
            mean[j] += distance * more / (n + more)
            origin[j] = mean[j]


@loop
def _distances(x, origin, total, squares):
    """The sums of the columns' distances from numbers near them, which are small, and so is what rounding takes; and of their
    squares.
    """
    total[:] = 0
    squares[:] = 0
    for r in range(len(x)):
        for j in range(total.size):
            distance = x[r, j] - origin[j]
            total[j] += distance
            squares[j] += distance * distance


@loop
def _put_together(mean, square, n, center, variance):
    """Center and variance from the moments of some pieces of n rows, (pieces, B)."""
    pieces, b = mean.shape
    for j in range(b):
        total, squares = mean[0, j], square[0, j]
        for p in range(1, pieces):
            before, after = part(n, p, pieces)
            distance, share = mean[p, j] - total, (after - before) / after
            squares += square[p, j] + distance * distance * before * share
            total += distance * share
        center[j], variance[j] = total, squares / n


@loop
def _inverse_root(variance, eps, scale):
    for j in range(scale.size):
        scale[j] = 1 / math.sqrt(variance[j] + eps)


@loop
def _scale(x, out, center, scale, weight, bias, first, last):
    """Rows first to last of the output."""
    run = len(x) // weight.size
    for w in range(first // run, -(-last // run)):
        factor, shift = weight[w], bias[w]
        for r in range(max(first, w * run), min(last, w * run + run)):
            for j in range(scale.size):
                out[r, j] = (x[r, j] - center[j]) * (scale[j] * factor) + shift


@shared
def columns(parts, x, out, weight, bias, center, variance, eps, own_center, own_variance):
    """`normalise` where B is not 1: x and out (A, R, B), center and variance (A, B), weight and bias (1 or A, W)."""
    a, n, b = x.shape
    pieces = parts if a < parts else 1
    mean, square = np.empty((a, pieces, b)), np.empty((a, pieces, b))
    if own_variance and pieces > 1:
        for p in prange(parts):
            first, last = part(n, p, parts)
            for i in range(a):
                _moments(x[i, first:last], own_center, mean[i, p], square[i, p])
        for i in range(a):
            _put_together(mean[i], square[i], n, center[i], variance[i])
    for p in prange(parts):
        scale = np.empty(b, np.float32)
        (low, high), (first, last) = _share(p, parts, a, n, pieces)
        for i in range(low, high):
            if own_variance and pieces == 1:
                _moments(x[i], own_center, mean[i, 0], square[i, 0])
                _put_together(mean[i], square[i], n, center[i], variance[i])
            k = i if len(weight) > 1 else 0
            _inverse_root(variance[i], eps, scale)
            _scale(x[i], out[i], center[i], scale, weight[k], bias[k], first, last)


@loop
def _share(p, parts, a, n, pieces):
    """Part p of A with all of R; or, where R is in pieces, of R with all of A."""
    return (part(a, p, parts), (0, n)) if pieces == 1 else ((0, a), part(n, p, parts))


@loop
def _products(g, x, center, scale, weight, first, last, total, g_weight, g_bias):
    """Of rows first to last: the sums of ``g * weight`` and of ``g * weight * (x - center) * scale`` by column, into ``total``,
    (2, B); and what the weights get, which is added.
    """
    n, b = x.shape
    run, step, some = n // weight.size, min(max(RUN // b, 1), ROWS), np.empty((2, b), np.float32)
    total[:] = 0
    for start in range(first, last, step):
        stop = min(start + step, last)
        some[:] = 0
        for w in range(start // run, -(-stop // run)):
            sums, products, factor = f32(0), f32(0), weight[w]
            for r in range(max(start, w * run), min(stop, w * run + run)):
                for j in range(b):
                    product = g[r, j] * ((x[r, j] - center[j]) * scale[j])
                    sums += g[r, j]
                    products += product
                    some[0, j] += g[r, j] * factor
                    some[1, j] += product * factor
            g_bias[w] += sums
            g_weight[w] += products
        for i in range(2):
            for j in range(b):
                total[i, j] += some[i, j]


@loop
def _grad(g, x, out, center, scale, weight, shift, stretch, first, last):
    """Rows first to last of the gradient: ``g * weight``, and what would shift or stretch all of the column taken out."""
    run = len(x) // weight.size
    for w in range(first // run, -(-last // run)):
        factor = weight[w]
        for r in range(max(first, w * run), min(last, w * run + run)):
            for j in range(scale.size):
                out[r, j] = (g[r, j] * factor - shift[j] - (x[r, j] - center[j]) * stretch[j]) * scale[j]


@shared
def columns_grad(parts, g, x, out, weight, center, variance, eps, own_center, own_variance, g_weight, g_bias):
    """`normalise_grad` where B is not 1; ``g_weight`` and ``g_bias``, (parts, 1 or A, W), are added to."""
    a, n, b = x.shape
    pieces = parts if a < parts else 1
    totals = np.empty((a, pieces, 2, b))
    if pieces > 1:
        for p in prange(parts):
            scale = np.empty(b, np.float32)
            first, last = part(n, p, parts)
            for i in range(a):
                k = i if len(weight) > 1 else 0
                _inverse_root(variance[i], eps, scale)
                _products(g[i], x[i], center[i], scale, weight[k], first, last, totals[i, p], g_weight[p, k], g_bias[p, k])
    for p in prange(parts):
        scale, shift, stretch = np.empty(b, np.float32), np.empty(b, np.float32), np.empty(b, np.float32)
        (low, high), (first, last) = _share(p, parts, a, n, pieces)
        for i in range(low, high):
            k = i if len(weight) > 1 else 0
            _inverse_root(variance[i], eps, scale)
            if pieces == 1:
                _products(g[i], x[i], center[i], scale, weight[k], first, last, totals[i, 0], g_weight[p, k], g_bias[p, k])
            total = totals[i].sum(0)
            for j in range(b):
                shift[j] = total[0, j] / n if own_center else 0.0
                stretch[j] = total[1, j] / n * scale[j] if own_variance else 0.0
            _grad(g[i], x[i], out[i], center[i], scale, weight[k], shift, stretch, first, last)
