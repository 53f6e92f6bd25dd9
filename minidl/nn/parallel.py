"""Data parallelism: every rank has the whole model and a part of each batch, and all take the same step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .._tensor import Tensor
from ..autograd import is_grad_enabled
from ..autograd.mode import mode, queue_callback
from ..autograd.tape import boxed, mark_changed, source
from ..backend import kernels, xp
from ..distributed.communicators import Communicator, ReduceOp
from ..distributed.group import world
from .module import Module


class DistributedDataParallel(Module):
    """``module`` with its gradients averaged over all ranks at the end of each backward pass.

    At the start all ranks get the parameters and buffers of rank 0. A backward pass from an output of this module ends when
    every parameter's ``.grad`` holds the average over the ranks; so if the loss is a mean over the rank's part of the batch,
    and the parts are of one size, the gradient is that of the whole batch. Every rank must make the same calls.

    The gradients travel in one flat array for each dtype, in the order of the parameters, and afterwards are views of it. They
    are sent when all are there: on a CPU, which has to move the bytes itself, nothing is gained by sending the first while the
    last are computed (`benchmarks/distributed.py` measures it).

    Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.

    Parameters
    ----------
    module : Module
        What to train; reachable as ``.module``, and in a `state_dict` under ``module.``.
    device_ids : list, optional
        For scripts that give it: the one device of the module. What is on other devices is not moved.
    output_device : optional
        For scripts that give it: the device in ``device_ids``.
    forward_sync_buffers : bool, optional
        Whether before each forward pass that follows a training step all ranks get the buffers (running means) of rank 0; they
        do, if this is left out.
    broadcast_buffers : bool, optional
        Its older name, which False keeps from rank 0's buffers at the start, too.
    init_sync : bool
        Whether all ranks get the parameters and buffers of rank 0 at the start.
    process_group
        The group of all ranks, or None.
    find_unused_parameters : bool
        Whether a rank may leave parameters out. Then its gradient of them counts as 0, and where all ranks leave one out its
        ``.grad`` stays None. Otherwise that is an error, at once. (To know what the others left out, a GPU is waited for.)
    static_graph : bool
        PyTorch's promise that every step is alike; then parameters may be left out as well.
    gradient_as_bucket_view, bucket_cap_mb, bucket_cap_mb_list, batched_grad_copy
        PyTorch's, for its buckets: there are none here, and gradients are always views. They change nothing.
    dim, check_reduction, delay_all_reduce_named_params, param_to_hook_all_reduce, mixed_precision, device_mesh, \
