"""The compiled loops against the loops that define them, and against NumPy's functions; in float32, as they are."""

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_kernels import n_threads  # noqa: F401

import minidl
import minidl.nn.functional as F
from minidl import backend
from minidl.kernels import cpu, reference, symbols, threads
from minidl.sequences.attention import weighed
from minidl.shapes import Window

numba = pytest.importorskip("numba")
from numba import njit

from minidl.kernels import compiled
from minidl.kernels.compiled import compile, mathematics

of_elements = sys.modules["minidl.kernels.compiled.elementwise"]
by_products = sys.modules["minidl.kernels.compiled.conv"]

LAYOUTS = [(0, 1, 2, 3), (1, 2, 3, 0), (3, 0, 1, 2)]
seeds = st.integers(0, 2**32 - 1)


def numbers(seed, *shape, layout=None, scale=1.0):
    """Random float32, whose memory may lie in another order."""
    layout = layout or range(len(shape))
    rng = np.random.default_rng(seed)
    stored = (scale * rng.standard_normal([shape[d] for d in layout])).astype(np.float32)
    return stored.transpose([list(layout).index(d) for d in range(len(shape))])


def same(found, wanted, atol=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-5, atol=atol)


# -- functions of one number

EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1e-40, -1e-40, 1.2e-38, 88.72, 88.73, -87.4, -103.9, -104.1, 1e30, -1e30]
EXACT = {"exp": np.exp, "expm1": np.expm1, "tanh": np.tanh, "log": np.log, "log1p": np.log1p}


@pytest.mark.parametrize("name", EXACT)
def test_functions_are_right_to_the_last_bits(name):
    function = getattr(mathematics, name)

    @njit
    def each(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    rng = np.random.default_rng(0)
    x = np.concatenate([EDGES, np.linspace(-105, 90, 50001), rng.standard_normal(50000), 10.0 ** rng.uniform(-38, 38, 50000)])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    each(x, out)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64))
        wanted = exact.astype(np.float32)
        apart = np.abs(out - exact) / np.maximum(np.spacing(np.abs(wanted)), np.float32(1e-45))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(out[~finite], wanted[~finite])
    assert apart[finite].max() < 3, f"{name}({x[finite][apart[finite].argmax()]})"


def test_erf():
    import math

    x = np.concatenate([EDGES, np.linspace(-6, 6, 20001)]).astype(np.float32)
    same(compiled.erf(np.tile(x, 3)), np.tile([math.erf(v) for v in x], 3), 5e-7)


# -- elementwise functions, found out by calling them with symbols

