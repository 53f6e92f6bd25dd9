"""CUDA graphs on the stand-in: what is done in a capture is noted with its operands, and done again by each launch.

As on a GPU nothing has happened when the capture ends: memory is put back as it was, results hold NaN. And what CUDA or CuPy
refuse is refused: to wait, to send numbers from the host, products by cuBLAS, sorting, memory that is not of a private pool; to
launch a graph whose pool is gone, or that works on memory which has been freed.
"""

import contextlib
import gc
import threading
import weakref

import numpy as np

PRODUCTS = "matmul rmatmul imatmul dot vdot inner outer tensordot einsum kron".split()
SORTING = "sort argsort lexsort msort partition argpartition sort_complex".split()
_here = threading.local()


def going_on():
    """Whether this thread captures."""
    return getattr(_here, "graph", None) is not None


class Log(list):
    """What must not happen in a capture."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def append(self, entry):
        super().append(entry)
        refuse(f"{self.what} ({entry})")


def refuse(what):
    """An error, as CUDA raises it, if there is a capture."""
    if going_on():
        raise _here.graph.error(f"cudaErrorStreamCaptureUnsupported: {what}, which a stream that is captured does not allow")


def check(name):
    """Refuse what CuPy does by libraries that cannot be captured."""
    if name in PRODUCTS and going_on():
        raise NotImplementedError(f"{name}: calling cuBLAS API during stream capture is currently unsupported")
    if name in SORTING:
        refuse(f"{name} waits for the device")


def taken(block, pool):
    """New memory is taken from a pool of the program's own, or from the default one (None)."""
    if going_on():
        if pool is None:
            refuse("memory of the default pool is taken")
        _here.graph.pool = weakref.ref(pool)
        _here.graph.own.add(block)


def note(run, operands, result=None):
    """Keep what was done, and give the result back."""
    if going_on():
        found = result if isinstance(result, tuple | list) else [result]
        if all(hasattr(x, "block") for x in found):  # not a dtype, say
            _here.graph.add(run, operands, found)
        elif result is None:
            _here.graph.add(run, operands, [])
    return result


def begin(filling, error):
    """Begin a capture in this thread."""
    if going_on():
        raise error("cudaErrorIllegalState: a capture is going on")
    _here.graph = Graph(filling, error)


def end():
    """The graph."""
    graph, _here.graph = _here.graph, None
    graph.undo()
    return graph


class Graph:
    """`cupy.cuda.Graph`."""

    def __init__(self, filling, error):
        self.filling, self.error, self.pool = filling, error, None
        self.steps, self.made, self.given = [], [], []
        self.own = weakref.WeakSet()
        self.before = [(x.a, x.a.copy()) for x in gc.get_objects() if type(x).__name__ == "ndarray" and hasattr(x, "block")]

    def add(self, run, operands, results):
        """One more step."""
        self.steps.append((run, [x.a for x in results]))
        self.given += [weakref.ref(x.block) for x in operands if x.block not in self.own]
        self.made += [x.a for x in (*operands, *results) if x.block in self.own]

    def undo(self):
        """Make it so that nothing has happened."""
        for a in self.made:
            with contextlib.suppress(ValueError):  # one that looks at the same number several times cannot be written to
                a[...] = self.filling(a.dtype)
        for a, kept in self.before:
            if a.flags.writeable:
                a[...] = kept
        self.before, self.made = [], []

    def launch(self, stream=None):
        """Do it all again."""
        if self.pool is not None and self.pool() is None:
            raise self.error("cudaErrorIllegalAddress: the pool that a graph's memory is from is gone")
        if any(block() is None for block in self.given):
            raise self.error("cudaErrorIllegalAddress: memory that a graph works on has been freed")
        with np.errstate(all="ignore"):
            for run, results in self.steps:
                again = run()
                for old, new in zip(results, again if isinstance(again, tuple | list) else [again]):
                    if old is not new and not np.may_share_memory(old, new):
                        old[...] = new

    def upload(self, stream=None):
        """Nothing is to be prepared."""
