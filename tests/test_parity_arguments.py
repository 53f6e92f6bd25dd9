"""Arguments, dtypes and edges beside PyTorch: one expression a line, computed with either library as ``L``."""

import ast
import warnings

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")

inf, nan = float("inf"), float("nan")

AGREE = """
L.arange(1, 2.5, dtype=L.int64)
L.arange(1.9, 5)
L.arange(0.5, 3, dtype=L.int64)
L.arange(-1.5, 3, dtype=L.int32)
L.arange(-1.5, 3, dtype=L.int64)
L.arange(5, 1, -1)
L.arange(7, 0, -3, dtype=L.int64)
L.arange(1, 2, 0.1, dtype=L.float64)
L.arange(0, 1, 0.3, dtype=L.float16)
L.arange(3.0)
L.arange(end=3)
L.arange(3, 3)
L.arange(L.tensor(3))
L.arange(L.tensor(3.5))
L.arange(L.tensor(1), 4, L.tensor(2))
L.linspace(L.tensor(0.0), L.tensor(1.0), 3)
L.linspace(L.tensor(0), 1, 3)
L.linspace(-3, 3, 5, dtype=L.int64)
L.linspace(0, 1, 0)
L.linspace(2, 1, 1)
L.full((2,), L.tensor(3.0))
L.full((2,), L.tensor(3))
L.full((2,), L.tensor(3), dtype=L.float64)
L.full_like(L.ones(2), L.tensor(3))
L.zeros(size=(2, 3))
L.ones(size=(2,), dtype=L.int64)
L.empty(size=(0, 2))
L.rand(size=(2, 3)).shape
L.randn(size=(2, 3)).shape
L.randint(low=0, high=3, size=(2,)).shape
L.randint(high=3, size=(2,)).shape
L.randint(3, size=(2,)).shape
L.randint(3, (2,)).shape
L.normal(L.tensor([0.0, 1.0]), L.tensor([0.0, 0.0]))
L.normal(L.tensor([0.0, 1.0]), 1.0).shape
L.normal(0.0, L.tensor([1.0, 2.0])).shape
L.normal(0.0, 1.0, (2, 3)).shape
L.normal(mean=0.0, std=1.0, size=(2, 3)).shape
L.sum(L.ones(2, 3), ())
L.sum(L.ones(2, 3), [], True)
L.sum(L.tensor([200, 100], dtype=L.uint8), dtype=L.uint8)
L.sum(L.tensor([True, True]), dtype=L.uint8)
L.sum(L.tensor([True, True]), dtype=L.int16)
L.sum(L.tensor([True, True]), dtype=L.bool)
L.sum(L.tensor([1.7, 1.7]), dtype=L.int64)
L.mean(L.ones(2, 3), ())
L.mean(L.tensor([1, 2]), dtype=L.float32)
L.amax(L.tensor([[1, 2], [3, 4]]), ())
L.amin(L.tensor([[1, 2], [3, 4]]), (), True)
L.any(L.tensor([[1, 0]]), ())
L.std(L.tensor([[1.0, 2.0, 4.0]]), dim=())
L.std(L.tensor([[1.0, 2.0, 4.0]]), 1, False)
L.std(L.tensor([[1.0, 2.0, 4.0]]), False)
L.var(L.tensor([[1.0, 2.0, 4.0]]), 1, True, True)
L.var(L.tensor([[1.0, 2.0, 4.0]]), unbiased=False)
L.var(L.tensor([1.0, 2.0, 4.0]), correction=3)
L.var(L.tensor([1.0, 2.0, 4.0]), correction=5)
L.var(L.tensor([1.0, 1.0]), correction=2)
L.var_mean(L.tensor([[1.0, 2.0, 4.0]]), 1, False)
L.var_mean(L.tensor([[1.0, 2.0, 4.0]]), unbiased=False)
L.tensor([[1.0, 2.0, 4.0]]).var(1, False, True)
L.prod(L.tensor([200, 2], dtype=L.uint8), dtype=L.uint8)
L.prod(L.tensor([2.5, 3.5]), dtype=L.int64)
L.cumsum(L.tensor([1.7, 2.7]), 0, dtype=L.int64)
L.cumsum(L.tensor([200, 100], dtype=L.uint8), 0, dtype=L.uint8)
L.cumprod(L.tensor([1, 2, 3], dtype=L.int32), 0)
L.cumprod(L.tensor([1.5, 2.5]), 0, dtype=L.int64)
L.softmax(L.tensor([1, 2]), 0, dtype=L.float32)
L.softmax(L.tensor([1.0, 2.0]), 0, L.float64)
L.log_softmax(L.tensor([1.0, 2.0]), 0, dtype=L.float64)
L.tensor([1.0, 2.0]).softmax(-1, dtype=L.float64)
L.tensor([1, 2]).log_softmax(dim=0, dtype=L.float32)
L.norm(L.tensor([3.0, 4.0]), dtype=L.float64)
L.all(L.tensor([1, 0], dtype=L.uint8))
L.any(L.tensor([[1, 0]], dtype=L.uint8), 1)
L.bincount(L.tensor([1, 1, 3]), L.tensor([1.0, 2.0, 3.0]))
L.bincount(L.tensor([1, 2]), L.tensor([1, 2]))
L.unique(L.tensor([3, 1, 3]), sorted=True)
L.unique(L.tensor([[3, 1], [3, 2]]), return_inverse=True)
L.unique(L.tensor([3, 1, 3]), return_counts=True)
L.unique(L.tensor([3, 1, 3]), True, True, True)
L.unique(L.tensor([nan, nan, 1.0]))
L.unique(L.tensor([[1, 2], [1, 2], [0, 5]]), dim=0)
L.tensor([3, 1, 3]).unique(return_counts=True)
L.diag(L.tensor([[1, 2], [3, 4]]), diagonal=1)
L.diag(L.tensor([1, 2]), diagonal=-1)
L.diag_embed(L.tensor([[1, 2]]), 0, 0, 1)
L.diag_embed(L.tensor([[1, 2], [3, 4]]), offset=-1, dim1=-1, dim2=0)
L.chunk(L.arange(0), 3)
L.split(L.arange(0), 0)
L.meshgrid(L.arange(2), L.tensor(3), indexing="ij")
L.repeat_interleave(L.tensor([1, 2]), L.tensor([1, 2]))
L.repeat_interleave(L.tensor([[1, 2], [3, 4]]), L.tensor([2, 0]), dim=0)
L.repeat_interleave(L.tensor([[1, 2], [3, 4]]), L.tensor([3]), dim=1)
L.scatter(L.zeros(2, 2), 1, L.tensor([[0], [1]]), value=5)
L.nonzero(L.tensor(1.0), as_tuple=True)
L.nonzero(L.tensor(0.0), as_tuple=True)
L.take_along_dim(L.tensor([[3, 1], [2, 4]]), L.tensor([1, 0, 3]))
L.take_along_dim(L.tensor([[3, 1], [5, 4]]), L.tensor([[1]]), 1)
L.take_along_dim(L.tensor([[3, 1]]), L.tensor([[0], [1]]), dim=1)
L.einsum("ii->i", L.tensor([[1.0, 2.0], [3.0, 4.0]]))
L.einsum("ii", L.tensor([[1.0, 2.0], [3.0, 4.0]]))
L.einsum("bii->b", L.arange(8.0).reshape(2, 2, 2))
L.einsum("iij,jk->ik", L.arange(8.0).reshape(2, 2, 2), L.ones(2, 3))
L.add(L.tensor([1]), 2, alpha=3)
L.add(L.tensor([1.0]), L.tensor([2.0]), alpha=0.5)
L.sub(L.tensor([1.0]), L.tensor([2.0]), alpha=3)
L.sub(L.tensor([5]), L.tensor([2]), alpha=2)
L.lerp(L.tensor([1e8]), L.tensor([1.0]), 1.0)
L.lerp(L.tensor([1e8, 1e8]), L.tensor([1.0, 1.0]), L.tensor([1.0, 0.0]))
L.lerp(L.tensor([0.1]), L.tensor([0.3]), 0.7)
L.square(L.tensor([True, False]))
L.nan_to_num(L.tensor([1, 2]))
L.nan_to_num(L.tensor([nan, inf, -inf]), nan=inf)
L.nan_to_num(L.tensor([nan, inf, -inf]), 1.0, -inf, 3.0)
L.clamp(L.tensor([1.0, nan]), L.tensor([2.0, 2.0]))
L.clamp(L.tensor([1.0, 5.0]), L.tensor([nan, 3.0]))
L.clamp(L.tensor([1.0, 5.0]), max=L.tensor([nan, 3.0]))
L.round(L.tensor([1.25, -0.55]), decimals=1)
L.bernoulli(L.tensor([0.0, 1.0]))
"""