FUNCTIONS = ["gelu", "silu", "mish", "softplus", "elu", "leaky_relu", "hardswish", "hardsigmoid", "logsigmoid", "hardtanh"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_are_one_loop(name, monkeypatch):
    x = minidl.from_numpy(np.append(numbers(1, 2**16, scale=6), np.float32(EDGES)[:2])).requires_grad_()
    double = minidl.tensor(x.detach().numpy().astype(np.float64), requires_grad=True)
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "blockwise", None)  # which would be used for what cannot be traced
        out = getattr(F, name)(x)
        out.sum().backward()
    wide = getattr(F, name)(double)
    wide.sum().backward()
    same(out.detach(), wide.detach(), 1e-6)
    same(x.grad, double.grad, 2e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("n", [of_elements.FEW - 1, of_elements.FEW, 1000])
def test_activations_of_few_numbers(name, n):
    """NumPy's passes for the fewest, and for more a loop that is remembered; with other options another one."""
    x, g = (numbers(i, n, scale=4) for i in (1, 2))
    options = {"elu": [(), (0.5,)], "softplus": [(), (2.0,), (1, 3.0)], "leaky_relu": [(), (0.2,)]}.get(name, [()])
    for chosen in options * 2:
        found = []
        for kind in (np.float32, np.float64):
            t = minidl.tensor(x.astype(kind), requires_grad=True)
            out = getattr(F, name)(t, *chosen)
            out.backward(minidl.tensor(g.astype(kind)))
            found.append((out.detach(), t.grad))
        for a, b in zip(*found):
            assert a.dtype == minidl.float32
            same(a, b, 2e-6)


def test_what_cannot_be_traced_is_numpys():
    x = numbers(0, 2**13)

    def decides(out, x):
        out[...] = x if x[0] > 0 else -x

    def unknown(out, x):
        out[...] = np.arctan2(x, 2)

    def by_method(out, x):
        out[...] = x - x.mean()

    def by_number(out, x):
        out[...] = x * len(x)

    for function in (decides, unknown, by_method, by_number):
        wanted, out = np.empty_like(x), np.empty_like(x)
        function(wanted, x)
        compiled.blockwise(function, out, x)
        np.testing.assert_array_equal(out, wanted)
    for untraceable in (np.add.reduce, float, int, len, list, lambda x: x.sum(), lambda x: x.T, lambda x: [1, 2][x]):
        with pytest.raises(symbols.Untraceable):
            symbols.trace(lambda out, x, f=untraceable: f(x), np.dtype(np.float32), 2)


def test_an_array_that_may_not_be_written_to_is_refused():
    x = numbers(0, 2**13)
    out = np.empty_like(x)
    out.flags.writeable = False

    def double(out, x):
        out[...] = x * 2

    with pytest.raises(ValueError, match="read-only"):
        compiled.blockwise(double, out, x)


def test_symbols_keep_their_own_functions_inside_a_rung():
    for rung in ("compiled", "fast", "loops"):
        with minidl.rung(rung):
            assert backend.types[symbols.Symbol].kernels is symbols


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adamax", "Adadelta"])
def test_optimisers_do_the_same_steps(kind):
    def steps(rung):
        p = minidl.from_numpy(numbers(0, 64, 100)).requires_grad_()
        optimizer = getattr(minidl.optim, kind)([p], lr=0.01, weight_decay=0.1)
        with minidl.rung(rung):
            for i in range(3):
                p.grad = minidl.from_numpy(numbers(i, 64, 100))
                optimizer.step()
        return p.detach().numpy()

    same(steps("compiled"), steps("fast"), 1e-6)


# -- lines


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2), seeds, st.sampled_from([1.0, 30.0, 1e4]))
def test_softmax_and_relatives(a, n, dim, seed, scale):
    x = np.moveaxis(numbers(seed, a, 3, n, scale=scale), 2, dim)
    g, places = np.moveaxis(numbers(seed + 1, a, 3, n), 2, dim), np.random.default_rng(seed).integers(0, n, (a, 3))
    places = np.expand_dims(places, dim)
    narrow = np.take_along_axis(g, places, dim)
    for name, args in {
        "softmax": (x, dim),
        "log_softmax": (x, dim),
        "softmax_grad": (g, reference.softmax(x, dim), dim),
        "log_softmax_grad": (g, reference.log_softmax(x, dim), dim),
        "log_softmax_at": (x, dim, places),
        "log_softmax_at_grad": (narrow, x, dim, places),
    }.items():
        same(getattr(compiled, name)(*args), getattr(reference, name)(*args), 1e-5 * scale)


def test_logarithms_of_confident_scores():
    """To take the largest and the sum away at once would leave nothing of the small difference."""
    x = np.float32([[500, 490], [3e4, 3e4 - 10]])
    wanted = np.float32([[-np.log1p(np.exp(-10.0)), -10]] * 2)
    same(compiled.log_softmax(x, 1), wanted, 1e-7)
    same(compiled.log_softmax_at(x, 1, np.zeros((2, 1), np.int64)), wanted[:, :1], 1e-7)


def test_softmax_of_what_is_not_finite():
    x = np.float32([[0, np.nan, 1], [np.inf, 0, 1], [-np.inf, 0, 1], [-np.inf] * 3])
    with np.errstate(invalid="ignore"):
        for name in ("softmax", "log_softmax"):
            np.testing.assert_allclose(getattr(compiled, name)(x, 1), getattr(cpu, name)(x, 1), rtol=1e-6)


