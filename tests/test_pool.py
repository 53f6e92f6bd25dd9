"""Pooling in all its forms, unfold and fold: against loops over windows, gradients to order two."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values, same
from test_kernels import LAYOUTS, numbers, seeds, windows
from test_ops_network import adaptive, adaptive_sizes, largest, mean_of_pixels, mean_with_padding, pooled, poolings

import minidl
import minidl.nn.functional as F
from minidl.kernels import cpu, reference, threads
from minidl.shapes import ShapeError, Window
from minidl.testing import strategies as mst
from minidl.testing.strategies import POSITIVE, UNIQUE

FLOAT = ("float",)

# -- one dimension, as a row of a picture


@st.composite
def rows(draw, dtypes, domain=UNIQUE, dilation=False):
    """A pooling of (N, C, L) or (C, L): the horizontal half of one in two dimensions."""
    (a,), options = draw(poolings(dtypes, domain, dilation))
    a = a[..., 0, :]
    options = {name: o if name == "ceil_mode" else o[1] for name, o in options.items()}
    if draw(st.booleans()):
        options = {name: o if name == "ceil_mode" else (o,) for name, o in options.items()}
    return (a,), options


def in_a_row(f):
    oracle = pooled(f)

    def flat(a, kernel_size, stride, padding, dilation=1, ceil_mode=False):
        k, s, p, d = (o[0] if isinstance(o, tuple) else o for o in (kernel_size, stride, padding, dilation))
        return oracle(a[..., None, :], (1, k), (1, s), (0, p), (1, d), ceil_mode)[..., 0, :]

    return flat


def extremes(a, output_size):
    """The largest pixel of each window of adaptive pooling."""
    out = np.empty((*a.shape[:-2], *output_size), object)
    for place in np.ndindex(*out.shape):
        spans = [slice(i * n // k, math.ceil((i + 1) * n / k)) for i, n, k in zip(place[-2:], a.shape[-2:], output_size)]
        out[place] = max(a[(*place[:-2], *spans)].ravel().tolist())
    return out


def flattened(oracle):
    return lambda a, output_size: oracle(a[..., None, :], (1, output_size))[..., 0, :]


@st.composite
def lengths(draw, dtypes):
    return (draw(mst.arrays(draw(mst.shapes(2, 3, 1, 9)), dtypes, UNIQUE)),), {"output_size": draw(st.integers(1, 7))}


def norms(p):
    return lambda pixels, covered: sum(value**p for value, _ in pixels) ** (1 / p)


@st.composite
def inside(draw, dtypes):
    """Windows without padding: a norm takes the whole picture."""
    (a,), options = draw(poolings(dtypes, POSITIVE))
    size = tuple(max(n, k) for n, k in zip(a.shape[-2:], options["kernel_size"]))
    a = np.resize(a, (*a.shape[:-2], *size)) if a.size else np.ones((1, *size), a.dtype)
    return (a,), {"kernel_size": options["kernel_size"], "stride": options["stride"]}


def norm_of(f):
    oracle = pooled(f)
    return lambda a, kernel_size, stride: oracle(a, kernel_size, stride, (0, 0))


# -- columns


@st.composite
def pictures(draw, dtypes):
    window, size = draw(windows())
    a = draw(mst.arrays((draw(st.integers(0, 2)), draw(st.integers(1, 2)), *size), dtypes))
    a = a[0] if len(a) and draw(st.booleans()) else a
    if window.before != window.after:  # an argument has one padding for both sides
        window = window._replace(before=(0, 0), after=(0, 0))
        reach = [max(n, d * (k - 1) + 1) for n, d, k in zip(size, window.dilation, window.kernel)]
        a = np.resize(a, (*a.shape[:-2], *reach)) if a.size else np.zeros((*a.shape[:-2], *reach), a.dtype)
    return (a,), {
        "kernel_size": window.kernel,
        "dilation": window.dilation,
        "padding": window.before,
        "stride": window.stride,
    }


def columns(a, kernel_size, dilation, padding, stride):
    """Position by position, channel by channel, tap by tap."""
    (h, w), taps = a.shape[-2:], list(itertools.product(range(kernel_size[0]), range(kernel_size[1])))
    tops = range(-padding[0], h + padding[0] - dilation[0] * (kernel_size[0] - 1), stride[0])
    lefts = range(-padding[1], w + padding[1] - dilation[1] * (kernel_size[1] - 1), stride[1])
    places = list(itertools.product(tops, lefts))
    out = np.zeros((*a.shape[:-3], a.shape[-3] * len(taps), len(places)))
    for lead in np.ndindex(*a.shape[:-3]):
        for c, (t, (k, m)), (p, (top, left)) in itertools.product(range(a.shape[-3]), enumerate(taps), enumerate(places)):
            row, column = top + k * dilation[0], left + m * dilation[1]
            if 0 <= row < h and 0 <= column < w:
                out[(*lead, c * len(taps) + t, p)] = a[(*lead, c, row, column)]
    return out


@st.composite
def stacks(draw, dtypes):
    (a,), options = draw(pictures(np.float64))
    shape = columns(a, **options).shape
    return (draw(mst.arrays(shape, dtypes)),), {"output_size": a.shape[-2:], **options}


def folded(a, output_size, **options):
    """The transpose of `columns`: one unit picture after the other."""
    taps = math.prod(options["kernel_size"])
    out = np.zeros((*a.shape[:-2], a.shape[-2] // taps, *output_size))
    for place in np.ndindex(*out.shape[len(out.shape) - 3 :]):
        unit = np.zeros(out.shape[-3:])
        unit[place] = 1
        seen = columns(unit, **options)
        out[(..., *place)] = (a * seen).sum((-2, -1))
    return out


ROWS = {
    "max_pool1d": Row(F.max_pool1d, in_a_row(largest), lambda d: rows(d, dilation=True), FLOAT),
    "avg_pool1d": Row(F.avg_pool1d, in_a_row(mean_with_padding), rows, FLOAT),
    "avg_pool1d pixels only": Row(
        lambda x, **o: F.avg_pool1d(x, count_include_pad=False, **o), in_a_row(mean_of_pixels), rows, FLOAT
    ),
    "adaptive_avg_pool1d": Row(F.adaptive_avg_pool1d, flattened(adaptive), lengths, FLOAT),
    "adaptive_max_pool1d": Row(F.adaptive_max_pool1d, flattened(extremes), lengths, FLOAT, raw=False),
    "adaptive_max_pool2d": Row(
        F.adaptive_max_pool2d,
        extremes,
        lambda d: adaptive_sizes(d).map(lambda case: ((np.random.default_rng(0).permutation(case[0][0].size).reshape(
            case[0][0].shape).astype(case[0][0].dtype),), case[1])),
        FLOAT,
        raw=False,
    ),
    "lp_pool2d": Row(lambda x, **o: F.lp_pool2d(x, 2, **o), norm_of(norms(2)), inside, FLOAT),
    "lp_pool2d 3": Row(lambda x, **o: F.lp_pool2d(x, 3.0, **o), norm_of(norms(3)), inside, FLOAT),
    "lp_pool2d inf": Row(
        lambda x, **o: F.lp_pool2d(x, math.inf, **o).detach(), norm_of(largest), inside, FLOAT, grad=False, raw=False
    ),
    "unfold": Row(F.unfold, columns, pictures, FLOAT),
    "fold": Row(F.fold, folded, stacks, FLOAT),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(st.sampled_from([minidl.float64, minidl.float32])))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.grad])
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


@pytest.fixture(params=[1, 3], scope="module")
def some_threads(request):
    """With one thread, and with three that take even the smallest work."""
    before, worth = threads.get_num_threads(), threads.WORTH_A_THREAD
    threads.set_num_threads(request.param)
    threads.WORTH_A_THREAD = 1 if request.param > 1 else worth
    yield
    threads.set_num_threads(before)
    threads.WORTH_A_THREAD = worth


@pytest.mark.usefixtures("some_threads")
@given(windows(), st.integers(0, 2), st.integers(1, 2), seeds, st.sampled_from(LAYOUTS))
def test_columns_are_the_loops(geometry, n, channels, seed, layout):
    window, size = geometry
    x = numbers(seed, n, channels, *size, layout=layout)
    seen = cpu.unfold(x, window)
    np.testing.assert_array_equal(seen, reference.unfold(x, window))
    g = numbers(seed + 1, *seen.shape, 1, layout=(0, 1, 2, 3) if layout[0] == 0 else (1, 2, 0, 3))[..., 0]
    np.testing.assert_allclose(cpu.fold(g, window, size), reference.fold(g, window, size), rtol=1e-12, atol=1e-12)


def test_unfold_makes_a_product_of_a_convolution():
    x, w = minidl.randn(2, 3, 6, 5), minidl.randn(4, 3, 3, 2)
    options = {"padding": (1, 0), "stride": (2, 1), "dilation": (1, 2)}
    out = w.reshape(4, -1) @ F.unfold(x, (3, 2), **options)
    wanted = F.conv2d(x, w, **options)
    np.testing.assert_allclose(out.reshape(*wanted.shape).numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_fold_counts_how_often_a_pixel_is_seen():
    x = minidl.ones(1, 1, 3, 3)
    assert F.fold(F.unfold(x, 2), 3, 2).tolist() == [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]]


# -- what pooling remembers


def test_unpooling_puts_back_what_pooling_found():
    a = np.random.default_rng(0).permutation(2 * 3 * 5 * 6).reshape(2, 3, 5, 6).astype(float)
    x = minidl.from_numpy(a)
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 3, "padding": 1}):
        out, places = F.max_pool2d(x, return_indices=True, **options)
        back = F.max_unpool2d(out, places, output_size=x.shape[2:], **options).numpy()
        kept = np.isin(a, out.numpy())
        np.testing.assert_array_equal(back, np.where(kept, a, 0))
    out, places = F.max_pool1d(x[0], 2, return_indices=True)
    np.testing.assert_array_equal(F.max_unpool1d(out, places, 2).numpy(), np.where(np.isin(a[0], out.numpy()), a[0], 0))


def test_unpooling_passes_each_gradient_back():
    x = minidl.randn(1, 2, 4, 4, dtype=minidl.float64)
    out, places = F.max_pool2d(x, 2, return_indices=True)
    out = out.detach().requires_grad_()
    assert minidl.testing.gradcheck(lambda out: F.max_unpool2d(out, places, 2), out)
    assert minidl.testing.gradgradcheck(lambda out: F.max_unpool2d(out, places, 2), out)


@given(adaptive_sizes(minidl.float64))
def test_adaptive_max_pooling_tells_which_pixels_it_picked(drawn):
    (a,), options = drawn
    a = np.random.default_rng(0).permutation(a.size).reshape(a.shape).astype(float)
    values, places = F.adaptive_max_pool2d(minidl.from_numpy(a), return_indices=True, **options)
    lead = a.reshape(*a.shape[:-2], -1)
    flat = places.numpy().reshape(*a.shape[:-2], -1)
    same(np.take_along_axis(lead, flat, -1).reshape(values.shape), values.numpy(), np.dtype(float))


def test_adaptive_max_pooling_takes_the_first_of_equals_and_the_last_nan():
    nan = math.nan
    x = minidl.tensor([[[7.0, 7.0, nan, 1.0, nan], [7.0, 7.0, 2.0, 2.0, 0.0]]], dtype=minidl.float64, requires_grad=True)
    values, places = F.adaptive_max_pool2d(x, (1, 2), return_indices=True)
    assert values.isnan().all() and places.tolist() == [[[2, 4]]]
    values, places = F.adaptive_max_pool2d(x, (1, 3), return_indices=True)
    assert places.tolist() == [[[0, 2, 4]]] and values[0, 0, 0] == 7
    values.sum().backward()
    assert x.grad.tolist() == [[[1, 0, 1, 0, 1], [0, 0, 0, 0, 0]]]


def test_adaptive_means_keep_infinity_in_its_windows():
    x = minidl.ones(1, 1, 7, 5)
    x[0, 0, 3, 2] = math.inf
    assert F.adaptive_avg_pool2d(x, (3, 2)).isinf().tolist() == [[[[False, False], [True, True], [False, False]]]]
    y = minidl.ones(1, 7)
    y[0, 0] = math.nan
    assert F.adaptive_avg_pool1d(y, 4).isnan().tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adaptive_means_in_any_memory_order(layout):
    a = numbers(1, 2, 3, 7, 10, layout=layout)
    for size in ((1, 1), (7, 10), (3, 5), (4, 7), (9, 13), (7, 1), (None, 3)):
        wanted = adaptive(a, tuple(n if k is None else k for n, k in zip(a.shape[2:], size))).astype(float)
        np.testing.assert_allclose(F.adaptive_avg_pool2d(minidl.from_numpy(a), size).numpy(), wanted, rtol=1e-12)


def test_pooling_an_empty_batch():
    x = minidl.zeros(0, 2, 4, 6, requires_grad=True)
    assert F.max_pool2d(x, 2).shape == F.avg_pool2d(x, 2).shape == F.adaptive_avg_pool2d(x, (2, 3)).shape == (0, 2, 2, 3)
    assert F.adaptive_max_pool2d(x, 3).shape == (0, 2, 3, 3)
    assert F.unfold(x, 2).shape == (0, 8, 15) and F.fold(F.unfold(x, 2), (4, 6), 2).shape == (0, 2, 4, 6)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.shape == x.shape
    assert F.adaptive_avg_pool2d(minidl.ones(1, 1, 3, 3), 0).shape == (1, 1, 0, 0)


PICTURE, ROW = (1, 2, 4, 4), (1, 2, 4)


@pytest.mark.parametrize(
    ("shape", "call", "error", "said"),
    [
        (PICTURE, lambda x: F.max_pool2d(x, 2, padding=2), ShapeError, "at most half"),
        (PICTURE, lambda x: F.max_pool2d(x, 5), ShapeError, "max_pool2d: the window"),
        (PICTURE, lambda x: F.avg_pool2d(x, 2, divisor_override=0), ShapeError, "divisor_override"),
        ((4, 4), lambda x: F.max_pool2d(x, 2), ShapeError, r"\(N, C, H, W\)"),
        ((2, 0, 4, 4), lambda x: F.avg_pool2d(x, 2), ShapeError, "none but N"),
        ((0, 4, 4), lambda x: F.max_pool2d(x, 2), ShapeError, "none but N"),
        (PICTURE, lambda x: F.max_pool1d(x, 2), ShapeError, "max_pool1d: wants input"),
        (ROW, lambda x: F.max_pool1d(x, (2, 2)), ShapeError, "kernel_size wants one integer"),
        (ROW, lambda x: F.avg_pool1d(x, 2.0), TypeError, "avg_pool1d: kernel_size"),
        (ROW, lambda x: F.avg_pool1d(x, 2, padding=(1, 1)), ShapeError, "padding wants one"),
        (PICTURE, lambda x: F.adaptive_avg_pool2d(x, -1), ShapeError, "negative"),
        (PICTURE, lambda x: F.adaptive_avg_pool2d(x, None), TypeError, "output_size"),
        (PICTURE, lambda x: F.adaptive_max_pool2d(x, (1, 2, 3)), ShapeError, "output_size wants"),
        ((1, 2, 0, 4), lambda x: F.adaptive_avg_pool2d(x, 2), ShapeError, "with pixels"),
        ((1, 0, 4, 4), lambda x: F.adaptive_max_pool2d(x, 2), ShapeError, "only the batch"),
        (ROW, lambda x: F.adaptive_max_pool1d(x, (2, 2)), ShapeError, "output_size wants one"),
        ((2, 4), lambda x: F.unfold(x, 2), ShapeError, "unfold: wants 4 dimensions"),
        (PICTURE, lambda x: F.unfold(x, 5), ShapeError, "unfold: the window"),
        (PICTURE, lambda x: F.unfold(x, 2, padding=-1), ShapeError, "padding"),
        (ROW, lambda x: F.fold(x, 4, 2), ShapeError, "fold: wants columns of a multiple of 4"),
        ((1, 4, 5), lambda x: F.fold(x, 4, 2), ShapeError, "for 3 x 3 positions"),
    ],
)
def test_what_pooling_refuses(shape, call, error, said):
    with pytest.raises(error, match=said):
        call(minidl.zeros(*shape))


def test_what_unpooling_refuses():
    x, places = minidl.ones(1, 1, 2, 2), minidl.tensor([[[[0, 2], [8, 10]]]])
    with pytest.raises(ValueError, match="output_size"):
        F.max_unpool2d(x, places, 2, output_size=(6, 4))
    with pytest.raises(ShapeError, match="indices have shape"):
        F.max_unpool2d(x, places[0], 2)
    with pytest.raises(ShapeError, match="indices must lie within 4 x 4"):
        F.max_unpool2d(x, places + 8, 2)
    assert F.max_unpool2d(x, places, 2, output_size=(1, 1, 5, 4)).shape == (1, 1, 5, 4)


def test_windows_of_one_pixel_are_the_picture():
    x = minidl.randn(2, 3, 4, 4)
    for out in (F.max_pool2d(x, 1), F.avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, 4), F.adaptive_max_pool2d(x, (None, 4))):
        np.testing.assert_array_equal(out.numpy(), x.numpy())
    F.adaptive_avg_pool2d(x, 4).zero_()
    assert x.abs().sum() > 0
    assert Window((1, 1)).tiles((4, 4))
