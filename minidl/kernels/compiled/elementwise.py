"""Functions of single elements, each as one loop: nothing that is computed on the way goes through memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import prange

from .. import cpu
from ..cpu.order import empty, order_of, ordered
from ..symbols import OPERATORS, Steps, Untraceable, trace
from . import mathematics
from .compile import EDITION, compiled, part, parts, threaded

SMALL = 1 << 12  # elements: with fewer, NumPy is done before the steps are known ...
FEW = 1 << 8  # ... and with fewer than these though they are known, or before a loop has been compiled
MOST_ARRAYS = 6  # in a loop: with more, the compiler does not prove that they lie apart

# What NumPy's functions are in a loop over float32.
FORMULAS = {
    **OPERATORS,
    "reciprocal": "f32(1) / {}",
    "absolute": "abs({})",
    "sqrt": "f32(math.sqrt({}))",
    "floor": "np.floor({})",
    "where": "{1} if {0} else {2}",
    "bitwise_and": "{} and {}",
    "bitwise_or": "{} or {}",
    "logical_and": "{} and {}",
    "logical_or": "{} or {}",
    "logical_not": "not {}",
}
FORMULAS |= {name: name + "({}, {})" for name in ("maximum", "minimum")}
FORMULAS |= {name: name + "({})" for name in ("exp", "expm1", "log", "log1p", "tanh", "erf")}


@functools.lru_cache(1000)
def _loop(steps: Steps, n_numbers: int) -> Any:
    """The compiled loop; None if one of its steps is not known here."""
    if steps.n_arrays > MOST_ARRAYS or any(name not in FORMULAS for name, _ in steps.steps):
        return None
    arrays, numbers = [f"a{i}" for i in range(steps.n_arrays)], [f"c{i}" for i in range(n_numbers)]
    lines = [f"def run({', '.join(arrays + numbers)}):", "    for i in range(a0.size):"]
    lines += [f"        v{i} = {array}[i]" for i, array in enumerate(arrays)]
    lines += [f"        v{steps.n_arrays + k} = {FORMULAS[name].format(*of)}" for k, (name, of) in enumerate(steps.steps)]
    lines += [f"        a{i}[i] = v{value}" for i, value in steps.stores]
    pieces = ", ".join([f"{array}[first:last]" for array in arrays] + numbers)
    lines += ["", "", f"def in_parts(parts, {', '.join(arrays + numbers)}):", "    for p in prange(parts):"]
    lines += ["        first, last = part(a0.size, p, parts)", f"        run({pieces})", ""]
    return _from_source("\n".join(lines))


def _from_source(source: str) -> Any:
    """Its function ``in_parts``. Numba keeps what is compiled on the disk if its source is there, so that is put beside it.

    Its machine code is found by module, name and a number, by which functions of one name are told apart in one process. Two
    processes may give one number to two sources, and a third one take both from the disk: so each source has names of its own.
    """
    which = hashlib.sha256((EDITION + source).encode()).hexdigest()[:16]
    path = Path(part.stats.cache_path or "") / f"loop_{which}.py"
    if part.stats.cache_path and not path.exists():
        with contextlib.suppress(OSError):
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text(source)
            new.replace(path)
    names: dict[str, Any] = {**vars(mathematics), "math": math, "prange": prange, "part": part}
    exec(compile(source, str(path), "exec"), names)
    names["run"].__qualname__, names["in_parts"].__qualname__ = f"run_{which}", f"in_parts_{which}"
    names["run"] = compiled(names["run"], fastmath={"contract"})
    return threaded(names["in_parts"])


def blockwise(function: Callable[..., None], *arrays: Any) -> None:
    """``function(*arrays)`` as one loop, if that can be."""
    size = arrays[0].size
    if size < SMALL or any(a.dtype != np.float32 or a.size != size for a in arrays):
        return cpu.blockwise(function, *arrays)
    order = order_of(arrays[0])
    views = [a.transpose(order) for a in arrays]
    try:
        steps, numbers = trace(function, arrays[0].dtype, len(arrays))
    except Untraceable:
        return cpu.blockwise(function, *arrays)
    loop, kept = _loop(steps, len(numbers)), [arrays[i].flags.writeable for i, _ in steps.stores]
    if loop is None or not all([*kept, *(v.flags.c_contiguous for v in views)]):
        return cpu.blockwise(function, *arrays)
    loop(parts(size, 4 * size * len(arrays)), *(v.reshape(-1) for v in views), *map(np.float32, numbers))


@functools.lru_cache(1000, typed=True)
def _known(function: Callable[..., Any], n_arrays: int, *options: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The loop of ``out[...] = function(*arrays, *options)`` and the numbers in it, if it is one."""

    def compute(out: Any, *arrays: Any) -> None:
        out[...] = function(*arrays, *options)

    try:
        steps, numbers = trace(compute, np.dtype(np.float32), n_arrays + 1)
    except Untraceable:
        return None
    loop = _loop(steps, len(numbers))
    return None if loop is None else (loop, tuple(map(np.float32, numbers)))


def of_elements(function: Callable[..., Any], n_arrays: int, *args: Any) -> Any:
    """``function(*args)``, which begin with arrays of one shape; None where that is not one loop.

    The function is always the same, as those of `minidl.ops` are, and so its steps are looked for once.
    """
    arrays, shape, size = args[:n_arrays], args[0].shape, args[0].size
    alike = all([a.dtype == np.float32 and a.shape == shape and a.flags.c_contiguous for a in arrays])
    found = _known(function, n_arrays, *args[n_arrays:]) if alike and size >= FEW else None
    if found is None:
        return None
    (loop, constants), out = found, np.empty(shape, np.float32)
    loop(parts(size, 4 * size * (n_arrays + 1)), out.reshape(-1), *[a.reshape(-1) for a in arrays], *constants)
    return out


def erf(x: Any) -> Any:
    """The error function."""
    if x.dtype != np.float32 or x.size < SMALL:
        return cpu.erf(x)
    x = ordered(x, x) if x.flags.c_contiguous else x.copy()
    out = empty(x.shape, x.dtype, x)

    def compute(out: Any, x: Any) -> None:
        out[...] = cpu.erf(x)

    blockwise(compute, out, x)
    return out
