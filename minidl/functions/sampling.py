"""Tensors of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes
from ..autograd.tape import TensorBase, wrap
from ..backend import xp
from ..devices import check_device, current, device_of
from ..random import Generator, rng
from ..shapes import broadcast_shapes
from .creation import _float, _like, _new, _sizes

if TYPE_CHECKING:
    from .._tensor import Tensor


def _drawn(method: str, op: str, shape: Any, dtype: Any, generator: Generator | None, where: Any) -> Any:
    """Floating numbers that a generator of the device ``where`` draws by ``method``."""
    wanted = dtypes.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise TypeError(f"{op}: wants a floating dtype, got {wanted}")
    draw = getattr(rng(generator, where), method)
    with current(where):
        drawn = draw(shape, np.float64 if wanted == dtypes.float64 else np.float32)
        m = xp(drawn)
        if wanted == dtypes.float16 and method == "random":
            drawn = m.floor(drawn * 2048) / 2048  # its 11 bits cut off, for rounding would give 1
        return m.asarray(drawn, wanted.dtype)


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn evenly from [0, 1)."""
    where = check_device(device, "rand")
    array = _drawn("random", "rand", _sizes(sizes, size, "rand"), _float(dtype), generator, where)
    return _new(array, None, where, requires_grad, "rand")


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn from the normal distribution of mean 0 and variance 1."""
    where = check_device(device, "randn")
    array = _drawn("standard_normal", "randn", _sizes(sizes, size, "randn"), _float(dtype), generator, where)
    return _new(array, None, where, requires_grad, "randn")


def randint(
    *bounds: Any,
    low: Any = None,
    high: Any = None,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Integers from ``low`` (0) up to but without ``high``: ``randint(high, size)`` or ``randint(low, high, size)``."""
    if size is None and bounds:
        *bounds, size = bounds  # type: ignore[assignment]
    bounds = (*bounds, *(bound for bound in (low, high) if bound is not None))
    if size is None or not 1 <= len(bounds) <= 2:
        raise TypeError(f"randint: takes (low,) high and size, got {len(bounds)} bounds and size {size}")
    low, high = bounds if len(bounds) == 2 else (0, bounds[0])
    if low >= high:
        raise ValueError(f"randint: low must be below high, got {low} and {high}")
    where = check_device(device, "randint")
    with current(where):
        drawn = rng(generator, where).integers(low, high, _sizes((), size, "randint"))
        return _new(xp(drawn).asarray(drawn), dtypes.int64 if dtype is None else dtype, where, False, "randint")


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers 0 to ``n - 1`` in a random order."""
    (n,) = _sizes((), n, "randperm")
    where = check_device(device, "randperm")
    with current(where):
        return _new(rng(generator, where).permutation(n), dtypes.int64 if dtype is None else dtype, where, False, "randperm")


def rand_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`rand` in the shape and dtype of ``input``."""
    like = _like(input, "rand_like")
    device = device_of(like) if device is None else device
    return rand(like.shape, dtype=dtype or like.dtype, device=device, requires_grad=requires_grad)


def randn_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`randn` in the shape and dtype of ``input``."""
    like = _like(input, "randn_like")
    device = device_of(like) if device is None else device
    return randn(like.shape, dtype=dtype or like.dtype, device=device, requires_grad=requires_grad)


def randint_like(input: Any, *bounds: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`randint` in the shape and dtype of ``input``: ``randint_like(input, high)`` or ``randint_like(input, low, high)``."""
    like = _like(input, "randint_like")
    device = device_of(like) if device is None else device
    return randint(*bounds, size=like.shape, dtype=like.dtype if dtype is None else dtype, device=device)


def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None) -> Tensor:
    """Numbers drawn from the normal distribution of this mean and standard deviation.

    Either is a number or a tensor with one for each element; without a tensor ``size`` is wanted. There is no gradient.
    """
    given = [_like(x, "normal") for x in (mean, std) if isinstance(x, TensorBase)]
    if bool(given) == (size is not None):
        raise TypeError("normal: takes numbers as mean and std and a size, or tensors and no size")
    where = device_of(given[0]) if given else check_device(None, "normal")
    mean, std = (getattr(x, "_array", x) for x in (mean, std))
    if xp(std).any(xp(std).asarray(std) < 0):
        raise ValueError(f"normal: std must not be negative, got {std}")
    if given:
        size, dtype = broadcast_shapes(*(x.shape for x in given), op="normal"), dtypes.result_type(*given)
    drawn = _drawn("standard_normal", "randn", _sizes((), size, "normal"), _float(dtype), generator, where)
    return _new(drawn * std + mean, dtype, where, False, "normal")


def bernoulli(input: Any, *, generator: Generator | None = None) -> Tensor:
    """Ones and zeros, each a one with the probability that ``input`` gives for it."""
    p = _probabilities("bernoulli", input)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("bernoulli: the probabilities in input must lie between 0 and 1")
    return wrap(xp(p).asarray(rng(generator, device_of(p)).random(p.shape) < p, p.dtype))


def _probabilities(op: str, input: Any) -> Any:
    p = _like(input, op)
    if p.dtype.kind != "f":
        raise TypeError(f"{op}: input must hold floating numbers, got {p.dtype}")
    return p


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """Places drawn with the (unnormalised) probabilities in ``input``, a vector or one vector a row.

    Raises
    ------
    ValueError
        If a probability is negative, a row adds up to 0, or too few places are there to draw without replacement.
    """
    p = _probabilities("multinomial", input).astype(np.float64)
    m, rows = xp(p), p if p.ndim == 2 else p[None]
    if rows.ndim != 2 or not (rows >= 0).all() or (rows.sum(1) <= 0).any():
        raise ValueError("multinomial: input must hold one or more rows of numbers, none negative, with a positive sum each")
    if not replacement and (m.count_nonzero(rows, 1) < num_samples).any():
        raise ValueError(f"multinomial: too few nonzero probabilities to draw {num_samples} without replacement")
    source = rng(generator, device_of(p))
    if num_samples == 1:  # the first place whose running total goes beyond a number drawn
        totals = rows.cumsum(1)
        drawn = (totals / totals[:, -1:] <= source.random((len(rows), 1))).sum(1)
        return wrap(drawn.reshape(*p.shape[:-1], 1))
    drawn = m.stack([source.choice(len(r), num_samples, replacement, r / r.sum()) for r in rows])
    return wrap(drawn.reshape(p.shape[:-1] + (num_samples,)))
