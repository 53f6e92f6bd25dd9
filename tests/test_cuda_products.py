"""Products of matrices on a GPU: our own kernel, and what cublasLt is told of them.

The library needs a GPU only to choose an algorithm and to run it. So NumPy plays that part: it computes what the descriptors
say, down columns as the library counts. The descriptors are kept by the stand-in, and once more by NVIDIA's library itself,
where its wheel is installed, and are read back from there.
"""

import contextlib
import ctypes
import functools
import importlib.util
import itertools
import math
import pathlib
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import cublaslt as standin
from standin import strict
from test_cuda import gpu, on_standin  # noqa: F401
from test_cuda_kernels import BARS, DTYPES, REAL, close, hard, rounded

import minidl
from minidl import nn
from minidl.kernels import precision
from minidl.kernels.cuda import cublaslt, loader, products
from minidl.kernels.cuda.capture import Graph

cupy = loader.cupy
MISSING = "NVIDIA's library is not installed: pip install 'minidl[cublas-check]'"
KEPT_BY = ["a GPU's library"] if REAL else ["the stand-in", "NVIDIA's library"]


@functools.cache
def wheel():
    """The folder with NVIDIA's library, or None."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else [p for d in found.submodule_search_locations for p in pathlib.Path(d).glob("cu*")]
    return next((p for p in places if any((p / "lib").glob("libcublasLt.so.*"))), None)


def nvidias():
    if wheel() is None:
        pytest.skip(MISSING)
    return cublaslt.prepared(ctypes.CDLL(str(next((wheel() / "lib").glob("libcublasLt.so.*")))))


@pytest.fixture(params=KEPT_BY)
def library(request, monkeypatch):
    """Whoever keeps the descriptors; on a machine with a GPU the library as it is."""
    found, stream = cublaslt.library() if REAL else None, strict.products.stream
    if not REAL:
        found = standin.Library(stream) if request.param == KEPT_BY[0] else standin.Real(stream, nvidias())
        monkeypatch.setattr(cublaslt, "library", lambda: found)
    forget()
    yield found
    forget()


def forget():
    cublaslt.plan.cache_clear()
    cublaslt._handle.cache_clear()


def drawn(seed, *shape, dtype=np.float32):
    return cupy.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def wide(x):
    return x.get().astype(np.float64)


def forms(x):
    """The same numbers in several ways in memory: along rows, down columns, with gaps, backwards, in another order."""
    yield x
    yield turned(x)
    gaps = cupy.zeros((*x.shape[:-2], x.shape[-2] + 1, x.shape[-1] + 3), x.dtype)
    gaps[..., 1:, 2:-1] = x
    yield gaps[..., 1:, 2:-1]
    yield cupy.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if x.ndim > 2:
        yield cupy.ascontiguousarray(x.swapaxes(0, -2)).swapaxes(0, -2)


def turned(x):
    return cupy.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def made(a, b, *args, **options):
    out = cupy.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    assert cublaslt.product(a, b, out, *args, **options)
    return out


# -- cublasLt


SHAPES = [
    ((5, 3), (3, 7)),
    ((1, 6), (6, 1)),
    ((4, 1), (1, 5)),
    ((70, 130), (130, 33)),
    ((3, 4, 5), (3, 5, 2)),
    ((2, 3, 4, 5), (2, 3, 5, 2)),
    ((1, 4, 5), (3, 5, 2)),  # one for all
    ((3, 4, 5), (5, 2)),
    ((2, 1, 4, 5), (3, 5, 2)),  # each with each, and no stride says how that goes on
    ((2, 3, 4, 5), (2, 1, 5, 2)),
]


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_what_is_described_is_the_product(library, shapes, dtype):
    a, b = (drawn(i, *shape, dtype=dtype) for i, shape in enumerate(shapes))
    for left, right in itertools.product(forms(a), forms(b)):
        close(made(left, right).get(), np.matmul(wide(a), wide(b)))


@st.composite
def views(draw, shape):
    """An array of this shape as a view of another one, whose dimensions are in any order, with gaps and backwards."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
    whole = cupy.zeros([shape[d] * abs(steps[d]) + draw(st.integers(0, 1)) for d in order], np.float32)
    parts = [slice(n - 1, None, -1) if step < 0 else slice(0, n * step, step) for n, step in zip(shape, steps)]
    view = whole.transpose([order.index(d) for d in range(len(shape))])[tuple(parts)]
    view[...] = drawn(draw(st.integers(0, 99)), *shape)
    return view


sizes = st.integers(1, 3)