# -- normalisation

NORMS = {  # the shape, the dimensions and the weight's shape
    "rows": ((7, 5, 33), (2,), (33,)),
    "long rows": ((3, 2500), (1,), (2500,)),
    "batch": ((5, 6, 4, 3), (0, 2, 3), (6, 1, 1)),
    "group": ((5, 2, 3, 4, 3), (2, 3, 4), (2, 3, 1, 1)),
    "instance": ((5, 6, 4, 3), (2, 3), (6, 1, 1)),
    "pictures": ((20, 6, 4, 3), (1, 2, 3), (6, 4, 3)),
    "columns": ((9, 40), (0,), (40,)),
    "one": ((1, 1, 1), (2,), (1,)),
}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("own", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("last", [False, True])
def test_norms(kind, own, last):
    shape, dims, w_shape = NORMS[kind]
    layout = [*range(1, len(shape)), 0] if last else None  # the images innermost, or as NumPy has it
    x, g = (numbers(i, *shape, layout=layout) + np.float32(i) for i in (100, 0))
    w, b = numbers(1, *w_shape), numbers(2, *w_shape)
    kept = [1 if d in dims else n for d, n in enumerate(shape)]
    center = None if own[0] else np.zeros((), np.float32) if own[1] else numbers(3, *kept)
    variance = None if own[1] else numbers(4, *kept) ** 2 + 1
    for weight, bias in ((w, b), (w, None), (None, None)):
        args = x, weight, bias, dims, 1e-5, center, variance
        wanted = [v.astype(np.float64) for v in reference.normalise(*(a.astype(float) if a is x else a for a in args))]
        found = compiled.normalise(*args)
        for f, v, atol in zip(found, wanted, (5e-5, 1e-5, 1e-5)):  # a center near 100 is rounded to 4e-6
            assert f.dtype == np.float32
            same(f, v, atol)
        args = g, x, weight, wanted[1], wanted[2], dims, 1e-5, own, w_shape
        args = [a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in args]
        double = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        for f, v in zip(compiled.normalise_grad(*args), reference.normalise_grad(*double)):
            same(f, v, 2e-4 * max(1.0, float(np.abs(v).max())))


@pytest.mark.parametrize("apart", range(3))
def test_layer_norm_of_what_is_not_in_one_piece(apart):
    args = [numbers(0, 6, 4, 30), numbers(1, 4, 30), numbers(2, 4, 30)]
    wanted = reference.normalise(*(a.astype(float) for a in args), (1, 2), 1e-5)
    args[apart] = np.repeat(args[apart], 2, -1)[..., ::2]
    for dims in ((1, 2), (2, 1)):
        for found, exact in zip(compiled.normalise(*args, dims, 1e-5), wanted):
            assert found.shape == exact.shape
            same(found, exact)


def test_a_weight_and_a_bias_of_different_shapes():
    """The compiled loops take them for alike, and would read beyond the smaller one."""
    x, w, b = numbers(0, 6, 4, 30), numbers(1, 4, 30), numbers(2, 4, 1)
    for args in ((w, b), (b, w)):
        same(compiled.normalise(x, *args, (1, 2), 1e-5)[0], cpu.normalise(x, *args, (1, 2), 1e-5)[0])


def test_moments_far_from_zero():
    """The mean is a million times the deviation: what is left of float32 is one part in ten or so, and no NaN."""
    x = (1e4 + numbers(0, 4, 3000, scale=0.1)).astype(np.float32)
    _, center, variance = compiled.normalise(x, None, None, (1,), 0.0)
    same(center[:, 0], x.astype(np.float64).mean(1))
    np.testing.assert_allclose(variance[:, 0], x.astype(np.float64).var(1), rtol=1e-3)


@pytest.mark.parametrize("first, then, scale", [(1e4, 0, 1), (0, 1e4, 0.01), (1e4, -1e4, 1e-3), (0.1, 0.1, 0)])
@pytest.mark.parametrize("n_first", [1, 2048, 3000])
def test_moments_of_columns_that_change(first, then, scale, n_first):
    """The first number, or all of the first run or more, lies elsewhere; or all are the same."""
    x = (then + numbers(0, 9000, 2, scale=scale)).astype(np.float32)
    x[:n_first] += np.float32(first - then)
    _, center, variance = compiled.normalise(x, None, None, (0,), 0.0)
    same(center[0], x.astype(np.float64).mean(0), 1e-3)
    np.testing.assert_allclose(variance[0], x.astype(np.float64).var(0), rtol=2e-5)


@pytest.mark.parametrize("shape", [(1, 50, 3), (2, 50, 3), (2, 7, 5)])
@pytest.mark.parametrize("width", [1, "R"])
def test_the_threads_share_columns_where_there_are_few(shape, width):
    """R is cut, and the moments of its pieces are put together: exactly, also where the mean is large."""
    x, g = (1e3 + numbers(0, *shape)).astype(np.float32), numbers(1, *shape)
    w, b = (numbers(i, shape[1] if width == "R" else 1, 1) for i in (2, 3))
    found = compiled.normalise(x, w, b, (1,), 1e-5)
    wanted = cpu.normalise(*(a.astype(np.float64) for a in (x, w, b)), (1,), 1e-5)
    for f, v, atol in zip(found, wanted, (5e-4, 1e-4, 1e-5)):  # a center near 1000 is rounded to 3e-5
        same(f, v, atol)
    args = g, x, w, *(v.astype(np.float32) for v in wanted[1:]), (1,), 1e-5, (True, True), w.shape
    back = [compiled.normalise_grad(*args) for _ in range(2)]
    exact = cpu.normalise_grad(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args))
    for f, again, v in zip(*back, exact):
        same(f, v, 1e-4)
        np.testing.assert_array_equal(f, again)


