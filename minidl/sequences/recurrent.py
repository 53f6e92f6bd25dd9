"""Recurrent networks: the equations of a cell, written out of ops; and a whole sequence of steps as one op.

The sequence's gradient is worked out by hand: backpropagation through time. What the hidden state of a step does to the loss is
what it does there, and what it does to all later steps; so the sweep runs from the last step to the first, and carries that
along. When the sweep itself is recorded, the same sequence is built cell by cell, out of ops, and differentiated.

Letters: N sequences, D inputs, H units; R rows, all steps of all sequences, the first step's first. A sequence may end early:
``sizes`` has the number of those that still run at each step, which never grows.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..autograd import differentiable
from ..autograd.mode import mode
from ..autograd.sweep import grad
from ..autograd.tape import TensorBase
from ..backend import gpu_types, kernels, xp
from ..devices import device_of, made
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.layout import cat, reshape
from ..ops.linear import linear
from ..shapes import ShapeError
from . import steps
from .products import product

# -- the equations


def _parts(gates: Any, n: int) -> list[Any]:
    """(N, n * H) as n pieces (N, H)."""
    h = gates.shape[1] // n
    return [gates[:, k * h : (k + 1) * h] for k in range(n)]


def _check(op: str, n_gates: int, input: Any, states: Any, w_ih: Any, w_hh: Any) -> None:
    """Refuse shapes that do not fit; some of them would broadcast."""
    shapes = [tuple(x.shape) for x in (input, *states, w_ih, w_hh)]
    if all(len(shape) == 2 for shape in shapes):
        (n, d), (rows, p) = shapes[0], shapes[-1]
        units = rows // n_gates
        fitting = [(n, d), (n, p), (n, units)][: 1 + len(states)] + [(n_gates * units, d), (n_gates * units, p)]
        if shapes == fitting:
            return
    said = f"input {shapes[0]}, hx {', '.join(map(str, shapes[1:-2]))}, w_ih {shapes[-2]}, w_hh {shapes[-1]}"
    raise ShapeError(f"{op}: wants input (N, D), hx (N, H), w_ih ({n_gates} * H, D), w_hh ({n_gates} * H, H), got {said}")


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """``tanh(w_ih @ input + b_ih + w_hh @ hx + b_hh)``. Source: Elman, Finding Structure in Time, 1990.

    Shapes: (N, D), (N, H), (H, D), (H, H), (H,), (H,) -> (N, H).
    """
    _check("rnn_tanh_cell", 1, input, (hx,), w_ih, w_hh)
    return tanh(linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """`rnn_tanh_cell` with `relu` for tanh."""
    _check("rnn_relu_cell", 1, input, (hx,), w_ih, w_hh)
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
    _check("lstm_cell", 4, input, hx, w_ih, w_hh)
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
    _check("gru_cell", 3, input, (hx,), w_ih, w_hh)
    i_r, i_z, i_n = _parts(linear(input, w_ih, b_ih), 3)
    h_r, h_z, h_n = _parts(linear(hx, w_hh, b_hh), 3)
    z = sigmoid(i_z + h_z)
    n = tanh(i_n + sigmoid(i_r + h_r) * h_n)
    return n + z * (hx - n)


class _Kind(NamedTuple):
    """A cell's equations; its step and the derivative, on arrays; and for each gate 1/2 if it is a sigmoid, else 1."""

    cell: Any
    step: Any
    back: Any
    halves: tuple[float, ...]

    @property
    def n_gates(self) -> int:
        return len(self.halves)