@pytest.mark.parametrize("multiply", [products.multiply, products.own], ids=["by the library", "by our kernel"])
@given(st.data(), st.lists(sizes, max_size=2), sizes, sizes, sizes)
def test_products_of_any_views(multiply, data, batch, m, k, n):
    lead = [data.draw(st.sampled_from([batch, batch[1:], [1] * len(batch)])) for _ in range(2)]
    a, b = data.draw(views((*lead[0], m, k))), data.draw(views((*lead[1], k, n)))
    out = data.draw(views((*np.broadcast_shapes(*map(tuple, lead)), m, n)))
    multiply(a, b, out)
    close(out.get(), np.matmul(wide(a), wide(b)))


def test_nothing_is_copied_that_the_library_can_find():
    a, b = drawn(0, 3, 4, 5), drawn(1, 5, 2)
    for x in (a, turned(a), a[:, 1:, :3], a[::2], cupy.broadcast_to(a[:1], a.shape)):
        assert cublaslt._seen(x, x.shape[:1])[0] is x
    for x, (transposed, ld, stride) in ((b, (False, 2, 0)), (b.T, (True, 2, 0)), (b[:, :1].T, (True, 2, 0))):
        _, matrix, flag = cublaslt._seen(x, (3,))
        assert (flag, matrix.ld, matrix.batch, matrix.stride) == (transposed, ld, 3, stride)


def test_where_the_result_goes(library):
    """A part of a larger array, also of several batches; and where the library cannot write, by way of a copy."""
    a, b = drawn(0, 2, 3, 4, 5), drawn(1, 2, 3, 5, 6)
    wanted = np.matmul(wide(a), wide(b))
    for shape, where in [((2, 3, 9, 8), np.s_[:, :, 2:6, 1:7]), ((4, 3, 4, 6), np.s_[::2]), ((2, 3, 4, 12), np.s_[..., ::2])]:
        whole = cupy.zeros(shape, np.float32)
        products.matmul(a, b, whole[where])
        close(whole[where].get(), wanted)
        assert (whole != 0).sum().item() == wanted.size
    down = cupy.empty((2, 3, 6, 4), np.float32)
    products.matmul(a, b, down.swapaxes(-1, -2))
    close(down.get(), wanted.swapaxes(-1, -2))


def test_what_follows_the_product(library):
    a, b, bias = drawn(0, 6, 5), drawn(1, 5, 200), drawn(2, 200)
    product = wide(a) @ wide(b)
    for left, right in itertools.product((a, turned(a)), (b, turned(b))):
        close(made(left, right, epilogue="bias", bias=bias).get(), product + wide(bias))
        close(made(left, right, epilogue="relu").get(), np.maximum(product, 0))
        close(made(left, right, epilogue="relu_bias", bias=bias).get(), np.maximum(product + wide(bias), 0))
        sums = cupy.empty(6, np.float32)
        close(made(left, right, epilogue="bgradb", bias=sums).get(), product)
        close(sums.get(), wide(a).sum(1))


def test_a_linear_layers_gradients_in_one_product(library, monkeypatch):
    g, x = drawn(0, 2, 3, 4), drawn(1, 2, 3, 70)
    gw, gb = products.linear_grad(g, x)
    close(gw.get(), np.einsum("abn,abk->nk", wide(g), wide(x)))
    close(gb.get(), wide(g).sum((0, 1)))
    assert products.linear_grad(g[:, :0], x[:, :0]) is None
    monkeypatch.setitem(precision.allowed, "matmul", "bfloat16")
    assert products.linear_grad(g, x) is None


@on_standin
@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_a_compiled_layer_with_relu_is_one_product_and_two_back(gpu, dtype):  # noqa: F811
    """Where the library has an algorithm; in float64 the stand-in says that it has none for the sum beside."""
    nets = [nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU()).to("cuda", dtype) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    quick, x = minidl.compile(nets[1]), minidl.randn(6, 5, device="cuda", dtype=dtype)
    for _ in range(5):  # watched, run, tried to capture, and then as it goes on
        for net in nets:
            net.zero_grad()
        before = len(strict.products.log)
        quick(x).square().sum().backward()
        found = [entry["epilogue"] for entry in strict.products.log[before:]]
        nets[0](x).square().sum().backward()
    assert found == ([6, 6, 1, 512, 512] if dtype == minidl.float32 else [6, 6, 1, 1, 1])
    for mine, other in zip(nets[1].parameters(), nets[0].parameters()):
        close(mine.grad._array.get(), other.grad.cpu().numpy())


