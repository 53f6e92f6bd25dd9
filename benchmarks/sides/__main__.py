"""Serve one side: ``python -m sides NAME``. Orders come by standard input, a line of JSON each; so go the answers."""

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import tracemalloc

from . import SIDES, layers, resident, sequences

try:
    from threadpoolctl import threadpool_info
except ImportError:  # in an engine's own environment
    threadpool_info = None


class Server:
    """The orders that a side obeys."""

    def __init__(self, side):
        self.side, self.case = side, None
        self.module = importlib.import_module(f"{__package__}.{side.module}")
        if "library" in side.options:
            importlib.import_module(side.options["library"])

    def versions(self):
        """The engine, what it stands on, its threads, and the kernels of its BLAS where they can be told."""
        package, said = self.side.package, []
        if package != "minidl":  # which need not be installed to be imported
            said.append(f"{package} {importlib.metadata.version(package)}")
        if package != "torch":
            said.append(f"NumPy {importlib.metadata.version('numpy')}")
        said.append(f"Python {platform.python_version()}")
        if package in ("minidl", "torch"):
            said.append(f"{sys.modules[package].get_num_threads()} threads")
        elif threadpool_info:
            said += [f"{i.get('architecture')} kernels, {i['num_threads']} threads" for i in threadpool_info()[:1]]
        return ", ".join(said)

    def make(self, **case):
        """Make a case, take four steps of it: the losses."""
        self.case = None  # the memory of the one before is free before more is asked for
        self.case = self.module.Case(**case, **self.side.options)
        return [float(self.case.step()) for _ in range(4)]

    def make_layer(self, **case):
        """Make a layer by itself: numbers that tell its output and its gradients."""
        self.case = None
        self.case = layers.Layer(**case, **self.side.options)
        return self.case.proof()

    def make_sequence(self, **case):
        """Make a network on sequences: what four steps of it return."""
        self.case = None
        self.case = sequences.Case(**case, **self.side.options)
        return self.case.proof()

    def time(self, steps):
        """Seconds of a step, the mean of so many."""
        start = time.perf_counter()
        for _ in range(steps):
            self.case.step()
        return (time.perf_counter() - start) / steps

    def peak_resident(self, steps, **case):
        """Bytes that are resident at most within a step, over those before the case was made.

        A batch of one has been there before: the library's own code, threads and tables do not count.
        """
        self.make(**{**case, "batch": 1})
        self.case = None
        resident.give_back()
        before = resident.now()
        self.make(**case)
        with resident.peak() as found:
            self.time(steps)
        return found[0] - before

    def peak_allocated(self, steps, **case):
        """Bytes that NumPy and Python have allocated at most within a step, over those before the case was made."""
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        self.make(**case)
        tracemalloc.reset_peak()
        self.time(steps)
        _, peak = tracemalloc.get_traced_memory()
        return peak - before


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an engine prints is not taken for an answer
    side, server = SIDES[sys.argv[1]], None
    for line in sys.stdin:
        options = json.loads(line)
        try:
            server = server or Server(side)
            answer = {"answer": getattr(server, options.pop("order"))(**options)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
