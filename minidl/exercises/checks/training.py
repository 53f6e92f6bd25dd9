"""Steps about optimisers and training. Numbers are worked out by hand, or step by step on single numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import nn
from ...functions.creation import from_numpy
from ..trial import Trial


def momentum(t: Trial, m: Any) -> None:
    """Two steps, worked out by hand."""
    p, g = np.array([1.0, 2.0]), np.array([10.0, -10.0])
    first = (np.array([0.0, 3.0]), np.array([10.0, -10.0]))
    t.values("the first step: lr 0.1, mu 0.5, v 0", lambda p, g: m.sgd(p, g, np.zeros(2), 0.1, 0.5), (p, g), first, "p", "v")
    second = (np.array([-0.5, 3.5]), np.array([15.0, -15.0]))
    v = np.array([10.0, -10.0])
    t.values("a step with v = grad", lambda p, g, v: m.sgd(p, g, v, 0.1, 0.5), (p, g, v), second, "p", "v")


def adam(t: Trial, m: Any) -> None:
    """Three steps of one number, in plain Python; small gradients, so that the place of eps shows."""
    p, first, second = 1.0, 0.0, 0.0
    given = (np.array([p]), np.array([first]), np.array([second]))
    for step, g in enumerate((1e-6, -3e-6, 2e-6), 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        p -= 0.1 * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)

        def call(p: Any, a: Any, b: Any, g: float = g, step: int = step) -> Any:
            return m.adam(p, np.array([g]), a, b, step, lr=0.1)[0]

        t.values(f"step {step}", call, given, [np.array([p])])
        given = (np.array([p]), np.array([first]), np.array([second]))


def train(t: Trial, m: Any) -> None:
    """A line between two clouds, beside the same training by hand on NumPy arrays."""
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    points = rng.normal(size=(20, 2)) + 2 * labels[:, None]
    weight = rng.normal(size=(2, 2))

    def theirs() -> Any:
        model = nn.Linear(2, 2, bias=False).double()
        model.load_state_dict({"weight": from_numpy(weight.copy())})
        return np.array(m.train(model, from_numpy(points.copy()), from_numpy(labels.copy()), 10))

    w, v, losses = weight.copy(), np.zeros((2, 2)), []
    for _ in range(10):
        e = np.exp(points @ w.T)
        p = e / e.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(20), labels]).mean())
        p[np.arange(20), labels] -= 1
        v = 0.9 * v + p.T @ points / 20
        w -= 0.2 * v
    t.values("the loss of each step", theirs, (), [np.array(losses)])