@pytest.mark.parametrize(
    ("compute", "least", "most"),
    [("float32", 0, 1e-5), ("tf32", 1e-5, 5e-4), ("float16", 1e-5, 5e-4), ("bfloat16", 5e-4, 1e-2)],
)
def test_rounded_factors(library, compute, least, most):
    """Of sizes that the tensor cores like: with others the library may do without them, and be more precise."""
    a, b = drawn(0, 64, 320), drawn(1, 320, 48)
    wanted = wide(a) @ wide(b)
    error = np.linalg.norm(made(a, b, compute).get() - wanted) / np.linalg.norm(wanted)
    assert least <= error <= most
    close(made(a.astype(np.float64), b.astype(np.float64), compute).get(), wanted)  # of float32 only


def test_rounding_is_to_the_nearest_and_to_even():
    """Against NumPy's float16, where it has as many bits."""
    x = np.random.default_rng(0).normal(size=9999).astype(np.float32)
    x[:5] = 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, math.inf, math.nan
    np.testing.assert_array_equal(standin.rounded(x, 10)[abs(x) > 1e-4], x.astype(np.float16).astype(np.float32)[abs(x) > 1e-4])


def test_a_plan_is_made_once(library):
    a, b = drawn(0, 6, 8), drawn(1, 8, 4)
    for _ in range(3):
        made(a, b)
        made(turned(a), b)
    assert cublaslt.plan.cache_info().misses == 2
    odd = drawn(0, 6, 9)[:, 1:]  # begins at 4 bytes after an even place, where some algorithms cannot fetch
    made(odd, b)
    made(odd, b)
    assert cublaslt.plan.cache_info().misses == 3
    if isinstance(library, standin.Library) and not isinstance(library, standin.Real):
        assert len(library.kept) == 3 * 5
        forget()
        assert not library.kept


def test_products_are_captured(library):
    """As part of a graph: nothing waits, and the memory to work in is the graph's own."""
    x, w, bias, graph = drawn(0, 4, 100), drawn(1, 3, 100), drawn(2, 3), Graph()
    products.linear(x, w, bias, True)
    waits, found, wanted = len(strict.SYNCS), [], []
    out = graph.capture(lambda: products.linear(x * 1, w, bias, True) * 1)
    for _ in range(3):
        graph.launch()
        found.append(out * 1)
        wanted.append(products.linear(x, w, bias, True))
        x *= 2
    assert len(strict.SYNCS) == waits
    for f, w in zip(found, wanted):
        np.testing.assert_array_equal(f.get(), w.get())
    assert (found[0] != found[1]).any().item()


@on_standin
def test_what_the_library_takes_back_is_made_by_our_own_kernel(gpu, monkeypatch):  # noqa: F811
    """It may find an algorithm, and then say that this GPU does not have it."""
    monkeypatch.setattr(strict.products, "cublasLtMatmul", lambda *_: cublaslt.NOT_SUPPORTED)
    a, b = drawn(0, 6, 8), drawn(1, 8, 4)
    assert not cublaslt.product(a, b, cupy.empty((6, 4), np.float32))
    close(products.matmul(a, b).get(), wide(a) @ wide(b))


@on_standin
def test_the_stand_in_is_strict(monkeypatch):
    a, b, out = drawn(0, 6, 8), drawn(1, 8, 4), cupy.empty((6, 4), np.float32)
    plans, run = [], cublaslt.Plan.run
    monkeypatch.setattr(cublaslt.Plan, "run", lambda plan, *places: plans.append((plan, places)) or run(plan, *places))
    assert cublaslt.product(a, b, out)
    ((plan, places),) = plans
    small = drawn(0, 7, 4)
    for wrong, kind, said in [
        ((places[0] + 4, *places[1:]), AssertionError, "less even"),
        ((places[0] + 512, *places[1:]), AssertionError, "no array begins"),
        ((small.data.ptr, *places[1:]), (ValueError, AssertionError), "size of buffer|less even"),
    ]:
        with pytest.raises(kind, match=said):
            run(plan, *wrong)
    other = cublaslt.plan(0, plan_of(9, 8, 4), (False, False), "float32", "", (4, 4, 4, 0))
    other.choice, other.algorithm = plan.choice, plan.algorithm
    with pytest.raises(AssertionError, match="another product"):
        run(other, *places)


def plan_of(m, k, n):
    return tuple(cublaslt.Matrix(0, *sizes, 1, 0) for sizes in ((n, k, n), (k, m, k), (n, m, n)))


# -- the binding beside NVIDIA's header


