"""Embedding and dropout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.shapes import ShapeError
from minidl.testing import gradcheck, gradgradcheck
from minidl.testing import strategies as mst


@given(
    st.integers(1, 5),
    st.integers(0, 3),
    mst.shapes(max_dims=3, max_side=3),
    st.sampled_from([None, 0, -1]),
    st.booleans(),
    mst.seeds(),
)
def test_the_gradient_is_what_came_to_each_row(n, width, shape, padding_idx, by_freq, seed):
    rng = np.random.default_rng(seed)
    table, index = rng.normal(size=(n, width)), np.array(rng.integers(0, n, shape))
    g = rng.normal(size=(*shape, width))
    weight = minidl.tensor(table, requires_grad=True)
    out = F.embedding(minidl.from_numpy(index), weight, padding_idx, scale_grad_by_freq=by_freq)
    wanted = np.zeros((n, width))
    counts = np.bincount(index.ravel(), minlength=n)
    for place in np.ndindex(*shape):
        np.testing.assert_array_equal(out[place].detach().numpy(), table[index[place]])
        if padding_idx is None or index[place] != padding_idx % n:
            wanted[index[place]] += g[place] / (counts[index[place]] if by_freq else 1)
    out.backward(minidl.tensor(g))
    np.testing.assert_allclose(weight.grad.numpy(), wanted, rtol=1e-12, atol=1e-12)
    if not by_freq and padding_idx is None:
        assert gradcheck(lambda w: F.embedding(minidl.from_numpy(index), w), weight)
    twice = minidl.from_numpy(index)
    factors = minidl.tensor(g)

    def squares(w):
        return (F.embedding(twice, w, padding_idx, scale_grad_by_freq=by_freq) ** 2 * factors).sum()

    first = minidl.autograd.grad(squares(weight), weight, create_graph=True)[0]
    minidl.autograd.grad((first * first).sum(), weight)  # the rule of the rule
    assert gradgradcheck(lambda w: F.embedding(twice, w), weight)


def test_long_rows_are_shortened_in_place():
    table = minidl.arange(12.0).reshape(4, 3)
    weight = table.clone().requires_grad_()
    out = F.embedding(minidl.tensor([1, 1, 3]), weight, max_norm=4.0)
    assert weight[0].tolist() == table[0].tolist() and weight[2].tolist() == table[2].tolist()  # not named
    for row in (1, 3):
        wanted = table[row].numpy() * min(1, 4 / np.linalg.norm(table[row].numpy()))
        np.testing.assert_allclose(weight[row].detach().numpy(), wanted, 1e-6)
    np.testing.assert_allclose(out.detach().numpy(), weight.detach().numpy()[[1, 1, 3]])
    out.sum().backward()
    assert weight.grad[:, 0].tolist() == [0, 2, 0, 1]
    short = table.clone()
    F.embedding(minidl.tensor([0, 1]), short, max_norm=3.0, norm_type=1.0)
    assert short[0].tolist() == [0, 1, 2]  # just long enough
    np.testing.assert_allclose(short[1].abs().sum().item(), 3, 1e-6)


WEIGHT, ROWS = minidl.ones(4, 3), minidl.tensor([0, 3])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.embedding(ROWS + 1, WEIGHT), IndexError, "embedding: input holds 4, .* 4 rows"),
        (lambda: F.embedding(ROWS - 1, WEIGHT), IndexError, "embedding: input holds -1"),
        (lambda: F.embedding(ROWS.float(), WEIGHT), TypeError, "input must be int64 or int32, got .*float32"),
        (lambda: F.embedding(ROWS.to(minidl.uint8), WEIGHT), TypeError, "got .*uint8"),
        (lambda: F.embedding(ROWS, WEIGHT[0]), ShapeError, r"weight must have shape \(V, D\), got \(3,\)"),
        (lambda: F.embedding(ROWS, WEIGHT, padding_idx=4), ValueError, "padding_idx 4 is out of range for 4 rows"),
        (lambda: F.embedding(ROWS, WEIGHT, sparse=True), NotImplementedError, "sparse"),
        (lambda: nn.Embedding(4, 3, padding_idx=-5), ValueError, "Embedding: padding_idx -5 is out of range"),
        (lambda: nn.Embedding(4, 3, sparse=True), NotImplementedError, "sparse"),
        (lambda: nn.Embedding(4, 3, _weight=WEIGHT[:3]), ShapeError, r"wants weights \(4, 3\), got \(3, 3\)"),
        (lambda: nn.Embedding.from_pretrained(WEIGHT[0]), ShapeError, r"wants a table \(V, D\), got shape \(3,\)"),
        (lambda: F.dropout(WEIGHT, -0.1), ValueError, "dropout: p must lie between 0 and 1, got -0.1"),
        (lambda: F.dropout2d(WEIGHT, float("nan")), ValueError, "dropout2d: p must lie between 0 and 1, got nan"),
        (lambda: nn.AlphaDropout(2.0), ValueError, "AlphaDropout: p must lie between 0 and 1, got 2.0"),
        (lambda: F.dropout1d(WEIGHT[0]), ShapeError, r"dropout1d: wants input \(N, C, L\) or \(C, L\), got shape \(3,\)"),
        (
            lambda: F.feature_alpha_dropout(WEIGHT[0], training=True),
            ShapeError,
            "feature_alpha_dropout: wants input with channels",
        ),
        (lambda: F.alpha_dropout(ROWS, 0.5, True), TypeError, "alpha_dropout: wants a floating dtype, got int64"),
    ],
)
@pytest.mark.filterwarnings("ignore:dropout2d")
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_the_module():
    minidl.manual_seed(0)
    module = nn.Embedding(300, 50, padding_idx=-2)
    assert list(module.state_dict()) == ["weight"] and module.padding_idx == 298
    assert (module.weight[298] == 0).all() and abs(module.weight.std().item() - 1) < 0.03
    assert repr(module) == "Embedding(300, 50, padding_idx=298)"
    assert module(minidl.tensor([[1, 2, 298]])).shape == (1, 3, 50)
    table = minidl.randn(4, 3)
    frozen, free = nn.Embedding.from_pretrained(table), nn.Embedding.from_pretrained(table, freeze=False, padding_idx=0)
    assert not frozen.weight.requires_grad and free.weight.requires_grad
    assert minidl.equal(frozen.weight, table) and minidl.equal(free.weight, table)  # as it is, also the row of padding
    assert nn.Embedding(2, 3, dtype=minidl.float64).weight.dtype == minidl.float64


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("drop", "shape", "fixed"),
    [
        (F.dropout1d, (40, 50, 4), 2),
        (F.dropout1d, (500, 4), 1),
        (F.dropout2d, (40, 50, 3, 2), 2),
        (F.dropout, (40, 50), 2),
    ],
)
def test_dropout_of_channels(drop, shape, fixed, inplace):
    minidl.manual_seed(0)
    x = minidl.ones(*shape, requires_grad=True)
    given = x * 1
    out = drop(given, 0.25, True, inplace)
    assert (out is given) == inplace
    rows = out.detach().numpy().reshape(*shape[:fixed], -1)
    assert (rows == rows[..., :1]).all()
    assert set(np.unique(rows).tolist()) == {0.0, np.float32(4 / 3).item()}
    share, n = (rows == 0).mean(), np.prod(shape[:fixed])
    assert abs(share - 0.25) < 5 * (0.1875 / n) ** 0.5
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())


@pytest.mark.parametrize("drop", [F.alpha_dropout, F.feature_alpha_dropout])
def test_alpha_dropout_keeps_mean_and_variance(drop):
    minidl.manual_seed(0)
    x = minidl.randn(100, 200, 5, dtype=minidl.float64).requires_grad_()
    out = drop(x, 0.3, True)
    assert abs(out.mean().item()) < 0.03 and abs(out.std().item() - 1) < 0.03
    factor = 1 / ((1.7580993408473766**2 * 0.3 + 1) * 0.7) ** 0.5
    low, high = -1.7580993408473766 * factor * 0.7, 1.7580993408473766 * factor * 0.3
    dropped = np.isclose(out.detach().numpy(), low, atol=1e-12)
    np.testing.assert_allclose(out.detach().numpy()[~dropped], (x.detach().numpy() * factor + high)[~dropped])
    assert abs(dropped.mean() - 0.3) < 0.02
    if drop is F.feature_alpha_dropout:
        assert (dropped == dropped[..., :1]).all()
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.where(dropped, 0, factor))


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout"])
def test_when_there_is_nothing_to_drop_or_nothing_left(name):
    f, x = getattr(F, name), minidl.randn(2, 3, 4)
    assert f(x, 0.5, False) is x and f(x, 0.0, True) is x
    assert (f(x, 1.0, True) == 0).all()
    changed = x.clone()
    assert f(changed, 1.0, True, True) is changed and (changed == 0).all()
    whole = minidl.ones(2, 3, 4, dtype=minidl.int64)
    assert f(whole, 0.5, False) is whole
    kept = whole.clone()
    with pytest.raises(TypeError, match=f"{name}: wants a floating dtype"):
        f(whole, 0.5, True, True)
    assert minidl.equal(whole, kept)


def test_dropout2d_warns_of_other_shapes():
    with pytest.warns(UserWarning, match=r"dropout2d: an input of shape \(2, 3, 4\) is taken for \(N, C, ...\)") as caught:
        F.dropout2d(minidl.ones(2, 3, 4))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("module", [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_modules_drop_in_training_only(module):
    layer, x = module(0.5), minidl.randn(4, 5, 6)
    assert not minidl.equal(layer(x), x) and layer.eval()(x) is x
    assert repr(layer) == f"{module.__name__}(p=0.5, inplace=False)"