skip_all_reduce_unused_params
        PyTorch's; not supported.

    Raises
    ------
    RuntimeError
        If the ranks' parameters or buffers differ in more than their numbers, or no parameter wants a gradient; and, in
        ``backward``, if some was left out.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Communicator | None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: list[int] | None = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
    ) -> None:
        super().__init__()
        theirs = {
            "dim": dim, "check_reduction": check_reduction, "mixed_precision": mixed_precision, "device_mesh": device_mesh,
            "delay_all_reduce_named_params": delay_all_reduce_named_params,
            "param_to_hook_all_reduce": param_to_hook_all_reduce,
            "skip_all_reduce_unused_params": skip_all_reduce_unused_params,
        }  # fmt: skip
        for name, value in theirs.items():
            if value:
                raise NotImplementedError(f"DistributedDataParallel: {name}={value!r} is not supported; leave it out")
        if not isinstance(module, Module):
            raise TypeError(f"DistributedDataParallel: module must be a Module, got {type(module).__name__}")
        if device_ids is not None and len(device_ids) != 1:
            raise ValueError(f"DistributedDataParallel: a rank has one device, got device_ids={device_ids}")
        if output_device is not None and output_device not in (device_ids or []):
            raise ValueError(f"DistributedDataParallel: output_device={output_device!r} is not that of device_ids={device_ids}")
        self.module, self.comm = module, world(process_group, "DistributedDataParallel")
        buffers_too = forward_sync_buffers is not None or broadcast_buffers is not False
        self.forward_sync_buffers = buffers_too if forward_sync_buffers is None else forward_sync_buffers
        self.find_unused_parameters = find_unused_parameters or static_graph
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self.named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not self.named:
            raise RuntimeError("DistributedDataParallel: no parameter of the module requires a gradient")
        _check_alike(module, self.comm)
        if init_sync:
            self._from_rank_0([*module.parameters(), *(module.buffers() if buffers_too else [])])

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module computes; a backward pass from it will average the gradients."""
        if mode.watcher is not None:
            mode.watcher.seen(None, "its gradients are exchanged between ranks")
        if self.forward_sync_buffers and self.require_forward_param_sync:
            self._from_rank_0([*self.module.buffers()])
        out = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = is_grad_enabled() and self.require_backward_grad_sync
        if self.require_forward_param_sync:
            for tensor in _tensors(out):
                if source(tensor) is not None:
                    tensor.register_hook(lambda g: queue_callback(self._average))
        return out

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """What is computed forward inside leaves the gradients of this rank alone: they add up until a step outside."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def _average(self) -> None:
        """Replace every gradient by its average over the ranks; see the class."""
        if not self.find_unused_parameters:
            missing = [name for name, p in self.named if p._grad is None]
            if missing:
                raise RuntimeError(
                    f"DistributedDataParallel: {', '.join(missing)} got no gradient on rank {self.comm.rank}, having no part "
                    "in the loss; leave it out of the module, set requires_grad=False, or pass find_unused_parameters=True"
                )
        for members in _by_dtype(self.named):
            arrays = [p._array for _, p in members]
            library, n_flags = xp(arrays[0]), len(arrays) if self.find_unused_parameters else 0
            flat = library.empty(sum(a.size for a in arrays) + n_flags, arrays[0].dtype)
            views, used = _views(flat, arrays), [p._grad is not None for _, p in members]
            for view, (_, p) in zip(views, members):
                if p._grad is None:
                    view[...] = 0
                else:
                    kernels(view).blockwise(partial(_scale, 1 / self.comm.size), view, p._grad._array)
            if n_flags:  # behind the gradients goes who has them
                flat[-n_flags:] = library.asarray([float(u) for u in used], flat.dtype)
            self.comm.all_reduce(flat, ReduceOp.SUM)
            if n_flags:
                used = [count > 0 for count in flat[-n_flags:].tolist()]
            for view, (_, p), anywhere in zip(views, members, used):
                if anywhere:
                    p._grad = boxed(view)

    def _from_rank_0(self, tensors: list[Tensor]) -> None:
        for members in _by_dtype([("", t) for t in tensors]):
            arrays = [t._array for _, t in members]
            flat = xp(arrays[0]).empty(sum(a.size for a in arrays), arrays[0].dtype)
            views = _views(flat, arrays)
            if self.comm.rank == 0:
                for view, array in zip(views, arrays):
                    view[...] = array
            self.comm.broadcast(flat, 0)
            if self.comm.rank > 0:
                for (_, t), view in zip(members, views):
                    t._array[...] = view
                    mark_changed(t, "broadcast")

    def __getstate__(self) -> Any:
        raise TypeError("DistributedDataParallel cannot be copied or pickled, as it belongs to this process; take its .module")


def _check_alike(module: Module, comm: Communicator) -> None:
    """Raise if the ranks have different models: numbers travel without names, so those of one weight would go into another."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    described = [
        f"{name} of shape {tuple(t.shape)}, {t.dtype}, dimensions in memory {_order(t._array)}, requires_grad={t.requires_grad}"
        for name, t in tensors
    ]
    for rank, theirs in enumerate(comm.all_gather_object(described)):
        if theirs != described:
            numbers = tuple(f"{len(all_of)} parameters and buffers" for all_of in (described, theirs))
            mine, other = next((pair for pair in zip(described, theirs) if pair[0] != pair[1]), numbers)
            words = f"rank {comm.rank} has another model than rank {rank}: {mine}, not {other}"
            raise RuntimeError(f"DistributedDataParallel: {words}")


def _scale(factor: float, out: Any, array: Any) -> None:
    xp(out).multiply(array, out.dtype.type(factor), out)


def _by_dtype(named: list[tuple[str, Any]]) -> list[list[tuple[str, Any]]]:
    """In groups of one dtype, in the order they come in."""
    groups: dict[Any, list[tuple[str, Any]]] = {}
    for name, t in named:
        groups.setdefault(t._array.dtype.str, []).append((name, t))
    return [*groups.values()]


def _order(array: Any) -> list[int]:
    """The dimensions as they lie in memory, that of the largest steps first, and those of size 1, which lie anywhere, last."""
    return sorted(range(array.ndim), key=lambda d: -abs(array.strides[d]) * (array.shape[d] > 1))


def _views(flat: Any, arrays: list[Any]) -> list[Any]:
    """Pieces of ``flat`` in the shapes of ``arrays``, each in its memory order."""
    found, start = [], 0
    for array in arrays:
        order = _order(array)
        piece = flat[start : start + array.size].reshape([array.shape[d] for d in order])
        found.append(piece.transpose([order.index(d) for d in range(array.ndim)]))
        start += array.size
    return found


def _tensors(out: Any) -> Iterator[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, (tuple, list)):
        for item in out:
            yield from _tensors(item)
    elif isinstance(out, dict):
        for item in out.values():
            yield from _tensors(item)
