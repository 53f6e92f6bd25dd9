"""Watching: what a profiler or a tracer sees of a program, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .mode import mode


class Watcher:
    """Called around every op, step of a sweep, module and step of an optimiser of this thread, inside ``with watcher:``.

    Each method does what it was called around, and may do more; a watcher that is entered inside another is called by it.
    When none is entered all this costs one look at a variable.
    """

    outer: Watcher | None = None

    def __enter__(self) -> Any:
        inner = mode.watcher
        while inner is not None:
            if inner is self:
                name = type(self).__name__
                raise RuntimeError(f"{name}: this one is at work already; inside it, make another: with {name}()")
            inner = inner.outer
        self.outer, mode.watcher = mode.watcher, self
        return self

    def __exit__(self, *_: object) -> None:
        if mode.watcher is self:
            mode.watcher = self.outer
        else:  # one that was entered later is left later too
            inner = mode.watcher
            while inner.outer is not self:
                inner = inner.outer
            inner.outer = self.outer
        self.outer = None

    def run(self, op: Any, values: Any) -> Any:
        """Around an op on tensors."""
        return op.run(values) if self.outer is None else self.outer.run(op, values)

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """Around the rules of a node in a sweep."""
        return node.pull(g, graph, needed) if self.outer is None else self.outer.pull(node, g, graph, needed)

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Around the ``forward`` of a module."""
        return forward(*args, **kwargs) if self.outer is None else self.outer.module(module, forward, args, kwargs)

    def function(self, function: Any, args: Any) -> Any:
        """Around the ``apply`` of a `Function`, and all ops that its ``forward`` is made of."""
        return function._apply(args) if self.outer is None else self.outer.function(function, args)

    def effect(self, function: Callable[..., Any], args: Any) -> Any:
        """Around what is done to tensors that outlive the program: a backward pass, a change in place."""
        return function(*args) if self.outer is None else self.outer.effect(function, args)

    def seen(self, t: Any, how: str) -> None:
        """Something was done that is no op: a tensor was changed in place, say, or its numbers left for Python, or (with None
        for the tensor) random numbers were drawn; ``how`` says what.
        """
        if self.outer is not None:
            self.outer.seen(t, how)

    def loss_of(self, op: str, input: Any, target: Any) -> None:
        """A loss is about to compare two tensors, element with element."""
        if self.outer is not None:
            self.outer.loss_of(op, input, target)

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Around the updates in an optimiser's ``step``."""
        return step() if self.outer is None else self.outer.optimizer(optimizer, step)
