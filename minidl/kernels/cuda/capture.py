"""A step captured: its launches as one list that the GPU keeps, a CUDA graph, and repeats without the host.

What is repeated is the same to the last bit: the same kernels, at the same places in memory, with the same numbers. So memory
is taken from a pool of the graph's own, which lives as long as it does. And numbers of the host's that change from step to step
(a learning rate, a count of steps, of random draws) are not given by value but written to the GPU's memory before each
repetition, by a launch whose arguments they are: nothing waits, and no memory of the host is read too late.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cupy
import numpy as np

from .loader import launch

AT_ONCE = 480  # words of 8 bytes that one launch writes, as in tell.cu
WORDS = 1 << 14  # in all
FLAGS = 1 << 10  # what may turn out to be wrong in a step


class _Here(threading.local):
    graph: Graph | None = None  # what is captured now
    suitable = False


here = _Here()


class NotCaptured(RuntimeError):
    """What a graph cannot hold."""


def refuse(what: str) -> None:
    """Raise `NotCaptured` if a capture is going on."""
    if here.graph is not None:
        raise NotCaptured(what)


@contextlib.contextmanager
def suitable() -> Iterator[None]:
    """Inside, everything is done in the way in which it can be captured: nothing is sorted that can be searched for."""
    before, here.suitable = here.suitable, True
    try:
        yield
    finally:
        here.suitable = before


@functools.cache
def _told(dtype: Any, n: int) -> Any:
    return np.dtype([("numbers", dtype, (n,)), ("place", np.uint64)], align=True)


def given(numbers: Any, dtype: Any) -> Any:
    """Numbers by value, as a kernel takes them (``Told`` in common.cuh), which has a place for one also where there is none."""
    made = np.zeros((), _told(np.dtype(dtype), max(len(numbers), 1)))
    made["numbers"][: len(numbers)] = numbers
    return made[()]


def told(read: Callable[[], Any], dtype: Any, n: int) -> Any:
    """The ``n`` numbers that ``read()`` gives, by value; in a capture the place where they are written each time."""
    if here.graph is None:
        return given(read(), dtype)
    made = np.zeros((), _told(np.dtype(dtype), n))
    made["place"] = here.graph.tell(read, np.dtype(dtype), n)
    return made[()]


def each_time(function: Callable[[], None]) -> None:
    """Call ``function`` before each repetition of what is captured now, if something is."""
    if here.graph is not None:
        here.graph.preparations.append(function)


def keep(array: Any) -> None:
    """Have what is captured now, if something is, keep an array that others may forget: a launch knows only where it is."""
    if here.graph is not None:
        here.graph.kept.append(array)


class Drawn:
    """An integer that ``draw()`` gives: another one in each repetition."""

    def __init__(self, draw: Callable[[], int]) -> None:
        self.draw = draw
        self.renew()
        each_time(self.renew)

    def renew(self) -> None:
        """Draw it."""
        self.now = self.draw()

    def __int__(self) -> int:
        return self.now


class Graph:
    """What ``capture`` notes, and `launch` does, as often as wanted."""

    def __init__(self) -> None:
        self.pool = cupy.cuda.MemoryPool()
        self.preparations: list[Callable[[], None]] = []
        self.kept: list[Any] = []
        self.board = cupy.zeros(WORDS, np.uint64)
        self.readers: list[tuple[Callable[[], Any], Any, int]] = []  # of what is on the board, as what, and where
        self.numbers = np.zeros(WORDS, np.uint64)
        self.used = self.n_flags = 0
        self.flags = cupy.zeros(FLAGS, bool)
        self.graph: Any = None

    def tell(self, read: Callable[[], Any], dtype: Any, n: int) -> int:
        """A place on the board where ``read()`` is written before each launch. It is read once for the first."""
        place, self.used = self.used, self.used + -(-n * dtype.itemsize // 8)
        if self.used > WORDS:
            raise NotCaptured(f"more than {WORDS} numbers that change from step to step")
        self.readers.append((read, dtype, place))
        self._write(read, dtype, place)
        return int(self.board.data.ptr) + 8 * place

    def _write(self, read: Callable[[], Any], dtype: Any, place: int) -> None:
        values = np.array(read(), dtype)
        self.numbers[place:].view(dtype)[: values.size] = values

    def ever(self, wrong: Any) -> Any:
        """What becomes and stays true once ``wrong`` is, in this launch or a later one; for inside `capture`."""
        if self.n_flags == FLAGS:
            raise NotCaptured(f"more than {FLAGS} checks")
        flag, self.n_flags = self.flags[self.n_flags, ...], self.n_flags + 1
        flag |= wrong
        return flag

    def capture(self, step: Callable[[], Any]) -> Any:
        """What ``step()`` returns, whose launches are noted and not done."""
        stream = cupy.cuda.Stream(non_blocking=True)
        gc.collect()
        collects = gc.isenabled()
        gc.disable()  # what has been forgotten must not be freed in between
        try:
            with suitable(), cupy.cuda.using_allocator(self.pool.malloc), stream:
                stream.begin_capture()
                here.graph = self
                try:
                    out = step()
                except BaseException:
                    here.graph = None
                    with contextlib.suppress(Exception):  # the first error says more
                        stream.end_capture()
                    raise
                here.graph = None
                self.graph = stream.end_capture()
        finally:
            if collects:
                gc.enable()
        return out

    def launch(self, first: bool = False) -> None:
        """Do it; all but the ``first`` time with the numbers as they are now."""
        if not first:
            for prepare in self.preparations:
                prepare()
            for reader in self.readers:
                self._write(*reader)
        for start in range(0, self.used, AT_ONCE):
            words, n = np.zeros((), [("words", np.uint64, AT_ONCE)]), min(self.used - start, AT_ONCE)
            words["words"][:n] = self.numbers[start : start + n]
            launch("tell", "tell", n, words[()], self.board[start:], n, real=np.float32)
        self.graph.launch()
