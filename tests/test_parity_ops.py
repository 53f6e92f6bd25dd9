"""Ops beside PyTorch where there is a choice: kinks, ties, zeros, signs, empty reductions, equal elements, dtypes."""

import itertools
import math

import numpy as np
import pytest

import minidl
from minidl.testing import GradcheckError, gradcheck, gradgradcheck

torch = pytest.importorskip("torch")
# NumPy's word on 0 / 0 and the like, PyTorch's on var
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.filterwarnings("ignore:.*degrees of freedom")]

INF, NAN = math.inf, math.nan


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def both(f, *data, dtype="float64", grad=True):
    """``f(library, *tensors)`` in both libraries: equal values, dtypes and, for a random cotangent, gradients."""
    rng = np.random.default_rng(0)
    arrays = [np.array(x, dtype if np.array(x).dtype.kind == "f" else None) for x in data]
    ours = [minidl.tensor(a, requires_grad=grad and a.dtype.kind == "f") for a in arrays]
    theirs = [torch.tensor(a, requires_grad=grad and a.dtype.kind == "f") for a in arrays]
    got, want = as_tuple(f(minidl, *ours)), as_tuple(f(torch, *theirs))
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-14
        )
        assert a.requires_grad == b.requires_grad
        if a.requires_grad:
            v = rng.normal(size=a.shape)
            a.backward(minidl.from_numpy(v).to(a.dtype), retain_graph=True)
            b.backward(torch.tensor(v).to(b.dtype), retain_graph=True)
    for i, (a, b) in enumerate(zip(ours, theirs)):
        assert (a.grad is None) == (b.grad is None), f"gradient of input {i}: {a.grad}, PyTorch {b.grad}"
        if a.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-14, err_msg=f"gradient of input {i}")


EDGES = [-2.0, -1.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, INF, -INF, NAN]
UNARY = (
    "abs sign floor ceil trunc round frac relu sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos "
    "atan sinh cosh tanh asinh acosh atanh sigmoid erf neg square nan_to_num isnan isinf isfinite logical_not"
)


@pytest.mark.parametrize("name", UNARY.split())
def test_functions_at_their_edges(name):
    both(lambda lib, x: getattr(lib, name)(x), EDGES[: 13 if name == "relu" else None])  # relu passes PyTorch a gradient at NaN


BINARY = (
    "add sub mul div floor_divide remainder fmod maximum minimum atan2 logaddexp eq ne lt le gt ge logical_and logical_or "
    "logical_xor"
)


@pytest.mark.parametrize("name", BINARY.split())
def test_functions_of_two_at_their_edges(name):
    pairs = np.array(list(itertools.product([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0], repeat=2)))
    grad = name != "floor_divide"  # which has no gradient in PyTorch, and zeros here
    both(lambda lib, x, y: getattr(lib, name)(x, y), pairs[:, 0], pairs[:, 1], grad=grad)


@pytest.mark.parametrize("name", ["remainder", "fmod", "floor_divide", "div", "pow"])
def test_integers_and_signs(name):
    pairs = np.array([p for p in itertools.product([-7, -2, 0, 2, 7], [-3, -2, 2, 3])])
    y = np.abs(pairs[:, 1]) if name == "pow" else pairs[:, 1]
    both(lambda lib, x, y: getattr(lib, name)(x, y), pairs[:, 0], y)


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
def test_rounding_modes(mode):
    x, y = [-7, 7, -6, 6, 5], [2, -2, 3, 3, 2]
    both(lambda lib, x, y: lib.div(x, y, rounding_mode=mode), x, y)
    both(lambda lib, x, y: lib.div(x, y, rounding_mode=mode), np.array(x) + 0.5, y)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.5, 1.5, -0.5, 2.0, 0.0])
def test_powers_with_a_number(exponent):
    both(lambda lib, x: x**exponent, [-1.5, -1.0, 0.0, 0.5, 2.0])
    both(lambda lib, x: 0.0**x, [0.5, 1.0, 2.0])
    both(lambda lib, x: 2.0**x, [-1.5, 0.0, 2.0])


def test_powers_of_zero_and_of_one():
    x, y = zip(*itertools.product([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 0.5, 3.0]))
    both(lambda lib, x, y: lib.pow(x, y), x, y)


@pytest.mark.parametrize("bounds", [(-1, 1), (None, 1), (-1, None), (1, -1), (0.0, 0.0)])
def test_clamp_at_and_beyond_its_bounds(bounds):
    both(lambda lib, x: lib.clamp(x, *bounds), EDGES)


def test_clamp_between_tensors():
    x, lo, hi = zip(*itertools.product([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0], [0.0, 0.25], [0.5, 1.0]))
    both(lambda lib, x, lo, hi: lib.clamp(x, lo, hi), x, lo, hi)
    both(lambda lib, x, lo: lib.clamp(x, min=lo), x, lo)


