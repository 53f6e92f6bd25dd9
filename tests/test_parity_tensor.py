"""The tensor itself beside PyTorch's: text, dtypes, creation, indexing, attributes."""

import itertools
import operator
import re

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # PyTorch's, of what it will drop one day
    pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning"),
]

DTYPES = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()
FLOATS = DTYPES[6:]


def attempt(call):
    """The result of ``call``, or the error it ends in."""
    try:
        return call()
    except (RuntimeError, TypeError, ValueError, IndexError, OverflowError) as error:
        return error


def same(ours, theirs, tolerance=0.0):
    """Both errors, or equal in kind, shape, dtype and numbers."""
    assert isinstance(ours, Exception) == isinstance(theirs, Exception), (ours, theirs)
    if isinstance(theirs, Exception):
        return
    if isinstance(theirs, (tuple, list)) and not isinstance(theirs, torch.Size):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            same(a, b, tolerance)
    elif isinstance(theirs, torch.Tensor):
        assert str(ours.dtype)[7:] == str(theirs.dtype)[6:]
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), (ours, theirs)


# -- text

NAN, INF = float("nan"), float("inf")
SHOWN = [
    1.0, -2.5, 0.0, 1e-9, 123456.0, 1e10, NAN, INF, -INF, 3, -7, True, [], [[]], [1.0], [1.0, 2.0], [1.5, -2.25],
    [0.1, 1000.5],
    [0.001, 999.0], [1e-5, 1.0], [1.0, 1e5], [1e9, 1.0], [NAN, 1.0, INF], [NAN, 0.5, -INF], [NAN, NAN],
    [0.0, 0.0], [True, False],
    [1, -20, 300], [[1, 2], [3, 4]], [[1.0, 2.5], [-3.0, 4.0]], [[[1.0, 2.0]], [[3.0, 4.5]]], [[[[1]]]], [2.0, NAN],
    [16777217.0, 0.25], [-0.0, 1.0], [0.00012, 0.5], [0.00009, 0.05], [100000000.0], [100000001.0, 1.0], [12345678.5],
]  # fmt: skip


def text_of(t):
    return re.sub("grad_fn=<[^>]*>", "grad_fn=<>", repr(t).replace("minidl.", "torch."))


@pytest.mark.parametrize("data", SHOWN, ids=str)
@pytest.mark.parametrize("dtype", [None, "float64", "float16", "int32"])
def test_text(data, dtype):
    ours, theirs = (attempt(lambda lib=lib: lib.tensor(data, dtype=dtype and getattr(lib, dtype))) for lib in (minidl, torch))
    if isinstance(theirs, Exception):
        pytest.skip("not a value of this dtype")
    assert text_of(ours) == text_of(theirs)
    assert str(ours).replace("minidl.", "torch.") == str(theirs)
    if theirs.is_floating_point():
        assert text_of(ours.requires_grad_()) == text_of(theirs.requires_grad_())


@pytest.mark.parametrize(
    "shape",
    [
        (0,),
        (0, 3),
        (2, 0),
        (7,),
        (40,),
        (1001,),
        (5, 6),
        (3, 4, 5),
        (2, 2, 2, 2),
        (50, 50),
        (12, 10, 11),
        (1, 2000),
        (2000, 1),
        (7, 150, 2),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-6])
def test_text_of_shapes(shape, scale):
    array = np.random.default_rng(0).normal(scale=scale, size=shape)
    for kind in ("float32", "float64", "int64"):
        ours, theirs = minidl.tensor(array.astype(kind)), torch.tensor(array.astype(kind))
        assert text_of(ours) == text_of(theirs)


