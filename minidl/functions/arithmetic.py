"""Functions of numbers that are put together of others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import dtypes
from ..autograd import differentiable
from ..autograd.op import cast
from ..backend import xp
from ..dtypes import check_floating
from ..ops import elementwise
from ..ops.compare import isnan
from ..ops.elementwise import clamp, erf, log, logaddexp, pow, sin, trunc, where
from ..ops.layout import broadcast_tensors, copy
from ..shapes import ShapeError
from .deviation import norm
from .joining import stack

if TYPE_CHECKING:
    from .._tensor import Tensor


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input + alpha * other``."""
    return elementwise.add(input, _times("add: alpha", alpha, input, other))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """``input - alpha * other``."""
    return elementwise.sub(input, _times("sub: alpha", alpha, input, other))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    input, tensor1, tensor2 = _promoted(input, tensor1, tensor2, floating=False)
    return elementwise.add(input, _times("addcmul: value", value, input, tensor1 * tensor2))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    input, tensor1, tensor2 = _promoted(input, tensor1, tensor2)
    return elementwise.add(input, _times("addcdiv: value", value, input, tensor1 / tensor2))


def _times(what: str, alpha: Any, input: Any, other: Any) -> Any:
    """``other`` so many times."""
    if alpha == 1:
        return other
    if isinstance(alpha, float) and dtypes.result_type(*(getattr(x, "_array", x) for x in (input, other))).category < 2:
        raise TypeError(f"{what} must be an integer where the tensors hold integers, got {alpha}")
    return other * alpha


def square(input: Any) -> Tensor:
    """``input ** 2``."""
    return input * input if input.dtype != bool else pow(input, 2)


def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """``input + weight * (end - input)``, computed from whichever is nearer, so that a weight of 1 gives just ``end``."""
    check_floating("lerp", input, end)
    near = abs(weight) < 0.5
    if isinstance(weight, (int, float)):
        return input + weight * (end - input) if near else end + (weight - 1) * (end - input)
    return where(near, input + weight * (end - input), end + (weight - 1) * (end - input))


def frac(input: Any) -> Tensor:
    """The fraction that `trunc` leaves out."""
    check_floating("frac", input)
    return input - trunc(input)


def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """``value`` where ``mask`` is true, ``input`` elsewhere, in ``input``'s dtype."""
    if getattr(mask, "dtype", None) != bool:
        raise TypeError(f"masked_fill: mask must be a bool tensor, got {getattr(mask, 'dtype', type(mask).__name__)}")
    if getattr(value, "ndim", 0):
        raise ShapeError(f"masked_fill: value must be a number or a tensor without dimensions, got shape {value.shape}")
    out = where(mask, value, input)
    return out if out.dtype == input.dtype else out.to(input.dtype)


