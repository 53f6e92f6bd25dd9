"""`rung`: the same program on kernels that are easier to read, and all of them side by side."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from dataclasses import dataclass
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from .. import backend, random
from ..autograd.tape import TensorBase
from ..autograd.watch import Watcher
from ..devices import on_host
from ..kernels import cpu, plain, reference
from .places import names_of, variables

RUNGS: dict[str, ModuleType] = {"loops": reference, "numpy": plain, "fast": cpu}
if backend.cpu.kernels is not cpu:
    RUNGS["compiled"] = backend.cpu.kernels
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: RUNGS.pop("compiled"))  # see `minidl.backend`
WORTH_REPEATING, REPEATS = 0.2, 5  # a quicker step than so many seconds is timed again, and the quickest counts


class rung(ContextDecorator):
    """Run on one of these sets of kernels inside ``with minidl.rung("loops"):``.

    ========== =======================================================================================
    "loops"    `minidl.kernels.reference`: nested loops over single numbers, to be read and stepped through
    "numpy"    `minidl.kernels.plain`: whole arrays at a time, as one would write it
    "fast"     `minidl.kernels.cpu`: what runs otherwise, where Numba is not installed
    "compiled" `minidl.kernels.compiled`: what runs otherwise, where it is
    ========== =======================================================================================

    Models, ops and gradients stay what they are; only who computes them changes, for all threads of the process, and
    for arrays in the CPU's memory. May be used as a decorator.

    Examples
    --------
    >>> with minidl.rung("loops"):
    ...     minidl.ones(2, 3) @ minidl.ones(3, 1)
    tensor([[3.],
            [3.]])
    """

    def __init__(self, name: str) -> None:
        if name == "compiled" and name not in RUNGS:
            raise ValueError('rung: "compiled" wants Numba: pip install "minidl[fast]" (and MINIDL_COMPILED not to be 0)')
        if name not in RUNGS:
            raise ValueError(f"rung: name must be one of {', '.join(map(repr, RUNGS))}, got {name!r}")
        self.name = name
        self._before: list[dict[type, backend.Backend]] = []  # a list, so that one object can be entered again inside itself

    def __enter__(self) -> rung:
        before = {kind: found for kind, found in backend.types.items() if found.name == "cpu"}
        self._before.append(before)
        backend.types.update({kind: found._replace(kernels=RUNGS[self.name]) for kind, found in before.items()})
        return self

    def __exit__(self, *_: object) -> None:
        known = list(RUNGS.values())  # not those that were left behind in a fork
        before = self._before.pop()
        backend.types.update({kind: found if found.kernels in known else backend.cpu for kind, found in before.items()})

    @staticmethod
    def compare(step: Callable[[], Any], rungs: Sequence[str] = ("loops", "numpy", "fast")) -> Comparison:
        """Run ``step()`` on several rungs: what it returns, the gradients it leaves, and the time it takes, side by side.

        Every rung begins with the same parameters, buffers, state of optimisers and random numbers, and afterwards they are
        as they were before.

        Parameters
        ----------
        step : function
            Takes nothing; returns a tensor or a number, a tuple of them, or nothing. May call ``backward()`` and an optimiser.
        rungs : sequence of str
            Which; the others are compared with the first. Give the loops little to do.
        """
        names = names_of(variables(sys._getframe(1)))
        runs = [_run(step, name, names) for name in rungs]
        return Comparison(
            tuple(rungs), [run.seconds for run in runs], [run.outputs for run in runs], [run.grads for run in runs]
        )


@dataclass
class Comparison:
    """What `rung.compare` found; ``print`` shows it."""

    rungs: tuple[str, ...]
    seconds: list[float]  #: for each rung
    outputs: list[list[Any]]  #: for each rung, arrays
    gradients: list[dict[str, Any]]  #: for each rung, arrays by name

    def differences(self) -> dict[str, float]:
        """For each output and gradient the largest difference of an element from the first rung."""
        first, *others = map(self._arrays, range(len(self.rungs)))
        return {name: max([0.0, *(_distance(a, other[name]) for other in others)]) for name, a in first.items()}

    def _arrays(self, i: int) -> dict[str, Any]:
        outputs = {f"output {j}" if len(self.outputs[i]) > 1 else "output": a for j, a in enumerate(self.outputs[i])}
        return {**outputs, **{f"{name}.grad": g for name, g in self.gradients[i].items()}}

    def __str__(self) -> str:
        found, different = [self._arrays(i) for i in range(len(self.rungs))], self.differences()
        labels = {name: f"{name} {tuple(a.shape)}" if a.ndim else name for name, a in found[0].items()}
        width = max(map(len, ["", *labels.values()]))
        lines = [" ".join([" " * width, *(f"{name:>12}" for name in self.rungs), "  largest difference"])]
        lines.append(" ".join([f"{'time, ms':{width}}", *(f"{1e3 * s:12.3f}" for s in self.seconds)]))
        lines += [
            " ".join([f"{label:{width}}", *(f"{_size(each[name]):12.6g}" for each in found), f"  {different[name]:18.1e}"])
            for name, label in labels.items()
        ]
        return "\n".join(
            [*lines, "Of an array the norm is shown; the difference is the largest of an element from the first rung."]
        )


def _size(a: Any) -> float:
    return float(a.reshape(-1)[0]) if a.size == 1 else float(np.sqrt((a.astype(np.float64) ** 2).sum()))


def _distance(a: Any, b: Any) -> float:
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    with np.errstate(invalid="ignore"):  # two infinities are alike
        return float(np.nanmax(np.abs(a.astype(np.float64) - b), initial=0.0))


def _numbers(x: Any) -> Any:
    """What a step returned, as an array."""
    if isinstance(x, (TensorBase, int, float)):
        return on_host(x._array).copy() if isinstance(x, TensorBase) else np.asarray(x)
    raise TypeError(f"rung.compare: step must return a tensor or a number, a tuple of them, or None; got {type(x).__name__}")


@dataclass
class _Run:
    seconds: float
    outputs: list[Any]
    grads: dict[str, Any]


class _Keeper(Watcher):
    """Notes what a step works on, before it is changed, and puts it back."""

    def __init__(self) -> None:
        self.tensors: dict[int, tuple[Any, Any, Any, Any]] = {}  # tensor, array, its numbers, and .grad
        self.optimizers: list[tuple[Any, Any]] = []
        self.modules: list[Any] = []

    def keep(self, t: Any) -> None:
        """Note a tensor; its gradient begins anew."""
        if id(t) not in self.tensors:
            self.tensors[id(t)] = t, t._array, t._array.copy(), t._grad
            t._grad = None

    def run(self, op: Any, values: Any) -> Any:
        """Note leaves."""
        for value in values:
            for t in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(t, TensorBase) and t._requires_grad and t._node is None:
                    self.keep(t)
        return super().run(op, values)

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Note parameters and buffers."""
        self.modules.append(module)
        for t in (*module.parameters(), *module.buffers()):
            self.keep(t)
        return super().module(module, forward, args, kwargs)

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Note its state."""
        if all(known is not optimizer for known, _ in self.optimizers):
            self.optimizers.append((optimizer, copy.deepcopy(optimizer.state_dict())))
        return super().optimizer(optimizer, step)

    def put_back(self) -> None:
        """Everything as it was."""
        for t, array, numbers, grad in self.tensors.values():
            array[...] = numbers
            t._array, t._grad = array, grad
        for optimizer, state in self.optimizers:
            optimizer.load_state_dict(state)


def _run(step: Callable[[], Any], name: str, names: dict[int, str]) -> _Run:
    best, repeats = float("inf"), 0
    while True:
        keeper, generators = _Keeper(), [random.default_generator, *random.of_gpus.values()]
        states = [generator.get_state() for generator in generators]
        try:
            with rung(name), keeper:
                start = perf_counter()
                result = step()
                seconds = perf_counter() - start
            named = {**names_of((type(m).__name__, m) for m in reversed(keeper.modules)), **names}
            results = result if isinstance(result, (tuple, list)) else (result,)
            outputs = [_numbers(t) for t in results if t is not None]
            with_grads = [t for t, *_ in keeper.tensors.values() if t._grad is not None]
            grads = {named.get(id(t), f"leaf {i}"): on_host(t._grad._array).copy() for i, t in enumerate(with_grads)}
        finally:
            keeper.put_back()
            for generator, state in zip(generators, states):
                generator.set_state(state)
        best, repeats = min(best, seconds), repeats + 1
        if seconds > WORTH_REPEATING or repeats == REPEATS:
            return _Run(best, outputs, grads)
