"""One step of a recurrent network and its derivative, on arrays and in place; the equations are in `recurrent`.

The gates are kept as (G, N, H): those of one kind lie side by side. On arrays as small as these a call costs as much as its
numbers; so there are few, on several gates at once where they allow it.

A ``step(m, a, s, h, c, more, out, unscaled, halves)`` finds in ``a`` the product with the input, its bias added, and makes the
gates of it; ``s`` is the product with the state, ``h`` the state itself. The new state goes into ``out``, and into ``more``
what the derivative reads besides. An LSTM has its cell state before the gates in ``a``, and puts the new one into ``c``.

A ``back(m, gh, gc, a, h, more, ga, gs)`` gets the gradient ``gh`` of the new state, and puts those of the two products into
``ga`` and ``gs`` (the same array but for the GRU). It returns what of ``gh`` goes past the products to the old state, or None.
An LSTM finds in ``gc`` what later steps want of its new cell state, and leaves there what is wanted of the old one.
"""

from __future__ import annotations

from typing import Any


def _squash(m: Any, a: Any, unscaled: Any, halves: Any) -> None:
    """In place, the sigmoid where the first of ``halves`` is 1/2 and the tanh where it is 1; the second is 1 less that.

    ``sigmoid(x) = (1 + tanh(x / 2)) / 2``. The weights may have been halved already; if not, ``unscaled`` is ``halves[0]``.
    """
    if unscaled is not None:
        a *= unscaled
    m.tanh(a, out=a)
    a *= halves[0]
    a += halves[1]


def tanh_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``tanh(a + s)``."""
    a += s
    out[...] = m.tanh(a, out=a)[0]


def tanh_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """``(1 - a ** 2) * gh``."""
    m.multiply(a, a, out=ga)
    m.subtract(1, ga, out=ga)
    ga *= gh


def relu_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``max(a + s, 0)``."""
    a += s
    out[...] = m.maximum(a, 0, out=a)[0]


def relu_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """0 where ``a`` is 0, also of what is infinite."""
    ga[...] = m.where(a <= 0, 0, gh)


def lstm_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds the old cell state, i, f, g and o; ``more`` will be the tanh of the new one."""
    gates = a[1:]
    gates += s
    _squash(m, gates, unscaled, halves)
    both = m.multiply(a[:2], a[2:4])  # old cell state * f, and i * g
    m.add(both[0], both[1], out=c)
    m.tanh(c, out=more)
    m.multiply(a[4], more, out=out)


def lstm_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """Every ``y - y * o`` is ``(1 - o) * y``: the slope of a sigmoid is ``(1 - o) * o``, that of the tanh ``1 - g ** 2``."""
    c, i, f, g, o = a
    g_i, g_f, g_g, g_o = ga
    x = gh * o
    gc += x
    x *= more
    m.multiply(x, o, out=g_o)
    m.subtract(x, g_o, out=g_o)  # (1 - o) * o * more * gh
    x *= more
    gc -= x  # in all, gc + (1 - more ** 2) * o * gh
    m.multiply(gc, i, out=x)
    m.multiply(x, g, out=g_g)
    m.multiply(g_g, i, out=g_i)
    m.subtract(g_g, g_i, out=g_i)  # (1 - i) * i * g * gc
    g_g *= g
    m.subtract(x, g_g, out=g_g)  # (1 - g ** 2) * i * gc
    gc *= f
    m.multiply(gc, c, out=x)
    m.multiply(x, f, out=g_f)
    m.subtract(x, g_f, out=g_f)  # (1 - f) * f * c * gc, with the gc of before


def gru_step(m: Any, a: Any, s: Any, h: Any, c: Any, more: Any, out: Any, unscaled: Any, halves: Any) -> None:
    """``a`` holds r, z and n; ``more`` will be what r is multiplied with."""
    r, z, n = a
    gates = a[:2]
    gates += s[:2]
    _squash(m, gates, None if unscaled is None else unscaled[:2], [half[:2] for half in halves])
    more[...] = s[2]
    m.multiply(r, more, out=out)
    n += out
    m.tanh(n, out=n)
    m.subtract(h, n, out=out)
    out *= z
    out += n


def gru_back(m: Any, gh: Any, gc: Any, a: Any, h: Any, more: Any, ga: Any, gs: Any) -> Any:
    """The slopes are as in `lstm_back`."""
    r, z, n = a
    g_r, g_z, g_n = ga
    past = gh * z
    x = gh - past
    m.multiply(x, n, out=g_n)
    g_n *= n
    m.subtract(x, g_n, out=g_n)  # (1 - n ** 2) * (1 - z) * gh
    m.multiply(g_n, r, out=gs[2])
    m.multiply(gs[2], more, out=x)
    m.multiply(x, r, out=g_r)
    m.subtract(x, g_r, out=g_r)  # (1 - r) * r * more * g_n
    m.subtract(h, n, out=x)
    x *= past
    m.multiply(x, z, out=g_z)
    m.subtract(x, g_z, out=g_z)  # (1 - z) * z * (h - n) * gh
    gs[:2] = ga[:2]
    return past