REFUSED = """
L.arange(0, 2, 0.5, dtype=L.int64)
L.arange(0, 2, 0.0)
L.arange(nan)
L.arange(inf)
L.arange(3, 1)
L.linspace(L.tensor([0.0, 1.0]), 1, 3)
L.full((2,), L.tensor([3.0]))
L.full((2,), 300, dtype=L.uint8)
L.full((2,), nan, dtype=L.int64)
L.full((2,), inf, dtype=L.int32)
L.zeros((2,), size=(2,))
L.randperm(-1)
L.rand(-1)
L.randint(3, 3, (2,))
L.bernoulli(L.tensor([0, 1]))
L.bernoulli(L.tensor([nan]))
L.multinomial(L.tensor([0, 1]), 1)
L.multinomial(L.tensor([nan, 1.0]), 1)
L.sub(L.tensor([True]), True)
L.add(L.tensor([1]), 2, alpha=0.5)
L.abs(L.tensor([True]))
L.floor(L.tensor([True]))
L.ceil(L.tensor([True]))
L.trunc(L.tensor([True]))
L.round(L.tensor([True]))
L.frac(L.tensor([1]))
L.lerp(L.tensor([1]), L.tensor([3]), 0.5)
L.masked_fill(L.tensor([1.0, 2.0]), L.tensor([True, False]), L.tensor([5.0]))
L.mean(L.tensor([1.0, 2.0]), dtype=L.int64)
L.softmax(L.tensor([1, 2]), 0)
L.bincount(L.tensor([True]))
L.matmul(L.tensor([[True]]), L.tensor([[True]]))
L.scatter(L.zeros(2, 2), 1, L.tensor([[0], [1]]), L.ones(2, 1, dtype=L.float64))
L.scatter(L.zeros(2, 2), 1, L.tensor([[0], [1]]))
L.scatter_add(L.zeros(2, 2), 1, L.tensor([[0], [0]]), L.ones(2, 1, dtype=L.int64))
L.index_add(L.zeros(3), 0, L.tensor([0, 0]), L.ones(2, dtype=L.int64))
L.repeat_interleave(L.tensor([1, 2]), L.tensor([1, 2, 3]))
L.repeat_interleave(L.tensor([1, 2]), L.tensor([1, -2]))
L.repeat_interleave(L.tensor([1, 2]), -1)
L.einsum("ii->i", L.ones(2, 3))
L.diag_embed(L.ones(2), 0, 1, 1)
L.addcmul(L.ones(1), L.ones(1), L.ones(1), out=3)
"""


