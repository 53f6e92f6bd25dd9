"""Every rule judged at its node: the product it made, beside finite differences of the op's own forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.function import FunctionCtx
from ..autograd.mode import mode, no_grad
from ..autograd.op import _unwrap, promote
from ..autograd.tape import TensorBase, wrap
from ..devices import on_host
from ..testing.differences import PRECISIONS, derivative

ELEMENTS, TRIES = 8, 4  # moved at once: few, so that a kink is seldom met; and how often others are tried
TOLERANCE = 1e-3  # of a product in float32, relative to the sizes of what is added up


def _wide(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_wide, value)) if not hasattr(value, "_fields") else value
    if not hasattr(value, "strides"):
        return value
    return np.array(on_host(value), np.float64 if value.dtype.kind == "f" else value.dtype)


class _Applied:
    """A `Function` with one output as an op: its ``forward`` on arrays, seen by nobody."""

    keeps = ()

    def __init__(self, function: Any, args: Sequence[Any]) -> None:
        self.function, self.tensors = function, [isinstance(v, TensorBase) for v in args]

    def forward(self, *point: Any) -> Any:
        """The output's array."""
        values = [wrap(v) if is_tensor else v for v, is_tensor in zip(point, self.tensors)]
        context = [FunctionCtx()] if self.function.setup_context is None else []
        watcher, mode.watcher = mode.watcher, None
        try:
            with no_grad():
                return self.function.forward(*context, *values)._array
        finally:
            mode.watcher = watcher


class Judge:
    """Keeps the inputs of ops in float64, and compares what their rules make with differences."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.op: Any = None
        self.point: Any = None
        self.points: dict[Any, tuple[Any, ...]] = {}  # by node

    def before(self, op: Any, values: Sequence[Any]) -> None:
        """Keep the inputs of an op that is about to run."""
        self.op = op
        arrays: list[Any] = [v._array if isinstance(v, TensorBase) else v for v in values]
        arrays[0] = _unwrap(arrays[0])
        try:
            self.point = tuple(map(_wide, promote(op, arrays) if op.promotes is not None else arrays))
        except (RuntimeError, TypeError):  # the op will say it better
            self.point = None

    def before_function(self, function: Any, args: Sequence[Any]) -> None:
        """Keep the inputs of a `Function` that is about to be applied."""
        self.op = _Applied(function, args)
        self.point = tuple(_wide(v._array) if isinstance(v, TensorBase) else v for v in args)

    def after(self, node: Any, out: Any, outputs: int = 1) -> None:
        """The op has run, and this is its node, if it has one."""
        if node is not None and self.point is not None:
            self.points[node] = (self.op, self.point, on_host(out).copy(), outputs)

    def verdict(self, node: Any, i: int, place: int, g: Any, product: Any) -> str:
        """What differences say of ``product``, the gradient of input ``i``: "right", "wrong: ...", or why they say nothing."""
        if node not in self.points:
            return "not judged: only what was called inside the recording can be"
        op, point, out, outputs = self.points[node]
        if outputs > 1:
            return f"not judged: it has {outputs} outputs"
        if np.float16 in (product.dtype, g.dtype):
            return "not judged: float16"
        with np.errstate(all="ignore"):
            try:
                again = _forward(op, point)
            except Exception as error:  # a Function may do anything
                return f"not judged: in float64 its forward raises {type(error).__name__}"
            if again.shape != out.shape or not np.allclose(again, out, 1e-3, 1e-4, equal_nan=True):
                return "not judged: the op gives another result each time"
        x = point[i] if place < 0 else point[i][place]
        telling = np.flatnonzero(product * x)
        for attempt in range(TRIES):  # at last only where the product says something, and away from ties of zeros
            among = telling if attempt >= TRIES // 2 and telling.size else np.arange(x.size)
            analytic, numeric, size, kink = self.slopes(op, point, i, place, x, g, product, among)
            if not kink:
                if abs(analytic - numeric) <= TOLERANCE * max(size, abs(numeric)) + 1e-7:
                    return "right"
                return f"wrong: the rule says {analytic:.6g}, differences say {numeric:.6g}"
        finite = all(np.isfinite(a).all() for a in (x, g, out))
        return "not judged: there is a kink" if finite else "not judged: there is a NaN or an infinity"

    def slopes(self, op: Any, point: Any, i: int, place: int, x: Any, g: Any, product: Any, among: Any) -> Any:
        """How fast ``<g, op(x)>`` changes along a random direction: by the product, and by differences."""
        direction = np.zeros(x.shape)
        if x.size:
            chosen = self.rng.choice(among, min(ELEMENTS, among.size), replace=False)
            direction.reshape(-1)[chosen] = self.rng.uniform(0.5, 1.5, len(chosen)) * self.rng.choice([-1, 1], len(chosen))
        sizes = []

        def weighted(t: float) -> Any:
            moved = list(point)
            if place < 0:
                moved[i] = x + t * direction
            else:
                moved[i] = [*point[i][:place], x + t * direction, *point[i][place + 1 :]]
            parts = g.astype(np.float64) * _forward(op, moved)
            sizes.append(float(np.abs(parts).sum()))
            return parts.sum()

        weighted(0.0)
        scale = max(1.0, float(np.abs(x[direction != 0]).max())) if x.size else 1.0
        precision = PRECISIONS["float64"]
        numeric, kink = derivative(weighted, precision._replace(step=precision.step * scale), 1e-9, sizes[0])
        terms = product.astype(np.float64) * direction
        return float(terms.sum()), float(numeric), float(np.abs(terms).sum()), bool(kink)


def _forward(op: Any, point: Sequence[Any]) -> Any:
    result = op.forward(*point)
    return np.asarray(result[0] if op.keeps else result)
