"""The CUDA kernels against the loops that define them.

Where there is no GPU they run in the emulator, in the hard way: with the threads in several orders, which must not change a
bit; every array between canaries; constants checked; all new memory full of NaN; sizes that divide no tile.
"""

import contextlib
import itertools
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standin import emulator, strict, suite
from test_kernels import numbers, seeds, windows

from minidl.kernels import precision, reference
from minidl.shapes import Window

REAL = suite.real_gpu()
if not REAL:
    if emulator.compiler() is None:
        pytest.skip("there is no GPU, and no g++ to run CUDA kernels on the CPU", allow_module_level=True)
    before = {name: sys.modules.get(name) for name in ("cupy", "cupy.cuda", "cupyx", "cupyx.scipy", "cupyx.scipy.special")}
    strict.install()

import cupy

from minidl.kernels import cuda
from minidl.kernels.cuda import conv, elementwise, lines, loader, norm

if not REAL:  # these modules keep it; other tests may want to see none
    for name, module in before.items():
        sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)

ORDERS = (0, 1, 7)
DTYPES = [np.float32, np.float64]
TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-10}


def on_device(x):
    return cupy.asarray(x) if isinstance(x, np.ndarray) else x


def on_host(x):
    return tuple(map(on_host, x)) if isinstance(x, (tuple, list)) else x.get() if isinstance(x, cupy.ndarray) else x


def hard(function, *args, **options):
    """What a function of the provider's returns, in all orders of threads; an array it changes is among ``args``, made anew."""
    found = []
    for order in ORDERS:
        with contextlib.nullcontext() if REAL else emulator.running(order, guard=True):
            given = [on_device(a.copy("K") if isinstance(a, np.ndarray) else a) for a in args]
            out = function(*given, **options)
            found.append(on_host(given if out is None else out))
    for other in found[1:]:
        same(found[0], other)
    return found[0]


def same(a, b):
    if isinstance(a, (tuple, list)):
        for x, y in zip(a, b):
            same(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), "the order of the threads is seen in the result"


def close(found, wanted, dtype=None):
    """Equal but for rounding, in relation to the largest; and of the same dtype as the definition's."""
    if wanted is None:
        assert found is None
        return
    if isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            close(f, w, dtype)
        return
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[np.dtype(dtype or found.dtype).name] * largest)


def check(name, *args, **options):
    """A function of the provider against the definition, which is computed in float64."""
    dtypes = [a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args]
    found, wanted = hard(getattr(cuda, name), *args, **options), getattr(reference, name)(*wide, **options)
    close(found, wanted, dtypes[0] if dtypes else None)
    for f in found if isinstance(found, tuple) else (found,):
        assert not dtypes or f is None or f.dtype.kind != "f" or f.dtype == dtypes[0]
    return found


def test_every_function_of_the_contract_is_there():
    defined = {n for n, f in vars(reference).items() if getattr(f, "__module__", "") == reference.__name__ and n[0] != "_"}
    assert defined <= {*cuda.__all__}, sorted(defined - {*cuda.__all__})


# -- windows


@pytest.mark.parametrize("dtype", DTYPES)
@given(windows(), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), seeds)
@example((Window((2, 3), (2, 3)), (4, 6)), 1, 2, 2, 2, 0)
def test_convolutions(dtype, geometry, groups, channels, filters, n, seed):
    window, size = geometry
    x = numbers(seed, n, channels * groups, *size, dtype=dtype)
    w = numbers(seed + 1, filters * groups, channels, *window.kernel, dtype=dtype)
    g = numbers(seed + 2, n, filters * groups, *window.out_size(size), dtype=dtype)
    bias = numbers(seed + 3, 1, 1, 1, w.shape[0], dtype=dtype).ravel()
    for b in (None, bias):
        check("conv2d", x, w, b, window, groups)
    check("conv2d_input_grad", g, w, window, groups, size)
    check("conv2d_weight_grad", x, g, window, groups)
    both = cuda.in_one("conv2d_parameters_grad", g.dtype)(cupy.asarray(x), cupy.asarray(g), window, groups)
    if both is not None:
        close(both[0].get(), reference.conv2d_weight_grad(x, g, window, groups))
        close(both[1].get(), g.sum((0, 2, 3)))


def definition(x, w, g, window, groups):
    """The three derivatives in float64 from whole arrays, for sizes at which loops over single numbers take too long."""
    x, w, g = (a.astype(np.float64) for a in (x, w, g))
    out, gx, gw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(w)
    f, c = w.shape[0] // groups, w.shape[1]
    for k, l, rows, columns, rows_in, columns_in in window.taps(x.shape[2:]):
        for group in range(groups):
            own, seen = slice(group * f, (group + 1) * f), slice(group * c, (group + 1) * c)
            there, here = (slice(None), seen, rows_in, columns_in), (slice(None), own, rows, columns)
            out[here] += np.einsum("fc,ncij->nfij", w[own, :, k, l], x[there])
            gx[there] += np.einsum("fc,nfij->ncij", w[own, :, k, l], g[here])
            gw[own, :, k, l] += np.einsum("ncij,nfij->fc", x[there], g[here])
    return out, gx, gw