def test_numbers_and_signatures_are_those_of_the_header():
    if wheel() is None or not (wheel() / "include" / "cublasLt.h").exists():
        pytest.skip(MISSING)
    text = "".join((wheel() / "include" / name).read_text() for name in ("cublasLt.h", "cublas_api.h"))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    numbers = {}
    for name, value in re.findall(r"(CUBLAS\w+)\s*=\s*([^,}]+)[,}\s]", text):
        with contextlib.suppress(NameError):  # of another header
            numbers[name] = eval(value, {}, numbers)
    assert numbers["CUBLAS_STATUS_NOT_SUPPORTED"] == cublaslt.NOT_SUPPORTED
    for name, number in cublaslt.EPILOGUES.items():
        assert number == numbers[f"CUBLASLT_EPILOGUE_{name.upper() or 'DEFAULT'}"]
    long = {"float32": "32F", "tf32": "32F_FAST_TF32", "bfloat16": "32F_FAST_16BF", "float16": "32F_FAST_16F", "float64": "64F"}
    for name, number in cublaslt.COMPUTE.items():
        assert number == numbers[f"CUBLAS_COMPUTE_{long[name]}"]
    long = {
        "bias": "BIAS_POINTER", "batch": "BATCH_COUNT", "stride": "STRIDED_BATCH_OFFSET", "workspace": "MAX_WORKSPACE_BYTES",
        "reductions": "REDUCTION_SCHEME_MASK", "compute": "COMPUTE_TYPE", "scale": "SCALE_TYPE", "columns": "COLS",
    } | {f"aligned_{x}": f"MIN_ALIGNMENT_{x.upper()}_BYTES" for x in "abcd"}  # fmt: skip
    tables = {"MATMUL_DESC": cublaslt.OF_PRODUCT, "MATRIX_LAYOUT": cublaslt.OF_MATRIX, "MATMUL_PREF": cublaslt.OF_PREFERENCE}
    known = dict(zip(tables, standin.ATTRIBUTES.values()))
    for kind, table in tables.items():
        for name, number in [*((n, a[0]) for n, a in table.items()), *((a[0], n) for n, a in known[kind].items())]:
            assert number == numbers[f"CUBLASLT_{kind}_{long.get(name, name.upper())}"]
    of_c = {
        "int": ctypes.c_int,
        "int32_t": ctypes.c_int,
        "uint64_t": ctypes.c_uint64,
        "int64_t": ctypes.c_int64,
        "size_t": ctypes.c_size_t,
    }
    numbered = "MatmulDescAttributes MatrixLayoutAttribute MatmulPreferenceAttributes".split()
    of_c |= dict.fromkeys([f"cublasLt{name}_t" for name in numbered], ctypes.c_int)
    of_c |= dict.fromkeys(["cublasComputeType_t", "cudaDataType", "cudaDataType_t"], ctypes.c_int)
    for name, types in cublaslt.SIGNATURES.items():
        given = re.search(rf"CUBLASWINAPI cublasLt{name}\((.*?)\);", text, re.DOTALL)[1].split(",")
        words = [re.sub(r"const ", "", argument).strip() for argument in given]
        assert [ctypes.c_void_p if re.search(r"\*|\[\]", w) else of_c.get(w.split()[0], ctypes.c_void_p) for w in words] == [
            *types
        ], name
    assert ctypes.sizeof(cublaslt.Choice) == 64 + 8 + 4 + 4 + 16


