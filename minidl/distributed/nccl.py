"""NCCL: ranks with a GPU each, over NVLink or the network, without a detour through the host's memory."""

from __future__ import annotations

from typing import Any

from ..devices import check_device
from .communicators import MPI, ReduceOp, _check_reducible


class NCCL(MPI):
    """Ranks that MPI started, each with a GPU of its own; arrays go from GPU to GPU, objects by MPI.

    NCCL wants a number that all ranks know, to find each other. Rank 0 draws it and MPI takes it to the others. Calls are
    put on the current stream: they wait for what is before them there, and the host waits for nothing.

    Two ranks cannot share a GPU. Rank ``i`` of a host takes GPU ``i``, unless ``device`` says another.
    """

    name = "nccl"

    def __init__(self, comm: Any = None, device: int | None = None) -> None:
        super().__init__(comm)
        self.device = self.local_rank if device is None else device
        check_device(f"cuda:{self.device}", f"NCCL on rank {self.rank}, {self.local_rank} of {self.local_size} on its host")
        import cupy
        from cupy.cuda import nccl

        cupy.cuda.Device(self.device).use()
        self.cupy, self.nccl = cupy, nccl
        uid = self.broadcast_object(nccl.get_unique_id() if self.rank == 0 else None)
        self.link = nccl.NcclCommunicator(self.size, uid, self.rank)
        names = {"float16": "FLOAT16", "float32": "FLOAT32", "float64": "FLOAT64", "int8": "INT8", "uint8": "UINT8"}
        names |= {"int32": "INT32", "int64": "INT64"}
        self.dtypes = {dtype: getattr(nccl, f"NCCL_{name}") for dtype, name in names.items()}
        names = {"SUM": "SUM", "AVG": "AVG", "PRODUCT": "PROD", "MIN": "MIN", "MAX": "MAX"}
        self.nccl_ops = {ReduceOp[name]: getattr(nccl, f"NCCL_{theirs}") for name, theirs in names.items()}

    def _stream(self) -> int:
        return int(self.cupy.cuda.get_current_stream().ptr)

    def _dense(self, array: Any, op: str) -> Any:
        """The numbers in row-major order in the GPU's memory."""
        if not isinstance(array, self.cupy.ndarray):
            raise TypeError(f"{op}: NCCL moves what lies on a GPU, this tensor lies on the CPU; use tensor.cuda(), or MPI")
        return self.cupy.ascontiguousarray(array) if array.ndim else array

    def all_reduce(self, array: Any, op: ReduceOp = ReduceOp.SUM) -> None:
        """See `Communicator`."""
        _check_reducible(array, op)
        work = self._dense(array, "all_reduce")
        if work.dtype.name not in self.dtypes:
            raise TypeError(f"all_reduce: NCCL knows no {work.dtype}")
        at = work.data.ptr
        self.link.allReduce(at, at, work.size, self.dtypes[work.dtype.name], self.nccl_ops[op], self._stream())
        if work is not array:
            array[...] = work

    def broadcast(self, array: Any, root: int = 0) -> None:
        """See `Communicator`."""
        work = self._dense(array, "broadcast")
        at = work.data.ptr
        self.link.broadcast(at, at, work.nbytes, self.nccl.NCCL_UINT8, root, self._stream())
        if work is not array:
            array[...] = work

    def all_gather(self, array: Any) -> Any:
        """See `Communicator`."""
        work = self._dense(array, "all_gather")
        out = self.cupy.empty((self.size, *work.shape), work.dtype)
        self.link.allGather(work.data.ptr, out.data.ptr, work.nbytes, self.nccl.NCCL_UINT8, self._stream())
        return out

    def close(self) -> None:
        """End the connection between the GPUs."""
        self.link.destroy()
