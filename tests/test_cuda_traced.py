"""Functions of single elements as one kernel on a GPU: activations, the steps of optimisers, what `compile` puts together."""

import math
import warnings
from functools import partial

import numpy as np
import pytest
from standin import nvrtc
from test_cuda import gpu  # noqa: F401
from test_cuda_kernels import DTYPES, REAL, close, cupy, hard, on_host

import minidl
import minidl.nn.functional as F
from minidl import backend, nn, optim
from minidl.compiler import explain
from minidl.kernels import cuda, symbols
from minidl.kernels.cuda import loader, traced

inf, nan = math.inf, math.nan
NUMBERS = [-2.5, -1.0, -0.0, 0.0, 1e-3, 0.75, 1.0, 3.25, 30.0, inf, -inf, nan]
UNARY = {  # what is exact in NumPy, or computed by another library
    "negative": lambda x: -x, "positive": lambda x: x, "square": lambda x: x * x, "reciprocal": lambda x: 1 / x,
    "absolute": abs,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "floor": np.floor, "logical_not": lambda x: x == 0,
    "erf": np.vectorize(math.erf, otypes=[float]),
}  # fmt: skip
BINARY = [*"add subtract multiply divide maximum minimum less less_equal greater greater_equal equal not_equal".split()]


@pytest.fixture
def launches(monkeypatch):
    """The names of the kernels that are launched by `traced`."""
    found, launch = [], loader.launch
    monkeypatch.setattr(
        traced, "launch", lambda file, name, *args, **options: found.append(name) or launch(file, name, *args, **options)
    )
    return found


def every_formula(out, x, y):
    """Each array of ``out`` one function of ``x`` and ``y``, whatever the kernel calls it."""
    for to, name in zip(out, [*UNARY, *BINARY]):
        if name == "erf":
            to[...] = symbols.erf(x)
        else:
            to[...] = getattr(np, name)(*((x,) if name in UNARY else (x, y)))
    both = np.logical_and(x < y, x > 0), (x < y) & (x > 0), np.logical_or(x < y, x > 0), (x < y) | (x > 0)
    for to, condition in zip(out[-4:], both):
        to[...] = np.where(condition, x, 0.25)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_formula_is_what_it_is_in_numpy(dtype):
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(NUMBERS, NUMBERS))
    n = len(UNARY) + len(BINARY) + 4
    out = [np.full(x.shape, nan, dtype) for _ in range(n)]
    found = hard(lambda *a: cuda.blockwise(lambda *a: every_formula(a[:-2], *a[-2:]), *a), *out, x, y)
    with np.errstate(all="ignore"):
        wide = x.astype(float), y.astype(float)
        wanted = [f(wide[0]) for f in UNARY.values()] + [getattr(np, name)(*wide) for name in BINARY]
        wanted += [np.where((wide[0] < wide[1]) & (wide[0] > 0), wide[0], 0.25)] * 2
        wanted += [np.where((wide[0] < wide[1]) | (wide[0] > 0), wide[0], 0.25)] * 2
    rounding = {"rtol": 1e-6 if dtype == np.float32 else 1e-14, "atol": 1e-37}
    for name, a, b in zip([*UNARY, *BINARY, *["where"] * 4], found, wanted):
        np.testing.assert_allclose(a, b.astype(float), err_msg=name, **rounding)
    assert {"where", "bitwise_and", "bitwise_or", "logical_and", "logical_or", *UNARY, *BINARY} == {*traced.FORMULAS}


def double(a, b):
    a += b
    b *= 2


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (257,), (3, 5, 7)])
@pytest.mark.parametrize("turned", [False, True])
def test_one_loop(shape, turned, launches):
    a, b = (np.asarray(x) for x in np.random.default_rng(0).normal(size=(2, *shape)))
    found = hard(lambda a, b: cuda.blockwise(double, *((a.T, b.T) if turned else (a, b))), a, b)
    np.testing.assert_array_equal(found[0], a + b)
    np.testing.assert_array_equal(found[1], 2 * b)
    assert {*launches} == {"one"}


