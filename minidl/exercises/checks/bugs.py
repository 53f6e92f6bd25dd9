"""Steps in which something is broken."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trial import Trial


def _numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def bug_bias(t: Trial, m: Any) -> None:
    """A bias on either side, and none."""
    for shapes in (((8, 3), (3,)), ((3,), (8, 3)), ((2, 3), (2, 3)), ((8, 1), (1, 3))):
        t.gradients(
            f"a + b of shapes {shapes[0]} and {shapes[1]}",
            lambda a, b: a + b,
            lambda g, a, b: m.add(m.Tensor(a), m.Tensor(b)).pullback(g),
            a=_numbers(*shapes[0]),
            b=_numbers(*shapes[1], seed=1),
        )


def bug_shared(t: Trial, m: Any) -> None:
    """One call, then two."""

    def backward(weight: Any, *pairs: Any) -> Any:
        layer = m.Linear(weight)
        for x, _ in pairs:
            layer.forward(x)
        for _, g in reversed(pairs):
            layer.backward(g)
        return layer.grad

    w, x, y = _numbers(2, 3), _numbers(4, 2, seed=1), _numbers(4, 2, seed=2)
    t.gradients("used once", lambda w: x @ w, lambda g, w: backward(w, (x, g)), w=w)
    t.gradients("used for two pictures", lambda w: (x @ w, y @ w), lambda g, h, w: backward(w, (x, g), (y, h)), w=w)


def bug_columns(t: Trial, m: Any) -> None:
    """A vertical edge, and random numbers by loops."""
    edge = np.array([[0.0, 0.0, 1.0, 1.0]] * 3)
    vertical = np.array([[-1.0, 1.0], [-1.0, 1.0]])
    t.values("a vertical edge, and its detector", m.conv2d, (edge, vertical), [np.array([[0.0, 2.0, 0.0]] * 2)])
    x, w = _numbers(4, 6), _numbers(3, 3, seed=1)
    right = [[sum(x[p + i, q + j] * w[i, j] for i in range(3) for j in range(3)) for q in range(4)] for p in range(2)]
    t.values("random numbers, 4 x 6, window 3 x 3", m.conv2d, (x, w), [np.array(right)])


def bug_nesterov(t: Trial, m: Any) -> None:
    """Two steps, worked out by hand."""
    p, g, v = np.array([1.0]), np.array([10.0]), np.array([40.0])
    first = (np.array([-0.5]), np.array([10.0]))
    t.values(
        "the first step: p 1, grad 10, v 0, lr 0.1, mu 0.5",
        lambda p, g: m.nesterov(p, g, 0 * g, 0.1, 0.5),
        (p, g),
        first,
        "p v",
    )
    t.values("a step with v 40", lambda p, g, v: m.nesterov(p, g, v, 0.1, 0.5), (p, g, v), ([-1.5], [30.0]), "p", "v")


def bug_statistics(t: Trial, m: Any) -> None:
    """What is remembered of two batches, and what is made of it."""
    batches = _numbers(2, 4, 3) + 5

    def after(*seen: Any) -> Any:
        layer = m.BatchNorm(3)
        for x in seen:
            layer(x, True)
        return layer

    first, second = ([[float(v) for v in column] for column in x.T] for x in batches)
    mean = np.array([0.1 * (sum(a) / 4 * 0.9 + sum(b) / 4) for a, b in zip(first, second)])
    var = np.array([0.81 + 0.09 * _unbiased(a) + 0.1 * _unbiased(b) for a, b in zip(first, second)])
    t.values("the running mean after two batches", lambda *seen: after(*seen).mean, tuple(batches), [mean])
    t.values("the running variance after two batches", lambda *seen: after(*seen).var, tuple(batches), [var])
    x = _numbers(4, 3, seed=3)
    t.values(
        "in use, after two batches", lambda *a: after(*a[:2])(a[2], False), (*batches, x), [(x - mean) / np.sqrt(var + 1e-5)]
    )


def _unbiased(numbers: list[float]) -> float:
    mean = sum(numbers) / len(numbers)
    return sum((n - mean) ** 2 for n in numbers) / (len(numbers) - 1)
