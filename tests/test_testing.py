"""The checker is checked: it must catch every animal of the zoo, and let what is right pass."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minidl
from minidl.autograd import differentiable
from minidl.functions.convolution import conv2d
from minidl.testing import Engine, GradcheckError, KinkWarning, adjointcheck, gradcheck, gradgradcheck, numerical_jacobian, zoo
from minidl.testing import strategies as mst

F64 = minidl.float64
rng = np.random.default_rng(0)


def leaf(*shape, low=-2.0, high=2.0):
    return minidl.from_numpy(rng.uniform(low, high, shape)).requires_grad_()


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # NumPy's word on the animal that gives NaN
@pytest.mark.parametrize("animal", zoo.WRONG, ids=lambda animal: animal.name)
def test_every_wrong_rule_is_caught(animal):
    inputs = tuple(minidl.from_numpy(a).requires_grad_() for a in animal.inputs())
    check = gradcheck
    if animal.again is not None:
        assert gradcheck(animal.op(Engine()), inputs)
        check = gradgradcheck
    with pytest.raises(GradcheckError, match="seed 0"):
        check(animal.op(Engine()), inputs)


def test_the_zoo_is_large_and_each_animal_has_a_name():
    names = [animal.name for animal in (*zoo.WRONG, *zoo.RIGHT)]
    assert len(zoo.WRONG) >= 50 and len(zoo.RIGHT) >= 10
    assert len(set(names)) == len(names)
    assert all(animal.about for animal in zoo.WRONG)


def test_the_score_of_ours():
    found = zoo.score(gradcheck, gradgradcheck)
    assert found.missed == found.false_alarms == ()
    assert str(found) == f"caught {len(zoo.WRONG)} of {len(zoo.WRONG)}"


def test_the_score_of_bad_checkers():
    anything = zoo.score(lambda func, inputs: True)
    assert anything.caught == anything.false_alarms == () and len(anything.missed) == len(zoo.WRONG)
    nothing = zoo.score(lambda func, inputs: 1 / 0)
    assert nothing.missed == () and len(nothing.false_alarms) == len(zoo.RIGHT)
    assert "false alarms: polynomial, relu" in str(nothing)
    second = {animal.name for animal in zoo.WRONG if animal.again}
    assert second <= set(zoo.score(gradcheck).missed)


def test_a_part_of_the_graph_that_is_cut_off_is_found():
    for func in (lambda x: x * x.detach(), lambda x: (x * x).detach() + 0 * x):
        with pytest.raises(GradcheckError, match="wrong in 3 of 3"):
            gradcheck(func, leaf(3))
    with pytest.raises(GradcheckError, match="wrong in 3 of 3"):
        gradcheck(lambda x: (x * x).detach(), leaf(3))  # no output requires a gradient: so it must be zero


def test_a_wrong_rule_of_a_differentiable_op_is_found():
    op = minidl.autograd.differentiable(lambda input, other: input * other)
    op.vjp(input=lambda g, other: g * other)  # and none for the other
    with pytest.raises(GradcheckError, match="input 1"):
        gradcheck(op, (leaf(3), leaf(3)))


RIGHT = {
    "polynomial": (lambda x: x**3 - 2 * x, (leaf(3),)),
    "relu": (lambda x: x.relu(), (leaf(3, 4),)),
    "max": (lambda x: x.max(), (leaf(3, 4),)),
    "product": (lambda x, y: x @ y, (leaf(2, 3), leaf(3, 4))),
    "broadcast": (lambda x, y: x * y, (leaf(2, 1), leaf(3))),
    "repeated index": (lambda x: x[[0, 2, 2, 0]], (leaf(3),)),
    "softmax": (lambda x: x.softmax(-1), (leaf(2, 3),)),
    "two outputs": (lambda x: (x.sin(), x.cos()), (leaf(3),)),
    "values and indices": (lambda x: x.max(0), (leaf(3, 2),)),
    "no output differentiable": (lambda x: (x > 0).double(), (leaf(3),)),
    "unused input": (lambda x, y: x * 2, (leaf(3), leaf(2))),
    "sensitive": (lambda x: (50 * x).sin(), (leaf(3),)),
    "large numbers": (lambda x: x * x, (leaf(3, low=1e6, high=2e6),)),
    "small numbers": (lambda x: 1 / x, (leaf(3, low=1e-3, high=2e-3),)),
    "flat": (lambda x: x**4, (minidl.zeros(2, dtype=F64, requires_grad=True),)),
    "large": (lambda x: (x * x).mean(0), (leaf(40, 50),)),
    "empty": (lambda x: x.sum(0), (leaf(0, 3),)),
    "a number": (lambda x: x.exp(), (leaf(),)),
    "options that are no tensors": (lambda x, dim, weight: x.sum(dim) * weight, (leaf(2, 3), 0, 2.5)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_rules_pass(name):
    func, inputs = RIGHT[name]
    assert gradcheck(func, inputs)
    if name != "no output differentiable":
        assert gradgradcheck(func, inputs)


def test_convolution_passes():
    def conv(x, w):
        return conv2d(x, w, stride=2, padding=1)

    assert gradcheck(conv, (leaf(1, 2, 4, 4), leaf(2, 2, 3, 3)))
    assert gradgradcheck(conv, (leaf(1, 2, 4, 4), leaf(2, 2, 3, 3)))


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float16])
def test_narrow_dtypes_are_checked_in_float64_where_the_function_allows_it(dtype):
    x = leaf(3).detach().to(dtype).requires_grad_()
    assert gradcheck(lambda x: (x * x).sin(), x)
    assert gradgradcheck(lambda x: (x * x).sin(), x)
    assert not gradcheck(lambda x: x * 3 - x.detach() * 0.5, x, raise_exception=False)


def test_functions_that_compute_in_a_narrow_dtype_are_checked_with_a_wider_step():
    x = leaf(3).detach().to(minidl.float32).requires_grad_()
    assert gradcheck(lambda x: (x.float() * 2).sin(), x)
    assert not gradcheck(lambda x: (x.float() * x.detach().float()).sin(), x, raise_exception=False)
    half = x.detach().half().requires_grad_()
    assert gradcheck(lambda x: x.half() * 2 + 1, half)
    assert not gradcheck(lambda x: x.half() * x.detach().half(), half, raise_exception=False)


def test_a_function_that_refuses_float64_is_checked_in_its_own_dtype():
    def picky(x):
        if x.dtype != minidl.float32:
            raise TypeError("float32 only")
        return x * x

    assert gradcheck(picky, leaf(3).detach().float().requires_grad_())


def test_kinks_are_named_and_not_judged():
    x = minidl.tensor([0.0, 1.0, -2.0], dtype=F64, requires_grad=True)
    with pytest.warns(KinkWarning, match=r"1 of 3 elements of input 0 .*\(0,\)"):
        assert gradcheck(minidl.abs, x)


def test_an_element_close_to_a_kink_is_judged():
    x = minidl.tensor([1e-4, -2e-5], dtype=F64, requires_grad=True)
    assert gradcheck(minidl.abs, x)
    assert not gradcheck(lambda x: x.abs() + x.detach(), x, raise_exception=False)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value) encountered")
@pytest.mark.parametrize("func", [minidl.abs, minidl.relu, lambda x: x.abs().sqrt(), lambda x: (x > 0).double() * 2 + x])
def test_nothing_but_kinks_is_no_pass(func):
    x = minidl.zeros(2, dtype=F64, requires_grad=True)
    with pytest.raises(GradcheckError, match="kink"):
        gradcheck(func, x)


def test_a_kink_does_not_hide_a_wrong_neighbour():
    x = minidl.tensor([0.0, 1.0], dtype=F64, requires_grad=True)
    with pytest.raises(GradcheckError, match=r"index \(1,\)"):
        gradcheck(lambda x: x.abs() * 2 - x.abs().detach(), x)


def test_a_failure_names_op_input_index_numbers_and_seed():
    def quarter(x, y):
        return (x.detach() + y) * minidl.tensor([1.0, 1.0], dtype=F64)

    with pytest.raises(GradcheckError) as caught:
        gradcheck(quarter, (leaf(2), leaf(2)), seed=3)
    said = str(caught.value)
    assert re.search(r"gradcheck: mul: the gradient of input 0 is wrong at index \(0,\)", said)
    assert re.search(r"analytic 0, numeric -?[\d.]+, ratio -?0; wrong in 2 of 2 elements", said)
    assert "float64[2], float64[2]; seed 3" in said
    assert isinstance(caught.value, AssertionError) and isinstance(caught.value, RuntimeError)


def test_a_large_input_is_searched_for_the_element():
    (animal,) = (animal for animal in zoo.WRONG if animal.name == "wrong_in_one_of_thousands")
    inputs = tuple(minidl.from_numpy(a).requires_grad_() for a in animal.inputs())
    with pytest.raises(GradcheckError, match=rf"index \({1234 // 50}, {1234 % 50}\)"):
        gradcheck(animal.op(Engine()), inputs)


def test_inputs_that_want_no_gradient_are_left_alone_and_at_least_one_must():
    assert gradcheck(lambda x, y: x * y, (leaf(3), leaf(3).detach()))
    with pytest.raises(ValueError, match="requires_grad"):
        gradcheck(lambda x: x, leaf(3).detach())
    with pytest.raises(ValueError, match="name the engine .*; the inputs are: numpy.ndarray, float"):
        gradcheck(lambda x, y: x * y, (np.ones(3), 2.0))


def test_a_rule_that_is_not_there_is_asked_for():
    """A new op by somebody who has forgotten a rule, or all of them."""

    @differentiable
    def times(input, other):
        return input * other

    with pytest.raises(GradcheckError, match="input 0 is wrong .*\n.*is there a rule for this input"):
        gradcheck(times, (leaf(3), leaf(3)))
    with pytest.raises(RuntimeError, match="an op without a rule"):
        times(leaf(3), leaf(3)).sum().backward()
    times.vjp(input=lambda g, other: g * other)
    with pytest.raises(GradcheckError, match="input 1 is wrong .*\n.*is there a rule for this input"):
        gradcheck(times, (leaf(3), leaf(3)))
    times.vjp(other=lambda g, input: None)  # a `return` forgotten, say
    with pytest.raises(GradcheckError, match="does it return one"):
        gradcheck(times, (leaf(3), leaf(3)))
    times.vjp(other=lambda g, input: g)  # wrong, and no such question
    with pytest.raises(GradcheckError, match="input 1 is wrong") as caught:
        gradcheck(times, (leaf(3), leaf(3)))
    assert "is there a rule" not in str(caught.value)
    times.vjp(other=lambda g, input: g * input)  # in place of the wrong one, not besides
    assert gradcheck(times, (leaf(3), leaf(3))) and gradgradcheck(times, (leaf(3), leaf(3)))


def test_a_rule_written_with_numpys_functions_is_told_of_minidls():
    @differentiable
    def wave(input):
        return np.sin(input)

    wave.vjp(input=lambda g, input: g * np.cos(input))
    assert gradcheck(wave, (leaf(3),))
    with pytest.raises(RuntimeError, match="use minidl's"):
        gradgradcheck(wave, (leaf(3),))


def test_tolerances_and_step_can_be_given():
    def crooked(x):
        return x + 1e-4 * x.detach()

    assert not gradcheck(crooked, leaf(3), raise_exception=False)
    assert gradcheck(crooked, leaf(3), rtol=1e-3)
    assert gradcheck(crooked, leaf(3), atol=1e-3)
    assert gradcheck(minidl.sin, leaf(3), eps=1e-4)
    assert gradcheck(lambda x: x.sin(), leaf(3), fast_mode=True)


def test_gradients_that_share_memory_are_found():
    class Same(minidl.testing.Engine):
        def grad(self, *args):
            first, *_ = super().grad(*args)
            return first, first

    with pytest.raises(GradcheckError, match="shares memory with the gradient of input 0"):
        gradcheck(lambda x, y: x + y, (leaf(3), leaf(3)), engine=Same())


def test_gradients_of_another_shape_or_dtype_are_found():
    class Flat(minidl.testing.Engine):
        def grad(self, *args):
            return [g.reshape(-1) for g in super().grad(*args)]

    class Narrow(minidl.testing.Engine):
        def grad(self, *args):
            return [g.float() for g in super().grad(*args)]

    with pytest.raises(GradcheckError, match=r"float64\[4\], the input is float64\[2, 2\]"):
        gradcheck(minidl.sin, leaf(2, 2), engine=Flat())
    with pytest.raises(GradcheckError, match=r"float32\[2, 2\], the input is float64"):
        gradcheck(minidl.sin, leaf(2, 2), engine=Narrow())


def test_the_transpose_of_a_linear_map():
    x = minidl.zeros(300, 200)
    w = minidl.randn(200, 100)
    assert adjointcheck(lambda x: x @ w, lambda g: g @ w.T, x)
    assert adjointcheck(np.cumsum, lambda g: np.cumsum(g[::-1])[::-1], np.zeros(50))
    assert not adjointcheck(lambda x: x @ w, lambda g: g @ (1.001 * w).T, x, raise_exception=False)
    with pytest.raises(GradcheckError, match="ratio"):
        adjointcheck(np.cumsum, np.cumsum, np.zeros(50))
    with pytest.raises(GradcheckError, match="shape"):
        adjointcheck(lambda x: x[:2], lambda g: g, np.zeros(5))


def test_the_jacobian_by_differences():
    x = minidl.tensor([1.0, 2.0], dtype=F64, requires_grad=True)
    (found,) = numerical_jacobian(lambda x: minidl.stack([x.sum(), x.prod(), x[0].sin()]), x)
    np.testing.assert_allclose(found, [[1, 1], [2, 1], [np.cos(1), 0]], rtol=1e-9, atol=1e-9)
    (at_kink,) = numerical_jacobian(minidl.abs, minidl.zeros(1, dtype=F64, requires_grad=True))
    assert np.isnan(at_kink).all()


def test_the_checker_needs_no_hypothesis():
    code = "import sys, minidl, minidl.testing; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try: import minidl.testing.strategies\n"
        "except ImportError as e: assert 'pip install minidl[test]' in str(e)\n"
        "else: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the strategies draw what they promise


@given(mst.broadcastable_shapes(3))
def test_shapes_broadcast(shapes):
    np.broadcast_shapes(*shapes)


@given(mst.arrays(dtype=mst.dtypes(), domain=mst.UNIQUE))
def test_arrays_have_their_layout_and_their_numbers(a):
    assert isinstance(a, np.ndarray)
    if a.dtype.kind == "f":
        assert np.isfinite(a).all() and len(np.unique(a)) == a.size


@given(mst.arrays(domain=mst.Domain(-1, 1, away_from=(0.0, 0.5), gap=1 / 8)))
def test_domains_keep_their_distance(a):
    assert (np.abs(a) <= 1).all() and (np.abs(a) >= 1 / 8).all() and (np.abs(a - 0.5) >= 1 / 8).all()


@given(mst.tensors(dtype=mst.dtypes()))
def test_floating_tensors_require_a_gradient(t):
    assert t.requires_grad == t.is_floating_point()


test_a_product_has_right_gradients = mst.gradient_test(minidl.mul, mst.broadcastable())
test_a_function_of_two_arguments = mst.gradient_test(minidl.atan2, *[mst.tensors((2, 3), domain=mst.NONZERO)] * 2, order=1)


def test_a_test_of_gradients_finds_what_is_wrong():
    def cut(x, y):
        return x * y + x * y.detach()

    half = Engine().op(np.square, lambda g, x: 2 * g * x, lambda h, g, x: (2 * h * x, g * h))
    quick = settings(phases=[Phase.generate], deadline=None)  # what is found need not be made small here
    with pytest.raises(GradcheckError, match="gradcheck: (mul|add)"):
        mst.gradient_test(cut, mst.broadcastable(), settings=quick)()
    with pytest.raises(GradcheckError, match="gradgradcheck: square"):
        mst.gradient_test(half, mst.tensors(), settings=quick)()
    mst.gradient_test(half, mst.tensors(), order=1, settings=quick)()
    with pytest.raises(ValueError, match="order is 1 or 2, got 3"):
        mst.gradient_test(minidl.sin, mst.tensors(), order=3)


@given(st.data(), mst.shapes())
def test_indices_are_valid(data, shape):
    np.zeros(shape)[data.draw(mst.indices(shape))]


def test_awkward_layouts_and_indices_do_occur():
    seen = set()

    @settings(max_examples=200)
    @given(mst.arrays((3, 3)), mst.indices((3, 3)))
    def look(a, key):
        seen.add("contiguous" if a.flags.c_contiguous else "other")
        seen.update("negative" for s in a.strides if s < 0)
        seen.update(type(k).__name__ for k in key)
        seen.update("repeated" for k in key if isinstance(k, np.ndarray) and k.dtype != bool and len(np.unique(k % 3)) < k.size)

    look()
    assert {"contiguous", "other", "negative", "int", "slice", "ndarray", "NoneType", "ellipsis", "repeated"} <= seen


@given(st.one_of(mst.conv_geometries(), mst.pool_geometries(), mst.pool_geometries(dilation=True)))
def test_windows_fit(geometry):
    for size, kernel, stride, padding, dilation, out in zip(*geometry[4:]):
        assert size >= 1
        assert (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 == out
        seen = [{o * stride - padding + k * dilation for k in range(kernel)} for o in range(out)]
        assert geometry.channels != geometry.filters or padding > kernel // 2 or all(s & set(range(size)) for s in seen)
