"""Statistics: moments, quantiles, running extremes, histograms, and what they are without NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd import differentiable
from ..autograd.op import numpy_names
from ..backend import xp
from ..dtypes import as_dtype, check_floating
from ..ops.compare import isnan, logical_xor
from ..ops.elementwise import clamp, logaddexp, sqrt, where
from ..ops.layout import cat, diagonal, narrow, reshape, transpose, unsqueeze, zeros_for
from ..ops.linear import matmul
from ..ops.reduce import _root, mean, sum
from ..shapes import ShapeError, wrap_dim
from .deviation import norm, std
from .products import _check_same_dtype
from .shaping import squeeze

if TYPE_CHECKING:
    from .._tensor import Tensor


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float = 1
) -> tuple[Any, Any]:
    """`std` and `mean` together."""
    spread = std(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, None if isinstance(dim, bool) else dim, keepdim)


# -- without NaN


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over ``dim``, NaN counting as 0."""
    if as_dtype(input.dtype).is_floating_point:
        input = where(isnan(input), 0.0, input)
    return sum(input, dim, keepdim, dtype)


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over ``dim`` of all that is not NaN."""
    check_floating("nanmean", input)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / sum(input == input, dim, keepdim, total.dtype)


# -- running


@numpy_names
def logcumsumexp(input: Any, dim: int) -> Tensor:
    """``log(cumsum(exp(input)))`` along ``dim``, without overflow: the largest element so far is taken out of each sum."""
    check_floating("logcumsumexp", input)
    flat = input if len(input.shape) else reshape(input, (1,))
    dim = wrap_dim(dim, len(input.shape), "logcumsumexp")
    if flat.shape[dim] == 0:
        return flat * 1
    total = narrow(flat, dim, 0, 1)
    totals = [total]
    for i in range(1, flat.shape[dim]):
        total = logaddexp(total, narrow(flat, dim, i, 1))
        totals.append(total)
    return reshape(cat(totals, dim), tuple(input.shape))


@numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """The differences of neighbours along ``dim``, taken ``n`` times; ``prepend`` and ``append`` are joined on before."""
    if not len(input.shape):
        raise ShapeError("diff: wants at least 1 dimension")
    if n < 0:
        raise ValueError(f"diff: n must not be negative, got {n}")
    dim = wrap_dim(dim, len(input.shape), "diff")
    parts = [x for x in (prepend, input, append) if x is not None]
    if n == 0:
        return input
    input = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, input.shape[dim])):
        length = max(input.shape[dim] - 1, 0)
        later, earlier = narrow(input, dim, min(1, input.shape[dim]), length), narrow(input, dim, 0, length)
        input = logical_xor(later, earlier) if input.dtype == bool else later - earlier
    return input


@numpy_names
def trapezoid(y: Any, x: Any = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The area under a curve along ``dim`` by the trapezoidal rule: at places ``x``, or ``dx`` apart."""
    dim = wrap_dim(dim, len(y.shape), "trapezoid")
    n = y.shape[dim]
    if n == 0:
        return sum(y * 1.0, dim)
    width: Any = dx
    if x is not None:
        width = diff(x) if len(x.shape) == 1 else diff(x, dim=dim)
        width = reshape(width, (-1,) + (1,) * (len(y.shape) - 1 - dim)) if len(x.shape) == 1 else width
    heights = narrow(y, dim, 0, n - 1) + narrow(y, dim, 1, n - 1)
    return sum(heights * width, dim) / 2


