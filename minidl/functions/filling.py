"""Random numbers of several distributions, mostly as methods that fill a tensor in place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes
from ..autograd.tape import wrap
from ..backend import xp
from ..devices import device_of
from ..dtypes import check_floating
from ..random import Generator, rng
from ..shapes import ShapeError
from .creation import _like

if TYPE_CHECKING:
    from .._tensor import Tensor


def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Elements drawn evenly from ``[from_, to)``, in place."""
    check_floating("uniform_", self)
    if from_ > to:
        raise ValueError(f"uniform_: from_ must not be above to, got {from_} and {to}")
    drawn = rng(generator, self.device).uniform(from_, to, self.shape)
    m, dtype = xp(self._array), self._array.dtype
    drawn = m.asarray(drawn, dtype)
    below = np.nextafter(dtype.type(to), dtype.type(from_))  # rounding must not reach the upper end
    return self._put(..., m.minimum(drawn, below) if from_ < to else drawn, "uniform_")


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Elements drawn from a normal distribution, in place."""
    check_floating("normal_", self)
    _check("normal_", "std must not be negative", std, std >= 0)
    return self._put(..., rng(generator, self.device).normal(mean, std, self.shape), "normal_")


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Numbers whose logarithm is normally distributed with this mean and standard deviation, in place."""
    check_floating("log_normal_", self)
    _check("log_normal_", "std must be positive", std, std > 0)
    return self._put(..., rng(generator, self.device).lognormal(mean, std, self.shape), "log_normal_")


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Elements drawn from the Cauchy distribution around ``median``, in place."""
    check_floating("cauchy_", self)
    _check("cauchy_", "sigma must be positive", sigma, sigma > 0)
    return self._put(..., median + sigma * rng(generator, self.device).standard_cauchy(self.shape), "cauchy_")


def exponential_(self: Any, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Elements drawn from the exponential distribution with rate ``lambd`` (mean ``1 / lambd``), in place."""
    check_floating("exponential_", self)
    _check("exponential_", "lambd must be positive", lambd, lambd > 0)
    return self._put(..., rng(generator, self.device).exponential(1 / lambd, self.shape), "exponential_")


def geometric_(self: Any, p: float, *, generator: Generator | None = None) -> Tensor:
    """How many trials, each a success with probability ``p``, it takes to the first success, in place."""
    _check("geometric_", "p must lie between 0 and 1", p, 0 < p < 1)
    return self._put(..., rng(generator, self.device).geometric(p, self.shape), "geometric_")


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Ones with probability ``p`` (a number, or a tensor of one for each element) and zeros, in place."""
    chance = p.detach()._array if hasattr(p, "detach") else np.asarray(p)
    _check("bernoulli_", "p must lie between 0 and 1", p, bool(((chance >= 0) & (chance <= 1)).all()))
    return self._put(..., rng(generator, self.device).random(self.shape) < chance, "bernoulli_")


def random_(self: Any, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Integers from ``from_`` up to but without ``to``, in place: ``random_()``, ``random_(to)``, ``random_(from_, to)``.

    Without ``to``, up to the largest that the dtype holds; of a floating dtype, the largest up to which it holds all.
    """
    dtype = self.dtype
    if dtype.is_floating_point:
        top = 2 ** (np.finfo(dtype.dtype).nmant + 1) + 1
    else:
        top = 2 if dtype == dtypes.bool_ else int(np.iinfo(dtype.dtype).max) + 1
    if to is None:
        low, high = 0, top if from_ is None else from_
    else:
        low, high = from_ or 0, to
    if low >= high:
        raise ValueError(f"random_: from_ must be below to, got {low} and {high}")
    if high > top or (low < 0 and (dtype.category == 0 or (dtype.category == 1 and low < np.iinfo(dtype.dtype).min))):
        raise ValueError(f"random_: from {low} to {high - 1} is more than {dtype} holds")
    return self._put(..., rng(generator, self.device).integers(low, high, self.shape), "random_")


def _check(op: str, wanted: str, value: Any, fits: bool) -> None:
    if not fits:
        raise ValueError(f"{op}: {wanted}, got {value}")


def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Tensor:
    """``fill_value`` put on the diagonal, in place: of a tall matrix with ``wrap`` again and again, a row apart."""
    sizes = tuple(self.shape)
    if len(sizes) < 2 or (len(sizes) > 2 and len(set(sizes)) > 1):
        raise ShapeError(f"fill_diagonal_: wants a matrix, or more dimensions of one size, got shape {sizes}")
    places = np.arange(min(sizes))
    key = [places] * len(sizes)
    if wrap and sizes[0] > sizes[1]:
        rows = np.arange(sizes[0])
        rows = rows[rows % (sizes[1] + 1) < sizes[1]]
        key = [rows, rows % (sizes[1] + 1)]
    return self._put(tuple(key), fill_value, "fill_diagonal_") if math.prod(sizes) else self


def poisson(input: Any, generator: Generator | None = None) -> Tensor:
    """Numbers drawn from Poisson distributions, each of the rate that ``input`` gives for it; a new tensor."""
    rate = _like(input, "poisson")
    if rate.dtype.kind != "f" or (rate < 0).any():
        raise ValueError(f"poisson: the rates in input must be floating numbers, none negative, got {rate.dtype}")
    return wrap(xp(rate).asarray(rng(generator, device_of(rate)).poisson(rate), rate.dtype))
