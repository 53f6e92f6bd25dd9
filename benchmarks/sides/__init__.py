"""The sides of the benchmarks: every engine, in each of its modes, as a process that obeys.

``SIDES`` names them; `Process` starts one; ``python -m sides NAME`` is what it starts. A side's module has a class ``Case``: a
network with its weights and batch from `given`, and ``step()``, which returns the loss. Each is a process of its own so that
neither's threads, allocator or BLAS settings touch the other's, and so that it may have an interpreter of its own.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Side:
    """An engine in one of its modes."""

    module: str  # in this folder
    package: str  # as pip knows it
    options: dict = field(default_factory=dict)  # for its Case
    environment: dict = field(default_factory=dict)  # for its process


# the C library keeps freed memory, as minidl has it do by itself: these sides are called "(kept)"
_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def _torch(environment=None, **options):
    return Side("torchlike", "torch", {"library": "torch", **options}, environment or {})


MINIDL = {
    "minidl": Side("torchlike", "minidl", {"library": "minidl"}),
    "minidl (NumPy)": Side("torchlike", "minidl", {"library": "minidl"}, {"MINIDL_COMPILED": "0"}),  # though there is Numba
    "minidl.compile": Side("torchlike", "minidl", {"library": "minidl", "compiled": True}),
}
TORCH = {
    "PyTorch": _torch(),
    "PyTorch channels_last": _torch(channels_last=True),
    "PyTorch (kept)": _torch(_KEPT),
    "PyTorch channels_last (kept)": _torch(_KEPT, channels_last=True),
    "torch.compile": _torch(compiled=True),
    "torch.compile (kept)": _torch(_KEPT, compiled=True),
}
ENGINES = {
    "JAX": Side("jax", "jax"),
    "numpygrad": Side("numpygrad", "numpygrad"),
    "DeZero": Side("dezero", "dezero"),
    "Chainer": Side("chainer", "chainer"),
    "MyGrad": Side("mygrad", "mygrad"),
    "pydynet": Side("pydynet", "pydynet"),
    "autograd": Side("autograd", "autograd"),
    "SmallPebble": Side("smallpebble", "smallpebble"),
}
SIDES = {**MINIDL, **TORCH, **ENGINES}


class SideError(Exception):
    """What a side could not do, in its words."""


class Process:
    """A process that serves one side."""

    def __init__(self, name, python=sys.executable):
        paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, **SIDES[name].environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [python, "-m", "sides", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, order, **options):
        """The answer to an order: a function of ``__main__`` by name, with its arguments."""
        try:
            self.process.stdin.write(json.dumps({"order": order, **options}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise SideError("it ended early") from None
        answer = self.process.stdout.readline()
        if not answer:
            raise SideError("it ended early")
        answer = json.loads(answer)
        if "error" in answer:
            raise SideError(answer["error"])
        return answer["answer"]

    def close(self):
        """End the process."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
