"""What a function of single elements computes, found out by calling it once with symbols instead of arrays.

``function(out, x)`` with ``out[...] = x * exp(x)`` leaves two steps, ``v1 = exp(v0)`` and ``v2 = v0 * v1``, and the note that
``v2`` goes to the first array. A provider makes one loop of that, in which nothing is written but the result. NumPy itself
gives the symbols away: it hands an operation that meets one to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

QUESTIONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "bitwise_and", "bitwise_or"}
QUESTIONS |= {"logical_and", "logical_or", "logical_not", "isfinite", "isinf", "isnan"}

# The functions that Python and C++ write alike, by NumPy's names.
OPERATORS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "negative": "-{}",
    "positive": "{}",
    "square": "{0} * {0}",
    "less": "{} < {}",
    "less_equal": "{} <= {}",
    "greater": "{} > {}",
    "greater_equal": "{} >= {}",
    "equal": "{} == {}",
    "not_equal": "{} != {}",
}


class Steps(NamedTuple):
    """What to compute. Values are numbered: the arrays' elements first, then the results of the steps."""

    steps: tuple[tuple[str, tuple[str, ...]], ...]  # the name of a NumPy function, and its operands: value "v0", number "c0"
    stores: tuple[tuple[int, int], ...]  # which array gets which value in the end
    n_arrays: int


class Untraceable(Exception):
    """The function does something that is none of these steps."""


class _Trace:
    def __init__(self, n_arrays: int, dtype: Any) -> None:
        self.dtype = dtype
        self.steps: list[tuple[str, tuple[str, ...]]] = []
        self.numbers: list[float] = []
        self.n_arrays = n_arrays

    def step(self, name: str, operands: Any) -> int:
        """Note a step; the number of its result."""
        self.steps.append((name, tuple(map(self._name, operands))))
        return self.n_arrays + len(self.steps) - 1

    def _name(self, operand: Any) -> str:
        if isinstance(operand, Symbol):
            return f"v{operand.value}"
        if not isinstance(operand, (int, float, np.bool_, np.integer, np.floating)):
            raise Untraceable(f"an operand of type {type(operand).__name__}")
        self.numbers.append(float(operand))
        return f"c{len(self.numbers) - 1}"


class Symbol(NDArrayOperatorsMixin):
    """Stands for an element of each of a loop's arrays, or for what is made of them; has their dtype, or is a bool."""

    shape, ndim, size = (), 0, 1

    def __init__(self, trace: _Trace, value: int, dtype: Any) -> None:
        self.trace, self.value, self.dtype = trace, value, dtype

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        if method != "__call__" or ufunc.nout != 1 or options:
            raise Untraceable(f"{ufunc.__name__}.{method} with {options}")
        value = self.trace.step(ufunc.__name__, inputs)
        if not out:
            return Symbol(self.trace, value, np.dtype(bool) if ufunc.__name__ in QUESTIONS else self.trace.dtype)
        out[0].value = value
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.where and not options:
            return Symbol(self.trace, self.trace.step("where", args), self.trace.dtype)
        if function is np.clip and not options:
            x, low, high = args
            return np.minimum(np.maximum(x, low), high)
        raise Untraceable(function.__name__)

    def __setitem__(self, place: Any, value: Any) -> None:
        if place is not Ellipsis:
            raise Untraceable("a part of an array")
        self.value = value.value if isinstance(value, Symbol) else self.trace.step("positive", [value])

    def __getitem__(self, place: Any) -> Any:
        raise Untraceable("a part of an array")

    def __bool__(self) -> Any:
        raise Untraceable("a decision by the numbers, or one of them for Python")

    __float__ = __int__ = __index__ = __complex__ = __len__ = __iter__ = __bool__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what NumPy asks of anything
            raise AttributeError(name)
        raise Untraceable(f"the array's {name}")

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        """Itself."""
        if dtype != self.dtype:
            raise Untraceable("another dtype")
        return self


def trace(function: Callable[..., None], dtype: Any, n_arrays: int) -> tuple[Steps, list[float]]:
    """The steps of ``function(*arrays)``, and the numbers in them.

    Raises
    ------
    Untraceable
        If it does anything else.
    """
    tape = _Trace(n_arrays, dtype)
    symbols = [Symbol(tape, i, dtype) for i in range(n_arrays)]
    function(*symbols)
    stores = tuple((i, s.value) for i, s in enumerate(symbols) if s.value != i)
    return Steps(tuple(tape.steps), stores, n_arrays), tape.numbers


# -- what ops ask of the kernels of a symbol


def in_one(name: Any, dtype: Any) -> None:
    """None: that is being found out."""


def erf(x: Any) -> Any:
    """The error function."""
    return Symbol(x.trace, x.trace.step("erf", [x]), x.dtype)


def relu(x: Any) -> Any:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


def relu_grad(g: Any, out: Any) -> Any:
    """0 where ``out`` is at most 0, else ``g``."""
    return np.where(out <= 0, 0, g)
