"""A stand-in for ``cupy.cuda.nccl`` over MPI: the names and arguments of CuPy's, on memory of the stand-in for CuPy.

What NCCL would do wrongly without a word is refused: a pointer that is none, a type it does not have, a stream that is none,
a second communicator with the same number, calls after ``destroy``.
"""

import ctypes
import sys
import types

import numpy as np
from mpi4py import MPI

from . import strict

available = 1
NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN, NCCL_AVG = range(5)
NCCL_INT8, NCCL_UINT8, NCCL_INT32, NCCL_UINT32, NCCL_INT64, NCCL_UINT64 = range(6)
NCCL_FLOAT16, NCCL_FLOAT32, NCCL_FLOAT64, NCCL_BFLOAT16 = range(6, 10)
DTYPES = [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32, np.float64]
OPS = [MPI.SUM, MPI.PROD, MPI.MAX, MPI.MIN, MPI.SUM]
CALLS = []  # what was called, with how many elements


def get_unique_id():
    """128 bytes."""
    return b"minidl" + bytes(122)


def _at(pointer, count, datatype):
    assert type(pointer) is int and pointer > 0 and type(count) is int and type(datatype) is int
    dtype = np.dtype(DTYPES[datatype])
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(pointer), dtype)


class NcclCommunicator:
    """`cupy.cuda.nccl.NcclCommunicator`."""

    def __init__(self, ndev, commId, rank):
        assert isinstance(commId, bytes) and len(commId) == 128 and commId.startswith(b"minidl"), "not the id of rank 0"
        assert (ndev, rank) == (MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank)
        self.comm = MPI.COMM_WORLD.Dup()
        devices = self.comm.allgather(strict.here.device)
        assert len(set(devices)) == ndev, f"two ranks on one GPU: {devices}"

    def _check(self, name, count, stream):
        assert self.comm is not None, "destroyed"
        assert stream == strict.here.streams[-1].ptr, "another stream than the current one"
        CALLS.append((name, count))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        self._check("allReduce", count, stream)
        work = _at(sendbuf, count, datatype)
        wide = work.astype(np.float32) if work.dtype == np.float16 else work.copy()
        self.comm.Allreduce(MPI.IN_PLACE, wide, OPS[op])
        _at(recvbuf, count, datatype)[:] = wide / self.comm.size if op == NCCL_AVG else wide

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        self._check("broadcast", count, stream)
        work = _at(sendbuff, count, datatype).copy()
        self.comm.Bcast(work, root)
        _at(recvbuff, count, datatype)[:] = work

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        self._check("allGather", count, stream)
        out = _at(recvbuf, count * self.comm.size, datatype)
        self.comm.Allgather(_at(sendbuf, count, datatype).copy(), out)

    def destroy(self):
        self.comm = None


def install():
    """Put this module in its place; the stand-in for CuPy is there already."""
    strict.cuda.nccl = sys.modules["cupy.cuda.nccl"] = sys.modules[__name__]
    assert isinstance(strict.cuda, types.SimpleNamespace | types.ModuleType)
