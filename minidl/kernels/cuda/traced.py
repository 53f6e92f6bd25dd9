"""Functions of single elements, each as one kernel, whose text is written once for each list of steps.

`symbols` finds out what a function does. What it does is text; the numbers in it are arguments of the kernel, since those of a
learning rate, say, are others in every step. That takes the host some microseconds for each operation, and CuPy takes more.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from ..symbols import OPERATORS, Steps, Untraceable, trace
from .capture import each_time, given, here, refuse, told
from .loader import BLOCK, FLOATS, launch, plain

# What NumPy's functions are in CUDA C++.
FORMULAS = {
    **OPERATORS,
    "reciprocal": "1 / {}",
    "absolute": "fabs({})",
    "maximum": "larger({}, {})",
    "minimum": "smaller({}, {})",
    "where": "{0} ? {1} : {2}",
    "bitwise_and": "{} && {}",
    "bitwise_or": "{} || {}",
    "logical_and": "{} && {}",
    "logical_or": "{} || {}",
    "logical_not": "!{}",
}
FORMULAS |= {name: name + "({})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "erf", "floor")}


@functools.lru_cache(1000)
def text(steps: Steps, n_numbers: int) -> str:
    """What stands before traced.cu for these steps.

    Raises
    ------
    Untraceable
        If there is no formula for one.
    """
    unknown = {name for name, _ in steps.steps} - {*FORMULAS}
    if unknown:
        raise Untraceable(f"there is no formula for {', '.join(sorted(unknown))}")
    n, arrays = steps.n_arrays, [f"a{i}" for i in range(steps.n_arrays)]
    read = {name for _, operands in steps.steps for name in operands} | {f"v{value}" for _, value in steps.stores}
    lines = [f"real c{i} = told[{i}];" for i in range(n_numbers)]
    lines += [f"real v{i} = {a}[t];" for i, a in enumerate(arrays) if f"v{i}" in read]
    lines += [f"auto v{n + k} = {FORMULAS[name].format(*operands)};" for k, (name, operands) in enumerate(steps.steps)]
    lines += [f"a{i}[t] = v{value};" for i, value in steps.stores]
    return defines(n, n_numbers, " \\\n  ".join(lines))


def defines(n_arrays: int, n_numbers: int, steps: str) -> str:
    """What traced.cu wants to be told: besides the steps, over arrays ``a0``, ``a1`` and so on, how many these are."""
    arrays = [f"a{i}" for i in range(n_arrays)]
    defined = {
        "N_ARRAYS": n_arrays,
        "N_NUMBERS": max(n_numbers, 1),
        "MOST": most(n_arrays, n_numbers),
        "ARRAYS": ", ".join(f"real* {a}" for a in arrays),
        "FOUND": " ".join(f"real* {a} = all.arrays[{i}][which];" for i, a in enumerate(arrays)),
        "STEPS": steps,
    }
    return "".join(f"#define {name} {value}\n" for name, value in defined.items())


def most(n_arrays: int, n_numbers: int) -> int:
    """How many rows of arrays fit into the 4 KB that a launch is given, beside the numbers."""
    return (4096 - 8 * (max(n_numbers, 1) + 1) - 16) // (8 * n_arrays + 8)


def blockwise(function: Callable[..., None], *arrays: Any) -> None:
    """``function(*arrays)`` as one kernel; if that cannot be, with a warning, as CuPy does it, an operation at a time."""
    views, dtype, size = _side_by_side(arrays), arrays[0].dtype, arrays[0].size
    if views is None:
        return function(*arrays)
    try:
        if type(function) is partial and _hashable(function.args):
            written, said = _known(function.func, function.args, dtype, len(arrays))
        else:
            written, said = _followed(function, dtype, len(arrays))
    except Untraceable as error:
        warnings.warn(f"runs on the GPU an operation at a time: {error}", RuntimeWarning, stacklevel=2)
        return function(*arrays)
    launch("traced", "one", size, *views, size, said, text=written, real=dtype)


def _followed(function: Callable[..., None], dtype: Any, n_arrays: int) -> tuple[str, Any]:
    """What stands before traced.cu for a function, and the numbers in it, as the kernel takes them."""
    steps, numbers = trace(function, dtype, n_arrays)
    return text(steps, len(numbers)), given(numbers, dtype)


@functools.lru_cache(1000)
def _known(function: Callable[..., None], args: tuple[Any, ...], dtype: Any, n_arrays: int) -> tuple[str, Any]:
    """Likewise for one that begins with arguments that stay what they are: it is followed only the first time."""
    return _followed(partial(function, *args), dtype, n_arrays)


def _hashable(args: tuple[Any, ...]) -> bool:
    try:
        hash(args)
    except TypeError:  # the options of an optimiser, say, which may be others in the next step
        return False
    return True


def _side_by_side(arrays: Any) -> list[Any] | None:
    """The arrays in C order, if they are of one kind of number that kernels take, and lie in one order without gaps."""
    first, views = arrays[0], arrays
    if first.dtype not in FLOATS or first.size >= 2**31:
        return None
    if False in [a.flags.c_contiguous for a in arrays]:
        order = sorted(range(first.ndim), key=lambda dim: -first.strides[dim])
        views = [a if a.flags.c_contiguous else a.transpose(order) if a.ndim == first.ndim else a for a in arrays]
    alike = [v.flags.c_contiguous and v.shape == views[0].shape and v.dtype == first.dtype for v in views]
    return None if False in alike else views


def fused(function: Callable[..., None], steps: list[Any], again: Callable[[], list[Any]] | None = None) -> list[Any]:
    """Do the steps that a kernel can do, many in a launch, and return the others: of float16, huge, or with gaps.

    If the launches are captured, ``again()`` counts the steps at each repetition, and tells the number of each.
    """
    alike: dict[Any, list[Any]] = {}
    others, times = [], dict[int, int]()
    counted = [step[0] for step in steps]
    for i, step in enumerate(steps):
        number, param, grad, *kept = step
        dtype, place = param.dtype, param.data.ptr
        if not param.size:  # there is nothing to do, and it has no place in memory of its own
            continue
        whole = [a.flags.c_contiguous and a.dtype == dtype for a in (param, *kept)]
        if False in whole or dtype not in FLOATS or grad.dtype != dtype or param.size >= 2**31:
            others.append(step)
            continue
        times[place] = times.get(place, 0) + 1  # one that is given twice takes two steps, the second in another launch
        alike.setdefault((times[place], number, len(step) - 1, dtype), []).append((i, (param, plain(grad), *kept)))
    if others:
        refuse("the step of an optimiser for parameters that are of float16, huge or with gaps")
    if again is not None:
        each_time(lambda: counted.__setitem__(slice(None), again()))
    for (_, number, n_arrays, dtype), rows in alike.items():
        found, numbers = trace(partial(function, number), dtype, n_arrays)
        written, n = text(found, len(numbers)), len(numbers)
        read = _reader(function, counted, rows[0][0], found, dtype)
        said = given(numbers, dtype) if here.graph is None else told(read, dtype, max(n, 1))
        for start in range(0, len(rows), most(n_arrays, n)):
            table, blocks = packed([arrays for _, arrays in rows[start : start + most(n_arrays, n)]], most(n_arrays, n))
            launch("traced", "many", (blocks,), table, said, text=written, real=dtype)
    return others


def _reader(function: Any, counted: list[Any], which: int, steps: Steps, dtype: Any) -> Callable[[], list[float]]:
    """What tells the numbers of a launch anew, by the count of one of its steps and whatever else ``function`` looks at."""

    def read() -> list[float]:
        now, numbers = trace(partial(function, counted[which]), dtype, steps.n_arrays)
        if now != steps:
            raise RuntimeError("an optimiser's formulas are others than those that were captured; compile the step anew")
        return numbers or [0.0]

    return read


@functools.cache
def _rows(n_arrays: int, most: int) -> Any:
    fields = [("arrays", np.uint64, (n_arrays, most)), ("sizes", np.int32, most), ("first", np.int32, most)]
    return np.dtype([*fields, ("count", np.int32)], align=True)


def packed(rows: list[Any], most: int) -> tuple[Any, int]:
    """Up to ``most`` rows of arrays, as the kernel takes them, and the number of blocks for them."""
    n_arrays, n = len(rows[0]), len(rows)
    made, sizes = np.zeros((), _rows(n_arrays, most)), [row[0].size for row in rows]
    ends = [*accumulate([-(-size // BLOCK) for size in sizes])]
    for places, arrays in zip(made["arrays"], zip(*rows)):
        places[:n] = [a.data.ptr for a in arrays]
    made["sizes"][:n], made["first"][1:n], made["count"] = sizes, ends[:-1], n
    return made[()], ends[-1]