KINDS = {
    "rnn_tanh": _Kind(rnn_tanh_cell, steps.tanh_step, steps.tanh_back, (1.0,)),
    "rnn_relu": _Kind(rnn_relu_cell, steps.relu_step, steps.relu_back, (1.0,)),
    "lstm": _Kind(lstm_cell, steps.lstm_step, steps.lstm_back, (0.5, 0.5, 1.0, 0.5)),
    "gru": _Kind(gru_cell, steps.gru_step, steps.gru_back, (0.5, 0.5, 1.0)),
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


@differentiable(view=True)
def _part(input: Any, start: int, shape: tuple[int, ...]) -> Any:
    """The numbers from ``start`` on, as many as go into ``shape``."""
    return input[start : start + math.prod(shape)].reshape(shape)


@differentiable
def _whole(input: Any, start: int, size: int) -> Any:
    """``size`` numbers, zeros but for those of ``input``, from ``start`` on."""
    out = xp(input).empty(size, input.dtype)
    out[:start] = 0
    out[start : start + input.size] = input.reshape(-1)
    out[start + input.size :] = 0
    return out


_part.op.name, _whole.op.name = "getitem", "placed"
_part.vjp(input=lambda g, start, input_shape: _whole(g, start, input_shape[0]))
_whole.vjp(input=lambda g, start, input_shape: _part(g, start, input_shape))


def _places(flat: Any, rows: int, hidden: Any, cell: Any) -> tuple[Any, Any, Any]:
    """The three parts of the result of `_sequence`, as views."""
    (n, p), c = hidden.shape, None
    if cell is not None:
        c = _part(flat, (rows + n) * p, tuple(cell.shape))
    return _part(flat, 0, (rows, p)), _part(flat, rows * p, (n, p)), c


# -- on arrays. The sequences are taken in strips, each in memory of its own, from the first step to the last; the threads share
# the strips.

STRIP = 64  # sequences
A_TURN = 2_000_000  # multiplications in a step's product: with fewer, two threads lose more by taking turns than they gain
SMALL = 1_000_000  # so many multiplications or fewer in a product OpenBLAS does without packing its matrices first
AHEAD = 256  # rows whose product with the input is made at once: they should still be in the cache when their step comes
CHUNK = 512  # rows whose share in the gradients of the weights is added at once
FEWEST_ROWS = 8  # of all steps, for which it pays to lay out the weights for a loop over the steps
MANY_ROWS = 128  # to be multiplied with the same weights: then it pays to copy these as BLAS reads them quickest


class _Turns:
    """One thread at a time, but for matrix products.

    NumPy lets go of the interpreter in every call and takes it back after it. Threads that make many short calls spend more
    time on waking each other than on the numbers; so they take turns.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def times(self, a: Any, panels: Any, out: Any) -> Any:
        """``a @ w`` for (n, K) or (G, n, K), into (G, n, M), with ``w`` in `_panels`."""
        places = out.reshape(*out.shape[:2], panels.shape[1], panels.shape[3]).swapaxes(1, 2)
        self.matmul(a if a.ndim == 2 else a[:, None], panels, places)
        return out

    def matmul(self, a: Any, b: Any, out: Any = None) -> Any:
        """``a @ b``."""
        return self.apart(product, a, b, out)

    def apart(self, function: Any, *args: Any) -> Any:
        """``function(*args)``; meanwhile it is another thread's turn."""
        self.lock.release()
        try:
            return function(*args)
        finally:
            self.lock.acquire()

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class _Strip(NamedTuple):
    """Some of the sequences, and what their steps found and left, for the sweep. The rows of its arrays are in the order of the
    steps.
    """

    own: slice  # which sequences
    steps: list[tuple[slice, slice]]  # of each step the rows in the input, and those in the arrays
    fed: Any  # what each step read: its input, a 1 for the bias, and the state before it
    gates: Any  # (G, rows, H); an LSTM's cell states before the steps come first
    more: Any  # see `steps`

    def chunks(self) -> Iterator[tuple[list[tuple[slice, slice]], slice]]:
        """The steps from the last to the first, some at a time, and the rows of those."""
        n = max(CHUNK // (self.own.stop - self.own.start), 1)
        for stop in range(len(self.steps), 0, -n):
            chunk = self.steps[max(stop - n, 0) : stop]
            yield chunk[::-1], slice(chunk[0][1].start, chunk[-1][1].stop)


def _rows(own: slice, sizes: tuple[int, ...], reverse: bool) -> list[tuple[slice, slice]]:
    """The steps of the sequences ``own``: their rows in the input, and among those of the strip."""
    found, row = [], 0
    for start, active in _steps(sizes, reverse):
        n = min(active, own.stop) - own.start
        if n > 0:
            found.append((slice(start + own.start, start + own.start + n), slice(row, row + n)))
            row += n
    return found


def _cut(part: slice, size: int) -> list[slice]:
    """``part`` in even pieces of at most ``size``."""
    n = -(-(part.stop - part.start) // size)
    edges = [part.start + (part.stop - part.start) * i // n for i in range(n + 1)]
    return list(map(slice, edges, edges[1:]))


def _panels(w: Any, n: int, rows: int) -> Any:
    """(G, K, M) as (G, M / C, K, C), in panels of C columns; to be multiplied with ``n`` rows at a time, ``rows`` in all.

    OpenBLAS would pack it anew every time; in small products it takes the numbers from where they are. A GPU has one panel.
    """
    (g, k, m), n = w.shape, min(n, STRIP)
    for width in (64, 32, 16) if rows >= MANY_ROWS and n >= 4 and type(w) not in gpu_types else ():
        if m % width == 0 and n * k * width <= SMALL:
            return xp(w).ascontiguousarray(w.reshape(g, k, m // width, width).swapaxes(1, 2))
    return w[:, None]


def _shared(n: int, w_hh: Any, products: int, all_steps: Any) -> int:
    """The ``products`` of ``n`` sequences if it pays to share them among threads; else 0."""
    return products if all_steps or min(n // 2, STRIP) * w_hh.size >= A_TURN else 0


def _by_gates(w: Any, n_gates: int) -> Any:
    """(G * H, ...) as (G, H, ...)."""
    return w.reshape(n_gates, len(w) // n_gates, *w.shape[1:])


@functools.cache
def _halves(kind: str, dtype: Any, where: Any) -> Any:
    """Those of `KINDS` as an array (G, 1, 1) on a device, sent there once."""
    return made(where, lambda m: m.asarray(KINDS[kind].halves, dtype).reshape(-1, 1, 1))


class _Forward:
    """The steps of a strip, one after the other; the states go to ``places``."""

    def __init__(self, kind: str, input: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, places: Any) -> None:
        m, n_gates = xp(input), KINDS[kind].n_gates
        self.m, self.input, self.w_hr, self.turns = m, input, w_hr, _Turns()
        self.step = kernels(input).in_one(kind, input.dtype) or KINDS[kind].step
        several = w_hr is None and len(input) >= FEWEST_ROWS
        self.all_steps = kernels(input).in_one(f"{kind}_steps", input.dtype) if several else None
        self.out, self.h, self.c = places
        halves = _halves(kind, input.dtype, device_of(input))
        self.halves, self.unscaled = (halves, 1 - halves), None if len(input) >= MANY_ROWS else halves
        w_x, w_h = (_by_gates(w, n_gates).swapaxes(1, 2) for w in (w_ih, w_hh))
        self.bias: Any = None
        self.late: Any = None  # of the GRU, what the product with the state has by itself, for the reset gate comes after it
        if b_ih is not None:
            self.bias = _by_gates(b_ih + b_hh, n_gates)[:, None]
            if kind == "gru":
                self.bias[2], self.late = _by_gates(b_ih, n_gates)[2], _by_gates(b_hh, n_gates)[2]
        if self.unscaled is None:
            if self.bias is not None:
                w_x, self.bias = m.concatenate([w_x, self.bias], 1), None
            w_x, w_h = (m.ascontiguousarray(w) * halves for w in (w_x, w_h))
        self.w_x, self.w_h = (_panels(w, len(self.h), len(input)) for w in (w_x, w_h))

    def run(self, own: slice, steps: list[tuple[slice, slice]]) -> _Strip:
        """Take all steps of the sequences ``own``."""
        m, d, dtype, (n_gates, n_panels, p, width) = self.m, self.input.shape[1], self.out.dtype, self.w_h.shape
        rows, n, units, lstm = steps[-1][1].stop, own.stop - own.start, n_panels * width, self.c is not None
        fed, places = m.empty((rows, d + 1 + p), dtype), m.empty((lstm + n_gates, rows, units), dtype)
        before, gates, more = fed[:, d + 1 :], places[lstm:], m.empty((rows, units), dtype)
        for there, here in steps:
            fed[here, :d] = self.input[there]
        fed[:, d] = 1
        h, c = self.h[own], None if self.c is None else self.c[own]
        products, unprojected, size = m.empty((n_gates, n, units), dtype), m.empty((n, units), dtype), 0
        sizes, ahead = [here.stop - here.start for _, here in steps], self._ahead(n)
        if self.all_steps and sizes[0] == sizes[-1]:  # they end together
            where = self.out, [there.start for there, _ in steps]
            self.turns.apart(
                self.all_steps, fed, self.w_x, self.w_h, self.bias, places, more, h, c, *where, self.unscaled, ahead
            )
            return _Strip(own, steps, fed, places, more)
        for k, (there, here) in enumerate(steps):
            if k % ahead == 0:
                part = slice(here.start, steps[min(k + ahead, len(steps)) - 1][1].stop)
                self.turns.times(fed[part, : self.w_x.shape[2]], self.w_x, gates[:, part])
                if self.bias is not None:
                    gates[:, part] += self.bias
            a, old = places[:, here], before[here]
            if size != sizes[k]:  # some end or begin here: the states are not where the step before puts them
                size = sizes[k]
                old[...] = h[:size]
                if c is not None:
                    a[0] = c[:size]
            s = self.turns.times(old, self.w_h, products[:, :size])
            if self.late is not None:
                s[2] += self.late
            later = steps[k + 1][1] if sizes[k + 1 : k + 2] == [size] else None
            new_c = None if c is None else c[:size] if later is None else places[0, later]
            new = self.out[there] if self.w_hr is None else unprojected[:size]
            self.step(m, a, s, old, new_c, more[here], new, self.unscaled, self.halves)
            if self.w_hr is not None:
                new = product(new, self.w_hr.T, out=self.out[there])
            (h[:size] if later is None else before[later])[...] = new
        return _Strip(own, steps, fed, places, more)

    def _ahead(self, n: int) -> int:
        """For how many steps of ``n`` rows the product with the input is made at once."""
        _, n_panels, k, width = self.w_x.shape
        return max(min(AHEAD, SMALL // (k * width) if n_panels > 1 else AHEAD) // n, 1)


class _Backward:
    """The steps of a strip from the last to the first: from the gradients of the states to those of all that made them."""

    def __init__(self, kind: str, g_places: Any, input: Any, w_ih: Any, w_hh: Any, w_hr: Any, wanted: tuple[bool, ...]) -> None:
        self.g_out, gh, gc = g_places
        self.m, self.kind, self.wanted, self.w_hr, self.turns = xp(gh), kind, wanted, w_hr, _Turns()
        self.back = kernels(gh).in_one(f"{kind}_back", gh.dtype) or KINDS[kind].back
        self.all_steps = kernels(gh).in_one(f"{kind}_steps_back", gh.dtype) if w_hr is None else None
        self.gh, self.gc = gh.copy(), None if gc is None else gc.copy()
        self.w_x, self.w_h = (_by_gates(w, KINDS[kind].n_gates) for w in (w_ih, w_hh))
        self.g_input = self.m.empty_like(input) if wanted[0] else None
        self.panels = _panels(self.w_h, len(gh), len(input))

    def run(self, strip: _Strip, total: dict[Any, Any]) -> None:
        """Leave the gradients of input and states in their places, and add those of the weights to ``total``."""
        m, (n_gates, units, d), p = self.m, self.w_x.shape, self.w_h.shape[2]
        gh, gc = self.gh[strip.own], None if self.gc is None else self.gc[strip.own]
        products = m.empty((n_gates, len(gh), p), gh.dtype)
        for chunk, rows in strip.chunks():
            n_rows = rows.stop - rows.start
            ga, gp = m.empty((n_gates, n_rows, units), gh.dtype), m.empty((n_rows, p), gh.dtype)
            gs = m.empty_like(ga) if self.kind == "gru" else ga
            together = self.all_steps and len(gh) * len(strip.steps) == len(strip.more)  # all sequences have all steps
            if together:
                where, starts = (strip.gates, strip.more, ga), [there.start for there, _ in chunk]
                self.turns.apart(self.all_steps, self.g_out, starts, gh, gc, *where, self.panels, rows.start, self.wanted[1])
            for there, here in [] if together else chunk:
                at = slice(here.start - rows.start, here.stop - rows.start)
                m.add(gh[: len(gp[at])], self.g_out[there], out=gp[at])
                self._step(strip, here, gp[at], ga[:, at], gs[:, at], gh, gc, products)
            fed = strip.fed[rows].T
            if any(self.wanted[3:7]):
                for what, parts, g in [(0, fed, ga)] if gs is ga else [(0, fed[: d + 1], ga), (1, fed[d:], gs)]:
                    self._add(total, what, parts, g)
            if self.wanted[7]:  # what was projected is sigmoid(o) * tanh(c)
                self._add(total, "w_hr", gp.T, strip.gates[4, rows] * strip.more[rows])
            if self.g_input is not None:
                found = m.add.reduce(self.turns.matmul(ga, self.w_x), 0)
                for there, here in chunk:
                    self.g_input[there] = found[here.start - rows.start : here.stop - rows.start]

    def _step(self, strip: _Strip, here: slice, g: Any, ga: Any, gs: Any, gh: Any, gc: Any, products: Any) -> None:
        """From the gradient ``g`` of a step's new state to that of the old one, left in ``gh``."""
        n, before, gc = len(g), strip.fed[here, -len(gh[0]) :], None if gc is None else gc[: len(g)]
        g = g if self.w_hr is None else product(g, self.w_hr)
        past = self.back(self.m, g, gc, strip.gates[:, here], before, strip.more[here], ga, gs)
        if here.start or self.wanted[1]:
            s = self.turns.times(gs, self.panels, products[:, :n])
            self.m.add.reduce(s, 0, out=gh[:n])
            if past is not None:
                gh[:n] += past

    def _add(self, total: dict[Any, Any], what: Any, a: Any, b: Any) -> None:
        found = self.turns.matmul(a, b)
        if what in total:
            total[what] += found
        else:
            total[what] = found


@differentiable(keeps="strips", promotes="same")
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
    """The states of all steps in one row, then the last hidden one and the last cell; and the strips, for the sweep."""
    (rows, d), (n, p) = input.shape, hidden.shape
    flat = xp(input).empty((rows + n) * p + (0 if cell is None else cell.size), input.dtype)
    places = _places(flat, rows, hidden, cell)
    places[1][...] = hidden
    if cell is not None:
        places[2][...] = cell
    forward, made, recording = _Forward(kind, input, w_ih, w_hh, b_ih, b_hh, w_hr, places), {}, mode.recording

    def run(part: slice) -> None:
        with forward.turns:
            for own in _cut(part, STRIP):
                strip = forward.run(own, _rows(own, sizes, reverse))
                if recording:
                    made[own.start] = strip

    kernels(input).share(run, n, _shared(n, w_hh, rows * len(w_hh) * (d + p), forward.all_steps))
    return flat, [made[start] for start in sorted(made)]


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
    strips: list[_Strip],
) -> list[Any]:
    inputs = input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr
    if any(isinstance(x, TensorBase) for x in (g, *inputs)):  # the sweep is recorded
        found = iter(
            grad(by_cells(*inputs, kind, sizes, reverse), [x for x, w in zip(inputs, wanted) if w], g, create_graph=True)
        )
        return [next(found) if w else None for w in wanted]
    if not strips:  # no sequences
        return [xp(g).zeros_like(x) if w else None for x, w in zip(inputs, wanted)]
    backward = _Backward(kind, _places(g, len(input), hidden, cell), input, w_ih, w_hh, w_hr, wanted)
    totals: dict[int, dict[Any, Any]] = {}

    def run(part: slice) -> None:
        totals[part.start] = {}
        with backward.turns:
            for strip in strips[part]:
                backward.run(strip, totals[part.start])

    kernels(g).share(run, len(strips), _shared(len(hidden), w_hh, 2 * g.size * len(w_hh), backward.all_steps))
    total = totals.pop(0)
    for _, others in sorted(totals.items()):
        for what, found in others.items():
            total[what] += found
    d, p, g_w = input.shape[1], hidden.shape[1], {what: x.swapaxes(-1, -2) for what, x in total.items()}
    pulled: list[Any] = [
        lambda: backward.g_input,
        lambda: backward.gh,
        lambda: backward.gc,
        lambda: g_w[0][..., :d].reshape(w_ih.shape),
        lambda: g_w[kind == "gru"][..., -p:].reshape(w_hh.shape),
        lambda: g_w[0][..., d].flatten(),
        lambda: g_w[kind == "gru"][..., -p - 1].flatten(),
        lambda: g_w["w_hr"].T,
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
