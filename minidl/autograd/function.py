"""One's own differentiable function, in PyTorch's form.

The shorter form, which minidl's own ops use, is `minidl.autograd.differentiable`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from .. import backend
from .mode import mode, no_grad
from .tape import Node, TensorBase, boxed, counter, describe_site, source, wrap


class FunctionCtx:
    """What ``forward`` leaves for ``backward``: tensors by `save_for_backward`, anything else as attributes."""

    needs_input_grad: tuple[bool, ...] = ()
    _to_save: tuple[Any, ...] = ()
    _saved: list[tuple[Any, ...]] | None = None
    _outputs: list[Any]  # weak references to the outputs' nodes, so that no cycle is made
    _no_gradient: tuple[Any, ...] = ()
    _materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep inputs or outputs (or None) for `saved_tensors`; a later change in place will be noticed."""
        for t in tensors:
            if t is not None and not isinstance(t, TensorBase):
                raise TypeError(f"save_for_backward: takes tensors or None, got {type(t).__name__}")
        self._to_save = tensors

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """These outputs have no gradient."""
        self._no_gradient = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether outputs that nobody used get a gradient of zeros (the default) or None."""
        self._materialize = value

    def mark_dirty(self, *inputs: Any) -> None:
        """Not available: a function of minidl's may not change its inputs in place."""
        raise NotImplementedError("Function: mark_dirty is not supported; compute a new tensor instead of changing an input")

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given."""
        if self._saved is None:
            raise RuntimeError(
                "Function: saved_tensors are freed after backward; pass retain_graph=True to the first backward, "
                "or run the forward pass again"
            )
        return tuple(self._look(*entry) for entry in self._saved)

    def _keep(self, outputs: tuple[Any, ...], owner: FunctionNode | None) -> None:
        """Note what was saved in a form that makes no cycle: arrays, and where their gradients go."""
        self._saved = []
        for t in self._to_save:
            if t is None:
                self._saved.append((None, None, None, 0))
                continue
            goes_to = source(t)
            if goes_to is None:  # an output, or a constant
                goes_to = next((i for i, out in enumerate(outputs) if out is t), t)
            seen = counter(t)
            self._saved.append((t._array, goes_to, seen, seen.changes))
        self._to_save, self._outputs = (), [] if owner is None else owner.outputs

    def _look(self, array: Any, goes_to: Any, seen: Any, changes: int) -> Any:
        if seen is None:
            return None
        if seen.changes != changes:
            raise RuntimeError(
                f"backward: {type(self).__name__} saved a tensor of shape {array.shape}, but it was changed in place by "
                f"{seen.place()}"
            )
        if isinstance(goes_to, TensorBase):
            return goes_to
        if isinstance(goes_to, int):  # an output
            return wrap(array, self._outputs[goes_to]() if self._outputs else None)
        return wrap(array, goes_to)


class FunctionNode(Node):
    """A recorded call of a `Function`; its gradient is a `_Packed` one, with a place for each output."""

    __slots__ = ("ctx", "function", "likes", "outputs")

    def __init__(self, function: type[Function], ctx: FunctionCtx, parents: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
        super().__init__(parents, outs[0]._array)
        self.function, self.ctx = function, ctx
        self.likes = [t._array for t in outs]
        self.outputs: list[Any] = [lambda: None] * len(outs)

    def name(self) -> str:
        return self.function.__name__

    def pull(self, g: Any, graph: bool, needed: set[Any] | None) -> Iterator[tuple[Any, Any, bool]]:
        ctx = self.ctx
        gs = [g.parts.get(i) for i in range(len(self.likes))]
        if ctx._materialize:
            gs = [_zeros(like, graph) if gi is None else gi for gi, like in zip(gs, self.likes)]
        if not graph:
            gs = [None if gi is None else boxed(gi) for gi in gs]
        result = self.function.backward(ctx, *gs)
        result = result if isinstance(result, tuple) else (result,)
        if len(result) < len(self.parents) or any(r is not None for r in result[len(self.parents) :]):
            raise RuntimeError(
                f"backward: {self.name()} ({describe_site(self.site)}) returned {len(result)} gradients "
                f"for {len(self.parents)} inputs"
            )
        for parent, gp in zip(self.parents, result):
            if not isinstance(gp, (TensorBase, type(None))):
                raise TypeError(f"backward: {self.name()} must return tensors or None, got {type(gp).__name__}")
            if parent is not None and gp is not None:
                yield parent, gp if graph else gp._array, False

    def release(self) -> None:
        if self.ctx._saved:
            self.ctx._saved = None


class _Packed:
    """The gradients of several outputs, travelling as one."""

    def __init__(self, parts: dict[int, Any], like: Any) -> None:
        self.parts, self.shape, self.dtype = parts, like.shape, like.dtype

    def __add__(self, other: _Packed) -> _Packed:
        return _Packed({**self.parts, **other.parts}, self)  # each output speaks once: its own node has added up


class OutputNode(Node):
    """One output of a `FunctionNode`."""

    __slots__ = ("index",)

    def __init__(self, parent: FunctionNode, index: int, out: Any) -> None:
        super().__init__((parent,), out)
        self.index = index

    def name(self) -> str:
        return str(self.parents[0].name())

    def pull(self, g: Any, graph: bool, needed: set[Any] | None) -> Iterator[tuple[Any, Any, bool]]:
        parent = self.parents[0]
        yield parent, _Packed({self.index: g}, parent), False


def _zeros(like: Any, graph: bool) -> Any:
    zeros = backend.xp(like).zeros_like(like)
    return wrap(zeros) if graph else zeros


class Function:
    """A differentiable function written as two static methods and called through ``apply``.

    ``forward(ctx, *args)`` gets the arguments and returns one tensor or a tuple of them; ``backward(ctx, *grads)`` gets one
    gradient for each output and returns one for each argument, None for those that have none. If ``setup_context(ctx, inputs,
    output)`` is defined, ``forward`` takes no ``ctx``. Nothing inside ``forward`` is recorded; ``backward`` is recorded
    under ``create_graph=True``, so written with differentiable operations it can be differentiated again.

    Examples
    --------
    >>> import minidl
    >>> class Cube(minidl.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x**2
    >>> x = minidl.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    setup_context: Any = None

    @staticmethod
    def forward(*args: Any) -> Any:
        """Compute the output; see the class."""
        raise NotImplementedError("Function: define a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Compute the gradients; see the class."""
        raise NotImplementedError("Function: define a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the function, and record the call if an argument requires a gradient."""
        if mode.watcher is not None:
            mode.watcher.seen(None, f"{cls.__name__}, a Function, is applied")
            return mode.watcher.function(cls, args)
        return cls._apply(args)

    @classmethod
    def _apply(cls, args: tuple[Any, ...]) -> Any:
        ctx = FunctionCtx()
        parents = tuple(source(a) if isinstance(a, TensorBase) else None for a in args)
        ctx.needs_input_grad = tuple(p is not None for p in parents)
        with no_grad():
            if cls.setup_context is None:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        outs = result if isinstance(result, tuple) else (result,)
        for out in outs:
            if not isinstance(out, TensorBase):
                raise TypeError(f"{cls.__name__}: forward must return a tensor or a tuple of tensors, got {type(out).__name__}")
        recorded = mode.recording and any(ctx.needs_input_grad)
        if recorded:  # a view would take its history from its base: an output has its own, and so memory of its own
            given, outs = outs, tuple(t if t._base is None else wrap(t._array.copy()) for t in outs)
            ctx._to_save = tuple(next((out for t, out in zip(given, outs) if t is kept), kept) for kept in ctx._to_save)
        node = FunctionNode(cls, ctx, parents, outs) if recorded else None
        ctx._keep(outs, node)
        if node is not None:
            outs = tuple(cls._output(node, i, t, args) for i, t in enumerate(outs))
        return outs if isinstance(result, tuple) else outs[0]

    @staticmethod
    def _output(node: FunctionNode, i: int, t: Any, args: tuple[Any, ...]) -> Any:
        if any(t is a for a in args):  # handed through: the same memory under a new name
            t, seen = wrap(t._array), counter(t)
            t._counter = seen
        if t._array.dtype.kind == "f" and not any(t is n for n in node.ctx._no_gradient):
            t._node = OutputNode(node, i, t._array)
            node.outputs[i] = weakref.ref(t._node)
        return t
