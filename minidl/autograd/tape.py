"""What the tape consists of: tensors, and the nodes that say how each was made.

A tensor knows the node that made it, a node knows the nodes its inputs came from; neither knows what was made of it later. So
a graph is freed with the last tensor that needs it. How ops record themselves is in `op`; which ops there are is no matter.
"""

from __future__ import annotations

import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..kernels.precision import here
from .mode import enable_grad, mode


class Counter:
    """How often a piece of memory was changed in place, and where last; shared by all views of it."""

    __slots__ = ("changes", "last")

    def __init__(self) -> None:
        self.changes = 0
        self.last: tuple[str, Any] = ("", None)

    def place(self) -> str:
        """What changed it last, and where in the program."""
        op, site = self.last
        return f"{op} ({describe_site(site)})"


class TensorBase:
    """What the tape knows of a tensor: an array, where its gradient goes, and whose memory it looks at.

    `minidl.Tensor` adds everything else.
    """

    __array_priority__ = 1000  # array + tensor is the tensor's business

    _array: Any
    _node: Node | None = None  # the op that made it; None for a leaf
    _requires_grad = False  # asked for by the user; only leaves are asked
    _counter: Counter | None = None
    _base: TensorBase | None = None  # the tensor whose memory this one is a view of ...
    _path: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()  # ... and the ops that lead from there to here
    _epoch = 0  # of a base: how often its history was rewritten in place; of a view: when it last looked
    _hooks: dict[int, Callable[..., Any]] | None = None
    _grad: Any = None
    grad: Any

    __hash__ = object.__hash__  # by identity, although == of tensors works element by element


def wrap(array: Any, node: Node | None = None) -> Any:
    """A tensor around ``array``, made by ``node``."""
    t: TensorBase = object.__new__(tensor_class)
    t._array = array
    if node is not None:
        t._node = node
    return t


def boxed(g: Any) -> Any:
    """A gradient as a tensor. NumPy's arithmetic turns arrays without dimensions into scalars; a tensor holds an array."""
    return wrap(np.asarray(g) if isinstance(g, np.generic) else g)


tensor_class: Any = TensorBase  # set to Tensor by minidl._tensor, once


def counter(t: TensorBase) -> Counter:
    """The counter of the memory ``t`` looks at."""
    if t._counter is None:
        t._counter = Counter()
    return t._counter


def source(t: Any) -> Any:
    """Where ``t``'s gradient goes: the node that made it, itself if it is a leaf that wants one, else None."""
    if t._base is not None and t._epoch != t._base._epoch:
        look_again(t)
    return t._node if t._node is not None else (t if t._requires_grad else None)


def look_again(view: TensorBase) -> None:
    """The base of ``view`` was changed in place since: its history is now that of the changed base."""
    fresh: Any = view._base
    with enable_grad():
        for op, options in view._path:
            fresh = op(fresh, *options)
    view._epoch = fresh._epoch
    give_history(view, fresh._node)


def give_history(t: TensorBase, node: Node | None) -> None:
    """``t`` goes on as the output of ``node``; a wish to retain its gradient goes with it."""
    before = t._node
    t._node = node
    if node is not None and before is not None and before.retained is not None:
        node.retained, before.retained = before.retained, None


_package = str(Path(__file__).resolve().parent.parent) + os.sep
_is_ours: dict[str, bool] = {}


def call_site(inside: int = 2) -> tuple[Any, int]:
    """The innermost line of the program that is not minidl's own: a code object and a position in it.

    That the ``inside`` innermost calls are minidl's is known to the caller.
    """
    frame: Any = sys._getframe(inside)
    while True:
        name = frame.f_code.co_filename
        ours = _is_ours.get(name)
        if ours is None:
            ours = _is_ours[name] = name.startswith(_package)
        if not ours or frame.f_back is None:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back


def describe_site(site: tuple[Any, int]) -> str:
    """A call site as ``file.py:12``."""
    code, position = site
    line = next((line for start, end, line in code.co_lines() if start <= position < end and line), code.co_firstlineno)
    return f"{code.co_filename}:{line}"


def mark_changed(t: TensorBase, op: str, site: Any = None) -> None:
    """Count a change in place, and remember where it happened: at ``site``, or where the program is."""
    seen = counter(t)
    seen.changes += 1
    seen.last = op, site or call_site()
    if mode.watcher is not None:
        mode.watcher.seen(t, f"{op} changes it in place")


# -- nodes

_births = itertools.count()


class Node:
    """A step on the tape: its parents, and how a gradient of its output becomes gradients of theirs."""

    __slots__ = ("__weakref__", "birth", "dtype", "hooks", "parents", "precision", "retained", "shape", "site")

    def __init__(self, parents: Sequence[Any], out: Any) -> None:
        self.parents = parents
        self.shape, self.dtype = out.shape, out.dtype
        self.birth, self.precision = next(_births), here.autocast  # its rules will multiply in the same way
        self.site = call_site(4)  # not here, in the subclass's __init__, nor in what calls that
        self.hooks: dict[int, Callable[..., Any]] | None = None
        self.retained: weakref.ref[Any] | None = None

    def name(self) -> str:
        """What made the tensor."""
        return type(self).__name__

    def pull(self, g: Any, graph: bool, needed: set[Any] | None) -> Iterator[tuple[Any, Any, bool]]:
        """Yield ``(parent, its gradient, whether that is a new array)`` for each parent that wants one."""
        raise NotImplementedError

    @property
    def adds_into(self) -> bool:
        """Whether `add_into` can be used: the op has one parent, and reads a part of it."""
        return False

    def add_into(self, before: Any, g: Any) -> None:
        """Add the gradient of the only parent to ``before``, in place."""
        raise NotImplementedError

    def release(self) -> None:
        """Forget what was remembered for the backward pass."""

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The parents, as PyTorch shows them: ``((node or leaf, 0), ...)``."""
        return tuple((p, 0) for p in flat_parents(self))

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def flat_parents(node: Node) -> Iterator[Any]:
    """The sources a node leads to."""
    for p in node.parents:
        if type(p) is tuple:
            yield from (q for q in p if q is not None)
        elif p is not None:
            yield p


class Handle:
    """Takes a hook out again: ``handle.remove()``, or leave a ``with`` block."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks, self.id = hooks, next(self._ids)
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook out; a second time does nothing."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