# -- windows


@st.composite
def windows(draw):
    """A window, and a picture's size on which it takes at least one position each way."""
    pairs = [[draw(st.integers(*limits)) for limits in ((1, 3), (1, 3), (0, 2), (0, 2), (1, 2), (0, 5))] for _ in range(2)]
    kernel, stride, before, after, dilation, extra = zip(*pairs)
    size = tuple(max(1, d * (k - 1) + 1 - b - a) + n for k, d, b, a, n in zip(kernel, dilation, before, after, extra))
    return Window(kernel, stride, before, after, dilation), size


@given(windows(), st.integers(2, 4), st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 3)]), st.integers(0, 3), seeds)
@settings(deadline=None, max_examples=30)
def test_convolutions_in_small_groups(geometry, groups, each, n, seed):
    (window, size), (channels, filters) = geometry, each
    x = numbers(seed, n, channels * groups, *size, layout=LAYOUTS[seed % 3])
    w, bias = numbers(seed + 1, filters * groups, channels, *window.kernel), numbers(seed + 2, filters * groups)
    g = numbers(seed + 3, n, filters * groups, *window.out_size(size), layout=LAYOUTS[seed % 2])
    for b in (None, bias):
        same(compiled.conv2d(x, w, b, window, groups), reference.conv2d(x, w, b, window, groups))
    same(compiled.conv2d_input_grad(g, w, window, groups, size), reference.conv2d_input_grad(g, w, window, groups, size))
    same(compiled.conv2d_weight_grad(x, g, window, groups), reference.conv2d_weight_grad(x, g, window, groups), 1e-4)


