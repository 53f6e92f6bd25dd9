"""Activations and losses: against their formulas in NumPy, and their gradients against differences, to order two."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
import minidl.nn.functional as F
from minidl.shapes import ShapeError
from minidl.testing import gradcheck, gradgradcheck


def apart(rng, shape, *kinks):
    """Numbers between -4 and 8, at least 0.05 away from every kink."""
    x = rng.uniform(-4, 8, shape)
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.05, x + 0.11, x)
    return x


ACTIVATIONS = {
    "relu": (F.relu, lambda x: np.maximum(x, 0), (0,)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * x), (0,)),
    "elu": (lambda x: F.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), (0,)),
    "selu": (F.selu, lambda x: 1.05070098735548 * np.where(x > 0, x, 1.67326324235437 * np.expm1(x)), (0,)),
    "gelu": (F.gelu, lambda x: x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2, ()),
    "gelu_tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
        (),
    ),
    "silu": (F.silu, lambda x: x / (1 + np.exp(-x)), ()),
    "softplus": (F.softplus, lambda x: np.log(1 + np.exp(x)), ()),
    "softplus_beta": (lambda x: F.softplus(x, 2.0, 50.0), lambda x: np.log(1 + np.exp(2 * x)) / 2, ()),
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + np.exp(-x)), ()),
    "logsigmoid": (F.logsigmoid, lambda x: -np.log(1 + np.exp(-x)), ()),
    "tanh": (F.tanh, np.tanh, ()),
    "hardtanh": (lambda x: F.hardtanh(x, -2.0, 3.0), lambda x: np.clip(x, -2, 3), (-2, 3)),
    "relu6": (F.relu6, lambda x: np.clip(x, 0, 6), (0, 6)),
    "softmax": (lambda x: F.softmax(x, 1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True), ()),
    "log_softmax": (lambda x: F.log_softmax(x, 1), lambda x: x - np.log(np.exp(x).sum(1, keepdims=True)), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(seed=st.integers(0, 10**6))
def test_activation(name, seed):
    f, formula, kinks = ACTIVATIONS[name]
    x = apart(np.random.default_rng(seed), (2, 3), *kinks)
    np.testing.assert_allclose(f(minidl.tensor(x)).numpy(), formula(x), rtol=1e-9, atol=1e-12)
    t = minidl.tensor(x, requires_grad=True)
    gradcheck(f, t)
    gradgradcheck(f, t)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_on_arrays_of_every_float(name):
    f = ACTIVATIONS[name][0]
    x = np.random.default_rng(0).normal(size=(2, 3))
    for dtype in ("float16", "float32", "float64"):
        out = f(minidl.tensor(x.astype(dtype)))
        assert str(out.dtype) == f"minidl.{dtype}"
        np.testing.assert_allclose(out.numpy(), ACTIVATIONS[name][1](x), rtol=1e-2 if dtype == "float16" else 1e-4, atol=2e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["elu", "selu", "gelu", "silu", "softplus", "sigmoid", "logsigmoid", "gelu_tanh"])
def test_no_overflow(name):
    x = minidl.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)
    out = ACTIVATIONS[name][0](x)
    out.sum().backward()
    assert minidl.isfinite(out).all() and minidl.isfinite(x.grad).all()


# -- losses


def huber(d, delta):
    return np.where(np.abs(d) <= delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta))


BETWEEN = {
    "mse": (F.mse_loss, lambda x, y: (x - y) ** 2),
    "l1": (F.l1_loss, lambda x, y: np.abs(x - y)),
    "huber": (lambda x, y, **o: F.huber_loss(x, y, delta=0.7, **o), lambda x, y: huber(x - y, 0.7)),
    "smooth_l1": (lambda x, y, **o: F.smooth_l1_loss(x, y, beta=0.5, **o), lambda x, y: huber(x - y, 0.5) / 0.5),
    "bce": (
        lambda x, y, **o: F.binary_cross_entropy(F.sigmoid(x), y, **o),
        lambda x, y: y * np.log(1 + np.exp(-x)) + (1 - y) * np.log(1 + np.exp(x)),
    ),
    "logits": (
        lambda x, y, **o: F.binary_cross_entropy_with_logits(x, y, pos_weight=minidl.tensor(2.5), **o),
        lambda x, y: 2.5 * y * np.log(1 + np.exp(-x)) + (1 - y) * np.log(1 + np.exp(x)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BETWEEN)
@given(seed=st.integers(0, 10**6))
def test_loss(name, seed):
    f, formula = BETWEEN[name]
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 3)), rng.uniform(0.1, 0.9, (2, 3))
    each = formula(x, y)
    a, b = minidl.tensor(x, requires_grad=True), minidl.tensor(y, requires_grad=True)
    for reduction, wanted in (("none", each), ("mean", each.mean()), ("sum", each.sum())):
        np.testing.assert_allclose(f(a, b, reduction=reduction).detach().numpy(), wanted, rtol=1e-7, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", minidl.testing.KinkWarning)
        gradcheck(lambda x, y: f(x, y, reduction="none"), (a, b))
        gradgradcheck(lambda x, y: f(x, y, reduction="none"), (a, b))


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss])
def test_shapes_that_broadcast_are_warned_of(loss):
    with pytest.warns(UserWarning, match=r"target has shape \(4,\) and input \(4, 1\)") as caught:
        assert loss(minidl.zeros(4, 1), minidl.ones(4), reduction="none").shape == (4, 4)
    assert caught[0].filename == __file__
    with pytest.raises(ShapeError, match=r"\(4,\) and \(3,\)"):
        loss(minidl.zeros(4), minidl.zeros(3))


@pytest.mark.parametrize("loss", [F.binary_cross_entropy, F.binary_cross_entropy_with_logits])
def test_shapes_that_binary_losses_refuse(loss):
    with pytest.raises(ShapeError, match=r"\(4,\), input \(4, 1\)"):
        loss(minidl.zeros(4, 1), minidl.ones(4))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: F.binary_cross_entropy(x * 2, x), RuntimeError, "between 0 and 1"),
        (lambda x: F.binary_cross_entropy(x * float("nan"), x), RuntimeError, "between 0 and 1"),
        (lambda x: F.mse_loss(x, x, reduction="avg"), ValueError, "'avg'"),
        (lambda x: F.huber_loss(x, x, delta=0), ValueError, "delta"),
        (lambda x: F.smooth_l1_loss(x, x, beta=-1), ValueError, "beta"),
        (lambda x: F.gelu(x, "exact"), ValueError, "approximate"),
        (lambda x: F.hardtanh(x, 1, -1), ValueError, "min_val"),
        (lambda x: F.softmax(x), TypeError, "dim"),
        (lambda x: F.pad(x, (1, 1), mode="reflect"), NotImplementedError, "mode 'reflect'"),
        (lambda x: F.pad(x, (1,)), ShapeError, "pairs"),
        (lambda x: F.pad(x, (1, 1, 1, 1)), ShapeError, "at most 1"),
        (lambda x: F.relu(x.requires_grad_(), inplace=True), RuntimeError, "leaf"),
    ],
)
def test_what_functions_refuse(call, error, said):
    with pytest.raises(error, match=said):
        call(minidl.ones(2))


@given(seed=st.integers(0, 10**6))
def test_vectors(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 2, 3))
    a, b = minidl.tensor(x, requires_grad=True), minidl.tensor(y, requires_grad=True)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(F.cosine_similarity(a, b).detach().numpy(), cosine, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(F.normalize(a).detach().numpy(), axis=1), 1)
    np.testing.assert_array_equal(
        F.pad(a, (1, 2, 0, 1), value=7.0).detach().numpy(), np.pad(x, ((0, 1), (1, 2)), constant_values=7.0)
    )
    gradcheck(F.cosine_similarity, (a, b))
    gradcheck(F.normalize, a)
    gradgradcheck(lambda x: F.pad(x, (1, -1)) * F.normalize(x, dim=0).sum(), a)


def test_mse_loss_of_nothing_and_of_integers():
    empty = minidl.zeros(0, 2)
    assert F.mse_loss(empty, empty).isnan() and F.mse_loss(empty, empty, reduction="sum") == 0
    leaf = minidl.zeros(0, 2, requires_grad=True)
    F.mse_loss(leaf, empty).backward()
    assert leaf.grad.shape == (0, 2)
    with pytest.raises(TypeError, match="mse_loss: wants a floating dtype"):
        F.mse_loss(minidl.tensor([1]), minidl.tensor([2]))


def test_adaptive_pooling_keeps_infinity_where_it_is():
    x = minidl.ones(1, 1, 5, 4)
    x[0, 0, 0, 0] = math.inf
    assert F.adaptive_avg_pool2d(x, 2).flatten().tolist() == [math.inf, 1, 1, 1]


def test_cross_entropy_where_nothing_counts():
    scores = minidl.randn(2, 3, requires_grad=True)
    for loss in (F.cross_entropy(scores, minidl.tensor([-100, -100])), F.nll_loss(scores, minidl.tensor([-100, -100]))):
        loss.backward()
        assert loss.isnan() and scores.grad.tolist() == [[0, 0, 0]] * 2


def test_ceil_mode_takes_a_window_larger_than_the_picture():
    x = minidl.tensor([[[1.0, 3.0, 2.0]]])
    assert F.max_pool2d(x, 2, ceil_mode=True).tolist() == [[[3, 2]]]
    assert F.avg_pool2d(x, 2, ceil_mode=True).tolist() == [[[2, 2]]]
