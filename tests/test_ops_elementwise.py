"""Every elementwise op: values against plain Python, gradients to order two."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, boolean, check_gradients, check_values, common, floating, lifted

import minidl
from minidl.testing import strategies as mst
from minidl.testing.strategies import ANY, NONZERO, POSITIVE, Domain

SMALL = Domain(-0.9, 0.9)
OFF = Domain(shift=1 / 37)  # no such number is whole, nor is its quotient by a multiple of 1/16: nothing jumps
NUMBERS = ("float", "integer")
FLOAT = ("float",)
WHOLES = ("integer", "bool")


def drawn(*domains):
    """A strategy for arrays that broadcast, one for each domain."""

    @st.composite
    def draw(draw_, dtypes):
        shapes = draw_(mst.broadcastable_shapes(len(domains), max_side=3))
        return tuple(draw_(mst.arrays(shape, dtypes, domain)) for shape, domain in zip(shapes, domains)), {}

    return draw


def row(op, python, *domains, kinds=NUMBERS, dtype=common, grad=True):
    return Row(op, lifted(python), drawn(*domains), kinds, dtype, grad)


def of_float(op, python, *domains, kinds=NUMBERS):
    return row(op, python, *domains, kinds=kinds, dtype=floating)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def either_sign(x):
    return (x > 0) - (x < 0)


ALL = ("float", "integer", "bool")
e = minidl
ROWS = {
    "add": row(e.add, lambda a, b: a + b, ANY, ANY, kinds=ALL),
    "sub": row(e.sub, lambda a, b: a - b, ANY, ANY),
    "mul": row(e.mul, lambda a, b: a * b, ANY, ANY, kinds=ALL),
    "div": of_float(e.div, lambda a, b: a / b, ANY, NONZERO),
    "floor_divide": row(e.floor_divide, lambda a, b: a // b, OFF, NONZERO),
    "remainder": row(e.remainder, lambda a, b: a % b, OFF, NONZERO),
    "fmod": row(e.fmod, lambda a, b: math.fmod(a, b), OFF, NONZERO),
    "pow": row(e.pow, lambda a, b: a**b, POSITIVE, ANY, kinds=FLOAT),
    "neg": row(e.neg, lambda a: -a, ANY),
    "square": row(e.square, lambda a: a * a, ANY),
    "lerp": row(e.lerp, lambda a, b, w: a + w * (b - a), ANY, ANY, ANY, kinds=FLOAT),
    "addcmul": row(e.addcmul, lambda a, b, c: a + b * c, ANY, ANY, ANY),
    "addcdiv": row(e.addcdiv, lambda a, b, c: a + b / c, ANY, ANY, NONZERO, kinds=FLOAT),
    "exp": of_float(e.exp, math.exp, ANY, kinds=ALL),
    "exp2": of_float(e.exp2, lambda a: 2.0**a, ANY, kinds=ALL),
    "expm1": of_float(e.expm1, math.expm1, ANY),
    "log": of_float(e.log, math.log, POSITIVE),
    "log2": of_float(e.log2, math.log2, POSITIVE),
    "log10": of_float(e.log10, math.log10, POSITIVE),
    "log1p": of_float(e.log1p, math.log1p, Domain(-0.75, 3)),
    "logaddexp": of_float(e.logaddexp, lambda a, b: math.log(math.exp(a) + math.exp(b)), ANY, ANY, kinds=FLOAT),
    "sqrt": of_float(e.sqrt, math.sqrt, POSITIVE),
    "rsqrt": of_float(e.rsqrt, lambda a: 1 / math.sqrt(a), POSITIVE),
    "reciprocal": of_float(e.reciprocal, lambda a: 1 / a, NONZERO),
    "sin": of_float(e.sin, math.sin, ANY),
    "cos": of_float(e.cos, math.cos, ANY),
    "tan": of_float(e.tan, math.tan, Domain(-1.25, 1.25)),
    "asin": of_float(e.asin, math.asin, SMALL),
    "acos": of_float(e.acos, math.acos, SMALL),
    "atan": of_float(e.atan, math.atan, ANY),
    "atan2": of_float(e.atan2, math.atan2, NONZERO, NONZERO),
    "sinh": of_float(e.sinh, math.sinh, ANY),
    "cosh": of_float(e.cosh, math.cosh, ANY),
    "tanh": of_float(e.tanh, math.tanh, ANY),
    "asinh": of_float(e.asinh, math.asinh, ANY),
    "acosh": of_float(e.acosh, math.acosh, Domain(1.25, 4)),
    "atanh": of_float(e.atanh, math.atanh, SMALL),
    "sigmoid": of_float(e.sigmoid, sigmoid, ANY),
    "erf": of_float(e.erf, math.erf, ANY),
    "relu": row(e.relu, lambda a: max(a, 0), NONZERO),
    "abs": row(e.abs, abs, NONZERO),
    "sign": row(e.sign, either_sign, NONZERO),
    "floor": row(e.floor, math.floor, OFF),
    "ceil": row(e.ceil, math.ceil, OFF),
    "trunc": row(e.trunc, math.trunc, OFF),
    "round": row(e.round, round, OFF),
    "frac": row(e.frac, lambda a: math.fmod(a, 1), OFF, kinds=FLOAT),
    "maximum": row(e.maximum, max, ANY, OFF),
    "minimum": row(e.minimum, min, ANY, OFF),
    "clamp": row(lambda x: e.clamp(x, -1, 1.5), lambda a: min(max(a, -1), 1.5), Domain(away_from=(-1.0, 1.5)), kinds=FLOAT),
    "nan_to_num": row(e.nan_to_num, lambda a: a, ANY, kinds=FLOAT),
    "clamp between tensors": row(e.clamp, lambda a, lo, hi: min(max(a, lo), hi), OFF, Domain(-2, 0), Domain(1, 2), kinds=FLOAT),
    "pow number": row(lambda x: x**3, lambda a: a**3, ANY),
    "pow half": row(lambda x: x**0.5, lambda a: a**0.5, POSITIVE, kinds=FLOAT),
    "pow zero": row(lambda x: x**0, lambda a: 1, ANY),
    "number pow": row(lambda x: e.pow(2.5, x), lambda a: 2.5**a, ANY, kinds=FLOAT),
    "addcmul value": row(lambda a, b, c: e.addcmul(a, b, c, value=2), lambda a, b, c: a + 2 * b * c, ANY, ANY, ANY),
    "addcdiv value": row(lambda a, b: e.addcdiv(a, a, b, value=-0.5), lambda a, b: a - 0.5 * a / b, ANY, NONZERO, kinds=FLOAT),
    "div floor": row(lambda a, b: e.div(a, b, rounding_mode="floor"), lambda a, b: a // b, OFF, NONZERO),
    "div trunc": row(lambda a, b: e.div(a, b, rounding_mode="trunc"), lambda a, b: math.trunc(a / b), OFF, NONZERO),
    "round decimals": row(lambda a: e.round(a, decimals=1), lambda a: round(a, 1), OFF, kinds=FLOAT),
}

c = minidl
COMPARISONS = {
    "eq": row(c.eq, lambda a, b: a == b, ANY, ANY, kinds=ALL, dtype=boolean),
    "ne": row(c.ne, lambda a, b: a != b, ANY, ANY, kinds=ALL, dtype=boolean),
    "lt": row(c.lt, lambda a, b: a < b, ANY, ANY, kinds=ALL, dtype=boolean),
    "le": row(c.le, lambda a, b: a <= b, ANY, ANY, kinds=ALL, dtype=boolean),
    "gt": row(c.gt, lambda a, b: a > b, ANY, ANY, kinds=ALL, dtype=boolean),
    "ge": row(c.ge, lambda a, b: a >= b, ANY, ANY, kinds=ALL, dtype=boolean),
    "logical_and": row(c.logical_and, lambda a, b: bool(a and b), ANY, ANY, kinds=ALL, dtype=boolean),
    "logical_or": row(c.logical_or, lambda a, b: bool(a or b), ANY, ANY, kinds=ALL, dtype=boolean),
    "logical_xor": row(c.logical_xor, lambda a, b: bool(a) != bool(b), ANY, ANY, kinds=ALL, dtype=boolean),
    "logical_not": row(c.logical_not, lambda a: not a, ANY, kinds=ALL, dtype=boolean),
    "bitwise_and": row(c.bitwise_and, lambda a, b: a & b, ANY, ANY, kinds=WHOLES),
    "bitwise_or": row(c.bitwise_or, lambda a, b: a | b, ANY, ANY, kinds=WHOLES),
    "bitwise_xor": row(c.bitwise_xor, lambda a, b: a ^ b, ANY, ANY, kinds=WHOLES),
    "bitwise_not": row(c.bitwise_not, lambda a: (not a) if isinstance(a, bool) else ~a, ANY, kinds=WHOLES),
    "isnan": row(c.isnan, math.isnan, ANY, kinds=ALL, dtype=boolean),
    "isinf": row(c.isinf, math.isinf, ANY, kinds=ALL, dtype=boolean),
    "isfinite": row(c.isfinite, math.isfinite, ANY, kinds=ALL, dtype=boolean),
    "isclose": row(
        lambda a, b: c.isclose(a, b, rtol=0.1, atol=0.25),
        lambda a, b: abs(a - b) <= 0.25 + 0.1 * abs(b),
        ANY,
        OFF,
        kinds=NUMBERS,
        dtype=boolean,
    ),
}


@st.composite
def with_mask(draw, dtypes, n=2):
    """A mask and ``n`` arrays that broadcast."""
    mask, *shapes = draw(mst.broadcastable_shapes(n + 1, max_side=3))
    return (draw(mst.arrays(mask, minidl.bool)), *(draw(mst.arrays(shape, dtypes)) for shape in shapes)), {}


def common_of_rest(_, *arrays):
    return common(*arrays)


def choose(mask, a, b):
    return a if mask else b


ROWS["where"] = Row(e.where, lifted(choose), with_mask, ALL, common_of_rest)
ROWS["where number"] = Row(
    lambda mask, a: e.where(mask, a, 2),
    lifted(lambda mask, a: a if mask else 2),
    lambda d: with_mask(d, 1),
    NUMBERS,
    common_of_rest,
)
ROWS["masked_fill"] = Row(
    lambda mask, a: e.masked_fill(a, mask, 2),
    lifted(lambda mask, a: 2 if mask else a),
    lambda d: with_mask(d, 1),
    NUMBERS,
    common_of_rest,
)


@pytest.mark.parametrize("name", [*ROWS, *COMPARISONS])
@given(st.data())
def test_values(name, data):
    found = ROWS[name] if name in ROWS else COMPARISONS[name]
    arrays, options = data.draw(found.draw(mst.dtypes(*found.kinds)))
    check_values(found, arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


NUMBER_OPS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "remainder": lambda a, b: a % b,
    "floor_divide": lambda a, b: a // b,
}


@pytest.mark.parametrize("name", NUMBER_OPS)
@given(mst.tensors(dtype=mst.dtypes("float", "integer"), domain=NONZERO, requires_grad=False), st.sampled_from([2, 1.5, 3.25]))
def test_a_python_number_raises_the_category_but_not_the_width(name, t, number):
    operator, wanted = NUMBER_OPS[name], t.dtype
    if not t.is_floating_point() and (isinstance(number, float) or name == "div"):
        wanted = minidl.float32
    for got in (operator(t, number), operator(number, t)):
        assert got.dtype == wanted
    if t.dtype == minidl.uint8 and name == "sub":
        return  # below 0 it wraps around
    np.testing.assert_allclose(operator(t, number).double(), operator(t.numpy().astype(float), number), rtol=5e-3)


def test_a_number_to_a_tensor_power_is_exact_in_float64():
    x = minidl.tensor(2.125, dtype=minidl.float64, requires_grad=True)
    (2.5**x).backward()
    assert abs(x.grad.item() - 2.5**2.125 * math.log(2.5)) < 1e-14


def test_integer_division_that_truncates_is_exact_beyond_the_floats():
    big = minidl.tensor([2**53 + 1, -(2**53) - 1])
    assert minidl.div(big, 1, rounding_mode="trunc").tolist() == big.tolist()
    assert minidl.div(minidl.tensor([7, -7]), 2, rounding_mode="trunc").tolist() == [3, -3]


def test_nan_to_num_replaces_nan_and_infinities():
    x = minidl.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    top = float(np.finfo("float32").max)
    assert minidl.nan_to_num(x).tolist() == [0, top, -top, 1]
    assert minidl.nan_to_num(x, 1, 2, 3).tolist() == [1, 2, 3, 1]


def test_isclose_and_its_kin():
    a = minidl.tensor([1.0, float("nan")])
    assert minidl.allclose(a, a, equal_nan=True) and not minidl.allclose(a, a)
    assert minidl.equal(a[:1], a[:1]) and not minidl.equal(a, a) and not minidl.equal(a[:1], a)
    assert minidl.isnan(a).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", minidl.relu),
        ("clamp", lambda x: x.clamp(0)),
        ("clamp from above", lambda x: -x.neg().clamp(max=0)),
        ("clamp to both", lambda x: x.clamp(0, 9)),
        ("maximum", lambda x: minidl.maximum(x, minidl.zeros(2))),
        ("minimum", lambda x: -minidl.minimum(-x, minidl.zeros(2))),
    ],
)
def test_a_flat_piece_stays_flat_before_an_infinite_slope(name, function):
    x = minidl.tensor([-1.0, 4.0], requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        function(x).abs().log().sum().backward()
    assert x.grad.tolist()[1] == 0.25
    assert x.grad.tolist()[0] == 0, name


@pytest.mark.parametrize("name", ["floor", "trunc", "round", "sign"])
def test_a_step_is_flat_before_an_infinite_slope(name):
    x = minidl.tensor([0.4 if name != "sign" else 0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        getattr(minidl, name)(x).sqrt().backward()
    assert x.grad.tolist() == [0]


def test_maximum_and_relu_hand_the_gradient_of_nan_on():
    for function in (minidl.relu, lambda x: minidl.maximum(x, minidl.zeros(1)), lambda x: minidl.minimum(x, minidl.zeros(1))):
        x = minidl.tensor([float("nan")], requires_grad=True)
        function(x).sum().backward()
        assert x.grad.tolist() == [1]


def test_a_float_bound_makes_integers_floats_of_the_default_dtype():
    x = minidl.tensor([1, 2, 3])
    assert minidl.clamp(x, 1.5).dtype == minidl.float32 and minidl.clamp(x, 1.5, 2).tolist() == [1.5, 2, 2]
    assert minidl.clamp(x, 1, 2).dtype == minidl.int64


def test_lerp_of_numbers_has_the_weights_dtype():
    numbers = (minidl.tensor(2.0, dtype=minidl.float64) for _ in range(2))
    assert minidl.lerp(*numbers, minidl.zeros(0)).dtype == minidl.float32


def test_sigmoid_far_out():
    """It keeps its digits where it is small, and does not overflow."""
    x = minidl.tensor([-1000.0, -80.0, -20.0, 20.0, 1000.0])
    want = [0.0, 1.8048514e-35, 2.0611537e-09, 1.0, 1.0]
    np.testing.assert_allclose(minidl.sigmoid(x).numpy(), want, 1e-6)
