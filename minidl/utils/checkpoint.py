"""Activation checkpointing: what the forward pass computed is forgotten and computed again when the backward pass wants it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import random
from ..autograd import enable_grad, is_grad_enabled, tape
from ..autograd.function import FunctionCtx, FunctionNode
from ..autograd.mode import mode
from ..autograd.op import OpNode
from ..autograd.tape import Node, TensorBase, counter, source


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Any = None,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args, **kwargs)``, of which only the arguments are remembered for the backward pass.

    When that arrives here, the function runs again, and then its gradients are computed as usual. That saves the memory of all
    that is between arguments and result, for the time of one more forward pass. While the function runs, either time, its own
    memory is needed; so a network is cut into several such parts. Results and gradients are the same to the last bit.

    The function must do the same again. Random numbers of minidl's default generator are: its state is kept. Running statistics
    of batch normalisation are counted twice, as in PyTorch.

    Source: Chen, Xu, Zhang and Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016.

    Parameters
    ----------
    function : callable
        What to run; gradients also reach tensors that it uses without being given them, such as parameters.
    use_reentrant : bool, optional
        False is what it does; True is not supported.
    determinism_check : {"default", "none"}
        Whether to look if the second run made the same operations with results of the same shapes. If it made another number
        of them, that is an error in any case.
    preserve_rng_state : bool
        Whether the second run draws the same random numbers.
    early_stop : bool
        PyTorch's, for speed; the second run is always a whole one.
    context_fn, debug
        PyTorch's; not supported.

    Raises
    ------
    RuntimeError
        In the backward pass: if an argument was changed in place since, or the second run did something else.
    """
    for name, value in {"use_reentrant": use_reentrant, "context_fn": context_fn, "debug": debug}.items():
        if value:
            raise NotImplementedError(f"checkpoint: {name}={value!r} is not supported; leave it out")
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    if mode.watcher is not None:
        mode.watcher.seen(None, "checkpoint forgets what was computed, to compute it again")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    call = partial(function, *args, **kwargs)
    states = [(g, g.get_state()) for g in _generators()] if preserve_rng_state else []
    given = [(t, counter(t), counter(t).changes) for t in (*args, *kwargs.values()) if isinstance(t, TensorBase)]
    out, nodes = _run(call)
    _Again(call, states, given, nodes, out, determinism_check == "default")
    return out


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """``functions`` one after the other, as `Sequential` runs them, in ``segments`` parts: all but the last are checkpoints.

    Parameters
    ----------
    functions : Sequential or sequence of callables
        Each takes what the one before it returned.
    segments : int
        How many parts; about the square root of the number of functions needs the least memory.
    input
        Of the first function.
    """
    if set(kwargs) - {"preserve_rng_state"}:
        raise ValueError("Unexpected keyword arguments: " + ",".join(sorted(set(kwargs) - {"preserve_rng_state"})))
    steps = list(functions)
    if not 1 <= segments <= max(len(steps), 1):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to the {len(steps)} functions, got {segments}")
    size = len(steps) // segments
    for i in range(segments - 1):
        input = checkpoint(_chain, steps[i * size : (i + 1) * size], input, use_reentrant=use_reentrant, **kwargs)
    return _chain(steps[(segments - 1) * size :], input)


def _chain(steps: Sequence[Callable[..., Any]], input: Any) -> Any:
    for step in steps:
        input = step(input)
    return input


def _run(call: Callable[[], Any]) -> tuple[Any, list[Node]]:
    """What ``call`` returns, and the nodes that were born in it and lead to that, oldest first."""
    start = next(tape._births)
    out = call()
    found: set[Node] = set()
    stack = [source(t) for t in _tensors(out)]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node.birth > start and node not in found:
            found.add(node)
            stack.extend(tape.flat_parents(node))
    return out, sorted(found, key=lambda node: node.birth)


def _tensors(out: Any) -> list[Any]:
    if isinstance(out, dict):
        out = [*out.values()]
    return (
        [t for item in out for t in _tensors(item)] if isinstance(out, (tuple, list)) else [out] * isinstance(out, TensorBase)
    )


def _generators() -> list[random.Generator]:
    return [random.default_generator, *random.of_gpus.values()]


@contextmanager
def _as_they_were(states: list[tuple[random.Generator, Any]]) -> Iterator[None]:
    """Inside, the random generators begin in these states; outside they go on where they were."""
    now = [(g, g.get_state()) for g, _ in states]
    for g, state in states:
        g.set_state(state)
    try:
        yield
    finally:
        for g, state in now:
            g.set_state(state)


class _Again:
    """Empties the nodes of a run, and fills them from a second one as soon as a gradient arrives at a result.

    The results' nodes hold this, and lead to the others; so this knows them weakly, and no cycle keeps a graph alive.
    """

    def __init__(self, call: Any, states: Any, given: Any, nodes: list[Node], out: Any, strict: bool) -> None:
        self.call, self.states, self.given, self.strict = call, states, given, strict
        self.nodes = [(weakref.ref(node), node.name(), node.shape, node.dtype) for node in nodes]
        for node in nodes:
            if isinstance(node, FunctionNode):
                node.ctx = FunctionCtx()
            elif isinstance(node, OpNode):
                node.kept = None
        for t in _tensors(out):
            if source(t) in nodes:
                t.register_hook(self.fill)

    def fill(self, _: Any) -> None:
        """Run it again, and put what it remembers where it is missing."""
        if self.call is None:  # another result of the same run was first
            return
        for t, seen, changes in self.given:
            if seen.changes != changes:
                raise RuntimeError(
                    f"checkpoint: an argument of shape {tuple(t.shape)} was changed in place by {seen.place()}, "
                    "before the backward pass could compute with it again; change a clone()"
                )
        with enable_grad(), _as_they_were(self.states):
            _, again = _run(self.call)
        if len(again) != len(self.nodes):
            raise RuntimeError(
                f"checkpoint: the function made {len(self.nodes)} operations at first and {len(again)} when it was run again; "
                "it must do the same both times"
            )
        for (known, name, shape, dtype), new in zip(self.nodes, again):
            if self.strict and (name, shape, dtype) != (new.name(), new.shape, new.dtype):
                raise RuntimeError(
                    f"checkpoint: the function made {name} of shape {tuple(shape)} at first and {new.name()} of shape "
                    f"{tuple(new.shape)} when it was run again; it must do the same both times"
                )
            _move(new, known())
        self.call, self.given, self.nodes = None, [], []


def _move(new: Any, old: Any) -> None:
    """What ``new`` remembers, into ``old``; that outside tensors are as they were then, old guards go on watching.

    It remembers nothing if it is part of a checkpoint inside this one, which fills its nodes itself.
    """
    if isinstance(old, FunctionNode) and new.ctx._saved is not None:
        old.ctx, outputs = new.ctx, old.outputs
        old.ctx._outputs = outputs if old.ctx._outputs else []
    elif isinstance(old, OpNode) and new.kept is not None:
        old.kept, old.guards = new.kept, [*old.guards, *new.guards]