CONVOLUTIONS = {  # the window, the picture's size, images, groups, channels and filters of a group
    "plain": (Window((3, 3), before=(1, 1), after=(1, 1)), (4, 6), 5, 1, 12, 13),
    "one picture": (Window((3, 3), before=(1, 1), after=(1, 1)), (4, 15), 1, 1, 13, 12),
    "groups": (Window((2, 3), before=(0, 2), after=(1, 0)), (4, 6), 3, 2, 12, 13),
    "strides": (Window((4, 3), (2, 3), (1, 2), (0, 1), (1, 2)), (9, 16), 12, 1, 12, 12),
    "stride beyond the taps": (Window((1, 1), (2, 2)), (5, 6), 12, 1, 12, 12),
    "padding beyond the taps": (Window((2, 2), (1, 1), (4, 3), (3, 4)), (2, 3), 3, 2, 12, 12),
    "padding alone": (Window((1, 1), (4, 1), (2, 0), (2, 0)), (2, 3), 12, 1, 12, 12),
    "rows in pieces": (Window((1, 5), before=(0, 2), after=(0, 2)), (1, 90), 20, 1, 16, 80),
    "filters in pieces": (Window((2, 2)), (4, 5), 12, 1, 16, 80),
}


@pytest.mark.skipif(by_products._sgemm is None, reason="the loops call no BLAS")
@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_convolutions_by_products(kind, layout, monkeypatch):
    """Against NumPy's kernels in float64, which gather columns; and what the loops are given goes to no others."""
    window, size, n, groups, channels, filters = CONVOLUTIONS[kind]
    monkeypatch.setattr(by_products, "grouped", type("only", (), {"flat": staticmethod(by_products.grouped.flat)}))
    x, w = numbers(0, n, channels * groups, *size, layout=layout), numbers(1, filters * groups, channels, *window.kernel)
    bias, g = numbers(2, filters * groups), numbers(3, n, filters * groups, *window.out_size(size), layout=layout)
    for name, *args in (
        ("conv2d", x, w, None, window, groups),
        ("conv2d", x, w[::-1, :, ::-1], bias[::-1], window, groups),
        ("conv2d_input_grad", g, w, window, groups, size),
        ("conv2d_weight_grad", x, g, window, groups),
    ):
        wanted = getattr(cpu, name)(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args))
        found = getattr(compiled, name)(*args)
        assert found.dtype == np.float32
        same(found, wanted, 1e-4)
        np.testing.assert_array_equal(getattr(compiled, name)(*args), found)


@given(windows(), st.integers(1, 2), st.integers(1, 13), seeds)
@settings(deadline=None, max_examples=30)
def test_convolutions_by_products_of_any_window(geometry, groups, n, seed):
    window, size = geometry
    x, w = numbers(seed, n, 12 * groups, *size, layout=LAYOUTS[seed % 3]), numbers(seed + 1, 13 * groups, 12, *window.kernel)
    g = numbers(seed + 2, n, 13 * groups, *window.out_size(size), layout=LAYOUTS[seed % 2])
    x6, w6, g6 = (a.astype(np.float64) for a in (x, w, g))
    same(compiled.conv2d(x, w, None, window, groups), cpu.conv2d(x6, w6, None, window, groups), 1e-4)
    same(compiled.conv2d_input_grad(g, w, window, groups, size), cpu.conv2d_input_grad(g6, w6, window, groups, size), 1e-4)
    same(compiled.conv2d_weight_grad(x, g, window, groups), cpu.conv2d_weight_grad(x6, g6, window, groups), 2e-4)


def test_convolution_on_one_thread_leaves_blas_its_threads(monkeypatch):
    monkeypatch.setattr(threads, "_wanted", 1)
    monkeypatch.setattr(threads, "_pool", None)
    x, w, window = numbers(0, 12, 16, 4, 4), numbers(1, 16, 16, 3, 3), Window((3, 3))
    compiled.conv2d_weight_grad(x, compiled.conv2d(x, w, None, window, 1), window, 1)
    assert threads._pool is None