SEVERAL_TILES = [  # window, size of the picture, number of pictures, channels, filters, groups
    (Window((3, 3), (1, 1), (1, 1), (1, 1)), (9, 11), 2, 5, 67, 1),  # one tile and a bit, in every direction
    (Window((3, 2), (2, 3), (2, 0), (1, 1), (1, 2)), (13, 9), 5, 70, 9, 1),
    (Window((1, 1)), (9, 8), 3, 33, 65, 1),
    (Window((2, 2), (1, 2)), (7, 7), 13, 16, 24, 2),  # groups large enough for tiles
    (Window((3, 3), (2, 2), (1, 1), (1, 1)), (12, 10), 2, 12, 24, 12),  # and too small
    (Window((3, 3), (2, 1), (1, 1), (1, 1)), (9, 12), 11, 20, 44, 1),  # four channels, filters and positions at a time
    (Window((2, 3), (2, 3), (0, 1), (1, 0), (1, 2)), (10, 14), 7, 24, 16, 2),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("window", "size", "n", "channels", "filters", "groups"), SEVERAL_TILES)
def test_convolutions_over_several_tiles(dtype, window, size, n, channels, filters, groups):
    x = numbers(0, n, channels, *size, dtype=dtype)
    w = numbers(1, filters, channels // groups, *window.kernel, dtype=dtype)
    g = numbers(2, n, filters, *window.out_size(size), dtype=dtype)
    out, gx, gw = definition(x, w, g, window, groups)
    close(hard(cuda.conv2d, x, w, None, window, groups), out)
    close(hard(cuda.conv2d_input_grad, g, w, window, groups, size), gx)
    close(hard(cuda.conv2d_weight_grad, x, g, window, groups), gw)
    if groups > 1 and min(filters, channels) // groups < 8:
        assert conv.conv2d_parameters_grad(cupy.asarray(x), cupy.asarray(g), window, groups) is None
    else:
        close(hard(conv.conv2d_parameters_grad, x, g, window, groups), (gw, g.sum((0, 2, 3), np.float64)))


def rounded(x, operands):
    """float32 to the bits that the tensor cores take, in float64; halves as in IEEE 754, but of tf32 away from zero."""
    if operands == "float16":
        return x.astype(np.float16).astype(np.float64)
    bits = {"tf32": 11, "bfloat16": 8}[operands]
    fraction, exponent = np.frexp(x.astype(np.float64))
    whole = np.ldexp(fraction, bits)
    whole = np.rint(whole) if operands == "bfloat16" else np.copysign(np.floor(np.abs(whole) + 0.5), whole)
    return np.ldexp(whole, exponent - bits)


@pytest.mark.parametrize("operands", ["float32", "bfloat16"])
def test_convolutions_in_tall_tiles(operands, monkeypatch):
    """As large pictures have them: of 64 and of 32 rows, where without this there are 16."""
    monkeypatch.setattr(conv, "BLOCKS", 1)
    monkeypatch.setattr(conv, "_grid", conv._grid.__wrapped__)  # which remembers none of other tests
    monkeypatch.setattr(conv, "_cut", conv._cut.__wrapped__)
    monkeypatch.setitem(precision.allowed, "conv", operands)
    window, size, n, channels, filters, _ = SEVERAL_TILES[5]
    x, w = numbers(0, n, channels, *size, dtype=np.float32), numbers(1, filters, channels, *window.kernel, dtype=np.float32)
    g = numbers(2, n, filters, *window.out_size(size), dtype=np.float32)
    given = (x, w, g) if operands == "float32" else (rounded(a, operands) for a in (x, w, g))
    out, gx, gw = definition(*given, window, 1)
    close(hard(cuda.conv2d, x, w, None, window, 1), out)
    close(hard(cuda.conv2d_input_grad, g, w, window, 1, size), gx)
    close(hard(cuda.conv2d_weight_grad, x, g, window, 1), gw)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_may_begin_anywhere_in_memory(dtype):
    """Where four numbers cannot be read at a time; to the last bit the same."""
    window, size, n, channels, filters, _ = SEVERAL_TILES[5]
    x, g = numbers(0, n, channels, *size, dtype=dtype), numbers(1, n, filters, *window.out_size(size), dtype=dtype)
    odd = cupy.empty(g.size + 1, dtype)[1:].reshape(g.shape)
    odd[...] = cupy.asarray(g)
    found = [cuda.conv2d_weight_grad(cupy.asarray(x), a, window, 1).get() for a in (cupy.asarray(g), odd)]
    np.testing.assert_array_equal(*found)


BARS = {"tf32": 5e-4, "bfloat16": 1e-2, "float16": 5e-4}  # how far from products that nothing was rounded for, by norm


@pytest.mark.parametrize("operands", BARS)
@pytest.mark.parametrize(("window", "size", "n", "channels", "filters", "groups"), [SEVERAL_TILES[i] for i in (1, 3, 4, 5, 6)])
def test_convolutions_on_the_tensor_cores(operands, window, size, n, channels, filters, groups, monkeypatch):
    monkeypatch.setitem(precision.allowed, "conv", operands)
    x, w = numbers(0, n, channels, *size, dtype=np.float32), numbers(1, filters, channels // groups, *window.kernel)
    w = w.astype(np.float32)
    g = numbers(2, n, filters, *window.out_size(size), dtype=np.float32)
    found = (
        hard(cuda.conv2d, x, w, None, window, groups),
        hard(cuda.conv2d_input_grad, g, w, window, groups, size),
        hard(cuda.conv2d_weight_grad, x, g, window, groups),
    )
    as_they_are = definition(x, w, g, window, groups)
    by_formula = groups > 1 and min(filters, channels) // groups < 8  # in float32
    for own, exact, same in zip(found, as_they_are, definition(*(rounded(a, operands) for a in (x, w, g)), window, groups)):
        close(own, exact if by_formula else same)
        assert np.linalg.norm(own - exact) <= BARS[operands] * np.linalg.norm(exact)
        assert by_formula or np.linalg.norm(own - exact) > 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("operands", BARS)
def test_what_is_not_finite_or_becomes_so_on_the_tensor_cores(operands, monkeypatch):
    """NaN stays, infinity too, and what is rounded up from the largest number is infinite; halves."""
    monkeypatch.setitem(precision.allowed, "conv", operands)
    largest = float(np.finfo(np.float32).max)
    x = np.array([math.nan, math.inf, -math.inf, largest, -largest, 65519, 65520, 1 + 2**-11, 1 + 2**-8, 0], np.float32)
    one = np.ones((1, 1, 1, 1), np.float32)
    found = hard(cuda.conv2d, x.reshape(1, 1, 2, 5), one, None, Window((1, 1)), 1)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.ravel(), rounded(x, operands).astype(np.float32))


@pytest.mark.skipif(REAL, reason="a question to the emulator")
@pytest.mark.parametrize("types", [("float", "float"), ("double", "double"), ("float", "tf32"), ("float", "bf16")])
def test_lines_that_are_read_together_lie_in_different_banks(types):
    """Four words of eight lines, in 32 banks; and 16 bytes are read at a time, from where they may be."""
    text = "".join((loader.HERE / name).read_text() for name in ("common.cuh", "tiles.cuh"))
    text += 'extern "C" __global__ void tell(int* size) { *size = sizeof(Tile<OPERAND, 64, 64>::Line); }'
    size = np.zeros(1, np.int32)
    emulator.Module(text, (f"-DREAL={types[0]}", f"-DOPERAND={types[1]}")).get_function("tell")((1,), (1,), (size,))
    assert size[0] % 16 == 0
    assert len({(line * size[0] // 4 + word) % 32 for line in range(8) for word in range(4)}) == 32


WALK = r"""
struct Noted {
  typedef int Line[1];
  static const int ROWS = 1, COLUMNS = 1;
  int starts[3], n = 0;
  __device__ void add(const Line*, const Line*) {}
  __device__ void fetch(int start) { starts[n++] = start; }
  __device__ void keep(Line*, Line*) const {}
};
extern "C" __global__ void walk(int* starts, int start, int stop) {
  __shared__ Strips<Noted> strips;
  Noted noted;
  multiply(noted, strips, noted, start, stop);
  for (int i = 0; i < noted.n; i++) starts[i] = noted.starts[i];
}
"""


@pytest.mark.skipif(REAL, reason="a question to the emulator")
def test_a_long_sum_ends_where_the_next_step_would_be_2_to_the_31():
    text, starts = "".join((loader.HERE / name).read_text() for name in ("common.cuh", "tiles.cuh")), np.zeros(3, np.int32)
    walk = emulator.Module(text + WALK, ("-DREAL=float",)).get_function("walk")
    walk((1,), (1,), (starts, np.int32(2**31 - 40), np.int32(2**31 - 1)))
    assert starts.tolist() == [2**31 - 40, 2**31 - 24, 2**31 - 8]


@pytest.mark.parametrize("dtype", DTYPES)
@given(windows(), st.integers(0, 2), seeds, st.booleans())
def test_pooling(dtype, geometry, n, seed, ties):
    window, size = geometry
    x = numbers(seed, n, 3, *size, dtype=dtype)
    if ties:
        x = np.round(x)
    g = numbers(seed + 1, n, 3, *window.out_size(size), dtype=dtype)
    check("sum_pool2d", x, window)
    check("sum_pool2d_spread", g, window, size)
    columns = check("unfold", x, window)
    check("fold", np.random.default_rng(seed).normal(size=columns.shape).astype(dtype), window, size)
    for any_inside in [all(b < d * (k - 1) + 1 and a < d * (k - 1) + 1 for b, a, d, k in zip(*window[2:], window.kernel))]:
        if any_inside:  # a window that sees only padding has no largest pixel
            out = check("max_pool2d", x, window)
            taps = check("max_pool2d_taps", x, out, window)
            check("max_pool2d_place", g, taps, window, size)
            check("max_pool2d_pick", x, taps, window)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [(2, 2), (1, 1), (3, 2), (2, 5)])
def test_the_gradient_of_max_pooling_in_one_pass(dtype, kernel):
    window, size = Window(kernel, kernel), (kernel[0] * 3, kernel[1] * 4)
    x = np.round(numbers(0, 2, 3, *size, dtype=dtype))  # with ties
    x[0, 0, 0, :2] = x[1, 2, 1:4, 3] = math.nan
    g = numbers(1, 2, 3, *window.out_size(size), dtype=dtype)
    taps = reference.max_pool2d_taps(x, reference.max_pool2d(x, window), window)
    found = hard(cuda.in_one("max_pool2d_grad", dtype), g, x, window)
    np.testing.assert_array_equal(found, reference.max_pool2d_place(g, taps, window, size))
    for other in (
        Window(kernel, (4, 4)),
        Window(kernel, kernel, (1, 0), (0, 0)),
        Window(kernel, kernel, (0, 0), (0, 0), (2, 1)),
    ):
        assert other == window or cuda.in_one("max_pool2d_grad", dtype)(on_device(g), on_device(x), other) is None


def test_max_pooling_of_equal_ones_of_nans_and_of_integers():
    window, nan = Window((2, 2), (1, 1), (1, 1), (1, 1)), math.nan
    x = np.array([1, 1, nan, 1, nan, 2, nan, -math.inf, -math.inf]).reshape(1, 1, 3, 3)
    out = check("max_pool2d", x, window)
    check("max_pool2d_taps", x, out, window)
    whole = np.arange(-10, 8).reshape(1, 2, 3, 3)
    np.testing.assert_array_equal(hard(cuda.max_pool2d, whole, Window((2, 2), (2, 2))), [[[[-6]], [[3]]]])
    x = np.zeros((1, 1, 12, 12), np.float32)
    x[0, 0, 11, 11] = 1
    assert (
        hard(cuda.max_pool2d_taps, x, np.ones((1, 1, 1, 1), np.float32), Window((12, 12)))[0, 0, 0, 0] == 143
    )  # too many for int8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_taps", [False, True])
@pytest.mark.parametrize("pool", [None, Window((2, 2), (2, 2)), Window((3, 2), (3, 2))])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_block(dtype, with_taps, pool, groups):
    window = Window((3, 3), (1, 1), (1, 1), (1, 1))
    x, w = numbers(0, 2, 3, 6, 6, dtype=dtype), numbers(1, 6, 3 // groups, 3, 3, dtype=dtype)
    bias = numbers(2, 1, 1, 1, 6, dtype=dtype).ravel()
    check("conv2d_relu_pool", x, w, bias, window, groups, pool, with_taps)


# -- lines


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((3, 5), 1), ((5, 3, 2), 1), ((4, 70), 1), ((33,), 0), ((2, 3, 7, 5), 2), ((9, 4), 0), ((3, 1), 1), ((0, 4), 1)],
)
def test_softmax(dtype, shape, dim):
    rng = np.random.default_rng(0)
    x, g = rng.normal(scale=20, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    out = check("softmax", x, dim)
    check("softmax_grad", g, out, dim)
    out = check("log_softmax", x, dim)
    check("log_softmax_grad", g, out, dim)
    places = rng.integers(0, shape[dim], [1 if d == dim else n for d, n in enumerate(shape)])
    check("log_softmax_at", x, dim, places)
    check("log_softmax_at_grad", rng.normal(size=places.shape).astype(dtype), x, dim, places)


def test_softmax_of_what_is_not_finite():
    inf, nan = math.inf, math.nan
    x = np.array([[-inf, 0, 1], [1000, 1001, 0], [nan, 0, 1], [0, 1, nan], [inf, 0, 0], [-inf, -inf, -inf]])
    found = hard(cuda.softmax, x, 1)
    np.testing.assert_allclose(found[:2], [[0, 0.26894142, 0.73105858], [0.26894142, 0.73105858, 0]], atol=1e-8)
    assert np.isnan(found[2:4]).all() and np.isnan(found[5]).all() and np.isnan(found[4, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 3), (70, 40), (2, 4, 3, 5), (3, 7, 90), (0, 4), (1, 1)])
@pytest.mark.parametrize("most_blocks", [512, 3])
def test_losses_over_classes(dtype, soft, reduction, shape, most_blocks, monkeypatch):
    monkeypatch.setattr(lines, "MOST_BLOCKS", most_blocks)
    rng = np.random.default_rng(0)
    x, weight = rng.normal(scale=5, size=shape).astype(dtype), rng.uniform(0.5, 2, shape[1]).astype(dtype)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = -7
    for w in (None, weight):
        loss, slope, places, wrong = hard(cuda.in_one("class_loss", dtype), soft, x, target, w, -7, reduction)
        scores = np.moveaxis(x, 1, -1).reshape(-1, shape[1]).astype(float).tolist()
        parts, shares = [], []
        for line, label in zip(scores, target.ravel().tolist()):
            share = 0.0 if label == -7 else 1.0 if w is None else float(w[label])
            total = math.log(math.fsum(math.exp(v) for v in line)) if soft else 0.0
            parts.append(0.0 if label == -7 else share * (total - line[label]))
            shares.append(share)
        total = math.fsum(shares) if reduction == "mean" else 1.0
        wanted = np.reshape(parts, target.shape) if reduction == "none" else math.fsum(parts) / total if total else math.nan
        close(loss, np.asarray(wanted), dtype)
        close(slope, -np.reshape(shares, target.shape) / (total or 1), dtype)
        assert loss.dtype == slope.dtype == dtype
        np.testing.assert_array_equal(places, np.where(target == -7, 0, target)[:, None])
        assert not wrong and wrong.dtype == bool
        if soft:
            g = rng.normal(size=loss.shape).astype(dtype)
            wanted = reference.log_softmax_at_grad((g * slope)[:, None].astype(float), x.astype(float), 1, places)
            close(hard(cuda.in_one("class_loss_grad", dtype), g, x, slope, places), wanted, dtype)


@pytest.mark.parametrize("label", [-1, 3, 2**40])
@pytest.mark.parametrize("weight", [None, np.ones(3)])
@pytest.mark.parametrize("n", [2, 300])  # a block has all lines, or not
def test_a_class_that_there_is_not_is_noted(label, weight, n):
    x, ignored = np.zeros((n, 3)), np.full(n, 5)
    *_, wrong = hard(cuda.in_one("class_loss", np.float64), True, x, ignored, weight, 5, "sum")
    assert not wrong
    loss, *_, wrong = hard(cuda.in_one("class_loss", np.float64), True, x, np.array([0] * (n - 1) + [label]), weight, 5, "sum")
    assert wrong and math.isnan(loss)


def test_scores_and_classes_in_another_order():
    x, target = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 0, 2, 1])
    loss, *_ = hard(cuda.in_one("class_loss", np.float64), True, x.T, target[::2], np.ones(8)[::2], -1, "sum")
    np.testing.assert_allclose(loss, -np.sum(reference.log_softmax(x.T, 1)[[0, 1, 2], [0, 1, 2]]))