def fresh(monkeypatch):
    """The binding as it is before anyone has put something in the library's place."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    spec = importlib.util.spec_from_file_location("minidl.kernels.cuda.fresh", cublaslt.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_errors_are_the_librarys_own_words(monkeypatch):
    binding, found = fresh(monkeypatch), nvidias()
    monkeypatch.setattr(binding, "library", lambda: found)
    with pytest.raises(RuntimeError, match=r"cublasLtMatmulDescCreate says: .* \(CUBLAS_STATUS_INVALID_VALUE\)"):
        binding._ask("MatmulDescCreate", None, 68, 0)
    if not REAL:
        with pytest.raises(RuntimeError, match=r"cublasLtCreate says: .* \(CUBLAS_STATUS_NOT_INITIALIZED\)"):
            binding._handle(0)


def test_without_the_library_products_are_our_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    binding = fresh(monkeypatch)
    with pytest.warns(UserWarning, match="cublasLt cannot be loaded, .* pip install nvidia-cublas"):
        assert binding.library() is None
    assert binding.library() is None  # said once
    monkeypatch.setattr(cublaslt, "library", binding.library)
    a, b, bias, launched = drawn(0, 6, 5), drawn(1, 3, 5), drawn(2, 3), []
    launch = products.launch
    monkeypatch.setattr(products, "launch", lambda file, *args, **types: launched.append(file) or launch(file, *args, **types))
    close(products.linear(a, b, bias, True).get(), np.maximum(wide(a) @ wide(b).T + wide(bias), 0))
    assert launched == ["gemm"]


def test_the_library_is_found_where_it_is_installed(monkeypatch):
    pytest.importorskip("cuda.pathfinder", reason=MISSING)
    if wheel() is None:
        pytest.skip(MISSING)
    assert fresh(monkeypatch).library().cublasLtGetVersion() >= 120000


# -- our own kernel


OWN = [
    ((5, 3), (3, 7)),
    ((70, 33), (33, 65)),
    ((3, 600), (600, 5)),  # sums that are cut
    ((2, 1, 5, 9), (3, 9, 4)),
    ((9, 8, 16), (9, 16, 9)),
    ((2, 4, 1100), (1100, 3)),
    ((6, 0), (0, 2)),
]


def own(a, b, bias=None, with_relu=False):
    out = cupy.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    products.own(a, b, out, bias, with_relu)
    return out


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
@pytest.mark.parametrize("shapes", OWN, ids=str)
def test_our_kernel(shapes, dtype):
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=shape).astype(dtype) for shape in (*shapes, shapes[1][-1:]))
    wanted = np.matmul(a.astype(np.float64), b.astype(np.float64))
    left, right = (np.ascontiguousarray(x.swapaxes(-1, -2)) for x in (a, b))
    close(hard(own, a, b), wanted, dtype)
    close(hard(lambda a, b: own(a.swapaxes(-1, -2), b.swapaxes(-1, -2)), left, right), wanted, dtype)
    close(hard(lambda a, b, bias: own(a.swapaxes(-1, -2), b, bias, True), left, b, bias), np.maximum(wanted + bias, 0), dtype)
    close(hard(lambda a, b: own(a, b.swapaxes(-1, -2), None, True), a, right), np.maximum(wanted, 0), dtype)


@pytest.mark.parametrize("operands", BARS)
@pytest.mark.parametrize("shapes", [OWN[i] for i in (1, 2, 4)], ids=str)
def test_our_kernel_on_the_tensor_cores(shapes, operands, monkeypatch):
    monkeypatch.setitem(precision.allowed, "matmul", operands)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    left = np.ascontiguousarray(a.swapaxes(-1, -2))
    found, exact = hard(lambda a, b: own(a.swapaxes(-1, -2), b), left, b), np.matmul(a.astype(float), b.astype(float))
    close(found, np.matmul(rounded(a, operands), rounded(b, operands)))
    assert 1e-5 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < BARS[operands]
    close(hard(own, a.astype(float), b.astype(float)), exact)  # float64 stays what it is


@pytest.mark.parametrize("product", [own, lambda a, b: products.matmul(a, b)], ids=["own", "cublasLt"])
@pytest.mark.parametrize("operands", BARS)
def test_what_is_not_finite_or_too_large(product, operands, monkeypatch):
    """Of float16 that is all beyond 65504, and what is below 6e-8 vanishes; unless a GPU's library does not round at all."""
    monkeypatch.setitem(precision.allowed, "matmul", operands)
    inf, nan = math.inf, math.nan
    x = np.array([[inf, -inf, nan, 1e38, 7e4, 1e-9, 0.0]], np.float32).T
    found = product(cupy.asarray(x), cupy.ones((1, 1), np.float32)).get().ravel()
    as_it_is = REAL and product is not own and found[4] < inf  # which the library may choose for a product as small as this
    wanted = [inf, -inf, nan, inf, inf, 0, 0] if operands == "float16" and not as_it_is else x.ravel()
    np.testing.assert_allclose(found, wanted, rtol=4e-3)


def test_how_sums_are_cut():
    """By the sizes alone: 16 tiles of 4096 products each become 256 blocks, and enough tiles are left as they are."""
    cuts = []
    for m, n, k in ((100, 512, 4096), (100, 10, 512), (1024, 1024, 4096), (4, 4, 200)):
        tiles = math.ceil(m / 64) * math.ceil(n / 64)
        cuts.append(products.parts(tiles, k))
    assert cuts == [16, 2, 1, 1]


@pytest.mark.parametrize("product", [own, lambda a, b, bias, relu: products.linear(a, b.T, bias, relu)])
def test_nan_goes_through_relu(product):
    a = cupy.asarray(np.array([[math.nan, 1], [1, -1], [math.inf, 1]], np.float32))
    found = product(a, cupy.ones((2, 3), np.float32), cupy.zeros(3, np.float32), True).get()
    np.testing.assert_array_equal(found, np.repeat([[math.nan], [0], [math.inf]], 3, 1))
