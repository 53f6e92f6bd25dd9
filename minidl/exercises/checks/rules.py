"""Steps about pullbacks of single functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trial import Trial


def _numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape)


def multiply(t: Trial, m: Any) -> None:
    """Two factors."""
    g, a, b = np.ones(3), np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    what = "a = [1, 2, 3], b = [10, 20, 30], g = 1"
    t.values(what, m.multiply_pullback, (g, a, b), (b, a), "gradient of a", "gradient of b")
    t.gradients("a * b", lambda a, b: a * b, m.multiply_pullback, a=_numbers(2, 3), b=_numbers(2, 3, seed=1))


def tanh(t: Trial, m: Any) -> None:
    """By its output."""
    t.gradients("tanh(x)", np.tanh, lambda g, x: m.tanh_pullback(g, np.tanh(x)), x=_numbers(4) - 1)


def twice(t: Trial, m: Any) -> None:
    """Two ways."""
    t.gradients("x * sin(x)", lambda x: x * np.sin(x), m.pullback, x=_numbers(4))


def mean(t: Trial, m: Any) -> None:
    """Along either dimension, of a square too, where a wrong one goes unnoticed by NumPy."""
    for shape in ((3, 3), (2, 4)):
        for dim in (1, 0):
            t.gradients(
                f"x.mean({dim}), x of shape {shape}",
                lambda x, dim=dim: x.mean(dim),
                lambda g, x, dim=dim: m.mean_pullback(g, x, dim),
                x=_numbers(*shape),
            )


def unbroadcast(t: Trial, m: Any) -> None:
    """All ways to stretch."""
    for shape in ((4,), (3, 1), (1, 4), (1,), (), (3, 4)):
        t.gradients(
            f"x + b, x of shape (3, 4), b of shape {shape}",
            lambda b: np.zeros((3, 4)) + b,
            lambda g, b: m.unbroadcast(g, b.shape),
            b=_numbers(*shape),
        )


def matmul(t: Trial, m: Any) -> None:
    """Square ones, in which only numbers tell, and others."""
    t.gradients("a @ b, both (3, 3)", np.matmul, m.matmul_pullback, a=_numbers(3, 3), b=_numbers(3, 3, seed=1))
    t.gradients("a @ b", np.matmul, m.matmul_pullback, a=_numbers(2, 3), b=_numbers(3, 4, seed=1))


def rows(t: Trial, m: Any) -> None:
    """With repetition."""
    index = np.array([0, 2, 2, 1, 2])
    t.gradients(
        "table[[0, 2, 2, 1, 2]]",
        lambda table: table[index],
        lambda g, table: m.rows_pullback(g, table, index),
        table=_numbers(4, 2),
    )


def differences(t: Trial, m: Any) -> None:
    """Of functions whose derivative is known; central ones have no error at a square."""
    x = np.array([[1.0, -2.0, 3.0]])
    t.values("the gradient of (x * x).sum()", lambda x: m.slope(lambda y: (y * y).sum(), x, 0.5), (x,), 2 * x)
    t.values(
        "the gradient of x[0, 0] * x[0, 2]",
        lambda x: m.slope(lambda y: y[0, 0] * y[0, 2], x),
        (x,),
        [np.array([[3.0, 0.0, 1.0]])],
    )