def test_where_and_masked_fill():
    both(lambda lib, c, x, y: lib.where(c, x, y), [True, False], [1.0, NAN], [NAN, 2.0])
    both(lambda lib, c, x: lib.where(c, x, 0.0), [True, False], [1.0, NAN])
    both(lambda lib, m, x: x.masked_fill(m, -INF), [True, False], [1.0, 2.0])


TIES = [[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, -1.0, -1.0, 0.0]]


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min", "argmax", "argmin"])
def test_extremes_with_ties(name):
    both(lambda lib, x: getattr(lib, name)(x, 1), TIES)
    both(lambda lib, x: getattr(lib, name)(x, 0, keepdim=True), TIES)
    if not name.startswith("a"):
        both(lambda lib, x: getattr(lib, name)(x), TIES)


@pytest.mark.parametrize(
    "name", ["amax", "amin", "max", "min", "argmax", "argmin", "sort", "median", "cumsum", "softmax", "logsumexp"]
)
def test_nan_and_infinities_along_a_dimension(name):
    rows = [[1.0, NAN, 2.0], [INF, 1.0, -INF], [-INF, -INF, -INF], [1.0, 2.0, INF]]
    both(lambda lib, x: getattr(lib, name)(x, 1), rows, grad=name not in ("softmax", "logsumexp"))


@pytest.mark.parametrize("descending", [False, True])
def test_order_of_equal_elements(descending):
    both(
        lambda lib, x: (
            lib.sort(x, 1, descending, stable=True) if lib is minidl else lib.sort(x, dim=1, descending=descending, stable=True)
        ),
        TIES,
    )
    both(lambda lib, x: lib.argsort(x, dim=1, descending=descending, stable=True), TIES)


@pytest.mark.parametrize("largest", [False, True])
def test_topk(largest):
    both(lambda lib, x: lib.topk(x, 2, dim=1, largest=largest), [[1.0, 3.0, 2.0, -1.0], [0.5, 0.0, 4.0, 5.0]])
    both(lambda lib, x: lib.topk(x, 2, dim=1, largest=largest)[0], TIES, grad=False)  # which of equal elements is left open


def test_median_is_the_lower_of_two():
    both(lambda lib, x: lib.median(x), [4.0, 1.0, 3.0, 2.0])
    both(lambda lib, x: lib.median(x, 0), [[4.0, 1.0], [3.0, 2.0], [1.0, 0.0], [2.0, 5.0]])
    both(lambda lib, x: lib.median(x, 0, keepdim=True), [[4.0, 1.0], [3.0, 2.0], [1.0, 0.0]])


ZEROS = [[1.0, 2.0, 3.0], [0.0, 2.0, 3.0], [1.0, 0.0, 3.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]


def test_products_with_zeros():
    both(lambda lib, x: lib.prod(x, 1), ZEROS)
    both(lambda lib, x: lib.prod(x, 0, keepdim=True), ZEROS)
    both(lambda lib, x: lib.cumprod(x, 1), ZEROS)
    for row in ZEROS:
        both(lambda lib, x: lib.prod(x), row)
        both(lambda lib, x: lib.cumprod(x, 0), row)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, INF, -INF, "fro"])
def test_norms_at_zero_and_with_ties(p):
    for x in ([1.0, -2.0, 0.5], [0.0, 0.0], [2.0, -2.0], [0.0, 3.0, -4.0]):
        both(lambda lib, x: lib.norm(x, p), x, grad=p != 0)
    both(lambda lib, x: lib.norm(x, p, dim=1), [[1.0, -2.0], [3.0, 4.0]], grad=p != 0)


@pytest.mark.parametrize("correction", [0, 1])
def test_variance_of_few_elements(correction):
    rows = [[[1.0], [2.0]], [[1.0, 2.0], [3.0, 5.0]], [[1.0, 1.0], [2.0, 2.0]]]
    for x in rows:
        both(lambda lib, x: lib.var(x, 1, correction=correction), x, grad=len(x[0]) > correction)
        both(lambda lib, x: lib.std(x, 1, correction=correction), x, grad=len(x[0]) > correction and x[0][0] != x[0][-1])
    both(lambda lib, x: lib.var_mean(x, 0, correction=correction), [[1.0], [2.0], [4.0]])


@pytest.mark.parametrize(
    "name", ["sum", "mean", "prod", "var", "std", "all", "any", "logsumexp", "cumsum", "cumprod", "softmax", "sort"]
)
def test_reductions_of_nothing(name):
    needs_dim = name in ("logsumexp", "cumsum", "cumprod", "softmax", "sort")
    if not needs_dim:
        both(lambda lib, x: getattr(lib, name)(x), np.zeros(0), grad=False)
    both(lambda lib, x: getattr(lib, name)(x, 0), np.zeros((0, 2)), grad=False)
    both(lambda lib, x: getattr(lib, name)(x, 1), np.zeros((0, 2)))


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min", "argmax", "argmin"])
def test_extremes_of_nothing_are_errors_in_both(name):
    for lib in (minidl, torch):
        with pytest.raises((RuntimeError, IndexError)):
            getattr(lib, name)(lib.zeros(0, 2), 0)