def test_print_options():
    array = np.random.default_rng(0).normal(size=(20, 20))
    options = [{"precision": 2}, {"linewidth": 40}, {"threshold": 100, "edgeitems": 2}, {"sci_mode": True}, {"sci_mode": False}]
    try:
        for some in options:
            torch.set_printoptions(profile="default")
            torch.set_printoptions(**some)
            minidl.set_printoptions(precision=4, threshold=1000, edgeitems=3, linewidth=80, sci_mode=None)
            minidl.set_printoptions(**some)
            assert text_of(minidl.tensor(array)) == text_of(torch.tensor(array))
    finally:
        torch.set_printoptions(profile="default")
        minidl.set_printoptions(precision=4, threshold=1000, edgeitems=3, linewidth=80, sci_mode=None)
    with pytest.raises(TypeError, match="presicion"):
        minidl.set_printoptions(presicion=3)


# -- dtypes

ARITHMETIC = {name: getattr(operator, name) for name in "add sub mul truediv floordiv mod pow".split()}
COMPARISON = {name: getattr(operator, name) for name in "eq ne lt le gt ge".split()}
BITS = {name: getattr(operator, name) for name in "and_ or_ xor".split()}


def operands(lib, dtype):
    """A tensor and a tensor without dimensions of ``dtype``."""
    d = getattr(lib, dtype)
    return lib.tensor([1, 2, 3]).to(d), lib.tensor(2).to(d)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISON, *BITS])
@pytest.mark.parametrize("left", DTYPES)
def test_dtype_of_two_tensors(name, left):
    op = (ARITHMETIC | COMPARISON | BITS)[name]
    for right in DTYPES:
        pairs = itertools.product(operands(minidl, left), operands(minidl, right))
        for (a, b), (x, y) in zip(pairs, itertools.product(operands(torch, left), operands(torch, right))):
            ours, theirs = attempt(lambda a=a, b=b: op(a, b)), attempt(lambda x=x, y=y: op(x, y))
            if name == "sub" and "bool" in (left, right) and left != right:
                continue  # minidl counts True as 1, PyTorch refuses
            same(ours, theirs, 1e-3 if "float16" in (left, right) else 1e-6)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISON, *BITS])
@pytest.mark.parametrize("number", [True, 2, 1.5])
def test_dtype_with_a_number(name, number):
    op = (ARITHMETIC | COMPARISON | BITS)[name]
    for dtype in DTYPES:
        for a, x in zip(operands(minidl, dtype), operands(torch, dtype)):
            if (name == "sub" and (dtype == "bool" or number is True)) or (name, dtype, number) == ("pow", "bool", True):
                continue  # minidl: 1 - True is 0, and bools have no pow; PyTorch: the other way round
            same(attempt(lambda a=a: op(a, number)), attempt(lambda x=x: op(x, number)), 1e-3)
            same(attempt(lambda a=a: op(number, a)), attempt(lambda x=x: op(number, x)), 1e-3)


@pytest.mark.parametrize("left", DTYPES)
def test_dtype_of_where_maximum_and_the_tables(left):
    for right in DTYPES:
        (a, a0), (x, x0) = operands(minidl, left), operands(torch, left)
        (b, b0), (y, y0) = operands(minidl, right), operands(torch, right)
        for (p, q), (u, v) in zip(itertools.product((a, a0), (b, b0)), itertools.product((x, x0), (y, y0))):
            same(minidl.where(minidl.tensor([True, False, True]), p, q), torch.where(torch.tensor([True, False, True]), u, v))
            same(minidl.maximum(p, q), torch.maximum(u, v))
            assert str(minidl.result_type(p, q))[7:] == str(torch.result_type(u, v))[6:]
        assert str(minidl.promote_types(a.dtype, b.dtype))[7:] == str(torch.promote_types(x.dtype, y.dtype))[6:]
        for number in (True, 2, 1.5):
            same(minidl.where(a > 1, a, number), torch.where(x > 1, x, number))


IN_PLACE = [getattr(operator, f"i{name}") for name in "add sub mul truediv floordiv pow".split()]


@pytest.mark.parametrize("left", DTYPES)
def test_dtype_in_place(left):
    for right in [*DTYPES, True, 2, 1.5]:
        for op in IN_PLACE:
            if op in (operator.isub, operator.ipow) and (left == "bool" or right in ("bool", True)):
                continue
            found = []
            for lib in (minidl, torch):
                x = operands(lib, left)[0]
                y = operands(lib, right)[0] if isinstance(right, str) else right
                error = attempt(lambda x=x, y=y, op=op: op(x, y))
                found.append(error if isinstance(error, Exception) else x)
            same(*found, 1e-3)