def test_of_no_classes_every_target_is_wrong():
    loss, *_, wrong = hard(cuda.in_one("class_loss", np.float64), True, np.zeros((3, 0)), np.array([0, 1, 0]), None, -1, "mean")
    assert wrong and math.isnan(loss)


def test_what_is_ignored_may_be_infinite():
    x = np.array([[math.inf, 0.0], [0.0, 0.0]])
    loss, *_ = hard(cuda.in_one("class_loss", np.float64), True, x, np.array([-1, 0]), None, -1, "mean")
    np.testing.assert_allclose(loss, math.log(2))


# -- normalisation


FORMS = [  # shape, dims, shape of weight and bias
    ((4, 3, 5, 2), (0, 2, 3), (1, 3, 1, 1)),  # batch
    ((70, 3), (0,), (3,)),
    ((5, 7), (1,), (7,)),  # layer
    ((2, 3, 4, 5), (2, 3), (4, 5)),
    ((3, 300), (1,), (300,)),
    ((2, 3, 4, 5), (2, 3), (1, 3, 1, 1)),  # instance
    ((2, 2, 3, 4), (2, 3), (2, 3, 1)),  # group
    ((2, 3, 4), (1,), (3, 1)),  # lines between
    ((2, 3, 4), (0, 1, 2), ()),
    ((2, 3, 4, 5), (1, 3), (2, 1, 4, 1)),  # lines and weights that lie unevenly
    ((9, 40), (1,), (40,)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "dims", "of_weight"), FORMS)
