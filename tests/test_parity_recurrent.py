"""Recurrent layers and packed sequences against PyTorch's."""

import inspect
import itertools

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(5)


def both(array, requires_grad=False):
    """An array as a tensor of either library."""
    return tuple(lib.from_numpy(array.copy()).requires_grad_(requires_grad) for lib in (torch, minidl))


def close(ours, theirs, tolerance=1e-9):
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), tolerance, tolerance)


def moved(theirs):
    """PyTorch's state for minidl, by name."""
    return {name: minidl.from_numpy(p.numpy().copy()) for name, p in theirs.state_dict().items()}


def pair(name, *args, **options):
    """The layer of either library with the same weights, in float64; they print the same and name their weights the same."""
    theirs = getattr(torch.nn, name)(*args, **options).double()
    ours = getattr(minidl.nn, name)(*args, **options).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(moved(theirs))
    return theirs, ours


def states(name, *shapes):
    """Initial states for either library, which require gradients."""
    found = [both(RNG.normal(size=shape), True) for shape in shapes]
    return [tuple(side) if name.startswith("LSTM") else side[0] for side in zip(*found)]


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def check(theirs, ours, inputs, results, hx=()):
    """The results, and all gradients of a random weighting of them."""
    losses = [0, 0]
    for a, b in zip(*results):
        close(b, a)
        weights = both(RNG.normal(size=tuple(a.shape)))
        losses = [loss + (x * w).sum() for loss, x, w in zip(losses, (a, b), weights)]
    for loss in losses:
        loss.backward()
    close(inputs[1].grad, inputs[0].grad)
    for a, b in zip(*map(as_tuple, hx)) if hx else ():
        close(b.grad, a.grad)
    for (name, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters()):
        close(b.grad, a.grad, 1e-8)
        assert name


OPTIONS = [
    (name, {"num_layers": layers, "bidirectional": bi, "batch_first": first, "bias": bias, **more})
    for name, mores in (("RNN", ({}, {"nonlinearity": "relu"})), ("LSTM", ({}, {"proj_size": 2})), ("GRU", ({},)))
    for layers, bi, first, bias in itertools.product((1, 2), (False, True), (False, True), (True, False))
    for more in mores
]


@pytest.mark.parametrize("name, options", OPTIONS, ids=str)
def test_layers(name, options):
    layers, first, p = (
        options["num_layers"] * (1 + options["bidirectional"]),
        options["batch_first"],
        options.get("proj_size", 0),
    )
    for mode in ("plain", "states", "alone"):
        theirs, ours = pair(name, 3, 4, **options)
        x = both(RNG.normal(size=(5, 3) if mode == "alone" else (2, 5, 3) if first else (5, 2, 3)), True)
        lead = (layers,) if mode == "alone" else (layers, 2)
        hx = states(name, (*lead, p or 4), (*lead, 4)) if mode != "plain" else ()
        (a, last_a), (b, last_b) = theirs(x[0], *hx[:1]), ours(x[1], *hx[1:])
        check(theirs, ours, x, [(a, *as_tuple(last_a)), (b, *as_tuple(last_b))], hx)


@pytest.mark.parametrize("name, options", OPTIONS, ids=str)
@pytest.mark.parametrize("lengths", [(5, 3), (2, 5)], ids=str)
def test_packed(name, options, lengths):
    theirs, ours = pair(name, 3, 4, **options)
    layers, first = options["num_layers"] * (1 + options["bidirectional"]), options["batch_first"]
    x = both(RNG.normal(size=(2, 5, 3) if first else (5, 2, 3)), True)
    hx = states(name, (layers, 2, options.get("proj_size") or 4), (layers, 2, 4))
    results = []
    for lib, net, input, state in zip((torch, minidl), (theirs, ours), x, hx):
        utils = lib.nn.utils.rnn
        packed = utils.pack_padded_sequence(input, list(lengths), batch_first=first, enforce_sorted=lengths[0] > lengths[1])
        out, last = net(packed, state)
        padded, found = utils.pad_packed_sequence(out, batch_first=first, padding_value=7.0, total_length=6)
        assert found.tolist() == list(lengths)
        results.append((padded, *as_tuple(last)))
    check(theirs, ours, x, results, hx)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(name, alone, bias):
    for options in ({}, {"nonlinearity": "relu"}) if name == "RNNCell" else ({},):
        theirs, ours = pair(name, 3, 4, bias=bias, **options)
        x, shape = both(RNG.normal(size=(3,) if alone else (2, 3)), True), (4,) if alone else (2, 4)
        hx = states(name, shape, shape)
        check(theirs, ours, x, [as_tuple(theirs(x[0], hx[0])), as_tuple(ours(x[1], hx[1]))], hx)
        for a, b in zip(as_tuple(theirs(x[0])), as_tuple(ours(x[1]))):
            close(b, a)


