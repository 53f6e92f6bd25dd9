"""Communicators: what ranks do together, on bare arrays. A rank is a process; each has the same program and data of its own.

Every rank must make the same calls in the same order with arrays of the same shape and dtype, or they wait for each other
for ever.
"""

from __future__ import annotations

import enum
import os
from typing import Any

import numpy as np

from ..backend import xp
from ..devices import on_host


class ReduceOp(enum.Enum):
    """How the numbers of several ranks become one."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "prod"
    MIN = "min"
    MAX = "max"


class Communicator:
    """One process by itself, and the base of those that are many: ``rank`` is 0 and ``size`` 1.

    ``local_rank`` and ``local_size`` count the ranks on this host only; ``shares_cores`` is whether they run on the same cores.
    """

    name = "serial"
    rank, size, local_rank, local_size = 0, 1, 0, 1
    shares_cores = False

    def all_reduce(self, array: Any, op: ReduceOp = ReduceOp.SUM) -> None:
        """Give every rank the sum (or what ``op`` says) of the arrays of all, in place; the same bits on each."""

    def broadcast(self, array: Any, root: int = 0) -> None:
        """Give every rank the numbers of rank ``root``, in place."""

    def all_gather(self, array: Any) -> Any:
        """The arrays of all ranks, one below the other: ``(size, *array.shape)``."""
        return array[None].copy()

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def all_gather_object(self, obj: Any) -> list[Any]:
        """The objects of all ranks."""
        return [obj]

    def broadcast_object(self, obj: Any, root: int = 0) -> Any:
        """The object of rank ``root``."""
        return obj

    def close(self) -> None:
        """Let go of what it holds."""


class MPI(Communicator):
    """Ranks that MPI started, through mpi4py, on one host or many. Arrays go by the host's memory.

    The sum of many numbers depends, in its last bits, on their order. MPI takes the same order for the same call, so results
    are the same from run to run with the same ranks.
    """

    name = "mpi"

    def __init__(self, comm: Any = None) -> None:
        from mpi4py import MPI as mpi

        self.mpi, self.comm = mpi, mpi.COMM_WORLD if comm is None else comm
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        local = self.comm.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = local.Get_rank(), local.Get_size()
        cores = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self.shares_cores = self.local_size > 1 and len(set(local.allgather(cores))) == 1
        local.Free()
        self.ops = {
            ReduceOp.SUM: mpi.SUM,
            ReduceOp.AVG: mpi.SUM,
            ReduceOp.PRODUCT: mpi.PROD,
            ReduceOp.MIN: mpi.MIN,
            ReduceOp.MAX: mpi.MAX,
        }

    def all_reduce(self, array: Any, op: ReduceOp = ReduceOp.SUM) -> None:
        """See `Communicator`."""
        _check_reducible(array, op)
        half = array.dtype == np.float16  # which MPI does not know
        work = _on_host(array).astype(np.float32) if half else _on_host(array)
        self.comm.Allreduce(self.mpi.IN_PLACE, work, op=self.ops[op])
        if op is ReduceOp.AVG:
            work /= self.size
        _put_back(work, array)

    def broadcast(self, array: Any, root: int = 0) -> None:
        """See `Communicator`."""
        work = _on_host(array)
        self.comm.Bcast(work.reshape(-1).view(np.uint8), root)
        _put_back(work, array)

    def all_gather(self, array: Any) -> Any:
        """See `Communicator`."""
        work = _on_host(array)
        out = np.empty((self.size, *work.shape), work.dtype)
        self.comm.Allgather(work.reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8))
        return out if isinstance(array, np.ndarray) else xp(array).asarray(out)

    def barrier(self) -> None:
        """See `Communicator`."""
        self.comm.Barrier()

    def all_gather_object(self, obj: Any) -> list[Any]:
        """See `Communicator`."""
        found: list[Any] = self.comm.allgather(obj)
        return found

    def broadcast_object(self, obj: Any, root: int = 0) -> Any:
        """See `Communicator`."""
        return self.comm.bcast(obj, root)


def _check_reducible(array: Any, op: ReduceOp) -> None:
    """The same refusals whatever carries the numbers."""
    if array.dtype.kind == "b":
        raise TypeError("all_reduce: a bool tensor has no sum; convert it to an integer, as in tensor.to(minidl.uint8)")
    if op is ReduceOp.AVG and array.dtype.kind != "f":
        raise TypeError(f"all_reduce: the average of {array.dtype} is no whole number; use SUM, or convert to a floating dtype")


def _on_host(array: Any) -> Any:
    """The numbers in row-major order in the host's memory, which is all that MPI is given; the array itself if it is so."""
    array = on_host(array)
    return np.ascontiguousarray(array) if array.ndim else array


def _put_back(work: Any, array: Any) -> None:
    """Write what came out into ``array``, unless it is there already."""
    if work is not array:
        array[...] = work if isinstance(array, np.ndarray) else xp(array).asarray(work.astype(array.dtype))
