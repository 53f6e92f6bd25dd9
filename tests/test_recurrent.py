"""Recurrent networks: cells and sequences in plain Python numbers, gradients to order two, packing, threads, and misuse."""

import copy
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.compiler import explain
from minidl.kernels import threads
from minidl.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)
from minidl.sequences import recurrent
from minidl.testing import gradcheck, gradgradcheck

KINDS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}

# -- one sequence after the other, one number after the other


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def affine(w, x, b):
    return [sum(wi * xi for wi, xi in zip(row, x)) + bi for row, bi in zip(w, b)]


def cell_of_numbers(kind, x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr):
    """The next states after ``h`` and ``c``, from lists of numbers."""
    a, s, n = affine(w_ih, x, b_ih), affine(w_hh, h, b_hh), len(w_hh) // KINDS[kind]
    if kind.startswith("rnn"):
        return [math.tanh(p + q) if kind == "rnn_tanh" else max(p + q, 0.0) for p, q in zip(a, s)], None
    if kind == "gru":
        new = []
        for j in range(n):
            r, z = sigmoid(a[j] + s[j]), sigmoid(a[n + j] + s[n + j])
            new.append((1 - z) * math.tanh(a[2 * n + j] + r * s[2 * n + j]) + z * h[j])
        return new, None
    new, new_c = [], []
    for j in range(n):
        i, f, g, o = (a[k * n + j] + s[k * n + j] for k in range(4))
        new_c.append(sigmoid(f) * c[j] + sigmoid(i) * math.tanh(g))
        new.append(sigmoid(o) * math.tanh(new_c[j]))
    return (new if w_hr is None else affine(w_hr, new, [0.0] * len(w_hr))), new_c


def sequence_of_numbers(kind, input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr, sizes, reverse):
    """All states in the order of the input's rows, and the last ones: sequence by sequence."""
    starts, out = [0, *itertools.accumulate(sizes)], [None] * len(input)
    last_h, last_c = hidden.tolist(), None if cell is None else cell.tolist()
    zeros = [0.0] * len(w_hh)
    biases = zeros if b_ih is None else b_ih.tolist(), zeros if b_hh is None else b_hh.tolist()
    weights = w_ih.tolist(), w_hh.tolist(), *biases, None if w_hr is None else w_hr.tolist()
    for n in range(len(hidden)):
        steps = [t for t, size in enumerate(sizes) if n < size]
        for t in reversed(steps) if reverse else steps:
            row = starts[t] + n
            out[row], new_c = cell_of_numbers(
                kind, input[row].tolist(), last_h[n], None if cell is None else last_c[n], *weights
            )
            last_h[n] = out[row]
            if cell is not None:
                last_c[n] = new_c
    return np.array(out), np.array(last_h), None if cell is None else np.array(last_c)


# -- draws


def arguments(kind, sizes, d=2, h=3, p=None, bias=True, seed=0, dtype=np.float64):
    """Arrays for a sequence: input, hidden, cell and weights."""
    rng, g = np.random.default_rng(seed), KINDS[kind] * h

    def draw(*shape):
        return rng.normal(0, 0.7, shape).astype(dtype)

    n, lstm = sizes[0], kind == "lstm"
    return (
        draw(sum(sizes), d),
        draw(n, p or h),
        draw(n, h) if lstm else None,
        draw(g, d),
        draw(g, p or h),
        draw(g) if bias else None,
        draw(g) if bias else None,
        draw(p, h) if p else None,
    )


@st.composite
def cases(draw, most=5):
    kind = draw(st.sampled_from(sorted(KINDS)))
    sizes = sorted(draw(st.lists(st.integers(1, 4), min_size=1, max_size=most)), reverse=True)
    h = draw(st.integers(1, 4))
    p = draw(st.integers(1, h - 1)) if kind == "lstm" and h > 1 and draw(st.booleans()) else None
    args = arguments(kind, sizes, draw(st.integers(1, 3)), h, p, draw(st.booleans()), draw(st.integers(0, 9)))
    return kind, tuple(sizes), draw(st.booleans()), args


def run(kind, args, sizes, reverse):
    """`recurrent.sequence` on tensors, as arrays."""
    tensors = [None if a is None else minidl.from_numpy(a) for a in args]
    found = recurrent.sequence(kind, *tensors[:3], tuple(tensors[3:]), sizes, reverse)
    return [None if x is None else x.numpy() for x in found]


def live(args):
    return tuple(minidl.from_numpy(a).requires_grad_() for a in args if a is not None)


def flat_op(kind, args, sizes, reverse):
    """The op as a function of those of its arguments that are there."""

    def function(*tensors):
        given = iter(tensors)
        return recurrent._sequence(*(None if a is None else next(given) for a in args), kind, sizes, reverse)

    return function


