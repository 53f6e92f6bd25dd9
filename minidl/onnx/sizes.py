"""Sizes: whole numbers in a program that follow from the sizes of its inputs.

A trace shows numbers only. So the same function is traced several times, with inputs of several sizes, and each number that
was not the same every time is found again as a sum of products of those sizes: 2, 3, 4 examples and 10, 15, 20 rows are
``5 * batch`` rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..compiler.signature import Untraceable
from ..compiler.trace import _same


class Size(NamedTuple):
    """A sum of products of sizes, by their names: ``((("batch", "time"), 2), ((), 1))`` is ``2 * batch * time + 1``."""

    terms: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def name(self) -> str | None:
        """The name of a size that stands alone."""
        (names, factor), *others = self.terms
        return names[0] if not others and factor == 1 and len(names) == 1 else None


class Repeated(NamedTuple):
    """A tuple with the same item all along."""

    count: Any
    item: Any


class Grown(NamedTuple):
    """An array whose shape follows from sizes: ``value`` everywhere, or of one dimension from ``value`` on with ``step``."""

    shape: tuple[Any, ...]
    value: Any
    step: Any
    dtype: Any


def trials(sizes: dict[str, int]) -> list[dict[str, int]]:
    """The sizes to trace with: each size one of two, in all combinations, and at last all of them a third.

    Sizes of 0 and 1 are avoided, for with them a program may run other ops; larger ones than given too, where that goes.
    """
    three = {name: (n, n - 1, n - 2) if n > 3 else (2, 3, 4) for name, n in sizes.items()}
    both = itertools.product(*(pair[:2] for pair in three.values()))
    found = [dict(zip(three, chosen)) for chosen in both]
    return found + [{name: three[name][2] for name in three}] if sizes else found


def fit(numbers: Sequence[int], tried: list[dict[str, int]]) -> Size:
    """The size that was these ``numbers`` in these trials.

    Raises
    ------
    Untraceable
        If there is none with whole factors.
    """
    names = list(tried[0])
    products = [c for n in range(len(names) + 1) for c in itertools.combinations(names, n)]
    table = np.array([[math.prod(trial[name] for name in product) for product in products] for trial in tried])
    factors = np.rint(np.linalg.solve(table[:-1], numbers[:-1])).astype(
        int
    )  # the last trial is there to see whether it is true
    if (table @ factors != numbers).any():
        raise Untraceable(f"a number that was {', '.join(map(str, numbers))} is no sum of products of sizes")
    return Size(tuple((product, int(factor)) for product, factor in zip(products, factors) if factor))


def combined(found: Sequence[Any], tried: list[dict[str, int]]) -> Any:
    """What was ``found`` in each trial, as one thing that holds for all sizes: arguments, with `Size` in the place of numbers.

    Raises
    ------
    Untraceable
        If it is not seen how it depends on the sizes.
    """
    first = found[0]
    if all(_same(first, other) for other in found[1:]):
        return first
    kinds = {type(x) for x in found}
    if kinds <= {int, np.int64}:
        return fit(found, tried)
    if kinds == {slice}:
        return slice(*(combined([getattr(x, end) for x in found], tried) for end in ("start", "stop", "step")))
    if len(kinds) == 1 and issubclass(type(first), (tuple, list)):
        if len({len(x) for x in found}) == 1:
            parts = [combined(each, tried) for each in zip(*found)]
            return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
        if all(len(set(x)) == 1 for x in found):
            return Repeated(fit([len(x) for x in found], tried), combined([x[0] for x in found], tried))
    if all(isinstance(x, np.ndarray) and x.ndim == first.ndim for x in found):
        return grown(found, tried)
    raise Untraceable(f"something that was {' and '.join(repr(x)[:40] for x in found[:2])} depends on the inputs' sizes")


def grown(arrays: Sequence[Any], tried: list[dict[str, int]]) -> Grown:
    """Arrays that were made anew in each trial, in other sizes."""
    first = arrays[0]
    shape = tuple(combined([a.shape[i] for a in arrays], tried) for i in range(first.ndim))
    if all(a.size and (a == a.flat[0]).all() for a in arrays):
        return Grown(shape, _number([a.flat[0] for a in arrays], tried), None, first.dtype)
    if first.ndim == 1 and all(len(a) > 1 and (np.diff(a) == a[1] - a[0]).all() for a in arrays):
        step = _number([a[1] - a[0] for a in arrays], tried)
        return Grown(shape, _number([a[0] for a in arrays], tried), step, first.dtype)
    raise Untraceable(f"an array of shape {first.shape} is made anew with numbers that depend on the inputs' sizes")


def _number(found: Sequence[Any], tried: list[dict[str, int]]) -> Any:
    whole = [int(x) if float(x).is_integer() else x for x in found]
    return combined(whole, tried)
