"""Activations: against plain Python, at kinks and extremes, in place, and as modules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values, lifted

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.ops import blocks
from minidl.shapes import ShapeError
from minidl.testing import strategies as mst
from minidl.testing.strategies import Domain

OFF = Domain(-8, 8, shift=1 / 37)  # away from every kink


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def one(f, python, **options):
    return Row(lambda x: f(x, **options), lifted(python), lambda dtypes: drawn(dtypes), ("float",), raw=False)


def drawn(dtypes):
    return mst.arrays(mst.shapes(max_side=3), dtypes, OFF).map(lambda a: ((a,), {}))


ROWS = {
    "relu6": one(F.relu6, lambda x: min(max(x, 0), 6)),
    "leaky_relu": one(F.leaky_relu, lambda x: x if x > 0 else -0.5 * x, negative_slope=-0.5),
    "rrelu": one(F.rrelu, lambda x: x if x > 0 else 0.3 * x, lower=0.2, upper=0.4),
    "elu": one(F.elu, lambda x: x if x > 0 else 0.7 * (math.exp(x) - 1), alpha=0.7),
    "celu": one(F.celu, lambda x: x if x > 0 else 2 * (math.exp(x / 2) - 1), alpha=2.0),
    "celu negative": one(F.celu, lambda x: x if x > 0 else -4 * (math.exp(x / -4) - 1), alpha=-4.0),
    "selu": one(F.selu, lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1))),
    "silu": one(F.silu, lambda x: x * sigmoid(x)),
    "mish": one(F.mish, lambda x: x * math.tanh(math.log(1 + math.exp(x)))),
    "softsign": one(F.softsign, lambda x: x / (1 + abs(x))),
    "tanhshrink": one(F.tanhshrink, lambda x: x - math.tanh(x)),
    "hardtanh": one(F.hardtanh, lambda x: min(max(x, -2), 3), min_val=-2.0, max_val=3.0),
    "hardsigmoid": one(F.hardsigmoid, lambda x: min(max(x + 3, 0), 6) / 6),
    "hardswish": one(F.hardswish, lambda x: x * min(max(x + 3, 0), 6) / 6),
    "hardshrink": one(F.hardshrink, lambda x: x if abs(x) > 1 else 0, lambd=1.0),
    "softshrink": one(F.softshrink, lambda x: math.copysign(max(abs(x) - 1, 0), x), lambd=1.0),
    "threshold": one(F.threshold, lambda x: x if x > 0.5 else -7, threshold=0.5, value=-7),
}


@st.composite
def slopes(draw, dtypes):
    dtype = dtypes if isinstance(dtypes, minidl.dtype) else draw(dtypes)
    shape = draw(mst.shapes(max_side=3))
    n = draw(st.sampled_from([(), (1,), (shape[1] if len(shape) > 1 else 1,)]))
    return (draw(mst.arrays(shape, dtype, OFF)), draw(mst.arrays(n, dtype, OFF))), {}


def channelwise(x, weight):
    out = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        w = weight.ravel()[place[1] if weight.size > 1 else 0] if weight.size else 0
        out[place] = x[place] if x[place] > 0 else w * x[place]
    return out


@st.composite
def halves(draw, dtypes):
    shape = list(draw(mst.shapes(1, 3, max_side=3)))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] *= 2
    return (draw(mst.arrays(tuple(shape), dtypes, OFF)),), {"dim": dim}


def gated(x, dim):
    a, b = np.split(x, 2, dim)
    return a * lifted(sigmoid)(b).astype(float)


ROWS |= {
    "prelu": Row(F.prelu, channelwise, slopes, ("float",), raw=False),
    "glu": Row(F.glu, gated, halves, ("float",), raw=False),
}


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(st.sampled_from([minidl.float64, minidl.float32])))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


EXTREMES = {
    "elu": (F.elu, [-1, -1, 0, 0, 0, 1e4]),
    "selu": (F.selu, None),
    "celu": (F.celu, [-1, -1, 0, 0, 0, 1e4]),
    "silu": (F.silu, [0, 0, 0, 0, 0, 1e4]),
    "mish": (F.mish, [0, 0, 0, 0, 0, 1e4]),
    "gelu": (F.gelu, [0, 0, 0, 0, 0, 1e4]),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"), [0, 0, 0, 0, 0, 1e4]),
    "softplus": (F.softplus, [0, 0, math.log(2), math.log(2), math.log(2), 1e4]),
    "logsigmoid": (F.logsigmoid, [-1e4, -200, -math.log(2), -math.log(2), -math.log(2), 0]),
    "sigmoid": (F.sigmoid, [0, 0, 0.5, 0.5, 0.5, 1]),
    "hardswish": (F.hardswish, [0, 0, 0, 0, 0, 1e4]),
    "softsign": (F.softsign, [-1e4 / 10001, -200 / 201, 0, 0, 0, 1e4 / 10001]),
    "tanhshrink": (F.tanhshrink, [-9999, -199, 0, 0, 0, 9999]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_finite_and_silent(name, dtype):
    f, wanted = EXTREMES[name]
    small = float(np.finfo(dtype).smallest_subnormal)
    x = minidl.tensor([-1e4, -200, -small, 0, small, 1e4], dtype=getattr(minidl, dtype), requires_grad=True)
    out = f(x)
    out.sum().backward()
    assert minidl.isfinite(out).all() and minidl.isfinite(x.grad).all()
    assert out.dtype == x.dtype
    if wanted is not None:
        np.testing.assert_allclose(out.detach().numpy(), wanted, 2 * np.finfo(dtype).eps, np.finfo(dtype).eps)


@pytest.mark.parametrize("f", [F.gelu, F.silu, F.mish, F.elu, F.softplus, F.logsigmoid, F.leaky_relu, F.hardtanh])
@pytest.mark.parametrize("layout", ["plain", "transposed", "sliced", "broadcast g"])
def test_in_blocks_it_is_the_same(f, layout, monkeypatch):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 12, 10)) * 3
    if layout == "transposed":
        x = x.T.copy().T
    if layout == "sliced":
        x = np.repeat(x, 2, 1)[:, ::2]
    if layout == "broadcast g":
        g = np.broadcast_to(g[:1, :1], g.shape)
    results = []
    for large in (1 << 15, 2):
        monkeypatch.setattr(blocks, "LARGE", large)
        t = minidl.from_numpy(x).requires_grad_()
        out = f(t)
        out.backward(minidl.from_numpy(g))
        results.append((out.detach().numpy(), t.grad.numpy()))
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


IN_PLACE = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "rrelu": F.rrelu,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "silu": F.silu,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "threshold": lambda x, **o: F.threshold(x, 0.1, 3.0, **o),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_is_the_same_with_the_same_gradient(name):
    f, x = IN_PLACE[name], np.linspace(-4, 7, 12) + 0.01
    leaf, other = (minidl.tensor(x, requires_grad=True) for _ in range(2))
    changed = leaf * 2
    assert f(changed, inplace=True) is changed
    fresh = f(other * 2)
    np.testing.assert_array_equal(changed.detach().numpy(), fresh.detach().numpy())
    (changed * changed).sum().backward()
    (fresh * fresh).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), other.grad.numpy(), 1e-12)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "rrelu", "elu", "celu", "selu", "hardtanh", "threshold"])
def test_names_with_an_underscore_work_in_place(name):
    f, args = getattr(F, f"{name}_"), (0.5, 2.0) if name == "threshold" else ()
    x = minidl.tensor([-1.0, 0.25, 3.0])
    wanted = getattr(F, name)(x, *args)
    assert f(x, *args) is x and minidl.equal(x, wanted) and f.__name__ == f"{name}_"


def test_slopes_by_chance():
    minidl.manual_seed(0)
    x = minidl.tensor(np.linspace(-3, 3, 1001), requires_grad=True)
    out = F.rrelu(x, 0.1, 0.3, training=True)
    out.sum().backward()
    drawn = x.grad[x.detach() <= 0].numpy()
    assert drawn.min() >= 0.1 and drawn.max() <= 0.3 and abs(drawn.mean() - 0.2) < 0.02
    assert (x.grad[x.detach() > 0] == 1).all()
    np.testing.assert_array_equal(out.detach().numpy(), (x.detach() * x.grad).numpy())
    changed = x.detach().clone()
    assert F.rrelu_(changed, 0.1, 0.3, training=True) is changed
    module = nn.RReLU(0.1, 0.3)
    assert not minidl.equal(module(x), module(x)) and minidl.equal(module.eval()(x), F.leaky_relu(x, 0.2))


def test_gumbel_softmax_draws_from_the_classes():
    minidl.manual_seed(0)
    p = minidl.tensor([0.2, 0.5, 0.3], dtype=minidl.float64)
    logits = p.log().expand(4000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, hard=True)
    np.testing.assert_allclose(hard.detach().mean(0).numpy(), p.numpy(), atol=5 * 0.5 / 4000**0.5)
    assert set(hard.detach().round().unique().tolist()) == {0, 1}
    hard[:, 0].sum().backward()
    assert (logits.grad != 0).any()
    soft = F.gumbel_softmax(logits, tau=0.5, dim=0)
    np.testing.assert_allclose(soft.sum(0).detach().numpy(), 1)
    with pytest.warns(UserWarning, match="eps has no effect"):
        F.gumbel_softmax(logits, eps=1e-3)


class _AtZero:
    """A source of random numbers that are all 0, the smallest there is."""

    def random(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_gumbel_noise_is_finite(monkeypatch):
    monkeypatch.setattr("minidl.functions.sampling.rng", lambda *_: _AtZero())
    assert minidl.isfinite(F.gumbel_softmax(minidl.zeros(2, 3))).all()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x, i: F.elu(i), TypeError, "elu: wants a floating dtype, got int64"),
        (lambda x, i: F.celu(i, inplace=True), TypeError, "celu: wants a floating dtype, got int64"),
        (lambda x, i: F.selu(i), TypeError, "selu: wants a floating dtype"),
        (lambda x, i: F.gelu(i), TypeError, "gelu: wants a floating dtype"),
        (lambda x, i: F.mish(i), TypeError, "mish: wants a floating dtype"),
        (lambda x, i: F.rrelu(i), TypeError, "rrelu: wants a floating dtype"),
        (lambda x, i: F.hardswish(i), TypeError, "hardswish: wants a floating dtype"),
        (lambda x, i: F.hardshrink(i), TypeError, "hardshrink: wants a floating dtype"),
        (lambda x, i: F.gumbel_softmax(i), TypeError, "gumbel_softmax: wants a floating dtype"),
        (lambda x, i: F.relu6(i > 0), TypeError, "relu6: wants numbers, got bool"),
        (lambda x, i: F.softsign(i > 0), TypeError, "softsign: wants numbers, got bool"),
        (lambda x, i: F.threshold(i > 0, 0, 1), TypeError, "threshold: wants numbers, got bool"),
        (lambda x, i: F.hardtanh(i.to(minidl.uint8)), TypeError, "min_val -1.0 those of a signed dtype; got uint8"),
        (lambda x, i: F.celu(x, 0.0), ValueError, "celu: alpha must not be 0"),
        (lambda x, i: F.softshrink(x, -1.0), ValueError, "lambd must not be negative, got -1.0"),
        (lambda x, i: F.rrelu(x, 0.5, 0.1), ValueError, "lower 0.5 must not be above upper 0.1"),
        (lambda x, i: F.glu(x), ShapeError, r"an even size along dim -1 to halve, got shape \(3,\)"),
        (lambda x, i: F.prelu(x, minidl.ones(2)), ShapeError, r"weight must have shape \(1,\) .* got \(2,\)"),
        (lambda x, i: F.prelu(x, minidl.ones(1, dtype=minidl.float64)), TypeError, "float32 and weight .*float64"),
        (lambda x, i: nn.Softmax2d()(x), ShapeError, r"wants input \(N, C, H, W\) or \(C, H, W\), got shape \(3,\)"),
        (lambda x, i: F.softmin(x), TypeError, "softmin: give dim"),
    ],
)
def test_what_activations_refuse(call, error, said):
    x, i = minidl.tensor([-1.0, 0.0, 2.0]), minidl.tensor([-1, 0, 2])
    kept = i.clone()
    with pytest.raises(error, match=said):
        call(x, i)
    assert minidl.equal(i, kept)


def test_integers_that_stay_integers():
    i = minidl.tensor([-3, 0, 9])
    for out, wanted in (
        (F.hardtanh(i), [-1, 0, 1]),
        (F.relu6(i), [0, 0, 6]),
        (F.threshold(i, 0, 5), [5, 5, 9]),
        (F.relu6(i.clone(), inplace=True), [0, 0, 6]),
    ):
        assert out.dtype == minidl.int64 and out.tolist() == wanted


def test_prelu_learns_its_slope():
    module = nn.PReLU(3, init=0.1)
    assert list(module.state_dict()) == ["weight"] and module.weight.tolist() == [minidl.tensor(0.1).item()] * 3
    x = -minidl.ones(2, 3, 4)
    module(x).sum().backward()
    assert module.weight.grad.tolist() == [-8.0] * 3


def test_what_lies_on_the_other_side_does_not_matter():
    """An infinity on the side of a slope of 1 has no part in the gradient of the other side."""
    weight = minidl.tensor([0.5], requires_grad=True)
    F.prelu(minidl.tensor([math.inf, -2.0]), weight).sum().backward()
    assert weight.grad.item() == -2
