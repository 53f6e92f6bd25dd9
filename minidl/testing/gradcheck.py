"""The gradient checker: does a backward pass compute the derivative of its forward pass?

An output ``y`` is weighted with a random cotangent ``v``, which gives one number, ``<v, y>``. Its derivative is computed twice: by
the backward pass, and by differences (see `minidl.testing.differences`). Small inputs are compared element by element, large
ones along random directions, and where a direction disagrees it is halved until the element is found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .differences import PRECISIONS, as_float64, derivative, with_arrays
from .engine import Engine

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


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
    engine: Any = None,
) -> bool:
    """Check the gradients of ``func``, a function of tensors, against differences.

    Checked on the way: inputs and cotangent are not changed by the forward or the backward pass, outputs are finite, a second
    call gives the same, gradients have the shape and dtype of their inputs and memory of their own, and a cotangent whose memory
    is not contiguous makes no difference.

    An element at which the function has a kink (``abs`` at 0), or jumps, has no derivative and is not judged: see
    `minidl.testing.differences` for how one is told. Such elements are named in a `KinkWarning`. If an input consists of them, so
    that nothing was judged, the check fails.

    Parameters
    ----------
    func : function
        Returns a tensor or a tuple; outputs that require no gradient are not judged (if none does, gradients must be zero).
    inputs : Tensor or tuple
        Arguments of ``func``. Tensors with ``requires_grad`` are checked, at least one.
    eps : float, optional
        The widest step of the differences, for numbers around 1. Default: by dtype.
    atol, rtol : float, optional
        Gradients may differ by ``atol + rtol * |numeric|``. Default: by dtype; 1e-9 and 1e-8 in float64. Differences are taken
        in float64 for float32 and float16 too if ``func`` then returns float64; else in the dtype itself, far less exactly.
    seed : int
        Of the random cotangents and directions.
    raise_exception : bool
        Raise if the check fails, or return False.
    nondet_tol : float
        By how much the results of two identical calls may differ.
    fast_mode : bool, optional
        Compare along random directions (True) or every element (False). Default: by the size of the input.
    engine : object, optional
        How to deal with the tensors of another library; see `minidl.testing.Engine`.

    Returns
    -------
    bool
        True if all is well.

    Raises
    ------
    GradcheckError
        If not; names the op, input, index, both numbers and the seed.
    ValueError
        If no input requires a gradient.
    """
    options: dict[str, Any] = {"eps": eps, "atol": atol, "rtol": rtol, "seed": seed, "nondet_tol": nondet_tol, "fast_mode": fast_mode}
    return _judge(_Check("gradcheck", func, _as_tuple(inputs), engine or Engine(), **options), raise_exception)


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
    engine: Any = None,
) -> bool:
    """Check the second derivatives of ``func``: `gradcheck` of its backward pass, as a function of inputs and cotangents.

    It does not check the first derivatives; call `gradcheck` as well.

    Parameters
    ----------
    grad_outputs : Tensor or tuple, optional
        The cotangents; random ones if not given.
    func, inputs, eps, atol, rtol, seed, raise_exception, nondet_tol, fast_mode, engine
        See `gradcheck`.
    """
    engine, inputs = engine or Engine(), _as_tuple(inputs)
    checked = _checked(inputs, engine, "gradgradcheck")
    outputs = [y for y in _as_tuple(func(*inputs)) if engine.is_tensor(y) and engine.wants_grad(y)]
    if not outputs:
        raise ValueError("gradgradcheck: no output of func requires a gradient")
    rng = np.random.default_rng(seed)
    cotangents = tuple(engine.tensor(_spread(rng, engine.array(y)), True) for y in outputs)
    if grad_outputs is not None:
        cotangents = tuple(engine.tensor(engine.array(v).copy(), True) for v in _as_tuple(grad_outputs))

    def backward(*args: Any) -> Any:
        xs, vs = list(args[: len(inputs)]), args[len(inputs) :]
        graph = any(engine.wants_grad(a) for a in args if engine.is_tensor(a))
        for i in checked:
            if not engine.wants_grad(xs[i]):
                xs[i] = engine.tensor(engine.array(xs[i]), True)
        ys = [y for y in _as_tuple(func(*xs)) if engine.is_tensor(y) and engine.wants_grad(y)]
        return tuple(g for g in engine.grad(ys, [xs[i] for i in checked], vs, graph) if g is not None)

    options: dict[str, Any] = {"eps": eps, "atol": atol, "rtol": rtol, "seed": seed, "nondet_tol": nondet_tol, "fast_mode": fast_mode}
    check = _Check("gradgradcheck", backward, (*inputs, *cotangents), engine, **options)
    check.op = engine.name(outputs[0])
    check.labels = [
        *(f"input {i}" for i in range(len(inputs))),
        *(f"the cotangent of output {i}" for i in range(len(cotangents))),
    ]
    return _judge(check, raise_exception)


def adjointcheck(
    f: Callable[[Any], Any],
    f_transpose: Callable[[Any], Any],
    input: Any,
    *,
    rtol: float | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    engine: Any = None,
) -> bool:
    """Check that ``f_transpose`` is the transpose of the linear map ``f``: ``<f(x), g> = <x, f_transpose(g)>`` for all x and g.

    One backward pass of a linear map is its transpose, and this check is exact at any size and in float32, where differences are not.

    Parameters
    ----------
    f, f_transpose : function
        From tensor to tensor, or from array to array.
    input : Tensor or array
        Shape and dtype of ``f``'s input; its numbers are replaced by random ones.
    rtol : float, optional
        By how much the two products may differ, relative to ``|f(x)| |g| + |x| |f_transpose(g)|``. Default: by dtype.
    """
    engine = engine or Engine()
    is_tensor = engine.is_tensor(input)

    def plain(x: Any) -> Any:
        return engine.array(x) if engine.is_tensor(x) else np.asarray(x)

    rng = np.random.default_rng(seed)
    x = rng.normal(size=plain(input).shape).astype(plain(input).dtype)
    y = plain(f(engine.tensor(x) if is_tensor else x))
    length = np.sqrt(np.mean(np.square(y, dtype=np.float64))) if y.size else 1.0
    g = (y / (length or 1.0) + rng.normal(size=y.shape)).astype(y.dtype)  # a random one alone would be nearly orthogonal to y
    back = plain(f_transpose(engine.tensor(g) if is_tensor else g))
    rtol = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-2}[y.dtype.name] if rtol is None else rtol
    said = None
    if back.shape != x.shape:
        said = f"f_transpose gave shape {back.shape} for an input of shape {x.shape}"
    else:
        x, y, g, back = (a.astype(np.float64) for a in (x, y, g, back))
        there, here = np.sum(y * g), np.sum(x * back)
        size = np.linalg.norm(y) * np.linalg.norm(g) + np.linalg.norm(x) * np.linalg.norm(back)
        if not abs(there - here) <= rtol * size:
            said = f"<f(x), g> = {there:.10g} but <x, f_transpose(g)> = {here:.10g}, ratio {here / there:.10g}"
    if said and raise_exception:
        raise GradcheckError(f"adjointcheck: {said} (shapes {x.shape} -> {y.shape}, seed {seed})")
    return said is None


def _judge(check: _Check, raise_exception: bool) -> bool:
    try:
        check.run()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _checked(inputs: tuple[Any, ...], engine: Any, title: str) -> list[int]:
    found = [i for i, x in enumerate(inputs) if engine.is_tensor(x) and engine.wants_grad(x)]
    if not found:
        raise ValueError(f"{title}: no input requires a gradient; set requires_grad=True on those to be checked")
    return found


def _spread(rng: Any, like: Any) -> Any:
    """Random numbers none of which is near 0, so that none of what they weight goes unseen."""
    return np.asarray(rng.uniform(0.5, 1.5, like.shape) * rng.choice([-1.0, 1.0], like.shape)).astype(like.dtype)


def _uneven(array: Any) -> Any:
    """The same numbers, with gaps between them and in reverse order in memory, dimensions exchanged."""
    store = np.full(tuple(2 * n for n in reversed(array.shape)), np.nan, array.dtype)
    out = store.T[(..., *(slice(None, None, -2) for _ in array.shape))]
    out[...] = array
    return out


class _Check:
    """One run of the checker."""

    def __init__(self, title: str, func: Any, inputs: tuple[Any, ...], engine: Any, seed: int, **options: Any) -> None:
        self.title, self.func, self.inputs, self.engine, self.seed = title, func, inputs, engine, seed
        self.eps, self.atol, self.rtol = options["eps"], options["atol"], options["rtol"]
        self.nondet_tol, self.fast_mode = options["nondet_tol"], options["fast_mode"]
        self.rng = np.random.default_rng(seed)
        self.checked = _checked(inputs, engine, title)
        self.labels = [f"input {i}" for i in range(len(inputs))]
        self.op = getattr(func, "__name__", type(func).__name__)
        self.judged: list[int] = []  # which outputs

    def fail(self, what: str) -> None:
        """Say it, with what is needed to see it again."""
        shapes = [f"{self.engine.array(x).dtype}{list(x.shape)}" if self.engine.is_tensor(x) else repr(x) for x in self.inputs]
        raise GradcheckError(f"{self.title}: {self.op}: {what}\n  inputs: {', '.join(shapes)}; seed {self.seed}")

    # -- the backward pass, and its manners

    def run(self) -> None:
        arrays = {i: self.engine.array(x) for i, x in enumerate(self.inputs) if self.engine.is_tensor(x)}
        before = {i: a.copy() for i, a in arrays.items()}
        outputs, values = self.forward()
        self.compare_inputs(before, arrays, "the forward pass changed")
        again, second = self.forward()
        for a, b in zip(values, second):
            if a.shape != b.shape or not np.allclose(a, b, 0, self.nondet_tol):
                self.fail("two identical calls give different results; if it is random, seed it inside the function")
        cotangents = [_spread(self.rng, y) for y in values]
        grads = self.backward(outputs, cotangents)
        uneven = self.backward(again, [_uneven(v) for v in cotangents])
        self.compare_inputs(before, arrays, "the backward pass changed")
        for i, a, b in zip(self.checked, grads, uneven):
            rtol, atol = TOLERANCES[a.dtype.name]
            if not np.allclose(a, b, rtol, atol + self.nondet_tol, equal_nan=True):
                self.fail(f"the gradient of {self.labels[i]} is another when the cotangent is not contiguous in memory")
        self.compare_numbers(before, cotangents, grads)

    def forward(self) -> tuple[list[Any], list[Any]]:
        """The judged outputs of a call: tensors, and arrays."""
        results = _as_tuple(self.func(*self.inputs))
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
            return [np.zeros_like(self.engine.array(x)) for x in xs]
        kept = [v.copy() for v in cotangents]
        found = self.engine.grad(outputs, xs, [self.engine.tensor(v) for v in cotangents], False)
        if any(not np.array_equal(v, k) for v, k in zip(cotangents, kept)):
            self.fail("the backward pass changed the cotangent it was given")
        others = [(label, self.engine.array(x)) for label, x in zip(self.labels, self.inputs) if self.engine.is_tensor(x)]
        others += [("a cotangent", v) for v in cotangents]
        grads = []
        for i, x, g in zip(self.checked, xs, found):
            x, g = self.engine.array(x), np.zeros_like(self.engine.array(x)) if g is None else self.engine.array(g)
            if g.shape != x.shape or g.dtype != x.dtype:
                self.fail(
                    f"the gradient of {self.labels[i]} is {g.dtype}{list(g.shape)}, the input is {x.dtype}{list(x.shape)}"
                )
            for label, other in others:
                if np.shares_memory(g, other):
                    self.fail(f"the gradient of {self.labels[i]} shares memory with {label}")
            others.append((f"the gradient of {self.labels[i]}", g))
            grads.append(g)
        return grads

    def compare_inputs(self, before: dict[int, Any], now: dict[int, Any], what: str) -> None:
        for i, a in before.items():
            if not np.array_equal(a, now[i], equal_nan=a.dtype.kind == "f"):
                self.fail(f"{what} {self.labels[i]}")

    # -- the comparison with differences

    def compare_numbers(self, arrays: dict[int, Any], cotangents: list[Any], grads: list[Any]) -> None:
        """Every gradient against differences."""
        self.weights = [v.astype(np.float64) for v in cotangents]
        self.point, fine = self.numeric_point(arrays)
        for i, g in zip(self.checked, grads):
            dtype = "float64" if fine else max((v.dtype.name for v in (*cotangents, g)), key=list(PRECISIONS).index)
            self.precision = PRECISIONS[dtype] if self.eps is None else PRECISIONS[dtype]._replace(step=self.eps)
            coarsest = max((a.dtype.name for a in (*grads, *cotangents)), key=list(TOLERANCES).index)
            rtol, atol = TOLERANCES[coarsest] if fine else COARSE[dtype]
            self.limits = (rtol if self.rtol is None else self.rtol, atol if self.atol is None else self.atol)
            fast = g.size > LARGE if self.fast_mode is None else self.fast_mode
            (self.compare_directions if fast else self.compare_elements)(i, g.astype(np.float64))

    def numeric_point(self, arrays: dict[int, Any]) -> tuple[dict[int, Any], bool]:
        """Where to take differences: the inputs in float64 if the function then computes in float64, else as they are."""
        wide = as_float64(tuple(self.inputs), self.engine)
        floats = {a.dtype for a in arrays.values() if a.dtype.kind == "f"}
        try:
            results = _as_tuple(self.func(*with_arrays(self.inputs, self.engine, wide)))
        except Exception:
            if floats == {np.dtype(np.float64)}:
                raise
            return arrays, False
        return (wide, True) if all(self.engine.array(results[i]).dtype == np.float64 for i in self.judged) else (arrays, False)

    def slope(self, i: int, direction: Any, scale: float) -> tuple[float, bool]:
        """How fast ``<v, y>`` changes as input ``i`` moves along ``direction``, and whether there is a kink."""
        x = self.point[i]

        def weighted(t: float) -> Any:
            moved = with_arrays(self.inputs, self.engine, {**self.point, i: np.asarray(x + t * direction, x.dtype)})
            results = _as_tuple(self.func(*moved))
            parts = [v * np.asarray(self.engine.array(results[j]), np.float64) for j, v in zip(self.judged, self.weights)]
            sizes.append(sum(float(np.abs(p).sum()) for p in parts))
            return sum(float(p.sum()) for p in parts)

        sizes: list[float] = []
        weighted(0.0)
        value, kink = derivative(weighted, self.precision._replace(step=self.precision.step * scale), self.limits[1], sizes[0])
        return float(value), bool(kink)

    def agree(self, analytic: float, numeric: float) -> bool:
        rtol, atol = self.limits
        return abs(analytic - numeric) <= atol + rtol * abs(numeric)

    def compare_elements(self, i: int, g: Any) -> None:
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
        direction = np.zeros(self.point[i].shape)
        direction[index] = 1
        return self.slope(i, direction, max(1.0, abs(float(self.point[i][index]))))

    def compare_directions(self, i: int, g: Any) -> None:
        kinks = []
        for number in range(DIRECTIONS):
            direction = _spread(self.rng, g) / max(1.0, np.sqrt(g.size))
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
        ratio = analytic / numeric if numeric else float("nan")
        self.fail(
            f"the gradient of {self.labels[i]} is wrong at index {index}\n"
            f"  analytic {analytic:.10g}, numeric {numeric:.10g}, ratio {ratio:.10g}; {more}"
        )

    def tell_kinks(self, i: int, kinks: Sequence[Any], total: int, what: str) -> None:
        if kinks and len(kinks) == total:
            self.fail(
                f"all {total} {what} of {self.labels[i]} cross a kink or a jump, so nothing could be judged; move the input"
            )
        if kinks:
            said = f"{self.title}: {self.op}: {len(kinks)} of {total} {what} of {self.labels[i]} cross a kink and were not judged: {kinks[:8]}"
            warnings.warn(said, KinkWarning, stacklevel=6)
