"""Who runs where: one pool of threads for all kernels, and BLAS held to one thread while the pool is in use.

NumPy lets go of the interpreter inside its loops and matrix products, so plain Python threads keep all cores busy. There must
be one owner of that parallelism: after a threaded product OpenBLAS's own workers wait for more in a busy loop and take the core
from ours. So when the pool is first built NumPy's BLAS is set to one thread, for the whole process; `set_num_threads(1)`
gives that back. At the same time the allocator is told to keep freed memory (see `memory`).

Work is cut into as many parts as there are threads, always the same way: the same number of threads gives the same result,
bit for bit.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from .memory import keep_freed


def _usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores this process may use: those it may run on, and no more than a container's share of time amounts to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores
    return max(1, min(cores, time // period))


def blas_of_numpy() -> ThreadpoolController:
    """The BLAS that came with NumPy, so that other engines in the process keep theirs; all of them where there is none."""
    found = ThreadpoolController().select(user_api="blas")
    here = str(Path(np.__file__).parent)  # wheels keep it in numpy.libs or numpy/.dylibs
    own = [lib.filepath for lib in found.lib_controllers if lib.filepath.startswith(here)]
    return found.select(filepath=own) if own else found


class _Pool:
    """The worker threads, and the queue they take work from."""

    def __init__(self, n_threads: int) -> None:
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.n_threads = n_threads
        self.blas = _inherited or blas_of_numpy().limit(limits=1)
        keep_freed()
        self.together = threading.Barrier(n_threads)
        for i in range(1, n_threads):
            threading.Thread(target=self._work, name=f"minidl-{i}", daemon=True).start()
        self.warm()

    def warm(self) -> None:
        """A product in every thread at once: OpenBLAS takes some 30 MB for each, and ends the process where it cannot."""
        self.together.wait()
        np.ones((128, 128), np.float32) @ np.ones((128, 128), np.float32)

    def _work(self) -> None:
        _local.inside = True  # a kernel called from a part of another runs it whole
        self.warm()
        for function, part, done in iter(self.queue.get, None):
            found: BaseException | None = None
            try:
                function(part)
            except BaseException as error:
                found = error
            del function, part  # what they hold on to is let go before the caller goes on
            done.put(found)
            del found, done

    def close(self) -> None:
        for _ in range(1, self.n_threads):
            self.queue.put(None)
        global _inherited
        _inherited = None
        self.blas.restore_original_limits()


class _Local(threading.local):
    inside = False


_local = _Local()
_lock = threading.Lock()
_wanted = _usable_cores()
_pool: _Pool | None = None
_inherited: Any = None  # in a forked child: what the parent's pool did to BLAS, and how to undo it


def get_num_threads() -> int:
    """How many threads the CPU kernels use: by default as many as there are cores that this process may use."""
    return _wanted


def set_num_threads(n: int) -> None:
    """Set how many threads the CPU kernels use. With 1 BLAS gets back the threads it had.

    Raises
    ------
    TypeError
        If ``n`` is no whole number.
    ValueError
        If ``n`` is less than 1.
    """
    global _wanted, _pool
    if not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: wants a whole number, got {n!r}")
    if n < 1:
        raise ValueError(f"set_num_threads: wants at least 1, got {n}")
    with _lock:
        _wanted = int(n)
        if _pool is not None and _pool.n_threads != n:
            _pool.close()
            _pool = None


def _get_pool() -> _Pool:
    """The pool, made if there is none; the caller holds the lock."""
    global _pool
    if _pool is None:
        _pool = _Pool(_wanted)
    return _pool


def hold_blas() -> None:
    """Hold BLAS to one thread, as the pool does, because somebody else calls it from several."""
    if _pool is None:
        with _lock:
            _get_pool()


def _forget_pool() -> None:
    """After a fork the child has the pool but not its threads."""
    global _pool, _lock, _inherited
    _inherited = _inherited if _pool is None else _pool.blas
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


# To wake a thread and wait for it, and for the interpreter, takes some 40 microseconds; one core moves this much meanwhile.
WORTH_A_THREAD = 1 << 20


def as_bytes(products: int) -> int:
    """What so many multiplications with additions in a matrix product come to: four take as long as to move a byte."""
    return products // 4


def n_parts(n_items: int, nbytes: int) -> int:
    """How many parts to make of ``n_items``: one for each thread, fewer if there are fewer items, or less work.

    ``nbytes`` is the work in bytes moved; see `as_bytes` for that of a matrix product.
    """
    return 1 if _local.inside else min(_wanted, n_items, 1 + nbytes // WORTH_A_THREAD)


def parts(n_items: int, nbytes: int) -> list[slice]:
    """``n_items`` cut into so many even slices."""
    n = n_parts(n_items, nbytes)
    edges = [n_items * i // n for i in range(n + 1)] if n else [0]
    return [slice(a, b) for a, b in zip(edges, edges[1:])]


def run(function: Callable[[Any], Any], work: list[Any]) -> None:
    """Call ``function`` with each part of ``work``, each in a thread of its own; the first in the caller's.

    The first error raised in a part is raised here, when all parts have ended.
    """
    shared = work[1:]
    done = queue.SimpleQueue[Any]()
    if shared:
        with _lock:  # so that `set_num_threads` in another thread closes the pool before or after, not between
            if _wanted == 1:  # only since the work was cut
                shared = []
            for part in shared:
                _get_pool().queue.put((function, part, done))
    if not shared:
        for part in work:
            function(part)
        return
    _local.inside, was_inside = True, _local.inside
    try:
        function(work[0])
    finally:
        _local.inside = was_inside
        errors = [error for error in (done.get() for _ in shared) if error is not None]
    if errors:
        raise errors[0]


def share(function: Callable[[slice], None], n_items: int, products: int) -> None:
    """Call ``function`` with slices of ``n_items`` that the threads share; ``products`` is the work, as in `as_bytes`."""
    run(function, parts(n_items, as_bytes(products)))


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, Any] = {}


_scratch = _Scratch()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array for this thread to work in, its content undefined: the same memory again at the next call with this name.

    It is as large as the largest that was asked for, some megabytes, and kept as long as the thread.
    """
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = _scratch.buffers.get(name)
    if buffer is None or buffer.size < nbytes:
        buffer = _scratch.buffers[name] = np.empty(nbytes, np.uint8)
    return buffer[:nbytes].view(dtype).reshape(shape)
