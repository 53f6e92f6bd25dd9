"""Normalisation of rows: numbers that are normalised together lie side by side. See `minidl.kernels.compiled.norm`."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .compile import loop, part, shared
from .mathematics import f32

u64 = np.uint64  # an index that is known not to count from the end

RUN = 1024  # numbers whose moments are taken together


@loop
def _row_sum(x, origin):
    """The sum of the distances from a number near them, which are small, and so is what rounding takes from them."""
    total = f32(0)
    for i in range(x.size):
        total += x[i] - origin
    return total


@loop
def _row_square(x, center):
    total = f32(0)
    for i in range(x.size):
        total += (x[i] - center) * (x[i] - center)
    return total


@loop
def _row_moments(x, own_center):
    """Mean and variance of a row; with the center 0 if it is not its own."""
    mean, square, n = 0.0, 0.0, 0
    for start in range(0, x.size, RUN):
        part = x[start : start + RUN]
        center = part[0] + _row_sum(part, part[0]) / f32(part.size) if own_center else f32(0)
        distance, more = center - mean, part.size
        square += _row_square(part, center) + distance * distance * n * more / (n + more)
        mean += distance * more / (n + more)
        n += more
    return f32(mean), f32(square / n)


@loop
def _scale(x, out, center, factor, shift):
    for r in range(x.size):
        out[r] = (x[r] - center) * factor + shift


@shared
def rows(parts, x, out, weight, bias, center, variance, eps, own_center, own_variance):
    """`normalise` where B is 1: x and out (A, R), weight and bias (1 or A, W), the others (A,)."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        width = weight.shape[1]
        run = x.shape[1] // width
        for a in range(first, last):
            if own_variance:
                center[a], variance[a] = _row_moments(x[a], own_center)
            c, scale, k = center[a], f32(1 / math.sqrt(variance[a] + eps)), a if len(weight) > 1 else 0
            if run == 1:
                for r in range(width):
                    out[a, r] = (x[a, r] - c) * scale * weight[k, r] + bias[k, r]
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    _scale(x[a, here], out[a, here], c, scale * weight[k, w], bias[k, w])


@loop
def _products(g, x, center):
    """The sums of g and of ``g * (x - center)``, however many."""
    total, product = 0.0, 0.0
    for start in range(0, g.size, RUN):
        some, other = f32(0), f32(0)
        for r in range(u64(start), u64(min(start + RUN, g.size))):
            some += g[r]
            other += g[r] * (x[r] - center)
        total += float(some)
        product += float(other)
    return total, product


@loop
def _weighted_products(g, x, center, scale, weight, g_weight, g_bias):
    """The same of ``g * weight``; and what each weight gets, which is added."""
    total, product = 0.0, 0.0
    for start in range(0, g.size, RUN):
        some, other = f32(0), f32(0)
        for r in range(u64(start), u64(min(start + RUN, g.size))):
            distance = g[r] * (x[r] - center)
            some += g[r] * weight[r]
            other += distance * weight[r]
            g_bias[r] += g[r]
            g_weight[r] += distance * scale
        total += float(some)
        product += float(other)
    return total, product


@loop
def _row_grad(g, x, out, weight, center, scale, shift, stretch):
    """``g * weight``, and what would shift or stretch all of the row taken out; times ``scale``."""
    if weight.size == 1:
        for r in range(g.size):
            out[r] = (g[r] * weight[0] - shift - (x[r] - center) * stretch) * scale
    else:
        for r in range(g.size):
            out[r] = (g[r] * weight[r] - shift - (x[r] - center) * stretch) * scale


@shared
def rows_grad(parts, g, x, out, weight, center, variance, eps, own_center, own_variance, g_weight, g_bias):
    """`normalise_grad` where B is 1; ``g_weight`` and ``g_bias``, (parts, 1 or A, W), are added to."""
    for p in prange(parts):
        first, last = part(len(x), p, parts)
        n, width = x.shape[1], weight.shape[1]
        run = n // width
        for a in range(first, last):
            c, scale, k = center[a], f32(1 / math.sqrt(variance[a] + eps)), a if len(weight) > 1 else 0
            total, product = 0.0, 0.0
            if run == 1:
                total, product = _weighted_products(g[a], x[a], c, scale, weight[k], g_weight[p, k], g_bias[p, k])
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    some, other = _products(g[a, here], x[a, here], c)
                    g_bias[p, k, w] += some
                    g_weight[p, k, w] += other * scale
                    total += some * weight[k, w]
                    product += other * weight[k, w]
            shift = f32(total / n) if own_center else f32(0)
            stretch = f32(product / n * scale * scale) if own_variance else f32(0)
            if run == 1:
                _row_grad(g[a], x[a], out[a], weight[k], c, scale, shift, stretch)
            else:
                for w in range(width):
                    here = slice(w * run, w * run + run)
                    _row_grad(g[a, here], x[a, here], out[a, here], weight[k, w : w + 1], c, scale, shift, stretch)