def test_what_is_left_to_array_code(gpu, launches):  # noqa: F811
    """With a warning, where a function does what has no formula; without, for numbers that kernels do not take."""
    for a, b in [
        (np.arange(3, dtype=np.float16), np.ones(3, np.float16)),
        (np.arange(3), np.ones(3, int)),
        (np.arange(3.0), np.ones(3, np.float32)),
        (np.arange(6.0).reshape(2, 3), np.ones((1, 3)).repeat(2, 0)[:, ::-1]),
    ]:
        found = hard(lambda a, b: cuda.blockwise(double, a, b.astype(b.dtype)), a, b)
        np.testing.assert_array_equal(found[0], a + b)
    apart = cupy.ones((4, 6))[:, ::2]
    cuda.blockwise(double, apart, cupy.ones((4, 3)))
    assert (on_host(apart) == 2).all() and launches == ["one"] * 3  # the last but one of the list has none in memory
    minidl.zeros(1, device="cuda")  # whose arrays are known from then on
    for function, why in [
        (lambda a: a.__setitem__(..., backend.xp(a).arctan(a)), "arctan"),
        (lambda a: a.__setitem__(slice(1), 0), "a part of an array"),
    ]:
        x = cupy.ones(3)
        with pytest.warns(RuntimeWarning, match=f"on the GPU an operation at a time: .*{why}"):
            cuda.blockwise(function, x)
        assert on_host(x)[0] != 1


ACTIVATIONS = {
    **{name: getattr(F, name) for name in "silu mish softplus elu leaky_relu hardswish hardsigmoid logsigmoid".split()},
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, "tanh"), "selu": F.selu, "celu": F.celu, "sigmoid": minidl.sigmoid,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_one_launch_each_way(gpu, name, launches):  # noqa: F811
    x = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32) * 4
    results = []
    for device in ("cuda", "cpu"):
        wide = minidl.tensor(x, device=device, dtype=minidl.float32 if device == "cuda" else minidl.float64, requires_grad=True)
        out = ACTIVATIONS[name](wide)
        out.sum().backward()
        results.append([t.detach().cpu().numpy() for t in (out, wide.grad)])
        assert launches.count("one") in ((3,) if name != "sigmoid" else (2, 3))  # one is for what the sweep starts with
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


# -- steps of optimisers


def step_of(make, options, number, places, n_arrays):
    """The steps of parameters that lie at ``places`` of all these arrays, of which the first ``n_arrays`` are used."""

    def step(*arrays):
        steps = [(number, *(a[place] for a in arrays[:n_arrays])) for place in places]
        assert cuda.fused(partial(make.formulas, options), steps) == []

    return step


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_steps_of_optimisers(dtype):
    sizes = 0, 1, 256, 37, 0
    starts = np.cumsum([5, *(n + 5 for n in sizes)])  # with gaps between them, which nobody may touch
    places = [slice(start, start + n) for start, n in zip(starts, sizes)]
    rng, n = np.random.default_rng(0), starts[-1]
    mine = np.zeros(n, bool)
    for place in places:
        mine[place] = True
    param, grad, first, second, largest = (rng.normal(size=n).astype(dtype) for _ in range(5))
    second, largest = abs(second), abs(largest)
    for momentum, decay, nesterov, maximize in [(0, 0.1, False, False), (0.9, 0.1, False, True), (0.9, 0, True, False)]:
        group = {"lr": 0.1, "momentum": momentum, "weight_decay": decay, "nesterov": nesterov, "maximize": maximize}
        g = (-1 if maximize else 1) * grad + decay * param
        v = momentum * first + (1 - 0.2) * g
        step = (g + momentum * v if nesterov else v) if momentum else g
        wanted = np.where(mine, param - 0.1 * step, param), grad, np.where(mine, v, first) if momentum else first
        found = hard(step_of(optim.SGD, group, 0.2, places, 3 if momentum else 2), param, grad, first)
        close(tuple(found), wanted, dtype)
    for decay, decoupled, amsgrad, maximize in [(0, False, False, False), (0.1, True, True, False), (0.1, False, False, True)]:
        group = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": decay, "maximize": maximize}
        group["decoupled_weight_decay"] = decoupled
        g = (-1 if maximize else 1) * grad + (0 if decoupled else decay) * param
        m, s = 0.8 * first + 0.2 * g, 0.9 * second + 0.1 * g * g
        top = np.maximum(largest, s) if amsgrad else largest
        p = param * (1 - 0.1 * decay if decoupled else 1)
        p = p - 0.1 * (m / (1 - 0.8**3)) / (np.sqrt((top if amsgrad else s) / (1 - 0.9**3)) + 1e-3)
        found = hard(step_of(optim.Adam, group, 3.0, places, 5 if amsgrad else 4), param, grad, first, second, largest)
        wanted = (p, param), (grad, grad), (m, first), (s, second), (top, largest)
        close(tuple(found), tuple(np.where(mine, new, old) for new, old in wanted), dtype)


PLAIN = {"lr": 0.5, "momentum": 0, "weight_decay": 0, "nesterov": False, "maximize": False}
DESCEND = partial(optim.SGD.formulas, PLAIN)