@pytest.mark.parametrize("name", ["rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"])
def test_cells_as_functions(name):
    n = {"lstm_cell": 4, "gru_cell": 3}.get(name, 1) * 4
    arrays = [RNG.normal(size=shape) for shape in ((2, 3), (2, 4), (2, 4), (n, 3), (n, 4), (n,), (n,))]
    (x, h, c, *weights), (x2, h2, c2, *weights2) = zip(*map(both, arrays))
    lstm = name == "lstm_cell"
    a = getattr(torch, name)(x, (h, c) if lstm else h, *weights)
    b = getattr(minidl, name)(x2, (h2, c2) if lstm else h2, *weights2)
    for theirs, ours in zip(as_tuple(a), as_tuple(b)):
        close(ours, theirs)
    without = getattr(minidl, name)(input=x2, hx=(h2, c2) if lstm else h2, w_ih=weights2[0], w_hh=weights2[1])
    close(as_tuple(without)[0], as_tuple(getattr(torch, name)(x, (h, c) if lstm else h, *weights[:2]))[0])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNBase", "RNNCell", "LSTMCell", "GRUCell", "RNNCellBase"])
def test_signatures(name):
    """The same names and defaults in the same places, where PyTorch says them; all else is `RNNBase`'s."""
    theirs, ours = (inspect.signature(getattr(lib.nn, name).__init__).parameters for lib in (torch, minidl))
    if "args" in theirs:  # RNN takes its nonlinearity in the fourth place
        assert list(ours)[-2:] == ["args", "options"]
    else:
        assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_positions():
    for args in ((3, 4, 2, "relu", False, True, 0.5, True), (3, 4, 2)):
        pair("RNN", *args)
    for name in ("LSTM", "GRU"):
        pair(name, 3, 4, 2, False, True, 0.25, True)
    pair("LSTM", 3, 4, 1, True, False, 0.0, False, 2)
    pair("RNNCell", 3, 4, False, "relu")
    assert [[w.shape for w in cell] for cell in minidl.nn.LSTM(3, 4, 2, False, proj_size=2).all_weights] == [
        [tuple(w.shape) for w in cell] for cell in torch.nn.LSTM(3, 4, 2, False, proj_size=2).all_weights
    ]


