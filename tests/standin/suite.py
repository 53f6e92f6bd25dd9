"""What ``pytest --device cuda`` does: every test of the suite with its tensors on a GPU, or on the stand-in for one.

The tests were written for the CPU. So new tensors are made on the GPU by default, `from_numpy` brings its array there, and
``numpy()`` and NumPy's functions get a copy from there, which outside the tests must be asked for. What a test says about the
CPU itself stays out: ``not_on_gpu.txt`` lists it, with the reasons.
"""

import fnmatch
import functools
import pathlib

import numpy as np

import minidl
from minidl import backend, dtypes
from minidl._tensor import Tensor
from minidl.autograd.tape import wrap
from minidl.testing.engine import as_it_lies


def _read_list():
    """The patterns of ``not_on_gpu.txt``, which match test ids without the folder, and the reason above each."""
    found, why = {}, ""
    for line in (pathlib.Path(__file__).parent / "not_on_gpu.txt").read_text().splitlines():
        if line.startswith("# "):
            why = line[2:]
        elif line:
            found[line] = why
    return found


NOT_ON_GPU = _read_list()


@functools.cache
def real_gpu():
    """Whether CuPy itself is here and finds a device: then tests run on that, and the stand-in stays out."""
    try:
        import cupy

        return cupy.__name__ == "cupy" and cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:
        return False


def begin():
    """Bring the suite to the GPU; returns what it runs on."""
    real = real_gpu()
    if not real:
        from . import strict

        strict.install()
    minidl.set_default_device("cuda")
    host_numpy, from_host = Tensor.numpy, minidl.from_numpy

    def numpy(self, *, force=False):
        return self.detach().cpu().numpy() if self.is_cuda and not self.requires_grad else host_numpy(self, force=force)

    def from_numpy(ndarray):
        where = minidl.get_default_device()
        if where.type == "cpu" or not isinstance(ndarray, np.ndarray):
            return from_host(ndarray)
        dtypes.as_dtype(ndarray.dtype)  # refuses what tensors do not hold
        return wrap(as_it_lies(ndarray, where))

    minidl.Generator.__init__.__defaults__ = ("cuda",)
    Tensor.numpy = numpy
    minidl.from_numpy = from_numpy
    return f"{minidl.cuda.get_device_name()} by CuPy {backend.gpu.xp.__version__}" if real else "the stand-in for CuPy"


def reason(nodeid):
    """Why a test is left out, or None."""
    name = nodeid.rpartition("tests/")[2]
    return next((why for pattern, why in NOT_ON_GPU.items() if fnmatch.fnmatchcase(name, pattern)), None)