@given(windows(), st.integers(1, 3), seeds, st.booleans())
@example((Window((2, 2), (2, 2)), (4, 4)), 2, 0, False)
@settings(deadline=None, max_examples=30)
def test_pooling(geometry, n, seed, ties):
    window, size = geometry
    x = numbers(seed, n, 3, *size, layout=(1, 2, 3, 0))
    if ties:
        x = np.round(x)
        x[0, 0, 0, 0] = np.nan
    g = numbers(seed + 1, n, 3, *window.out_size(size), layout=(1, 2, 3, 0))
    same(compiled.sum_pool2d(x, window), reference.sum_pool2d(x, window))
    same(compiled.sum_pool2d_spread(g, window, size), reference.sum_pool2d_spread(g, window, size))
    out = cpu.max_pool2d(x, window)
    taps = cpu.max_pool2d_taps(x, out, window)
    np.testing.assert_array_equal(compiled.max_pool2d_taps(x, out, window), taps)
    same(compiled.max_pool2d_place(g, taps, window, size), cpu.max_pool2d_place(g, taps, window, size))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(7, 9), (3, 2), (10, 12)])
def test_resizing(layout, mode, size):
    x = minidl.from_numpy(numbers(0, 2, 3, 5, 6, layout=layout)).requires_grad_()
    found = {}
    for rung in ("compiled", "loops"):
        x.grad = None
        with minidl.rung(rung):
            out = F.interpolate(x, size=size, mode=mode)
            (out * out).sum().backward()
        found[rung] = out.detach().numpy(), x.grad.numpy()
    for a, b in zip(*found.values()):
        same(a, b)


@pytest.mark.parametrize("index", [(np.array([3, -1, 3, 0]),), (np.array([[1], [1]]), np.array([0, -1])), (slice(1, 3),)])
def test_rows_are_added_where_they_are_named(index):
    out = numbers(0, 4, 3, 5)
    values, wanted = numbers(1, *out[index].shape), out.copy()
    np.add.at(wanted, index, values)
    compiled.add_at(out, index, values)
    same(out, wanted, 1e-6)


# -- recurrent steps, and who runs


