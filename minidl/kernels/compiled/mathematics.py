"""Functions of one float32, in sums and products alone, so that a compiler can make eight or sixteen of them at once.

The C library's functions, which `math` calls, work on one number at a time. These here are right to the last bit or two.
"""

from __future__ import annotations

import numpy as np

from .compile import inline

f32, i32 = np.float32, np.int32


@inline
def bits(x):
    """The bits of a float32 as a whole number."""
    return f32(x).view(i32)


@inline
def number(bits):
    """The float32 that has these bits."""
    return i32(bits).view(f32)


@inline
def power_of_two(n):
    """``2 ** n`` for a whole number from -126 to 127, made of its bits."""
    return number(i32(n + i32(127)) << i32(23))


@inline
def reduced(x):
    """``n`` and ``exp(r) - 1`` for ``x = n * log(2) + r`` with a small ``r``; by Cephes, expf.c (S. L. Moshier, 1989)."""
    x = f32(-104) if x < f32(-104) else (f32(89) if x > f32(89) else x)  # beyond, the result is 0 or infinity; NaN stays
    n = np.floor(x * f32(1.44269504088896341) + f32(0.5))
    r = x - n * f32(0.693359375) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    return i32(n), p * r * r + r


@inline
def exp(x):
    """``e ** x``, in two steps, for half of the exponent is a float32 where the whole is not."""
    n, rest = reduced(x)
    half = i32(n >> i32(1))
    return (rest + f32(1)) * power_of_two(half) * power_of_two(i32(n - half))


@inline
def expm1(x):
    """``exp(x) - 1``."""
    n, rest = reduced(x)
    half = i32(n >> i32(1))
    scale, more, less = power_of_two(half), power_of_two(i32(n - half)), power_of_two(i32(half - n))
    return (rest * scale + (scale - less)) * more


@inline
def in_order(b):
    """The bits of a float32 to a whole number that grows as it does, and back again; NaN is above infinity."""
    return i32(b ^ i32(i32(b >> i32(31)) & i32(0x7FFFFFFF)))


@inline
def tanh(x):
    """``(exp(2 * x) - 1) / (exp(2 * x) + 1)``; beyond 10 it is 1."""
    x = f32(-10) if x < f32(-10) else (f32(10) if x > f32(10) else x)
    e = expm1(x + x)
    return e / (e + f32(2))


@inline
def log(x):
    """The natural logarithm; by Cephes, logf.c."""
    tiny = x < f32(1.17549435e-38)  # without a leading 1 among its bits
    b = bits(x * (f32(8388608) if tiny else f32(1)))
    n = f32(i32(i32(b >> i32(23)) - i32(126))) - (f32(23) if tiny else f32(0))
    half = number(i32(b & i32(0x007FFFFF)) | i32(0x3F000000))  # from 1/2 to 1
    low = half < f32(0.707106781186547524)
    n = n - (f32(1) if low else f32(0))
    m = half + (half if low else f32(0)) - f32(1)
    s = m * m
    p = f32(7.0376836292e-2)
    p = p * m + f32(-1.1514610310e-1)
    p = p * m + f32(1.1676998740e-1)
    p = p * m + f32(-1.2420140846e-1)
    p = p * m + f32(1.4249322787e-1)
    p = p * m + f32(-1.6668057665e-1)
    p = p * m + f32(2.0000714765e-1)
    p = p * m + f32(-2.4999993993e-1)
    p = p * m + f32(3.3333331174e-1)
    y = p * m * s + n * f32(-2.12194440e-4) - f32(0.5) * s + m + n * f32(0.693359375)
    y = f32(-np.inf) if x == f32(0) else (f32(np.nan) if x < f32(0) else y)
    return x if x == f32(np.inf) or x != x else y


@inline
def log1p(x):
    """``log(1 + x)``: what is lost in the sum is made good by a quotient (W. Kahan)."""
    u = f32(1) + x
    small = u == f32(1)
    y = log(u) * (x / (f32(1) if small else u - f32(1)))
    return x if small or x == f32(np.inf) else y


@inline
def erf(x):
    """A ratio of polynomials, fitted up to 4, where it is 1; as in Eigen, MathFunctionsImpl.h."""
    x = f32(-4) if x < f32(-4) else (f32(4) if x > f32(4) else x)
    s = x * x
    p = f32(-2.72614225801306e-10)
    p = p * s + f32(2.77068142495902e-08)
    p = p * s + f32(-2.10102402082508e-06)
    p = p * s + f32(-5.69250639462346e-05)
    p = p * s + f32(-7.34990630326855e-04)
    p = p * s + f32(-2.95459980854025e-03)
    p = p * s + f32(-1.60960333262415e-02)
    q = f32(-1.45660718464996e-05)
    q = q * s + f32(-2.13374055278905e-04)
    q = q * s + f32(-1.68282697438203e-03)
    q = q * s + f32(-7.37332916720468e-03)
    q = q * s + f32(-1.42647390514189e-02)
    return x * p / q


@inline
def less(x, a, b):
    """``x - a - b`` in this order: ``a + b`` may have lost what ``x - a`` still has."""
    return (x - a) - b


@inline
def maximum(a, b):
    """The larger; NaN if one of them is."""
    return a if a > b or a != a else b


@inline
def minimum(a, b):
    """The smaller; NaN if one of them is."""
    return a if a < b or a != a else b
