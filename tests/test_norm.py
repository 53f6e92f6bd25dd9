"""Normalisation: the op and its kernels against loops, the functions and modules made of it, running statistics, precision."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values

import minidl
from minidl import nn
from minidl.kernels import cpu, reference
from minidl.nn import functional as F
from minidl.ops import norm
from minidl.profiler import profile
from minidl.shapes import ShapeError
from minidl.testing import strategies as mst
from minidl.testing.strategies import POSITIVE, UNIQUE

FLOAT = ("float",)


def by_hand(x, cell, weight=None, bias=None, parameter=None, eps=1e-5, centred=True, mean=None, var=None):
    """Number by number: those whose place has the same ``cell`` belong together; ``parameter`` is the place of the weight."""
    members = {}
    for place in np.ndindex(*x.shape):
        members.setdefault(cell(place), []).append(float(x[place]))
    out = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        numbers = members[cell(place)]
        center = math.fsum(numbers) / len(numbers) if centred else 0.0
        spread = math.fsum((v - center) ** 2 for v in numbers) / len(numbers)
        if mean is not None:
            center, spread = mean[cell(place)], var[cell(place)]
        out[place] = (x[place] - center) / math.sqrt(spread + eps)
        out[place] *= 1 if weight is None else weight[parameter(place)]
        out[place] += 0 if bias is None else bias[parameter(place)]
    return out


@st.composite
def normalisations(draw, dtypes):
    """Any dimensions to normalise over, and a weight and a bias that are the same along some dimensions."""
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(1, 4, 1, 3))
    dims = tuple(d for d in range(len(shape)) if draw(st.booleans())) or (len(shape) - 1,)
    seen = tuple(n if draw(st.booleans()) else 1 for n in shape)
    arrays = [draw(mst.arrays(shape, dtype, UNIQUE))]
    arrays += [draw(mst.arrays((math.prod(seen),), dtype)) for _ in range(draw(st.integers(0, 2)))]
    return tuple(arrays), {"dims": dims, "shape": seen, "own": draw(st.sampled_from([(True, True), (False, True)]))}


def normalise(x, weight=None, bias=None, *, dims, shape, own):
    return norm.normalise(x, weight, bias, dims, shape, 0.25, own)


def normalised(x, weight=None, bias=None, *, dims, shape, own):
    def cell(place):
        return tuple(i for d, i in enumerate(place) if d not in dims)

    def parameter(place):
        return int(np.ravel_multi_index([i if n > 1 else 0 for i, n in zip(place, shape)], shape))

    return by_hand(x, cell, weight, bias, parameter, 0.25, own[0])


def examples(shapes, parameters, weighted=(0, 2)):
    """A strategy for ``(x, weight, bias)``, given the dtypes; ``parameters`` makes x's shape theirs."""

    @st.composite
    def drawn(draw, dtypes):
        dtype, shape = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes, draw(shapes)
        more = [draw(mst.arrays(parameters(shape), dtype)) for _ in range(draw(st.integers(*weighted)))]
        return (draw(mst.arrays(shape, dtype, UNIQUE)), *more), {}

    return drawn


def channels(shape):
    return shape[1:2]


def pictures(n, c, pixels=(1, 2)):
    return st.tuples(n, c, st.integers(*pixels), st.integers(1, 2)) | st.tuples(n, c, st.integers(*pixels))


