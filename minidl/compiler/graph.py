"""On a GPU: a program captured into a CUDA graph, and what has to be as it was for the graph to be right."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from typing import Any

from .. import backend, devices, random
from ..autograd.mode import mode
from ..autograd.sweep import reachable
from ..autograd.tape import TensorBase, call_site, counter, mark_changed, source, wrap
from ..nn.module import clear_grads
from .program import Program, Step
from .trace import update

MOST_CAPTURES = 8  # of one program
NO_GRAPH = "runs on the GPU step by step, as no CUDA graph: "


class _Unfit(Exception):
    """A program runs without a graph, as many do."""


class Captured:
    """A program that is captured at its second run, and from then on repeated by the GPU alone.

    The first run is step by step, with the kernels that will be captured: they are compiled then.
    """

    graph: Any
    inputs: list[Any]  # the arrays that it reads its arguments from
    values: list[Any]  # its results, where it writes them
    checks: list[Any]  # what may be wrong, to be noted again
    ground: list[Any]  # what must be as it was
    grads: list[Any]  # where it leaves the gradients

    def __init__(self, program: Program, steps: list[Step]) -> None:
        self.program = program
        constants = [*program.trace.constants.values()]
        self.optimizers = [step.args[0] for step in steps if step.function is update]
        own = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        self.known = [*dict.fromkeys([*constants, *own])]  # all tensors that it works on
        self.dropped = set(map(id, _dropped_first(steps)))  # those whose gradient it begins by dropping
        self.why_not: str | None = None
        self.in_vain = False  # whether something in it stood in the way of a capture
        self.has_run, self.captures = False, 0
        self.lock = threading.RLock()  # the graph has one memory for its arguments
        self._forget()

    def run(self, inputs: list[Any]) -> tuple[list[Any], str | None]:
        """The values of the outputs; and if it has just been captured, or turned out that it cannot be, words for that."""
        with self.lock:
            return self._run(inputs)

    def _run(self, inputs: list[Any]) -> tuple[list[Any], str | None]:
        arrays = [t._array for t in (*inputs, *self.known)]
        places = {*map(devices.device_of, arrays)}
        hooked = any(t._hooks for t in self.known) or any(o._pre_hooks or o._post_hooks for o in self.optimizers)
        if self.why_not or hooked or mode.watcher is not None or places <= {devices.CPU}:
            return self.program.run(inputs), None
        if len(places) > 1:
            values = self.program.run(inputs)  # unless it is a mistake, which may be mended before the next call
            self.why_not, self.in_vain = _several(places, arrays), True
            return values, NO_GRAPH + self.why_not
        with devices.current(devices.device_of(arrays[0])):
            if not self.has_run:
                self.has_run = True
                with backend.gpu.kernels.suitable():
                    return self.program.run(inputs), None
            if self.graph is not None and _same(self.ground, self._ground()):
                self._repeat(inputs)
                return self._results(), None
            if self._left_behind():
                return self.program.run(inputs), None
            self.why_not = self._capture(inputs)
            if self.why_not:
                return self.program.run(inputs), NO_GRAPH + self.why_not
            self.graph.launch(first=True)
            return self._results(), "captured as a CUDA graph" if self.captures == 1 else None

    # -- capturing

    def _left_behind(self) -> bool:
        """Whether a state is where its parameter was before: the next step brings it along, which cannot be captured."""
        states = [(p, v) for o in self.optimizers for p, kept in o.state.items() for v in kept.values()]
        return any(
            isinstance(v, TensorBase)
            and v._array.shape == p._array.shape != ()  # the counts of steps stay on the CPU
            and devices.device_of(v._array) != devices.device_of(p._array)
            for p, v in states
        )

    def _obstacle(self, inputs: list[Any]) -> str | None:
        """Why the program cannot be captured, as far as is known before it is tried."""
        if self.captures == MOST_CAPTURES:
            self.in_vain = True
            often = f"in another place {MOST_CAPTURES} times"
            return f"parameters, states or gradients were {often}; zero_grad(set_to_none=False) leaves gradients where they are"
        if any(source(t) is not None for t in inputs):
            return "an argument wants a gradient"
        if not self.program.trace.touched.isdisjoint(range(self.program.n_inputs)):
            return "it changes, detaches or returns one of its arguments"
        for optimizer in self.optimizers:
            if not optimizer._can_be_captured:
                self.in_vain = True
                return f"the step of {type(optimizer).__name__} needs the host"
        return None

    def _capture(self, inputs: list[Any]) -> str | None:
        """Capture a run of the program; returns why not, if it cannot be, and then all is as before."""
        obstacle = self._obstacle(inputs)
        self._forget()
        if obstacle:
            return obstacle
        self.captures += 1
        self.graph, before = backend.gpu.kernels.Graph(), _Host(self)
        self.inputs = [t._array.copy() for t in inputs]
        self.ground, changes = self._ground(), [counter(t).changes for t in self.known]
        devices.settle()  # so that what is noted from here on is the program's
        try:
            self.graph.capture(self._program)
            self._check_outputs()
        except BaseException as error:
            before.restore()
            devices._noted.clear()
            self._forget()
            if not isinstance(error, Exception):  # somebody has interrupted it, and may call it again
                self.captures -= 1
                raise
            self.in_vain = not isinstance(error, _Unfit)
            return f"{_culprit(error)}: {error}"
        self.changed = [t for t, n in zip(self.known, changes) if counter(t).changes > n]
        self.grads = [(t, t._grad) for t in self.known]
        return None

    def _forget(self) -> None:
        """Let go of a graph, and of all memory that is there for it only."""
        self.graph = None
        self.inputs, self.values, self.checks, self.ground, self.grads = [], [], [], [], []

    def _program(self) -> None:
        self.values = self.program.run([*map(wrap, self.inputs)])
        self.checks = [(self.graph.ever(wrong), *rest) for wrong, *rest in devices._noted]
        devices._noted[:] = self.checks

    def _check_outputs(self) -> None:
        """Refuse outputs that repetitions would spoil."""
        xp = backend.gpu.xp
        found = self._own_results()
        for t in found.values():
            if t._node is not None and any(_remembers(node) for node in reachable([t._node])):
                raise _Unfit("can still be differentiated; let backward() be part of what is compiled")
            if any(xp.may_share_memory(t._array, other._array) for other in self.known):
                raise _Unfit("is a view of a parameter or a buffer")
            if any(xp.may_share_memory(t._array, other._array) for other in found.values() if other is not t):
                raise _Unfit("shares memory with another")

    def _own_results(self) -> dict[int, Any]:
        """The outputs by their numbers, without those that are constants."""
        constants = self.program.trace.constants
        return {number: t for number, t in zip(self.program.outputs, self.values) if number not in constants}

    # -- repeating

    def _ground(self) -> list[Any]:
        """What the graph has by address, or takes for granted: it is wrong where something else is here."""
        found: list[Any] = []
        for t in self.known:
            found.append(t._array)
            if id(t) not in self.dropped:
                found.append(None if t._grad is None else t._grad._array)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                found += [group, *group["params"], *(bool(value) for name, value in group.items() if name != "params")]
                for p in group["params"]:
                    kept = optimizer.state.get(p, {})
                    found += [name for name in kept] + [v._array for v in kept.values() if isinstance(v, TensorBase)]
        return found

    def _repeat(self, inputs: list[Any]) -> None:
        """Launch the graph, and do on the host what the program's run would have done."""
        for static, t in zip(self.inputs, inputs):
            static[...] = t._array
        self._note_checks()
        self.graph.launch()
        site = call_site()
        for t in self.changed:
            mark_changed(t, "a captured step", site)
        for t, grad in self.grads:
            t._grad = grad

    def _note_checks(self) -> None:
        """Note again what may be wrong (see `devices.check`); what is noted still stays true once it is."""
        for check in self.checks:
            if all(check is not other for other in devices._noted):
                check[0][...] = False
                devices._noted.append(check)

    def _results(self) -> list[Any]:
        """The outputs, out of the memory that the next repetition writes to."""
        copies = {number: wrap(t._array.copy(), t._node) for number, t in self._own_results().items()}
        constants = self.program.trace.constants
        return [copies[number] if number in copies else constants[number] for number in self.program.outputs]


