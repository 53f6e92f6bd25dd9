"""The gradient checker: does a backward pass compute the derivative of its forward pass?

An output ``y`` is weighted with a random cotangent ``v``, which gives one number, ``<v, y>``. Its derivative is computed twice:
by the backward pass, and by differences (see `minidl.testing.differences`). Small inputs are compared element by element,
large ones along random directions, and where a direction disagrees it is halved until the element is found.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import gpu_types, xp
from .differences import PRECISIONS, Precision, as_float64, derivative, with_arrays

LARGE = 200  # elements of an input; beyond it directions are compared instead of elements
DIRECTIONS = 4
TOLERANCES = {  # (rtol, atol), by the dtype of the gradient, and of the differences if that is coarser
    "float64": (1e-8, 1e-9),
    "float32": (1e-4, 1e-5),
    "float16": (2e-2, 2e-2),
}
COARSE = {"float32": (2e-2, 1e-3), "float16": (2e-1, 1e-1)}  # where the differences themselves are in this dtype


class GradcheckError(AssertionError, RuntimeError):
    """A gradient is wrong, or does not behave as gradients do."""


class KinkWarning(UserWarning):
    """Some elements lie on a kink, where there is no derivative, and were not judged."""


def as_tuple(x: Any) -> tuple[Any, ...]:
    """What a function of tensors takes or gives, as a tuple."""
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def checked_places(inputs: tuple[Any, ...], engine: Any, title: str) -> list[int]:
    """Which inputs want a gradient; at least one must."""
    found = [i for i, x in enumerate(inputs) if engine.is_tensor(x) and engine.wants_grad(x)]
    if not found:
        kinds = ", ".join(f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.") for x in inputs)
        raise ValueError(
            f"{title}: no input is a tensor that requires a gradient; set requires_grad=True on those to be checked, "
            f"and name the engine if they are another library's; the inputs are: {kinds or 'none'}"
        )
    return found


def spread(rng: Any, like: Any) -> Any:
    """Random numbers none of which is near 0, so that none of what they weight goes unseen."""
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape)).astype(like.dtype)


def _uneven(array: Any) -> Any:
    """The same numbers, with gaps between them and in reverse order in memory, dimensions exchanged."""
    store = np.full(tuple(2 * n for n in reversed(array.shape)), np.nan, array.dtype)
    key: Any = (..., *(slice(None, None, -2) for _ in array.shape))
    out = store.T[key]
    out[...] = array
    return out


class Check:
    """One run of the checker."""

    def __init__(self, title: str, func: Any, inputs: tuple[Any, ...], engine: Any, seed: int, **options: Any) -> None:
        self.title, self.func, self.inputs, self.engine, self.seed = title, func, inputs, engine, seed
        self.eps, self.atol, self.rtol = options["eps"], options["atol"], options["rtol"]
        self.nondet_tol, self.fast_mode = options["nondet_tol"], options["fast_mode"]
        self.rng = np.random.default_rng(seed)
        self.checked = checked_places(inputs, engine, title)
        self.labels = [f"input {i}" for i in range(len(inputs))]
        self.op = getattr(func, "__name__", type(func).__name__)
        self.judged: list[int] = []  # which outputs
        self.without: set[int] = set()  # inputs to which no gradient came back
        self.weights: list[Any] = []  # the cotangents, in float64
        self.point: dict[int, Any] = {}  # where differences are taken, by place, ...
        self.precision: Precision = PRECISIONS["float64"]  # ... how ...
        self.limits = (0.0, 0.0)  # ... and by how much (rtol, atol) a gradient may differ from them

    def fail(self, what: str) -> None:
        """Say it, with what is needed to see it again."""
        given = (self.engine.array(x) if self.engine.is_tensor(x) else x for x in self.inputs)
        shapes = [f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x) for x in given]
        raise GradcheckError(f"{self.title}: {self.op}: {what}\n  inputs: {', '.join(shapes)}; seed {self.seed}")

    # -- the backward pass, and its manners

    def run(self) -> None:
        """The whole check."""
        before = {i: self.engine.array(x).copy() for i, x in enumerate(self.inputs) if self.engine.is_tensor(x)}
        outputs, values = self.forward()
        self.compare_inputs(before, "the forward pass changed")
        cotangents = [spread(self.rng, y) for y in values]
        grads = self.backward(outputs, cotangents)
        self.compare_inputs(before, "the backward pass changed")
        again, second = self.forward()  # only now: some libraries have one graph at a time
        for a, b in zip(values, second):
            if a.shape != b.shape or not np.allclose(a, b, 0, self.nondet_tol):
                self.fail("two identical calls give different results; if it is random, seed it inside the function")
        uneven = self.backward(again, [_uneven(v) for v in cotangents])
        self.compare_inputs(before, "the backward pass changed")
        for i, a, b in zip(self.checked, grads, uneven):
            rtol, atol = TOLERANCES[a.dtype.name]
            if not np.allclose(a, b, rtol, atol + self.nondet_tol, equal_nan=True):
                self.fail(f"the gradient of {self.labels[i]} is another when the cotangent is not contiguous in memory")
        self.weights = [v.astype(np.float64) for v in cotangents]
        self.point, fine = self.numeric_point(before, values)
        for i, g in zip(self.checked, grads):
            self.compare_numbers(i, g, fine, {a.dtype.name for a in (*cotangents, *grads)})

    def forward(self) -> tuple[list[Any], list[Any]]:
        """The judged outputs of a call: tensors, and arrays."""
        results = as_tuple(self.func(*self.inputs))
        tensors = [i for i, y in enumerate(results) if self.engine.is_tensor(y)]
        self.judged = [i for i in tensors if self.engine.wants_grad(results[i])]
        outputs = [results[i] for i in self.judged]
        if outputs and self.title == "gradcheck":
            self.op = self.engine.name(outputs[0])
        if not outputs:  # flat, they say: all floating outputs are judged
            self.judged = [i for i in tensors if self.engine.array(results[i]).dtype.kind == "f"]
        values = [np.array(self.engine.array(results[i])) for i in self.judged]
        for i, y in zip(self.judged, values):
            if not np.isfinite(y).all():
                index = tuple(int(n) for n in np.argwhere(~np.isfinite(y))[0])
                self.fail(f"output {i} is {y[index]} at index {index}")
        return outputs, values

    def backward(self, outputs: list[Any], cotangents: list[Any]) -> list[Any]:
        """The gradients of the checked inputs, as arrays."""
        xs = [self.inputs[i] for i in self.checked]
        if not outputs:
            self.without.update(self.checked)
            return [np.zeros_like(self.engine.array(x)) for x in xs]
        kept, given = [v.copy() for v in cotangents], [self.engine.tensor(v) for v in cotangents]
        found = self.engine.grad(outputs, xs, given, False)
        if any(not np.array_equal(self.engine.array(v), k) for v, k in zip(given, kept)):
            self.fail("the backward pass changed the cotangent it was given")
        others = [(label, self.memory(x)) for label, x in zip(self.labels, self.inputs) if self.engine.is_tensor(x)]
        others += [("a cotangent", self.memory(v)) for v in given]
        grads = []
        for i, x, made in zip(self.checked, xs, found):
            x = self.engine.array(x)
            g, own = (np.zeros_like(x), None) if made is None else (self.engine.array(made), self.memory(made))
            if g.shape != x.shape or g.dtype != x.dtype:
                self.fail(
                    f"the gradient of {self.labels[i]} is {g.dtype}{list(g.shape)}, the input is {x.dtype}{list(x.shape)}"
                )
            for label, other in others:
                # [None], because CuPy says of any two arrays without dimensions that they share memory
                if own is not None and type(own) is type(other) and xp(own).shares_memory(own[None], other[None]):
                    self.fail(f"the gradient of {self.labels[i]} shares memory with {label}")
            if made is None:
                self.without.add(i)
            else:
                others.append((f"the gradient of {self.labels[i]}", own))
            grads.append(g)
        return grads

    def memory(self, x: Any) -> Any:
        """The array that lies in the memory of a tensor; of one on a GPU that is not the engine's, which is a copy."""
        array = getattr(x, "_array", None)
        return array if type(array) in gpu_types else self.engine.array(x)

    def compare_inputs(self, before: dict[int, Any], what: str) -> None:
        """Nothing may have changed them."""
        for i, a in before.items():
            if not np.array_equal(a, self.engine.array(self.inputs[i]), equal_nan=a.dtype.kind == "f"):
                self.fail(f"{what} {self.labels[i]}")

    # -- the comparison with differences

    def compare_numbers(self, i: int, g: Any, fine: bool, dtypes: set[str]) -> None:
        """One gradient against differences, which are taken in float64 if ``fine``."""
        coarsest = max(dtypes, key=list(TOLERANCES).index)
        self.precision = PRECISIONS["float64" if fine else coarsest]
        if self.eps is not None:
            self.precision = self.precision._replace(step=self.eps)
        rtol, atol = (TOLERANCES if fine else COARSE)[coarsest]
        self.limits = (rtol if self.rtol is None else self.rtol, atol if self.atol is None else self.atol)
        fast = g.size > LARGE if self.fast_mode is None else self.fast_mode
        (self.compare_directions if fast else self.compare_elements)(i, g.astype(np.float64))

    def numeric_point(self, arrays: dict[int, Any], values: list[Any]) -> tuple[dict[int, Any], bool]:
        """Where to take differences: the inputs in float64 if the function then computes in float64, else as they are.

        Nothing is recorded there, and the function must give the same ``values`` nevertheless.
        """
        wide = as_float64(self.inputs, self.engine)
        try:
            results = as_tuple(self.func(*with_arrays(self.inputs, self.engine, wide)))
        except Exception:
            if all(a.dtype == np.float64 for a in arrays.values() if a.dtype.kind == "f"):
                raise
            return arrays, False
        found = [self.engine.array(results[i]) for i in self.judged]
        if any(y.dtype != np.float64 for y in found):
            return arrays, False
        for plain, y in zip(found, values):
            if not np.allclose(plain, y, *TOLERANCES[y.dtype.name]):
                self.fail("the result is another when nothing is recorded")
        return wide, True

    def slope(self, i: int, direction: Any, scale: float) -> tuple[float, bool]:
        """How fast ``<v, y>`` changes as input ``i`` moves along ``direction``, and whether there is a kink."""
        x = self.point[i]

        def weighted(t: float) -> Any:
            moved = with_arrays(self.inputs, self.engine, {**self.point, i: np.asarray(x + t * direction, x.dtype)})
            results = as_tuple(self.func(*moved))
            parts = [v * np.asarray(self.engine.array(results[j]), np.float64) for j, v in zip(self.judged, self.weights)]
            sizes.append(sum(float(np.abs(p).sum()) for p in parts))
            return sum(float(p.sum()) for p in parts)

        sizes: list[float] = []
        weighted(0.0)
        value, kink = derivative(weighted, self.precision._replace(step=self.precision.step * scale), self.limits[1], sizes[0])
        return float(value), bool(kink)

    def agree(self, analytic: float, numeric: float) -> bool:
        """Whether the two are equal within the limits."""
        rtol, atol = self.limits
        return abs(analytic - numeric) <= atol + rtol * abs(numeric)

    def compare_elements(self, i: int, g: Any) -> None:
        """Each element of a gradient."""
        wrong, kinks = [], []
        for index in np.ndindex(g.shape):
            numeric, kink = self.element(i, index)
            if kink:
                kinks.append(index)
            elif not self.agree(g[index], numeric):
                wrong.append((index, g[index], numeric))
        if wrong:
            self.report(
                i, *wrong[0], f"wrong in {len(wrong)} of {g.size} elements" + (f", {len(kinks)} not judged" if kinks else "")
            )
        self.tell_kinks(i, kinks, g.size, "elements")

    def element(self, i: int, index: tuple[int, ...]) -> tuple[float, bool]:
        """The difference quotient for one element, and whether it lies on a kink."""
        direction = np.zeros(self.point[i].shape)
        direction[index] = 1
        return self.slope(i, direction, max(1.0, abs(float(self.point[i][index]))))

    def compare_directions(self, i: int, g: Any) -> None:
        """A gradient along random directions."""
        kinks = []
        for number in range(DIRECTIONS):
            direction = spread(self.rng, g) / max(1.0, np.sqrt(g.size))
            numeric, kink = self.slope(i, direction, 1.0)
            if kink:
                kinks.append(number)
            elif not self.agree(float(np.sum(g * direction)), numeric):
                index = self.locate(i, g, direction)
                self.report(i, index, g[index], self.element(i, index)[0], "found by halving a random direction that disagreed")
        self.tell_kinks(i, kinks, DIRECTIONS, "random directions")

    def locate(self, i: int, g: Any, direction: Any) -> tuple[int, ...]:
        """An element that disagrees, found by halving ``direction``, which does."""
        first, last = 0, g.size
        while last - first > 1:
            middle = (first + last) // 2
            half = np.zeros(g.size)
            half[first:middle] = direction.reshape(-1)[first:middle]
            numeric, kink = self.slope(i, half.reshape(g.shape), 1.0)
            if not kink and not self.agree(float(np.sum(g.reshape(-1) * half)), numeric):
                last = middle
            else:
                first = middle
        return tuple(int(n) for n in np.unravel_index(first, g.shape))

    def report(self, i: int, index: tuple[int, ...], analytic: float, numeric: float, more: str) -> None:
        """Fail for one element."""
        ratio = analytic / numeric if numeric else float("nan")
        if i in self.without:
            more += "; no gradient came back at all: is there a rule for this input, and does it return one?"
        self.fail(
            f"the gradient of {self.labels[i]} is wrong at index {index}\n"
            f"  analytic {analytic:.10g}, numeric {numeric:.10g}, ratio {ratio:.10g}; {more}"
        )

    def tell_kinks(self, i: int, kinks: Sequence[Any], total: int, what: str) -> None:
        """Warn of what was not judged, or fail if that is all."""
        if kinks and len(kinks) == total:
            self.fail(
                f"all {total} {what} of {self.labels[i]} cross a kink or a jump, so nothing could be judged; move the input"
            )
        if kinks:
            said = f"{len(kinks)} of {total} {what} of {self.labels[i]} cross a kink and were not judged: {kinks[:8]}"
            warnings.warn(f"{self.title}: {self.op}: {said}", KinkWarning, stacklevel=7)
