"""Products of vectors and matrices under their several names, and `einsum`, which is all of them."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING, Any

from ..autograd.op import cast
from ..dtypes import as_dtype
from ..ops.layout import diag_embed, diagonal, permute, reshape, roll
from ..ops.linear import contract, matmul
from ..ops.reduce import sum
from ..shapes import ShapeError, broadcast_shapes, wrap_dim, wrap_dims
from .shaping import expand

if TYPE_CHECKING:
    from .._tensor import Tensor


def _check_dims(op: str, n: int, *tensors: Any) -> None:
    for x in tensors:
        if len(x.shape) != n:
            raise ShapeError(f"{op}: wants {n} dimensions, got shape {tuple(x.shape)}")


def mm(input: Any, mat2: Any) -> Tensor:
    """The product of two matrices, (M, K) @ (K, N) -> (M, N)."""
    _check_dims("mm", 2, input, mat2)
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Tensor:
    """A matrix times a vector, (M, K) @ (K,) -> (M,)."""
    _check_dims("mv", 2, input)
    _check_dims("mv", 1, vec)
    return matmul(input, vec)


def bmm(input: Any, mat2: Any) -> Tensor:
    """The products of pairs of matrices, (B, M, K) @ (B, K, N) -> (B, M, N)."""
    _check_dims("bmm", 3, input, mat2)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: {input.shape[0]} matrices on the left, {mat2.shape[0]} on the right")
    return matmul(input, mat2)


def dot(input: Any, tensor: Any) -> Tensor:
    """The sum of products of two vectors, (K,) and (K,) -> ()."""
    _check_dims("dot", 1, input, tensor)
    return matmul(input, tensor)


def outer(input: Any, vec2: Any) -> Tensor:
    """All products of two vectors, (M,) and (N,) -> (M, N)."""
    _check_dims("outer", 1, input, vec2)
    return reshape(input, (-1, 1)) * vec2


def trace(input: Any) -> Tensor:
    """The sum of a matrix's diagonal."""
    _check_dims("trace", 2, input)
    return sum(diagonal(input))


def _check_same_dtype(op: str, *tensors: Any) -> None:
    if len({as_dtype(x.dtype) for x in tensors}) > 1:
        listed = ", ".join(str(x.dtype) for x in tensors)
        raise RuntimeError(f"{op}: wants one dtype for all, got {listed}; use .to(dtype)")


def inner(input: Any, other: Any) -> Tensor:
    """The sum of products over the last dimension of both, for all pairs of the others: (..., K), (,,, K) -> (..., ,,,)."""
    _check_same_dtype("inner", input, other)
    if not len(input.shape) or not len(other.shape):
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(f"inner: shapes {tuple(input.shape)} and {tuple(other.shape)} differ in their last dimension")
    return tensordot(input, other, ([-1], [-1]))


def vdot(input: Any, other: Any) -> Tensor:
    """`dot`, under the name it has for complex numbers."""
    return dot(input, other)


def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """The sum of products over ``dims``: a list of dimensions of ``a`` and one of ``b``, or how many last ones of ``a`` and
    first ones of ``b``. The result has the other dimensions of ``a`` and then those of ``b``.
    """
    _check_same_dtype("tensordot", a, b)
    dims = dims.tolist() if hasattr(dims, "tolist") else dims
    ndims = len(a.shape), len(b.shape)
    if isinstance(dims, int):
        if not 0 <= dims <= min(ndims):
            raise ShapeError(f"tensordot: dims {dims} is not between 0 and {min(ndims)}, the number of dimensions")
        left, right = tuple(range(ndims[0] - dims, ndims[0])), tuple(range(dims))
    else:
        left, right = (wrap_dims(tuple(some), n, "tensordot") for some, n in zip(dims, ndims))
    sizes = [[x.shape[d] for d in some] for x, some in ((a, left), (b, right))]
    if len(left) != len(right) or any(m != n and 1 not in (m, n) for m, n in zip(*sizes)):
        raise ShapeError(f"tensordot: dims {dims} of shapes {tuple(a.shape)} and {tuple(b.shape)} have sizes {sizes}")
    for i, (m, n) in enumerate(zip(*sizes)):  # a size of 1 goes with any other
        if m != n:
            a = sum(a, left[i], True) if n == 1 else a
            b = sum(b, right[i], True) if m == 1 else b
    free = [[d for d in range(n) if d not in some] for n, some in zip(ndims, (left, right))]
    shape = [x.shape[d] for x, some in zip((a, b), free) for d in some]
    k = math.prod(a.shape[d] for d in left)
    rows = reshape(permute(a, (*free[0], *left)), (math.prod(a.shape[d] for d in free[0]), k))
    columns = reshape(permute(b, (*right, *free[1])), (k, math.prod(b.shape[d] for d in free[1])))
    return reshape(matmul(rows, columns), shape)


def kron(input: Any, other: Any) -> Tensor:
    """The Kronecker product: every element of ``input`` times the whole of ``other``, laid out as ``input`` is."""
    ndim = max(len(input.shape), len(other.shape))
    shapes = [(1,) * (ndim - len(x.shape)) + tuple(x.shape) for x in (input, other)]
    left = reshape(input, [n for size in shapes[0] for n in (size, 1)])
    right = reshape(other, [n for size in shapes[1] for n in (1, size)])
    return reshape(left * right, [m * n for m, n in zip(*shapes)])


