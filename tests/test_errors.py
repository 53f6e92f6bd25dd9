"""Bad input: each error names the op, the argument, what came and what was wanted, and nothing has been changed."""

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.utils.data import DistributedSampler

ATTEND = nn.MultiheadAttention(4, 2)
A = minidl.ones(2, 3)
V = minidl.arange(3)
M = minidl.tensor([True, False, True])
INT = minidl.tensor([[1, 2, 3], [4, 5, 6]])

# what is run, the kind of error, and words that its text must hold, in this order
TABLE = {
    "broadcast": (lambda: A + minidl.ones(4), RuntimeError, ["add", "(2, 3)", "(4,)", "3 and 4"]),
    "broadcast middle": (lambda: minidl.ones(2, 3, 4) * minidl.ones(2, 1), RuntimeError, ["mul", "(2, 1)", "dim -2"]),
    "operand text": (lambda: minidl.add(A, "a"), TypeError, ["add", "'other'", "str"]),
    "operand None": (lambda: minidl.mul(A, None), TypeError, ["mul", "'other'", "NoneType"]),
    "operand list": (lambda: minidl.maximum(A, [1, 2, 3]), TypeError, ["maximum", "'other'", "list"]),
    "operator text": (lambda: A + "a", TypeError, ["+", "'Tensor'", "'str'"]),
    "first text": (lambda: minidl.exp("a"), TypeError, ["exp", "'input'", "str"]),
    "first list": (lambda: minidl.exp([1.0]), TypeError, ["exp", "'input'", "list"]),
    "missing": (lambda: minidl.mul(A), TypeError, ["mul", "'other'", "missing"]),
    "too many": (lambda: minidl.exp(A, 1, 2), TypeError, ["exp", "takes 1"]),
    "unknown option": (lambda: minidl.sum(A, colour=1), TypeError, ["sum", "'colour'"]),
    "unknown option of a method": (lambda: A.mean(colour=1), TypeError, ["mean", "'colour'"]),
    "bool minus bool": (lambda: M - M, TypeError, ["sub", "bool", "logical_xor"]),
    "bool power": (lambda: M**M, TypeError, ["pow", "bool"]),
    "float bits": (lambda: A & A, TypeError, ["bitwise_and", "float32"]),
    "matmul sizes": (lambda: A @ A, RuntimeError, ["matmul", "(2, 3)", "(2, 3)", "do not meet", "3", "2"]),
    "matmul sizes far apart": (lambda: A @ minidl.ones(4, 5), RuntimeError, ["matmul", "do not meet", "3", "4"]),
    "linear sizes": (
        lambda: minidl.nn.Linear(3, 4)(minidl.ones(2, 5)),
        RuntimeError,
        ["linear", "(2, 5)", "does not fit", "(4, 3)", "(..., 3)"],
    ),
    "inner sizes": (lambda: minidl.inner(A, minidl.ones(4, 1)), RuntimeError, ["inner", "(2, 3)", "(4, 1)", "last"]),
    "cat of numbers": (lambda: minidl.cat([minidl.tensor(1.0), minidl.tensor(2.0)]), RuntimeError, ["cat", "stack"]),
    "cat of a list": (lambda: minidl.cat([A, [1, 2]]), TypeError, ["cat", "number 1", "list", "tensor(...)"]),
    "cat of a tensor": (lambda: minidl.cat(A), TypeError, ["cat", "list of tensors", "ndarray"]),
    "stack of a number": (lambda: minidl.stack([A, 5]), TypeError, ["stack", "number 1", "int"]),
    "stack of nothing": (lambda: minidl.stack([]), RuntimeError, ["stack", "at least one"]),
    "hstack of a list": (lambda: minidl.hstack([[1, 2], A]), TypeError, ["hstack", "number 0", "list"]),
    "vstack of a list": (lambda: minidl.vstack([[1, 2], A]), TypeError, ["vstack", "number 0", "list"]),
    "dstack of a list": (lambda: minidl.dstack([[1, 2], A]), TypeError, ["dstack", "number 0", "list"]),
    "column_stack of a list": (lambda: minidl.column_stack([[1, 2]]), TypeError, ["column_stack", "number 0", "list"]),
    "block_diag of a list": (lambda: minidl.block_diag(A, [1, 2]), TypeError, ["block_diag", "number 1", "list"]),
    "meshgrid of a number": (lambda: minidl.meshgrid(V, 5), TypeError, ["meshgrid", "number 1", "int"]),
    "cartesian_prod of a list": (lambda: minidl.cartesian_prod(V, [1]), TypeError, ["cartesian_prod", "number 1", "list"]),
    "atleast_1d of a list": (lambda: minidl.atleast_1d([A, [1]]), TypeError, ["atleast_1d", "number 1", "list"]),
    "atleast_3d of a number": (lambda: minidl.atleast_3d(5), TypeError, ["atleast_3d", "number 0", "int"]),
    "to a device of another name": (lambda: A.to("gpu"), TypeError, ["dtype 'gpu'", "devices are 'cpu', 'cuda' and 'cuda:N'"]),
    "attention scale": (lambda: F.scaled_dot_product_attention(A, A, A, scale="x"), TypeError, ["scale", "number", "str"]),
    "attention dropout": (lambda: F.scaled_dot_product_attention(A, A, A, dropout_p="x"), TypeError, ["dropout_p", "str"]),
    "attention features of one sequence": (lambda: ATTEND(A, A, A), RuntimeError, ["features", "got query (2, 3), key (2, 3)"]),
    "attention batches": (
        lambda: ATTEND(minidl.ones(2, 3, 4), minidl.ones(2, 2, 4), minidl.ones(2, 2, 4)),
        RuntimeError,
        ["batches differ", "dimension 1", "query (2, 3, 4), key (2, 2, 4)"],
    ),
    "attention padding of one sequence": (
        lambda: ATTEND(*[minidl.ones(3, 4)] * 3, key_padding_mask=minidl.ones(4)), RuntimeError, ["shape (3,), got (4,)"]
    ),
    "cell of one sequence": (lambda: nn.LSTMCell(3, 4)(minidl.ones(5)), RuntimeError, ["LSTMCell", "3 features", "input (5,)"]),
    "cell hx": (lambda: nn.GRUCell(3, 4)(V.float(), minidl.ones(5)), RuntimeError, ["GRUCell", "4", "hx (5,)"]),
    "conv1d window": (lambda: nn.Conv1d(2, 1, 9)(A), RuntimeError, ["conv1d", "over (9,)", "has (3,)"]),
    "max_pool1d window": (lambda: F.max_pool1d(A, 4), RuntimeError, ["max_pool1d", "over 4", "has 3"]),
    "avg_pool1d window": (lambda: F.avg_pool1d(A, 6, padding=1), RuntimeError, ["avg_pool1d", "over 6", "has 5"]),
    "data parallel": (lambda: nn.parallel.DistributedDataParallel(3), TypeError, ["module must be a Module", "int"]),
    "sampler of a number": (lambda: DistributedSampler(2.5), TypeError, ["DistributedSampler", "length", "float"]),
    "sampler rank": (lambda: DistributedSampler(V, 2, 1.5), TypeError, ["DistributedSampler: rank", "float"]),
    "index of a number": (lambda: minidl.index_select(minidl.tensor(1.0), 0, V), RuntimeError, ["index_select", "1 dim"]),
    "matmul number": (lambda: A @ minidl.tensor(1.0), RuntimeError, ["matmul", "at least 1 dimension", "()"]),
    "mm dimensions": (lambda: A.mm(V.float()), RuntimeError, ["mm", "2 dimensions", "(3,)"]),
    "bmm batch": (lambda: minidl.ones(2, 3, 4).bmm(minidl.ones(3, 4, 5)), RuntimeError, ["bmm", "2", "3"]),
    "dot shapes": (lambda: V.dot(minidl.arange(4)), RuntimeError, ["matmul", "3", "4"]),
    "dim": (lambda: A.sum(2), IndexError, ["sum", "dim 2", "2 dimensions", "-2 to 1"]),
    "dim type": (lambda: A.sum("a"), TypeError, ["sum", "dim", "str"]),
    "dim float": (lambda: A.sum(1.0), TypeError, ["sum", "dim", "float"]),
    "fmod by 0": (lambda: V.fmod(0), ZeroDivisionError, ["fmod", "other", "0"]),
    "trunc by 0": (lambda: minidl.div(V, 0, rounding_mode="trunc"), ZeroDivisionError, ["div", "other", "0"]),
    "relu of bools": (lambda: M.relu(), TypeError, ["relu", "bool"]),
    "fmod of bools": (lambda: M.fmod(M), TypeError, ["fmod", "bool"]),
    "dim bool": (lambda: A.mean(False), TypeError, ["dim", "bool"]),
    "size bool": (lambda: minidl.zeros(True), TypeError, ["zeros", "size", "bool"]),
    "tril of a vector": (lambda: V.tril(), RuntimeError, ["tril", "2 dimensions", "1"]),
    "triu of a vector": (lambda: V.triu(), RuntimeError, ["triu", "2 dimensions", "1"]),
    "roll dims": (lambda: V.roll((1, 2)), RuntimeError, ["roll", "(1, 2)", "None"]),
    "index_select negative": (lambda: V.index_select(0, minidl.tensor([-1])), IndexError, ["index_select", "-1", "3"]),
    "index_add negative": (lambda: A.index_add(0, minidl.tensor([-1]), A[:1]), IndexError, ["index_add", "-1", "2"]),
    "index_add source": (lambda: A.index_add(0, minidl.tensor([0, 1]), A[:1]), RuntimeError, ["index_add", "(2, 3)", "(1, 3)"]),
    "softmax of integers": (lambda: V.softmax(0), TypeError, ["softmax", "floating", "int64"]),
    "norm of integers": (lambda: V.norm(), TypeError, ["norm", "floating", "int64"]),
    "dim twice": (lambda: A.sum((0, 0)), RuntimeError, ["sum", "(0, 0)", "twice"]),
    "mean of integers": (lambda: V.mean(), TypeError, ["mean", "floating", "int64"]),
    "max of nothing": (lambda: minidl.zeros(0).max(), RuntimeError, ["amax", "(0,)"]),
    "argmax of nothing": (lambda: minidl.zeros(2, 0).argmax(1), RuntimeError, ["argmax", "(2, 0)"]),
    "softmax dim": (lambda: A.softmax(5), IndexError, ["softmax", "dim 5"]),
    "reshape": (lambda: A.reshape(4), RuntimeError, ["reshape", "(4,)", "4 elements", "6"]),
    "reshape -1": (lambda: A.reshape(-1, 4), RuntimeError, ["reshape", "(-1, 4)", "6"]),
    "reshape two -1": (lambda: A.reshape(-1, -1), RuntimeError, ["reshape", "one -1"]),
    "reshape type": (lambda: A.reshape("a"), TypeError, ["reshape", "size", "str"]),
    "reshape float": (lambda: A.reshape(2.0, 3), TypeError, ["reshape", "size", "float"]),
    "view": (lambda: A.T.view(6), RuntimeError, ["view", "(3, 2)", "(6,)", "reshape"]),
    "view dtype": (lambda: A.view(minidl.int32), NotImplementedError, ["view", "dtype", ".to("]),
    "transpose": (lambda: A.transpose(0, 2), IndexError, ["transpose", "dim 2"]),
    "permute": (lambda: A.permute(0), RuntimeError, ["permute", "(0,)", "2 dimensions"]),
    "t": (lambda: minidl.ones(1, 2, 3).t(), RuntimeError, ["t:", "2 dimensions", "3"]),
    "expand": (lambda: A.expand(4, 3), RuntimeError, ["expand", "(2, 3)", "(4, 3)"]),
    "squeeze": (lambda: A.squeeze(2), IndexError, ["squeeze", "dim 2"]),
    "cat nothing": (lambda: minidl.cat([]), RuntimeError, ["cat", "at least one"]),
    "cat shapes": (lambda: minidl.cat([A, minidl.ones(2, 4)], 0), RuntimeError, ["cat", "tensor 1", "(2, 4)", "dim 0"]),
    "stack shapes": (lambda: minidl.stack([A, V]), RuntimeError, ["stack", "tensor 1", "(3,)", "(2, 3)"]),
    "split sizes": (lambda: A.split([1, 1], 1), RuntimeError, ["split", "[1, 1]", "3"]),
    "split size": (lambda: A.split(0), RuntimeError, ["split", "positive", "0"]),
    "chunk": (lambda: A.chunk(0), RuntimeError, ["chunk", "at least 1", "0"]),
    "narrow": (lambda: A.narrow(1, 2, 5), RuntimeError, ["narrow", "start 2", "length 5", "size 3"]),
    "index too large": (lambda: A[5], IndexError, ["getitem", "(2, 3)", "5"]),
    "index too many": (lambda: A[0, 0, 0], IndexError, ["getitem", "(2, 3)", "too many"]),
    "index text": (lambda: A["a"], IndexError, ["getitem", "(2, 3)"]),
    "index float": (lambda: A[1.5], IndexError, ["getitem", "(2, 3)"]),
    "index float tensor": (lambda: A[minidl.tensor([0.0])], IndexError, ["index", "int64, int32 or bool", "float32"]),
    "index bytes": (lambda: A[minidl.zeros(2, dtype=minidl.uint8)], IndexError, ["index", "uint8", ".bool()"]),
    "index mask": (lambda: A[M], IndexError, ["getitem", "(2, 3)", "boolean"]),
    "index backwards": (lambda: A[::-1], ValueError, ["index", "step", "-1", "flip"]),
    "index lists": (lambda: A[[[0], [1]]], IndexError, ["index", "list of lists", "tuple"]),
    "gather type": (lambda: A.gather(0, A), TypeError, ["gather", "index", "float32"]),
    "gather range": (lambda: A.gather(0, INT), IndexError, ["gather", "index 6", "dim 0", "size 2"]),
    "gather dimensions": (lambda: A.gather(0, V), RuntimeError, ["gather", "(3,)", "(2, 3)"]),
    "index_select": (lambda: A.index_select(0, INT), RuntimeError, ["index_select", "vector", "(2, 3)"]),
    "masked_select": (lambda: A.masked_select(V), TypeError, ["masked_select", "mask", "bool", "int64"]),
    "masked_fill": (lambda: A.masked_fill(V, 0), TypeError, ["masked_fill", "mask", "bool", "int64"]),
    "where": (lambda: minidl.where(V, A, 0.0), TypeError, ["where", "condition", "bool", "int64"]),
    "clamp": (lambda: A.clamp(), ValueError, ["clamp", "min, max"]),
    "topk": (lambda: A.topk(4), RuntimeError, ["topk", "k = 4", "3"]),
    "one_hot": (lambda: minidl.nn.functional.one_hot(V, 2), ValueError, ["one_hot", "2"]),
    "einsum terms": (lambda: minidl.einsum("ij,jk", A), ValueError, ["einsum", "2 terms", "1 operand"]),
    "einsum sizes": (lambda: minidl.einsum("ij,jk->ik", A, A), RuntimeError, ["einsum", "'j'", "3", "2"]),
    "item": (lambda: A.item(), RuntimeError, ["item", "6 elements", "(2, 3)"]),
    "bool": (lambda: bool(A), RuntimeError, ["bool", "6 elements", "any() or all()"]),
    "float": (lambda: float(A), RuntimeError, ["6 elements"]),
    "len": (lambda: len(minidl.tensor(1.0)), TypeError, ["len", "without dimensions"]),
    "iter": (lambda: iter(minidl.tensor(1.0)), TypeError, ["iter", "without dimensions"]),
    "as an index": (lambda: [1, 2][minidl.tensor(1.0)], TypeError, ["index", "integer"]),
    "tensor text": (lambda: minidl.tensor("a"), TypeError, ["dtype", "not one that tensors hold"]),
    "tensor None": (lambda: minidl.tensor(None), TypeError, ["not one that tensors hold"]),
    "tensor uneven": (lambda: minidl.tensor([[1], [2, 3]]), RuntimeError, ["tensor", "data", "even lengths"]),
    "tensor complex": (lambda: minidl.tensor(1j), TypeError, ["complex128"]),
    "tensor overflow": (lambda: minidl.tensor([300], dtype=minidl.uint8), OverflowError, ["tensor", "uint8", "0 to 255"]),
    "tensor integer gradient": (lambda: minidl.tensor([1], requires_grad=True), RuntimeError, ["requires_grad", "int64"]),
    "zeros negative": (lambda: minidl.zeros(2, -1), RuntimeError, ["zeros", "(2, -1)", "negative"]),
    "zeros float": (lambda: minidl.zeros(2.0), TypeError, ["zeros", "size", "float"]),
    "zeros nothing": (lambda: minidl.zeros(), TypeError, ["zeros", "'size'", "missing"]),
    "zeros device": (lambda: minidl.zeros(2, device="moon"), RuntimeError, ["device", "'moon'"]),
    "zeros layout": (lambda: minidl.zeros(2, layout=1), TypeError, ["layout"]),
    "full value": (lambda: minidl.full((2,), "a"), TypeError, ["full", "fill_value", "str"]),
    "arange step": (lambda: minidl.arange(0, 5, -1), ValueError, ["arange", "step -1", "0 to 5"]),
    "arange text": (lambda: minidl.arange("a"), TypeError, ["arange", "end", "str"]),
    "linspace": (lambda: minidl.linspace(0, 1, -1), RuntimeError, ["linspace", "-1"]),
    "from_numpy": (lambda: minidl.from_numpy([1]), TypeError, ["from_numpy", "numpy.ndarray", "list"]),
    "from_numpy dtype": (lambda: minidl.from_numpy(np.ones(2, complex)), TypeError, ["complex128"]),
    "zeros_like": (lambda: minidl.zeros_like([1]), TypeError, ["zeros_like", "Tensor", "list"]),
    "dtype": (lambda: A.to("float13"), TypeError, ["float13", "float16, float32, float64"]),
    "grad type": (lambda: setattr(minidl.ones(2), "grad", 5), TypeError, ["grad", "Tensor", "int"]),
    "grad shape": (lambda: setattr(minidl.ones(2), "grad", minidl.ones(3)), RuntimeError, ["grad", "(3,)", "(2,)"]),
    "grad dtype": (lambda: setattr(minidl.ones(2), "grad", minidl.ones(2).double()), RuntimeError, ["float64", "float32"]),
    "data type": (lambda: setattr(minidl.ones(2), "data", 5), TypeError, ["data", "Tensor", "int"]),
    "requires_grad of a result": (
        lambda: (minidl.ones(2, requires_grad=True) * 2).requires_grad_(False),
        RuntimeError,
        ["requires_grad_", "leaf", "detach"],
    ),
    "rand dtype": (lambda: minidl.rand(2, dtype=minidl.int64), TypeError, ["rand", "floating", "int64"]),
    "randn dtype": (lambda: minidl.randn(2, dtype=minidl.bool), TypeError, ["randn", "floating", "bool"]),
    "randint bounds": (lambda: minidl.randint(3, 3, (2,)), ValueError, ["randint", "low", "3 and 3"]),
    "normal std": (lambda: minidl.normal(0.0, -1.0, (2,)), ValueError, ["normal", "std", "-1"]),
    "equal to a number": (lambda: minidl.equal(A, 0.5), TypeError, ["equal", "'other'", "float"]),
    "split of a number": (lambda: minidl.tensor(1.0).split(1), RuntimeError, ["split", "at least one dimension"]),
    "chunk of a number": (lambda: minidl.tensor(1.0).chunk(1), RuntimeError, ["chunk", "at least one dimension"]),
    "narrow of a number": (lambda: minidl.tensor(1.0).narrow(0, 0, 1), RuntimeError, ["narrow", "at least one dimension"]),
    "unbind of a number": (lambda: minidl.tensor(1.0).unbind(), RuntimeError, ["unbind", "at least one dimension"]),
    "select of a number": (lambda: minidl.tensor(1.0).select(0, 0), RuntimeError, ["select", "at least one dimension"]),
    "bernoulli": (lambda: minidl.bernoulli(A * 2), ValueError, ["bernoulli", "between 0 and 1"]),
    "multinomial few": (lambda: minidl.multinomial(minidl.ones(2), 3), ValueError, ["multinomial", "3"]),
    "multinomial negative": (lambda: minidl.multinomial(-minidl.ones(2), 1), ValueError, ["multinomial", "negative"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_bad_input(name):
    run, kind, words = TABLE[name]
    with pytest.raises(kind) as caught:
        run()
    text = str(caught.value)
    place = -1
    for word in words:
        found = text.find(word, max(place, 0))
        assert found >= place, f"{word!r} is not in its place in: {text}"
        assert found != -1, f"{word!r} is missing in: {text}"
        place = found + 1
    assert A.tolist() == [[1, 1, 1]] * 2 and V.tolist() == [0, 1, 2]


def test_shape_errors_are_both_kinds():
    """PyTorch's users expect a RuntimeError, NumPy's a ValueError."""
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind):
            A + minidl.ones(4)


@pytest.mark.parametrize("op", [minidl.floor_divide, minidl.remainder])
def test_integers_are_not_divided_by_zero(op):
    for other in (minidl.tensor([1, 0]), 0):
        with pytest.raises(ZeroDivisionError, match=f"{op.__name__}: other holds a 0"):
            op(minidl.tensor([3, 4]), other)
    assert op(minidl.tensor([7, 8]), 3).dtype == minidl.int64


def test_products_want_one_dtype():
    f, d = minidl.ones(2, 2), minidl.ones(2, 2, dtype=minidl.float64)
    for attempt in (
        lambda: f @ d,
        lambda: minidl.nn.functional.linear(f, d),
        lambda: minidl.nn.functional.conv2d(f.reshape(1, 1, 2, 2), d.reshape(1, 1, 2, 2)),
        lambda: minidl.ones(2, dtype=minidl.int64) @ f,
    ):
        with pytest.raises(RuntimeError, match="wants one dtype for all, got .*float"):
            attempt()