@pytest.fixture
def strips_of_two(monkeypatch):
    """Even a few sequences are several strips, their gradients are added in pieces, and weights are made ready."""
    monkeypatch.setattr(recurrent, "STRIP", 2)
    monkeypatch.setattr(recurrent, "CHUNK", 4)
    monkeypatch.setattr(recurrent, "MANY_ROWS", 1)


# -- the op


@given(cases())
@settings(deadline=None)
def test_sequences_are_what_plain_numbers_say(case):
    kind, sizes, reverse, args = case
    for got, want in zip(run(kind, args, sizes, reverse), sequence_of_numbers(kind, *args, sizes, reverse)):
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_allclose(got, want, 1e-12, 1e-12)


@given(cases())
@settings(deadline=None)
def test_the_op_is_its_cells(case):
    kind, sizes, reverse, args = case
    want = recurrent.by_cells(*args, kind, sizes, reverse)
    np.testing.assert_allclose(recurrent._sequence(*args, kind, sizes, reverse), want, 1e-12, 1e-12)


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_strips_weights_made_ready_and_no_recording_change_nothing(kind, n, strips_of_two):
    for sizes, reverse, bias in itertools.product(((n,) * 4, (n, n, max(n - 3, 1), 1)), (False, True), (True, False)):
        args = arguments(kind, sizes, p=2 if kind == "lstm" else None, bias=bias)
        want = sequence_of_numbers(kind, *args, sizes, reverse)
        for recording in (True, False):
            with minidl.set_grad_enabled(recording):
                for got, right in zip(run(kind, args, sizes, reverse), want):
                    if right is not None:
                        np.testing.assert_allclose(got, right, 1e-12, 1e-12)


GRADIENTS = [
    (kind, sizes, reverse, p, bias)
    for kind in KINDS
    for sizes in ((2, 2, 2), (3, 2, 1), (1,))
    for reverse in (False, True)
    for p in ((None, 2) if kind == "lstm" else (None,))
    for bias in (True, False)
]


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_against_differences(case):
    kind, sizes, reverse, p, bias = case
    args = arguments(kind, sizes, 2, 3, p, bias)
    function, tensors = flat_op(kind, args, sizes, reverse), live(args)
    assert gradcheck(function, tensors)
    if bias and sizes == (3, 2, 1):
        assert gradgradcheck(function, tensors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_the_cells_in_strips_as_well(kind, reverse, strips_of_two):
    for sizes in ((5,) * 6, (7, 7, 5, 4, 4, 1)):
        args = arguments(kind, sizes, p=2 if kind == "lstm" else None)
        g = minidl.from_numpy(np.random.default_rng(3).normal(size=recurrent._sequence(*args, kind, sizes, reverse).shape))
        found = []
        for function in (recurrent._sequence, recurrent.by_cells):
            tensors = live(args)
            given = iter(tensors)
            out = function(*(None if a is None else next(given) for a in args), kind, sizes, reverse)
            found.append(minidl.autograd.grad(out, tensors, g))
        for ours, theirs in zip(*found):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), 1e-10, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d, h, small", [(96, 96, 8 * 97 * 32), (3, 96, 10**6), (5, 50, 10**6), (64, 16, 0)])
