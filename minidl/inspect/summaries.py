"""What a network consists of: layers, shapes, parameters, memory, arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import random
from ..autograd.mode import enable_grad
from ..autograd.sweep import reachable
from ..autograd.tape import TensorBase, source
from ..autograd.watch import Watcher
from ..functions.creation import zeros
from ..profiler import costs
from .places import remembered


@dataclass
class Layer:
    """One call of a module; in all counts what is inside it is counted too."""

    name: str
    type: str
    depth: int
    output: str = ""  #: shape
    parameters: int = 0  #: 0 where an earlier line has counted them
    bytes: int = 0  #: of its output
    flops: int = 0  #: of its forward pass


@dataclass
class Summary:
    """What `summary` found; ``print`` shows it."""

    layers: list[Layer]
    parameters: int
    trainable: int
    parameter_bytes: int  #: of parameters and buffers
    remembered: int  #: bytes that the forward pass keeps for the backward pass, beside the parameters
    flops: int  #: of one forward pass

    def __repr__(self) -> str:
        names = ["  " * layer.depth + f"{layer.name}: {layer.type}" for layer in self.layers]
        width, shapes = max(map(len, ["layer", *names])), max(len(layer.output) for layer in self.layers)
        shapes = max(shapes, 6)
        lines = [f"{'layer':{width}}  {'output':{shapes}}  parameters  output KB      MFLOP"]
        lines += [
            f"{name:{width}}  {layer.output:{shapes}}{layer.parameters or '-':>12}"
            f"{layer.bytes / 1e3:11.1f}{layer.flops / 1e6:11.3f}"
            for name, layer in zip(names, self.layers)
        ]
        kept = self.parameter_bytes + self.trainable_bytes + self.remembered
        return "\n".join(
            [
                *lines,
                f"{self.parameters:,} parameters, {self.trainable:,} of them trained; {self.flops / 1e6:,.3f} MFLOP forward",
                f"memory of a training step: {self.parameter_bytes / 1e6:.3f} MB parameters and buffers + "
                f"{self.trainable_bytes / 1e6:.3f} MB gradients + {self.remembered / 1e6:.3f} MB remembered for the way back "
                f"= {kept / 1e6:.3f} MB",
            ]
        )

    trainable_bytes: int = 0  #: of the gradients


class _Layers(Watcher):
    """Notes every module and the arithmetic in it."""

    def __init__(self, root: Any) -> None:
        self.layers: list[Layer] = []
        self.open: list[tuple[Layer, Any]] = []
        self.counted: set[int] = set()
        self.root, self.flops = root, 0

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Note a module, what it returns, and parameters that nothing before had."""
        inside = self.open[-1][1] if self.open else None
        named = inside.named_modules(remove_duplicate=False) if inside is not None else ()
        name = next((n for n, m in named if m is module and n), "model" if module is self.root else type(module).__name__)
        layer = Layer(name, type(module).__name__, len(self.open))
        own = [p for p in module.parameters() if id(p) not in self.counted]
        self.counted |= {id(p) for p in own} if not list(module.children()) else set()
        layer.parameters = sum(p._array.size for p in own)
        self.layers.append(layer)
        self.open.append((layer, module))
        try:
            out = super().module(module, forward, args, kwargs)
        finally:
            self.open.pop()
        found = list(_tensors(out))
        layer.output = ", ".join(str(tuple(t.shape)) for t in found)
        layer.bytes = sum(t._array.nbytes for t in found)
        return out

    def run(self, op: Any, values: Any) -> Any:
        """Count an op with every module that is at work."""
        out = super().run(op, values)
        flops, _ = costs.of_op(op, values, out)
        self.flops += flops
        for layer, _ in self.open:
            layer.flops += flops
        return out


def _tensors(x: Any) -> Iterator[Any]:
    if isinstance(x, TensorBase):
        yield x
    elif isinstance(x, (tuple, list, dict)):
        for each in x.values() if isinstance(x, dict) else x:
            yield from _tensors(each)


def _remembered(outputs: Any, known: set[int]) -> int:
    """The bytes that the nodes behind ``outputs`` keep, each piece of memory once, and not what is in ``known``."""
    kept: dict[int, int] = {}
    for node in reachable([source(t) for t in _tensors(outputs)]):
        for array in remembered(node):
            while isinstance(getattr(array, "base", None), np.ndarray):
                array = array.base
            kept[id(array)] = array.nbytes
    return sum(n for key, n in kept.items() if key not in known)


def summary(model: Any, input: Any) -> Summary:
    """Run ``model`` once, and count: layers with output shapes, parameters, memory and floating-point operations.

    The model runs in the mode it is in; its buffers and the random generator are as before afterwards.

    Parameters
    ----------
    model : Module
        The network.
    input : Tensor, tuple of them, or shape
        What it is called with. A tuple of integers is a shape: zeros of that shape.

    Examples
    --------
    >>> model = minidl.nn.Sequential(minidl.nn.Linear(8, 4), minidl.nn.ReLU(), minidl.nn.Linear(4, 2))
    >>> s = minidl.inspect.summary(model, (5, 8))
    >>> s.parameters, s.flops, [layer.output for layer in s.layers]
    (46, 450, ['(5, 2)', '(5, 4)', '(5, 4)', '(5, 2)'])
    """
    if isinstance(input, (tuple, list)) and input and all(type(n) is int for n in input):
        input = zeros(*input)
    args = input if isinstance(input, (tuple, list)) else (input,)
    if not args or not all(isinstance(t, TensorBase) for t in args):
        raise TypeError("summary: input must be a Tensor, a tuple of them, or a shape")
    watcher, buffers, state = _Layers(model), [(b, b._array.copy()) for b in model.buffers()], random.get_rng_state()
    try:
        with watcher, enable_grad():
            out = model(*args)
    finally:
        random.set_rng_state(state)
        for b, numbers in buffers:
            b._array[...] = numbers
    parameters = list(model.parameters())
    trained = [p for p in parameters if p._requires_grad]
    return Summary(
        watcher.layers,
        sum(p._array.size for p in parameters),
        sum(p._array.size for p in trained),
        sum(t._array.nbytes for t in (*parameters, *model.buffers())),
        _remembered(out, {id(t._array) for t in (*parameters, *model.buffers())}),
        watcher.flops,
        sum(p._array.nbytes for p in trained),
    )
