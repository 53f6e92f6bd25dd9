"""A step of a recurrent network and its derivative, each quantity in one loop; the equations are in `minidl.sequences`.

The arguments are those of `minidl.sequences.steps`. There are many arrays in a step, and the compiler must know of any two
whether one is changed through the other; so a loop changes one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .attention import weighed
from .compile import loop
from .mathematics import f32, tanh


@loop
def _squash(gates, products, factor, half):
    """In place the tanh of the sum, times ``factor``; for a sigmoid ``half`` is 1/2: see `minidl.sequences.steps`."""
    for i in range(gates.size):
        gates[i] = half * tanh((gates[i] + products[i]) * factor) + (f32(1) - half)


@loop
def _lstm(c, i, f, g, o, s_i, s_f, s_g, s_o, half, new, more, out):
    _squash(i, s_i, half, f32(0.5))
    _squash(f, s_f, half, f32(0.5))
    _squash(g, s_g, f32(1), f32(1))
    _squash(o, s_o, half, f32(0.5))
    for k in range(c.size):
        new[k] = c[k] * f[k] + i[k] * g[k]
    for k in range(c.size):
        more[k] = tanh(new[k])
    for k in range(c.size):
        out[k] = o[k] * more[k]


@loop
def _lstm_back(gh, gc, c, i, f, g, o, more, g_i, g_f, g_g, g_o):
    one = f32(1)
    for k in range(gh.size):
        g_o[k] = gh[k] * more[k] * (one - o[k]) * o[k]
    for k in range(gh.size):
        gc[k] += gh[k] * o[k] * (one - more[k] * more[k])
    for k in range(gh.size):
        g_i[k] = gc[k] * g[k] * (one - i[k]) * i[k]
    for k in range(gh.size):
        g_g[k] = gc[k] * i[k] * (one - g[k] * g[k])
    for k in range(gh.size):
        g_f[k] = gc[k] * c[k] * (one - f[k]) * f[k]
    for k in range(gh.size):
        gc[k] *= f[k]


@loop
def _gru(r, z, n, s_r, s_z, s_n, half, h, more, out):
    _squash(r, s_r, half, f32(0.5))
    _squash(z, s_z, half, f32(0.5))
    more[:] = s_n
    for k in range(n.size):
        n[k] = tanh(n[k] + r[k] * more[k])
    for k in range(n.size):
        out[k] = n[k] + z[k] * (h[k] - n[k])


@loop
def _gru_back(gh, r, z, n, h, more, g_r, g_z, g_n, late, past):
    one = f32(1)
    for k in range(gh.size):
        past[k] = gh[k] * z[k]
    for k in range(gh.size):
        g_n[k] = gh[k] * (one - z[k]) * (one - n[k] * n[k])
    for k in range(gh.size):
        late[k] = g_n[k] * r[k]
    for k in range(gh.size):
        g_r[k] = late[k] * more[k] * (one - r[k])
    for k in range(gh.size):
        g_z[k] = past[k] * (h[k] - n[k]) * (one - z[k])


def _flat(*arrays: Any) -> list[Any]:
    """The arrays, each of which lies in one piece, in one dimension."""
    return [a.reshape(-1) for a in arrays]


def _half(unscaled: Any) -> Any:
    return f32(1) if unscaled is None else f32(0.5)


def tanh_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``tanh(a + s)``."""
    _squash(*_flat(a[0], s[0]), f32(1), f32(1))
    out[...] = a[0]


def lstm_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds the old cell state, i, f, g and o."""
    _lstm(*_flat(*a, *s), _half(unscaled), *_flat(c, more, out))


def lstm_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """Likewise; the gradients of i, f, g and o go into ``ga``, and that of the old cell state into ``gc``."""
    _lstm_back(*_flat(gh, gc, *a, more, *ga))


def gru_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds r, z and n."""
    _gru(*_flat(*a, *s), _half(unscaled), h.ravel(), *_flat(more, out))


def gru_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """Likewise; returns what goes past the products to the old state."""
    past = np.empty_like(gh)
    _gru_back(*_flat(gh, *a), h.ravel(), *_flat(more, *ga, gs[2], past))
    gs[:2] = ga[:2]
    return past


STEPS = {
    "rnn_tanh": tanh_step,
    "lstm": lstm_step,
    "lstm_back": lstm_back,
    "gru": gru_step,
    "gru_back": gru_back,
    "attention_weights": weighed,
}


def in_one(name: str, dtype: Any) -> Any:
    """The step of this name on float32."""
    return STEPS.get(name) if dtype == np.float32 else None