def lines(text):
    return [line for line in text.splitlines() if line]


def run(line, library):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(compile(line, "line", "eval"), {"L": library, "inf": inf, "nan": nan})


def plain(x):
    """A result as dtypes, shapes and numbers."""
    if isinstance(x, tuple) and not all(isinstance(n, int) for n in x):
        return [plain(part) for part in x]
    if hasattr(x, "tolist"):
        return str(x.dtype).split(".")[1], tuple(x.shape), np.array(x.tolist(), float).reshape(x.shape)
    return tuple(x)


def check(got, want):
    assert type(got) is type(want)
    if isinstance(got, list):
        assert len(got) == len(want)
        for a, b in zip(got, want):
            check(a, b)
    elif len(got) == 3 and isinstance(got[0], str):
        assert got[:2] == want[:2]
        eps = 1e-12 if got[0] == "float64" else 1e-3 if got[0] == "float16" else 1e-6
        np.testing.assert_allclose(got[2], want[2], eps, eps)
    else:
        assert got == want


@pytest.mark.parametrize("line", lines(AGREE))
def test_agree(line):
    check(plain(run(line, minidl)), plain(run(line, torch)))


@pytest.mark.parametrize("line", lines(REFUSED))
def test_refused(line):
    """By both, and here with a message that names the function."""
    with pytest.raises((TypeError, ValueError, RuntimeError, NotImplementedError, IndexError)):
        run(line, torch)
    with pytest.raises((TypeError, ValueError, RuntimeError, NotImplementedError, IndexError, OverflowError)) as caught:
        run(line, minidl)
    named = [node.attr for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Attribute)] + ["sub"]
    assert any(name in str(caught.value) for name in named), caught.value
