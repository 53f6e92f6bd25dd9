"""Products of matrices: values against sums written out, gradients to order two."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values, common

import minidl
from minidl.testing import adjointcheck
from minidl.testing import strategies as mst

NUMBERS = ("float", "integer")


def matrices(letters, lead=False):
    """A strategy for arrays whose dimensions are named by letters, equal letters of equal size: ``"mk,kn"``; with ``lead``
    leading dimensions before the first two that broadcast."""

    @st.composite
    def draw_(draw, dtypes):
        sizes = {c: draw(st.integers(0, 3)) for c in sorted(set(letters) - {","})}
        terms = letters.split(",")
        leads = draw(mst.broadcastable_shapes(2, max_dims=2, max_side=2)) if lead else ()
        leads = (*leads, *[()] * len(terms))
        shapes = [(*front, *(sizes[c] for c in term)) for front, term in zip(leads, terms)]
        dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
        return tuple(draw(mst.arrays(shape, dtype)) for shape in shapes), {}

    return draw_


def product(a, b):
    """(..., M, K) @ (..., K, N), each element a sum of products; vectors as rows and columns."""
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (left, right))
    out = np.empty((*lead, left.shape[-2], right.shape[-1]), object)
    for place in np.ndindex(*out.shape):
        row, column = left[(*place[:-2], place[-2])], right[(*place[:-2], slice(None), place[-1])]
        out[place] = sum(x * y for x, y in zip(row.tolist(), column.tolist()))
    out = out[..., 0, :] if a.ndim == 1 else out
    return out[..., 0] if b.ndim == 1 else out


def summed_by_letters(equation):
    """An einsum as its definition: for every value of every letter, one product is added."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    letters = sorted(set("".join(terms)))

    def oracle(*arrays):
        size = {c: n for term, a in zip(terms, arrays) for c, n in zip(term, a.shape)}
        out = np.zeros([size[c] for c in output], object)
        for places in np.ndindex(*(size[c] for c in letters)):
            at = dict(zip(letters, places))
            out[tuple(at[c] for c in output)] += math.prod(a[tuple(at[c] for c in t)].item() for a, t in zip(arrays, terms))
        return out

    return oracle


def einsum_row(equation):
    return Row(
        lambda *xs: minidl.einsum(equation, *xs),
        summed_by_letters(equation),
        matrices(equation.split("->")[0]),
        NUMBERS,
        common,
    )


def affine(x, w, b):
    return product(x, w.T) + b


L = minidl
ROWS = {
    "matmul": Row(L.matmul, product, matrices("mk,kn", lead=True), NUMBERS, common),
    "matmul vector matrix": Row(L.matmul, product, matrices("k,kn"), NUMBERS, common),
    "matmul matrix vector": Row(L.matmul, product, matrices("bmk,k"), NUMBERS, common),
    "matmul vectors": Row(L.matmul, product, matrices("k,k"), NUMBERS, common),
    "matmul vector stack": Row(L.matmul, product, matrices("k,bkn"), NUMBERS, common),
    "operator": Row(lambda a, b: a @ b, product, matrices("mk,kn", lead=True), NUMBERS, common),
    "mm": Row(L.mm, product, matrices("mk,kn"), NUMBERS, common),
    "mv": Row(L.mv, product, matrices("mk,k"), NUMBERS, common),
    "bmm": Row(L.bmm, product, matrices("bmk,bkn"), NUMBERS, common),
    "dot": Row(L.dot, product, matrices("k,k"), NUMBERS, common),
    "outer": Row(L.outer, lambda a, b: a[:, None] * b, matrices("m,n"), NUMBERS, common),
    "addmm": Row(
        lambda c, a, b: L.addmm(c, a, b, beta=2, alpha=3),
        lambda c, a, b: 2 * c + 3 * product(a, b),
        matrices("mn,mk,kn"),
        NUMBERS,
        common,
    ),
    "linear": Row(L.linear, affine, matrices("mk,nk,n"), ("float",), common),
    "linear stacked": Row(L.linear, affine, matrices("bmk,nk,n"), ("float",), common),
    "linear vector": Row(L.linear, affine, matrices("k,nk,n"), ("float",), common),
    "linear without bias": Row(L.linear, lambda x, w: product(x, w.T), matrices("mk,nk"), ("float",), common),
    "trace": Row(L.trace, lambda a: sum(a[i, i].item() for i in range(min(a.shape))), matrices("mn"), ("float",)),
    "einsum": einsum_row("mk,kn->mn"),
    "einsum transposed": einsum_row("ab->ba"),
    "einsum summed": einsum_row("abc->b"),
    "einsum all": einsum_row("ab,ab->"),
    "einsum outer": einsum_row("a,b->ab"),
    "einsum attention": einsum_row("bhid,bhjd->bhij"),
    "einsum of three": einsum_row("ab,bc,cd->ad"),
    "einsum with a lonely letter": einsum_row("ab,bc->c"),
    "einsum diagonal": einsum_row("aa->a"),
    "einsum trace": einsum_row("aa->"),
    "einsum diagonal in a product": einsum_row("aba,bc->ac"),
}


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(mst.dtypes(*ROWS[name].kinds)))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


def test_einsum_reads_dots_and_infers_the_result():
    a, b = minidl.randn(2, 3, 4), minidl.randn(2, 4, 5)
    assert minidl.allclose(minidl.einsum("...ij,...jk->...ik", a, b), a @ b, atol=1e-6)
    assert minidl.allclose(minidl.einsum("bij,bjk", a, b), (a @ b).sum(0), atol=1e-5)
    assert minidl.allclose(minidl.einsum("ji", a[0]), a[0].T)
    assert minidl.allclose(minidl.einsum("i j -> i", a[0]), a[0].sum(1), atol=1e-6)


@pytest.mark.parametrize("shape", [(300, 200), (3, 100, 200)])
def test_a_product_and_its_transpose_at_real_size_in_float32(shape):
    w = minidl.randn(200, 150)
    assert adjointcheck(lambda x: x @ w, lambda g: g @ w.T, minidl.zeros(*shape))