def cross(input: Any, other: Any, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three elements, which lie along ``dim`` (None: the first of size 3)."""
    _check_same_dtype("cross", input, other)
    if len(input.shape) != len(other.shape):
        raise ShapeError(f"cross: shapes {tuple(input.shape)} and {tuple(other.shape)} must have equally many dimensions")
    shape = broadcast_shapes(input.shape, other.shape, op="cross")
    if dim is None:
        if 3 not in shape:
            raise ShapeError(f"cross: no dimension of shape {shape} has the size 3")
        dim = shape.index(3)
    dim = wrap_dim(dim, len(shape), "cross")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise ShapeError(f"cross: dim {dim} must have the size 3, got shapes {tuple(input.shape)} and {tuple(other.shape)}")
    first = roll(input, -1, dim) * roll(other, 1, dim)
    return first - roll(input, 1, dim) * roll(other, -1, dim)


def matrix_power(input: Any, n: int) -> Tensor:
    """A square matrix (or several) multiplied by itself ``n`` times, ``n`` at least 0, by squaring."""
    if len(input.shape) < 2 or input.shape[-1] != input.shape[-2]:
        raise ShapeError(f"matrix_power: wants square matrices, got shape {tuple(input.shape)}")
    if n < 0:
        raise NotImplementedError(f"matrix_power: n = {n} asks for an inverse, which is not supported")
    if n == 0:
        places = diagonal(input, 0, -2, -1)
        return diag_embed(cast((places == places) | (places != places), as_dtype(input.dtype).dtype))  # ones, also for NaN
    half = matrix_power(input, n // 2) if n > 1 else input
    square = matmul(half, half) if n > 1 else input
    return matmul(square, input) if n > 1 and n % 2 else square


# -- a product added to something


def _added(op: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """``beta * input + alpha * product``; with ``beta`` 0 whatever is in ``input``, NaN too, has no part."""
    _check_same_dtype(op, input, product)
    if not as_dtype(product.dtype).is_floating_point and not (isinstance(beta, int) and isinstance(alpha, int)):
        raise TypeError(f"{op}: beta and alpha must be integers for {product.dtype}, got {beta} and {alpha}")
    input = expand(input, tuple(product.shape))
    product = product if alpha == 1 else alpha * product
    return product if beta == 0 else (input if beta == 1 else beta * input) + product


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``: (N, M), (N, K), (K, M) -> (N, M)."""
    return _added("addmm", input, mm(mat1, mat2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * sum(batch1 @ batch2)``, the sum over the batch: (N, M), (B, N, K), (B, K, M) -> (N, M)."""
    return _added("addbmm", input, sum(bmm(batch1, batch2), 0), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)``: (B, N, M), (B, N, K), (B, K, M) -> (B, N, M)."""
    return _added("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``: (N,), (N, M), (M,) -> (N,)."""
    return _added("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``: (N, M), (N,), (M,) -> (N, M)."""
    return _added("addr", input, outer(vec1, vec2), beta, alpha)


# -- einsum


def einsum(equation: str, *operands: Any) -> Tensor:
    """Products summed by letters: ``einsum("bij,bjk->bik", a, b)`` is `bmm`.

    Each operand has a letter for each dimension; letters that are not in the result are summed over. Without ``->`` the
    result has the letters that occur once, in alphabetical order. ``...`` stands for dimensions that broadcast.

    Raises
    ------
    ValueError
        If the equation does not fit the operands.
    """
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} has {len(terms)} terms for {len(operands)} operands")
    if not arrow:
        plain = inputs.replace(",", "").replace("...", "")
        output = ("..." if "..." in inputs else "") + "".join(sorted(c for c in set(plain) if plain.count(c) == 1))
    spare = [c for c in string.ascii_letters if c not in equation]
    widest = max((len(x.shape) - len(t.replace("...", "")) for t, x in zip(terms, operands) if "..." in t), default=0)
    sizes: dict[str, int] = {}
    spread = list(operands)
    for i, (term, x) in enumerate(zip(terms, operands)):
        extra = len(x.shape) - len(term.replace("...", ""))
        term = term.replace("...", "".join(spare[widest - extra : widest]) if extra > 0 else "")
        if len(term) != len(x.shape) or (not term.isalpha() and term):
            raise ValueError(f"einsum: the term {term!r} does not fit operand {i} of shape {tuple(x.shape)}")
        for c in sorted({c for c in term if term.count(c) > 1}):  # twice in one operand: its diagonal
            while term.count(c) > 1:
                places = term.index(c), term.rindex(c)
                if x.shape[places[0]] != x.shape[places[1]]:
                    raise ShapeError(f"einsum: letter {c!r} has two sizes in operand {i} of shape {tuple(x.shape)}")
                x, term = diagonal(x, 0, *places), "".join(d for j, d in enumerate(term) if j not in places) + c
        terms[i], spread[i] = term, x
        for c, n in zip(term, x.shape):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ShapeError(f"einsum: letter {c!r} has sizes {sizes[c]} and {n} in {equation!r}")
            sizes[c] = max(sizes[c], n)
    output = output.replace("...", "".join(spare[:widest]))
    if any(c not in sizes for c in output) or len(set(output)) != len(output):
        raise ValueError(f"einsum: the result {output!r} of {equation!r} must have letters of the operands, each once")
    return contract([_spread_to(x, term, sizes) for term, x in zip(terms, spread)], ",".join(terms) + "->" + output)


def _spread_to(x: Any, term: str, sizes: dict[str, int]) -> Any:
    """Stretch sizes of 1 (einsum's broadcasting), so that the rule need not undo it."""
    full = tuple(sizes[c] for c in term)
    return x if full == tuple(x.shape) else expand(x, full)
