"""Many processes as one: ranks that train together, on one machine or many, over MPI or NCCL.

``python -m minidl.distributed.launch`` starts the ranks, and `minidl.nn.parallel.DistributedDataParallel` wraps a model.
"""

from .communicators import MPI, Communicator, ReduceOp
from .group import (
    all_gather,
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    broadcast_object_list,
    destroy_process_group,
    get_backend,
    get_node_local_rank,
    get_rank,
    get_world_size,
    init_process_group,
    is_available,
    is_initialized,
    is_mpi_available,
    is_nccl_available,
)
from .logs import get_logger
from .nccl import NCCL

__all__ = [
    "MPI",
    "NCCL",
    "Communicator",
    "ReduceOp",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "destroy_process_group",
    "get_backend",
    "get_logger",
    "get_node_local_rank",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
]
