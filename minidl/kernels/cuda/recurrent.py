"""A step of a recurrent network and its derivative, each in one launch; the arguments are those of `minidl.sequences.steps`."""

from __future__ import annotations

from functools import partial
from typing import Any

import cupy

from .loader import launch, plain


def _launch(name: str, *arrays: Any, numbers: tuple[float, ...] = ()) -> None:
    size = arrays[0].size
    launch("gates", name, size, *arrays, size, *numbers, real=arrays[0].dtype)


def _half(unscaled: Any) -> tuple[float]:
    return (1.0,) if unscaled is None else (0.5,)


def simple_step(name: str, m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``tanh(a + s)``, or ``max(a + s, 0)``."""
    _launch(name, a[0], s[0], out)


def simple_back(name: str, m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """The slope of that, times ``gh``."""
    _launch(name, gh, a[0], ga[0])


def lstm_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds the old cell state, i, f, g and o."""
    _launch("lstm", *a, *s, c, more, out, numbers=_half(unscaled))


def lstm_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """Likewise; the gradients of i, f, g and o go into ``ga``, and that of the old cell state into ``gc``."""
    _launch("lstm_back", gh, gc, *a, more, *ga)


def gru_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds r, z and n."""
    _launch("gru", *a, *s, plain(h), more, out, numbers=_half(unscaled))


def gru_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """Likewise; returns what goes past the products to the old state."""
    past = cupy.empty_like(gh)
    _launch("gru_back", gh, *a, plain(h), more, *ga, *gs, past)
    return past


STEPS = {
    "rnn_tanh": partial(simple_step, "tanh_step"),
    "rnn_tanh_back": partial(simple_back, "tanh_back"),
    "rnn_relu": partial(simple_step, "relu_step"),
    "rnn_relu_back": partial(simple_back, "relu_back"),
    "lstm": lstm_step,
    "lstm_back": lstm_back,
    "gru": gru_step,
    "gru_back": gru_back,
}
