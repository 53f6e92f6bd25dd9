"""What a check finds out about a learner's file."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..functions.creation import from_numpy
from ..testing import Engine, GradcheckError, gradcheck


class Finding(NamedTuple):
    """One thing that was looked at."""

    outcome: Any  # a tuple of arrays, or an exception
    problem: str | None  # what is wrong with it

    def same(self, other: Finding) -> bool:
        """Whether both are wrong in the same way: to recognise a mistake."""
        if not self.problem or not other.problem or type(self.outcome) != type(other.outcome):
            return False
        if isinstance(self.outcome, Exception):
            return str(self.outcome) == str(other.outcome)
        return len(self.outcome) == len(other.outcome) and all(
            a.shape == b.shape and a.dtype.kind == b.dtype.kind and _close(a, b) for a, b in zip(self.outcome, other.outcome)
        )


class Unfilled(Exception):
    """Dots where a value should be."""


def as_tuple(x: Any) -> tuple[Any, ...]:
    """What a function gives, as a tuple."""
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def arrays(x: Any) -> tuple[Any, ...]:
    """What a function gives, as arrays."""
    if any(part is ... for part in as_tuple(x)):
        raise Unfilled("there are still dots (...) to be filled in")
    if any(part is None for part in as_tuple(x)):
        raise TypeError("it returned None; is a `return` missing?")
    return tuple(np.array(part) for part in as_tuple(x))


def _close(a: Any, b: Any) -> bool:
    if a.dtype.kind not in "fiub":
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, 1e-7, 1e-9, equal_nan=True))


class Trial:
    """Looks at a file's functions, one finding after the other; all are made, and the first problem is told."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []

    def call(self, what: str, function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, str | None]:
        """Arrays, or an exception; and what is wrong with it so far. Arguments must not be changed."""
        given = [np.array(a) if isinstance(a, np.ndarray) else a for a in args]
        try:
            with np.errstate(all="ignore"):
                outcome = arrays(function(*given))
        except Exception as error:
            return error, f"{what}: {self.explain(error)}"
        for before, after in zip(args, given):
            if isinstance(before, np.ndarray) and not np.array_equal(before, after):
                return outcome, f"{what}: an array that was only lent, of shape {before.shape}, was changed in place"
        return outcome, None

    def explain(self, error: Exception) -> str:
        """An exception, and the learner's line that it comes from."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.path]
        if isinstance(error, TypeError) and "ellipsis" in str(error).lower():
            error = Unfilled("there are still dots (...) to be filled in")
        said = str(error) if isinstance(error, Unfilled) else f"{type(error).__name__}: {error}"
        return said + (f" (line {lines[-1]})" if lines else "")

    def values(self, what: str, function: Callable[..., Any], args: Sequence[Any], wanted: Any, *names: str) -> None:
        """``function(*args)`` must be ``wanted``: one thing, or several with their ``names``."""
        outcome, problem = self.call(what, function, args)
        if not problem:
            right = arrays(wanted)
            labels = names or ("result",) * len(right)
            if len(outcome) != len(right):
                problem = f"{what}: {len(right)} results are wanted, {len(outcome)} came"
            else:
                found = (_difference(a, b, n) for a, b, n in zip(outcome, right, labels))
                problem = next((f"{what}: {said}" for said in found if said), None)
        self.findings.append(Finding(outcome, problem))

    def gradients(self, what: str, forward: Callable[..., Any], pullback: Callable[..., Any], **inputs: Any) -> None:
        """``pullback(*g, *inputs)`` must give the gradients of ``forward(*inputs)``: shapes first, then `gradcheck`."""
        rng = np.random.default_rng(1)
        points = list(inputs.values())
        cotangents = [rng.normal(size=np.shape(y)) for y in as_tuple(forward(*points))]
        outcome, problem = self.call(what, pullback, [*cotangents, *points])
        if not problem and len(outcome) != len(points):
            problem = f"{what}: {len(points)} gradients are wanted ({', '.join(inputs)}), {len(outcome)} came"
        if not problem:
            for (name, x), g in zip(inputs.items(), outcome):
                if g.shape != x.shape:
                    problem = f"{what}: your gradient of {name} has shape {g.shape}, {name} itself {x.shape}"
                    break
        if not problem:
            problem = self._differences(what, forward, pullback, inputs)
        self.findings.append(Finding(outcome, problem))

    def _differences(self, what: str, forward: Any, pullback: Any, inputs: dict[str, Any]) -> str | None:
        """What the gradient checker says."""
        tensors = tuple(from_numpy(np.array(x, np.float64)).requires_grad_() for x in inputs.values())

        def rule(*args: Any) -> Any:
            return tuple(np.array(g, np.float64) for g in as_tuple(pullback(*args)))

        try:
            with np.errstate(all="ignore"):
                gradcheck(Engine().op(forward, rule), tensors)
        except GradcheckError as error:
            first, *more = str(error).splitlines()[:-1]
            for i, name in enumerate(inputs):
                first = first.replace(f"input {i}", name)
            numbers = more[0].strip().replace("analytic", "yours").replace("numeric", "by differences") if more else ""
            return f"{what}: {first.split(': ', 2)[2]}" + (f"\n{numbers}" if numbers else "")
        except Exception as error:
            return f"{what}: {self.explain(error)}"
        return None


def _difference(got: Any, wanted: Any, name: str) -> str | None:
    """In what two arrays differ."""
    if got.shape != wanted.shape:
        return f"your {name} has shape {got.shape}, {wanted.shape} is right"
    if got.dtype.kind not in "fiub" or wanted.dtype.kind not in "fiub":
        return None if np.array_equal(got, wanted) else f"your {name} is {got.tolist()}, {wanted.tolist()} is right"
    wrong = ~np.isclose(got, wanted, 1e-7, 1e-9, equal_nan=True)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f" at index {index}" if wrong.ndim else ""
    count = f"; {int(wrong.sum())} of {wrong.size} differ" if wrong.size > 1 else ""
    return f"your {name} is {got[index]:.6g}{where}, {wanted[index]:.6g} is right{count}"
