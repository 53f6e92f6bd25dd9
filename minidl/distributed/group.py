"""The group of all ranks, and what they do together with tensors, under PyTorch's names."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from ..autograd import differentiable, no_grad
from ..autograd.mode import mode
from ..autograd.tape import TensorBase, mark_changed
from ..kernels.threads import get_num_threads, set_num_threads
from .communicators import MPI, Communicator, ReduceOp
from .nccl import NCCL

COMMUNICATORS: dict[str, Callable[[], Communicator]] = {"serial": Communicator, "mpi": MPI, "nccl": NCCL}
STARTED_BY_MPI = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")  # what mpiexec and schedulers leave in the environment


class _made:
    """The group that was made, if any, and how the threads were before."""

    world: Communicator | None = None
    threads: tuple[int, Any] | None = None


def is_available() -> bool:
    """Whether this package is there: always, as the serial backend needs nothing."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed (``pip install "minidl[mpi]"``)."""
    return importlib.util.find_spec("mpi4py") is not None


def is_nccl_available() -> bool:
    """Whether CuPy with NCCL, and mpi4py, are installed."""
    if importlib.util.find_spec("cupy") is None or not is_mpi_available():
        return False
    try:
        from cupy.cuda import nccl
    except ImportError:
        return False
    return bool(nccl.available)


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Any = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Make the group of all ranks. Every rank calls it once, before anything else here.

    The cores of a host are divided among its ranks: each has its share of threads afterwards, unless the scheduler has bound
    the ranks to cores of their own.

    Parameters
    ----------
    backend : {"serial", "mpi", "nccl"}, optional
        What carries the numbers. Left out: ``"mpi"`` if MPI started this process (by `minidl.distributed.launch`, ``mpiexec``
        or ``srun``), else ``"serial"``, one process by itself; so the same script runs alone, too.
    world_size, rank : int
        For scripts that give them: they must be what MPI says, or -1.
    device_id : minidl.device or int, optional
        The GPU of this rank, with ``"nccl"``. Left out: the one with the number of the rank on its host.
    init_method, timeout, store, pg_options
        PyTorch's; not supported: MPI knows how to find the ranks. ``"env://"`` is allowed and means nothing.

    Raises
    ------
    RuntimeError
        If MPI started this process and mpi4py is not installed, or srun started several that do not find each other.
    ValueError
        If there is a group already, ``backend`` names none, or ``world_size`` or ``rank`` is not what it is.
    """
    if init_method == "env://":
        init_method = None
    for name, value in {"init_method": init_method, "timeout": timeout, "store": store, "pg_options": pg_options}.items():
        if value is not None:
            raise NotImplementedError(f"init_process_group: {name}={value!r} is not supported; leave it out, MPI finds all")
    if _made.world is not None:
        raise ValueError("init_process_group: there is a process group already; call destroy_process_group() first")
    asked_for = backend
    if backend is None:
        started = "mpi4py.MPI" in sys.modules or any(int(os.environ.get(name, "-1")) >= 0 for name in STARTED_BY_MPI)
        backend = "mpi" if started else "serial"
    if backend.lower() not in COMMUNICATORS:
        raise ValueError(f"init_process_group: backend must be 'serial', 'mpi' or 'nccl', got {backend!r}")
    made = _connect(backend.lower(), device_id)
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if made.size == 1 < tasks and asked_for != "serial":
        raise RuntimeError(
            f"init_process_group: srun started {tasks} tasks, but each would be a rank alone, as srun and the MPI do not speak "
            "the same language; say srun --mpi=pmi2 for MPICH, --mpi=pmix for Open MPI (srun --mpi=list)"
        )
    for name, asked, found in (("world_size", world_size, made.size), ("rank", rank, made.rank)):
        if asked not in (-1, found):
            raise ValueError(f"init_process_group: {name}={asked}, but of the processes that were started it is {found}")
    _made.world = made
    _share_cores(made)
    atexit.register(destroy_process_group)


def _connect(backend: str, device_id: Any) -> Communicator:
    if backend != "serial" and not is_mpi_available():
        raise RuntimeError(
            f"init_process_group: backend {backend!r} needs mpi4py, which is not installed, and an MPI library: "
            'pip install "minidl[mpi]"'
        )
    if backend != "nccl":
        return COMMUNICATORS[backend]()
    return NCCL(device=device_id if device_id is None or isinstance(device_id, int) else device_id.index)


def _share_cores(made: Communicator) -> None:
    """Give this rank its share of the host's threads; ranks that are bound to cores of their own have it already."""
    if made.shares_cores:
        before = get_num_threads()
        n = max(1, before // made.local_size)
        _made.threads = before, threadpool_limits(n, "blas")
        set_num_threads(n)


def destroy_process_group(group_: Communicator | None = None) -> None:
    """End the group; the threads are as they were before it. Without a group nothing is done."""
    _whole(group_, "destroy_process_group")
    if _made.world is not None:
        _made.world.close()
        _made.world = None
        atexit.unregister(destroy_process_group)
    if _made.threads is not None:
        before, limits = _made.threads
        limits.restore_original_limits()
        set_num_threads(before)
        _made.threads = None


def is_initialized() -> bool:
    """Whether there is a group."""
    return _made.world is not None


def world(group_: Communicator | None = None, op: str = "process group") -> Communicator:
    """The communicator of the group of all ranks.

    Raises
    ------
    ValueError
        If there is no group yet.
    """
    _whole(group_, op)
    if _made.world is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return _made.world


def _whole(group_: Any, op: str) -> None:
    if group_ is not None and group_ is not _made.world:
        raise NotImplementedError(f"{op}: groups of some of the ranks are not supported; leave group out")


def get_backend(group: Communicator | None = None) -> str:
    """``"serial"``, ``"mpi"`` or ``"nccl"``."""
    return world(group, "get_backend").name


def get_rank(group: Communicator | None = None) -> int:
    """Which of the ranks this is, from 0."""
    return world(group, "get_rank").rank


def get_world_size(group: Communicator | None = None) -> int:
    """How many ranks there are."""
    return world(group, "get_world_size").size


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """Which of the ranks on this host this is, from 0; ``fallback_rank`` if there is no group."""
    if _made.world is None and fallback_rank is not None:
        return fallback_rank
    return world(None, "get_node_local_rank").local_rank


# -- together


def _begin(tensor: Any, group: Any, async_op: bool, op: str) -> Communicator:
    """Look at the arguments that all of them have."""
    made = world(group, op)
    if not isinstance(tensor, TensorBase):
        raise TypeError(f"{op}: wants a Tensor, got {type(tensor).__name__}")
    if async_op:
        raise NotImplementedError(f"{op}: async_op=True is not supported: on a CPU nothing is gained by it; leave it out")
    if mode.watcher is not None:
        mode.watcher.seen(tensor, f"{op} exchanges it with other ranks")
    if made.size > 1:
        calls = made.all_gather_object(f"{op} of {tuple(tensor._array.shape)}, {tensor._array.dtype}")
        if len(set(calls)) > 1:
            said = "; ".join(f"rank {rank} {call}" for rank, call in enumerate(calls))
            raise RuntimeError(f"{op}: every rank must make the same call, with the same shape and dtype; here {said}")
    return made


def _root(src: int | None, made: Communicator, op: str) -> int:
    if src is None or not 0 <= src < made.size:
        raise ValueError(f"{op}: src must be a rank from 0 to {made.size - 1}, got {src}")
    return src


@no_grad()
def all_reduce(tensor: Any, op: ReduceOp = ReduceOp.SUM, group: Communicator | None = None, async_op: bool = False) -> None:
    """Put the sum (or what ``op`` says) over all ranks into ``tensor``, on every rank; it is no part of the graph.

    Raises
    ------
    TypeError
        For a bool tensor, and for the average of integers.
    """
    made = _begin(tensor, group, async_op, "all_reduce")
    if not isinstance(op, ReduceOp):
        raise TypeError(f"all_reduce: op must be a ReduceOp, got {op!r}")
    made.all_reduce(tensor._array, op)
    mark_changed(tensor, "all_reduce")


@no_grad()
def broadcast(tensor: Any, src: int | None = None, group: Communicator | None = None, async_op: bool = False) -> None:
    """Put the numbers that ``tensor`` has on rank ``src`` into it on every rank."""
    made = _begin(tensor, group, async_op, "broadcast")
    made.broadcast(tensor._array, _root(src, made, "broadcast"))
    mark_changed(tensor, "broadcast")


@no_grad()
def all_gather(tensor_list: list[Any], tensor: Any, group: Communicator | None = None, async_op: bool = False) -> None:
    """Put ``tensor`` of rank ``i`` into ``tensor_list[i]``, on every rank; all have the same shape and dtype."""
    made = _begin(tensor, group, async_op, "all_gather")
    if len(tensor_list) != made.size or any(t.shape != tensor.shape or t.dtype != tensor.dtype for t in tensor_list):
        raise ValueError(f"all_gather: tensor_list must hold {made.size} tensors like {tuple(tensor.shape)} {tensor.dtype}")
    for t, array in zip(tensor_list, made.all_gather(tensor._array)):
        t._array[...] = array
        mark_changed(t, "all_gather")


def barrier(group: Communicator | None = None, async_op: bool = False) -> None:
    """Wait until every rank is here."""
    if async_op:
        raise NotImplementedError("barrier: async_op=True is not supported; leave it out")
    world(group, "barrier").barrier()


def all_gather_object(object_list: list[Any], obj: Any, group: Communicator | None = None) -> None:
    """Put ``obj`` of rank ``i``, anything that can be pickled, into ``object_list[i]``, on every rank."""
    made = world(group, "all_gather_object")
    if len(object_list) != made.size:
        raise ValueError(
            f"all_gather_object: object_list must have {made.size} places, as there are ranks, got {len(object_list)}"
        )
    object_list[:] = made.all_gather_object(obj)


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: Communicator | None = None) -> None:
    """Put what ``object_list`` holds on rank ``src`` into it on every rank."""
    made = world(group, "broadcast_object_list")
    object_list[:] = made.broadcast_object(object_list, _root(src, made, "broadcast_object_list"))


@differentiable
def summed(input: Any) -> Any:
    """The sum of ``input`` over all ranks, new and part of the graph: its gradient is the sum over all ranks of theirs."""
    out = input.copy()
    world().all_reduce(out)
    return out


summed.vjp(input=lambda g: summed(g))