@pytest.mark.parametrize("name", "sum mean prod amax max min argmax norm cumsum cumprod softmax sort median logsumexp".split())
def test_numbers_without_dimensions(name):
    op = (lambda lib, x, *dim: lib.norm(x, 2, *dim)) if name == "norm" else (lambda lib, x, *dim: getattr(lib, name)(x, *dim))
    if name not in ("cumsum", "cumprod", "softmax", "logsumexp"):
        both(op, 2.5)
    both(lambda lib, x: op(lib, x, 0), 2.5)
    both(lambda lib, x: op(lib, x, -1), 2.5)
    both(lambda lib, x: lib.topk(x, 1), 2.5)
    both(lambda lib, x: lib.flatten(x), 2.5)


DTYPES = "float64 float32 float16 int64 int32 int16 int8 uint8 bool".split()


def test_promotion_is_pytorchs():
    for a, b in itertools.product(DTYPES, repeat=2):
        assert str(minidl.promote_types(getattr(minidl, a), getattr(minidl, b))) == "minidl." + name_of(
            torch.promote_types(getattr(torch, a), getattr(torch, b))
        )
        for shapes in itertools.product([(), (2,)], repeat=2):
            got, want = (
                lib.result_type(*(lib.ones(s, dtype=getattr(lib, d)) for s, d in zip(shapes, (a, b))))
                for lib in (minidl, torch)
            )
            assert name_of(got) == name_of(want), (a, b, shapes)
        for number in (True, 2, 2.5):
            got, want = (lib.result_type(lib.ones((2,), dtype=getattr(lib, a)), number) for lib in (minidl, torch))
            assert name_of(got) == name_of(want), (a, number)


def name_of(dtype):
    return str(dtype).split(".")[-1]


@pytest.mark.parametrize("name", ["add", "mul", "div", "maximum", "pow", "atan2", "eq", "where"])
def test_ops_promote_as_pytorch_does(name):
    for a, b in itertools.product(DTYPES, repeat=2):
        if name == "pow" and a == b == "bool":
            continue
        outcome = []
        for lib in (minidl, torch):
            x, y = lib.ones((2,), dtype=getattr(lib, a)), lib.ones((2,), dtype=getattr(lib, b))
            out = lib.where(x > 0, x, y) if name == "where" else getattr(lib, name)(x, y)
            outcome.append((name_of(out.dtype), out.tolist()))
        assert outcome[0] == outcome[1] or (outcome[0][0] == outcome[1][0] and name in ("atan2",)), (a, b, outcome)


@pytest.mark.parametrize(
    "name", ["sum", "prod", "cumsum", "cumprod", "exp", "sqrt", "sigmoid", "abs", "sign", "neg", "floor", "square"]
)
def test_dtypes_of_results(name):
    for d in DTYPES:
        if (name, d) in (("neg", "bool"), ("abs", "bool"), ("floor", "bool"), ("square", "bool")):
            continue
        dims = (0,) if name.startswith("cum") else ()
        got, want = (getattr(lib, name)(lib.ones((2,), dtype=getattr(lib, d)), *dims) for lib in (minidl, torch))
        assert name_of(got.dtype) == name_of(want.dtype), d


def test_index_semantics():
    x = np.arange(24.0).reshape(2, 3, 4)
    i, j = np.array([0, 1, 1]), np.array([[2], [0]])
    for key in (
        (i,),
        (slice(None), i),
        (0, slice(None), i),
        (i, slice(None), i),
        (slice(None), j, i),
        (..., i),
        (1, i, 2),
        (i, 0),
        (None, i),
    ):

        def pick(lib, x, key=key):
            return x[tuple(lib.tensor(k) if isinstance(k, np.ndarray) else k for k in key)]

        both(pick, x)
    both(lambda lib, x: x[x > 5], x)
    both(lambda lib, x: x[:, lib.tensor([True, False, True])], x)
    both(lambda lib, x: x[-1, ::2, 1:], x)


class TorchEngine:
    """PyTorch's tensors, as the checker uses them."""

    def is_tensor(self, x):
        return isinstance(x, torch.Tensor)

    def wants_grad(self, x):
        return x.requires_grad

    def array(self, x):
        return x.detach().numpy()

    def tensor(self, array, requires_grad=False):
        array = array if all(s >= 0 for s in array.strides) else array.copy()
        return torch.as_tensor(array).requires_grad_(requires_grad)

    def grad(self, outputs, inputs, cotangents, create_graph):
        return torch.autograd.grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)

    def name(self, x):
        return x.grad_fn.name()


def test_the_checker_can_check_another_library():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: torch.softmax(x, -1), x, engine=TorchEngine())
    assert gradgradcheck(lambda x: torch.softmax(x, -1), x, engine=TorchEngine())
    with pytest.raises(GradcheckError, match="MulBackward0"):
        gradcheck(lambda x: x * x.detach(), x, engine=TorchEngine())