UNARY = (
    "exp log sqrt sin tanh sigmoid abs neg sign floor ceil round square rsqrt reciprocal erf isnan isfinite sum prod mean "
    "std var max argmax cumsum all any logsumexp"
).split()


@pytest.mark.parametrize("name", UNARY)
def test_dtype_of_functions_of_one_tensor(name):
    args = (0,) if name in ("cumsum", "logsumexp") else ()
    for dtype in DTYPES[1:]:
        if name in ("all", "any") and dtype == "uint8":
            continue  # PyTorch answers in uint8, for history's sake
        a, x = operands(minidl, dtype)[0], operands(torch, dtype)[0]
        same(attempt(lambda a=a: getattr(a, name)(*args)), attempt(lambda x=x: getattr(x, name)(*args)), 2e-3)


# -- creation

CREATED = {
    "tensor": [
        (1,),
        (1.5,),
        (True,),
        ([],),
        ([[]],),
        ([1, 2],),
        ([1, 2.5],),
        ([True, 2],),
        ([True, 2.5],),
        ([[1], [2]],),
        ([[1], [2, 3]],),
        ("a",),
        (None,),
        ({1: 2},),
        ((1, 2),),
        (range(3),),
        (np.float64(2),),
        (np.array([1, 2], np.int16),),
        ([np.float64(1.5), 2],),
        (np.array(3),),
        (np.ones((2, 0)),),
        (2**40,),
        ([2**70],),
        ([[1, 2], 3],),
        (np.array(["a"]),),
        ([None],),
    ],
    "zeros": [(2,), (2, 3), ((2, 3),), ([2],), ((),), (), (-1,), (2.0,), ("a",), (None,)],
    "ones": [(2,), (2, 0), (np.int64(2),)],
    "full": [((2,), 1), ((2, 3), 1.5), ((2,), True), ((), 7), ((2,), "a"), ((-2,), 1)],
    "arange": [
        (5,),
        (5.0,),
        (1, 5),
        (0, 5, 2),
        (5, 0, -2),
        (0, 1, 0.25),
        (1, 0),
        (0, 5, 0),
        (0, 5, -1),
        (),
        (0,),
        (2.5,),
        (-3,),
        (-3, 2),
    ],
    "linspace": [(0, 1, 5), (1, -1, 3), (0, 1, 1), (0, 1, 0), (0, 1, -1), (0.5, 2, 4)],
    "eye": [(3,), (2, 3), (0,), (3, 0), (-1,)],
}


@pytest.mark.parametrize(("name", "args"), [(name, args) for name, some in CREATED.items() for args in some], ids=str)
def test_creation(name, args):
    ours, theirs = (attempt(lambda lib=lib: getattr(lib, name)(*args)) for lib in (minidl, torch))
    same(ours, theirs, 1e-6)
    fractions = name == "linspace" or (name == "arange" and any(isinstance(x, float) for x in args))
    for dtype in FLOATS if fractions else [] if "1180591620717411303424" in str(args) else DTYPES:
        found = [attempt(lambda lib=lib: getattr(lib, name)(*args, dtype=getattr(lib, dtype))) for lib in (minidl, torch)]  # noqa: B023
        same(*found, 1e-3)
    found = [attempt(lambda lib=lib: getattr(lib, name)(*args, requires_grad=True)) for lib in (minidl, torch)]
    same(*found, 1e-6)
    assert isinstance(found[1], Exception) or found[0].requires_grad


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like", "full_like"])
def test_creation_like(name):
    for dtype in DTYPES:
        args = (7,) if name == "full_like" else ()
        ours = getattr(minidl, name)(minidl.ones(2, 3, dtype=getattr(minidl, dtype)), *args)
        theirs = getattr(torch, name)(torch.ones(2, 3, dtype=getattr(torch, dtype)), *args)
        assert (str(ours.dtype)[7:], ours.shape) == (str(theirs.dtype)[6:], tuple(theirs.shape))
        if name != "empty_like":
            same(ours, theirs)
    with pytest.raises(TypeError, match=name):
        getattr(minidl, name)([1, 2], *args)


