"""From a .cu file to a launch: compiled once for each type of numbers, arguments checked and typed."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

Array = empty = cupy.ndarray  # empty(shape, dtype) is new memory, as of cupy.empty, which takes a detour to it
HALF, SINGLE, DOUBLE = (np.dtype(name) for name in ("float16", "float32", "float64"))
FLOATS = SINGLE, DOUBLE  # what is computed with
HERE = Path(__file__).parent
BLOCK = 256  # threads in a block, where a kernel does not ask for another number
SHARED = 48 << 10  # bytes of shared memory that a block can have
INCLUDED = r'(?m)^#include "(\w+\.cuh)"$'
C_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "float32": "float", "float64": "double", "tf32": "tf32", "bfloat16": "bf16", "float16": "f16",
}  # fmt: skip


def source(file: str, text: str = "") -> str:
    """The text of a file, with what stands before every one, and ``text``; errors are counted by the file's own lines."""
    own = (HERE / f"{file}.cu").read_text()
    before = "".join((HERE / name).read_text() for name in ("common.cuh", *re.findall(INCLUDED, own)))
    return f'{before}\n{text}#line 1 "{file}.cu"\n{re.sub(INCLUDED, "", own)}'


@cache
def _module(file: str, text: str, types: tuple[tuple[str, Any], ...], device: int) -> Any:
    named = {name: dtype if isinstance(dtype, str) else np.dtype(dtype).name for name, dtype in types}
    options = tuple(f"-D{name.upper()}={C_NAMES[dtype]}" for name, dtype in named.items())
    return cupy.RawModule(code=source(file, text), options=options)


@cache  # what is looked up at every launch must be quick
def _function(file: str, name: str, text: str, device: int, **types: Any) -> tuple[Any, Any]:
    """The kernel, and the type of its numbers."""
    kernel = _module(file, text, tuple(types.items()), device).get_function(name)
    return kernel, np.dtype(types.get("real", np.float32)).type


NULL = np.uintp(0)  # CuPy would take None too, but older ones then give the driver no place to read from
_int32 = lru_cache(4096)(np.int32)  # to look one up is quicker than to make it


def launch(file: str, name: str, threads: Any, *args: Any, block: Any = BLOCK, text: str = "", **types: Any) -> None:
    """Run a kernel.

    A kernel reads the bytes it is given, whatever they mean: so numbers are converted to just the type that it takes, and
    arrays must have no gaps and be in C order.

    Parameters
    ----------
    file, name : str
        Which.
    threads : int or tuple of int
        How many threads, in blocks of ``block``; or the grid, how many blocks in each direction. With none nothing is run.
    *args
        Arrays, or None for one that there is not; Python integers, which the kernel takes as ``int``; floats, which it takes
        as ``real``; NumPy's scalars, of their own types, and structures.
    text : str
        What is written before the file, for one that is to be filled in.
    **types
        What ``REAL`` and other names for types (here in small letters) stand for in the file.

    Raises
    ------
    ValueError
        For an array with gaps, in another order, or of 2**31 elements and more.
    """
    grid = (-(-threads // block),) if isinstance(threads, int) else threads
    if 0 in grid:
        return
    kernel, real = _function(file, name, text, cupy.cuda.get_device_id(), **types)
    for i, a in enumerate(args):
        if type(a) is Array and not (a.flags.c_contiguous and a.size < 2**31):
            what = f"shape {a.shape}, strides {a.strides}"
            raise ValueError(f"{name}: argument {i} must be contiguous and have less than 2**31 elements, got {what}")
    given = tuple([_int32(a) if type(a) is int else real(a) if type(a) is float else NULL if a is None else a for a in args])
    kernel(grid, (block,) if type(block) is int else block, given)


def window(window: Any, size: Any) -> Any:
    """A window on a picture of this size, as the structure ``Window`` in common.cuh."""
    return _window(window, tuple(size))[1]


def positions(window: Any, size: Any) -> tuple[int, int]:
    """How many positions it has there, vertically and horizontally."""
    return _window(window, tuple(size))[0]


@cache
def _window(window: Any, size: tuple[int, int]) -> tuple[tuple[int, int], Any]:
    there = window.out_size(size)
    return there, pairs(size, there, window.kernel, window.stride, window.before, window.dilation)


def pairs(*of: tuple[int, int]) -> Any:
    """Pairs of integers, as the structure ``Window`` has them."""
    made = np.zeros((), [("pairs", np.int32, (len(of), 2))])
    made["pairs"] = of
    return made[()]


@cache
def divisor(n: int) -> Any:
    """A number from 1 to 2**31 - 1, as the structure ``Divisor`` in common.cuh."""
    shift = (n - 1).bit_length()
    return np.array((n, -(-(2 ** (31 + shift)) // n), shift), [("n", np.int32), ("factor", np.uint32), ("shift", np.int32)])[()]


def plain(a: Any) -> Any:
    """The array without gaps and in C order: itself, if it is so, or if there is none."""
    return a if a is None or a.flags.c_contiguous else cupy.ascontiguousarray(a)


def single(function: Any) -> Any:
    """float16 is only a way to keep numbers: what is given in it is computed in float32, and rounded at the end."""

    def call(*args: Any, **options: Any) -> Any:
        if HALF not in [a.dtype for a in args if type(a) is Array]:
            return function(*args, **options)
        wide = [a.astype(np.float32) if type(a) is Array and a.dtype == HALF else a for a in args]
        out = function(*wide, **options)
        narrow = [a.astype(np.float16) if getattr(a, "dtype", None) == np.float32 else a for a in _listed(out)]
        return tuple(narrow) if isinstance(out, tuple) else narrow[0]

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


def _listed(out: Any) -> Any:
    return out if isinstance(out, tuple) else (out,)
