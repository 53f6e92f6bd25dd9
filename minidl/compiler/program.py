"""A program: ops and effects in order, run without the function that they were learned from."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..autograd.mode import mode
from ..autograd.op import Op
from ..kernels.precision import here as precision
from .around import Found, is_there


class Ref(NamedTuple):
    """A value of the program by its number: inputs first, then constants and results as they come up."""

    number: int


class Step(NamedTuple):
    """An op, or an effect (any other function): what is called, with what, and the number of the result, if it has one."""

    function: Any
    args: tuple[Any, ...]
    out: int | None


def refs(x: Any) -> Iterator[int]:
    """The numbers of the values in ``x``, arguments of a step."""
    if type(x) is Ref:
        yield x.number
    elif type(x) in (tuple, list, dict):
        for each in x.values() if type(x) is dict else x:
            yield from refs(each)


def filled(x: Any, values: list[Any]) -> Any:
    """``x`` with the values in the place of `Ref`."""
    if type(x) is dict:
        return {key: filled(each, values) for key, each in x.items()}
    if type(x) in (tuple, list):
        return type(x)(filled(each, values) for each in x)
    return values[x.number] if type(x) is Ref else x


class Program:
    """Steps to run one after the other; a value is let go after its last use."""

    def __init__(self, steps: list[Step], trace: Any, same: list[tuple[int, weakref.ref[Any]]]) -> None:
        self.has_run = False
        self.captured: Any = None  # on a GPU: see `graph`
        self.around: list[Found] = []  # what the function found by name
        self.n_inputs, self.outputs, self.layout = trace.n_inputs, trace.outputs, trace.layout
        self.trace, self.same = trace, same  # `same`: inputs that were one tensor in all calls that were watched
        constants, outputs = trace.constants, set(trace.outputs)
        made = [step.out for step in steps if step.out is not None]
        self.values: list[Any] = [None] * (1 + max([self.n_inputs - 1, *made, *constants]))
        for number, t in constants.items():
            self.values[number] = t
        self.known = [(t, t._array.shape, t._array.dtype, t._requires_grad) for t in constants.values()]
        last = {number: i for i, step in enumerate(steps) for number in (*refs(step.args), *made_by(step))}
        freed: list[list[int]] = [[] for _ in steps]
        for number, i in last.items():
            if number not in outputs:
                freed[i].append(number)
        self.lines = [
            (s.function, type(s.function) is Op, s.args, _places(s.args), s.out, drop) for s, drop in zip(steps, freed)
        ]

    def is_stale(self) -> bool:
        """Whether a constant, such as a parameter, is not of the kind that it was, or not what the function uses now."""
        for t, shape, dtype, requires_grad in self.known:
            array = t._array
            if array.shape != shape or array.dtype != dtype or t._requires_grad != requires_grad:
                return True
        return not is_there(self.around)

    def fits(self, inputs: list[Any]) -> bool:
        """Whether the program is known to be right for ``inputs``.

        What was the same tensor in all calls that were watched may be an argument, or a tensor that the function knows anyway
        and would use again now: the first call with another one is watched too.
        """
        return not any([inputs[i] is not t() for i, t in self.same]) and not self.is_stale()

    def run(self, inputs: list[Any]) -> list[Any]:
        """The values of the outputs."""
        before = precision.autocast
        try:
            return self._run(inputs)
        finally:
            precision.autocast = before  # if it stopped between `autocast`'s beginning and end

    def _run(self, inputs: list[Any]) -> list[Any]:
        values, watcher = self.values.copy(), mode.watcher
        values[: self.n_inputs] = inputs
        for function, is_op, args, places, out, drop in self.lines:
            if places is None:
                given: Any = filled(args, values)
            else:
                given = list(args)
                for i, number in places:
                    given[i] = values[number]
            if is_op:
                result = function.run(given) if watcher is None else watcher.run(function, given)
            else:
                result = function(*given) if watcher is None else watcher.effect(function, given)
            if out is not None:
                values[out] = result
            for number in drop:
                values[number] = None
        return [values[number] for number in self.outputs]


def made_by(step: Step) -> tuple[int, ...]:
    """The number of its result, if it has one."""
    return () if step.out is None else (step.out,)


def _places(args: tuple[Any, ...]) -> list[tuple[int, int]] | None:
    """Where in ``args`` which value goes; None if some are deeper inside."""
    if any(type(x) is not Ref and any(True for _ in refs(x)) for x in args):
        return None
    return [(i, x.number) for i, x in enumerate(args) if type(x) is Ref]
