"""How loops are compiled: what the compiler may change in them, and what it may not; and who runs them.

A loop that is worth sharing has the number of its parts as first argument and begins with ``for p in prange(parts)``. OpenMP's
threads run the parts: they wait in a busy loop for a moment after each, without the interpreter's lock, so that a part need be
no longer than some microseconds. That is why this provider has threads of its own beside those of `minidl.kernels.threads`.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# How often a thread of GNU OpenMP looks for work before it sleeps: some 50 microseconds long, for other threads want the core
# too. It is read when the library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numba
from numba import njit

from .. import threads

config: Any = numba.config

# Sums may be made in another order, several at a time. That there are no NaN and no infinities may not be assumed.
SUMS = {"reassoc", "contract", "arcp", "nsz"}


def _find_threads() -> bool:
    """Whether there is a library of threads that several of Python's threads may use at once."""
    for name in ("omp", "tbb") if config.THREADING_LAYER == "default" else ():
        try:
            importlib.import_module(f"numba.np.ufunc.{name}pool")
        except ImportError:
            continue
        config.THREADING_LAYER = name
    return config.THREADING_LAYER in ("omp", "tbb", "threadsafe", "safe")


PARALLEL = _find_threads()
WORTH = 8  # a thread that waits in a busy loop is worth starting for so many times less work than one that sleeps


def loop(function: Any) -> Any:
    """Compiled at the first call with each kind of arguments, and kept on the disk; lets other threads run meanwhile."""
    return njit(function, nogil=True, cache=True, fastmath=SUMS, error_model="numpy")


def shared(function: Any) -> Any:
    """The same, and the parts of its ``prange`` run at the same time."""
    return njit(function, nogil=True, cache=True, fastmath=SUMS, error_model="numpy", parallel=PARALLEL)


def inline(function: Any) -> Any:
    """Compiled into the loops that call it. What stands in brackets stays so: nothing is exchanged."""
    return njit(function, forceinline=True, cache=True, fastmath={"contract"}, error_model="numpy")


@inline
def part(n, p, parts):
    """Where part p of n items begins and ends."""
    return n * p // parts, n * (p + 1) // parts


def parts(n_items: int, nbytes: int) -> int:
    """In how many parts to do it: see `minidl.kernels.threads.parts`."""
    n = max(len(threads.parts(n_items, nbytes * WORTH)), 1) if PARALLEL else 1
    numba.set_num_threads(min(n, config.NUMBA_NUM_THREADS))
    return n
