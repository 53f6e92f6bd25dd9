"""Normalisation against PyTorch: values, gradients, dtypes, running statistics, modules, what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_parity_nn import copy_weights

import minidl
from minidl.testing import strategies as mst

torch = pytest.importorskip("torch")
TF, MF = torch.nn.functional, minidl.nn.functional


def both(function, arrays, seed=0, **options):
    """The results and the gradients of all floating arrays in both libraries; None stays None."""
    found = []
    for lib, functional in ((torch, TF), (minidl, MF)):
        leaves = [None if a is None else lib.tensor(a, requires_grad=True) for a in arrays]
        out = function(functional, *leaves, **options)
        g = lib.tensor(np.random.default_rng(seed).normal(size=tuple(out.shape)), dtype=out.dtype)
        targets = [t for t in leaves if t is not None]
        grads = torch.autograd.grad if lib is torch else minidl.autograd.grad
        found.append([out.detach().numpy(), *(t.numpy() for t in grads(out, targets, g))])
    return found


def agree(function, arrays, rtol=1e-9, atol=1e-10, **options):
    for theirs, ours in zip(*both(function, arrays, **options), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


KINDS = {  # the function of both libraries' functional; the shape of weight and bias, from x's
    "batch": (lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True), lambda shape: shape[1:2]),
    "layer": (lambda f, x, w, b: f.layer_norm(x, tuple(x.shape[1:]), w, b), lambda shape: shape[1:]),
    "layer, last": (lambda f, x, w, b: f.layer_norm(x, [x.shape[-1]], w, b, 1e-3), lambda shape: shape[-1:]),
    "group 1": (lambda f, x, w, b: f.group_norm(x, 1, w, b), lambda shape: shape[1:2]),
    "group 2": (lambda f, x, w, b: f.group_norm(x, 2, w, b, 0.1), lambda shape: shape[1:2]),
    "instance": (lambda f, x, w, b: f.instance_norm(x, None, None, w, b), lambda shape: shape[1:2]),
    "rms": (lambda f, x, w, b: f.rms_norm(x, tuple(x.shape[2:]), w), lambda shape: shape[2:]),
}


@st.composite
def inputs(draw):
    """(N, C, ...) with an even number of channels and two pixels or more, in any memory order; some without weight or bias."""
    shape = (draw(st.integers(2, 4)), 2 * draw(st.integers(1, 2)), *draw(mst.shapes(1, 2, 2, 4)))
    rng = np.random.default_rng(draw(mst.seeds()))
    x = draw(mst.layouts(len(shape))).store(3 * rng.normal(size=shape) + rng.normal())
    return x, draw(st.booleans()), draw(st.booleans()), rng


@pytest.mark.parametrize("name", KINDS)
@given(inputs())
def test_values_and_gradients(name, drawn):
    x, weighted, shifted, rng = drawn
    function, parameters = KINDS[name]
    w, b = rng.normal(size=(2, *parameters(x.shape)))
    b = b if shifted and name != "rms" else None
    if not (name.startswith("group") and b is not None) or weighted:  # PyTorch 2.13 has no gradient of a bias alone there
        agree(function, (np.ascontiguousarray(x), w if weighted else None, b))
    w, b = minidl.tensor(w), None if b is None else minidl.tensor(b)
    ours = function(MF, minidl.from_numpy(x), w, b).numpy()  # in that memory order
    plain = function(MF, minidl.tensor(np.ascontiguousarray(x)), w, b).numpy()
    np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # of PyTorch, which then takes a slower way
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("parameters", [np.float16, np.float32, np.float64])
def test_dtypes(name, dtype, parameters):
    """What goes together in PyTorch does here, and gives the same; the rest is refused by both."""
    function, shape_of = KINDS[name]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 4, 6)).astype(dtype)
    w, b = rng.normal(size=(2, *shape_of(x.shape))).astype(parameters)
    arrays = (x, w, None if name == "rms" else b)
    try:
        both_ways = both(function, arrays)
    except RuntimeError:
        for lib, functional in ((torch, TF), (minidl, MF)):
            with pytest.raises(RuntimeError):
                function(functional, *(None if a is None else lib.tensor(a) for a in arrays))
        return
    coarse = min(dtype, parameters, key=lambda d: np.finfo(d).precision)
    tolerance = 10 * float(np.finfo(coarse).eps)
    for theirs, ours in zip(*both_ways, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("stats", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("parameters", [None, np.float16, np.float32])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_of_running_statistics(dtype, training, parameters, stats):
    rng = np.random.default_rng(1)
    x, mean = rng.normal(size=(5, 3, 4)).astype(dtype), rng.normal(size=3).astype(stats)
    var = (rng.random(3) + 0.5).astype(stats)
    w = None if parameters is None else rng.normal(size=3).astype(parameters)
    found = []
    for lib, functional in ((torch, TF), (minidl, MF)):
        args = [lib.tensor(a) if a is not None else None for a in (x, mean, var, w)]
        try:
            out = functional.batch_norm(*args, training=training)
        except RuntimeError:
            out = None
        found.append(None if out is None else [t.numpy() for t in (out, *args[1:3])])
    assert (found[0] is None) == (found[1] is None), found
    for theirs, ours in zip(*(f or () for f in found), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("training, momentum", [*itertools.product((True, False), (0.1, 0.0, 1.0, 0.75))])
@pytest.mark.parametrize("function", ["batch_norm", "instance_norm"])
@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 2, 3), (2, 3, 1, 2), (0, 3, 4), (1, 3, 6)])
def test_running_statistics(function, shape, training, momentum):
    if function == "instance_norm" and 0 in shape:
        pytest.skip("PyTorch takes no running statistics for no pictures")
    rng = np.random.default_rng(0)
    x, mean, var = 2 * rng.normal(size=shape) + 1, rng.normal(size=3), rng.random(3) + 0.5
    w, b = rng.normal(size=(2, 3))
    results = []
    for lib, functional in ((torch, TF), (minidl, MF)):
        leaf, m, v = lib.tensor(x, requires_grad=True), lib.tensor(mean), lib.tensor(var)
        for _ in range(2):
            out = getattr(functional, function)(leaf, m, v, lib.tensor(w), lib.tensor(b), training, momentum)
        (out * out).sum().backward()
        results.append([t.detach().numpy() for t in (out, m, v, leaf.grad)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_second_order_gradients():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(3, 4, 5)), *rng.normal(size=(2, 4))
    for name in ("batch", "group 2", "instance"):
        found = []
        for lib, functional in ((torch, TF), (minidl, MF)):
            leaves = [lib.tensor(a, requires_grad=True) for a in (x, w, b)]
            grad = torch.autograd.grad if lib is torch else minidl.autograd.grad
            out = KINDS[name][0](functional, *leaves)
            first = grad((out**3).sum(), leaves, create_graph=True)
            second = grad(sum((g * g).sum() for g in first), leaves)
            found.append([t.detach().numpy() for t in (*first, *second)])
        for theirs, ours in zip(*found, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape, size", [((2, 5, 4), 3), ((2, 5, 4), 4), ((2, 6, 3, 2), 1), ((1, 3, 2, 2), 7)])
def test_local_response_norm(shape, size):
    x = np.random.default_rng(0).normal(size=shape)
    agree(lambda f, x: f.local_response_norm(x, size, 0.5, 0.6, 1.5), (x,))
    agree(lambda f, x: f.local_response_norm(x, size), (x,))


def test_precision_is_as_good_where_the_mean_is_far_from_0():
    """In float32, around 1000 with a standard deviation of 1: no further from the truth than PyTorch, or a step of float32."""
    x = (1000 + np.random.default_rng(0).normal(size=(32, 8, 900))).astype(np.float32)
    exact = x.astype(np.float64)
    for name, dims in (("batch", (0, 2)), ("layer", (1, 2)), ("layer, last", (2,)), ("instance", (2,))):
        eps = 1e-3 if name == "layer, last" else 1e-5
        wanted = (exact - exact.mean(dims, keepdims=True)) / np.sqrt(exact.var(dims, keepdims=True) + eps)
        theirs, ours = (KINDS[name][0](f, lib.as_tensor(x), None, None).numpy() for lib, f in ((torch, TF), (minidl, MF)))
        assert np.abs(ours - wanted).max() <= np.abs(theirs - wanted).max() + 2 * 2.0**-14, name


# -- modules

MODULES = {
    "layer": (lambda nn: nn.LayerNorm(5), (2, 3, 5)),
    "layer, two": (lambda nn: nn.LayerNorm((3, 5), eps=1e-2), (2, 3, 5)),
    "layer, list": (lambda nn: nn.LayerNorm([5], bias=False), (5,)),
    "layer, plain": (lambda nn: nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "layer, plain but bias": (lambda nn: nn.LayerNorm(5, 1e-5, False, True), (4, 5)),
    "rms": (lambda nn: nn.RMSNorm(5), (2, 5)),
    "rms, two": (lambda nn: nn.RMSNorm((3, 5), eps=0.1), (2, 3, 5)),
    "rms, plain": (lambda nn: nn.RMSNorm([5], elementwise_affine=False), (2, 5)),
    "group": (lambda nn: nn.GroupNorm(2, 6), (2, 6, 3, 3)),
    "group, flat": (lambda nn: nn.GroupNorm(3, 6, 0.1), (2, 6)),
    "group, no bias": (lambda nn: nn.GroupNorm(6, 6, bias=False), (2, 6, 5)),
    "group, plain": (lambda nn: nn.GroupNorm(1, 6, affine=False), (2, 6, 5)),
    "instance 1d": (lambda nn: nn.InstanceNorm1d(3), (2, 3, 5)),
    "instance 1d, affine": (lambda nn: nn.InstanceNorm1d(3, affine=True), (3, 5)),
    "instance 1d, no bias": (lambda nn: nn.InstanceNorm1d(3, affine=True, bias=False), (2, 3, 5)),
    "instance 2d": (lambda nn: nn.InstanceNorm2d(3, 0.1), (2, 3, 5, 2)),
    "instance 2d, one": (lambda nn: nn.InstanceNorm2d(3, track_running_stats=True, affine=True), (3, 5, 2)),
    "instance 2d, tracking": (lambda nn: nn.InstanceNorm2d(3, momentum=0.7, track_running_stats=True), (4, 3, 5, 2)),
    "instance 2d, evaluating": (lambda nn: nn.InstanceNorm2d(3, track_running_stats=True).eval(), (4, 3, 5, 2)),
    "instance 2d, momentum None": (lambda nn: nn.InstanceNorm2d(3, momentum=None, track_running_stats=True), (4, 3, 5, 2)),
    "local response": (lambda nn: nn.LocalResponseNorm(3, 0.5, 0.6, 1.5), (2, 5, 4)),
    "local response, plain": (lambda nn: nn.LocalResponseNorm(2), (2, 5, 4, 3)),
    "batch, evaluating without statistics": (lambda nn: nn.BatchNorm2d(3, track_running_stats=False).eval(), (4, 3, 5, 2)),
    "batch, of none": (lambda nn: nn.BatchNorm2d(3), (0, 3, 5, 2)),
    "batch, of one": (lambda nn: nn.BatchNorm2d(3), (1, 3, 5, 2)),
    "batch, one evaluated": (lambda nn: nn.BatchNorm1d(3).eval(), (1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    make, shape = MODULES[name]
    rng = np.random.default_rng(3)
    theirs, ours = make(torch.nn), make(minidl.nn)
    assert repr(ours) == repr(theirs)
    theirs, ours = theirs.double(), ours.double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
    copy_weights(theirs, ours)
    for _ in range(2):
        x = 2 * rng.normal(size=shape) + 1
        a, b = torch.tensor(x, requires_grad=True), minidl.tensor(x, requires_grad=True)
        out_a, out_b = theirs(a), ours(b)
        assert tuple(out_a.shape) == out_b.shape
        np.testing.assert_allclose(out_b.detach().numpy(), out_a.detach().numpy(), rtol=1e-10, atol=1e-11)
        g = rng.normal(size=out_b.shape)
        gas = torch.autograd.grad(out_a, [a, *theirs.parameters()], torch.tensor(g))
        gbs = minidl.autograd.grad(out_b, [b, *ours.parameters()], minidl.tensor(g))
        for p, q in zip(gas, gbs, strict=True):
            np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-9, atol=1e-10)
    state_a, state_b = theirs.state_dict(), ours.state_dict()
    assert list(state_a) == list(state_b)
    for key in state_a:
        np.testing.assert_allclose(state_b[key].numpy(), state_a[key].numpy(), rtol=1e-11, err_msg=key)
        assert str(state_b[key].dtype).split(".")[1] == str(state_a[key].dtype).split(".")[1]


# -- what one refuses, the other refuses, with an error of the same kind

BAD = [
    lambda t, f, nn: f.batch_norm(t.zeros(1, 3), None, None, training=True),
    lambda t, f, nn: f.batch_norm(t.zeros(1, 3, 1, 1), None, None, training=True),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), None, training=True),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), None, t.zeros(3), training=True),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), None),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), None, None),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(4), t.ones(3)),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), t.ones(3), t.zeros(4)),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), t.ones(3), training=True, eps=0.0),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), t.ones(3), eps=-0.5),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), t.ones(3), training=True, momentum=None),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3, requires_grad=True), t.ones(3)),
    lambda t, f, nn: f.batch_norm(t.zeros(2, 3), t.zeros(3), t.ones(3, requires_grad=True), training=True),
    lambda t, f, nn: f.instance_norm(t.zeros(2, 3)),
    lambda t, f, nn: f.instance_norm(t.zeros(2, 3, 1)),
    lambda t, f, nn: f.instance_norm(t.zeros(2, 3, 4), use_input_stats=False),
    lambda t, f, nn: f.instance_norm(t.zeros(2, 3, 4), t.zeros(3)),
    lambda t, f, nn: f.instance_norm(t.zeros(2, 3, 4), weight=t.zeros(4)),
    lambda t, f, nn: f.group_norm(t.zeros(3), 1),
    lambda t, f, nn: f.group_norm(t.zeros(2, 4), 3),
    lambda t, f, nn: f.group_norm(t.zeros(2, 4), -2),
    lambda t, f, nn: f.group_norm(t.zeros(1, 4), 4),
    lambda t, f, nn: f.group_norm(t.zeros(1, 4, 1), 4),
    lambda t, f, nn: f.group_norm(t.zeros(2, 4), 2, t.zeros(3)),
    lambda t, f, nn: f.group_norm(t.zeros(2, 4), 2, t.zeros(4, 1)),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), 4),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), (4.0,)),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), ()),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), (2,)),
    lambda t, f, nn: f.layer_norm(t.zeros(4), (2, 4)),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), (4,), t.zeros(2)),
    lambda t, f, nn: f.layer_norm(t.zeros(2, 4), (4,), None, t.zeros(2)),
    lambda t, f, nn: f.rms_norm(t.zeros(2, 4), (2,)),
    lambda t, f, nn: f.rms_norm(t.zeros(2, 4), ()),
    lambda t, f, nn: f.rms_norm(t.zeros(2, 4), (4,), t.zeros(2)),
    lambda t, f, nn: f.local_response_norm(t.zeros(2, 4), 2),
    lambda t, f, nn: nn.GroupNorm(3, 4),
    lambda t, f, nn: nn.LayerNorm(2.5),
    lambda t, f, nn: nn.LayerNorm(5)(t.zeros(2, 4)),
    lambda t, f, nn: nn.GroupNorm(2, 4)(t.zeros(2, 6)),
    lambda t, f, nn: nn.InstanceNorm1d(3)(t.zeros(1, 2, 3, 4)),
    lambda t, f, nn: nn.InstanceNorm2d(3)(t.zeros(3, 4)),
    lambda t, f, nn: nn.InstanceNorm2d(3, affine=True)(t.zeros(2, 4, 3, 3)),
    lambda t, f, nn: nn.BatchNorm1d(3)(t.zeros(2, 3, 4, 4)),
    lambda t, f, nn: nn.BatchNorm2d(3)(t.zeros(2, 3, 4)),
    lambda t, f, nn: nn.BatchNorm1d(3)(t.zeros(2, 4)),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_refused_by_both(number):
    with pytest.raises(Exception) as theirs:
        BAD[number](torch, TF, torch.nn)
    with pytest.raises(Exception) as ours:
        BAD[number](minidl, MF, minidl.nn)
    assert issubclass(ours.type, theirs.type), (theirs.value, ours.value)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (0, 4, 2, 2), (0, 4)])
def test_empty(shape):
    for name, (function, parameters) in KINDS.items():
        if name == "instance" and shape[0] == 0:  # PyTorch takes no weight for no pictures
            continue
        if len(shape) > 2 or name in ("batch", "group 2"):
            ones = np.ones(parameters(shape))
            theirs, ours = (
                function(f, *map(lib.tensor, (np.zeros(shape), ones, ones))) for lib, f in ((torch, TF), (minidl, MF))
            )
            assert ours.shape == tuple(theirs.shape) and not ours.numel()
