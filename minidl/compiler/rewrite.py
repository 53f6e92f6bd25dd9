"""Rewriting: which steps of a program may be run as one op; what is gained by it is said in `minidl.ops.fused`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..autograd.op import Op
from ..backend import gpu_types
from ..ops import conv, elementwise, fused, linear, pool
from .program import Ref, Step, refs

RELU, CONV = elementwise.relu.op, conv._conv2d.op
LINEAR, POOL = linear.linear.op, pool._max_pool2d.op
CHAINABLE = {
    getattr(elementwise, name).op
    for name in (
        "add sub mul _true_div neg exp expm1 log log1p sqrt rsqrt reciprocal sin cos tanh sigmoid abs erf relu maximum minimum"
    ).split()
}
WORTH_A_CHAIN = 1 << 21  # elements: fewer are in the cache anyway, and to compute them again on the way back costs more;
# on a GPU any number is, for a launch costs more than what is computed in it


class Steps:
    """The steps of a program, the values that they had in the trace, and who reads which."""

    def __init__(self, steps: list[Step], values: list[Any], outputs: list[int]) -> None:
        self.steps, self.values = steps, values
        self.taken: set[int] = set()  # those that are part of a fused op already
        self.readers: dict[int, list[int]] = {number: [-1] for number in outputs}
        self.effects = [0]  # how many come before each step
        for i, step in enumerate(steps):
            for number in refs(step.args):
                self.readers.setdefault(number, []).append(i)
            self.effects.append(self.effects[-1] + (type(step.function) is not Op))

    def follow(self, i: int) -> Iterator[int]:
        """The step that alone reads, once, the result of step ``i``; the one that alone reads its result; and so on, as long as
        nothing is changed in between and the step is not taken.
        """
        while True:
            readers = self.readers.get(self.steps[i].out, ())  # type: ignore[arg-type]
            if len(readers) != 1 or readers[0] < 0 or self.effects[readers[0]] != self.effects[i] or readers[0] in self.taken:
                return
            (i,) = readers
            yield i

    def is_changed_after(self, i: int, number: int) -> bool:
        """Whether the memory of a value may be changed after step ``i``."""
        memory = _memory(self.values[number])
        effects = [step for step in self.steps[i:] if type(step.function) is not Op]
        return any(_memory(self.values[n]) is memory for step in effects for n in refs(step.args))


def _memory(t: Any) -> Any:
    """What tensors with the same memory have in common: its counter, made with a second of them; one without is alone."""
    return t if t._counter is None else t._counter


Found = tuple[list[int], Any, tuple[Any, ...]]  # the steps that become one, its op, and its arguments


def rewrite(steps: list[Step], values: list[Any], outputs: list[int]) -> tuple[list[Step], list[str]]:
    """The steps with fused ops among them, and a line for each of those; ``values`` are those of the trace."""
    whole, notes = Steps(steps, values, outputs), []
    now: list[Step | None] = list(steps)
    for i, step in enumerate(steps):
        find = _FINDERS.get(step.function, _chain)
        found = find(whole, i) if i not in whole.taken else None
        if found is None:
            continue
        members, op, args = found
        whole.taken.update(members)
        for j in members:
            now[j] = None
        now[members[-1]] = Step(op, args, steps[members[-1]].out)
        notes.append("fused: " + " + ".join(steps[j].function.name for j in members))
    return [step for step in now if step is not None], notes


def _conv_block(whole: Steps, i: int) -> Found | None:
    """A convolution with the ReLU and the max-pooling, one of them or both in any order, that follow it."""
    members, wanted, window = [i], {RELU, POOL}, None
    for j in whole.follow(i):
        step = whole.steps[j]
        if step.function not in wanted:
            break
        if step.function is POOL:
            if not step.args[1].tiles(whole.values[step.args[0].number].shape[2:]):
                break
            window = step.args[1]
        members.append(j)
        wanted.remove(step.function)
    if RELU in wanted:
        return None
    return members, fused.conv2d_relu_pool.op, (*whole.steps[i].args, window)


def _linear_block(whole: Steps, i: int) -> Found | None:
    """A linear layer with the ReLU that follows it."""
    after = next(whole.follow(i), i)
    if whole.steps[after].function is not RELU:
        return None
    return [i, after], fused.linear_relu.op, whole.steps[i].args


def _chain(whole: Steps, i: int) -> Found | None:
    """A run of functions of single elements, on tensors of one shape, dtype and memory order, and numbers."""
    if not _is_chainable(whole, i):
        return None
    members = [i]
    for j in whole.follow(i):
        if not _is_chainable(whole, j):
            break
        members.append(j)
    steps = [whole.steps[j] for j in members]
    inner = {step.out for step in steps[:-1]}
    if not any(_reads_inside(step, inner) for step in steps):
        return None  # nothing that is remembered could be spared
    made = [Ref(step.out) for step in steps if step.out is not None]
    inputs = [*dict.fromkeys(x for step in steps for x in step.args if type(x) is Ref and x not in made)]
    if any(whole.is_changed_after(i, x.number) for x in inputs):
        return None  # the chain needs all its inputs once more on the way back, which one op after the other may not
    place = {x: fused.At(k) for k, x in enumerate([*inputs, *made])}
    chain = [(step.function, tuple(place[x] if type(x) is Ref else x for x in step.args)) for step in steps]
    return members, fused.elementwise_chain.op, (tuple(inputs), tuple(chain))


def _reads_inside(step: Step, inner: set[int | None]) -> bool:
    """Whether a rule of the step wants to know one of the values that come between."""
    names = {name for rule in step.function.rules for name in rule.names}
    known = dict(zip(step.function.names, step.args), out=Ref(step.out or 0))
    return any(type(x) is Ref and x.number in inner for name, x in known.items() if name in names)


def _is_chainable(whole: Steps, i: int) -> bool:
    step = whole.steps[i]
    if step.function not in CHAINABLE:
        return False
    out = whole.values[step.out]._array  # type: ignore[index]
    arrays = [whole.values[x.number]._array for x in step.args if type(x) is Ref]
    return (
        (out.size >= WORTH_A_CHAIN or type(out) in gpu_types)
        and out.dtype.kind == "f"
        and all(type(x) in (Ref, int, float) for x in step.args)
        and all(a.shape == out.shape and a.dtype == out.dtype and a.strides == out.strides for a in arrays)
    )


_FINDERS = {CONV: _conv_block, LINEAR: _linear_block}
