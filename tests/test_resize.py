"""Edges put around pictures, and pictures made larger and smaller: against loops over pixels, gradients to order two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values
from test_kernels import LAYOUTS, numbers, seeds
from test_ops_network import adaptive
from test_pool import some_threads  # noqa: F401

import minidl
import minidl.nn.functional as F
from minidl.kernels import cpu, reference
from minidl.ops import resize
from minidl.shapes import ShapeError
from minidl.testing import gradcheck, gradgradcheck
from minidl.testing import strategies as mst

FLOAT = ("float",)

# -- pad

BEYOND = {
    "reflect": lambda i, n: abs(i) if i < n else 2 * (n - 1) - i,
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


def padded(a, edges, mode):
    """Element by element; ``edges`` is a pair for each of the last dimensions, in their order."""
    lead = a.ndim - len(edges)
    out = np.empty([*a.shape[:lead], *(n + sum(e) for n, e in zip(a.shape[lead:], edges))])
    for place in np.ndindex(*out.shape):
        source = list(place[:lead])
        for i, n, (before, after) in zip(place[lead:], a.shape[lead:], edges):
            crop, end = (max(-before, 0), min(after, 0)) if mode == "circular" else (0, 0)
            source.append(crop + BEYOND[mode](i - before - crop, n - crop + end))
        out[place] = a[tuple(source)]
    return out


@st.composite
def edges_to_pad(draw):
    mode, n_dims = draw(st.sampled_from(sorted(BEYOND))), draw(st.integers(1, 2))
    sizes = [draw(st.integers(1, 4)) for _ in range(n_dims)]
    edges = []
    for n in sizes:
        most = {"reflect": n - 1, "replicate": 5, "circular": n}[mode]
        before = draw(st.integers(1 - n if mode != "circular" else 0, most))
        lowest = 1 - n - min(before, 0) if mode != "circular" else 0
        edges.append((before, draw(st.integers(lowest, most))))
    if mode == "circular" and sizes[-1] > 2:
        edges[-1] = draw(st.sampled_from([edges[-1], (-1, 1), (1, -1), (-1, 0), (-1, -1)]))
    lead = draw(st.sampled_from([(1,), (2,), (2, 1)]))
    return (*lead, *sizes), edges, mode


@given(edges_to_pad(), st.booleans(), st.integers(0, 99))
def test_pad_finds_what_is_beyond_the_edge(case, reversed_memory, seed):
    shape, edges, mode = case
    a = np.random.default_rng(seed).normal(size=shape)
    a = a[..., ::-1].T.copy().T if reversed_memory else a
    flat = [n for edge in reversed(edges) for n in edge]
    kept = a.copy()
    x = minidl.from_numpy(a).requires_grad_()
    np.testing.assert_array_equal(F.pad(x, flat, mode).detach().numpy(), padded(a, edges, mode))
    np.testing.assert_array_equal(a, kept)
    assert gradcheck(lambda x: F.pad(x, flat, mode), x) and gradgradcheck(lambda x: F.pad(x, flat, mode), x)


def test_pad_copies_even_where_there_is_nothing_to_pad():
    x = minidl.ones(1, 2, 3)
    for mode in ("constant", *BEYOND):
        F.pad(x, (0, 0), mode).zero_()
        F.pad(x, (-1, 0), mode).zero_()
    assert x.sum() == 6


@pytest.mark.parametrize(
    ("shape", "pad", "mode", "error", "said"),
    [
        ((4,), (1, 1), "reflect", NotImplementedError, r"2 for shape \(4,\)"),
        ((1, 1, 2, 4), (1, 1), "replicate", NotImplementedError, "2, 4 or 6 numbers"),
        ((1, 4), (1, 1), "nearest", NotImplementedError, "'nearest'"),
        ((1, 4), (4, 0), "reflect", ShapeError, "finds only 3"),
        ((1, 4), (0, 5), "circular", ShapeError, "finds only 4"),
        ((1, 4), (-3, 2), "circular", ShapeError, "finds only 1"),
        ((1, 4), (-2, -2), "replicate", ShapeError, "leaves nothing"),
        ((4,), (-2, -3), "constant", ShapeError, "crops more"),
        ((4,), (-5, 3), "constant", ShapeError, "crops more"),
        ((2, 0, 4), (1, 1), "reflect", ShapeError, "size of 0"),
        ((4,), (1.0, 1), "constant", TypeError, "float"),
        ((4,), 3, "constant", TypeError, "tuple"),
    ],
)
def test_what_pad_refuses(shape, pad, mode, error, said):
    with pytest.raises(error, match=said):
        F.pad(minidl.ones(*shape), pad, mode)


def test_pad_takes_a_value_only_for_constants():
    with pytest.raises(ShapeError, match="takes no value"):
        F.pad(minidl.ones(1, 2), (1, 1), "reflect", 1.0)
    assert F.pad(minidl.ones(1, 2), (1, 1), "reflect", 0).tolist() == [[1, 1, 1, 1]]


# -- interpolate


def source_of(o, n, m, align_corners):
    """Where in the input output pixel ``o`` looks, by the formula of `interpolate`."""
    if align_corners:
        return o * (n - 1) / (m - 1) if m > 1 else 0.0
    return min(max((o + 0.5) * n / m - 0.5, 0), n - 1)


def straight(row, m, align_corners=False):
    """The straight lines between the numbers of a list, at ``m`` places."""
    out = []
    for o in range(m):
        place = source_of(o, len(row), m, align_corners)
        left = min(int(place), len(row) - 1)
        share = place - left
        out.append(row[left] if share == 0 else (1 - share) * row[left] + share * row[left + 1])
    return out


def interpolated(f):
    """A function from a list and a length to a list, along both dimensions of a picture, or the only one."""

    def oracle(a, size, **options):
        for dim, m in zip(range(2, a.ndim), size):
            a = np.apply_along_axis(lambda row, m=m: np.array(f(row.tolist(), m, **options)), dim, a)
        return a

    return oracle


def nearest(row, m):
    return [row[o * len(row) // m] for o in range(m)]


def nearest_exact(row, m):
    return [row[(2 * o + 1) * len(row) // (2 * m)] for o in range(m)]


@st.composite
def sizes(draw, dtypes, n_dims, corners=False):
    side = st.integers(1, 7 if n_dims == 1 else 5 if n_dims == 2 else 3)
    before, after = (tuple(draw(side) for _ in range(n_dims)) for _ in range(2))
    if draw(st.booleans()):
        after = tuple(n * k for n, k in zip(before, (2, 3, 1)))
    a = draw(mst.arrays((draw(st.integers(1, 2)), draw(st.integers(1, 2)), *before), dtypes))
    return (a,), {"size": after, **({"align_corners": draw(st.booleans())} if corners else {})}


def by(mode):
    return lambda x, **options: F.interpolate(x, mode=mode, **options)


ROWS = {
    "nearest": Row(by("nearest"), interpolated(nearest), lambda d: sizes(d, 2), FLOAT),
    "nearest vector": Row(by("nearest"), interpolated(nearest), lambda d: sizes(d, 1), FLOAT),
    "nearest volume": Row(by("nearest"), interpolated(nearest), lambda d: sizes(d, 3), FLOAT),
    "nearest-exact": Row(by("nearest-exact"), interpolated(nearest_exact), lambda d: sizes(d, 2), FLOAT),
    "linear": Row(by("linear"), interpolated(straight), lambda d: sizes(d, 1, True), FLOAT),
    "bilinear": Row(by("bilinear"), interpolated(straight), lambda d: sizes(d, 2, True), FLOAT),
    "area": Row(by("area"), lambda a, size: adaptive(a, size), lambda d: sizes(d, 2), FLOAT),
}


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_memory_orders_and_dtypes(layout, mode):
    a = numbers(1, 3, 2, 5, 4, layout=layout)
    f = {"nearest": nearest, "bilinear": straight}[mode]
    for size in ((10, 8), (5, 9), (3, 2), (5, 4), (1, 1)):
        wanted = interpolated(f)(a, size)
        for dtype, rtol in (("float64", 1e-12), ("float32", 1e-5), ("float16", 1e-2)):
            x = minidl.from_numpy(a.astype(dtype, order="K"))
            out = F.interpolate(x, size, mode=mode)
            assert out.dtype == x.dtype
            np.testing.assert_allclose(out.numpy(), wanted, rtol, rtol)
    np.testing.assert_array_equal(F.interpolate(x[1:][..., ::2].flip(2), (10, 4)).numpy(), interpolated(nearest)(
        x.numpy()[1:, :, ::-1, ::2], (10, 4)))  # fmt: skip


def test_pixels_that_are_not_used_stay_out():
    inf = float("inf")
    x = minidl.tensor([[[1.0, inf, 3.0, 5.0]]], requires_grad=True)
    assert F.interpolate(x, scale_factor=2).tolist() == [[[1, 1, inf, inf, 3, 3, 5, 5]]]
    out = F.interpolate(x, scale_factor=2, mode="linear")
    assert out.tolist() == [[[1, inf, inf, inf, inf, 3.5, 4.5, 5]]]
    assert F.interpolate(x, 4, mode="linear", align_corners=True).tolist() == x.tolist()
    assert F.interpolate(x, 7, mode="linear", align_corners=True).tolist() == [[[1, inf, inf, inf, 3, 4, 5]]]
    out[0, 0, 6:].sum().backward()
    assert x.grad.tolist() == [[[0, 0, 0.25, 1.75]]]


@st.composite
def maps(draw):
    """Groups as `resample` takes them: places that differ within a group and may meet between groups."""
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    groups = []
    for _ in range(draw(st.integers(0, 3))):
        k = draw(st.integers(1, min(n, m)))
        to = draw(st.permutations(range(m)))[:k]
        terms = []
        for _ in range(draw(st.integers(1, 3))):
            source = np.array(draw(st.permutations(range(n)))[:k])
            start = draw(st.integers(0, n - k))
            weight = draw(st.sampled_from([None, 0.5, np.linspace(-1, 2, k)]))
            terms.append(((start, start + k, 1) if draw(st.booleans()) else source, weight))
        groups.append((np.array(to), tuple(terms)))
    return n, m, groups


@pytest.mark.usefixtures("some_threads")
@given(st.lists(maps(), min_size=1, max_size=2), st.permutations(range(4)), st.sampled_from(LAYOUTS), seeds, st.booleans())
def test_resampling_is_the_loops(cases, dims, layout, seed, long):
    sides = [9 if long else 2] * 4
    for dim, (n, _, _) in zip(dims, cases):
        sides[dim] = n
    x = numbers(seed, *sides, layout=layout)
    forward = [(dim, groups, m) for dim, (_, m, groups) in zip(dims, cases)]
    out, wanted = cpu.resample(x, forward), reference.resample(x, forward)
    np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)
    g = numbers(seed + 1, *out.shape, layout=layout)
    back = [(dim, resize._transposed(groups), n) for dim, (n, _, groups) in zip(dims, cases)][::-1]
    np.testing.assert_allclose(cpu.resample(g, back), reference.resample(g, back), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.vdot(wanted, g), np.vdot(x, reference.resample(g, back)), atol=1e-9)


def test_resampling_in_small_blocks_is_the_same(monkeypatch):
    x = numbers(1, 3, 4, 5, 6, layout=(1, 2, 3, 0))
    groups = [((0, 10, 2), (((0, 5, 1), 0.5),)), ((1, 10, 2), (((0, 5, 1), None),))]
    whole, before = cpu.resample(x, [(2, groups, 10)]), np.getbufsize()
    monkeypatch.setattr(cpu.resize, "BLOCK_BYTES", 1)
    np.testing.assert_array_equal(cpu.resample(x, [(2, groups, 10)]), whole)
    assert np.getbufsize() == before


def test_interpolating_bytes_and_an_empty_batch():
    x = minidl.tensor([[[1, 250]]], dtype=minidl.uint8)
    assert F.interpolate(x, scale_factor=2).tolist() == [[[1, 1, 250, 250]]]
    assert F.interpolate(minidl.zeros(0, 2, 3, 4), scale_factor=2, mode="bilinear").shape == (0, 2, 6, 8)


def test_interpolate_copies():
    x = minidl.ones(1, 1, 1, 3)
    for mode in ("nearest", "bilinear", "area"):
        for size in ((1, 3), (2, 3)):
            F.interpolate(x, size, mode=mode).zero_()
    assert x.sum() == 3


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ValueError, "either size or scale_factor"),
        ({"size": 4, "scale_factor": 2}, ValueError, "either size or scale_factor"),
        ({"size": (4, 4, 4)}, ValueError, "size wants one number or 2"),
        ({"scale_factor": (2,)}, ValueError, "scale_factor wants one number or 2"),
        ({"size": 4, "recompute_scale_factor": True}, ValueError, "recompute_scale_factor"),
        ({"size": 4, "align_corners": True}, ValueError, "align_corners"),
        ({"size": 4, "mode": "bicubic"}, NotImplementedError, "'bicubic'"),
        ({"size": 4, "mode": "linear"}, NotImplementedError, "4 dimensions"),
        ({"size": 4, "mode": "bilinear", "antialias": True}, NotImplementedError, "antialias"),
        ({"size": 0}, ShapeError, "size 0"),
        ({"scale_factor": 0.1}, ShapeError, "size 0"),
        ({"size": 2.5}, TypeError, "integer"),
    ],
)
def test_what_interpolate_refuses(options, error, said):
    with pytest.raises(error, match=said):
        F.interpolate(minidl.ones(1, 2, 3, 3), **options)


def test_interpolate_refuses_integers():
    with pytest.raises(NotImplementedError, match="int64"):
        F.interpolate(minidl.ones(1, 2, 3, 3, dtype=minidl.int64), scale_factor=2)


# -- pixels and channels


@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.sampled_from([(), (2,), (1, 2)]))
def test_pixel_shuffle_is_its_formula(r, c, h, w, lead):
    a = np.random.default_rng(0).normal(size=(*lead, c * r * r, h, w))
    x = minidl.from_numpy(a).requires_grad_()
    out = F.pixel_shuffle(x, r)
    assert out.shape == (*lead, c, h * r, w * r)
    for place in np.ndindex(c, h, w, r, r):
        k, row, column, i, j = place
        np.testing.assert_array_equal(
            out.detach().numpy()[..., k, row * r + i, column * r + j], a[..., k * r * r + i * r + j, row, column]
        )
    np.testing.assert_array_equal(F.pixel_unshuffle(out, r).detach().numpy(), a)
    assert gradcheck(lambda x: F.pixel_shuffle(x, r), x) and gradgradcheck(
        lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, r), r), x
    )


def test_channel_shuffle_takes_turns():
    x = minidl.arange(6.0, requires_grad=True).reshape(1, 6, 1)
    assert F.channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert F.channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    y = minidl.randn(2, 4, 2, 3, dtype=minidl.float64, requires_grad=True)
    np.testing.assert_array_equal(F.channel_shuffle(F.channel_shuffle(y, 2), 2).detach().numpy(), y.detach().numpy())
    assert gradcheck(lambda y: F.channel_shuffle(y, 2), y)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: F.pixel_shuffle(x, 2), "multiple of 2"),
        (lambda x: F.pixel_shuffle(x, 0), "at least 1"),
        (lambda x: F.pixel_unshuffle(x, 2), "multiples of 2"),
        (lambda x: F.pixel_unshuffle(x[0, 0], 1), "3 dimensions"),
        (lambda x: F.channel_shuffle(x, 4), "4 equal groups"),
    ],
)
def test_what_shuffles_refuse(call, said):
    with pytest.raises(ShapeError, match=said):
        call(minidl.zeros(1, 6, 3, 2))
