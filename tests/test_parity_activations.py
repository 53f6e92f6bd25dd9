"""Activations against PyTorch's: values, gradients to order two, kinks, in place, refusals, modules."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl.testing import strategies as mst

torch = pytest.importorskip("torch")

# name -> options drawn for it
FUNCTIONS = {
    "relu": {},
    "relu6": {},
    "leaky_relu": {"negative_slope": [0.01, 0.3, -0.5, 0.0]},
    "rrelu": {"lower": [0.1], "upper": [0.1, 0.4]},
    "elu": {"alpha": [1.0, 0.5, -0.5]},
    "celu": {"alpha": [1.0, 2.0, -3.0]},
    "selu": {},
    "gelu": {"approximate": ["none", "tanh"]},
    "silu": {},
    "mish": {},
    "softplus": {"beta": [1.0, 0.5, 3.0], "threshold": [20.0, 1.0]},
    "softsign": {},
    "hardtanh": {"min_val": [-1.0, -2.0], "max_val": [1.0, 3.0]},
    "hardswish": {},
    "hardsigmoid": {},
    "hardshrink": {"lambd": [0.5, 1.0, 0.0]},
    "softshrink": {"lambd": [0.5, 1.0, 0.0]},
    "tanhshrink": {},
    "threshold": {"threshold": [0.0, 1.0], "value": [0.0, -2.5]},
    "logsigmoid": {},
    "sigmoid": {},
    "tanh": {},
}
ALONG = {"softmax": {}, "log_softmax": {}, "softmin": {}, "glu": {}}
KINKS = [-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0]
TOLERANCE = {"float64": (1e-11, 1e-13), "float32": (2e-5, 2e-6), "float16": (2e-3, 1e-3)}


def both(name):
    return getattr(torch.nn.functional, name), getattr(minidl.nn.functional, name)


def layouts_of(data, shape):
    return data.draw(mst.layouts(len(shape)))


def compare(name, x, g, options, dtype="float64", twice=True):
    rtol, atol = TOLERANCE[dtype]
    if name == "hardsigmoid":
        rtol = max(rtol, 1e-7)  # PyTorch has 1 / 6 in float32 there
    found = []
    for lib, f in zip((torch, minidl), both(name)):
        t = lib.from_numpy(x.copy() if lib is torch else x).requires_grad_()
        out = f(t, **options)
        first = lib.autograd.grad(out, t, lib.from_numpy(g), create_graph=twice)[0]
        found.append([out.detach().numpy(), first.detach().numpy()])
        if twice and first.requires_grad:
            second = lib.autograd.grad(first, t, lib.from_numpy(g[..., ::-1].copy()), allow_unused=True)[0]
            found[-1].append(np.zeros_like(x) if second is None else second.detach().numpy())
        elif twice:
            found[-1].append(np.zeros_like(x))
    for a, b in zip(*found):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol, atol, err_msg=f"{name} {options}")


def options_of(data, table):
    return {key: data.draw(st.sampled_from(values)) for key, values in table.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(mst.shapes(max_dims=3, min_side=1, max_side=4), st.booleans(), mst.seeds(), st.data())
def test_values_and_gradients(name, shape, kinks, seed, data):
    rng = np.random.default_rng(seed)
    x = rng.choice(KINKS, shape) if kinks else 4 * rng.normal(size=shape)
    g, options = np.asarray(rng.normal(size=(*shape, 1)))[..., 0], options_of(data, FUNCTIONS[name])
    x = layouts_of(data, shape).store(np.asarray(x))
    compare(name, x, g.copy(), options, twice=bool(shape) and not kinks and name != "hardsigmoid")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_narrow_dtypes(name, dtype):
    rng = np.random.default_rng(0)
    x = (4 * rng.normal(size=(50, 40))).astype(dtype)
    options = {key: values[0] for key, values in FUNCTIONS[name].items()}
    compare(name, x, rng.normal(size=x.shape).astype(dtype), options, dtype, twice=False)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu", "softplus", "hardswish"])
def test_large_ones(name):
    rng = np.random.default_rng(0)
    x, g = (3 * rng.normal(size=(2, 300, 400))).astype("float32")
    compare(name, x, g, {}, "float32", twice=False)


@pytest.mark.parametrize("name", ALONG)
@given(mst.shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), mst.seeds(), st.data(), st.sampled_from([1, 30]))
def test_along_a_dimension(name, shape, seed, data, scale):
    rng, dim = np.random.default_rng(seed), data.draw(st.integers(-len(shape), len(shape) - 1))
    if name == "glu":
        shape = tuple(2 * n if d == dim % len(shape) else n for d, n in enumerate(shape))
    x = layouts_of(data, shape).store(scale * rng.normal(size=shape))
    out = shape if name != "glu" else tuple(n // 2 if d == dim % len(shape) else n for d, n in enumerate(shape))
    g = rng.normal(size=out)
    found = []
    for lib, f in zip((torch, minidl), both(name)):
        t = lib.from_numpy(x.copy() if lib is torch else x).requires_grad_()
        y = f(t, dim=dim)
        (first,) = lib.autograd.grad(y, t, lib.from_numpy(g), create_graph=True)
        (second,) = lib.autograd.grad(first, t, lib.from_numpy(x.copy()))
        found.append([v.detach().numpy() for v in (y, first, second)])
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, 1e-9, 1e-11)


@given(mst.shapes(max_dims=4, max_side=3), st.data(), mst.seeds())
def test_prelu(shape, data, seed):
    rng = np.random.default_rng(seed)
    x, g = rng.choice([-2.0, -0.5, 0, 1.5], shape), rng.normal(size=shape)
    w = rng.normal(size=data.draw(st.sampled_from([(), (1,), (2,), (3,), (shape[1] if len(shape) > 1 else 1,)])))
    found = []
    for lib in (torch, minidl):
        t, v = (lib.tensor(a, requires_grad=True) for a in (x, w))
        try:
            out = lib.nn.functional.prelu(t, v)
        except RuntimeError:
            found.append(None)
            continue
        grads = lib.autograd.grad(out, (t, v), lib.tensor(g))
        found.append([a.detach().numpy() for a in (out, *grads)])
    if None in found:
        assert found == [None, None], (shape, w.shape)
    for a, b in zip(*(f or [] for f in found)):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, 1e-12)


@pytest.mark.parametrize(
    "name", [n for n in FUNCTIONS if "inplace" in inspect.signature(getattr(minidl.nn.functional, n)).parameters]
)
def test_in_place(name):
    x, options = np.linspace(-4, 7, 12), {k: v[0] for k, v in FUNCTIONS[name].items()}
    found = []
    for lib, f in zip((torch, minidl), both(name)):
        leaf = lib.tensor(x, requires_grad=True)
        y = leaf * 1
        assert f(y, **options, inplace=True) is y
        y.backward(lib.tensor(x))
        found.append((y.detach().numpy(), leaf.grad.numpy()))
        with pytest.raises(RuntimeError):
            f(leaf, **options, inplace=True)
        np.testing.assert_array_equal(leaf.detach().numpy(), x)
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, 1e-7 if name == "hardsigmoid" else 1e-12)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", [*FUNCTIONS, *ALONG])
def test_what_other_dtypes_give(name, dtype):
    options = {k: v[0] for k, v in FUNCTIONS.get(name, {}).items()} | ({"dim": 0} if name in ALONG else {})
    found = []
    for lib, f in zip((torch, minidl), both(name)):
        t = lib.tensor([0, 1, 0, 1], dtype=getattr(lib, dtype))
        try:
            out = f(t, **options)
            found.append((str(out.dtype).split(".")[1], out.tolist()))
        except (RuntimeError, TypeError, NotImplementedError):
            found.append(None)
    if found[0] is None or found[1] is None:
        assert found == [None, None]
    else:
        assert found[0][0] == found[1][0]
        np.testing.assert_allclose(found[1][1], found[0][1], 1e-6)


@pytest.mark.parametrize("name", [n for n in ("relu", "leaky_relu", "rrelu", "elu", "celu", "selu", "hardtanh", "threshold")])
def test_there_is_a_form_with_an_underscore(name):
    args = (0.5, 2.0) if name == "threshold" else ()
    for lib in (torch, minidl):
        x = lib.tensor([-1.0, 3.0])
        assert getattr(lib.nn.functional, f"{name}_")(x, *args) is x


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, F: F.celu(lib.ones(2), 0.0),
        lambda lib, F: F.softshrink(lib.ones(2), -1.0),
        lambda lib, F: F.rrelu(lib.ones(2), 0.3, 0.1),
        lambda lib, F: F.hardtanh(lib.ones(2), 1.0, -1.0),
        lambda lib, F: F.glu(lib.ones(3)),
        lambda lib, F: F.glu(lib.tensor(1.0)),
        lambda lib, F: F.glu(lib.ones(2), 1),
        lambda lib, F: F.gelu(lib.ones(2), approximate="exact"),
        lambda lib, F: F.prelu(lib.ones(2, 3), lib.ones(2)),
        lambda lib, F: F.prelu(lib.ones(2, 3), lib.ones(3, 1)),
        lambda lib, F: F.prelu(lib.tensor(1.0), lib.ones(2)),
        lambda lib, F: F.softmax(lib.ones(2), 1),
        lambda lib, F: F.gumbel_softmax(lib.tensor([1, 2])),
        lambda lib, F: lib.nn.Hardtanh(1.0, 1.0),
        lambda lib, F: lib.nn.Softmax2d()(lib.ones(2, 3)),
    ],
)
def test_both_refuse(call):
    for lib in (torch, minidl):
        with pytest.raises((RuntimeError, ValueError, TypeError, IndexError, AssertionError)):
            call(lib, lib.nn.functional)


MODULES = {
    "PReLU": lambda nn: nn.PReLU(3, init=0.4),
    "PReLU one": lambda nn: nn.PReLU(),
    "RReLU": lambda nn: nn.RReLU(0.2, 0.3).eval(),
    "RReLU inplace": lambda nn: nn.RReLU(inplace=True).eval(),
    "CELU": lambda nn: nn.CELU(2.0),
    "CELU inplace": lambda nn: nn.CELU(inplace=True),
    "Mish": lambda nn: nn.Mish(),
    "Mish inplace": lambda nn: nn.Mish(inplace=True),
    "Softsign": lambda nn: nn.Softsign(),
    "Hardswish": lambda nn: nn.Hardswish(inplace=True),
    "Hardsigmoid": lambda nn: nn.Hardsigmoid(inplace=True),
    "Hardshrink": lambda nn: nn.Hardshrink(0.7),
    "Softshrink": lambda nn: nn.Softshrink(),
    "Tanhshrink": lambda nn: nn.Tanhshrink(),
    "Threshold": lambda nn: nn.Threshold(0.1, 20),
    "Threshold inplace": lambda nn: nn.Threshold(0.1, 20.0, True),
    "GLU": lambda nn: nn.GLU(2),
    "Softmin": lambda nn: nn.Softmin(1),
    "Softmax2d": lambda nn: nn.Softmax2d(),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    rng = np.random.default_rng(0)
    x, found = rng.normal(size=(2, 3, 4, 4)), []
    theirs, ours = MODULES[name](torch.nn), MODULES[name](minidl.nn)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    for lib, module in ((torch, theirs.double()), (minidl, ours.double())):
        t = lib.tensor(x, requires_grad=True)
        out = module(t * 1)
        (out * out).sum().backward()
        found.append([out.detach().numpy(), t.grad.numpy(), *(p.grad.numpy() for p in module.parameters())])
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, 1e-7 if name in ("PReLU", "Hardsigmoid") else 1e-10, 1e-12)