def test_normalise(dtype, shape, dims, of_weight):
    rng = np.random.default_rng(0)
    x, g = (rng.normal(2, 3, shape).astype(dtype) for _ in range(2))
    weight, bias = (rng.normal(size=of_weight).astype(dtype) for _ in range(2))
    moments = [1 if d in dims else n for d, n in enumerate(shape)]
    center, variance = rng.normal(size=moments).astype(dtype), rng.uniform(0.5, 2, moments).astype(dtype)
    zero = np.zeros((), dtype)
    for w, b in ((weight, bias), (weight, None), (None, None)):
        for known, own in (((None, None), (True, True)), ((zero, None), (False, True)), ((center, variance), (False, False))):
            _, c, v = check("normalise", x, w, b, dims, 1e-5, *known)
            check("normalise_grad", g, x, w, c, v, dims, 1e-5, own, of_weight)


@pytest.mark.parametrize(("form", "shortest"), [(0, 3), (0, 13), (4, 7), (6, 4), (8, 4)])
def test_normalise_in_parts(form, shortest, monkeypatch):
    """Few long lines: several blocks share one, the last may have less to do, and none has nothing."""
    shape, dims, of_weight = FORMS[form]
    monkeypatch.setattr(norm, "SHORTEST", shortest)
    monkeypatch.setattr(norm, "_lines", norm._Lines)  # which remembers none of other tests
    assert norm._Lines(shape, dims).parts > 2
    test_normalise(np.float32, shape, dims, of_weight)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000, 65537, 2**30 + 1, 2**31 - 1])
