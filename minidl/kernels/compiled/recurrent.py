"""A step of a recurrent network and its derivative, each quantity in one loop; the equations are in `minidl.sequences`.

The arguments are those of `minidl.sequences.steps`. There are many arrays in a step, and the compiler must know of any two
whether one is changed through the other; so a loop changes one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .attention import weighed
from .compile import loop
from .elementwise import of_elements
from .mathematics import f32, tanh
from .matmul import PLAIN, ROWS, _sgemm


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


@loop
def _times(a, panels, out, beta):
    """Put ``a @ w`` into its place, or add it if ``beta`` is 1: (n, K), (P, K, C) -> (n, P * C)."""
    n, k, columns = len(a), panels.shape[1], panels.shape[2]
    for p in range(len(panels)):
        at_w, at_out = panels.ctypes.data + 4 * p * k * columns, out.ctypes.data + 4 * p * columns
        apart, ld_out = a.strides[0] // 4, out.strides[0] // 4
        _sgemm(ROWS, PLAIN, PLAIN, n, columns, k, f32(1), a.ctypes.data, apart, at_w, columns, beta, at_out, ld_out)


@loop
def _lstm_steps(fed, w_x, w_h, bias, places, more, h, c, out, starts, half, ahead):
    """All steps of a strip: see `minidl.sequences.recurrent`. Step k reads and writes its n rows of ``fed``, ``places`` (c, i,
    f, g, o) and ``more``, and those of ``out`` from ``starts[k]`` on; h and c, (n, H), go from the first to the last state.
    """
    n, units = h.shape
    read, products = w_x.shape[2], np.empty((4, n, units), np.float32)
    for k, start in enumerate(starts):
        here, later, state = slice(k * n, k * n + n), slice(k * n + n, k * n + 2 * n), fed.shape[1] - units
        if k == 0:
            fed[here, state:] = h
            places[0, here] = c
        if k % ahead == 0:
            part = slice(k * n, min(k + ahead, len(starts)) * n)
            for gate in range(4):
                _times(fed[part, :read], w_x[gate], places[1 + gate, part], f32(0))
                if bias.size:
                    places[1 + gate, part] += bias[gate]
        for gate in range(4):
            _times(fed[here, state:], w_h[gate], products[gate], f32(0))
        last = k + 1 == len(starts)
        new_c = c.reshape(-1) if last else places[0, later].reshape(-1)
        old, i, f, g, o = [places[j, here].reshape(-1) for j in range(5)]
        s_i, s_f, s_g, s_o = [products[j].reshape(-1) for j in range(4)]
        new = out[start : start + n]
        _lstm(old, i, f, g, o, s_i, s_f, s_g, s_o, half, new_c, more[here].reshape(-1), new.reshape(-1))
        if last:
            h[:] = new
        else:
            fed[later, state:] = new


@loop
def _lstm_steps_back(g_out, starts, gh, gc, places, more, ga, panels, first, to_first):
    """Some steps of a strip from the last to the first, which has its rows from ``first`` on in the strip and is first in
    ``ga``. ``starts`` are their rows in ``g_out``; whether the state before all steps has a gradient says ``to_first``.
    """
    n = len(gh)
    new = np.empty_like(gh)
    for k, start in enumerate(starts):
        row = (len(starts) - 1 - k) * n
        here, at = slice(first + row, first + row + n), slice(row, row + n)
        new[:] = gh + g_out[start : start + n]
        c, i, f, g, o = [places[j, here].reshape(-1) for j in range(5)]
        g_i, g_f, g_g, g_o = [ga[j, at].reshape(-1) for j in range(4)]
        _lstm_back(new.reshape(-1), gc.reshape(-1), c, i, f, g, o, more[here].reshape(-1), g_i, g_f, g_g, g_o)
        if first + row or to_first:
            for gate in range(4):
                _times(ga[gate, at], panels[gate], gh, f32(1 if gate else 0))


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


def lstm_steps(
    fed: Any, w_x: Any, w_h: Any, bias: Any, places: Any, more: Any, h: Any, c: Any, out: Any, starts: Any, *how: Any
) -> None:
    """All steps of some sequences of the same length, without the interpreter."""
    unscaled, ahead = how
    w_x, w_h = np.ascontiguousarray(w_x), np.ascontiguousarray(w_h)
    bias = np.zeros((4, 0), np.float32) if bias is None else bias[:, 0]
    _lstm_steps(fed, w_x, w_h, bias, places, more, h, c, out, np.array(starts), _half(unscaled), ahead)


def lstm_steps_back(
    g_out: Any, starts: Any, gh: Any, gc: Any, places: Any, more: Any, ga: Any, panels: Any, first: int, to_first: bool
) -> None:
    """Likewise."""
    _lstm_steps_back(g_out, np.array(starts), gh, gc, places, more, ga, np.ascontiguousarray(panels), first, to_first)


STEPS = {
    "rnn_tanh": tanh_step,
    "lstm": lstm_step,
    "lstm_back": lstm_back,
    "gru": gru_step,
    "gru_back": gru_back,
    "attention_weights": weighed,
}
if _sgemm is not None:
    STEPS |= {"lstm_steps": lstm_steps, "lstm_steps_back": lstm_steps_back}


def in_one(name: Any, dtype: Any) -> Any:
    """The step of this name, or what makes a loop of this function of elements, on float32."""
    if dtype != np.float32:
        return None
    return functools.partial(of_elements, name) if callable(name) else STEPS.get(name)
