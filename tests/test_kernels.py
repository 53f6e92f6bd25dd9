"""Every provider of kernels against the loops that define them, and against the identities that tie them together."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidl.kernels import cpu, reference, threads
from minidl.kernels.cpu import lines as softmax_kernels
from minidl.kernels.cpu.phases import phases
from minidl.shapes import Window
from minidl.testing import strategies as mst

LAYOUTS = [(0, 1, 2, 3), (1, 2, 3, 0), (0, 2, 3, 1), (3, 0, 1, 2)]


@st.composite
def windows(draw, dilation=True):
    """A window and a picture size on which it takes 1 to 3 positions each way: drawn from the output, so always valid."""

    def each(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, spread = each(1, 3), each(1, 3), each(1, 2) if dilation else (1, 1)
    out, slack = each(1, 3), each(0, 2)
    before, after, size = [], [], []
    for k, s, d, o, extra in zip(kernel, stride, spread, out, slack):
        padded = (o - 1) * s + d * (k - 1) + 1 + min(extra, s - 1)
        b = draw(st.integers(0, min(2, padded - 1)))
        a = draw(st.integers(0, min(2, padded - 1 - b)))
        before.append(b)
        after.append(a)
        size.append(padded - b - a)
    window = Window(kernel, stride, tuple(before), tuple(after), spread)
    assert window.out_size(size) == out
    return window, tuple(size)


def numbers(seed, *shape, layout=(0, 1, 2, 3), dtype=np.float64):
    """Random numbers of this shape whose memory lies in another order."""
    rng = np.random.default_rng(seed)
    stored = rng.normal(size=[shape[d] for d in layout]).astype(dtype)
    return stored.transpose([layout.index(d) for d in range(4)])


seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=[1, 3], autouse=True, scope="module")
def n_threads(request):
    """Everything here with one thread, and with three that take even the smallest work."""
    before, worth = threads.get_num_threads(), threads.WORTH_A_THREAD
    threads.set_num_threads(request.param)
    threads.WORTH_A_THREAD = 1 if request.param > 1 else worth
    yield request.param
    threads.set_num_threads(before)
    threads.WORTH_A_THREAD = worth


@given(windows(), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), seeds, st.sampled_from(LAYOUTS))
@example((Window((2, 3), (2, 3)), (4, 6)), 1, 2, 2, 2, 0, LAYOUTS[0])  # the windows tile the picture
def test_convolutions_are_the_loops(geometry, groups, channels, filters, n, seed, layout):
    window, size = geometry
    x = numbers(seed, n, channels * groups, *size, layout=layout)
    w = numbers(seed + 1, filters * groups, channels, *window.kernel, layout=layout)
    g = numbers(seed + 2, n, filters * groups, *window.out_size(size), layout=layout)
    bias = numbers(seed + 3, 1, 1, 1, w.shape[0]).ravel()
    for b in (None, bias):
        np.testing.assert_allclose(cpu.conv2d(x, w, b, window, groups), reference.conv2d(x, w, b, window, groups), atol=1e-12)
    np.testing.assert_allclose(
        cpu.conv2d_input_grad(g, w, window, groups, size), reference.conv2d_input_grad(g, w, window, groups, size), atol=1e-12
    )
    np.testing.assert_allclose(
        cpu.conv2d_weight_grad(x, g, window, groups), reference.conv2d_weight_grad(x, g, window, groups), atol=1e-12
    )


@given(st.data(), seeds, st.sampled_from(LAYOUTS))
def test_convolutions_in_many_groups_are_the_loops(data, seed, layout):
    """Tall enough for several bands of rows; in blocks of one group and one band, of some, and of all."""
    each = [data.draw(st.tuples(*[st.integers(1, 3)] * 3, *[st.integers(0, 2)] * 2, st.integers(0, 10))) for _ in range(2)]
    kernel, stride, dilation, before, after, extra = zip(*each)
    size = tuple(max(1, d * (k - 1) + 1 - b - a) + n for k, d, b, a, n in zip(kernel, dilation, before, after, extra))
    window, groups = Window(kernel, stride, before, after, dilation), data.draw(st.integers(2, 5))
    (channels, filters), n = data.draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 5), (2, 9)])), data.draw(st.integers(0, 2))
    x = numbers(seed, n, channels * groups, *size, layout=layout)
    w = numbers(seed + 1, filters * groups, channels, *kernel)
    g = numbers(seed + 2, n, filters * groups, *window.out_size(size), layout=layout)
    bias = data.draw(st.sampled_from([None, numbers(seed + 3, 1, 1, 1, len(w)).ravel()]))
    whole, cpu.grouped.BLOCK_BYTES = cpu.grouped.BLOCK_BYTES, data.draw(st.sampled_from([1, 1000, 1 << 21]))
    try:
        out = cpu.conv2d(x, w, bias, window, groups)
        gx, gw = cpu.conv2d_input_grad(g, w, window, groups, size), cpu.conv2d_weight_grad(x, g, window, groups)
        few = cpu.grouped.conv2d_weight_grad(x, g, window, groups)
    finally:
        cpu.grouped.BLOCK_BYTES = whole
    np.testing.assert_allclose(out, reference.conv2d(x, w, bias, window, groups), atol=1e-12)
    np.testing.assert_allclose(gx, reference.conv2d_input_grad(g, w, window, groups, size), atol=1e-12)
    wanted = reference.conv2d_weight_grad(x, g, window, groups)
    np.testing.assert_allclose(gw, wanted, atol=1e-12)
    np.testing.assert_allclose(few, wanted, atol=1e-12)


@given(windows())
def test_phases_part_the_taps_and_the_pixels(geometry):
    """Every tap that meets a pixel is in one phase, with the very positions and pixels that the window itself gives it."""
    window, size = geometry
    met = set()
    for phase in phases(window, size):
        taps, pixels = (
            list(itertools.product(*(range(n)[s] for n, s in zip(sides, place[2:]))))
            for sides, place in ((window.kernel, phase.taps), (size, phase.pixels))
        )
        inner = tuple(len(range(n)[s]) for n, s in zip(size, phase.pixels[2:]))
        assert phase.window.out_size(inner) == window.out_size(size)
        for k, l, rows, columns, rows_in, columns_in in phase.window.taps(inner):
            seen = [pixels[i * inner[1] + j] for i in range(inner[0])[rows_in] for j in range(inner[1])[columns_in]]
            positions = itertools.product(range(rows.start, rows.stop), range(columns.start, columns.stop))
            met |= {(taps[k * phase.window.kernel[1] + l], *pair) for pair in zip(positions, seen, strict=True)}
    wanted = set()
    for k, l, rows, columns, rows_in, columns_in in window.taps(size):
        seen = itertools.product(range(size[0])[rows_in], range(size[1])[columns_in])
        positions = itertools.product(range(rows.start, rows.stop), range(columns.start, columns.stop))
        wanted |= {((k, l), *pair) for pair in zip(positions, seen, strict=True)}
    assert met == wanted


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("groups", "filters"), [(4, 1), (2, 2)])
def test_bands_of_rows_do_not_spread_what_is_not_finite(monkeypatch, bad, groups, filters):
    x, w = numbers(1, 2, 4, 11, 3), numbers(2, filters * groups, 4 // groups, 3, 2)
    bias, window = np.arange(1.0, len(w) + 1), Window((3, 2), (1, 1), (1, 0), (1, 0))
    x[0, 1, 6, 1] = bad
    wanted = reference.conv2d(x, w, bias, window, groups)
    for block in (1, 1 << 21):
        monkeypatch.setattr(cpu.grouped, "BLOCK_BYTES", block)
        np.testing.assert_allclose(cpu.conv2d(x, w, bias, window, groups), wanted, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.int64])
def test_convolutions_in_groups_of_other_dtypes(dtype):
    x, w = (np.round(4 * numbers(seed, 2, 4, 7, 3)).astype(dtype) for seed in (1, 2))
    w, window = w.reshape(-1)[: 4 * 9].reshape(4, 1, 3, 3), Window((3, 3), (1, 1), (1, 1), (1, 1))
    out = cpu.conv2d(x, w, None, window, 4)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, reference.conv2d(x, w, None, window, 4))
    g = np.ones(out.shape, dtype)
    np.testing.assert_array_equal(cpu.conv2d_weight_grad(x, g, window, 4), reference.conv2d_weight_grad(x, g, window, 4))


@given(st.data(), windows(), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.sampled_from(LAYOUTS), st.booleans())
def test_a_block_of_convolution_relu_and_pooling_is_the_loops(data, geometry, groups, filters, n, layout, ties):
    window, size = geometry
    out_size, seed = window.out_size(size), data.draw(seeds)
    tile = tuple(data.draw(st.sampled_from([k for k in (1, 2, 3) if side % k == 0])) for side in out_size)
    pool = data.draw(st.sampled_from([None, Window(tile, tile)]))
    x = numbers(seed, n, 2 * groups, *size, layout=layout)
    w = numbers(seed + 1, filters * groups, 2, *window.kernel, layout=layout)
    bias = data.draw(st.sampled_from([None, numbers(seed + 2, 1, 1, 1, len(w)).ravel()]))
    if ties:
        x, w, bias = np.round(x), np.round(w), None
    strip = data.draw(st.sampled_from([1, 200, cpu.block.STRIP_BYTES]))
    before, cpu.block.STRIP_BYTES = cpu.block.STRIP_BYTES, strip
    try:
        out, taps = cpu.conv2d_relu_pool(x, w, bias, window, groups, pool, True)
        alone, none = cpu.conv2d_relu_pool(x, w, bias, window, groups, pool, False)
    finally:
        cpu.block.STRIP_BYTES = before
    wanted, wanted_taps = reference.conv2d_relu_pool(x, w, bias, window, groups, pool, True)
    np.testing.assert_allclose(out, wanted, atol=1e-12)
    np.testing.assert_array_equal(alone, out)
    assert none is None and (taps is None) == (pool is None)
    if taps is not None and not ties and min(window.before) == min(window.after) == 0:  # else rounding decides between equals
        np.testing.assert_array_equal(taps, wanted_taps)
    if taps is not None and ties:  # whole numbers are exact
        np.testing.assert_array_equal(taps, wanted_taps)


@pytest.mark.parametrize("provider", [cpu, reference])
def test_a_block_lets_nan_through_and_takes_the_first_of_equals(provider):
    one, pool = np.ones((1, 1, 1, 1)), Window((2, 2), (2, 2))
    x = np.array([[[[1.0, np.nan, 3.0, 3.0], [2.0, 3.0, -1.0, 3.0], [-1, -2, 0, 0], [-3, -4, 0, 0]]]])
    out, taps = provider.conv2d_relu_pool(x, one, None, Window((1, 1)), 1, pool, True)
    np.testing.assert_array_equal(out, [[[[np.nan, 3], [0, 0]]]])
    assert taps.tolist() == [[[[1, 0], [0, 0]]]]


@given(windows(), st.integers(0, 2), st.integers(0, 2), seeds, st.sampled_from(LAYOUTS), st.booleans())
def test_pooling_is_the_loops(geometry, n, channels, seed, layout, ties):
    window, size = geometry
    x = numbers(seed, n, channels, *size, layout=layout)
    if ties:
        x = np.round(x)
    g = numbers(seed + 1, n, channels, *window.out_size(size), layout=layout)
    out, wanted = cpu.max_pool2d(x, window), reference.max_pool2d(x, window)
    taps, wanted_taps = cpu.max_pool2d_taps(x, out, window), reference.max_pool2d_taps(x, wanted, window)
    np.testing.assert_array_equal(out, wanted)
    seen = wanted_taps >= 0  # a window wholly in the padding has no largest pixel
    np.testing.assert_array_equal(taps[seen], wanted_taps[seen])
    for name, args in {
        "max_pool2d_place": (g, wanted_taps, window, size),
        "max_pool2d_pick": (x, wanted_taps, window),
        "sum_pool2d": (x, window),
        "sum_pool2d_spread": (g, window, size),
    }.items():
        np.testing.assert_allclose(getattr(cpu, name)(*args), getattr(reference, name)(*args), atol=1e-12, err_msg=name)


@pytest.mark.parametrize("provider", [cpu, reference])
def test_max_pool_lets_nan_through_and_points_at_it(provider):
    x = np.array([[[[1.0, np.nan], [2.0, 3.0]]]])
    out = provider.max_pool2d(x, Window((2, 2)))
    taps = provider.max_pool2d_taps(x, out, Window((2, 2)))
    assert np.isnan(out).all() and taps.tolist() == [[[[1]]]]


@pytest.mark.parametrize("provider", [cpu, reference])
def test_max_pool_of_minus_infinity_points_at_a_pixel(provider):
    window = Window((2, 2), (2, 2), (1, 1), (1, 1))
    x = np.full((1, 1, 2, 2), -np.inf)
    taps = provider.max_pool2d_taps(x, provider.max_pool2d(x, window), window)
    placed = provider.max_pool2d_place(np.ones((1, 1, 2, 2)), taps, window, (2, 2))
    np.testing.assert_array_equal(placed, np.ones((1, 1, 2, 2)))


SIZES = {
    "first layer": ((8, 3, 32, 32), 32, Window((3, 3), (1, 1), (1, 1), (1, 1)), 1),
    "second layer": ((8, 32, 16, 16), 64, Window((3, 3), (1, 1), (1, 1), (1, 1)), 1),
    "strided": ((4, 16, 15, 17), 32, Window((5, 3), (2, 3), (2, 1), (2, 1)), 1),
    "grouped and dilated": ((4, 16, 14, 14), 32, Window((3, 3), (1, 1), (2, 2), (2, 2), (2, 2)), 4),
    "depthwise, strided": ((4, 16, 15, 14), 32, Window((3, 3), (2, 2), (1, 1), (1, 1)), 16),
    "depthwise": ((4, 16, 14, 14), 16, Window((3, 3), (1, 1), (1, 1), (1, 1)), 16),
    "one image": ((1, 32, 16, 16), 64, Window((3, 3), (1, 1), (1, 1), (1, 1)), 1),
}


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (1, 2, 3, 0)])
def test_convolutions_are_the_derivatives_of_one_form(case, layout):
    """<conv(x, w), g> = <x, input_grad(g, w)> = <w, weight_grad(x, g)>, in float32 at real sizes."""
    shape, filters, window, groups = SIZES[case]
    x = numbers(1, *shape, layout=layout, dtype=np.float32)
    w = numbers(2, filters, shape[1] // groups, *window.kernel, dtype=np.float32)
    g = numbers(3, shape[0], filters, *window.out_size(shape[2:]), layout=layout, dtype=np.float32)
    forms = [
        np.vdot(cpu.conv2d(x, w, None, window, groups).astype(float), g),
        np.vdot(x, cpu.conv2d_input_grad(g, w, window, groups, shape[2:]).astype(float)),
        np.vdot(w, cpu.conv2d_weight_grad(x, g, window, groups).astype(float)),
    ]
    size = np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(g) / np.sqrt(g.size)
    for a, b in itertools.combinations(forms, 2):
        assert abs(a - b) < 1e-6 * size


def test_strips_cut_a_picture_of_any_size_into_all_its_positions(monkeypatch):
    for limit, out_size in itertools.product((1, 50, 1000), ((3, 5), (1, 1), (7, 4))):
        monkeypatch.setattr(cpu.columns, "STRIP_BYTES", limit)
        seen = np.zeros(out_size, int)
        for rows, columns in cpu.columns.strips(slice(0, out_size[0]), slice(0, out_size[1]), 10):
            seen[rows, columns] += 1
            assert seen[rows, columns].size * 10 <= max(limit, 10)
        assert (seen == 1).all()


@pytest.mark.parametrize("stride", [(2, 1), (1, 1), (1, 2)])
def test_convolution_in_small_strips_is_the_same(monkeypatch, stride):
    window = Window((3, 2), stride, (1, 1), (1, 0))
    x, w = numbers(1, 3, 2, 9, 8), numbers(2, 4, 2, 3, 2)
    g = numbers(3, 3, 4, *window.out_size((9, 8)))
    whole = (
        cpu.conv2d(x, w, None, window, 1),
        cpu.conv2d_input_grad(g, w, window, 1, (9, 8)),
        cpu.conv2d_weight_grad(x, g, window, 1),
    )
    monkeypatch.setattr(cpu.columns, "STRIP_BYTES", 400)
    strips = (
        cpu.conv2d(x, w, None, window, 1),
        cpu.conv2d_input_grad(g, w, window, 1, (9, 8)),
        cpu.conv2d_weight_grad(x, g, window, 1),
    )
    for a, b in zip(whole, strips):
        np.testing.assert_allclose(a, b, atol=1e-12)


@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), seeds)
def test_matmul_is_the_loops(m, k, n, batch, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(batch, m, k)), rng.normal(size=(k, n))
    np.testing.assert_allclose(cpu.matmul(a, b), reference.matmul(a, b), atol=1e-12)


@given(st.data())
def test_linear_and_sum_are_the_loops_in_any_memory_order(data):
    rng = np.random.default_rng(0)
    lead = data.draw(st.sampled_from([(), (1,), (0,), (5,), (2, 3)]))
    k, n = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    x, w, bias = rng.normal(size=(*lead, k)), rng.normal(size=(n, k)), data.draw(st.sampled_from([None, rng.normal(size=n)]))
    for form in (x, np.asfortranarray(x)):
        for with_relu in (False, True):
            found, wanted = cpu.linear(form, w, bias, with_relu), reference.linear(x, w, bias, with_relu)
            np.testing.assert_allclose(found, wanted, atol=1e-12)
            assert not with_relu or (found >= 0).all()
    y = rng.normal(size=(3, 4, 2)).transpose(data.draw(st.permutations(range(3))))
    dims = data.draw(st.sampled_from([(), (0,), (1, 2), (0, 1, 2), (0, 2)]))
    for keepdims in (False, True):
        np.testing.assert_allclose(cpu.sum(y, dims, keepdims), reference.sum(y, dims, keepdims), atol=1e-12)


def test_linear_keeps_the_batch_innermost():
    rng = np.random.default_rng(0)
    out = cpu.linear(np.asfortranarray(rng.normal(size=(6, 5))), rng.normal(size=(4, 5)), rng.normal(size=4))
    assert out.flags.f_contiguous and out.shape == (6, 4)


@given(st.integers(0, 3), st.integers(1, 3), seeds, st.sampled_from(LAYOUTS))
def test_relu_and_its_gradient_are_the_loops(n, channels, seed, layout):
    x, g = numbers(seed, n, channels, 2, 3, layout=layout), numbers(seed + 1, n, channels, 2, 3, layout=layout)
    out = cpu.relu(x)
    np.testing.assert_array_equal(out, reference.relu(x))
    np.testing.assert_array_equal(cpu.relu_grad(g, out), reference.relu_grad(g, out))


@given(st.lists(st.integers(-4, 3), max_size=8), seeds)
def test_add_at_adds_every_time(index, seed):
    rng = np.random.default_rng(seed)
    values, start = rng.normal(size=(len(index), 2)), rng.normal(size=(4, 2))
    a, b = start.copy(), start.copy()
    cpu.add_at(a, np.array(index, int), values)
    reference.add_at(b, np.array(index, int), values)
    np.testing.assert_allclose(a, b, atol=1e-12)


@given(st.sampled_from([(0,), (7,), (3, 5), (2, 3, 4)]), st.booleans(), seeds)
def test_blockwise_is_the_loops(shape, transposed, seed):
    def double_and_add(x, y):
        x += 2 * y

    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, *shape))
    x, y = (x.T, y.T) if transposed else (x, y)
    outs = []
    for provider, block in ((cpu, 2), (cpu, 100), (reference, None)):
        if block is not None:
            cpu.elementwise.BLOCK, before = block, cpu.elementwise.BLOCK
        outs.append(x.copy(order="K"))
        provider.blockwise(double_and_add, outs[-1], y)
        if block is not None:
            cpu.elementwise.BLOCK = before
    for out in outs:
        np.testing.assert_array_equal(out, x + 2 * y)


@given(mst.shapes(max_dims=3, min_dims=1, max_side=4), st.data(), st.sampled_from([1e-1, 1, 100]), seeds)
def test_softmax_is_the_loops(shape, data, scale, seed):
    dim, layout = data.draw(st.integers(0, len(shape) - 1)), data.draw(mst.layouts(len(shape)))
    rng, block = np.random.default_rng(seed), data.draw(st.sampled_from([1, 5, 100]))
    x, g = (layout.store(scale * rng.normal(size=shape) + data.draw(st.sampled_from([0, 50, -50]))) for _ in range(2))
    lines = [1 if d == dim else n for d, n in enumerate(shape)]
    calls = {"softmax": (x, dim), "log_softmax": (x, dim)}
    calls |= {name: (g / 100, reference.softmax(x, dim), dim) for name in ("softmax_grad", "log_softmax_grad")}
    if shape[dim]:
        places, each = rng.integers(0, shape[dim], lines), rng.normal(size=lines)
        calls |= {"log_softmax_at": (x, dim, places), "log_softmax_at_grad": (each, x, dim, places)}
    before, softmax_kernels.BLOCK = softmax_kernels.BLOCK, block
    try:
        got = {name: getattr(cpu, name)(*args) for name, args in calls.items()}
    finally:
        softmax_kernels.BLOCK = before
    for name, args in calls.items():
        np.testing.assert_allclose(got[name], getattr(reference, name)(*args), rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shift", [-300, -9, 0, 9, 60, 300])
def test_softmax_of_large_numbers(dtype, shift):
    x = np.array([[0, 1, -2], [1, 1, 1], [-500, 0, 3], [-np.inf, 0, 0]], dtype) + dtype(shift)
    wanted = reference.log_softmax(x.astype(float), 1)
    rtol = {np.float16: 4e-3, np.float32: 1e-6, np.float64: 1e-13}[dtype]
    np.testing.assert_allclose(cpu.log_softmax(x, 1), wanted, rtol, max(abs(shift), 8) * np.finfo(dtype).eps)
    np.testing.assert_allclose(cpu.softmax(x, 1), np.exp(wanted), rtol, np.finfo(dtype).smallest_subnormal)
    assert cpu.softmax(x, 1).dtype == cpu.log_softmax(x, 1).dtype == dtype


def test_erf_to_the_last_digits():
    x = np.concatenate([np.linspace(-7, 7, 999), [0.0, -0.0, np.inf, -np.inf, 1e-300]])
    np.testing.assert_allclose(cpu.erf(x), reference.erf(x), rtol=4e-16, atol=0)
    assert np.isnan(cpu.erf(np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_erf_in_narrow_dtypes(dtype):
    x = np.concatenate([np.linspace(-7, 7, 99999), [0.0, np.inf, -np.inf]]).astype(dtype)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(cpu.erf(x), reference.erf(x.astype(float)), rtol=6 * eps, atol=0)
    assert cpu.erf(x).dtype == dtype and np.isnan(cpu.erf(np.array([np.nan], dtype))).all()


@given(st.sampled_from([(3,), (2, 3), (4, 2, 3)]), st.integers(0, 3), st.booleans(), seeds)
def test_add_at_with_several_index_arrays(shape, n, negative, seed):
    rng = np.random.default_rng(seed)
    parts = rng.integers(1, len(shape) + 1)
    index = tuple(rng.integers(-size if negative else 0, size, (n, 2)) for size in shape[:parts])
    values = rng.normal(size=(n, 2, *shape[parts:]))
    for some in (values, values[:1], np.float64(2.0)):
        a, b = np.zeros(shape), np.zeros(shape)
        cpu.add_at(a, index, some)
        reference.add_at(b, index, some)
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_what_is_left_out_of_a_gradient_is_0_even_where_it_was_infinite():
    for n in (4, 200_000):  # in one piece, and by threads
        g = np.full(n, np.inf, np.float32)
        out = np.resize(np.array([0, 1, np.nan, 2], np.float32), n)
        np.testing.assert_array_equal(cpu.relu_grad(g, out), reference.relu_grad(g, out))
        assert cpu.relu_grad(g, out)[:4].tolist() == [0, np.inf, np.inf, np.inf]
    g, taps, window = np.full((1, 1, 1, 1), np.inf), np.full((1, 1, 1, 1), 2), Window((2, 2), (2, 2))
    assert cpu.max_pool2d_place(g, taps, window, (2, 2)).ravel().tolist() == [0, 0, np.inf, 0]


def test_the_pool_may_be_closed_while_another_thread_hands_it_work(monkeypatch):
    make = threads._get_pool

    def make_slowly():
        pool = make()
        closer.start()
        closer.join(0.2)  # with the work handed over under the lock, it has to wait until that is done
        return pool

    before, closer = threads.get_num_threads(), threading.Thread(target=threads.set_num_threads, args=(3,))
    threads.set_num_threads(2)
    monkeypatch.setattr(threads, "_get_pool", make_slowly)
    done = []
    runner = threading.Thread(target=threads.run, args=(done.append, [0, 1]), daemon=True)
    try:
        runner.start()
        runner.join(60)  # a machine may be busy
        assert sorted(done) == [0, 1]
    finally:
        closer.join()
        threads.set_num_threads(before)


def test_the_taps_that_meet_are_those_that_put_a_row_inside():
    assert cpu.conv._taps_that_meet(4, 6, 4, 3, 1) == [(1, slice(3, 4), slice(0, 1)), (2, slice(2, 4), slice(0, 2))]
    for low, size, height, taps, dilation in itertools.product((-2, 0, 3, 9), (1, 2, 5), (1, 2, 6), (1, 2, 4), (1, 3)):
        meeting = cpu.conv._taps_that_meet(low, low + size, height, taps, dilation)
        rows = [(k, i, i + k * dilation - low) for k, reached, _ in meeting for i in range(reached.start, reached.stop)]
        assert rows == [
            (k, low + j - k * dilation, j) for k in range(taps) for j in range(size) if 0 <= low + j - k * dilation < height
        ]
        assert [(s.start, s.stop) for _, _, s in meeting] == [
            (min(j for q, _, j in rows if q == k), max(j for q, _, j in rows if q == k) + 1) for k, _, _ in meeting
        ]
        assert [k for k, _, _ in meeting] == list(range(meeting[0][0], meeting[-1][0] + 1)) if meeting else True
