"""Tracing: the ops and effects of a call, as steps that can be run again without the function that was called."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from .. import backend
from ..autograd.mode import mode
from ..autograd.op import Op
from ..autograd.tape import TensorBase, source
from ..autograd.watch import Watcher
from ..functions import counting, indexing
from ..nn.module import Module
from ..ops import index
from .program import Ref, Step
from .signature import Untraceable, flatten

SIZED_BY_NUMBERS = {index._nonzero.op, indexing._unique.op, counting.bincount.op}
ONE_HOT = counting.one_hot.op


class Tracer(Watcher):
    """Notes every op and effect of this thread inside ``with tracer:``, and the first thing that it cannot follow."""

    def __init__(self, inputs: list[Any]) -> None:
        self.n_inputs, self.recording = len(inputs), mode.recording
        self.same = [(i, weakref.ref(t)) for i, t in enumerate(inputs)]  # as in every trace so far, of which this is the first
        self.values: list[Any] = list(inputs)  # all of them are kept alive, so that an id stays theirs
        self.number = {id(t): i for i, t in enumerate(inputs)}
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []
        self.touched: set[int] = set()  # what effects, or the caller, may change
        self.modules: dict[Module, None] = {}  # in order
        self.optimizers: list[Any] = []
        self.problem: str | None = None
        self.busy = False  # inside an op or an effect, whose doings are not the program's

    def refuse(self, why: str) -> None:
        """Remember why the call cannot become a program; the first reason counts."""
        if not self.busy:
            self.problem = self.problem or why

    def finish(self, out: Any) -> None:
        """Note what came of the call.

        Raises
        ------
        Untraceable
            If there is a reason to.
        """
        results: list[Any] = []
        self.layout = flatten(out, results, "what it returns")
        if mode.recording != self.recording:
            self.refuse("it leaves recording switched on or off")
        self.outputs = [self._note(t).number for t in results]
        self._touch(results)
        if self.problem:
            raise Untraceable(self.problem)

    def forget(self) -> None:
        """Keep only what `compare` needs: no activations, and no graph."""
        self.values, self.number = [], {}

    # -- what happens

    def run(self, op: Op, values: Any) -> Any:
        """Note the op."""
        if self.busy:
            return super().run(op, values)
        self._check_recording(op.name)
        if op in SIZED_BY_NUMBERS or (op is ONE_HOT and values[1] == -1):
            self.refuse(f"how large the result of {op.name} is depends on numbers")
        return self._step(op, values, lambda: super(Tracer, self).run(op, values))

    def effect(self, function: Callable[..., Any], args: Any) -> Any:
        """Note what is done."""
        return self._effect(function, args, lambda: super(Tracer, self).effect(function, args))

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Note the step."""
        self.optimizers.append(optimizer)
        return self._effect(update, (optimizer, step), lambda: super(Tracer, self).optimizer(optimizer, step))

    def _effect(self, function: Any, args: Any, call: Callable[[], Any]) -> Any:
        if self.busy:
            return call()
        self._check_recording("a change")
        self._touch(args)
        return self._step(function, args, call)

    def _step(self, function: Any, args: Any, call: Callable[[], Any]) -> Any:
        noted = tuple(map(self._note, args))
        self.busy = True
        try:
            out = call()
        finally:
            self.busy = False
        self.steps.append(Step(function, noted, self._new(out) if isinstance(out, TensorBase) else None))
        return out

    def _check_recording(self, before: str) -> None:
        if mode.recording != self.recording:
            self.refuse(f"recording is switched on or off inside it, before {before}")

    def seen(self, t: Any, how: str) -> None:
        """Not outside an op or an effect."""
        super().seen(t, how)
        self.refuse(how if t is None else f"a tensor of shape {tuple(t.shape)}: {how}")

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """Not outside a backward pass, which is an effect."""
        self.refuse("it calls grad()")
        return super().pull(node, g, graph, needed)

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Not with hooks, which may do anything."""
        self.modules[module] = None
        if forward != module.forward:
            self.refuse(f"{type(module).__name__} has hooks")
        return super().module(module, forward, args, kwargs)

    # -- values and their numbers

    def _new(self, t: Any) -> int:
        self.number[id(t)] = len(self.values)
        self.values.append(t)
        return len(self.values) - 1

    def _note(self, value: Any) -> Any:
        """A value with `Ref` in the place of tensors; one that nobody made is a constant."""
        if isinstance(value, TensorBase):
            if id(value) not in self.number:
                self.constants[self._new(value)] = value
            return Ref(self.number[id(value)])
        if type(value) in (tuple, list):
            return type(value)(map(self._note, value))
        if type(value) is dict:
            return {key: self._note(each) for key, each in value.items()}
        return value

    def _touch(self, value: Any) -> None:
        """Note that the memory of the tensors in ``value`` may be changed."""
        if isinstance(value, TensorBase):
            self.touched.add(self._note(value).number)
            if value._base is not None:
                self.touched.add(self.number.get(id(value._base), -1))
        elif type(value) in (tuple, list, dict):
            for each in value.values() if type(value) is dict else value:
                self._touch(each)


def watched() -> bool:
    """Whether a trace is being made in this thread."""
    watcher = mode.watcher
    while watcher is not None and not isinstance(watcher, Tracer):
        watcher = watcher.outer
    return watcher is not None


def update(optimizer: Any, step: Callable[[], Any]) -> None:
    """The step of an optimiser, as an effect."""
    if mode.watcher is None:
        step()
    else:
        mode.watcher.optimizer(optimizer, step)


# -- two traces


def compare(first: Tracer, second: Tracer) -> None:
    """Refuse what differs between two traces of the same function: it depends on more than the ops show.

    What is the same in both is taken for constant: the parameters above all, and tables made anew each time.
    """
    if len(first.steps) != len(second.steps):
        raise Untraceable(f"one call ran {len(first.steps)} ops, the next {len(second.steps)}")
    for a, b in zip(first.steps, second.steps):
        name = b.function.name if isinstance(b.function, Op) else "a change"
        if a.function != b.function or a.out != b.out:
            raise Untraceable(f"two calls ran other ops, or in another order: see {name}")
        if not _same(a.args, b.args):
            raise Untraceable(f"{name} had other arguments the second time")
    if first.outputs != second.outputs or first.layout != second.layout:
        raise Untraceable("it returns something else the second time")
    for number, t in second.constants.items():
        before = first.constants.get(number)
        if t is before:
            continue
        what = f"a tensor of shape {tuple(t.shape)} is made anew"
        if number in second.touched:
            raise Untraceable(f"{what}, and is changed or returned")
        if before is None or source(t) is not None or not _same(before._array, t._array):
            raise Untraceable(f"{what} with other numbers")


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in backend.types and hasattr(a, "tobytes"):
        return a.shape == b.shape and a.dtype == b.dtype and bool(a.tobytes() == b.tobytes())
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return False