def test_weights_in_panels(kind, d, h, small, monkeypatch):
    """Several panels, for input and state or one of them, or none: the same as the cells."""
    monkeypatch.setattr(recurrent, "SMALL", small)
    sizes = (7,) * 20 + (3,) * 5
    args = arguments(kind, sizes, d, h, 32 if kind == "lstm" and h == 96 else None)
    args = [None if a is None else a / 8 for a in args]  # with large weights rounding would grow from step to step
    results = []
    for function in (recurrent._sequence, recurrent.by_cells):
        tensors = live(args)
        given = iter(tensors)
        out = function(*(None if a is None else next(given) for a in args), kind, sizes, False)
        weights = np.random.default_rng(1).normal(size=out.shape)
        results.append([out, *minidl.autograd.grad(out, tensors, minidl.from_numpy(weights))])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours.numpy(force=True), theirs.numpy(force=True), 1e-7, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_wants_no_gradient_gets_none_and_the_rest_the_same(kind):
    sizes, args = (3, 3, 2), arguments(kind, (3, 3, 2), p=2 if kind == "lstm" else None)
    everything = live(args)
    whole = minidl.autograd.grad(flat_op(kind, args, sizes, False)(*everything).square().sum(), everything)
    for wanted in range(len(everything)):
        some = [minidl.from_numpy(t.numpy(force=True)).requires_grad_(i == wanted) for i, t in enumerate(everything)]
        flat_op(kind, args, sizes, False)(*some).square().sum().backward()
        assert [t.grad is not None for t in some] == [i == wanted for i in range(len(some))]
        np.testing.assert_allclose(some[wanted].grad.numpy(), whole[wanted].numpy(), 1e-12, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_awkward_memory(kind):
    sizes = (4, 4, 3)
    args = arguments(kind, sizes)
    want = run(kind, args, sizes, False)
    turned = [None if a is None else np.flip(np.flip(a, 0).copy(order="F"), 0) for a in args]
    for got, right in zip(run(kind, turned, sizes, False), want):
        if right is not None:
            np.testing.assert_allclose(got, right, 1e-12, 1e-12)
    tensors = live(turned)
    flat_op(kind, turned, sizes, False)(*tensors).square().sum().backward()
    plain = live(args)
    flat_op(kind, args, sizes, False)(*plain).square().sum().backward()
    for t, p in zip(tensors, plain):
        np.testing.assert_allclose(t.grad.numpy(), p.grad.numpy(), 1e-12, 1e-12)


@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 1e-2), (np.float32, 1e-5)])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_dtypes(kind, dtype, tolerance):
    sizes, args = (2, 2, 1), arguments(kind, (2, 2, 1), dtype=dtype)
    wide = [None if a is None else a.astype(np.float64) for a in args]
    for got, want in zip(run(kind, args, sizes, False), sequence_of_numbers(kind, *wide, sizes, False)):
        if want is not None:
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, tolerance, tolerance)
    tensors = live(args)
    flat_op(kind, args, sizes, False)(*tensors).sum().backward()
    assert all(t.grad.numpy().dtype == dtype for t in tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_inputs_warn_of_nothing(kind):
    args = [None if a is None else a * 1e4 for a in arguments(kind, (2, 2))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(kind, args, (2, 2), False)
    assert all(np.isfinite(x).all() for x in found if x is not None)
    if kind != "rnn_relu":
        assert np.abs(found[0]).max() <= np.abs(args[1]).max()


def test_nan_goes_through():
    args = arguments("lstm", (2, 2))
    args[0][1, 0] = np.nan  # the first step of the second sequence
    out, h, c = run("lstm", args, (2, 2), False)
    assert np.isnan(out[[1, 3]]).all() and np.isfinite(out[[0, 2]]).all() and np.isnan(h[1]).all() and np.isnan(c[1]).all()


def test_one_dtype_for_all():
    args = list(arguments("gru", (2, 2)))
    args[1] = args[1].astype(np.float32)
    with pytest.raises(RuntimeError, match="recurrent: wants one dtype for all"):
        run("gru", args, (2, 2), False)


# -- cells


def hidden_of(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_cells_are_what_plain_numbers_say(kind, bias):
    x, h, c, *weights, _ = arguments(kind, (3,), bias=bias)
    cell = getattr(minidl, f"{kind}_cell")
    got = cell(*map(minidl.from_numpy, (x,)), _states(h, c), *(None if w is None else minidl.from_numpy(w) for w in weights))
    got = got if isinstance(got, tuple) else (got,)
    zeros = [0.0] * len(weights[1])
    lists = [zeros if w is None else w.tolist() for w in weights]
    for n in range(3):
        want = cell_of_numbers(kind, x[n].tolist(), h[n].tolist(), None if c is None else c[n].tolist(), *lists, None)
        for new, right in zip(got, want):
            np.testing.assert_allclose(new[n].numpy(), right, 1e-12, 1e-12)


def _states(h, c):
    h = minidl.from_numpy(h)
    return h if c is None else (h, minidl.from_numpy(c))


@pytest.mark.parametrize("kind", KINDS)
def test_cells_refuse_shapes_that_would_broadcast(kind):
    x, h, c, w_ih, w_hh, *_ = (None if a is None else minidl.from_numpy(a) for a in arguments(kind, (3,)))
    cell = getattr(minidl, f"{kind}_cell")
    states = h if c is None else (h, c)
    assert cell(x, states, w_ih, w_hh) is not None
    for bad in (
        (x, h[:1] if c is None else (h[:1], c), w_ih, w_hh),
        (x[0], states, w_ih, w_hh),
        (x[:, :1], states, w_ih, w_hh),
        (x, states, w_ih[:-1], w_hh),
        (x, states, w_ih, w_hh[:, :1]),
        *([] if c is None else [(x, (h, c[:, :1]), w_ih, w_hh)]),
    ):
        with pytest.raises(RuntimeError, match=f"{kind}_cell: wants input"):
            cell(*bad)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_layer_is_its_cell_step_by_step(name):
    minidl.manual_seed(0)
    layer, cell = getattr(nn, name[:-4])(3, 4), getattr(nn, name)(3, 4)
    cell.load_state_dict({key.replace("_l0", ""): value for key, value in layer.state_dict().items()})
    x, state = minidl.randn(5, 2, 3), None
    out, last = layer(x)
    for t in range(5):
        state = cell(x[t], state)
        np.testing.assert_allclose(hidden_of(state).numpy(force=True), out[t].numpy(force=True), 1e-5, 1e-6)
    alone = hidden_of(cell(x[0, 0]))
    np.testing.assert_allclose(alone.numpy(force=True), out[0, 0].numpy(force=True), 1e-5, 1e-6)
    assert hidden_of(last).shape == (1, 2, 4)


# -- layers

LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_stand_on_each_other_and_run_both_ways(name):
    minidl.manual_seed(0)
    net, x = LAYERS[name](3, 4, 2, bidirectional=True), minidl.randn(5, 2, 3)
    out, last = net(x)
    weights, rows, kind = net.state_dict(), x.reshape(10, 3), {"RNN": "rnn_tanh"}.get(name, name.lower())
    zeros = minidl.zeros(2, 4)
    states = []
    for layer in range(2):
        both = []
        for way in ("", "_reverse"):
            names = [f"{what}_l{layer}{way}" for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            cell = zeros if name == "LSTM" else None
            h, end, _ = recurrent.sequence(kind, rows, zeros, cell, (*(weights[n] for n in names), None), (2,) * 5, way != "")
            both.append(h)
            states.append(end)
        rows = minidl.cat(both, 1)
    np.testing.assert_array_equal(out.numpy(force=True), rows.reshape(5, 2, 8).numpy(force=True))
    np.testing.assert_array_equal(hidden_of(last).numpy(force=True), minidl.stack(states).numpy(force=True))


@pytest.mark.parametrize("name", LAYERS)
def test_batch_first_and_single_sequences_are_other_ways_to_say_the_same(name):
    minidl.manual_seed(0)
    net, x = LAYERS[name](3, 4, 2), minidl.randn(5, 2, 3)
    out, last = net(x)
    net.batch_first = True
    turned, again = net(x.transpose(0, 1))
    np.testing.assert_array_equal(turned.transpose(0, 1).numpy(force=True), out.numpy(force=True))
    np.testing.assert_array_equal(hidden_of(again).numpy(force=True), hidden_of(last).numpy(force=True))
    alone, end = net(x[:, 1])
    np.testing.assert_allclose(alone.numpy(force=True), out[:, 1].numpy(force=True), 1e-5, 1e-6)
    np.testing.assert_allclose(hidden_of(end).numpy(force=True), hidden_of(last)[:, 1].numpy(force=True), 1e-5, 1e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_arrays_of_numpy_are_taken_as_any_layer_takes_them(name, batch_first):
    net, x = getattr(nn, name)(3, 4, batch_first=batch_first), np.ones((5, 2, 3), np.float32)
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), net(minidl.from_numpy(x))[0].detach().numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_a_sequence_may_be_given_in_pieces(name):
    minidl.manual_seed(0)
    net, x = LAYERS[name](3, 4, 2), minidl.randn(7, 2, 3)
    out, last = net(x)
    state, pieces = None, []
    for piece in (x[:3], x[3:4], x[4:]):
        found, state = net(piece, state)
        pieces.append(found)
    np.testing.assert_allclose(minidl.cat(pieces).numpy(force=True), out.numpy(force=True), 1e-5, 1e-6)
    np.testing.assert_allclose(hidden_of(state).numpy(force=True), hidden_of(last).numpy(force=True), 1e-5, 1e-6)


def test_dropout_is_between_layers_and_in_training_only():
    minidl.manual_seed(0)
    net, x = nn.GRU(3, 4, 2, dropout=0.5), minidl.randn(5, 2, 3)
    plain = nn.GRU(3, 4, 2)
    plain.load_state_dict(net.state_dict())
    assert not np.array_equal(net(x)[0].numpy(force=True), net(x)[0].numpy(force=True))
    np.testing.assert_array_equal(net.eval()(x)[0].numpy(force=True), plain(x)[0].numpy(force=True))
    net = nn.GRU(3, 4, 2, dropout=1.0)
    with minidl.no_grad():
        net.weight_ih_l1.zero_()  # the second layer sees zeros anyway
        np.testing.assert_array_equal(net(x)[0].numpy(), net.eval()(x)[0].numpy())
    with pytest.warns(UserWarning, match="there is only one"):
        alone = nn.GRU(3, 4, dropout=0.5)
    np.testing.assert_array_equal(alone(x)[0].numpy(force=True), alone(x)[0].numpy(force=True))


def test_no_sequences_at_all():
    for layer in (nn.RNN(3, 4), nn.LSTM(3, 4, 2, proj_size=2), nn.GRU(3, 4, bidirectional=True)):
        x = minidl.zeros(5, 0, 3).requires_grad_()
        out, last = layer(x)
        assert out.shape[:2] == (5, 0) and hidden_of(last).shape[1] == 0
        out.sum().backward()
        assert x.grad.shape == (5, 0, 3) and all(p.grad.abs().sum().item() == 0 for p in layer.parameters())
        again = minidl.autograd.grad(layer(x)[0].sum(), [x, *layer.parameters()], create_graph=True)
        assert again[0].shape == (5, 0, 3) and all(g.abs().sum().item() == 0 for g in again)
    assert nn.LSTMCell(3, 4)(minidl.zeros(0, 3))[0].shape == (0, 4)


def test_twice_back_hooks_and_frozen_weights():
    minidl.manual_seed(0)
    net, x = nn.LSTM(3, 4), minidl.randn(5, 2, 3)
    out = net(x)[0].square().sum()
    out.backward(retain_graph=True)
    once = {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
    out.backward()
    for name, p in net.named_parameters():
        np.testing.assert_array_equal(p.grad.numpy(), 2 * once[name])
    with pytest.raises(RuntimeError, match="retain_graph"):
        out.backward()
    net.zero_grad()
    net.weight_hh_l0.requires_grad_(False)
    seen = []
    handle = net.register_forward_hook(lambda module, args, result: seen.append(result[0].shape))
    net.weight_ih_l0.register_hook(lambda g: g * 3)
    net(x)[0].square().sum().backward()
    handle.remove()
    assert seen == [(5, 2, 4)] and net.weight_hh_l0.grad is None
    np.testing.assert_allclose(net.weight_ih_l0.grad.numpy(), 3 * once["weight_ih_l0"], 1e-6)
    assert net.bias_ih_l0.grad is not net.bias_hh_l0.grad
    net.bias_ih_l0.grad.zero_()
    np.testing.assert_allclose(net.bias_hh_l0.grad.numpy(), once["bias_hh_l0"], 1e-6)  # memory of its own


def test_a_state_that_was_changed_in_place_is_noticed():
    net, x = nn.GRU(3, 4), minidl.randn(5, 2, 3)
    loss = net(x)[0].sum()
    with minidl.no_grad():
        net.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


def test_copies_and_files():
    net, x = nn.LSTM(3, 4, 2, bidirectional=True), minidl.randn(5, 2, 3)
    want = net(x)[0].numpy(force=True)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x)[0].numpy(force=True), want)
        assert repr(other) == repr(net) == "LSTM(3, 4, num_layers=2, bidirectional=True)"
    assert [len(cell) for cell in net.all_weights] == [4] * 4 and net.all_weights[1][0] is net.weight_ih_l0_reverse
    net.flatten_parameters()  # as PyTorch's programs do
    assert nn.LSTM(3, 4, dtype=minidl.float64, device="cpu").weight_ih_l0.dtype == minidl.float64
    assert net.double()(x.double())[0].dtype == minidl.float64


def test_weights_are_drawn_evenly_within_their_bound():
    minidl.manual_seed(0)
    for layer in (nn.LSTM(30, 25), nn.GRUCell(30, 25)):
        for weight in layer.parameters():
            array = weight.numpy(force=True)
            assert np.abs(array).max() <= 0.2 and np.abs(array).max() > 0.18 and abs(array.mean()) < 0.06


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_and_profiled(name):
    minidl.manual_seed(0)
    net = LAYERS[name](3, 4, 2)
    compiled = minidl.compile(net)
    for seed in range(4):
        x = minidl.from_numpy(np.random.default_rng(seed).normal(size=(5, 2, 3)).astype("f"))
        for p in net.parameters():
            p.grad = None
        out = compiled(x)[0]
        np.testing.assert_array_equal(out.numpy(force=True), net(x)[0].numpy(force=True))
        out.square().sum().backward()
        found = [p.grad.numpy().copy() for p in net.parameters()]
        wanted = minidl.autograd.grad(net(x)[0].square().sum(), list(net.parameters()))
        for ours, right in zip(found, wanted):
            np.testing.assert_allclose(ours, right.numpy(), 1e-6, 1e-6)
    assert "steps became" in explain(compiled)


def test_what_the_profiler_counts():
    net, x = nn.LSTM(3, 4, proj_size=2), minidl.randn(5, 2, 3)
    with minidl.profiler.profile() as profile:
        net(x)[0].sum().backward()
    found = {(row.name, row.phase): row for row in profile.key_averages()}
    products = (
        10 * 16 * (3 + 2) + 10 * 4 * 2
    )  # multiplications with additions: of input and state with gates, and of h with w_hr
    # and per gate a sum, the bias and its function; per unit f * c, i * g, their sum, its tanh, and the product with o
    assert found["recurrent", "forward"].flops == 2 * products + 10 * 16 * 3 + 10 * 4 * 5
    # weights, state and projection, not the input; a sum for each bias, and four operations per gate
    assert found["recurrent", "backward"].flops == 2 * (2 * products - 10 * 16 * 3) + 10 * 16 * 2 + 10 * 16 * 4


# -- threads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(60,) * 4, (61, 40, 7, 7, 1)], ids=["alike", "packed"])
def test_threads(kind, sizes, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(recurrent, "A_TURN", 0)
    args = arguments(kind, sizes, d=5, h=6)
    before = threads.get_num_threads()

    def everything():
        tensors = live(args)
        out = flat_op(kind, args, sizes, True)(*tensors)
        out.square().sum().backward()
        return [out.numpy(force=True), *(t.grad.numpy() for t in tensors)]

    found = {}
    try:
        for n in (1, 2, 3):
            minidl.set_num_threads(n)
            found[n] = everything()
            for _ in range(3):
                for again, first in zip(everything(), found[n]):
                    np.testing.assert_array_equal(again, first)  # bit for bit
    finally:
        minidl.set_num_threads(before)
    for n in (2, 3):
        for ours, alone in zip(found[n], found[1]):
            np.testing.assert_allclose(ours, alone, 1e-10, 1e-12)


def test_an_error_in_a_thread_is_raised_and_leaves_nothing_locked(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(recurrent, "A_TURN", 0)
    before = threads.get_num_threads()
    args, real = arguments("lstm", (60,) * 3), recurrent.KINDS["lstm"]

    def fails(*_):
        raise ArithmeticError("here")

    try:
        minidl.set_num_threads(2)
        monkeypatch.setitem(recurrent.KINDS, "lstm", real._replace(step=fails))
        with pytest.raises(ArithmeticError, match="here"):
            run("lstm", args, (60,) * 3, False)
        monkeypatch.setitem(recurrent.KINDS, "lstm", real)
        assert np.isfinite(run("lstm", args, (60,) * 3, False)[0]).all()
    finally:
        minidl.set_num_threads(before)


# -- misuse

REFUSED = {
    "mode": (lambda: nn.RNNBase("X", 3, 4), ValueError, "mode must be one of RNN_TANH"),
    "input_size": (lambda: nn.LSTM(0, 4), ValueError, "input_size must be at least 1, got 0"),
    "hidden_size": (lambda: nn.LSTM(3, 0), ValueError, "hidden_size must be at least 1"),
    "hidden_size_kind": (lambda: nn.GRU(3, 4.0), TypeError, "hidden_size must be a whole number, got 4.0"),
    "num_layers": (lambda: nn.GRU(3, 4, 0), ValueError, "num_layers must be at least 1"),
    "bias": (lambda: nn.GRU(3, 4, bias=1), TypeError, "bias must be True or False"),
    "batch_first": (lambda: nn.GRU(3, 4, batch_first=1), TypeError, "batch_first must be True or False"),
    "dropout": (lambda: nn.GRU(3, 4, 2, dropout=1.5), ValueError, "dropout must be a number between 0 and 1, got 1.5"),
    "dropout_kind": (lambda: nn.GRU(3, 4, 2, dropout=True), ValueError, "dropout must be a number"),
    "proj_large": (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "must be smaller than hidden_size 4"),
    "proj_negative": (lambda: nn.LSTM(3, 4, proj_size=-1), ValueError, "proj_size must be at least 0"),
    "mode_in_small_letters": (lambda: nn.RNNBase("lstm", 3, 4), ValueError, "mode must be one of RNN_TANH, .*got 'lstm'"),
    "bidirectional": (lambda: nn.GRU(3, 4, bidirectional=2), TypeError, "bidirectional must be True or False, got 2"),
    "proj_gru": (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "proj_size is for LSTM only"),
    "proj_rnn": (lambda: nn.RNN(3, 4, proj_size=2), ValueError, "proj_size is for LSTM only"),
    "nonlinearity": (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "'tanh' or 'relu', got 'gelu'"),
    "nonlinearity_cell": (lambda: nn.RNNCell(3, 4, nonlinearity="gelu"), ValueError, "'tanh' or 'relu', got 'gelu'"),
    "unknown": (lambda: nn.LSTM(3, 4, nonlinearity="tanh"), TypeError, "nonlinearity"),
    "no_steps": (lambda: nn.LSTM(3, 4)(minidl.zeros(0, 2, 3)), RuntimeError, "LSTM: the sequences .* have no steps"),
    "dims": (lambda: nn.LSTM(3, 4)(minidl.zeros(1, 2, 3, 4)), ValueError, r"LSTM: wants input \(T, N, D\)"),
    "features": (lambda: nn.LSTM(3, 4)(minidl.zeros(5, 2, 4)), RuntimeError, r"wants 3 features.*\(5, 2, 4\)"),
    "dtype": (lambda: nn.LSTM(3, 4)(minidl.zeros(5, 2, 3).double()), ValueError, "input is .*float64 and the weights are"),
    "integers": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 2, 3, dtype=minidl.int64)), ValueError, "input is .*int64"),
    "hx": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 2, 3), minidl.zeros(1, 3, 4)), RuntimeError, r"\(1, 2, 4\), got \(1, 3, 4\)"),
    "hx_dims": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 2, 3), minidl.zeros(1, 4)), RuntimeError, "hx must have shape"),
    "hx_alone": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 3), minidl.zeros(1, 1, 4)), RuntimeError, "hx must have shape"),
    "hx_single": (lambda: nn.LSTM(3, 4)(minidl.zeros(5, 2, 3), minidl.zeros(1, 2, 4)), TypeError, "hx must be a pair"),
    "hx_pair": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 2, 3), (minidl.zeros(1, 2, 4),) * 2), TypeError, "hx must be one tensor"),
    "cell_state": (
        lambda: nn.LSTM(3, 4, proj_size=2)(minidl.zeros(5, 2, 3), (minidl.zeros(1, 2, 2),) * 2),
        RuntimeError,
        r"the cell state in hx must have shape \(1, 2, 4\)",
    ),
    "cell_dims": (lambda: nn.LSTMCell(3, 4)(minidl.zeros(1, 2, 3)), ValueError, "LSTMCell: wants input"),
    "cell_hx": (lambda: nn.GRUCell(3, 4)(minidl.zeros(2, 3), minidl.zeros(1, 4)), RuntimeError, "GRUCell: wants 3 features"),
    "cell_pair": (lambda: nn.LSTMCell(3, 4)(minidl.zeros(2, 3), minidl.zeros(2, 4)), TypeError, "hx must be a pair"),
    "lengths": (lambda: pack_padded_sequence(minidl.zeros(4, 3), [4, 2, 0]), RuntimeError, "at least 1"),
    "too_long": (lambda: pack_padded_sequence(minidl.zeros(4, 3), [5, 2, 1]), RuntimeError, "3 lengths of up to 5 do not fit"),
    "too_few": (lambda: pack_padded_sequence(minidl.zeros(4, 3), [4, 2]), RuntimeError, "2 lengths of up to 4 do not fit"),
    "unsorted": (lambda: pack_padded_sequence(minidl.zeros(4, 3), [2, 4, 1]), RuntimeError, "enforce_sorted=False"),
    "fractions": (lambda: pack_padded_sequence(minidl.zeros(4, 1), [2.5]), RuntimeError, "whole numbers"),
    "one_dim": (lambda: pack_padded_sequence(minidl.zeros(4), [4]), RuntimeError, r"wants input \(T, N, ...\)"),
    "total_length": (
        lambda: pad_packed_sequence(pack_sequence([minidl.zeros(3)]), total_length=2), ValueError, "the longest length, 3"
    ),
    "nothing": (lambda: pad_sequence([]), RuntimeError, "wants sequences"),
    "not_several": (lambda: pad_sequence(3), RuntimeError, "wants several sequences, got int"),
    "side": (lambda: pad_sequence([minidl.zeros(2)], padding_side="top"), RuntimeError, "'left' or 'right', got 'top'"),
    "differ": (lambda: pad_sequence([minidl.zeros(2, 3), minidl.zeros(2, 4)]), RuntimeError, "differ after the first dim"),
    "no_tensor": (lambda: nn.LSTM(3, 4)([[1.0]]), TypeError, "LSTM: input must be a tensor, got list"),
    "no_states": (lambda: nn.LSTM(3, 4)(minidl.zeros(5, 2, 3), (None, None)), TypeError, "LSTM: hx must be a tensor, got None"),
    "hx_dtype": (lambda: nn.GRU(3, 4)(minidl.zeros(5, 3), minidl.zeros(1, 4).double()), RuntimeError, "GRU: hx is .*float64"),
    "cell_no_tensor": (lambda: nn.GRUCell(3, 4)(None), TypeError, "GRUCell: input must be a tensor, got NoneType"),
    "cell_no_state": (lambda: nn.GRUCell(3, 4)(minidl.zeros(3), (1, 2)), TypeError, "GRUCell: hx must be a tensor, got tuple"),
    "packed_dims": (lambda: nn.GRU(3, 4)(pack_sequence([minidl.zeros(3)])), RuntimeError, r"GRU: .*data \(R, D\)"),
    "no_packed": (lambda: pad_packed_sequence(minidl.zeros(3, 2)), TypeError, "wants a PackedSequence, got Tensor"),
    "packed_alone": (lambda: PackedSequence(minidl.zeros(3)), TypeError, "must be a pair"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        call()


@pytest.mark.parametrize("sizes", [[2, 2], [2, 3], [5, 0], []], ids=str)
def test_a_packed_batch_has_as_many_rows_as_its_sizes_say(sizes):
    """It was run as it came: what no step had written was whatever lay in memory."""
    packed = PackedSequence(minidl.zeros(5, 3), minidl.tensor(sizes, dtype=minidl.int64))
    for call in (nn.GRU(3, 4), pad_packed_sequence):
        with pytest.raises(RuntimeError, match="batch_sizes must be at least 1, never grow, and be 5 in all"):
            call(packed)


# -- packing


@st.composite
def ragged(draw):
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    tail = draw(st.sampled_from([(), (2,), (0,), (2, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return [rng.integers(0, 99, (n, *tail)).astype(draw(st.sampled_from(["f8", "i8"]))) for n in lengths]


@given(ragged(), st.booleans(), st.integers(0, 3))
@settings(deadline=None)
def test_what_is_packed_comes_out_again(arrays, batch_first, more):
    tensors, lengths = list(map(minidl.from_numpy, arrays)), [len(a) for a in arrays]
    tensors = [t.to(tensors[0].dtype) for t in tensors]
    arrays = [t.numpy() for t in tensors]
    packed = pack_sequence(tensors, enforce_sorted=False)
    # by hand: step by step, the longest first, and of equal ones the first
    order = sorted(range(len(arrays)), key=lambda n: -lengths[n])
    by_steps = [arrays[n][t] for t in range(max(lengths)) for n in order if t < lengths[n]]
    np.testing.assert_array_equal(packed.data.numpy(), np.array(by_steps).reshape(packed.data.shape))
    assert packed.batch_sizes.tolist() == [sum(t < n for n in lengths) for t in range(max(lengths))]
    assert packed.sorted_indices.tolist() == order
    assert [order[i] for i in packed.unsorted_indices.tolist()] == list(range(len(order)))
    total = max(lengths) + more
    padded, found = pad_packed_sequence(packed, batch_first, -1, total)
    assert found.tolist() == lengths and padded.dtype == tensors[0].dtype
    rows = padded.numpy() if batch_first else padded.numpy().swapaxes(0, 1)
    for n, a in enumerate(arrays):
        np.testing.assert_array_equal(rows[n, : len(a)], a)
        assert (rows[n, len(a) :] == -1).all() and rows.shape[1] == total
    for t, a in zip(unpack_sequence(packed), arrays):
        np.testing.assert_array_equal(t.numpy(), a)
    again = pack_padded_sequence(padded, found, batch_first, enforce_sorted=False)
    np.testing.assert_array_equal(again.data.numpy(), packed.data.numpy())


def test_padding():
    a, b = minidl.tensor([1.0, 2.0, 3.0]), minidl.tensor([4.0])
    assert pad_sequence([a, b]).tolist() == [[1, 4], [2, 0], [3, 0]]
    assert pad_sequence([a, b], batch_first=True, padding_value=9).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad_sequence([a, b], True, padding_side="left").tolist() == [[1, 2, 3], [0, 0, 4]]
    assert pad_sequence((x for x in (b, a)), True).tolist() == [[4, 0, 0], [1, 2, 3]]
    assert pad_sequence([b, a.double()]).dtype == minidl.float32  # the first one's
    assert pad_sequence([minidl.zeros(0, 2), minidl.ones(1, 2)]).shape == (1, 2, 2)
    padded = pad_sequence([a, b])
    assert [x.tolist() for x in unpad_sequence(padded, minidl.tensor([3, 1]))] == [[1, 2, 3], [4]]
    assert padded.shape == (3, 2)  # PyTorch's turns it round in place


def test_packing_passes_gradients_to_what_is_there_only():
    x = minidl.randn(4, 3, 2, dtype=minidl.float64).requires_grad_()

    def there_and_back(x):
        packed = pack_padded_sequence(x, [1, 4, 2], enforce_sorted=False)
        return pad_packed_sequence(packed._replace(data=packed.data**3), total_length=5)[0]

    assert gradcheck(there_and_back, (x,)) and gradgradcheck(there_and_back, (x,))
    there_and_back(x).sum().backward()
    there = np.arange(4)[:, None] < np.array([1, 4, 2])
    assert ((x.grad.numpy() != 0).all(-1) == there).all()


def test_packed_sequences_as_values():
    packed = pack_sequence([minidl.tensor([1.0, 2.0]), minidl.tensor([3.0])])
    assert packed.sorted_indices is None and packed.unsorted_indices is None
    assert packed.to(minidl.float32) is packed and packed.cpu() is packed and packed.float() is packed
    assert packed.double().data.dtype == minidl.float64 and packed.half().data.dtype == minidl.float16
    assert packed.long().data.tolist() == [1, 3, 2]
    pair = PackedSequence((packed.data, packed.batch_sizes))
    assert pair.data is packed.data and pair.batch_sizes is packed.batch_sizes
    assert PackedSequence(*packed[:2], minidl.tensor([1, 0])).unsorted_indices.tolist() == [1, 0]
    assert invert_permutation(None) is None and invert_permutation(minidl.tensor([2, 0, 1])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_are_run_as_if_each_were_alone(name):
    minidl.manual_seed(0)
    net = LAYERS[name](3, 4, 2, bidirectional=True).double()
    sequences = [minidl.randn(n, 3, dtype=minidl.float64) for n in (2, 5, 1, 5)]
    hx = minidl.randn(4, 4, 4, dtype=minidl.float64)
    state = (hx, hx * 2) if name == "LSTM" else hx
    out, last = net(pack_sequence(sequences, enforce_sorted=False), state)
    assert isinstance(out, PackedSequence)
    for n, (sequence, found) in enumerate(zip(sequences, unpack_sequence(out))):
        alone, end = net(sequence, (hx[:, n], hx[:, n] * 2) if name == "LSTM" else hx[:, n])
        np.testing.assert_allclose(found.numpy(force=True), alone.numpy(force=True), 1e-12, 1e-12)
        np.testing.assert_allclose(hidden_of(last)[:, n].numpy(force=True), hidden_of(end).numpy(force=True), 1e-12, 1e-12)
