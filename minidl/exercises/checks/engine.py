"""Steps that make an engine."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ...testing import Engine, GradcheckError, gradcheck
from ..trial import Trial


class _Tensor:
    """What the steps about order and sweep are tried with."""

    def __init__(self, count: Any, value: Any, parents: Any = (), pullback: Any = None) -> None:
        self.value, self.parents, self.pullback, self.number = value, parents, pullback, next(count)

    def __repr__(self) -> str:  # in messages, and the same at every call, so that a mistake is recognised by them
        return f"the tensor with number {self.number}"


def record(t: Trial, m: Any) -> None:
    """Value, parents and pullback of one product."""
    a, b = m.Tensor(np.array([1.0, 2.0])), m.Tensor(np.array([3.0, 5.0]))

    def parents() -> list[str]:
        return [next((n for n, x in (("a", a), ("b", b)) if x is p), "?") for p in m.multiply(a, b).parents]

    t.values("multiply(a, b).value", lambda: m.multiply(a, b).value, (), [np.array([3.0, 10.0])])
    t.values("the parents of multiply(a, b)", lambda: np.array(parents()), (), [np.array(["a", "b"])])
    g = np.array([10.0, 100.0])
    right = (g * b.value, g * a.value)
    t.values(
        "the pullback of multiply(a, b)", lambda g: m.multiply(a, b).pullback(g), (g,), right, "gradient of a", "gradient of b"
    )


def order(t: Trial, m: Any) -> None:
    """A chain, a diamond, and a tensor met early that is the parent of one met late."""
    count = itertools.count()
    a = _Tensor(count, 0)
    b = _Tensor(count, 0, (a,))
    c = _Tensor(count, 0, (a, b))
    d = _Tensor(count, 0, (c,))
    _Tensor(count, 0, (a,))  # leads nowhere
    e = _Tensor(count, 0, (a, d, b))
    for name, out, right in (("d, from c, from a and b, which is from a", d, [3, 2, 1, 0]), ("e", e, [5, 3, 2, 1, 0])):
        t.values(f"the numbers in order({name})", lambda out=out: np.array([x.number for x in m.order(out)]), (), [right])


def sweep(t: Trial, m: Any) -> None:
    """A small engine around the learner's loop, checked like any other library."""
    count = itertools.count()

    def order(out: Any) -> Any:
        found, todo = {out}, [out]
        while todo:
            new = [p for p in todo.pop().parents if p not in found]
            found.update(new)
            todo.extend(new)
        return sorted(found, key=lambda x: -x.number)

    class Theirs(Engine):
        def is_tensor(self, x: Any) -> bool:
            return isinstance(x, _Tensor)

        def wants_grad(self, x: Any) -> bool:
            return True

        def array(self, x: Any) -> Any:
            return x.value

        def tensor(self, array: Any, requires_grad: bool = False) -> Any:
            return _Tensor(count, array)

        def grad(self, outputs: Any, inputs: Any, cotangents: Any, create_graph: bool) -> Any:
            weighted = [multiply(y, v) for y, v in zip(outputs, cotangents)]
            grads = m.backward(weighted[0], order)
            return [_Tensor(count, grads[x]) if x in grads else None for x in inputs]

        def name(self, x: Any) -> str:
            return "your sweep"

    def multiply(a: Any, b: Any) -> Any:
        return _Tensor(count, a.value * b.value, (a, b), lambda g: (g * b.value, g * a.value))

    def add(a: Any, b: Any) -> Any:
        return _Tensor(count, a.value + b.value, (a, b), lambda g: (g, g))

    def grad_of(function: Any, *numbers: float) -> Any:
        xs = [_Tensor(count, np.array(n)) for n in numbers]
        grads = m.backward(function(*xs), order)
        if any(x not in grads for x in xs):
            raise LookupError("an input has no gradient at all")
        return tuple(grads[x] for x in xs)

    def fourth(x: Any) -> Any:
        square = multiply(x, x)
        return multiply(square, square)

    t.values("a * b at a = 2, b = 5", lambda: grad_of(multiply, 2.0, 5.0), (), (5.0, 2.0), "gradient of a", "gradient of b")
    five = _Tensor(count, np.array(5.0))
    t.values("the gradient of x + 5 * x at x = 3", lambda: grad_of(lambda x: add(x, multiply(five, x)), 3.0), (), (6.0,))
    t.values("the gradient of x * x at x = 3", lambda: grad_of(lambda x: multiply(x, x), 3.0), (), (6.0,))

    def checked() -> str:
        try:
            gradcheck(fourth, (_Tensor(count, np.array([0.5, -1.5])),), engine=Theirs())
        except GradcheckError as error:
            return str(error).splitlines()[0]
        return "right"

    t.values("gradcheck of (x * x) * (x * x)", lambda: np.array(checked()), (), [np.array("right")])
