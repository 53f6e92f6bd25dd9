"""The tensor by itself: creation, dtypes, text, NumPy beside it, copies, and random numbers."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl

DTYPES = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()


# -- dtypes


@pytest.mark.parametrize("name", DTYPES)
def test_dtype_objects(name):
    d = getattr(minidl, name)
    assert repr(d) == f"minidl.{name}" and d == np.dtype(name) and np.dtype(name) == d.dtype and d != "no dtype" and d != 3
    assert pickle.loads(pickle.dumps(d)) is d and copy.deepcopy(d) is d
    assert (
        np.zeros(2, d).dtype == name
        and minidl.zeros(2, dtype=name).dtype is d
        and minidl.zeros(2, dtype=np.dtype(name)).dtype is d
    )
    assert {d: 1}[minidl.zeros(1, dtype=d).dtype] == 1
    assert d.is_floating_point == name.startswith("float") and d.itemsize == np.dtype(name).itemsize


def test_python_types_and_names():
    assert minidl.zeros(1, dtype=int).dtype is minidl.int64 is minidl.long
    assert minidl.zeros(1, dtype=float).dtype is minidl.float32 is minidl.float
    assert minidl.zeros(1, dtype=bool).dtype is minidl.bool
    assert (
        minidl.half is minidl.float16
        and minidl.double is minidl.float64
        and minidl.int is minidl.int32
        and minidl.short is minidl.int16
    )


@pytest.mark.parametrize("bad", ["complex64", "uint16", "float128x", object, "U3", 7, []])
def test_dtypes_that_tensors_do_not_hold(bad):
    with pytest.raises(TypeError, match="is not one that tensors hold; they hold bool, uint8"):
        minidl.zeros(1, dtype=bad)


def test_default_dtype():
    minidl.set_default_dtype(minidl.float64)
    try:
        assert minidl.tensor(1.5).dtype is minidl.float64 and (minidl.tensor(1) / 2).dtype is minidl.float64
        assert minidl.zeros(1).dtype is minidl.rand(1).dtype is minidl.get_default_dtype()
        assert repr(minidl.tensor(1.5)) == "tensor(1.5000)"
    finally:
        minidl.set_default_dtype(minidl.float32)
    with pytest.raises(TypeError, match="set_default_dtype"):
        minidl.set_default_dtype(minidl.int64)


# -- NumPy


@pytest.mark.parametrize("name", DTYPES)
def test_numpy_shares_memory_both_ways(name):
    array = np.ones((2, 3), name)
    t = minidl.from_numpy(array)
    array[0] = 0
    assert t[0].tolist() == [0, 0, 0] and t.numpy() is not None
    t[1, 1] = 0
    assert array[1, 1] == 0
    assert minidl.as_tensor(array).data_ptr() == array.ctypes.data and minidl.tensor(array).data_ptr() != array.ctypes.data
    assert np.asarray(t).ctypes.data == array.ctypes.data
    assert np.array(t).ctypes.data != array.ctypes.data
    assert minidl.from_dlpack(t).data_ptr() == t.data_ptr() and minidl.from_dlpack(array).dtype == t.dtype
    assert np.from_dlpack(t).ctypes.data == array.ctypes.data


def test_dlpack_with_pytorch():
    torch = pytest.importorskip("torch")
    t = minidl.arange(6.0).reshape(2, 3).T
    there = torch.from_dlpack(t)
    there[0, 0] = 10
    assert there.shape == (3, 2) and there.stride() == t.stride() and t[0, 0].item() == 10
    back = minidl.from_dlpack(torch.arange(3))
    assert back.tolist() == [0, 1, 2] and back.dtype is minidl.int64


def test_a_tensor_that_requires_a_gradient_keeps_its_memory():
    x = minidl.ones(2, requires_grad=True)
    for leave in (x.numpy, lambda: np.asarray(x), lambda: np.exp(x)):
        with pytest.raises(RuntimeError, match=r"numpy: .*detach"):
            leave()
    with pytest.raises(BufferError, match=r"dlpack: .*detach"):
        np.from_dlpack(x)
    assert x.numpy(force=True).tolist() == x.detach().numpy().tolist() == [1, 1]


@pytest.mark.parametrize(
    "other", [np.array([1.0, 2.0]), np.float64(2), np.float32(2), np.int64(2), np.bool_(True), np.array(2.0)]
)
def test_arrays_and_numpy_scalars_on_either_side(other):
    t = minidl.tensor([3.0, 4.0])
    for result, expected in [
        (t + other, t.numpy() + other),
        (other + t, t.numpy() + other),
        (other - t, other - t.numpy()),
        (t * other, t.numpy() * other),
        (other / t, other / t.numpy()),
        (t**other, t.numpy() ** other),
        (t > other, t.numpy() > other),
        (other < t, other < t.numpy()),
    ]:
        assert isinstance(result, minidl.Tensor)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    x = minidl.tensor([3.0, 4.0], requires_grad=True)
    (other * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(other, 2))


def test_numpy_functions_of_tensors():
    t = minidl.tensor([[1.0, 4.0], [9.0, 16.0]])
    assert isinstance(np.sqrt(t), minidl.Tensor) and np.sqrt(t).tolist() == [[1, 2], [3, 4]]
    assert np.stack([t, t]).shape == (2, 2, 2) and np.allclose(t, t.numpy()) and np.concatenate([t, t]).shape == (4, 2)
    assert np.array_equal(np.arange(3)[minidl.tensor([0, 2])], [0, 2]) and [5, 6, 7][minidl.tensor(1)] == 6
    assert list(range(minidl.tensor(3))) == [0, 1, 2]


# -- as Python sees it


def test_numbers_from_tensors():
    t = minidl.tensor(2.5)
    assert (float(t), int(t), bool(t), t.item()) == (2.5, 2, True, 2.5) and isinstance(minidl.tensor(3).item(), int)
    assert minidl.tensor([[True]]).item() is True
    assert f"{t:.2f} {t}" == "2.50 2.5" and f"{minidl.ones(2)}" == "tensor([1., 1.])"
    assert math.sqrt(minidl.tensor(4.0)) == 2 and abs(minidl.tensor(-2.0)).item() == 2
    with pytest.raises(TypeError):
        f"{minidl.ones(2):.2f}"


def test_containers():
    t = minidl.arange(6).reshape(2, 3)
    assert len(t) == 2 and [row.tolist() for row in t] == [[0, 1, 2], [3, 4, 5]] and 4 in t and 7 not in t
    _, b = t
    assert b.tolist() == [3, 4, 5] and t[1][2].item() == 5
    assert {t: 1}[t] == 1 and hash(t) != hash(t.clone()) and (t == t.clone()).all()
    assert (t == None) is False and (t != None) is True  # noqa: E711
    assert (
        t.tolist() == [[0, 1, 2], [3, 4, 5]] and minidl.zeros(0, 2).tolist() == [] and minidl.zeros(2, 0).tolist() == [[], []]
    )


def test_a_subclass_keeps_its_class_in_copies():
    class Mine(minidl.Tensor):
        pass

    t = Mine([1, 2])
    assert t.dtype is minidl.float32 and type(copy.deepcopy(t)) is Mine and Mine(2, 3).shape == (2, 3) and Mine().shape == (0,)


@given(st.lists(st.floats(width=32), max_size=5), st.sampled_from(["float32", "float64"]))
def test_pickles(numbers, dtype):
    t = minidl.tensor(numbers, dtype=dtype)
    back = pickle.loads(pickle.dumps(t))
    assert back.dtype == t.dtype and np.array_equal(back.numpy(), t.numpy(), equal_nan=True)


def test_text():
    assert repr(minidl.tensor([[1.0, -2.5], [0.25, 1000.0]])) == (
        "tensor([[ 1.0000e+00, -2.5000e+00],\n        [ 2.5000e-01,  1.0000e+03]])"
    )
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)" and repr(x * 2) == "tensor([2., 4.], grad_fn=<mul>)"
    assert repr(minidl.zeros(2, 0, dtype=minidl.int32)) == "tensor([], size=(2, 0), dtype=minidl.int32)"
    assert repr(minidl.arange(2000)) == "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"


def test_to():
    t = minidl.ones(2)
    assert t.to("cpu") is t and t.to(minidl.float32) is t and t.to(t) is t and t.to(minidl.device("cpu")) is t
    assert t.to(minidl.int64).dtype is t.to(dtype="int64").dtype is t.to("cpu", int).dtype is minidl.int64
    assert t.to("cpu", copy=True) is not t and t.to(minidl.zeros(1, dtype=minidl.float64)).dtype is minidl.float64
    x = minidl.ones(2, requires_grad=True)
    x.double().sum().backward()
    assert x.grad.dtype is minidl.float32


def test_requires_grad():
    t = minidl.ones(2)
    t.requires_grad = True
    assert t.requires_grad and t.is_leaf and t.requires_grad_(False) is t and not t.requires_grad
    y = t.requires_grad_() * 2
    assert y.requires_grad_() is y and not y.is_leaf and y.detach().is_leaf and not y.detach().requires_grad
    del t.grad
    assert t.grad is None


# -- random numbers


def moments(t):
    return t.mean().item(), t.var().item()


def test_seeds_repeat():
    def draw(generator=None):
        g = {"generator": generator}
        p = minidl.tensor([0.2, 0.3, 0.5])
        return [
            minidl.rand(3, **g),
            minidl.randn(3, **g),
            minidl.randint(9, (5,), **g),
            minidl.randperm(9, **g),
            minidl.bernoulli(p, **g),
            minidl.multinomial(p, 2, **g),
            minidl.normal(0.0, 2.0, (3,), **g),
            minidl.zeros(3).uniform_(**g),
            minidl.zeros(3).normal_(**g),
            minidl.zeros(3).bernoulli_(**g),
        ]

    minidl.manual_seed(3)
    assert minidl.initial_seed() == 3
    first = draw()
    state = minidl.get_rng_state()
    second = draw()
    for again in (minidl.Generator().manual_seed(3), minidl.manual_seed(3)):
        for a, b in zip(first, draw(again)):
            assert a.tolist() == b.tolist()
    minidl.set_rng_state(state)
    for a, b in zip(second, draw()):
        assert a.tolist() == b.tolist()
    assert first[0].tolist() != second[0].tolist()
    assert isinstance(minidl.seed(), int)


def test_the_state_of_a_generator_is_a_tensor_that_keeps():
    g = minidl.Generator().manual_seed(5)
    minidl.randint(0, 7, (3,), generator=g, dtype=minidl.int32)  # leaves half a number behind
    state = pickle.loads(pickle.dumps(g.get_state()))
    expected = minidl.rand(4, generator=g).tolist()
    h = minidl.Generator()
    h.set_state(state)
    assert minidl.rand(4, generator=h).tolist() == expected and h.initial_seed() == 5
    for bad in (minidl.zeros(3), minidl.zeros(5, dtype=minidl.uint8)):
        with pytest.raises(ValueError, match="set_state"):
            h.set_state(bad)


def test_ranges_and_moments():
    g = minidl.Generator().manual_seed(0)
    n = 20_000
    u = minidl.rand(n, generator=g)
    assert u.min().item() >= 0 and u.max().item() < 1
    np.testing.assert_allclose(moments(u), (0.5, 1 / 12), atol=0.01)
    np.testing.assert_allclose(moments(minidl.randn(n, generator=g)), (0, 1), atol=0.04)
    np.testing.assert_allclose(moments(minidl.zeros(n).normal_(3, 2, generator=g)), (3, 4), atol=0.15)
    np.testing.assert_allclose(moments(minidl.zeros(n).uniform_(-1, 3, generator=g)), (1, 16 / 12), atol=0.04)
    k = minidl.randint(-2, 3, (n,), generator=g)
    assert k.dtype is minidl.int64 and sorted(set(k.tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(minidl.randperm(10, generator=g).tolist()) == list(range(10))
    p = minidl.tensor([0.0, 0.25, 1.0])
    ones = minidl.bernoulli(p.expand(n, 3), generator=g).mean(0)
    np.testing.assert_allclose(ones.numpy(), p.numpy(), atol=0.02)
    drawn = minidl.multinomial(minidl.tensor([1.0, 0.0, 3.0]), n, True, generator=g)
    np.testing.assert_allclose((drawn == 2).float().mean().item(), 0.75, atol=0.02)
    assert 1 not in drawn and sorted(minidl.multinomial(minidl.tensor([1.0, 0.0, 3.0]), 2, generator=g).tolist()) == [0, 2]
    assert minidl.rand_like(minidl.zeros(2, dtype=minidl.float64)).dtype is minidl.float64


# -- small things


def test_creation_needs_no_copy_or_makes_one():
    t = minidl.ones(3)
    assert minidl.as_tensor(t) is t and minidl.tensor(t).data_ptr() != t.data_ptr()
    assert minidl.tensor([minidl.tensor(1), 2.5]).tolist() == [1, 2.5]
    assert minidl.tensor([minidl.ones(2), minidl.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert minidl.as_tensor([1, 2], dtype=minidl.float64).dtype is minidl.float64


def test_devices():
    cpu = minidl.device("cpu")
    assert (
        minidl.ones(1).device == cpu == "cpu"
        and str(minidl.device("cuda", 1)) == "cuda:1"
        and minidl.device("cuda:1").index == 1
    )
    assert not minidl.ones(1).is_cuda and {cpu: 1}[minidl.device("cpu")] == 1
    for bad in (("gpu",), ("cuda:x",), ("cuda:1:2",), ("cuda:",), ("cuda:01",), ("cuda:²",), ("cuda", -1), ("cuda:1", 1)):
        with pytest.raises(RuntimeError, match="device: expected"):
            minidl.device(*bad)
    first = minidl.ones(2, device="cpu:0")  # as in PyTorch there is one CPU
    assert minidl.device("cpu:0").index == 0 and first.device == cpu and (first + minidl.ones(2).to("cpu:0")).tolist() == [2, 2]


def test_aliases():
    t = minidl.tensor([-2.0, 3.0])
    assert t.clip(0, 1).tolist() == t.clamp(0, 1).tolist() == minidl.clip(t, 0, 1).tolist()
    assert t.clamp_min(0).tolist() == [0, 3] and t.clamp_max(0).tolist() == [-2, 0]
    assert minidl.concat([t, t]).tolist() == minidl.cat([t, t]).tolist() and minidl.is_tensor(t) and not minidl.is_tensor([1])
    assert t.byte().dtype is minidl.uint8 and t.short().dtype is minidl.int16 and minidl.numel(t) == 2
    assert minidl.finfo(minidl.float32).eps == np.finfo("float32").eps and minidl.iinfo(minidl.int8).max == 127
    assert minidl.pi == math.pi and minidl.inf == math.inf and minidl.nan != minidl.nan
    assert (
        minidl.vstack([t, t]).shape == (2, 2)
        and minidl.hstack([t, t]).shape == (4,)
        and minidl.broadcast_to(t, (3, 2)).shape == (3, 2)
    )


def test_contiguous_gives_the_tensor_itself_where_there_is_nothing_to_do():
    x = minidl.arange(6).reshape(2, 3)
    assert x.contiguous() is x
    assert x.T.contiguous().is_contiguous() and x.T.contiguous().tolist() == x.T.tolist()


def test_names_that_scripts_use():
    a, b = minidl.tensor([1.0, 2.0]), minidl.tensor([2.0, 2.0])
    for name in ("greater", "greater_equal", "less", "less_equal", "not_equal"):
        assert minidl.equal(getattr(minidl, name)(a, b), getattr(a, name)(b))
    assert minidl.ones(2, 3).shape == minidl.Size([2, 3]) and isinstance(a.shape, minidl.Size)
    assert minidl.tile(a, (2, 2)).shape == (2, 4) and a.tile(2).tolist() == [1, 2, 1, 2]
    assert a.sign().bernoulli().tolist() == [1, 1] and (a - 1).multinomial(1).tolist() == [1]
    assert minidl.cuda.manual_seed(0) is minidl.cuda.manual_seed_all(0) is minidl.cuda.empty_cache() is None
