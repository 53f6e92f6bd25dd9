"""How far numbers lie from their mean, and vectors from the origin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd.op import numpy_names
from ..dtypes import check_floating
from ..ops.elementwise import abs, where
from ..ops.reduce import _count, _norm2, _norm_p, _root, amax, amin, mean, sum

if TYPE_CHECKING:
    from .._tensor import Tensor


@numpy_names
def var(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1) -> Tensor:
    """The variance over ``dim``: squared distances from the mean, over their count less ``correction``.

    ``correction=1`` (the default, and ``unbiased=True``) is the estimate from a sample, ``correction=0`` the variance of
    what is there. ``var(input, unbiased)`` is that of all elements.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction != 1:
            raise TypeError(f"var: got both unbiased={unbiased} and correction={correction}")
        correction = int(unbiased)
    distance = input - mean(input, dim, True)
    n = _count(input.shape, dim, "var") - correction
    total = sum(distance * distance, dim, keepdim)
    return total / n if n > 0 else total * math.inf


@numpy_names
def std(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1) -> Tensor:
    """The standard deviation over ``dim``, the square root of `var`; where it is 0 so is its gradient, as in PyTorch."""
    return _root(var(input, dim, unbiased, keepdim, correction=correction))


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
) -> tuple[Any, Any]:
    """`var` and `mean` together."""
    variance = var(input, dim, unbiased, keepdim, correction=correction)
    return variance, mean(input, None if isinstance(dim, bool) else dim, keepdim)


def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The p-norm ``sum(|input| ** p) ** (1 / p)`` over ``dim``; ``p`` may be ``"fro"`` (2), 0, inf or -inf.

    At a zero vector the gradient is 0 (PyTorch's choice among the subgradients).
    """
    input = input if dtype is None else input.to(dtype)
    check_floating("norm", input)
    p = 2 if p in ("fro", None) else p
    if isinstance(p, str):
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    if p == math.inf:
        return amax(abs(input), dim, keepdim)
    if p == -math.inf:
        return amin(abs(input), dim, keepdim)
    if p == 0:
        return sum(where(input != 0, 1.0, 0.0 * input), dim, keepdim)
    if p == 1:
        return sum(abs(input), dim, keepdim)
    if p == 2:
        return _norm2(input, dim, keepdim)
    return _norm_p(input, p, dim, keepdim)