def test_more_parameters_than_a_launch_takes(launches):
    """Those of size 0, which have no place in memory, take none."""
    assert traced.most(2, 1) == 169
    sizes = np.arange(256) % 3  # 170 of them with anything in them
    params, grads = ([cupy.full(n, i, np.float32) for i, n in enumerate(sizes)] for _ in range(2))
    assert cuda.fused(DESCEND, [(0.0, p, g) for p, g in zip(params, grads)]) == []
    for i, p in enumerate(params):
        np.testing.assert_array_equal(on_host(p), np.full(sizes[i], i / 2))
    assert launches == ["many"] * 2


def test_what_the_kernels_of_optimisers_cannot_do():
    """It is left to array code; and a parameter that is given twice takes two steps."""
    x, g = cupy.ones((2, 3)), cupy.ones((3, 2)).T
    half, apart = cupy.ones(2, np.float16), cupy.ones((2, 3)).T
    others = (0.0, half, half), (0.0, apart, g.T), (0.0, x, cupy.ones((2, 3), np.float32))
    assert cuda.fused(DESCEND, [(0.0, x, g), others[0], (0.0, x, g), *others[1:]]) == [*others]
    np.testing.assert_array_equal(on_host(x), np.zeros((2, 3)))
    np.testing.assert_array_equal(on_host(half), np.ones(2))


OPTIMISERS = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adagrad": {"lr_decay": 0.1},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adadelta": {},
    "Adamax": {},
    "NAdam": {"decoupled_weight_decay": True},
    "RAdam": {},
}


def test_every_optimiser_has_formulas():
    found = {name for name, kind in vars(optim).items() if isinstance(kind, type) and issubclass(kind, optim.Optimizer)}
    assert found - {"Optimizer"} == {*OPTIMISERS}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_step_is_one_launch(gpu, name, launches):  # noqa: F811
    """As on the CPU in float64; the formulas themselves are tested in test_optim.py, which runs with ``--device cuda`` too."""
    rng, results = np.random.default_rng(0), []
    starts, grads = [rng.normal(size=n) for n in (3, 7, 300)], [[rng.normal(size=n) for n in (3, 7, 300)] for _ in range(8)]
    for device, dtype in (("cuda", minidl.float32), ("cpu", minidl.float64)):
        params = [nn.Parameter(minidl.tensor(a, dtype=dtype, device=device)) for a in starts]
        optimizer = getattr(optim, name)(params, lr=0.05, weight_decay=0.1, **OPTIMISERS[name])
        for gs in grads:
            for p, g in zip(params, gs):
                p.grad = minidl.tensor(g, dtype=dtype, device=device)
            optimizer.step()
        results.append([p.detach().cpu().numpy() for p in params])
    assert launches == ["many"] * len(grads)
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_chains_of_compile(gpu, launches):  # noqa: F811
    """What comes between is not written; on a GPU short arrays are worth a chain too."""
    results = []
    for device in ("cuda", "cpu"):
        f = minidl.compile(lambda x: ((x * 2).exp() / (1 + x.abs())).tanh().sum().backward())
        for _ in range(4 if device == "cuda" else 1):
            x = minidl.tensor([0.5, -0.25, 1.0], device=device, dtype=minidl.float64, requires_grad=True)
            f(x)
        results.append(x.grad.cpu().numpy())
        if device == "cuda":
            assert "fused: mul + exp" in explain(f) and launches[-2:] == ["one", "one"]
    np.testing.assert_allclose(*results, rtol=1e-14)


# -- what NVIDIA's compiler says of it


@pytest.mark.skipif(nvrtc.root() is None, reason='NVRTC is not installed: pip install "minidl[cuda-check]"')
def test_what_is_written_compiles(gpu, monkeypatch):  # noqa: F811
    if REAL:
        pytest.skip("a GPU compiles all of it anyway")
    texts = set()
    monkeypatch.setattr(traced, "launch", lambda file, name, *args, text, **options: texts.add(text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is computed
        for f in ACTIVATIONS.values():
            f(minidl.ones(3, device="cuda", requires_grad=True)).sum().backward()
        for name, options in OPTIMISERS.items():
            p = nn.Parameter(minidl.ones(3, device="cuda"))
            p.grad = minidl.ones(3, device="cuda")
            getattr(optim, name)([p], weight_decay=0.1, **options).step()
        cuda.blockwise(lambda *a: every_formula(a[:-2], *a[-2:]), *cupy.ones((len(UNARY) + len(BINARY) + 6, 2), np.float32))
    assert len(texts) > 30
    for text in texts:
        log = nvrtc.compile(loader.source("traced", text), "traced.cu", "90", ("-DREAL=float",))
        assert "warning" not in log and log.count(" 0 bytes spill stores, 0 bytes spill loads") == 2, log
