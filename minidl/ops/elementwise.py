"""Functions of one, two or three numbers, applied element by element, with broadcasting.

Where a function has a kink the rule follows PyTorch: ``abs`` and ``relu`` have slope 0 at 0, ``clamp`` passes the gradient
at its bounds, ``maximum`` and ``minimum`` share it equally between equal inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import differentiable
from ..backend import kernels, xp
from .blocks import blocked
from .index import nonzero

# -- arithmetic


def _library(input: Any, other: Any) -> Any:
    """The namespace of the one that is an array."""
    return xp(input if hasattr(input, "dtype") else other)


def _check_divisor(op: str, input: Any, other: Any) -> None:
    """Integers have no infinity to say that they were divided by zero."""
    if _library(input, other).result_type(input, other).kind in "iu" and not xp(other).all(other):
        raise ZeroDivisionError(f"{op}: other holds a 0, and integers cannot be divided by it")


def _check_numbers(op: str, *operands: Any) -> None:
    """Refuse bools among bools, for which NumPy would make up a dtype."""
    if all(getattr(x, "dtype", type(x)) == bool for x in operands):
        raise TypeError(f"{op}: bools have no {op}; convert one with .to(int)")


@differentiable(promotes="common")
def add(input: Any, other: Any) -> Any:
    """``input + other``."""
    return input + other


@differentiable(promotes="common")
def sub(input: Any, other: Any) -> Any:
    """``input - other``."""
    if getattr(input, "dtype", None) == bool and getattr(other, "dtype", None) == bool:
        raise TypeError("sub: two bool tensors cannot be subtracted; use logical_xor, or convert one with .to(int)")
    return input - other


@differentiable(promotes="common")
def mul(input: Any, other: Any) -> Any:
    """``input * other``."""
    return input * other


@differentiable(promotes="float")
def _true_div(input: Any, other: Any) -> Any:
    return xp(input).true_divide(input, other)


@differentiable(promotes="common")
def floor_divide(input: Any, other: Any) -> Any:
    """``floor(input / other)``."""
    _check_numbers("floor_divide", input, other)
    _check_divisor("floor_divide", input, other)
    return input // other


@differentiable(promotes="common")
def _trunc_divide(input: Any, other: Any) -> Any:
    m = _library(input, other)
    if m.result_type(input, other).kind == "f":
        return m.trunc(input / other)
    _check_divisor("div", input, other)
    return (input - m.fmod(input, other)) // other  # exact, where a quotient of floats would be rounded


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """``input / other``; integers give floats unless ``rounding_mode`` is ``"floor"`` or ``"trunc"``."""
    if rounding_mode is None:
        return _true_div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return _trunc_divide(input, other)
    raise ValueError(f"div: rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")


@differentiable(promotes="common")
def remainder(input: Any, other: Any) -> Any:
    """``input - other * floor(input / other)``: the sign is ``other``'s, as Python's ``%``."""
    _check_numbers("remainder", input, other)
    _check_divisor("remainder", input, other)
    return input % other


@differentiable(promotes="common")
def fmod(input: Any, other: Any) -> Any:
    """``input - other * trunc(input / other)``: the sign is ``input``'s, as C's ``fmod``."""
    _check_numbers("fmod", input, other)
    _check_divisor("fmod", input, other)
    return xp(input).fmod(input, other)


@differentiable(promotes="common")
def pow(input: Any, exponent: Any) -> Any:
    """``input ** exponent``."""
    _check_numbers("pow", input, exponent)
    return input**exponent


def _pow_rule(g: Any, input: Any, exponent: Any) -> Any:
    if isinstance(exponent, (int, float)):
        return g * exponent * input ** (exponent - 1) if exponent != 0 else _no_slope(g)
    flat = (exponent == 0) & (input == 0)  # 0 ** 0, where 0 times infinity would have no value
    return g * where(flat, 0.0, exponent * input ** where(flat, 1.0, exponent - 1))


def _pow_exponent_rule(g: Any, out: Any, input: Any, exponent: Any) -> Any:
    if isinstance(input, (int, float)) and input > 0:
        return g * out * math.log(input)
    flat = _is_flat(input, exponent)  # 0 ** y is flat at 0 for y >= 0, where log(0) has no value
    return g * where(flat, 0.0, out * log(where(flat, 1.0, input)))


def _is_flat(input: Any, exponent: Any) -> Any:
    """Where ``input ** exponent`` is 0 or 1 because ``input`` is 0."""
    return (input == 0) & (exponent >= 0)


@differentiable
def neg(input: Any) -> Any:
    """``-input``."""
    return -input


def _no_slope(g: Any) -> Any:
    """Zeros, also where ``g`` is infinite or NaN."""
    return where(g < -math.inf, g, 0.0)  # which nothing is


add.vjp(input=lambda g: g, other=lambda g: g)
sub.vjp(input=lambda g: g, other=lambda g: -g)
mul.vjp(input=lambda g, other: g * other, other=lambda g, input: g * input)
_true_div.op.name = "div"
_true_div.vjp(input=lambda g, other: g / other, other=lambda g, out, other: -g * out / other)
floor_divide.vjp(input=_no_slope, other=_no_slope)
_trunc_divide.op.name = "div"
_trunc_divide.vjp(input=_no_slope, other=_no_slope)
pow.vjp(input=_pow_rule, exponent=_pow_exponent_rule)
neg.vjp(input=lambda g: -g)


# -- exponentials, logarithms, roots


@differentiable(promotes="float")
def exp(input: Any) -> Any:
    """``e ** input``."""
    return xp(input).exp(input)


@differentiable(promotes="float")
def exp2(input: Any) -> Any:
    """``2 ** input``."""
    return xp(input).exp2(input)


@differentiable(promotes="float")
def expm1(input: Any) -> Any:
    """``exp(input) - 1``, exact near 0."""
    return xp(input).expm1(input)


@differentiable(promotes="float")
def log(input: Any) -> Any:
    """The natural logarithm."""
    return xp(input).log(input)


@differentiable(promotes="float")
def log2(input: Any) -> Any:
    """The logarithm to base 2."""
    return xp(input).log2(input)


@differentiable(promotes="float")
def log10(input: Any) -> Any:
    """The logarithm to base 10."""
    return xp(input).log10(input)


@differentiable(promotes="float")
def log1p(input: Any) -> Any:
    """``log(1 + input)``, exact near 0."""
    return xp(input).log1p(input)


@differentiable(promotes="float")
def logaddexp(input: Any, other: Any) -> Any:
    """``log(exp(input) + exp(other))`` without overflow."""
    return xp(input).logaddexp(input, other)


@differentiable(promotes="float")
def sqrt(input: Any) -> Any:
    """The square root; its slope at 0 is infinite."""
    return xp(input).sqrt(input)


@differentiable(promotes="float")
def rsqrt(input: Any) -> Any:
    """``1 / sqrt(input)``."""
    return 1 / xp(input).sqrt(input)


@differentiable(promotes="float")
def reciprocal(input: Any) -> Any:
    """``1 / input``."""
    return 1 / input


exp.vjp(input=lambda g, out: g * out)
exp2.vjp(input=lambda g, out: g * out * math.log(2))
expm1.vjp(input=lambda g, out: g * (out + 1))
log.vjp(input=lambda g, input: g / input)
log2.vjp(input=lambda g, input: g / (input * math.log(2)))
log10.vjp(input=lambda g, input: g / (input * math.log(10)))
log1p.vjp(input=lambda g, input: g / (input + 1))
logaddexp.vjp(input=lambda g, input, out: g * exp(input - out), other=lambda g, other, out: g * exp(other - out))
sqrt.vjp(input=lambda g, out: g / (2 * out))
rsqrt.vjp(input=lambda g, out: -0.5 * g * out * out * out)
reciprocal.vjp(input=lambda g, out: -g * out * out)


# -- trigonometric and hyperbolic


@differentiable(promotes="float")
def sin(input: Any) -> Any:
    """The sine of an angle in radians."""
    return xp(input).sin(input)


@differentiable(promotes="float")
def cos(input: Any) -> Any:
    """The cosine of an angle in radians."""
    return xp(input).cos(input)


@differentiable(promotes="float")
def tan(input: Any) -> Any:
    """The tangent of an angle in radians."""
    return xp(input).tan(input)


@differentiable(promotes="float")
def asin(input: Any) -> Any:
    """The angle in radians whose sine is ``input``."""
    return xp(input).arcsin(input)


@differentiable(promotes="float")
def acos(input: Any) -> Any:
    """The angle in radians whose cosine is ``input``."""
    return xp(input).arccos(input)


@differentiable(promotes="float")
def atan(input: Any) -> Any:
    """The angle in radians whose tangent is ``input``."""
    return xp(input).arctan(input)


@differentiable(promotes="float")
def atan2(input: Any, other: Any) -> Any:
    """The angle in radians of the point (``other``, ``input``), in all four quadrants."""
    return xp(input).arctan2(input, other)


def _distance2(y: Any, x: Any) -> Any:
    """The squared distance from the origin; 1 at the origin, so that the slopes there are 0."""
    both = x * x + y * y
    return where(both == 0, 1.0, both)


@differentiable(promotes="float")
def sinh(input: Any) -> Any:
    """The hyperbolic sine."""
    return xp(input).sinh(input)


@differentiable(promotes="float")
def cosh(input: Any) -> Any:
    """The hyperbolic cosine."""
    return xp(input).cosh(input)


@differentiable(promotes="float")
def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return xp(input).tanh(input)


@differentiable(promotes="float")
def asinh(input: Any) -> Any:
    """The inverse of `sinh`."""
    return xp(input).arcsinh(input)


@differentiable(promotes="float")
def acosh(input: Any) -> Any:
    """The inverse of `cosh`, for inputs of at least 1."""
    return xp(input).arccosh(input)


@differentiable(promotes="float")
def atanh(input: Any) -> Any:
    """The inverse of `tanh`, for inputs between -1 and 1."""
    return xp(input).arctanh(input)


sin.vjp(input=lambda g, input: g * cos(input))
cos.vjp(input=lambda g, input: -g * sin(input))
tan.vjp(input=lambda g, out: g * (1 + out * out))
asin.vjp(input=lambda g, input: g * rsqrt(1 - input * input))
acos.vjp(input=lambda g, input: -g * rsqrt(1 - input * input))
atan.vjp(input=lambda g, input: g / (1 + input * input))
atan2.vjp(
    input=lambda g, input, other: g * other / _distance2(input, other),
    other=lambda g, input, other: -g * input / _distance2(input, other),
)
sinh.vjp(input=lambda g, input: g * cosh(input))
cosh.vjp(input=lambda g, input: g * sinh(input))
tanh.vjp(input=lambda g, out: g * (1 - out * out))
asinh.vjp(input=lambda g, input: g * rsqrt(input * input + 1))
acosh.vjp(input=lambda g, input: g * rsqrt(input * input - 1))
atanh.vjp(input=lambda g, input: g / (1 - input * input))


# -- S-curves and rectifiers


@differentiable(promotes="float")
@blocked
def sigmoid(input: Any) -> Any:
    """``1 / (1 + exp(-input))``. Where the exponential overflows the result is 0, as it should be."""
    with np.errstate(over="ignore"):
        return 1 / (1 + xp(input).exp(-input))


@differentiable(promotes="float")
def erf(input: Any) -> Any:
    """``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to ``input``."""
    return kernels(input).erf(input)


@differentiable
def relu(input: Any) -> Any:
    """``max(input, 0)``, with slope 0 at 0."""
    if getattr(input, "dtype", None) == bool:
        raise TypeError("relu: wants numbers, got bool")
    return kernels(input).relu(input)


@differentiable
def _relu_grad(g_out: Any, out: Any) -> Any:
    return kernels(g_out).relu_grad(g_out, out)


sigmoid.vjp(input=lambda g, out: g * out * (1 - out))
erf.vjp(input=lambda g, input: g * (2 / math.sqrt(math.pi)) * exp(-input * input))
relu.vjp(input=lambda g, out: _relu_grad(g, out))
_relu_grad.op.name = "relu_grad"
_relu_grad.vjp(g_out=lambda g, out: _relu_grad(g, out))


# -- sizes and steps


@differentiable
def abs(input: Any) -> Any:
    """The absolute value, with slope 0 at 0."""
    _check_numbers("abs", input)
    return xp(input).abs(input)


@differentiable
def sign(input: Any) -> Any:
    """-1, 0 (also of NaN) or 1; its slope is 0."""
    m = xp(input)
    return input if m.asarray(input).dtype == bool else m.where(input != input, 0, m.sign(input))


def _has_fractions(input: Any) -> bool:
    return bool(xp(input).result_type(input).kind == "f")  # of whole numbers NumPy 2.0 would make floats


@differentiable
def floor(input: Any) -> Any:
    """The largest whole number that is not above ``input``; its slope is 0."""
    _check_numbers("floor", input)
    return xp(input).floor(input) if _has_fractions(input) else +input


@differentiable
def ceil(input: Any) -> Any:
    """The smallest whole number that is not below ``input``; its slope is 0."""
    _check_numbers("ceil", input)
    return xp(input).ceil(input) if _has_fractions(input) else +input


@differentiable
def trunc(input: Any) -> Any:
    """``input`` without its fraction; its slope is 0."""
    _check_numbers("trunc", input)
    return xp(input).trunc(input) if _has_fractions(input) else +input


@differentiable
def round(input: Any, decimals: int = 0) -> Any:
    """The nearest number with ``decimals`` places, halves to the even one; its slope is 0."""
    _check_numbers("round", input)
    if decimals and input.dtype.kind != "f":
        raise TypeError(f"round: decimals are for floating tensors, got {input.dtype}")
    return xp(input).round(input, decimals)


@differentiable(promotes="common")
def maximum(input: Any, other: Any) -> Any:
    """The larger of the two; equal inputs share the gradient equally."""
    return xp(input).maximum(input, other)


@differentiable(promotes="common")
def minimum(input: Any, other: Any) -> Any:
    """The smaller of the two; equal inputs share the gradient equally."""
    return xp(input).minimum(input, other)


def _won(g: Any, lost: Any, even: Any) -> Any:
    """0 where ``lost``, half of ``g`` where ``even``, ``g`` elsewhere. No product: ``inf * 0`` would be NaN."""
    return where(lost, 0.0, where(even, 0.5 * g, g))


@differentiable
def _clamp(input: Any, min: Any, max: Any) -> Any:
    return xp(input).clip(input, min, max)


def _inside(input: Any, min: Any, max: Any) -> Any:
    """Where ``input`` lies between the bounds, of which one may be None."""
    if min is None:
        return input <= max
    return input >= min if max is None else (input >= min) & (input <= max)


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """``input`` held between ``min`` and ``max`` (numbers or tensors, or None for no bound).

    Raises
    ------
    ValueError
        If neither bound is given.
    """
    if min is None and max is None:
        raise ValueError("clamp: wants min, max or both")
    exact = (int, float) if getattr(input, "_array", input).dtype.kind == "f" else int  # a float bound makes integers floats
    if all(bound is None or isinstance(bound, exact) for bound in (min, max)):
        return _clamp(input, min, max)
    out = input if min is None else where((input < min) | (min != min), min, input)  # a bound that is NaN makes NaN
    return out if max is None else where((out > max) | (max != max), max, out)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where ``condition`` is true, ``other`` elsewhere; with ``condition`` alone, where that is: see `nonzero`."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return _where(condition, input, other)


@differentiable(promotes="common")
def _where(condition: Any, input: Any, other: Any) -> Any:
    if getattr(condition, "dtype", bool) != bool:
        raise TypeError(f"where: condition must be a bool tensor, got {condition.dtype}; write condition != 0")
    condition = condition if hasattr(condition, "dtype") else xp(input).full((), condition)  # CuPy takes no bool of Python's
    return xp(condition).where(condition, input, other)


abs.vjp(input=lambda g, input: g * sign(input))
sign.vjp(input=_no_slope)
floor.vjp(input=_no_slope)
ceil.vjp(input=_no_slope)
trunc.vjp(input=_no_slope)
remainder.vjp(input=lambda g: g, other=lambda g, input, other: -g * floor(input / other))
fmod.vjp(input=lambda g: g, other=lambda g, input, other: -g * trunc(input / other))
round.vjp(input=_no_slope)
maximum.vjp(
    input=lambda g, input, other: _won(g, input < other, input == other),
    other=lambda g, input, other: _won(g, other < input, input == other),
)
minimum.vjp(
    input=lambda g, input, other: _won(g, input > other, input == other),
    other=lambda g, input, other: _won(g, other > input, input == other),
)
_clamp.op.name = "clamp"
_clamp.vjp(input=lambda g, input, min, max: where(_inside(input, min, max), g, 0.0))
_where.op.name = "where"
_where.vjp(input=lambda g, condition: _where(condition, g, 0.0), other=lambda g, condition: _where(condition, 0.0, g))