SMALL, TWO = st.integers(1, 2), st.integers(2, 3)
ROWS = {
    "normalise": Row(normalise, normalised, normalisations, FLOAT),
    "batch_norm": Row(
        lambda x, w=None, b=None: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w=None, b=None: by_hand(x, lambda p: p[1], w, b, lambda p: p[1]),
        examples(pictures(TWO, SMALL) | st.tuples(TWO, SMALL), channels),
        FLOAT,
    ),
    "layer_norm": Row(
        lambda x, w=None, b=None: F.layer_norm(x, x.shape[-1:], w, b, 0.01),
        lambda x, w=None, b=None: by_hand(x, lambda p: p[:-1], w, b, lambda p: p[-1], 0.01),
        examples(mst.shapes(1, 3, 1, 3), lambda shape: shape[-1:]),
        FLOAT,
    ),
    "layer_norm of two dimensions": Row(
        lambda x, w=None, b=None: F.layer_norm(x, tuple(x.shape[-2:]), w, b),
        lambda x, w=None, b=None: by_hand(x, lambda p: p[:-2], w, b, lambda p: p[-2:]),
        examples(mst.shapes(2, 4, 1, 2), lambda shape: shape[-2:]),
        FLOAT,
    ),
    "rms_norm": Row(
        lambda x, w=None: F.rms_norm(x, x.shape[-1:], w, 0.5),
        lambda x, w=None: by_hand(x, lambda p: p[:-1], w, None, lambda p: p[-1], 0.5, centred=False),
        examples(mst.shapes(1, 3, 1, 3), lambda shape: shape[-1:], (0, 1)),
        FLOAT,
    ),
    "group_norm": Row(
        lambda x, w=None, b=None: F.group_norm(x, 2, w, b, 0.01),
        lambda x, w=None, b=None: by_hand(x, lambda p: (p[0], p[1] // (x.shape[1] // 2)), w, b, lambda p: p[1], 0.01),
        examples(pictures(TWO, st.sampled_from([2, 4])), channels),
        FLOAT,
    ),
    "instance_norm": Row(
        lambda x, w=None, b=None: F.instance_norm(x, None, None, w, b),
        lambda x, w=None, b=None: by_hand(x, lambda p: p[:2], w, b, lambda p: p[1]),
        examples(pictures(SMALL, SMALL, (2, 3)), channels),
        FLOAT,
    ),
    "local_response_norm": Row(
        lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 2.0),
        lambda x: neighbours(x, 3, 0.5, 0.75, 2.0),
        examples(pictures(SMALL, st.integers(1, 4)), channels, (0, 0)),
        FLOAT,
    ),
}


def neighbours(x, size, alpha, beta, k):
    out = np.empty(x.shape)
    for n, c, *pixel in np.ndindex(*x.shape):
        near = [float(x[(n, i, *pixel)]) for i in range(c - size // 2, c + (size - 1) // 2 + 1) if 0 <= i < x.shape[1]]
        out[(n, c, *pixel)] = x[(n, c, *pixel)] / (k + alpha * math.fsum(v * v for v in near) / size) ** beta
    return out


@st.composite
def with_running(draw, dtypes):
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(pictures(SMALL, SMALL) | st.tuples(SMALL, SMALL))
    arrays = [draw(mst.arrays(shape, dtype))] + [draw(mst.arrays(shape[1:2], dtype)) for _ in range(draw(st.integers(0, 2)))]
    fixed = {name: draw(mst.arrays(shape[1:2], minidl.float64, POSITIVE)) for name in ("mean", "var")}
    return tuple(arrays), {"function": draw(st.sampled_from([F.batch_norm, F.instance_norm])), **fixed}


def evaluated(x, w=None, b=None, *, function, mean, var):
    like = minidl.as_tensor if isinstance(x, minidl.Tensor) else np.asarray
    mean, var = (like(a.astype(np.asarray(x.detach() if like is minidl.as_tensor else x).dtype)) for a in (mean, var))
    return function(x, mean, var, w, b, False)


ROWS["batch_norm evaluating"] = Row(
    evaluated,
    lambda x, w=None, b=None, *, function, mean, var: by_hand(
        x, lambda p: p[1], w, b, lambda p: p[1], mean=mean.tolist(), var=var.tolist()
    ),
    with_running,
    FLOAT,
)


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


# -- kernels


@st.composite
def calls(draw):
    """The arguments of both kernels, in any memory order: sizes of 0 and 1, weights that differ along any dimensions."""
    shape = draw(mst.shapes(1, 5, 0, 4))
    dims = tuple(d for d in range(len(shape)) if draw(st.booleans()))
    seen = tuple(n if draw(st.booleans()) else 1 for n in shape)[draw(st.integers(0, len(shape))) :]
    rng = np.random.default_rng(draw(mst.seeds()))
    x, g = (draw(mst.layouts(len(shape))).store(3 * rng.normal(size=shape) + shift) for shift in (100, 0))
    weight, bias = (rng.normal(size=seen) if draw(st.booleans()) else None for _ in range(2))
    kept = tuple(1 if d in dims else n for d, n in enumerate(shape))
    own = draw(st.sampled_from([(True, True), (False, True), (False, False)]))
    center = None if own[0] else rng.normal(size=kept) + 100
    variance = None if own[1] else rng.random(kept) + 0.5
    return g, x, weight, bias, dims, own, seen, center, variance


def check_kernels(g, x, weight, bias, dims, own, seen, center, variance):
    found = cpu.normalise(x, weight, bias, dims, 0.25, center, variance)
    wanted = reference.normalise(x, weight, bias, dims, 0.25, center, variance)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    _, center, variance = wanted
    pairs = [provider.normalise_grad(g, x, weight, center, variance, dims, 0.25, own, seen) for provider in (cpu, reference)]
    for a, b in zip(*pairs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@given(calls())
def test_kernels_are_the_loops(drawn):
    check_kernels(*drawn)


@given(calls(), st.sampled_from([1, 100, 1 << 21]), st.sampled_from([1, 3, 8]))
def test_kernels_in_small_blocks_and_short_runs_are_the_loops(drawn, nbytes, run):
    before = cpu.norm.SMALL, cpu.norm.BLOCK_BYTES, cpu.norm.RUN
    try:
        cpu.norm.SMALL, cpu.norm.BLOCK_BYTES, cpu.norm.RUN = 0, nbytes, run
        check_kernels(*drawn)
    finally:
        cpu.norm.SMALL, cpu.norm.BLOCK_BYTES, cpu.norm.RUN = before


ORDERS = [(0, 1, 2, 3), (1, 2, 3, 0), (0, 2, 3, 1), (3, 1, 0, 2)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "dims, seen", [((0, 2, 3), (32, 1, 1)), ((1, 2, 3), (32, 20, 20)), ((3,), (20,)), ((2, 3), (32, 1, 1))]
)
def test_kernels_shared_by_threads_are_numpy(dims, seen, order):
    """What is large enough for several threads and blocks, against whole arrays; the result keeps the memory order."""
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=[(48, 32, 20, 20)[d] for d in order]).transpose(np.argsort(order)) for _ in range(2))
    w, b = rng.normal(size=(2, *seen))
    center, variance = x.mean(dims, keepdims=True), x.var(dims, keepdims=True)
    scale = 1 / np.sqrt(variance + 1e-5)
    standard, other = (x - center) * scale, tuple(d for d in range(4) if seen[d - 4 :][:1] == (1,) or d < 4 - len(seen))
    inner = g * w
    inner = scale * (inner - inner.mean(dims, keepdims=True) - standard * (inner * standard).mean(dims, keepdims=True))
    before = minidl.get_num_threads()
    try:
        for n in (1, 3):
            minidl.set_num_threads(n)
            out, c, v = cpu.normalise(x, w, b, dims, 1e-5)
            np.testing.assert_allclose(out, standard * w + b, rtol=1e-12, atol=1e-10)
            assert cpu.order.order_of(out) == cpu.order.order_of(x)
            found = cpu.normalise_grad(g, x, w, c, v, dims, 1e-5, (True, True), seen)
            wanted = inner, (g * standard).sum(other).reshape(seen), g.sum(other).reshape(seen)
            for a, right in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, right, rtol=1e-9, atol=1e-9)
    finally:
        minidl.set_num_threads(before)


@pytest.mark.parametrize("wanted", [w for w in itertools.product((False, True), repeat=3) if any(w)])
def test_gradients_of_some_inputs_are_those_of_all(wanted):
    """Whether the others want one or not, also where there is no weight."""
    x = minidl.randn(3, 4, 2, 5, dtype=minidl.float64)
    for shape, call in (
        ((4,), lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
        ((4,), lambda x, w, b: F.batch_norm(x, minidl.ones_like(b), minidl.ones_like(b), w, b)),
        ((4,), lambda x, w, b: F.group_norm(x, 2, w, b)),
        ((4,), lambda x, w, b: F.instance_norm(x, None, None, w, b)),
        ((2, 5), lambda x, w, b: F.layer_norm(x, (2, 5), w, b)),
    ):
        inputs = [x, minidl.randn(shape, dtype=minidl.float64), minidl.randn(shape, dtype=minidl.float64)]
        g = minidl.randn(x.shape, dtype=minidl.float64)
        for weighted in (True, False):
            found = []
            for some in (wanted, (True, True, True)):
                leaves = [t.clone().requires_grad_(want) for t, want in zip(inputs, some)]
                args = leaves if weighted else [leaves[0], None, leaves[2]]
                targets = [t for t, want in zip(args, wanted) if want and t is not None]
                found.append(minidl.autograd.grad(call(*args), targets, g) if targets else ())
            for a, b in zip(*found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# -- precision


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pixels", [30, 10])
@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_a_mean_far_from_0_costs_no_digits(name, pixels, order):
    """Numbers around 1000 with a standard deviation of 1, in float32: the result is good to a few roundings of its mean."""
    shape = (16, 8, pixels, pixels)
    numbers = 1000 + np.random.default_rng(0).normal(size=[shape[d] for d in order]).transpose(np.argsort(order))
    x = numbers.astype(np.float32)
    function, dims = {
        "batch": (lambda t: F.batch_norm(t, None, None, training=True), (0, 2, 3)),
        "layer": (lambda t: F.layer_norm(t, shape[1:]), (1, 2, 3)),
        "group": (lambda t: F.group_norm(t, 4), None),
        "instance": (F.instance_norm, (2, 3)),
    }[name]
    exact = x.astype(np.float64)
    parts = exact.reshape(16, 4, 2, pixels, pixels) if dims is None else exact
    over = dims or (2, 3, 4)
    exact = (parts - parts.mean(over, keepdims=True)) / np.sqrt(parts.var(over, keepdims=True) + 1e-5)
    error = np.abs(function(minidl.from_numpy(x)).numpy() - exact.reshape(x.shape)).max()
    assert error < 2 * 1000 * 2.0**-23, error  # steps between two numbers of float32 there


def test_float16_is_computed_in_float32():
    """Sums of 4000 numbers around 300, and their squares, are beyond float16; the statistics that are kept are not."""
    x = minidl.from_numpy((300 + np.random.default_rng(0).normal(size=(8, 4000))).astype(np.float16)).requires_grad_()
    exact = x.detach().numpy().astype(np.float64)
    standard = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    w = minidl.full((4000,), 2.0, requires_grad=True)  # float32
    out = F.layer_norm(x, (4000,), w)
    assert out.dtype == minidl.float16
    np.testing.assert_allclose(out.detach().numpy(), 2 * standard, rtol=1e-3, atol=1e-3)
    out.backward(minidl.ones_like(out))
    assert x.grad.dtype == minidl.float16 and w.grad.dtype == minidl.float32
    np.testing.assert_allclose(w.grad.numpy(), standard.sum(0), rtol=1e-4, atol=1e-4)
    out = F.rms_norm(minidl.full((2, 3), 1e-4, dtype=minidl.float16), (3,))  # eps is that of float32
    value = float(np.float16(1e-4))
    np.testing.assert_allclose(out.numpy(), value / math.sqrt(value**2 + 2.0**-23), rtol=1e-3)


# -- running statistics


def test_running_statistics_move_towards_the_batch():
    x = minidl.randn(50, 3, 4, dtype=minidl.float64) * 2 + 1
    mean, var = minidl.zeros(3, dtype=minidl.float64), minidl.ones(3, dtype=minidl.float64)
    F.batch_norm(x, mean, var, training=True, momentum=0.25)
    parts = x.numpy().transpose(1, 0, 2).reshape(3, -1)
    np.testing.assert_allclose(mean, 0.25 * parts.mean(1), rtol=1e-12)
    np.testing.assert_allclose(var, 0.75 + 0.25 * parts.var(1, ddof=1), rtol=1e-12)


def test_running_statistics_of_single_pictures_move_towards_their_average():
    x = minidl.randn(5, 3, 4, 2, dtype=minidl.float64) * 2 + 1
    mean, var = minidl.zeros(3, dtype=minidl.float64), minidl.ones(3, dtype=minidl.float64)
    F.instance_norm(x, mean, var, momentum=0.25)
    parts = x.numpy().reshape(5, 3, 8)
    np.testing.assert_allclose(mean, 0.25 * parts.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(var, 0.75 + 0.25 * parts.var(2, ddof=1).mean(0), rtol=1e-12)


def test_a_change_of_running_statistics_is_counted():
    x, mean, var = minidl.randn(4, 3), minidl.zeros(3, requires_grad=False), minidl.ones(3)
    w = minidl.ones(3, requires_grad=True)
    y = w * mean
    F.batch_norm(x, mean, var, training=True)
    with pytest.raises(RuntimeError, match="batch_norm"):
        y.sum().backward()


def test_nothing_leaves_running_statistics_alone():
    for shape in ((0, 3, 4), (2, 3, 0), (0, 3)):
        mean, var = minidl.full((3,), 0.5), minidl.full((3,), 2.0)
        out = F.batch_norm(minidl.zeros(shape), mean, var, training=True)
        assert out.shape == shape and mean.tolist() == [0.5] * 3 and var.tolist() == [2.0] * 3


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (0, 4, 2, 2), (2, 0, 3)])
def test_empty_inputs(shape):
    groups = 1 if shape[1] == 0 else 2
    w, b = (minidl.ones(shape[1], requires_grad=True) for _ in range(2))
    last = minidl.ones(shape[-1], requires_grad=True)
    for call, parameters in (
        (lambda x: F.batch_norm(x, None, None, w, b, True), (w, b)),
        (lambda x: F.batch_norm(x, w.detach(), b.detach(), w, b), (w, b)),
        (lambda x: F.group_norm(x, groups, w, b), (w, b)),
        (lambda x: F.instance_norm(x, None, None, w, b), (w, b)),
        (lambda x: F.layer_norm(x, shape[-1:], last, last), (last,)),
        (lambda x: F.rms_norm(x, shape[-1:], last), (last,)),
        (lambda x: F.local_response_norm(x, 2), ()),
    ):
        x = minidl.zeros(shape, requires_grad=True)
        out = call(x)
        assert out.shape == shape
        for p, g in zip((x, *parameters), minidl.autograd.grad(out.sum(), (x, *parameters))):
            assert g.shape == p.shape and not g.numpy().any()


# -- refusals


X, C = minidl.zeros(2, 4, 3), minidl.ones(4)
HALF, DOUBLE = minidl.ones(4, dtype=minidl.float16), minidl.ones(4, dtype=minidl.float64)
REFUSED = [
    (lambda: F.batch_norm(minidl.zeros(3), None, None, training=True), ShapeError, r"batch_norm: wants input \(N, C, ...\)"),
    (
        lambda: F.batch_norm(minidl.zeros(1, 3), None, None, training=True),
        ValueError,
        "batch_norm: training wants more than one",
    ),
    (lambda: F.batch_norm(minidl.zeros(1, 3, 1, 1), None, None, training=True), ValueError, "more than one"),
    (lambda: F.batch_norm(X, C, None, training=True), ValueError, "both running_mean and running_var, or neither"),
    (lambda: F.batch_norm(X, None, C, training=True), ValueError, "both running_mean and running_var, or neither"),
    (lambda: F.batch_norm(X, C, None), RuntimeError, "wants running_mean and running_var"),
    (lambda: F.batch_norm(X, None, None), RuntimeError, "wants running_mean and running_var"),
    (lambda: F.batch_norm(X, C[:3], C), RuntimeError, r"running_mean must have shape \(4,\), got \(3,\)"),
    (lambda: F.batch_norm(X, C, C, None, C[:3]), RuntimeError, r"bias must have shape \(4,\), got \(3,\)"),
    (lambda: F.batch_norm(X.long(), C, C), TypeError, "batch_norm: wants a floating dtype, got int64"),
    (lambda: F.batch_norm(X, C, C, DOUBLE), RuntimeError, "dtype of input, float32, .* weight float64"),
    (lambda: F.batch_norm(X, C, C, HALF), RuntimeError, "weight float16"),
    (lambda: F.batch_norm(X.half(), HALF, HALF, C), RuntimeError, "weight float32"),
    (lambda: F.batch_norm(X.double(), C, C), RuntimeError, "running_mean float32"),
    (lambda: F.batch_norm(X, C, C, training=True, eps=0), ValueError, "eps must be positive, got 0"),
    (lambda: F.batch_norm(X, C, C, eps=-1.0), ValueError, "eps must be positive or 0, got -1.0"),
    (lambda: F.batch_norm(X, C, C, training=True, momentum=None), TypeError, "momentum must be a number"),
    (lambda: F.batch_norm(X, C.clone().requires_grad_(), C), RuntimeError, "no gradient of running_mean"),
    (lambda: F.batch_norm(X, C, C.clone().requires_grad_(), training=True), RuntimeError, "no gradient of running_var"),
    (lambda: F.instance_norm(minidl.zeros(2, 4)), ValueError, "instance_norm: wants more than one pixel"),
    (lambda: F.instance_norm(minidl.zeros(2, 4, 1)), ValueError, "instance_norm: wants more than one pixel"),
    (lambda: F.instance_norm(X, use_input_stats=False), RuntimeError, "instance_norm: .* wants running_mean and running_var"),
    (lambda: F.instance_norm(X, C), ValueError, "both running_mean and running_var, or neither"),
    (lambda: F.instance_norm(X, weight=C[:3]), RuntimeError, "weight must have shape"),
    (lambda: F.group_norm(minidl.zeros(4), 2), RuntimeError, "group_norm: wants input"),
    (lambda: F.group_norm(X, 3), RuntimeError, "group_norm: num_groups 3 must divide the 4 channels"),
    (lambda: F.group_norm(X, 0), RuntimeError, "num_groups 0 must divide"),
    (lambda: F.group_norm(X, 2.0), TypeError, "num_groups"),
    (lambda: F.group_norm(minidl.zeros(1, 4, 1), 4), ValueError, "more than one value in each group"),
    (lambda: F.group_norm(X, 2, C[:2]), RuntimeError, r"group_norm: weight must have shape \(4,\), got \(2,\)"),
    (lambda: F.layer_norm(X, 3), TypeError, "layer_norm: normalized_shape must be a tuple"),
    (lambda: F.layer_norm(X, (3.0,)), TypeError, "layer_norm: normalized_shape wants an integer"),
    (lambda: F.layer_norm(X, ()), RuntimeError, "at least one, got"),
    (lambda: F.layer_norm(X, (4,)), RuntimeError, r"last sizes of input \(2, 4, 3\), at least one, got \(4,\)"),
    (lambda: F.layer_norm(X, (7, 2, 4, 3)), RuntimeError, "last sizes"),
    (lambda: F.layer_norm(X, (4, 3), C), RuntimeError, r"weight must have shape \(4, 3\), got \(4,\)"),
    (lambda: F.layer_norm(X.half(), (3,), minidl.ones(3), HALF[:3]), RuntimeError, "bias float16"),
    (lambda: F.rms_norm(X, (4,)), RuntimeError, "rms_norm: normalized_shape must be the last sizes"),
    (lambda: F.rms_norm(X.int(), (3,)), TypeError, "rms_norm: wants a floating dtype"),
    (lambda: F.rms_norm(X, (3,), C), RuntimeError, "rms_norm: weight must have shape"),
    (lambda: F.local_response_norm(minidl.zeros(2, 3), 2), ValueError, "at least 3 dimensions"),
    (lambda: F.local_response_norm(X, 0), ShapeError, "size must be at least 1"),
    (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups 3 must divide num_channels 4"),
    (lambda: nn.GroupNorm(0, 4), ValueError, "GroupNorm: num_groups 0"),
    (lambda: nn.LayerNorm(2.5), TypeError, "LayerNorm: normalized_shape wants an integer"),
    (lambda: nn.InstanceNorm2d(4)(minidl.zeros(4, 3)), ValueError, "InstanceNorm2d: wants 3 or 4 dimensions"),
    (lambda: nn.InstanceNorm1d(4)(minidl.zeros(1, 4, 3, 3)), ValueError, "InstanceNorm1d: wants 2 or 3 dimensions"),
    (lambda: nn.InstanceNorm1d(3, affine=True)(X), ValueError, "input has 4 channels, num_features is 3"),
]


@pytest.mark.parametrize("call, error, words", REFUSED)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
    assert C.tolist() == [1] * 4  # nothing was moved


# -- modules


def test_instance_norm_of_another_number_of_channels_warns():
    with pytest.warns(UserWarning, match="num_features is 3"):
        out = nn.InstanceNorm1d(3)(minidl.randn(2, 4, 3))
    assert out.shape == (2, 4, 3)


def test_instance_norm_keeps_statistics_only_if_asked():
    x = minidl.randn(3, 2, 4, 4) * 2 + 1
    plain, tracking = nn.InstanceNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True, momentum=0.5)
    assert list(plain.state_dict()) == [] and minidl.equal(plain(x), plain.eval()(x))
    tracking(x)
    parts = x.numpy().reshape(3, 2, 16)
    np.testing.assert_allclose(tracking.running_mean, 0.5 * parts.mean((0, 2)), rtol=1e-5)
    assert tracking.num_batches_tracked.item() == 0
    wanted = (x.numpy() - tracking.running_mean.numpy()[:, None, None]) / np.sqrt(
        tracking.running_var.numpy()[:, None, None] + 1e-5
    )
    np.testing.assert_allclose(tracking.eval()(x), wanted, rtol=1e-5, atol=1e-5)
    tracking.reset_running_stats()
    assert tracking.running_mean.tolist() == [0, 0]


def test_modules_start_plain_and_can_be_reset():
    for make in (
        lambda: nn.LayerNorm((2, 3)),
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.RMSNorm(3),
        lambda: nn.InstanceNorm1d(4, affine=True),
    ):
        module = make()
        for _ in range(2):
            assert (module.weight == 1).all() and (getattr(module, "bias", None) is None or (module.bias == 0).all())
            for p in module.parameters():
                p.detach().fill_(7)
            module.reset_parameters()
    assert nn.LayerNorm(3).normalized_shape == (3,) and nn.LayerNorm([2, 3], dtype=minidl.float64).weight.shape == (2, 3)
    assert nn.LayerNorm(3, dtype=minidl.float64).bias.dtype == minidl.float64


@pytest.mark.parametrize("order", ORDERS)
def test_groups_of_what_comes_out_of_a_convolution(order):
    """Group normalisation of one channel each is instance normalisation, of all of them layer normalisation, in any order."""
    x = np.random.default_rng(0).normal(size=[(3, 4, 5, 6)[d] for d in order]).transpose(np.argsort(order))
    x = minidl.from_numpy(x)
    np.testing.assert_allclose(F.group_norm(x, 4), F.instance_norm(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(F.group_norm(x, 1), F.layer_norm(x, (4, 5, 6)), rtol=1e-12, atol=1e-12)


def test_all_are_compiled():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.LayerNorm(6),
        nn.RMSNorm((6, 6)), nn.BatchNorm2d(4),
    )  # fmt: skip
    plain = nn.Sequential(*net)
    fast = minidl.compile(net)
    for seed, training in itertools.product(range(3), (True, False)):
        minidl.manual_seed(seed)
        x = minidl.randn(3, 2, 8, 8)
        before = {name: t.clone() for name, t in plain.state_dict().items()}
        grads = []
        for run in (fast, plain):
            plain.load_state_dict(before)
            run.train(training)
            plain.zero_grad()
            out = run(x)
            (out * out).sum().backward()
            grads.append(
                [out.detach().numpy(), *(p.grad.numpy() for p in plain.parameters()), plain[2].running_var.numpy().copy()]
            )
        for a, b in zip(*grads):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert "runs as it is written" not in minidl.compiler.explain(fast)


def test_costs():
    x, w = minidl.zeros(2, 4, 8, requires_grad=True), minidl.ones(8, requires_grad=True)
    for call, forward, backward in (
        (lambda: F.layer_norm(x, (8,), w, w), 7, 10),
        (lambda: F.layer_norm(x, (8,)), 5, 9),
        (lambda: F.rms_norm(x, (8,), w), 4, 7),
        (lambda: F.batch_norm(x, C, C), 2, 5),
    ):
        with profile() as p:
            call().sum().backward()
        found = {r.phase: r.flops for r in p.key_averages() if r.name == "normalise"}
        assert found == {"forward": 64 * forward, "backward": 64 * backward}
