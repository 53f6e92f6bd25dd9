"""Tracing: the ops that a function runs, as a list that can be run again without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd.mode import mode
from ..autograd.op import Op
from ..autograd.tape import TensorBase, source
from ..autograd.watch import Watcher


class Untraceable(Exception):
    """Why a function has to be run as it is written."""


class Ref(NamedTuple):
    """A value of the program by its number: arguments first, then constants and results as they come up."""

    number: int


class Step(NamedTuple):
    """One op, or an effect: what is called, with what, and the number of the result (None for an effect)."""

    function: Any
    args: tuple[Any, ...]
    out: int | None

    def refs(self) -> Iterator[int]:
        """The numbers of the values it reads."""
        yield from _refs(self.args)


def _refs(x: Any) -> Iterator[int]:
    if type(x) is Ref:
        yield x.number
    elif type(x) in (tuple, list, dict):
        for each in x.values() if type(x) is dict else x:
            yield from _refs(each)


class Tracer(Watcher):
    """Notes every op that runs on tensors of this thread."""

    def __init__(self, inputs: list[Any]) -> None:
        self.n_inputs, self.recording = len(inputs), mode.recording
        self.values: list[Any] = list(inputs)  # all of them are kept alive, so that an id stays theirs
        self.number = {id(t): i for i, t in enumerate(inputs)}
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []
        self.problem: str | None = None
        self.busy = False  # inside an op or an effect, whose doings are not the program's

    def run(self, op: Op, values: Any) -> Any:
        """Note the op."""
        if self.busy:
            return super().run(op, values)
        if mode.recording != self.recording:
            self.problem = self.problem or f"recording is switched on or off inside it, before {op.name}"
        args = tuple(map(self._note, values))
        self.busy = True
        try:
            out = super().run(op, values)
        finally:
            self.busy = False
        self.steps.append(Step(op, args, self._new(out)))
        return out

    def forget_values(self) -> None:
        """Keep only what `compare` needs: no activations."""
        self.values, self.number = [], {}

    def _new(self, t: Any) -> int:
        self.number[id(t)] = len(self.values)
        self.values.append(t)
        return len(self.values) - 1

    def _note(self, value: Any) -> Any:
        """A value with `Ref` in the place of tensors; one that nobody made is a constant."""
        if isinstance(value, TensorBase):
            if id(value) not in self.number:
                number = self._new(value)
                self.constants[number] = value
            return Ref(self.number[id(value)])
        if type(value) in (tuple, list):
            return type(value)(map(self._note, value))
        if type(value) is dict:
            return {key: self._note(each) for key, each in value.items()}
        return value

    def effect(self, function: Callable[..., Any], args: Any) -> Any:
        """Note what is done."""
        return self._effect(function, args, lambda: super(Tracer, self).effect(function, args))

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Note the step."""
        return self._effect(step, (), lambda: super(Tracer, self).optimizer(optimizer, step))

    def _effect(self, function: Any, args: Any, call: Callable[[], Any]) -> Any:
        if self.busy:
            return call()
        self.steps.append(Step(function, tuple(map(self._note, args)), None))
        self.busy = True
        try:
            return call()
        finally:
            self.busy = False

    def seen(self, t: Any, how: str) -> None:
        """Not outside an op or an effect."""
        super().seen(t, how)
        if not self.busy:
            self.problem = self.problem or f"a tensor of shape {tuple(t.shape)}: {how}"

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """Not outside a backward pass, which is an effect."""
        if not self.busy:
            self.problem = self.problem or "it calls grad()"
        return super().pull(node, g, graph, needed)

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Not with hooks, which may do anything."""
        if forward != module.forward:
            self.problem = self.problem or f"{type(module).__name__} has hooks"
        return super().module(module, forward, args, kwargs)


def compare(first: Tracer, second: Tracer) -> None:
    """Refuse what differs between two traces of the same function: it depends on more than the ops show.

    What is the same in both is taken for constant: the parameters above all, and tables made anew each time.
    """
    for trace in (first, second):
        if trace.problem:
            raise Untraceable(trace.problem)
    if len(first.steps) != len(second.steps):
        raise Untraceable(f"one call ran {len(first.steps)} ops, the next {len(second.steps)}")
    for a, b in zip(first.steps, second.steps):
        if a.out != b.out or (a.function is not b.function and a.function != b.function) or not _same(a.args, b.args):
            name = getattr(b.function, "name", "an effect")
            raise Untraceable(f"{name} was called with other options, or with an array made anew, the second time")
    for number, t in second.constants.items():
        before = first.constants[number]
        if t is not before and (t._requires_grad or not _same(before._array, t._array)):
            raise Untraceable(f"a tensor of shape {tuple(t.shape)} was made anew, with other numbers, the second time")


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in backend.types and hasattr(a, "dtype"):
        return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    if type(a) in (tuple, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return False


class Program:
    """Steps to run one after the other; a value is let go after its last use."""

    def __init__(self, steps: list[Step], constants: dict[int, Any], n_inputs: int, outputs: list[int]) -> None:
        self.n_inputs, self.outputs = n_inputs, outputs
        self.values: list[Any] = [None] * (1 + max([s.out for s in steps if s.out is not None], default=n_inputs))
        self.values += [None] * (max([*constants, *outputs, -1]) + 1 - len(self.values))
        for number, t in constants.items():
            self.values[number] = t
        last = {number: i for i, step in enumerate(steps) for number in (*step.refs(), *_own(step))}
        freed: list[list[int]] = [[] for _ in steps]
        for number, i in last.items():
            if number not in outputs and number not in constants:
                freed[i].append(number)
        self.lines = [(s.function, s.args, _places(s.args), s.out, drop) for s, drop in zip(steps, freed)]

    def run(self, inputs: list[Any]) -> list[Any]:
        """The values of the outputs."""
        values, watcher = self.values.copy(), mode.watcher
        values[: self.n_inputs] = inputs
        for function, args, places, out, drop in self.lines:
            if places is None:
                filled: Any = unflatten(args, values)
            else:
                filled = list(args)
                for i, number in places:
                    filled[i] = values[number]
            if out is None:
                function(*filled)
            else:
                values[out] = function.run(filled) if watcher is None else watcher.run(function, filled)
            for number in drop:
                values[number] = None
        return [values[number] for number in self.outputs]


def _own(step: Step) -> tuple[int, ...]:
    return () if step.out is None else (step.out,)


def _places(args: tuple[Any, ...]) -> list[tuple[int, int]] | None:
    """Where in ``args`` which value goes; None if some are deeper inside."""
    if any(type(x) is not Ref and any(True for _ in _refs(x)) for x in args):
        return None
    return [(i, x.number) for i, x in enumerate(args) if type(x) is Ref]


def signature(x: Any) -> Any:
    """What of an argument a program depends on: of a tensor all but its numbers, anything else wholly."""
    if isinstance(x, TensorBase):
        array = x._array
        return array.shape, array.dtype, source(x) is not None
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(signature, x))
    if isinstance(x, dict):
        return dict, tuple((key, signature(value)) for key, value in x.items())
    if isinstance(x, np.ndarray):
        raise Untraceable("an argument is a NumPy array; pass a tensor")
    return type(x), x


def flatten(x: Any, into: list[Any]) -> Any:
    """``x`` with `Ref` in the place of its tensors, which go ``into`` the list."""
    if isinstance(x, TensorBase):
        into.append(x)
        return Ref(len(into) - 1)
    if type(x) in (tuple, list):
        return type(x)(flatten(each, into) for each in x)
    if type(x) is dict:
        return {key: flatten(value, into) for key, value in x.items()}
    return x


def unflatten(x: Any, values: list[Any]) -> Any:
    """The opposite of `flatten`."""
    if type(x) is dict:
        return {key: unflatten(value, values) for key, value in x.items()}
    if type(x) in (tuple, list):
        return type(x)(unflatten(each, values) for each in x)
    return values[x.number] if type(x) is Ref else x
