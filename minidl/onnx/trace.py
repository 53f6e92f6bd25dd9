"""Traces of a function with inputs of several sizes, put together to one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd import no_grad
from ..autograd.tape import call_site, describe_site, wrap
from ..autograd.watch import Watcher
from ..compiler.program import Step, refs
from ..compiler.signature import Group, Leaf, Untraceable, flatten, unflatten
from ..compiler.trace import Tracer
from .sizes import Grown, combined


class Recorder(Tracer):
    """A `Tracer` that also notes where each op was called, and stops at the first thing that it cannot follow.

    A change in place becomes an op with a new result, which from then on stands for the tensor.
    """

    def __init__(self, inputs: list[Any]) -> None:
        super().__init__(inputs)
        self.sites: list[str] = []
        self.fixed: set[int] = set()  # results of constants alone
        self.changing = False

    def refuse(self, why: str) -> None:
        """Stop, and say where."""
        if not self.busy and not self.changing:
            raise Untraceable(f"{why} ({describe_site(call_site())})")

    def seen(self, t: Any, how: str) -> None:
        """Numbers may leave for Python if they are the same whatever the inputs are: as an index, say."""
        if t is None or how.endswith("in place") or self._note(t).number not in {*self.constants, *self.fixed}:
            super().seen(t, how)

    def _step(self, function: Any, args: Any, call: Callable[[], Any]) -> Any:
        out = super()._step(function, args, call)
        self.sites.append(describe_site(call_site()))
        step = self.steps[-1]
        if step.out is not None and all(number in self.constants or number in self.fixed for number in refs(step.args)):
            self.fixed.add(step.out)
        return out

    def effect(self, function: Callable[..., Any], args: Any) -> Any:
        """Note the op whose result is put in the place of a tensor."""
        if self.busy:
            return super().effect(function, args)
        if function.__name__ == "detach":
            self.seen(args[0], "detach() reads it")
            return Watcher.effect(self, function, args)
        if function.__name__ != "_change":
            self.refuse("it changes a part of a tensor in place; write where(...) or cat(...)")
        t = args[0]
        number = self._note(t).number
        if number in self.constants or t._base is not None or any(value._base is t for value in self.values):
            self.refuse("it changes a view, a tensor with views or one of its parameters in place; write x = x + y")
        self.changing = True
        try:
            result = Watcher.effect(self, function, args)
        finally:
            self.changing = False
        made = self.steps[-1].out if self.steps else None
        if made is None or not np.array_equal(self.values[made]._array, t._array, equal_nan=t._array.dtype.kind == "f"):
            self.refuse("what it puts in the place of a tensor is no result of an op; write x = x + y")
        self.number[id(t)] = made  # type: ignore[assignment]
        return result


class Value(NamedTuple):
    """What is known of a tensor of the program, whatever the sizes; a size is None if it follows from nothing simple."""

    shape: tuple[Any, ...]
    dtype: Any


class Program(NamedTuple):
    """Ops in order, where they were called, and the values that they take and give, by number."""

    steps: list[Step]
    sites: list[str]
    values: list[Value]
    constants: dict[int, Any]  # tensors, or `Grown`
    outputs: list[int]


def resized(array: Any, axes: dict[int, str], sizes: dict[str, int]) -> Any:
    """``array`` with these sizes along the named ``axes``: cut off, or with its first elements once more."""
    for axis, name in axes.items():
        array = np.take(array, np.arange(sizes[name]) % array.shape[axis], axis)
    return array.copy()


def trace(function: Callable[..., Any], layout: Any, inputs: list[Any]) -> Recorder:
    """What ``function`` does with copies of these arrays, put together to arguments as ``layout`` says."""
    tensors = [wrap(array) for array in inputs]
    args, kwargs = unflatten(layout, tensors)
    recorder = Recorder(tensors)
    with no_grad(), recorder:
        recorder.recording = False
        recorder.finish(function(*args, **kwargs))
    others = [leaf for leaf in leaves(recorder.layout) if leaf is not None]
    if others:
        raise Untraceable(f"it returns {others[0]!r}, which is no tensor")
    return recorder


def leaves(layout: Any) -> list[Any]:
    """What is in ``layout`` besides tensors."""
    if type(layout) is Leaf:
        return [layout.value]
    return [leaf for part in layout.parts for leaf in leaves(part)] if type(layout) is Group else []


def program(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    axes: list[dict[int, str]],
    tried: list[dict[str, int]],
) -> Program:
    """One program for all sizes.

    Raises
    ------
    Untraceable
        If the function does what no program can, or does something else at another size.
    """
    tensors: list[Any] = []
    layout = flatten((args, kwargs), tensors, "an argument")
    arrays = [t._array for t in tensors]
    traces = [trace(function, layout, [resized(a, named, sizes) for a, named in zip(arrays, axes)]) for sizes in tried]
    first = traces[0]
    for other in traces[1:]:
        pairs = zip(first.steps, other.steps, first.sites)
        found = next((f"{a.function.name} ({site})" for a, b, site in pairs if a[::2] != b[::2]), None)
        if found or len(first.steps) != len(other.steps) or first.outputs != other.outputs:
            raise Untraceable(f"it runs other ops at another size of the inputs; see {found or 'the last ops'}")
    steps = []
    for i, (step, site) in enumerate(zip(first.steps, first.sites)):
        try:
            steps.append(Step(step.function, combined([t.steps[i].args for t in traces], tried), step.out))
        except Untraceable as error:
            raise Untraceable(f"{step.function.name} ({site}): {error}") from None
    steps, sites = _needed(steps, first.sites, first.outputs)
    used = {number for step in steps for number in refs(step.args)} | set(first.outputs)
    constants = {number: _constant(number, traces, tried) for number in first.constants if number in used}
    values = [_value(number, traces, tried) for number in range(len(first.values))]
    return Program(steps, sites, values, constants, first.outputs)


def _needed(steps: list[Step], sites: list[str], outputs: list[int]) -> tuple[list[Step], list[str]]:
    """The steps that the outputs depend on."""
    wanted, kept = set(outputs), []
    for step, site in zip(reversed(steps), reversed(sites)):
        if step.out in wanted:
            wanted.update(refs(step.args))
            kept.append((step, site))
    return [step for step, _ in kept[::-1]], [site for _, site in kept[::-1]]


def _constant(number: int, traces: list[Recorder], tried: list[dict[str, int]]) -> Any:
    found = [t.constants[number] for t in traces]
    same = combined([t._array for t in found], tried)
    return same if isinstance(same, Grown) else found[0]


def _value(number: int, traces: list[Recorder], tried: list[dict[str, int]]) -> Value:
    arrays = [t.values[number]._array for t in traces]
    shape = []
    for i in range(arrays[0].ndim):
        try:
            shape.append(combined([a.shape[i] for a in arrays], tried))
        except Untraceable:
            shape.append(None)
    return Value(tuple(shape), arrays[0].dtype)