# -- indexing

KEYS = [
    0, -1, 5, slice(None), slice(1, None), slice(None, None, 2), slice(None, None, -1), slice(3, 1), slice(-2, None), slice(0,
    99),
    ..., None,
    True, False, 1.0, "a", (0, 1), (0, ..., 1), (..., 0), (None, 0), (0, 0, 0, 0), (slice(None), 1), (slice(None), None, 2),
    [0, 1], [True, False], [], [5], ([0, 1], [1, 2]), ([0, 1], slice(None), [1, 2]), (0, slice(None), [0, 1]),
    ([0, 1], slice(None), 1), (slice(None), 0, [0, 1]), (0, [0, 1]), ([1], 0), (..., [0, 3], 1), (0, ..., [0, 1]),
    (None, [0, 1]),
    ([0, 1], None, [1, 2]), ([[0], [1]], [[0, 1]]), ([0, 1], [0, 1, 2]), (slice(0, 1), [0, -1]),
]  # fmt: skip
TENSOR_KEYS = [
    lambda lib: lib.tensor(1),
    lambda lib: lib.tensor([0, 1, 1]),
    lambda lib: lib.tensor([[0, 1], [1, 1]]),
    lambda lib: lib.tensor([0, 1], dtype=lib.int32),
    lambda lib: lib.tensor([0, 1], dtype=lib.int16),
    lambda lib: lib.tensor([0.0, 1.0]),
    lambda lib: lib.tensor([True, False]),
    lambda lib: lib.tensor([True, False, True]),
    lambda lib: lib.tensor(True),
    lambda lib: lib.arange(24).reshape(2, 3, 4) % 3 == 0,
    lambda lib: (slice(None), lib.tensor([True, False, True])),
    lambda lib: (lib.tensor([True, True]), lib.tensor([0, 2])),
    lambda lib: (0, lib.tensor([[True, False, True, True], [False] * 4, [True] * 4])),
    lambda lib: (lib.tensor(0), slice(None), lib.tensor([0, 1])),
    lambda lib: (lib.tensor([0, 1]), lib.tensor(1)),
    lambda lib: (lib.tensor([0, 1]), ..., lib.tensor([1, 0])),
    lambda lib: (slice(lib.tensor(0), lib.tensor(1)),),
    lambda lib: np.array([0, 1]),
    lambda lib: np.int64(1),
    lambda lib: lib.tensor([-1, 0]),
    lambda lib: lib.tensor([2]),
]


@pytest.mark.parametrize("key", [*[lambda lib, key=key: key for key in KEYS], *TENSOR_KEYS])
def test_indexing(key):
    numbers = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = []
    for lib in (minidl, torch):
        x = lib.tensor(numbers, requires_grad=True)
        y = attempt(lambda lib=lib, x=x: x[key(lib)])
        if isinstance(y, Exception):
            found.append(y)
            continue
        weights = lib.tensor(np.random.default_rng(1).normal(size=tuple(y.shape)))
        (y * weights).sum().backward()
        z = lib.tensor(numbers)
        shared = y.detach() if y.numel() else z
        base = z[key(lib)]
        base += 1  # changes z where indexing gives a view
        put = lib.tensor(numbers)
        put[key(lib)] = -weights
        filled = lib.tensor(numbers)
        filled[key(lib)] = 7
        found.append((y, x.grad, z, shared, put, filled))
    same(*found, 1e-12)


def test_masks_of_bytes_are_refused():
    """PyTorch takes uint8 for a mask; NumPy for integers. Neither is guessed."""
    with pytest.raises(IndexError, match="uint8"):
        minidl.zeros(3)[minidl.tensor([0, 1, 1], dtype=minidl.uint8)]


