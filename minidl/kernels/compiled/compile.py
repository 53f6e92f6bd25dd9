"""How loops are compiled: what the compiler may change in them, and what it may not; and who runs them.

A loop that is worth sharing has the number of its parts as first argument and begins with ``for p in prange(parts)``. OpenMP's
threads run the parts: they wait in a busy loop for a moment after each, without the interpreter's lock, so that a part need be
no longer than some microseconds. That is why this provider has threads of its own beside those of `minidl.kernels.threads`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
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


# The libraries of threads that several of Python's threads may use at once, for each of Numba's settings.
THREADS = {"default": ("omp", "tbb"), "threadsafe": ("tbb", "omp"), "safe": ("tbb",), "omp": ("omp",), "tbb": ("tbb",)}


def _find_threads() -> bool:
    """Whether one of them is here; Numba is then held to it."""
    for name in THREADS.get(config.THREADING_LAYER, ()):
        try:
            importlib.import_module(f"numba.np.ufunc.{name}pool")
        except ImportError:
            continue
        config.THREADING_LAYER = name
        return True
    return False


def _edition() -> str:
    """A name for all that goes into what is kept on the disk.

    Numba looks whether the file has changed that a loop stands in, and for which processor it was made; but a loop is made of
    functions in other files too, of how it is to be compiled, and of which BLAS it calls: under what name, and with products
    of what size, are constants in it.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    libraries = threads.blas_of_numpy().lib_controllers
    blas = [(Path(library.filepath).name, getattr(library, "architecture", "")) for library in libraries]
    return hashlib.sha256(b"".join([*sources, repr((PARALLEL, blas)).encode()])).hexdigest()[:16]


PARALLEL = _find_threads()
EDITION = _edition()
WORTH = 8  # a thread that waits in a busy loop is worth starting for so many times less work than one that sleeps


def compiled(function: Any, **options: Any) -> Any:
    """Compiled at the first call with each kind of arguments, and kept on the disk; lets other threads run meanwhile."""
    function.__qualname__ += f"_{EDITION}"  # it becomes a part of the file's name; what is compiled in two ways has two names
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:  # there is no folder that may be written to
        return njit(function, **options)


def threaded(function: Any, **options: Any) -> Callable[..., None]:
    """The same, and its first argument says how many threads run the parts of its ``prange``.

    One part is run by a plain loop: to say how many threads there are takes longer than what few numbers need.
    """
    alone: Callable[..., None] = compiled(function, **options)
    if not PARALLEL:
        return alone
    run: Callable[..., None] = compiled(function, parallel=True, **options)

    @functools.wraps(function)
    def call(parts: int, *args: Any) -> None:
        if parts == 1:
            return alone(parts, *args)
        before = numba.get_num_threads()  # of this thread; the user may have loops of their own
        numba.set_num_threads(min(parts, config.NUMBA_NUM_THREADS))
        try:
            run(parts, *args)
        finally:
            numba.set_num_threads(before)

    return call


def loop(function: Any) -> Any:
    """A loop for one thread; compiled into the loops that call it, for a call with pieces of arrays takes as long as a row."""
    return compiled(function, fastmath=SUMS, forceinline=True)


def shared(function: Any) -> Any:
    """A loop for several."""
    return threaded(function, fastmath=SUMS)


def inline(function: Any) -> Any:
    """Compiled into the loops that call it. What stands in brackets stays so: nothing is exchanged."""
    return compiled(function, forceinline=True, fastmath={"contract"})


@inline
def part(n, p, parts):
    """Where part p of n items begins and ends."""
    return n * p // parts, n * (p + 1) // parts


def parts(n_items: int, nbytes: int) -> int:
    """In how many parts to do it: see `minidl.kernels.threads.parts`."""
    nbytes *= WORTH
    return max(threads.n_parts(n_items, nbytes), 1) if PARALLEL and nbytes >= threads.WORTH_A_THREAD else 1