# -- of tables: a variable a row, an observation a column


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of variables: of the rows of ``input``, whose columns are observations.

    Parameters
    ----------
    correction : int
        What the number of observations is lessened by: 1 for the estimate from a sample.
    fweights : tensor, optional
        How often each observation was made, integers.
    aweights : tensor, optional
        How much each observation weighs.
    """
    if len(input.shape) > 2 or input.dtype == bool:
        raise ShapeError(f"cov: wants numbers in at most 2 dimensions, got {input.dtype} and shape {tuple(input.shape)}")
    rows = reshape(input, (1, -1)) if len(input.shape) < 2 else input
    rows = rows if as_dtype(rows.dtype).is_floating_point else rows * 1.0
    weight: Any = 1
    for name, x, category in (("fweights", fweights, 1), ("aweights", aweights, 2)):
        if x is not None:
            if tuple(x.shape) != (rows.shape[1],) or as_dtype(x.dtype).category != category or (x < 0).any():
                wanted = ("integers", "floating numbers")[category - 1]
                raise ValueError(f"cov: {name} must be {rows.shape[1]} {wanted}, none negative")
            weight = weight * x
    if isinstance(weight, int):
        total: Any = rows.shape[1]
        center = mean(rows, 1, True)
    else:
        total = sum(weight)
        center = sum(rows * weight, 1, True) / total
    rows = rows - center
    left = total - (correction if aweights is None else correction * sum(weight * aweights) / total)
    left = zeros_for(rows, ()) + (max(left, 0) if isinstance(left, int) else clamp(left, 0))
    return squeeze(matmul(rows * weight, transpose(rows, 0, 1)) / left)


def corrcoef(input: Any) -> Tensor:
    """The correlations of the rows of ``input``: `cov` over the product of standard deviations, between -1 and 1."""
    out = cov(input)
    if not len(out.shape):
        return out / out
    spread = sqrt(diagonal(out))
    return clamp(out / reshape(spread, (-1, 1)) / spread, -1, 1)


@differentiable
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of ``bins`` equal parts of [``min``, ``max``]; from the smallest to the largest if equal.

    Elements outside, and NaN, are not counted.
    """
    check_floating("histc", input)
    if bins < 1 or max < min:
        raise ValueError(f"histc: wants at least 1 bin and max not below min, got bins {bins}, min {min}, max {max}")
    if min == max and input.size:
        min, max = float(input.min()), float(input.max())
    if not (math.isfinite(min) and math.isfinite(max)):
        raise ValueError(f"histc: the range from {min} to {max} is not finite")
    if min == max:
        min, max = min - 1, max + 1
    inside = input[(input >= min) & (input <= max)].astype(float)
    places = xp(input).minimum(((inside - min) / (max - min) * bins).astype(int), bins - 1)
    return xp(input).bincount(places, minlength=bins).astype(input.dtype)


# -- distances


def dist(input: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return norm(input - other, p)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distances between all rows of ``x1`` and all rows of ``x2``: (..., P, M), (..., R, M) -> (..., P, R).

    For ``p`` = 2 and more than 25 rows they come from one matrix product, ``|a| ** 2 - 2 a b + |b| ** 2``, which needs less
    memory and has fewer correct digits where rows nearly agree; ``compute_mode`` says otherwise:
    ``"donot_use_mm_for_euclid_dist"``, ``"use_mm_for_euclid_dist"``. For ``p`` = inf ties share the gradient.
    """
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode not in modes:
        raise ValueError(f"cdist: compute_mode must be one of {modes}, got {compute_mode!r}")
    _check_same_dtype("cdist", x1, x2)
    if len(x1.shape) < 2 or len(x2.shape) < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: wants rows of one length, got shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    if as_dtype(x1.dtype).name not in ("float32", "float64") or p < 0:
        raise TypeError(f"cdist: wants float32 or float64 and p of at least 0, got {x1.dtype} and p = {p}")
    many = compute_mode == modes[1] or (compute_mode == modes[0] and max(x1.shape[-2], x2.shape[-2]) > 25)
    if p == 2 and many:
        squares = [sum(x * x, -1, True) for x in (x1, x2)]
        products = matmul(x1, transpose(x2, -1, -2))
        far2 = squares[0] + transpose(squares[1], -1, -2) - 2 * products
        return _root(clamp(far2, 0))
    apart = unsqueeze(x1, -2) - unsqueeze(x2, -3)
    if not apart.shape[-1]:
        return sum(apart, -1)
    return norm(apart, p, -1)