@pytest.mark.parametrize("value", [(2, 4), (4,), (1, 4), (1, 1, 4), (), (3,), (2, 2, 4), (2, 3, 4)])
@pytest.mark.parametrize("key", [(slice(None), 1), [0, 1], (slice(None), [0, 2]), 0])
def test_shape_of_an_assigned_value(value, key):
    found = []
    for lib in (minidl, torch):
        x = lib.zeros(2, 3, 4)
        error = attempt(lambda x=x, lib=lib: x.__setitem__(key, lib.ones(*value) if value else lib.tensor(1.0)))
        found.append(error if isinstance(error, Exception) else x)
    same(*found)


# -- attributes and methods

ATTRIBUTES = {
    "size": lambda t: tuple(t.size()),
    "size0": lambda t: t.size(0),
    "size-1": lambda t: t.size(-1),
    "size9": lambda t: t.size(9),
    "stride": lambda t: t.numel() and t.stride(),
    "stride1": lambda t: t.stride(1),
    "contiguous": lambda t: t.is_contiguous(),
    "item": lambda t: t.item(),
    "tolist": lambda t: t.tolist(),
    "T": lambda t: t.T,
    "len": len,
    "bool": bool,
    "float": float,
    "int": int,
    "iter": lambda t: list(t),
    "numel": lambda t: t.numel(),
    "ndim": lambda t: t.ndim,
    "dim": lambda t: t.dim(),
    "nbytes": lambda t: t.nbytes,
    "element_size": lambda t: t.element_size(),
    "itemsize": lambda t: t.itemsize,
    "is_leaf": lambda t: t.is_leaf,
    "requires_grad": lambda t: t.requires_grad,
    "device": lambda t: str(t.device),
    "device type": lambda t: t.device.type,
    "in": lambda t: 1 in t,
    "format": lambda t: f"{t:.2f}",
    "plain format": lambda t: f"{t}".replace("minidl", "torch"),
    "index": lambda t: [1, 2, 3][t],
    "view": lambda t: t.view(-1),
    "view2": lambda t: t.view(3, -1),
    "view T": lambda t: t.T.view(-1),
    "reshape": lambda t: t.T.reshape(-1),
    "reshape_as": lambda t: t.reshape_as(t.T),
    "flip": lambda t: t.flip(0),
    "pos": lambda t: +t,
    "neg": lambda t: -t,
    "invert": lambda t: ~t,
    "long": lambda t: t.long(),
    "float64": lambda t: t.double(),
    "half": lambda t: t.half(),
    "bool dtype": lambda t: t.bool(),
    "int32": lambda t: t.int(),
    "is_floating_point": lambda t: t.is_floating_point(),
    "reversed": lambda t: [x.tolist() for x in t.flip(0)],
    "new_zeros": lambda t: t.new_zeros(2, 3),
    "new_ones": lambda t: t.new_ones((2,)),
    "new_full": lambda t: t.new_full((2,), 3),
    "new_tensor": lambda t: t.new_tensor([1, 2]),
    "numpy": lambda t: t.numpy().tolist(),
    "array": lambda t: np.asarray(t).tolist(),
    "cpu": lambda t: t.cpu() is t,
    "to": lambda t: t.to(t.dtype) is t,
    "to cpu": lambda t: t.to("cpu") is t,
    "to nowhere": lambda t: t.to("moon"),
    "contiguous T": lambda t: t.numel() and t.T.contiguous().stride(),
    "type_as": lambda t: t.type_as(t.double()),
    "clone": lambda t: t.clone(),
    "eq None": lambda t: t == None,  # noqa: E711
    "ne None": lambda t: t != None,  # noqa: E711
    "eq text": lambda t: t == "a",
    "eq list": lambda t: t == [1],
    "add text": lambda t: t + "a",
    "add None": lambda t: t + None,
    "add list": lambda t: t + [1],
    "lt None": lambda t: t < None,
    "is_cuda": lambda t: t.is_cuda,
    "detach": lambda t: t.detach().requires_grad,
    "no attribute": lambda t: t.nothing,
}
EXAMPLES = [1.5, 1, True, [1.0], [1, 2], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [], [[1, 2, 3]], [[True]]]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name):
    for data in EXAMPLES:
        found = []
        for lib in (minidl, torch):
            try:
                found.append(ATTRIBUTES[name](lib.tensor(data)))
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                found.append(error)
        same(*found)


