"""Which array library an array belongs to. The array decides: one look-up on its type, no global switch.

CuPy's arrays, which live on a GPU, are known from the first use of one on: see `devices`.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .kernels import cpu as cpu_kernels
from .kernels import symbols
from .kernels.choice import quickest


class Backend(NamedTuple):
    """An array library and the loops that go with it."""

    name: str
    xp: ModuleType
    kernels: ModuleType


cpu = Backend("cpu", np, quickest())
types: dict[type, Backend] = dict.fromkeys((np.ndarray, bool, int, float), cpu)
types |= dict.fromkeys((np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64), cpu)
types |= dict.fromkeys({np.intc, np.longlong, np.intp}, cpu)  # further names of the same sizes on some platforms
types[symbols.Symbol] = Backend("symbols", np, symbols)
gpu: Any = None  # the backend of CuPy, from the first use of a GPU on ...
gpu_types: set[Any] = set()  # ... and the type of its arrays
several = False  # whether there is more than one GPU


def _without_openmp() -> None:
    """In a forked child GNU OpenMP ends the process at its first use, so NumPy's loops run there."""
    global cpu
    types.update({kind: found._replace(kernels=cpu_kernels) for kind, found in types.items() if found.kernels is cpu.kernels})
    cpu = cpu._replace(kernels=cpu_kernels)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_without_openmp)


def of(x: Any) -> Backend:
    """The backend of an array or a number.

    Raises
    ------
    TypeError
        If ``x`` is neither.
    """
    found = types.get(type(x)) or (cpu if isinstance(x, np.ndarray) else None)
    if found is None:
        raise TypeError(f"expected a tensor, an array or a number, got {type(x).__name__}")
    return found


def xp(x: Any) -> Any:
    """The namespace with ``x``'s functions: ``numpy`` for NumPy's arrays."""
    return (types.get(type(x)) or of(x)).xp


def kernels(x: Any) -> Any:
    """The kernels that run on ``x``: see `minidl.kernels`."""
    return (types.get(type(x)) or of(x)).kernels


def in_one(name: str, array: Any) -> Any:
    """What does in one pass, on arrays like this, what takes other kernels several; None if nothing does, and for a tensor."""
    found = types.get(type(array))
    return found and found.kernels.in_one(name, array.dtype)
