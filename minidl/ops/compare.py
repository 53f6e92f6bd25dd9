"""Questions about numbers: the answers are bools or integers, and have no gradient."""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import xp


@differentiable(promotes="common")
def eq(input: Any, other: Any) -> Any:
    """``input == other``, element by element."""
    return xp(input).equal(input, other)


@differentiable(promotes="common")
def ne(input: Any, other: Any) -> Any:
    """``input != other``, element by element."""
    return xp(input).not_equal(input, other)


@differentiable(promotes="common")
def lt(input: Any, other: Any) -> Any:
    """``input < other``, element by element."""
    return xp(input).less(input, other)


@differentiable(promotes="common")
def le(input: Any, other: Any) -> Any:
    """``input <= other``, element by element."""
    return xp(input).less_equal(input, other)


@differentiable(promotes="common")
def gt(input: Any, other: Any) -> Any:
    """``input > other``, element by element."""
    return xp(input).greater(input, other)


@differentiable(promotes="common")
def ge(input: Any, other: Any) -> Any:
    """``input >= other``, element by element."""
    return xp(input).greater_equal(input, other)


@differentiable
def logical_and(input: Any, other: Any) -> Any:
    """Whether both are true (not 0)."""
    return xp(input).logical_and(input, other)


@differentiable
def logical_or(input: Any, other: Any) -> Any:
    """Whether at least one is true (not 0)."""
    return xp(input).logical_or(input, other)


@differentiable
def logical_xor(input: Any, other: Any) -> Any:
    """Whether just one is true (not 0)."""
    return xp(input).logical_xor(input, other)


@differentiable
def logical_not(input: Any) -> Any:
    """Whether it is false (0)."""
    return xp(input).logical_not(input)


def _whole(op: str, *operands: Any) -> None:
    for x in operands:
        if getattr(x, "dtype", None) is not None and x.dtype.kind == "f":
            raise TypeError(f"{op}: works on bool and integer tensors, got {x.dtype}")


@differentiable(promotes="common")
def bitwise_and(input: Any, other: Any) -> Any:
    """``input & other``, for bools and integers."""
    _whole("bitwise_and", input, other)
    return input & other


@differentiable(promotes="common")
def bitwise_or(input: Any, other: Any) -> Any:
    """``input | other``, for bools and integers."""
    _whole("bitwise_or", input, other)
    return input | other


@differentiable(promotes="common")
def bitwise_xor(input: Any, other: Any) -> Any:
    """``input ^ other``, for bools and integers."""
    _whole("bitwise_xor", input, other)
    return input ^ other


@differentiable
def bitwise_not(input: Any) -> Any:
    """``~input``, for bools and integers."""
    _whole("bitwise_not", input)
    return ~input


@differentiable
def isnan(input: Any) -> Any:
    """Whether it is NaN."""
    return xp(input).isnan(input)


@differentiable
def isinf(input: Any) -> Any:
    """Whether it is infinite."""
    return xp(input).isinf(input)


@differentiable
def isfinite(input: Any) -> Any:
    """Whether it is neither infinite nor NaN."""
    return xp(input).isfinite(input)


@differentiable
def isclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """``|input - other| <= atol + rtol * |other|``, element by element."""
    return xp(input).isclose(input, other, rtol, atol, equal_nan)


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close in the sense of `isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Any, other: Any) -> bool:
    """Whether both have the same shape and equal elements."""
    if not hasattr(other, "shape"):
        raise TypeError(f"equal: the argument 'other' must be a Tensor or an array, got {type(other).__name__}")
    return tuple(input.shape) == tuple(other.shape) and bool(eq(input, other).all())