def test_division_by_what_is_known_before(n):
    n, factor, shift = map(int, loader.divisor(n).item())
    assert factor < 2**32
    tried = [0, 1, n - 1, n, n + 1, 2 * n - 1, 2 * n, 5**9, 2**31 // n * n - 1, 2**31 // n * n, 2**31 - 1]
    assert [2 * t * factor >> 32 + shift for t in tried if t < 2**31] == [t // n for t in tried if t < 2**31]


@pytest.mark.parametrize(("far", "shortest"), [(1e4, 2048), (1e4, 100), (1e20, 100)])
def test_normalise_far_from_zero(far, shortest, monkeypatch):
    """The distances are taken before they are squared, and the parts of a line are not far from each other."""
    monkeypatch.setattr(norm, "SHORTEST", shortest)
    monkeypatch.setattr(norm, "_lines", norm._Lines)
    x = (far + far / 1e4 * np.random.default_rng(0).normal(size=(3, 1000))).astype(np.float32)
    _, _, variance = hard(cuda.normalise, x, None, None, (1,), 0.0)
    np.testing.assert_allclose(variance, x.astype(float).var(1, keepdims=True), rtol=1e-3)


# -- sums at places, elements


INDICES = [
    (np.array([2, 0, 2, -1, 2]),),
    (np.array([[0, 1], [1, 1]]), np.array([[3, 2], [2, 2]])),
    (slice(1, 3),),
    (slice(None), np.array([1, 1, 0])),
    (0, np.array([1, 1, 0])),
    (np.array([[True, False, True, True]] * 3),),
    (..., np.array([0, 0])),
    (np.array([1, 1]), None),
    (np.array([], np.int64),),
]


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64, np.float16])
@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("at_once", [0, elementwise.SEARCHED_AT_ONCE])
def test_add_at(dtype, index, at_once, monkeypatch):
    monkeypatch.setattr(elementwise, "SEARCHED_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    out = rng.normal(scale=9, size=(3, 4)).astype(dtype)
    values = rng.normal(scale=9, size=out[index].shape).astype(dtype)
    for v in (values, dtype(3)):
        wanted = out.astype(np.float64 if dtype == np.float16 else dtype)
        reference.add_at(wanted, index, v)
        found = hard(lambda o, v, *i: cuda.add_at(o, i, v), out, v, *index)[0]
        if dtype == np.float16:
            close(found, wanted)
        else:
            np.testing.assert_array_equal(found, wanted)  # in the same order, so to the last bit


@pytest.mark.parametrize("at_once", [0, elementwise.SEARCHED_AT_ONCE])
def test_add_at_rows_of_a_table(at_once, monkeypatch):
    monkeypatch.setattr(elementwise, "SEARCHED_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    table, index = np.zeros((11, 37), np.float32), rng.integers(0, 11, (29, 3))
    values = rng.normal(size=(29, 3, 37)).astype(np.float32)
    wanted = table.copy()
    np.add.at(wanted, index, values)
    np.testing.assert_array_equal(hard(lambda o, i, v: cuda.add_at(o, (i,), v), table, index, values)[0], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements(dtype):
    x = np.array([-math.inf, -7, -1.5, -1e-3, -0.0, 0, 1e-3, 0.7, 1, 3, 9, math.inf, *np.linspace(-4, 4, 300)], dtype)
    check("erf", x)
    check("relu", x)
    assert np.isnan(hard(cuda.relu, np.array([math.nan], dtype))).all()
    check("relu_grad", x[::-1].copy(), reference.relu(x))
    check("relu", np.zeros((0, 3), dtype))
    rows, columns = numbers(0, 1, 1, 4, 5, dtype=dtype)[0, 0], numbers(1, 1, 1, 3, 5, dtype=dtype)[0, 0]
    check("matmul", rows, columns.T)
    check("linear", rows, columns, numbers(2, 1, 1, 1, 3, dtype=dtype).ravel())
    check("linear", np.stack([rows, -rows]), columns, None, True)


SUMS = [  # shape, dims: in one part and in several, of neighbours and of what lies apart
    ((2, 4, 5), (0, 2)),
    ((30, 7, 9, 8), (0, 2, 3)),
    ((700, 3), (0,)),
    ((5000, 33), (0,)),
    ((3, 70000), (1,)),
    ((3, 4, 5), (1,)),
    ((4, 3, 5, 2), (0, 3)),
    ((9000,), (0,)),
    ((2, 3), (0, 1)),
    ((2, 3), ()),
    ((), ()),
    ((0, 3), (0,)),
    ((3, 0), (0,)),
    ((3, 1, 2), (0, 1)),
    ((3, 4, 2), (0, 2)),
]


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
@pytest.mark.parametrize(("shape", "dims"), SUMS)
def test_sums(dtype, shape, dims):
    x = np.random.default_rng(0).integers(-9, 9, shape)
    x = x.astype(dtype) if np.dtype(dtype).kind == "i" or x.size < 500 else (x / 3).astype(dtype)
    for keepdims in (False, True):
        found = hard(cuda.sum, x, dims, keepdims=keepdims)
        assert found.dtype == dtype
        close(found, x.astype(float).sum(dims, keepdims=keepdims).astype(found.dtype))
    turned = np.moveaxis(x, 0, -1) if x.ndim > 1 else x
    close(hard(cuda.sum, turned, dims, keepdims=False), turned.astype(float).sum(dims).astype(dtype))


def test_shares():
    seen = []
    cuda.share(seen.append, 3, 100)
    assert seen == [slice(0, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_resample(dtype):
    x = numbers(0, 2, 3, 4, 5, dtype=dtype)
    groups = [((0, 6, 2), [((0, 3, 1), 0.25), (np.array([3, 1, 0]), np.array([0.5, 1, 2]))]), ((1, 4, 2), [((1, 3, 1), None)])]
    back = [((0, 4, 1), [((0, 4, 1), None)]), ((0, 4, 1), [((1, 5, 1), 2.0)])]
    check("resample", x, [(2, groups, 7), (3, back, 4)])
    check("resample", x, [(0, [((0, 0, 1), [])], 3)])


def test_half_precision_is_a_way_to_keep_numbers():
    window = Window((2, 2))
    x, w = (numbers(i, 2, 3, 4, 5, dtype=np.float16)[..., : 5 - 3 * i] for i in range(2))
    w = w[:, :, :2].copy()
    for name, args in (("conv2d", (x, w, None, window, 1)), ("sum_pool2d", (x, window)), ("softmax", (x, 1)), ("erf", (x,))):
        check(name, x.copy() if name != "conv2d" else x, *args[1:])


def test_what_an_int_cannot_count(monkeypatch):
    """So many lines are shared by no warps."""
    seen, kind = [], np.dtype(np.float32)
    monkeypatch.setattr(cuda.lines, "launch", lambda file, name, threads, *args, real: seen.append((threads, args[-1])))
    for n in (2**26 - 1, 2**26):
        cuda.lines._launch("softmax", types.SimpleNamespace(shape=(n, 3), size=3 * n, dtype=kind), 1)
    assert seen == [(2**31 - 32, 32), (2**26, 1)]


# -- what captured steps do in another way


@pytest.mark.parametrize("dtype", DTYPES)
def test_additions_without_sorting_are_the_same_to_the_last_bit(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    table, index = rng.normal(size=(9, 5)).astype(dtype), rng.integers(-9, 9, (4, 7))
    values = rng.normal(size=(4, 7, 5)).astype(dtype)
    monkeypatch.setattr(elementwise, "SEARCHED_AT_ONCE", 0)
    wanted = hard(lambda o, i, v: cuda.add_at(o, (i,), v), table, index, values)[0]
    with cuda.suitable():
        np.testing.assert_array_equal(hard(lambda o, i, v: cuda.add_at(o, (i,), v), table, index, values)[0], wanted)


# -- random numbers


def philox(counter, key):
    """Philox4x32-10 in whole numbers, from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def words(n, seed, draw):
    blocks = [philox((i, 0, draw % 2**32, draw >> 32), (seed % 2**32, seed >> 32)) for i in range(-(-n // 4))]
    return np.array(blocks, np.uint64).ravel()[:n]


def test_philox():
    """The known answers published with the paper, by the test's own lines; and the kernel by these."""
    assert philox((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    seed, draw = 0x299F31D0A4093822, 0x0370734413198A2E
    np.testing.assert_array_equal(hard(cuda.bits, (3, 7), seed, draw).ravel(), words(21, seed, draw))


def test_uniform_normal_and_dropout():
    seed, draw = 12345678901234567, 3
    w = words(42, seed, draw)
    u32, u64 = (w >> 8) / 2**24, (((w[1::2] << 32) | w[::2]) >> 11) / 2**53
    np.testing.assert_array_equal(hard(cuda.uniform, (3, 7), np.float32, lambda: (seed, draw)), u32[:21].reshape(3, 7))
    np.testing.assert_array_equal(hard(cuda.uniform, 21, np.float64, lambda: (seed, draw)), u64)
    for dtype, u in ((np.float32, u32[:22]), (np.float64, u64[:20])):
        radius, angle = np.sqrt(-2 * np.log(1 - u[::2])), 2 * np.pi * u[1::2]
        wanted = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()[: len(u) - 1]
        close(hard(cuda.normal, len(wanted), dtype, lambda: (seed, draw)), wanted)
    for dtype in DTYPES:
        kept = hard(cuda.keep, (2, 21), dtype, 0.3, 1.5, lambda: (seed, draw))
        np.testing.assert_array_equal(kept, np.where(u32 >= np.float32(0.3), dtype(1.5), 0).reshape(2, 21))
    sample = hard(cuda.normal, 20000, np.float32, lambda: (1, 0)).astype(float)
    assert abs(sample.mean()) < 0.03 and abs(sample.std() - 1) < 0.02 and abs((sample**3).mean()) < 0.1
    assert np.corrcoef(sample[:-1], sample[1:])[0, 1] < 0.03


# -- the loader, and the emulator itself


def test_the_loader_refuses_what_a_kernel_would_misread():
    x = cupy.asarray(np.ones((4, 6), np.float32))
    with pytest.raises(ValueError, match="relu: argument 0 must be contiguous"):
        loader.launch("elementwise", "relu", 24, x.T, cupy.empty((6, 4), np.float32), 24, real=np.float32)
    with pytest.raises(ValueError, match=r"shape \(4, 3\)"):
        loader.launch("elementwise", "relu", 12, x[:, ::2], cupy.empty((4, 3), np.float32), 12, real=np.float32)
    with pytest.raises(KeyError):
        loader.launch("elementwise", "relu", 24, x, x, 24, real=np.complex64)


PLANTED = r"""
extern "C" __global__ void reverse(const float* x, float* y, int n, int bug) {
  __shared__ float s[64];
  int t = threadIdx.x;
  if (bug == 1 && t == 5) return;
  s[t] = x[t];
  if (bug != 2) __syncthreads();
  if (bug == 3) { if (t < 9) __syncthreads(); else __syncthreads(); }
  y[t + (bug == 4)] = s[63 - t + (bug == 5)];
  if (bug == 6) y[0] = t;
  if (bug == 7) const_cast<float*>(x)[t] = 0;
}
extern "C" __global__ void total(const float* x, float* y, int bug) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  for (int half = 32; half; half /= 2) {
    if (t < half) s[t] += s[t + half];
    if (!bug) __syncthreads();
  }
  if (t == 0) *y = s[0];
}
extern "C" __global__ void turn(float* y, int bug) {
  int t = threadIdx.x, other = 0;
  if (bug == 1 && t == 40) return;
  if (bug == 2 && t > 50) other = __shfl_xor_sync(0xffffffffu, t, 31);
  else other = __shfl_xor_sync(0xffffffffu, t, 31);
  y[t] = other;
}
struct __align__(16) Four { float numbers[4]; };
extern "C" __global__ void copy_four(const float* x, float* y, int far) {
  reinterpret_cast<Four*>(y)[threadIdx.x] = reinterpret_cast<const Four*>(x)[threadIdx.x + far];
}
struct Large { int numbers[1022]; };
extern "C" __global__ void __launch_bounds__(64, 2) fits(const float* x, const __grid_constant__ Large large) {}
extern "C" __global__ void is_too_large(const float* x, const __grid_constant__ Large large, int n) {}
extern "C" __global__ void two_sums(const float* x, float* y, int bug) {  // the second is begun where the first is still read
  __shared__ float s[2];
  int t = threadIdx.x;
  for (int i = 0; i < 2; i++) {
    float sum = x[t] * (i + 1);
    for (int far = 16; far; far /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, far);
    if (!bug) __syncthreads();
    if (t % 32 == 0) s[t / 32] = sum;
    __syncthreads();
    y[t + 64 * i] = s[0] + s[1];
  }
}
extern "C" __global__ void never_written(float* y) { __shared__ float s[64]; y[threadIdx.x] = s[threadIdx.x]; }
"""


@pytest.mark.skipif(REAL, reason="the emulator is what is tested")
def test_the_emulator_catches_what_is_planted():
    module = emulator.Module(PLANTED)
    reverse, total = module.get_function("reverse"), module.get_function("total")
    x = np.arange(64, dtype=np.float32)

    def run(bug, order):
        y = np.full(64, np.nan, np.float32)
        with emulator.running(order, guard=True):
            reverse((1,), (64,), (x, y, np.int32(64), np.int32(bug)))
        return y

    for order in ORDERS:
        np.testing.assert_array_equal(run(0, order), x[::-1])
        with pytest.raises(RuntimeError, match="different __syncthreads"):
            run(3, order)
        with pytest.raises(RuntimeError, match="argument 1: written outside"):
            run(4, order)
        with pytest.raises(RuntimeError, match="an index outside"):
            run(5, order)
        with pytest.raises(RuntimeError, match="argument 0: a constant array was changed"):
            run(7, order)
    assert np.isnan(run(1, 0)).any()  # one thread left early: what it should have brought is not there
    assert np.isnan(run(2, 0)).any() or (run(2, 0) != x[::-1]).any()  # no barrier: shared memory is full of NaN
    assert run(6, 0)[0] != run(6, 1)[0]  # all write to one place: the order decides

    sums = set()
    for order, bug in itertools.product(ORDERS, (0, 1)):
        y = np.empty(1, np.float32)
        total((1,), (64,), (x, y, np.int32(bug))) if order == 0 else None
        with emulator.running(order):
            total((1,), (64,), (x, y, np.int32(bug)))
        if bug:
            sums.add(float(y[0]))
        else:
            assert y[0] == x.sum()
    assert sums != {float(x.sum())}
    found = np.zeros((2, len(ORDERS), 128), np.float32)
    for bug, (i, order) in itertools.product((0, 1), enumerate(ORDERS)):
        with emulator.running(order):
            module.get_function("two_sums")((1,), (64,), (x, found[bug, i], np.int32(bug)))
    assert (found[0] == np.repeat([x.sum(), 2 * x.sum()], 64)).all() and (found[1] != found[0]).any()  # one warp is ahead
    y = np.zeros(64, np.float32)
    module.get_function("never_written")((1,), (64,), (y,))
    assert np.isnan(y).all()


@pytest.mark.skipif(REAL, reason="the emulator is what is tested")
def test_the_emulator_catches_shuffles_with_nobody():
    turn, y, place = emulator.Module(PLANTED).get_function("turn"), np.zeros(64, np.float32), np.arange(64)
    for order in ORDERS:
        with emulator.running(order):
            turn((1,), (64,), (y, np.int32(0)))
            np.testing.assert_array_equal(y, place // 32 * 32 + 31 - place % 32)
            with pytest.raises(RuntimeError, match="turn: a shuffle reads from a thread that is not there"):
                turn((1,), (64,), (y, np.int32(1)))
            with pytest.raises(RuntimeError, match="a thread that is not there"):
                turn((1,), (60,), (y, np.int32(0)))
            with pytest.raises(RuntimeError, match="turn: threads of one warp wait at different shuffles"):
                turn((1,), (64,), (y, np.int32(2)))


@pytest.mark.skipif(REAL, reason="the emulator is what is tested")
def test_the_emulator_catches_what_a_gpu_could_not_read():
    """Far from its array; or 16 bytes at a time that begin anywhere."""
    copy, x = emulator.Module(PLANTED).get_function("copy_four"), np.arange(68, dtype=np.float32)
    even = -x.ctypes.data // 4 % 4
    for shift in range(4):
        y = np.zeros(64, np.float32)
        given = x[(even + shift) % 4 :][:64]
        for far in (0, 1 << 29):  # 2 GB on there is no memory
            with emulator.running(guard=True):
                if shift or far:
                    with pytest.raises(RuntimeError, match="copy_four: read or written far outside the arrays, or many bytes"):
                        copy((1,), (16,), (given, y, np.int32(far)))
                else:
                    copy((1,), (16,), (given, y, np.int32(far)))
        assert shift or (y == given).all()


@pytest.mark.skipif(REAL, reason="the emulator is what is tested")
def test_the_emulator_is_strict_about_arguments():
    kernel = emulator.Module(PLANTED).get_function("reverse")
    x, y, n = np.zeros(64, np.float32), np.zeros(64, np.float32), np.int32(64)
    wrong = [
        ((x, y, 64, n), TypeError, "argument 2: numpy.int32 needed, got int"),
        ((x, y, np.int64(64), n), TypeError, "argument 2: numpy.int32 needed, got int64"),
        ((x.astype(float), y, n, n), TypeError, "argument 0: a contiguous array of float32 needed"),
        ((np.zeros(128, np.float32)[::2], y, n, n), TypeError, "argument 0"),
        ((x, y, n), TypeError, "takes 4 arguments, got 3"),
    ]
    for args, kind, message in wrong:
        with pytest.raises(kind, match=message):
            kernel((1,), (64,), args)
    for grid, block in (((0,), (64,)), ((1,), (1025,)), ((1, 70000), (64,)), ((1,), (32, 64))):
        with pytest.raises(ValueError, match="at most|between"):
            kernel(grid, block, (x, y, n, n))
    large = np.zeros((), [("numbers", np.int32, 1022)])[()]
    emulator.Module(PLANTED).get_function("fits")((1,), (64,), (x, large))
    with pytest.raises(ValueError, match="at most 64 threads"):
        emulator.Module(PLANTED).get_function("fits")((1,), (96,), (x, large))
    with pytest.raises(ValueError, match="4104 bytes of arguments"):
        emulator.Module(PLANTED).get_function("is_too_large")
    with pytest.raises(AttributeError, match="no kernel 'nothing'"):
        emulator.Module(PLANTED).get_function("nothing")
    with pytest.raises(RuntimeError, match=r"kernels.cu:1"):
        emulator.Module('extern "C" __global__ void f(int n) { m = n; }')