SHAPES = [(3,), (2, 3), (3, 2), (3, 3), (2, 3, 3), (1, 3, 2), (4, 1, 3, 3), (0, 3), (3, 0), (), (2, 0, 3)]


@pytest.mark.parametrize("left", SHAPES)
def test_matmul_in_all_forms(left):
    rng = np.random.default_rng(0)
    for right in SHAPES:
        a, b = rng.normal(size=left), rng.normal(size=right)
        found = []
        for lib in (minidl, torch):
            x, y = lib.tensor(a, requires_grad=True), lib.tensor(b, requires_grad=True)
            z = attempt(lambda x=x, y=y: x @ y)
            if not isinstance(z, Exception):
                weights = np.random.default_rng(2).normal(size=tuple(z.shape))
                (z * lib.tensor(weights)).sum().backward()
                z = (z, x.grad, y.grad)
            found.append(z)
        same(*found, 1e-12)


SHARED = {
    "getitem": lambda t: t[0],
    "slice": lambda t: t[:, 1:],
    "element": lambda t: t[1, 2],
    "none": lambda t: t[None],
    "list": lambda t: t[[0, 1]],
    "mask": lambda t: t[t > 0],
    "reshape": lambda t: t.reshape(4, 3),
    "view": lambda t: t.view(-1),
    "T": lambda t: t.T,
    "t": lambda t: t.t(),
    "transpose": lambda t: t.transpose(0, 1),
    "permute": lambda t: t.permute(1, 0),
    "reshape T": lambda t: t.T.reshape(-1),
    "flatten": lambda t: t.flatten(),
    "ravel": lambda t: t.ravel(),
    "squeeze": lambda t: t[None].squeeze(0),
    "unsqueeze": lambda t: t.unsqueeze(1),
    "narrow": lambda t: t.narrow(0, 1, 1),
    "select": lambda t: t.select(1, 0),
    "split": lambda t: t.split(2, 1)[1],
    "chunk": lambda t: t.chunk(2, 1)[0],
    "unbind": lambda t: t.unbind(1)[3],
    "diagonal": lambda t: t.diagonal(),
    "movedim": lambda t: t.movedim(0, 1),
    "unflatten": lambda t: t.unflatten(1, (2, 2)),
    "expand": lambda t: t[None].expand(2, 3, 4),
    "contiguous": lambda t: t.contiguous(),
    "contiguous T": lambda t: t.T.contiguous(),
    "clone": lambda t: t.clone(),
    "detach": lambda t: t.detach(),
    "data": lambda t: t.data,
    "flip": lambda t: t.flip(0),
    "roll": lambda t: t.roll(1),
    "to same": lambda t: t.to(t.dtype),
    "to other": lambda t: t.double(),
    "numpy": lambda t: t.numpy(),
    "asarray": lambda t: np.asarray(t),
    "abs": lambda t: t.abs(),
    "diag": lambda t: t.diag(),
    "mT": lambda t: t.mT,
    "real": lambda t: t.view_as(t),
    "index_select": lambda t: t.index_select(0, t.new_zeros(1).long()),
    "tril": lambda t: t.tril(),
    "expand_as": lambda t: t.expand_as(t),
    "repeat": lambda t: t.repeat(1, 1),
    "zeros_like": lambda t: t * 1,
    "swap": lambda t: t[0:1].squeeze(),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_shares_memory(name):
    shared = []
    for lib in (minidl, torch):
        t = lib.arange(-5.0, 7.0).reshape(3, 4)
        other = SHARED[name](t)
        before = np.asarray(other).copy()
        t += 100
        shared.append(not np.array_equal(before, np.asarray(other)))
    assert shared[0] == shared[1]
