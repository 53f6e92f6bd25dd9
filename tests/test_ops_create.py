"""Making tensors, from numbers and at random."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import same

import minidl
from minidl.testing import strategies as mst

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)


@given(mst.shapes(), mst.dtypes())
def test_zeros_ones_full_and_empty(shape, dtype):
    for made, number in ((minidl.zeros, 0), (minidl.ones, 1)):
        same(made(shape, dtype=dtype).numpy(), np.full(shape, number), dtype.dtype)
        same(made(*shape).numpy() if shape else made(()).numpy(), np.full(shape, number), F32)
    same(minidl.full(shape, 1, dtype=dtype).numpy(), np.full(shape, 1), dtype.dtype)
    assert minidl.empty(shape, dtype=dtype).shape == shape and minidl.empty(shape, dtype=dtype).dtype == dtype
    assert [minidl.full(shape, n).dtype for n in (True, 2, 2.5)] == [minidl.bool, minidl.int64, minidl.float32]


@given(mst.tensors(dtype=mst.dtypes()), mst.dtypes())
def test_like(t, dtype):
    for made, number in ((minidl.zeros_like, 0), (minidl.ones_like, 1)):
        same(made(t).numpy(), np.full(t.shape, number), t.numpy(force=True).dtype)
        same(made(t, dtype=dtype).numpy(), np.full(t.shape, number), dtype.dtype)
    same(minidl.full_like(t, 1).numpy(), np.full(t.shape, 1), t.numpy(force=True).dtype)
    made = minidl.empty_like(t)
    assert (made.shape, made.dtype, made.requires_grad) == (t.shape, t.dtype, False)


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([1, 2, -1, 0.5, -1.5]))
def test_arange(start, end, step):
    if (end - start) * step < 0:
        start, end = end, start
    count = math.ceil((end - start) / step)
    want = [start + i * step for i in range(count)]
    same(minidl.arange(start, end, step).numpy(), want, F32 if isinstance(step, float) else I64)
    same(minidl.arange(abs(end)).numpy(), list(range(abs(end))), I64)


def test_linspace_and_eye():
    same(minidl.linspace(0, 1, 5).numpy(), [0, 0.25, 0.5, 0.75, 1], F32)
    same(minidl.linspace(0, 1, 1).numpy(), [0], F32)
    same(minidl.linspace(0, 1, 0).numpy(), [], F32)
    same(minidl.eye(2).numpy(), [[1, 0], [0, 1]], F32)
    same(minidl.eye(2, 3, dtype=minidl.int64).numpy(), [[1, 0, 0], [0, 1, 0]], I64)


def test_tensor_takes_numbers_lists_arrays_and_tensors():
    same(minidl.tensor(1.5).numpy(), 1.5, F32)
    same(minidl.tensor([1, 2]).numpy(), [1, 2], I64)
    same(minidl.tensor([1, 2.5]).numpy(), [1, 2.5], F32)
    same(minidl.tensor([True]).numpy(), [True], np.dtype(bool))
    same(minidl.tensor([]).numpy(), np.zeros(0), F32)
    same(minidl.tensor(np.arange(3.0)).numpy(), [0, 1, 2], np.dtype(np.float64))
    same(minidl.tensor([minidl.tensor(1.0), minidl.tensor(2.0)]).numpy(), [1, 2], F32)
    with pytest.raises(minidl.ShapeError, match="even lengths"):
        minidl.tensor([[1], [1, 2]])


def test_what_shares_memory_and_what_does_not():
    a = np.zeros(3)
    assert np.shares_memory(minidl.from_numpy(a).numpy(), a)
    assert np.shares_memory(minidl.as_tensor(a).numpy(), a)
    assert np.shares_memory(minidl.from_dlpack(a).numpy(), a)
    assert not np.shares_memory(minidl.tensor(a).numpy(), a)
    t = minidl.tensor([1.0])
    assert minidl.as_tensor(t) is t and minidl.as_tensor(t, dtype=minidl.float64).dtype == minidl.float64


RANDOM = {
    "rand": lambda **o: minidl.rand(40, 50, **o),
    "randn": lambda **o: minidl.randn(40, 50, **o),
    "randint": lambda **o: minidl.randint(3, 9, (40, 50), **o),
    "randperm": lambda **o: minidl.randperm(2000, **o),
    "normal": lambda **o: minidl.normal(2.0, 0.5, (40, 50), **o),
    "bernoulli": lambda **o: minidl.bernoulli(minidl.full((40, 50), 0.25), **o),
    "multinomial": lambda **o: minidl.multinomial(minidl.tensor([1.0, 0.0, 3.0]), 2000, replacement=True, **o),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_come_from_their_generator(name):
    draw = RANDOM[name]
    minidl.manual_seed(1)
    first = draw()
    second = draw()
    minidl.manual_seed(1)
    assert minidl.equal(draw(), first) and not minidl.equal(first, second)
    own = minidl.Generator().manual_seed(1)
    before = minidl.get_rng_state()
    assert minidl.equal(draw(generator=own), first)
    assert minidl.equal(minidl.get_rng_state(), before)


def near(t, mean, std):
    """Mean and standard deviation of 2,000 numbers, to five standard errors."""
    t = t.double()
    return abs(t.mean().item() - mean) < 5 * std / 2000**0.5 and abs(t.std().item() - std) < 5 * std / 2000**0.5


def test_random_numbers_have_their_distribution():
    drawn = {name: draw() for name, draw in RANDOM.items()}
    assert near(drawn["rand"], 0.5, 12**-0.5) and 0 <= drawn["rand"].min() and drawn["rand"].max() < 1
    assert near(drawn["randn"], 0, 1)
    assert near(drawn["randint"], 5.5, (35 / 12) ** 0.5)
    assert drawn["randint"].unique().tolist() == [3, 4, 5, 6, 7, 8]
    assert sorted(drawn["randperm"].tolist()) == list(range(2000))
    assert near(drawn["normal"], 2, 0.5)
    assert near(drawn["bernoulli"], 0.25, 0.1875**0.5) and drawn["bernoulli"].unique().tolist() == [0, 1]
    assert near(drawn["multinomial"], 1.5, 0.75**0.5) and drawn["multinomial"].unique().tolist() == [0, 2]


def test_random_dtypes_and_likes():
    like = minidl.zeros(2, 3, dtype=minidl.float64)
    for made in (minidl.rand_like(like), minidl.randn_like(like), minidl.rand(2, 3, dtype=minidl.float64)):
        assert made.shape == (2, 3) and made.dtype == minidl.float64
    assert [t.dtype for t in (minidl.randint(3, (2,)), minidl.randperm(3))] == [minidl.int64] * 2
    assert minidl.rand(2, requires_grad=True).requires_grad
    with pytest.raises(TypeError, match="rand"):
        minidl.rand(2, dtype=minidl.int64)


def test_drawing_without_replacement_repeats_nothing():
    drawn = minidl.multinomial(minidl.ones(5, 8), 8)
    assert all(sorted(row) == list(range(8)) for row in drawn.tolist())
    with pytest.raises(ValueError, match="too few"):
        minidl.multinomial(minidl.tensor([1.0, 0.0]), 2)


def test_rand_in_float16_stays_below_1():
    drawn = minidl.rand(100_000, dtype=minidl.float16)
    assert drawn.dtype == minidl.float16 and 0.999 < drawn.max().item() < 1
    assert abs(drawn.float().mean().item() - 0.5) < 0.01


def test_randint_like_takes_shape_and_dtype_from_a_tensor():
    like = minidl.zeros(30, 40)
    assert minidl.randint_like(like, 3).dtype == minidl.float32
    assert minidl.randint_like(like, 3).unique().tolist() == [0, 1, 2]
    drawn = minidl.randint_like(like, -2, 1, dtype=minidl.int8)
    assert drawn.shape == (30, 40) and drawn.dtype == minidl.int8 and drawn.unique().tolist() == [-2, -1, 0]
