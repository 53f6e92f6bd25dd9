"""Reductions, scans and order: values against plain Python over lists, gradients to order two."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, along, check_gradients, check_values, long, reduced, summed, truth

import minidl
from minidl.testing import strategies as mst
from minidl.testing.strategies import ANY, NONZERO, UNIQUE, Domain

FLOAT = ("float",)
NUMBERS = ("float", "integer")
ALL = ("float", "integer", "bool")
SPREAD = Domain(unique=True, away_from=(0.0,), shift=1 / 37)  # no two of the same size


@st.composite
def with_dims(draw, dtypes, domain=ANY, many=True, none=True, keepdim=True, min_side=0, min_dims=0):
    """An array and ``dim``: none, one or several, counted from the front or the back; and ``keepdim``."""
    shape = draw(mst.shapes(min_dims, min_side=min_side, max_side=3))
    a = draw(mst.arrays(shape, dtypes, domain))
    n = max(len(shape), 1)
    one = st.integers(-n, n - 1)
    kinds = [one]
    if none:
        kinds.insert(0, st.none())
    if many:
        kinds.append(st.lists(st.integers(0, n - 1), min_size=1, unique=True).map(tuple))
    options = {"dim": draw(st.one_of(kinds))}
    if keepdim:
        options["keepdim"] = draw(st.booleans())
    return (a,), options


def dims(domain=ANY, **how):
    return lambda dtypes: with_dims(dtypes, domain, **how)


def one_dim(domain=ANY, **how):
    return dims(domain, many=False, none=False, keepdim=False, **how)


def mean(numbers):
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def variance(numbers, correction=1):
    if len(numbers) - correction <= 0:
        return math.nan
    center = mean(numbers)
    return math.fsum((x - center) ** 2 for x in numbers) / (len(numbers) - correction)


def log_sum_exp(numbers):
    return math.log(math.fsum(map(math.exp, numbers))) if numbers else -math.inf


def soft(numbers):
    total = math.fsum(map(math.exp, numbers))
    return [math.exp(x) / total for x in numbers]


def pairs(f, *more):
    """An oracle with two results."""
    return lambda a, **options: tuple(g(a, **options) for g in (f, *more))


def two(first, second):
    return lambda a, *_: (first(a), second(a))


def own(a, *_):
    return a.dtype


def running(f):
    def scan(numbers):
        out = []
        for x in numbers:
            out.append(f(out[-1], x) if out else x)
        return out

    return scan


def order(numbers, descending=False):
    return sorted(range(len(numbers)), key=lambda i: (-numbers[i] if descending else numbers[i], i))


def top(numbers, k, largest=True):
    return sorted(numbers, reverse=largest)[:k]


def top_places(numbers, k, largest=True):
    return order(numbers, largest)[:k]


def lower_median(numbers):
    return sorted(numbers)[(len(numbers) - 1) // 2]


def p_norm(numbers, p):
    sizes = [abs(x) for x in numbers]
    if p == math.inf:
        return max(sizes)
    if p == -math.inf:
        return min(sizes)
    if p == 0:
        return sum(x != 0 for x in sizes)
    return math.fsum(x**p for x in sizes) ** (1 / p)


def norm_row(p, **how):
    return Row(
        lambda x, **o: minidl.norm(x, p, **o),
        lambda a, **o: reduced(p_norm)(a, p=p, **o),
        dims(SPREAD, min_side=1, **how),
        FLOAT,
    )


@st.composite
def with_k(draw, dtypes):
    (a,), options = draw(with_dims(dtypes, UNIQUE, many=False, none=False, keepdim=False, min_dims=1))
    k = draw(st.integers(0, a.shape[options["dim"]]))
    return (a,), {**options, "k": k, "largest": draw(st.booleans())}


@st.composite
def with_order(draw, dtypes):
    arrays, options = draw(with_dims(dtypes, UNIQUE, many=False, none=False, keepdim=False))
    return arrays, {**options, "descending": draw(st.booleans())}


@st.composite
def with_correction(draw, dtypes):
    arrays, options = draw(with_dims(dtypes, UNIQUE, min_side=2, min_dims=1))
    return arrays, {**options, "correction": draw(st.integers(0, 1))}


r = s = minidl
WITHIN = {"many": False, "none": False, "min_side": 1}  # one dimension, not empty
ROWS = {
    "sum": Row(r.sum, reduced(sum), dims(), ALL, summed),
    "mean": Row(r.mean, reduced(mean), dims(), FLOAT),
    "var": Row(r.var, reduced(variance), with_correction, FLOAT),
    "std": Row(r.std, reduced(lambda x, **o: math.sqrt(variance(x, **o))), with_correction, FLOAT),
    "var_mean": Row(
        r.var_mean, pairs(reduced(variance), reduced(lambda x, correction: mean(x))), with_correction, FLOAT, two(own, own)
    ),
    "amax": Row(r.amax, reduced(max), dims(UNIQUE, min_side=1), ALL),
    "amin": Row(r.amin, reduced(min), dims(UNIQUE, min_side=1), ALL),
    "max": Row(
        r.max,
        pairs(reduced(max), reduced(lambda x: x.index(max(x)))),
        dims(UNIQUE, **WITHIN),
        ALL,
        two(own, long),
    ),
    "min": Row(
        r.min,
        pairs(reduced(min), reduced(lambda x: x.index(min(x)))),
        dims(UNIQUE, **WITHIN),
        ALL,
        two(own, long),
    ),
    "aminmax": Row(r.aminmax, pairs(reduced(min), reduced(max)), dims(UNIQUE, many=False, min_side=1), ALL, two(own, own)),
    "max of all": Row(
        r.max, reduced(max), lambda d: mst.arrays(mst.shapes(min_side=1), d, UNIQUE).map(lambda a: ((a,), {})), ALL
    ),
    "min of all": Row(
        r.min, reduced(min), lambda d: mst.arrays(mst.shapes(min_side=1), d, UNIQUE).map(lambda a: ((a,), {})), ALL
    ),
    "logsumexp": Row(r.logsumexp, reduced(log_sum_exp), dims(none=False), FLOAT),
    "softmax": Row(r.softmax, along(soft), one_dim(), FLOAT),
    "log_softmax": Row(r.log_softmax, along(lambda x: [a - log_sum_exp(x) for a in x]), one_dim(), FLOAT),
    "norm": norm_row(2),
    "norm 1": norm_row(1),
    "norm 3": norm_row(3),
    "norm half": norm_row(0.5),
    "norm 0": norm_row(0),
    "norm inf": norm_row(math.inf),
    "norm -inf": norm_row(-math.inf),
    "cumsum": Row(s.cumsum, along(running(lambda a, b: a + b)), one_dim(), ALL, summed),
    "cumprod": Row(s.cumprod, along(running(lambda a, b: a * b)), one_dim(), ALL, summed),
    "prod": Row(s.prod, reduced(math.prod), dims(many=False), ALL, summed),
    "sort": Row(
        s.sort,
        pairs(along(lambda x, descending: sorted(x, reverse=descending)), along(order)),
        with_order,
        ALL,
        two(own, long),
    ),
    "topk": Row(s.topk, pairs(along(top), along(top_places)), with_k, NUMBERS, two(own, long)),
    "median": Row(
        s.median,
        pairs(reduced(lower_median), reduced(lambda x: order(x)[(len(x) - 1) // 2])),
        dims(UNIQUE, **WITHIN),
        NUMBERS,
        two(own, long),
    ),
    "median of all": Row(
        s.median,
        reduced(lower_median),
        lambda d: mst.arrays(mst.shapes(min_side=1), d, UNIQUE).map(lambda a: ((a,), {})),
        NUMBERS,
    ),
}
FLAT = {  # no gradient
    "argmax": Row(r.argmax, reduced(lambda x: x.index(max(x))), dims(many=False, min_side=1), NUMBERS, long),
    "argmin": Row(r.argmin, reduced(lambda x: x.index(min(x))), dims(many=False, min_side=1), NUMBERS, long),
    "all": Row(r.all, reduced(all), dims(), ALL, truth),
    "any": Row(r.any, reduced(any), dims(), ALL, truth),
    "count_nonzero": Row(r.count_nonzero, reduced(lambda x: sum(map(bool, x))), dims(keepdim=False), ALL, long),
    "argsort": Row(s.argsort, along(order), with_order, ALL, long),
    "bincount": Row(
        s.bincount,
        lambda a, minlength: np.array([(a == i).sum() for i in range(max([minlength, *(a + 1)]))]),
        lambda d: st.tuples(mst.arrays(mst.shapes(1, 1), minidl.int64, Domain(0, 5)), st.integers(0, 4)).map(
            lambda drawn: ((drawn[0],), {"minlength": drawn[1]})
        ),
        ALL,
        long,
    ),
    "unique": Row(
        minidl.unique,
        lambda a: np.array(sorted(set(a.reshape(-1).tolist()))),
        lambda d: mst.arrays(dtype=d).map(lambda a: ((a,), {})),
        NUMBERS,
    ),
}
# of nothing these give NaN or -inf, which differences cannot be taken of
NOT_EMPTY = {"mean": dims(min_side=1), "logsumexp": dims(none=False, min_side=1)}


@pytest.mark.parametrize("name", [*ROWS, *FLAT])
@given(st.data())
def test_values(name, data):
    row = ROWS[name] if name in ROWS else FLAT[name]
    arrays, options = data.draw(row.draw(mst.dtypes(*row.kinds)))
    check_values(row, arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(NOT_EMPTY.get(name, ROWS[name].draw)(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


@given(mst.arrays(mst.shapes(1), domain=Domain(-1, 1)), st.data())
def test_products_with_zeros_among_them(a, data):
    """The numbers are halved until several are 0; the gradient must not divide by any of them."""
    x = minidl.from_numpy(np.trunc(a * 2) / 2).requires_grad_()
    dim = data.draw(st.integers(0, a.ndim - 1))
    check_gradients(ROWS["prod"], (x.detach().numpy(),), {"dim": dim})
    check_gradients(ROWS["prod"], (x.detach().numpy(),), {})
    check_gradients(ROWS["cumprod"], (x.detach().numpy(),), {"dim": dim})


@pytest.mark.parametrize("op", [minidl.amax, minidl.amin, minidl.argmax, minidl.argmin, minidl.max, minidl.min])
def test_an_extreme_of_nothing_is_refused(op):
    with pytest.raises((RuntimeError, IndexError), match=op.__name__):
        op(minidl.zeros(0, 3), 0)
    with pytest.raises((RuntimeError, IndexError)):
        op(minidl.zeros(0))


def test_sums_can_be_asked_for_in_a_dtype():
    x = minidl.tensor([1, 2, 3], dtype=minidl.int8)
    assert minidl.sum(x, dtype=minidl.float64).dtype == minidl.float64
    assert minidl.prod(x, dtype=minidl.int32).dtype == minidl.int32
    assert minidl.cumsum(x, 0, dtype=minidl.float32).dtype == minidl.float32
    assert minidl.mean(x, dtype=minidl.float32).item() == 2
    with pytest.raises(TypeError, match="mean"):
        minidl.mean(x)


def test_the_standard_deviation_is_that_of_the_statistics_module():
    numbers = [1.5, -2.0, 0.25, 8.0]
    assert abs(minidl.std(minidl.tensor(numbers, dtype=minidl.float64)).item() - statistics.stdev(numbers)) < 1e-14
    assert (
        abs(minidl.var(minidl.tensor(numbers, dtype=minidl.float64), unbiased=False).item() - statistics.pvariance(numbers))
        < 1e-14
    )


@given(mst.arrays(mst.shapes(1, 2, 1), domain=NONZERO))
def test_large_numbers_do_not_overflow(a):
    x = minidl.from_numpy(a)
    for op in (minidl.softmax, minidl.log_softmax):
        np.testing.assert_allclose(op(x + 1e4, -1), op(x, -1), atol=1e-9)
    np.testing.assert_allclose(minidl.logsumexp(x + 1e4, -1) - 1e4, minidl.logsumexp(x, -1), atol=1e-9)


def test_the_standard_deviation_of_equal_numbers_has_the_gradient_0():
    x = minidl.tensor([[2.0, 2.0], [0.0, 2.0]], requires_grad=True)
    x.std(1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [-(0.5**0.5), 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([-1], ValueError, "not be negative, got -1"),
        ([1.5], TypeError, "integers, got float32"),
        ([[1]], minidl.ShapeError, "a vector"),
    ],
)
def test_bincount_says_what_it_wants(data, error, said):
    with pytest.raises(error, match=f"bincount: .*{said}"):
        s.bincount(minidl.tensor(data))
