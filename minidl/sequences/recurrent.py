"""Recurrent networks: the equations of a cell, written out of ops; and a whole sequence of steps as one op.

The sequence's gradient is worked out by hand: backpropagation through time. What the hidden state of a step does to the loss is
what it does there, and what it does to all later steps; so the sweep runs from the last step to the first, and carries that
along. When the sweep itself is recorded, the same sequence is built cell by cell, out of ops, and differentiated.

Letters: N sequences, D inputs, H units; R rows, all steps of all sequences, the first step's first. A sequence may end early:
``sizes`` has the number of those that still run at each step, which never grows.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from ..autograd import differentiable
from ..autograd.sweep import grad
from ..autograd.tape import TensorBase
from ..backend import kernels, xp
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.layout import cat, reshape
from ..ops.linear import linear

# -- the equations


def _parts(gates: Any, n: int) -> list[Any]:
    """(N, n * H) as n pieces (N, H)."""
    h = gates.shape[1] // n
    return [gates[:, k * h : (k + 1) * h] for k in range(n)]


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """``tanh(w_ih @ input + b_ih + w_hh @ hx + b_hh)``. Source: Elman, Finding Structure in Time, 1990.

    Shapes: (N, D), (N, H), (H, D), (H, H), (H,), (H,) -> (N, H).
    """
    return tanh(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """`rnn_tanh_cell` with `relu` for tanh."""
    return relu(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> tuple[Any, Any]:
    """From ``hx = (h, c)`` the next two::

        i, f, g, o = the four parts of w_ih @ input + b_ih + w_hh @ h + b_hh
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    Shapes: (N, D), twice (N, H), (4 * H, D), (4 * H, H), (4 * H,), (4 * H,) -> twice (N, H).
    Sources: Hochreiter and Schmidhuber, 1997; Gers et al., Learning to Forget, 2000.
    """
    h, c = hx
    i, f, g, o = _parts(linear(input, w_ih, b_ih) + linear(h, w_hh, b_hh), 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """From ``hx = h`` the next one, with ``r, z, n`` the three parts of either product::

        r = sigmoid(w_ir @ input + b_ir + w_hr @ h + b_hr)
        z = sigmoid(w_iz @ input + b_iz + w_hz @ h + b_hz)
        n = tanh(w_in @ input + b_in + r * (w_hn @ h + b_hn))
        h = (1 - z) * n + z * h

    Shapes: (N, D), (N, H), (3 * H, D), (3 * H, H), (3 * H,), (3 * H,) -> (N, H).
    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """
    i_r, i_z, i_n = _parts(linear(input, w_ih, b_ih), 3)
    h_r, h_z, h_n = _parts(linear(hx, w_hh, b_hh), 3)
    z = sigmoid(i_z + h_z)
    n = tanh(i_n + sigmoid(i_r + h_r) * h_n)
    return n + z * (hx - n)


# -- one step and its derivative, on arrays. Each `step` is given the two products and turns ``a``, the first of them, into the
# gates; ``more`` is a place for what the derivative wants besides. Each `back` puts the gradients of the two products into
# ``ga`` and ``gs`` (the same array but for the GRU), and returns what of the new state's gradient goes past them to the old.


def _sigmoid_and_tanh(m: Any, a: Any, weights: Any) -> None:
    """In place, the sigmoid where ``weights`` is 1/2 and the tanh where it is 1: ``sigmoid(x) = (1 + tanh(x / 2)) / 2``."""
    a *= weights
    m.tanh(a, out=a)
    a *= weights
    a += 1 - weights


def _tanh_step(a: Any, s: Any, h: Any, c: Any, more: Any, out: Any) -> None:
    a += s
    xp(a).tanh(a, out=a)
    out[...] = a


def _tanh_back(gh: Any, gc: Any, a: Any, h: Any, c: Any, more: Any, ga: Any, gs: Any) -> Any:
    ga[...] = gh * (1 - a * a)


def _relu_step(a: Any, s: Any, h: Any, c: Any, more: Any, out: Any) -> None:
    a += s
    xp(a).maximum(a, 0, out=a)
    out[...] = a


def _relu_back(gh: Any, gc: Any, a: Any, h: Any, c: Any, more: Any, ga: Any, gs: Any) -> Any:
    ga[...] = gh * (a > 0)


def _lstm_step(a: Any, s: Any, h: Any, c: Any, more: Any, out: Any) -> None:
    m, n = xp(a), c.shape[1]
    a += s
    _sigmoid_and_tanh(m, a, m.repeat(m.asarray([0.5, 0.5, 1, 0.5], a.dtype), n))
    c *= a[:, n : 2 * n]
    c += a[:, :n] * a[:, 2 * n : 3 * n]
    m.tanh(c, out=more)
    m.multiply(a[:, 3 * n :], more, out=out)


def _lstm_back(gh: Any, gc: Any, a: Any, h: Any, c: Any, more: Any, ga: Any, gs: Any) -> Any:
    m, n = xp(a), c.shape[1]
    i, f, g, o = _parts(a, 4)
    gc += gh * o * (1 - more * more)
    for k, factor in enumerate((g, c, i)):  # c is the one before the step
        m.multiply(gc, factor, out=ga[:, k * n : (k + 1) * n])
    m.multiply(gh, more, out=ga[:, 3 * n :])
    ga *= 1 - a  # the slope of a sigmoid is (1 - a) * a, that of a tanh (1 - a) * (1 + a)
    ga[:, : 2 * n] *= a[:, : 2 * n]
    ga[:, 2 * n : 3 * n] *= 1 + g
    ga[:, 3 * n :] *= o
    gc *= f


def _gru_step(a: Any, s: Any, h: Any, c: Any, more: Any, out: Any) -> None:
    m, n = xp(a), h.shape[1]
    a[:, : 2 * n] += s[:, : 2 * n]
    _sigmoid_and_tanh(m, a[:, : 2 * n], a.dtype.type(0.5))
    more[...] = s[:, 2 * n :]
    a[:, 2 * n :] += a[:, :n] * more
    new = m.tanh(a[:, 2 * n :], out=a[:, 2 * n :])
    m.subtract(h, new, out=out)
    out *= a[:, n : 2 * n]
    out += new


def _gru_back(gh: Any, gc: Any, a: Any, h: Any, c: Any, more: Any, ga: Any, gs: Any) -> Any:
    n = h.shape[1]
    r, z, new = _parts(a, 3)
    g_new = gh * (1 - z) * (1 - new * new)
    ga[:, :n] = g_new * more * (r * (1 - r))
    ga[:, n : 2 * n] = gh * (h - new) * (z * (1 - z))
    ga[:, 2 * n :] = g_new
    gs[:, : 2 * n] = ga[:, : 2 * n]
    gs[:, 2 * n :] = g_new * r
    return gh * z


class _Kind(NamedTuple):
    n_gates: int
    cell: Any
    step: Any
    back: Any


KINDS = {
    "rnn_tanh": _Kind(1, rnn_tanh_cell, _tanh_step, _tanh_back),
    "rnn_relu": _Kind(1, rnn_relu_cell, _relu_step, _relu_back),
    "lstm": _Kind(4, lstm_cell, _lstm_step, _lstm_back),
    "gru": _Kind(3, gru_cell, _gru_step, _gru_back),
}


# -- the sequence


def _steps(sizes: tuple[int, ...], reverse: bool) -> list[tuple[int, int]]:
    """The first row of each step, and the number of sequences that still run; in the order of the steps."""
    steps = list(zip([0, *itertools.accumulate(sizes)], sizes))
    return steps[::-1] if reverse else steps


def by_cells(
    input: Any,
    hidden: Any,
    cell: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    kind: str,
    sizes: Any,
    reverse: bool,
) -> Any:
    """The same as `_sequence`, cell by cell: the states of all steps in one row, then the last hidden one and the last cell."""
    h, c, outs = hidden, cell, {}
    for start, active in _steps(sizes, reverse):
        state = h[:active] if c is None else (h[:active], c[:active])
        new = KINDS[kind].cell(input[start : start + active], state, w_ih, w_hh, b_ih, b_hh)
        if c is not None:
            new, new_c = new
            c = cat([new_c, c[active:]], 0)
        outs[start] = new if w_hr is None else linear(new, w_hr)
        h = cat([outs[start], h[active:]], 0)
    pieces = [outs[start] for start in sorted(outs)] + [h] + ([] if c is None else [c])
    return cat([reshape(piece, (-1,)) for piece in pieces], 0)


def _places(flat: Any, rows: int, hidden: Any, cell: Any) -> tuple[Any, Any, Any]:
    """The three parts of the result of `_sequence`, as views."""
    n, p = hidden.shape
    out, h, c = flat[: rows * p], flat[rows * p : (rows + n) * p], flat[(rows + n) * p :]
    return reshape(out, (rows, p)), reshape(h, (n, p)), None if cell is None else reshape(c, tuple(cell.shape))


def _own(part: slice, start: int, active: int) -> tuple[slice, slice]:
    """Of the sequences in ``part`` those that still run, and their rows."""
    stop = max(min(part.stop, active), part.start)
    return slice(part.start, stop), slice(start + part.start, start + stop)


@differentiable(keeps="gates before cells more", promotes="same")
def _sequence(
    input: Any,
    hidden: Any,
    cell: Any = None,
    w_ih: Any = None,
    w_hh: Any = None,
    b_ih: Any = None,
    b_hh: Any = None,
    w_hr: Any = None,
    kind: str = "",
    sizes: tuple[int, ...] = (),
    reverse: bool = False,
) -> tuple[Any, ...]:
    """All steps, and for the sweep what every step found and left: gates, the states before it, and ``more``."""
    m, loops, rows = xp(input), kernels(input), len(input)
    late = b_hh if kind == "gru" else None  # its part joins the product before that is used
    gates = loops.linear(input, w_ih, b_ih if late is not None or b_hh is None else b_ih + b_hh)
    units = w_hh.shape[0] // KINDS[kind].n_gates
    flat = m.empty((rows + len(hidden)) * hidden.shape[1] + (0 if cell is None else cell.size), gates.dtype)
    out, h, c = _places(flat, rows, hidden, cell)
    before, more = m.empty((rows, hidden.shape[1]), gates.dtype), m.empty((rows, units), gates.dtype)
    cells: Any = None if cell is None else m.empty_like(more)
    h[...] = hidden
    if c is not None:
        c[...] = cell

    def run(part: slice) -> None:
        made = m.empty((part.stop - part.start, units), gates.dtype)
        for start, active in _steps(sizes, reverse):
            own, at = _own(part, start, active)
            before[at] = h[own]
            if c is not None:
                cells[at] = c[own]
            product = h[own] @ w_hh.T
            if late is not None:
                product += late
            new = out[at] if w_hr is None else made[: own.stop - own.start]
            KINDS[kind].step(gates[at], product, h[own], None if c is None else c[own], more[at], new)
            if w_hr is not None:
                m.matmul(new, w_hr.T, out=out[at])
            h[own] = out[at]

    loops.share(run, len(hidden), gates.size * w_hh.shape[1])
    return flat, gates, before, cells, more


def _sequence_rule(
    g: Any,
    input: Any,
    hidden: Any,
    cell: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    kind: str,
    sizes: tuple[int, ...],
    reverse: bool,
    wanted: tuple[bool, ...],
    gates: Any,
    before: Any,
    cells: Any,
    more: Any,
) -> list[Any]:
    inputs = input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr
    if any(isinstance(x, TensorBase) for x in (g, *inputs)):  # the sweep is recorded
        found = iter(
            grad(by_cells(*inputs, kind, sizes, reverse), [x for x, w in zip(inputs, wanted) if w], g, create_graph=True)
        )
        return [next(found) if w else None for w in wanted]
    m, loops, rows, n = xp(g), kernels(g), len(input), more.shape[1]
    g_out, gh, gc = _places(g, rows, hidden, cell)
    gh, gc = gh.copy(), None if gc is None else gc.copy()
    ga = m.empty_like(gates)
    gs = m.empty_like(gates) if kind == "gru" else ga
    gp = m.empty_like(before)  # the gradient of each step's state, all later steps included

    def run(part: slice) -> None:
        for start, active in reversed(_steps(sizes, reverse)):
            own, at = _own(part, start, active)
            m.add(gh[own], g_out[at], out=gp[at])
            g_new = gp[at] if w_hr is None else gp[at] @ w_hr
            states = before[at], None if cell is None else cells[at]
            past = KINDS[kind].back(g_new, None if gc is None else gc[own], gates[at], *states, more[at], ga[at], gs[at])
            m.matmul(gs[at], w_hh, out=gh[own])
            if past is not None:
                gh[own] += past

    loops.share(run, len(hidden), gates.size * w_hh.shape[1])
    pulled: list[Any] = [
        lambda: loops.matmul(ga, w_ih),
        lambda: gh,
        lambda: gc,
        lambda: loops.matmul(ga.T, input),
        lambda: loops.matmul(gs.T, before),
        lambda: loops.sum(ga, (0,), False),
        lambda: loops.sum(gs, (0,), False),
        lambda: loops.matmul(gp.T, gates[:, 3 * n :] * more),  # what was projected: sigmoid(o) * tanh(c)
    ]
    return [pull() if w else None for pull, w in zip(pulled, wanted)]


_sequence.op.name = "recurrent"
_sequence.vjp(_sequence_rule, input=None, hidden=None, cell=None, w_ih=None, w_hh=None, b_ih=None, b_hh=None, w_hr=None)


def sequence(
    kind: str,
    input: Any,
    hidden: Any,
    cell: Any,
    weights: tuple[Any, Any, Any, Any, Any],
    sizes: tuple[int, ...],
    reverse: bool = False,
) -> tuple[Any, Any, Any]:
    """Run a cell over all steps of N sequences: the hidden states of all steps, and the last hidden and cell states.

    Shapes: input (R, D), hidden (N, P), cell (N, H) or None -> (R, P), (N, P), (N, H) or None. P is H unless projected.

    Parameters
    ----------
    kind : {"rnn_tanh", "rnn_relu", "lstm", "gru"}
        The cell: see `rnn_tanh_cell`, `rnn_relu_cell`, `lstm_cell`, `gru_cell`.
    weights
        ``w_ih, w_hh, b_ih, b_hh`` as the cell takes them, and for a projected LSTM ``w_hr``, (P, H); None for what is missing.
    sizes
        How many sequences run at each step; the rows of ``input`` are in this order.
    reverse
        Whether to run from the last step to the first.
    """
    flat = _sequence(input, hidden, cell, *weights, kind, sizes, reverse)
    return _places(flat, len(input), hidden, cell)