@pytest.mark.parametrize("shape", [(64, 200, 300), (200, 64, 300), (5, 7, 9), (1, 70, 90), (0, 3, 4)])
@pytest.mark.parametrize("orders", ["CC", "FC", "CF", "FF", "sC", "Cs"])
def test_products(shape, orders, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(sys.modules["minidl.kernels.compiled.matmul"], "SMALL", 1)  # the package has the function by that name
    (m, k, n), order = shape, {"C": np.ascontiguousarray, "F": np.asfortranarray, "s": lambda x: np.repeat(x, 2, 1)[:, ::2]}
    a, b = (order[o](numbers(i, *size)) for i, (o, size) in enumerate(zip(orders, [(m, k), (k, n)])))
    same(compiled.matmul(a, b), a.astype(np.float64) @ b, 1e-4)
    same(compiled.linear(a, b.T, None), a.astype(np.float64) @ b, 1e-4)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (1, 1, 7), (1, 0), (0, 0)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("worth", [threads.WORTH_A_THREAD, 1])
def test_one_row(shape, with_bias, worth, monkeypatch):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", worth)
    x, w, bias = numbers(0, *shape), numbers(1, 5, shape[-1]), numbers(2, 5) if with_bias else None
    w_apart, x_apart = np.repeat(w, 2, 1)[:, ::2], np.repeat(x, 2, -1)[..., ::2]
    wanted = reference.linear(x.astype(float), w.astype(float), bias)
    for args in ((x, w), (x_apart, w), (x, w_apart), (x, np.asfortranarray(w))):
        found = compiled.linear(*args, bias)
        assert found.dtype == np.float32
        same(found, wanted)
    same(compiled.linear(x, w, bias, True), np.maximum(wanted, 0))
    assert compiled.linear(x.astype(float), w.astype(float), bias).dtype == np.float64


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("n", [3, 130])
def test_recurrent_steps(kind, n):
    minidl.manual_seed(0)
    net, x = getattr(minidl.nn, kind)(4, 6, num_layers=2), minidl.randn(5, n, 4)
    found = {}
    for rung in ("compiled", "fast"):
        net.zero_grad()
        with minidl.rung(rung):
            out = net(x)[0]
            (out * out).sum().backward()
        found[rung] = [out.detach().numpy(), *(p.grad.numpy() for p in net.parameters())]
    for a, b in zip(*found.values()):
        same(a, b, 1e-4)


@pytest.mark.parametrize("n", [1, 65])
@pytest.mark.parametrize("lengths", ["equal", "unequal"])
@pytest.mark.parametrize("with_state", [False, True])
def test_all_steps_of_an_lstm(n, lengths, with_state):
    """Forward and backward in time, of a size that no vector is long, against float64, which goes step by step."""
    minidl.manual_seed(0)
    net, states = minidl.nn.LSTM(3, 17, bidirectional=True), [numbers(i, 2, n, 17) for i in (1, 2)]
    sizes, found = [4] * n if lengths == "equal" else [1 + i % 4 for i in range(n)], []
    for dtype in (np.float32, np.float64):
        net = net.to(minidl.float32 if dtype == np.float32 else minidl.float64)
        net.zero_grad()
        x, *hx = (minidl.from_numpy(a.astype(dtype)).requires_grad_() for a in (numbers(0, 4, n, 3), *states))
        packed = minidl.nn.utils.rnn.pack_padded_sequence(x, sizes, enforce_sorted=False)
        out, last = net(packed, tuple(hx) if with_state else None)
        (out.data.square().sum() + sum(s.sum() for s in last)).backward()
        wanted = [x, *net.parameters(), *(hx if with_state else [])]
        found.append([out.data.detach().numpy(), *(t.grad.numpy() for t in wanted)])
    for a, b in zip(*found):
        same(a, b, 5e-5 * max(1.0, float(np.abs(b).max())))


@pytest.mark.parametrize("factor", [1, 30, 1000])
def test_weights_of_attention(factor):
    scores = factor * numbers(0, 2, 3, 1, 41)
    step = compiled.in_one("attention_weights", scores.dtype)
    wanted = weighed(np, (scores * np.float32(0.3)).astype(np.float64), 1.0)
    for found, exact in zip(step(np, scores.copy(), 0.3), wanted):
        assert found.shape == exact.shape and found.dtype == np.float32
        same(found, exact)
    scores[1, 2] = np.nan
    assert all(np.isnan(a[1, 2]).all() and not np.isnan(a[0]).any() for a in step(np, scores, 0.3))


def test_parts_are_the_same_every_time():
    x, g = numbers(0, 50, 70), numbers(1, 50, 70)
    _, c, v = compiled.normalise(x, None, None, (1,), 1e-5)
    first, *again = (compiled.normalise_grad(g, x, None, c, v, (1,), 1e-5, (True, True), (70,)) for _ in range(5))
    for other in again:
        for a, b in zip(first, other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not compile.PARALLEL, reason="there is one thread")
def test_the_users_own_loops_keep_their_threads():
    before, x = numba.get_num_threads(), minidl.from_numpy(numbers(0, 2**13))
    for n in {1, before}:
        numba.set_num_threads(n)
        F.softmax(x, 0), F.silu(x)
        assert numba.get_num_threads() == n
    numba.set_num_threads(before)


def test_what_is_kept_for_one_blas_is_not_used_with_another(monkeypatch):
    """The name by which the loops call it, and how large its small products are, are compiled into them."""
    before, other = compile._edition(), threads.blas_of_numpy()
    assert before == compile.EDITION
    for library in other.lib_controllers:
        library.architecture = "another"
    monkeypatch.setattr(threads, "blas_of_numpy", lambda: other)
    assert compile._edition() != before


def test_which_kernels_run():
    assert backend.kernels(np.ones(3)) is compiled
    assert compile.PARALLEL in (True, False)
    assert compiled.unfold is cpu.unfold
