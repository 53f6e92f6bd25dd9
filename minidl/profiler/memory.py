"""What training will take of memory, before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd.op import OpNode
from ..autograd.sweep import reachable
from ..autograd.tape import TensorBase, source
from .costs import _arrays

WORDS = {
    "parameters": "parameters and buffers",
    "gradients": "their gradients",
    "optimizer": "the optimiser's state",
    "activations": "what the forward pass keeps for the backward pass",
}


class MemoryReport(dict[str, int]):
    """Bytes under ``"parameters"``, ``"gradients"``, ``"optimizer"`` and ``"activations"``; printed, a table of them."""

    def __str__(self) -> str:
        lines = [f"{WORDS[name]:<50} {nbytes / 2**20:10.2f} MiB" for name, nbytes in self.items()]
        return "\n".join([*lines, f"{'in all':<50} {sum(self.values()) / 2**20:10.2f} MiB"])


def memory_report(model: Any, *inputs: Any, optimizer: Any = None) -> MemoryReport:
    """What a training step of ``model`` on ``inputs`` holds in memory at once, as far as it is known before the first step.

    The forward pass is run, so give it a batch of the size to be trained with, or a smaller one: activations grow with it.
    Beside what is reported, each op needs some memory of its own while it runs, and data and program have theirs.

    Parameters
    ----------
    model : Module
        In the mode that it will be trained in. Its running statistics are as before afterwards.
    inputs
        Its arguments.
    optimizer : Optimizer, optional
        Counted with what it will hold for each parameter after the first step; of optimisers other than SGD and those like Adam
        with what they hold now.

    Examples
    --------
    >>> import minidl
    >>> net = minidl.nn.Linear(1024, 256)
    >>> report = memory_report(net, minidl.zeros(64, 1024), optimizer=minidl.optim.Adam(net.parameters()))
    >>> print(report)
    parameters and buffers                                   1.00 MiB
    their gradients                                          1.00 MiB
    the optimiser's state                                    2.00 MiB
    what the forward pass keeps for the backward pass        0.31 MiB
    in all                                                   4.32 MiB
    """
    params, buffers = [*model.parameters()], [*model.buffers()]
    before = [b.detach().clone() for b in buffers]
    out = model(*inputs)
    own = _owned([*params, *buffers])
    kept = _owned(_kept(out)).items()
    for buffer, numbers in zip(buffers, before):
        buffer.data.copy_(numbers)
    return MemoryReport(
        parameters=sum(own.values()),
        gradients=sum(p._array.nbytes for p in params if p.requires_grad),
        optimizer=0 if optimizer is None else sum(_state(optimizer, group) for group in optimizer.param_groups),
        activations=sum(nbytes for place, nbytes in kept if place not in own),
    )


def _owned(values: Iterable[Any]) -> dict[int, int]:
    """The memory behind arrays, each once: its bytes by where it is."""
    found = {}
    for array in _arrays(values):
        while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
            array = array.base
        found[id(array)] = int(array.nbytes)
    return found


def _kept(out: Any) -> list[Any]:
    """What the nodes behind a result remember, and the result."""
    if isinstance(out, dict):
        out = [*out.values()]
    tensors = [out] if isinstance(out, TensorBase) else [t for t in out if isinstance(t, TensorBase)]
    nodes = reachable([source(t) for t in tensors])
    return [*tensors, *(value for node in nodes if isinstance(node, OpNode) for value in (node.kept or {}).values())]


def _state(optimizer: Any, group: dict[str, Any]) -> int:
    """Bytes of an optimiser's state for the parameters of a group."""
    held = sum(sum(_owned(optimizer.state.get(p, {}).values()).values()) for p in group["params"])
    copies = (group.get("momentum") or 0) != 0 if "betas" not in group else 2 + bool(group.get("amsgrad"))
    return max(held, int(copies) * sum(int(p._array.nbytes) for p in group["params"]))