def nan_to_num(input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """``input`` with NaN replaced by ``nan``, and infinities by ``posinf`` and ``neginf`` or the largest finite numbers."""
    dtype = dtypes.as_dtype(input.dtype)
    if not dtype.is_floating_point:
        return copy(input)
    limits = dtypes.finfo(dtype)
    out = where(input != input, nan, input)
    out = where(input == math.inf, float(limits.max) if posinf is None else posinf, out)
    return where(input == -math.inf, float(limits.min) if neginf is None else neginf, out)


def _promoted(*numbers: Any, floating: bool = True) -> list[Any]:
    """Tensors in their common (floating) dtype; Python numbers as they are."""
    common = dtypes.result_type(*(getattr(x, "_array", x) for x in numbers))
    wanted = (common if common.is_floating_point or not floating else dtypes.get_default_dtype()).dtype
    return [x if isinstance(x, (int, float)) or x.dtype == wanted else cast(x, wanted) for x in numbers]


# -- bounds


def clamp_min(input: Any, min: Any) -> Tensor:
    """`clamp` from below."""
    return clamp(input, min)


def clamp_max(input: Any, max: Any) -> Tensor:
    """`clamp` from above."""
    return clamp(input, None, max)


def fmax(input: Any, other: Any) -> Tensor:
    """The larger of the two, where `maximum` gives NaN the one that is a number; equal inputs: all gradient to ``input``."""
    return where((input >= other) | isnan(other), input, other)


def fmin(input: Any, other: Any) -> Tensor:
    """The smaller of the two, where `minimum` gives NaN the one that is a number; equal inputs: all gradient to ``input``."""
    return where((input <= other) | isnan(other), input, other)


# -- signs and steps


@differentiable
def signbit(input: Any) -> Tensor:
    """Whether the sign is a minus, also that of -0.0."""
    return xp(input).signbit(input) if input.dtype.kind == "f" else input < 0


def copysign(input: Any, other: Any) -> Tensor:
    """The size of ``input`` with the sign of ``other``; the slope at 0 is 0."""
    input, other = _promoted(input, other)
    size = abs(input)
    if isinstance(other, (int, float)):
        return -size if math.copysign(1, other) < 0 else size
    return where(signbit(other), -size, size)


@differentiable
def heaviside(input: Any, values: Any) -> Tensor:
    """0 below 0 and at NaN, ``values`` at 0, 1 above; it has no gradient, as in PyTorch."""
    if input.dtype != getattr(values, "dtype", None):
        raise RuntimeError(f"heaviside: values must be a tensor of {input.dtype}, got {getattr(values, 'dtype', type(values))}")
    return xp(input).where(input == 0, values, (input > 0).astype(input.dtype))


@differentiable
def isposinf(input: Any) -> Tensor:
    """Whether it is positive infinity."""
    return input == math.inf


@differentiable
def isneginf(input: Any) -> Tensor:
    """Whether it is negative infinity."""
    return input == -math.inf


def positive(input: Any) -> Tensor:
    """``+input``: itself. Bools are refused."""
    return +input


# -- powers, logarithms, angles


def float_power(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent`` in float64."""
    wide = [x if isinstance(x, (int, float)) else cast(x, dtypes.float64.dtype) for x in (input, exponent)]
    return pow(*wide)


def ldexp(input: Any, other: Any) -> Tensor:
    """``input * 2 ** other``."""
    input, other = _promoted(input, other)
    return input * pow(2.0, other)


def xlogy(input: Any, other: Any) -> Tensor:
    """``input * log(other)``, and 0 where ``input`` is 0, unless ``other`` is NaN there."""
    if isinstance(input, (int, float)) and isinstance(other, (int, float)):
        raise TypeError("xlogy: wants a tensor as input or other, got two numbers")
    input, other = _promoted(input, other)
    none = (input == 0) & (other == other)
    return where(none, 0.0, input) * log(where(none, 1.0, other))


def logaddexp2(input: Any, other: Any) -> Tensor:
    """``log2(2 ** input + 2 ** other)`` without overflow."""
    check_floating("logaddexp2", input, other)
    input, other = _promoted(input, other)
    return logaddexp(input * math.log(2), other * math.log(2)) / math.log(2)


def hypot(input: Any, other: Any) -> Tensor:
    """The length of the hypotenuse, ``sqrt(input ** 2 + other ** 2)``."""
    check_floating("hypot", input, other)
    return norm(stack(broadcast_tensors(*_promoted(input, other))), 2, 0)


def logit(input: Any, eps: float | None = None) -> Tensor:
    """The inverse of `sigmoid`, ``log(x / (1 - x))``; with ``eps``, of ``input`` held between ``eps`` and ``1 - eps``."""
    x = input if eps is None else clamp(input, eps, 1 - eps)
    return log(x) - log(1 - x)


def sinc(input: Any) -> Tensor:
    """``sin(pi x) / (pi x)``, and 1 at 0."""
    zero = input == 0
    x = math.pi * where(zero, 1.0, input)
    return where(zero, 1.0, sin(x) / x)


def erfc(input: Any) -> Tensor:
    """``1 - erf(input)``; where that is tiny it has few correct digits."""
    return 1 - erf(input)


def deg2rad(input: Any) -> Tensor:
    """An angle in degrees as one in radians."""
    return input * (math.pi / 180)


def rad2deg(input: Any) -> Tensor:
    """An angle in radians as one in degrees."""
    return input * (180 / math.pi)
