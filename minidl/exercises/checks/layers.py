"""Steps about layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trial import Trial


def _numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def _softmax(x: Any) -> Any:
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def relu(t: Trial, m: Any) -> None:
    """Numbers, with 0 among them, and differences."""
    g, x = np.array([2.0, -3.0, 5.0, -7.0]), np.array([-1.0, 1.5, 2.0, 0.0])
    t.values("x = [-1, 1.5, 2, 0], g = [2, -3, 5, -7]", m.relu_pullback, (g, x), [np.array([0.0, -3.0, 5.0, 0.0])])
    t.gradients("relu(x)", lambda x: np.maximum(x, 0), m.relu_pullback, x=_numbers(2, 3))


def linear(t: Trial, m: Any) -> None:
    """A square layer, in which only numbers tell, and another."""
    for n, k, out in ((4, 3, 2), (3, 3, 3)):
        t.gradients(
            f"{n} examples, {k} features to {out}",
            lambda x, weight, bias: x @ weight.T + bias,
            m.linear_pullback,
            x=_numbers(n, k),
            weight=_numbers(out, k, seed=1),
            bias=_numbers(out, seed=2),
        )


def softmax(t: Trial, m: Any) -> None:
    """Of rows, a square of them too."""
    for shape in ((3, 3), (2, 4)):
        t.gradients(f"softmax of {shape}", _softmax, lambda g, x: m.softmax_pullback(g, _softmax(x)), x=_numbers(*shape))


def cross_entropy(t: Trial, m: Any) -> None:
    """Two classes with even odds cost log 2; then differences; then large scores."""
    target = np.array([0, 2, 1, 2])

    def loss(x: Any) -> Any:
        return -np.log(_softmax(x)[np.arange(4), target]).mean()

    even = np.zeros((2, 2))
    t.values(
        "the loss where both classes have the same score", lambda x: m.cross_entropy(x, np.array([0, 1]))[0], (even,), np.log(2)
    )
    t.gradients("4 examples, 3 classes", loss, lambda g, x: g * m.cross_entropy(x, target)[1], x=_numbers(4, 3))
    right = (1.0, [[0.0, 0.0], [0.0, 0.0]])
    large = np.array([[1000.0, 0.0], [0.0, 1000.0]])
    t.values("the loss with scores of 1000", lambda x: m.cross_entropy(x, np.array([0, 1]))[0] + 1, (large,), right[0])


def conv(t: Trial, m: Any) -> None:
    """The definition, as sums over single numbers, is what differences are taken of."""

    def forward(x: Any, w: Any) -> Any:
        return np.array([sum(x[i + k] * w[k] for k in range(len(w))) for i in range(len(x) - len(w) + 1)])

    t.gradients("6 numbers, a window of 3", forward, m.conv_pullback, x=_numbers(6), w=_numbers(3, seed=1))
    t.gradients("5 numbers, a window of 1", forward, m.conv_pullback, x=_numbers(5), w=_numbers(1, seed=1))


def columns(t: Trial, m: Any) -> None:
    """`pixels` is the transpose of the copy; what a transpose is, is said by the sum over all pairs."""
    shape, k = (4, 5), 3
    places = np.array([[(p + i) * 5 + q + j for p in range(2) for q in range(3)] for i in range(k) for j in range(k)])
    g = _numbers(*places.shape)
    right = np.zeros(20)
    for place, value in zip(places.ravel(), g.ravel()):
        right[place] += value
    t.values("pixels of random numbers, to a picture of 4 x 5", lambda g: m.pixels(g, shape, k), (g,), [right.reshape(shape)])
    t.gradients(
        "columns of a picture of 4 x 5",
        lambda x: x.ravel()[places],
        lambda g, x: m.pixels(g, shape, k),
        x=_numbers(*shape),
    )


def max_pool(t: Trial, m: Any) -> None:
    """Windows that touch, overlap, and hold equal numbers."""

    def forward(x: Any, size: int, stride: int) -> Any:
        return np.array([max(x[i : i + size]) for i in range(0, len(x) - size + 1, stride)])

    for size, stride in ((2, 2), (3, 1)):
        t.gradients(
            f"windows of {size}, {stride} apart",
            lambda x, size=size, stride=stride: forward(x, size, stride),
            lambda g, x, size=size, stride=stride: m.max_pool_pullback(g, x, size, stride),
            x=np.array([0.3, 2.0, 0.7, 1.0, -1.0, 0.5]),
        )
    tie = np.array([5.0, 5.0, 1.0, 1.0])
    t.values(
        "x = [5, 5, 1, 1], g = [1, 10]",
        lambda g, x: m.max_pool_pullback(g, x, 2, 2),
        (np.array([1.0, 10.0]), tie),
        [np.array([1.0, 0.0, 10.0, 0.0])],
    )


def batch_norm(t: Trial, m: Any) -> None:
    """Each feature apart."""

    def forward(x: Any) -> Any:
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    t.gradients("a batch of 5 with 3 features", forward, m.batch_norm_pullback, x=_numbers(5, 3) * [1.0, 2.0, 0.5])


def rnn(t: Trial, m: Any) -> None:
    """Three steps."""
    start = np.array([0.3, -0.2])

    def states(x: Any, w: Any) -> Any:
        h = [start]
        for row in x:
            h.append(np.tanh(row + h[-1] @ w))
        return np.array(h)

    t.gradients(
        "3 steps, a state of 2",
        lambda x, w: states(x, w)[1:],
        lambda g, x, w: m.rnn_pullback(g, states(x, w), w),
        x=_numbers(3, 2),
        w=_numbers(2, 2, seed=1),
    )


def lstm(t: Trial, m: Any) -> None:
    """One cell, with gates of any value."""

    def forward(i: Any, f: Any, new: Any, o: Any, c_before: Any) -> Any:
        c = f * c_before + i * new
        return o * np.tanh(c), c

    names = ("i", "f", "new", "o", "c_before")
    t.gradients("one cell", forward, m.lstm_pullback, **{name: _numbers(3, seed=n) for n, name in enumerate(names)})


def attention(t: Trial, m: Any) -> None:
    """As many queries as keys, where only numbers tell, and not."""

    def forward(q: Any, k: Any, v: Any) -> Any:
        return _softmax(q @ k.T / np.sqrt(q.shape[1])) @ v

    for n, keys, d in ((3, 3, 3), (2, 4, 3)):
        t.gradients(
            f"{n} queries, {keys} keys",
            forward,
            m.attention_pullback,
            q=_numbers(n, d),
            k=_numbers(keys, d, seed=1),
            v=_numbers(keys, d, seed=2),
        )