# name -> what is refused, written once for both libraries
WRONG = {
    "mode": lambda t: t.nn.RNNBase("X", 3, 4),
    "input_size": lambda t: t.nn.LSTM(0, 4),
    "hidden_size": lambda t: t.nn.LSTM(3, 0),
    "float_size": lambda t: t.nn.LSTM(3, 4.0),
    "layers": lambda t: t.nn.LSTM(3, 4, 0),
    "layers_kind": lambda t: t.nn.LSTM(3, 4, 1.5),
    "bias": lambda t: t.nn.LSTM(3, 4, bias=1),
    "batch_first": lambda t: t.nn.LSTM(3, 4, batch_first=1),
    "dropout": lambda t: t.nn.LSTM(3, 4, 2, dropout=2),
    "dropout_text": lambda t: t.nn.LSTM(3, 4, 2, dropout="a"),
    "dropout_bool": lambda t: t.nn.LSTM(3, 4, 2, dropout=True),
    "proj": lambda t: t.nn.LSTM(3, 4, proj_size=4),
    "proj_negative": lambda t: t.nn.LSTM(3, 4, proj_size=-1),
    "proj_gru": lambda t: t.nn.GRU(3, 4, proj_size=1),
    "proj_rnn": lambda t: t.nn.RNN(3, 4, proj_size=1),
    "unknown": lambda t: t.nn.LSTM(3, 4, nonlinearity="tanh"),
    "nonlinearity": lambda t: t.nn.RNN(3, 4, nonlinearity="gelu"),
    "no_steps": lambda t: t.nn.LSTM(3, 4)(t.zeros(0, 2, 3)),
    "dims": lambda t: t.nn.LSTM(3, 4)(t.zeros(5, 2, 3, 1)),
    "features": lambda t: t.nn.LSTM(3, 4)(t.zeros(5, 2, 4)),
    "dtype": lambda t: t.nn.LSTM(3, 4)(t.zeros(5, 2, 3).double()),
    "hx": lambda t: t.nn.GRU(3, 4)(t.zeros(5, 2, 3), t.zeros(1, 3, 4)),
    "hx_dims": lambda t: t.nn.GRU(3, 4)(t.zeros(5, 2, 3), t.zeros(1, 4)),
    "hx_dtype": lambda t: t.nn.GRU(3, 4)(t.zeros(5, 2, 3), t.zeros(1, 2, 4).double()),
    "cell_dims": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(1, 2, 3)),
    "cell_features": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(2, 4)),
    "cell_hx": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 3), t.zeros(3, 4)),
    "cell_one": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(2, 3), t.zeros(2, 4)),
    "function_hx": lambda t: t.gru_cell(t.zeros(2, 3), t.zeros(2, 5), t.zeros(12, 3), t.zeros(12, 4)),
    "function_batch": lambda t: t.gru_cell(t.zeros(2, 3), t.zeros(1, 4), t.zeros(12, 3), t.zeros(12, 4)),
    "function_rows": lambda t: t.gru_cell(t.zeros(2, 3), t.zeros(2, 4), t.zeros(13, 3), t.zeros(12, 4)),
    "length_zero": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 3), [4, 2, 0]),
    "lengths_few": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 3), [4, 2]),
    "lengths_unsorted": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 3), [2, 4, 1]),
    "lengths_2d": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 3), t.tensor([[4, 2, 1]])),
    "lengths_none": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 0), []),
    "total_length": lambda t: t.nn.utils.rnn.pad_packed_sequence(t.nn.utils.rnn.pack_sequence([t.zeros(3)]), total_length=2),
    "pad_none": lambda t: t.nn.utils.rnn.pad_sequence([]),
    "pad_number": lambda t: t.nn.utils.rnn.pad_sequence(3),
    "pad_scalar": lambda t: t.nn.utils.rnn.pad_sequence([t.tensor(1.0)]),
    "pad_side": lambda t: t.nn.utils.rnn.pad_sequence([t.zeros(2)], padding_side="top"),
    "pad_shapes": lambda t: t.nn.utils.rnn.pad_sequence([t.zeros(2, 3), t.zeros(2, 4)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_pytorch_refuses_is_refused_with_the_same_kind_of_error(name):
    with pytest.raises(Exception) as theirs:
        WRONG[name](torch)
    with pytest.raises(theirs.type):
        WRONG[name](minidl)


def test_no_sequences():
    for name in ("RNN", "LSTM", "GRU"):
        theirs, ours = pair(name, 3, 4, 2, bidirectional=True)
        x = both(np.zeros((5, 0, 3)), True)
        (a, last_a), (b, last_b) = theirs(x[0]), ours(x[1])
        for p, q in zip((a, *as_tuple(last_a)), (b, *as_tuple(last_b))):
            assert tuple(q.shape) == tuple(p.shape)
        a.sum().backward()
        b.sum().backward()
        for p, q in zip(theirs.parameters(), ours.parameters()):
            np.testing.assert_array_equal(q.grad.numpy(), p.grad.numpy())


# -- packing


@pytest.mark.parametrize("tail", [(), (2,), (2, 3)], ids=str)
def test_packing(tail):
    theirs, ours = torch.nn.utils.rnn, minidl.nn.utils.rnn
    for lengths in ([4, 3, 1], [1, 4, 3], [2, 2], [1]):
        arrays = [RNG.normal(size=(n, *tail)) for n in lengths]
        sides = [[lib.from_numpy(a.copy()) for a in arrays] for lib in (torch, minidl)]
        for first, side in itertools.product((False, True), ("right", "left")):
            close(ours.pad_sequence(sides[1], first, -1.0, side), theirs.pad_sequence(sides[0], first, -1.0, side))
        a, b = (utils.pack_sequence(side, enforce_sorted=False) for utils, side in zip((theirs, ours), sides))
        close(b.data, a.data)
        assert b.batch_sizes.tolist() == a.batch_sizes.tolist() and b.batch_sizes.dtype == minidl.int64
        assert b.sorted_indices.tolist() == a.sorted_indices.tolist()
        assert b.unsorted_indices.tolist() == a.unsorted_indices.tolist()
        for p, q in zip(theirs.unpack_sequence(a), ours.unpack_sequence(b)):
            close(q, p)
        for first in (False, True):
            (p, n_p), (q, n_q) = theirs.pad_packed_sequence(a, first, 2.0, 6), ours.pad_packed_sequence(b, first, 2.0, 6)
            close(q, p)
            assert n_q.tolist() == n_p.tolist()
    one, two = sides[0][0], sides[1][0]
    assert repr(ours.pack_sequence([two])).split("(")[0] == repr(theirs.pack_sequence([one])).split("(")[0]
    assert ours.PackedSequence._fields == theirs.PackedSequence._fields


# -- training


def test_training_takes_the_same_course():
    """An LSTM that reads 28 rows of 28 numbers, and a linear layer on its last state."""
    rng = np.random.default_rng(0)
    losses = {}
    start = None
    x = rng.normal(size=(10, 20, 28, 28)).astype(np.float32)
    y = (x.mean((2, 3)) * 60).round().astype(np.int64) % 10
    for lib in (torch, minidl):
        lib.manual_seed(0)
        lstm, head = lib.nn.LSTM(28, 128), lib.nn.Linear(128, 10)
        start = start or [moved(lstm), moved(head)]
        if lib is minidl:
            lstm.load_state_dict(start[0])
            head.load_state_dict(start[1])
        optimizer = lib.optim.SGD([*lstm.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
        losses[lib.__name__] = []
        for step in range(30):
            optimizer.zero_grad()
            images, labels = lib.from_numpy(x[step % 10]), lib.from_numpy(y[step % 10])
            loss = lib.nn.functional.cross_entropy(head(lstm(images.transpose(0, 1))[0][-1]), labels)
            loss.backward()
            optimizer.step()
            losses[lib.__name__].append(loss.item())
    assert losses["torch"][-1] < losses["torch"][0]
    np.testing.assert_allclose(losses["minidl"], losses["torch"], 0, 1e-4)