class _Host:
    """What a run of a program changes on the host, to put it back."""

    def __init__(self, captured: Captured) -> None:
        self.grads = [(t, t._grad) for t in captured.known]
        self.states = [(o, {p: dict(kept) for p, kept in o.state.items()}) for o in captured.optimizers]
        self.counts = [(array, array.copy()) for o in captured.optimizers for array in _counts(o)]
        self.generators = [(g, g.get_state()) for g in (random.default_generator, *random.of_gpus.values())]

    def restore(self) -> None:
        """As it was."""
        for t, grad in self.grads:
            t._grad = grad
        for optimizer, state in self.states:
            optimizer.state.clear()
            optimizer.state.update(state)
        for array, numbers in self.counts:
            array[...] = numbers
        for generator, state in self.generators:
            generator.set_state(state)


def _counts(optimizer: Any) -> Iterator[Any]:
    """The arrays of an optimiser's state that are on the CPU."""
    for kept in optimizer.state.values():
        for value in kept.values():
            if isinstance(value, TensorBase) and not devices.waits(value._array):
                yield value._array


def _dropped_first(steps: list[Step]) -> Iterator[Any]:
    """The tensors whose gradients are dropped before anything is done with a gradient."""
    for step in steps:
        if step.function is clear_grads.__wrapped__ and step.args[1]:  # type: ignore[attr-defined]
            yield from step.args[0]()
        elif callable(step.function) and step.out is None:  # any other effect
            return


def _remembers(node: Any) -> bool:
    """Whether a node keeps arrays for a backward pass that is still to come."""
    return any(hasattr(value, "nbytes") for value in (getattr(node, "kept", None) or {}).values())


def _several(places: set[Any], arrays: list[Any]) -> str:
    first, second = sorted(map(str, places))[:2]  # 'cpu' before all others
    shape = next(tuple(a.shape) for a in arrays if str(devices.device_of(a)) == first)
    return f"a tensor of shape {shape} is on {first!r}, others are on {second!r}; send it there before the step"


def _same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b))


def _culprit(error: Exception) -> str:
    """The op or effect that raised an error in a program's run."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is Program._run.__code__:
            function = frame.f_locals["function"]
            return str(getattr(function, "name", getattr(function, "__name__", function)))
    return "the result"
