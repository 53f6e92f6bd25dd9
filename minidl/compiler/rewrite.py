"""Rewriting: which ops of a program may be run as one, and what is gained by it is said in `minidl.ops.fused`."""

from __future__ import annotations

from typing import Any

from ..ops import conv, elementwise, fused, linear, pool
from .trace import Ref, Step

RELU, CONV, LINEAR, POOL = elementwise.relu.op, conv._conv2d.op, linear.linear.op, pool._max_pool2d.op
CHAINABLE = {
    getattr(elementwise, name).op
    for name in (
        "add sub mul _true_div neg exp expm1 log log1p sqrt rsqrt reciprocal square sin cos tanh sigmoid abs erf relu "
        "maximum minimum"
    ).split()
    if hasattr(getattr(elementwise, name, None), "op")
}
WORTH_A_CHAIN = 1 << 16  # elements: below, all of it is in the cache anyway


def rewrite(steps: list[Step], values: list[Any], outputs: list[int]) -> tuple[list[Step], list[str]]:
    """The steps with fused ops among them, and a line for each of those; ``values`` are those of the trace."""
    steps, notes = list(steps), []
    for fuse in (_conv_blocks, _linear_blocks, _chains):
        steps, found = fuse(steps, values, outputs)
        notes += found
    return steps, notes


class _Uses:
    """Who reads which value."""

    def __init__(self, steps: list[Step], outputs: list[int]) -> None:
        self.steps, self.maker = steps, {step.out: i for i, step in enumerate(steps)}
        self.readers: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for number in step.refs():
                self.readers.setdefault(number, []).append(i)
        self.outputs = set(outputs)

    def only(self, number: int | None) -> int | None:
        """The step that alone reads a value, and reads it once."""
        found = self.readers.get(number, [])  # type: ignore[arg-type]
        alone = len(found) == 1 and number not in self.outputs
        return found[0] if alone and not self._effect_between(number, found[0]) else None

    def _effect_between(self, number: Any, reader: int) -> bool:
        """Whether something is changed between the step that makes a value and the one that reads it."""
        return any(step.out is None for step in self.steps[self.maker[number] : reader])


def _conv_blocks(steps: list[Step], values: list[Any], outputs: list[int]) -> tuple[list[Step], list[str]]:
    """conv2d with the ReLU, and the max-pooling before or after that, which follow it and nothing else does."""
    uses, gone, notes = _Uses(steps, outputs), set(), []
    for i, step in enumerate(steps):
        if step.function is not CONV:
            continue
        chain = [i]
        while (after := uses.only(steps[chain[-1]].out)) is not None and len(chain) < 3:
            if steps[after].function not in (RELU, POOL) or steps[after].function in [steps[j].function for j in chain]:
                break
            if steps[after].function is POOL and not _tiles(steps[after], values):
                break
            chain.append(after)
        kinds = {steps[j].function for j in chain}
        if RELU not in kinds:
            continue
        window = next((steps[j].args[1] for j in chain if steps[j].function is POOL), None)
        input, weight, bias, *options = step.args
        steps[chain[-1]] = Step(fused.conv2d_relu_pool.op, (input, weight, bias, *options, window), steps[chain[-1]].out)
        gone.update(chain[:-1])
        notes.append("fused: conv2d + relu" + (" + max_pool2d" if window is not None else ""))
    return [s for i, s in enumerate(steps) if i not in gone], notes


def _tiles(step: Step, values: list[Any]) -> bool:
    window, picture = step.args[1], values[step.args[0].number]
    return bool(window.tiles(picture.shape[2:]))


def _linear_blocks(steps: list[Step], values: list[Any], outputs: list[int]) -> tuple[list[Step], list[str]]:
    uses, gone, notes = _Uses(steps, outputs), set(), []
    for i, step in enumerate(steps):
        after = uses.only(step.out) if step.function is LINEAR else None
        if after is not None and steps[after].function is RELU:
            steps[after] = Step(fused.linear_relu.op, step.args, steps[after].out)
            gone.add(i)
            notes.append("fused: linear + relu")
    return [s for i, s in enumerate(steps) if i not in gone], notes


def _chains(steps: list[Step], values: list[Any], outputs: list[int]) -> tuple[list[Step], list[str]]:
    """Runs of functions of single elements, each read by the next of the run alone."""
    uses, gone, notes = _Uses(steps, outputs), set(), []
    for i, step in enumerate(steps):
        if i in gone or not _chainable(step, values):
            continue
        members = [i]
        while (after := uses.only(steps[members[-1]].out)) is not None and _chainable(steps[after], values):
            members.append(after)
        if len(members) < 2:
            continue
        inner, inputs, chain = {}, [], []
        for position, j in enumerate(members):
            for x in steps[j].args:
                if type(x) is Ref and x.number not in inner and x not in inputs:
                    inputs.append(x)
            inner[steps[j].out] = position
        places = {x.number: fused.At(k) for k, x in enumerate(inputs)}
        places |= {number: fused.At(len(inputs) + position) for number, position in inner.items()}  # type: ignore[misc]
        for j in members:
            chain.append((steps[j].function, tuple(places[x.number] if type(x) is Ref else x for x in steps[j].args)))
        notes.append("fused: " + " + ".join(steps[j].function.name for j in members))
        steps[members[-1]] = Step(fused.elementwise_chain.op, (tuple(inputs), tuple(chain)), steps[members[-1]].out)
        gone.update(members[:-1])
    return [s for i, s in enumerate(steps) if i not in gone], notes


def _chainable(step: Step, values: list[Any]) -> bool:
    """Whether a step works element by element on large tensors of one shape and dtype, and numbers."""
    if step.function not in CHAINABLE or step.out is None:
        return False
    out = values[step.out]._array
    arrays = [values[x.number]._array for x in step.args if type(x) is Ref]
    plain = all(type(x) is Ref or isinstance(x, (int, float)) for x in step.args)
    return (
        plain
        and out.size >= WORTH_A_CHAIN
        and out.dtype.kind == "f"
        and all(a.shape == out.shape and a.dtype == out.dtype and a.strides == out.strides for a in arrays)
    )
