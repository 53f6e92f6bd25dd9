"""Products of matrices, and everything that is one in disguise."""

from __future__ import annotations

import math
import string
from typing import Any

from ..autograd import differentiable
from ..backend import kernels, xp
from ..shapes import ShapeError
from .layout import diagonal, expand, reshape, transpose
from .reduce import sum


@differentiable(promotes="same")
def _matmul(input: Any, other: Any) -> Any:
    k = input.shape[-1]
    if other.shape[-2] != k:
        raise ShapeError(f"matmul: shapes {input.shape} and {other.shape} do not meet: {k} columns, {other.shape[-2]} rows")
    return kernels(input).matmul(input, other)


_matmul.op.name = "matmul"
_matmul.vjp(
    input=lambda g, other: _matmul(g, transpose(other, -1, -2)),
    other=lambda g, input: _matmul(transpose(input, -1, -2), g),
)


def matmul(input: Any, other: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast. A vector counts as a row on the left, as a column
    on the right, and that dimension is left out of the result.

    Shapes: (..., M, K) @ (..., K, N) -> (..., M, N).
    """
    a, b = len(input.shape), len(other.shape)
    if not a or not b:
        raise ShapeError(
            f"matmul: wants at least 1 dimension on both sides, got shapes {tuple(input.shape)} and {tuple(other.shape)}"
        )
    if a > 1 and b > 1:
        return _matmul(input, other)
    left = reshape(input, (1, input.shape[0])) if a == 1 else input
    right = reshape(other, (other.shape[0], 1)) if b == 1 else other
    out = _matmul(left, right)
    lead = tuple(out.shape[:-2])
    return reshape(out, lead + (() if a == 1 else (out.shape[-2],)) + (() if b == 1 else (out.shape[-1],)))


def _check_dims(op: str, n: int, *tensors: Any) -> None:
    for x in tensors:
        if len(x.shape) != n:
            raise ShapeError(f"{op}: wants {n} dimensions, got shape {tuple(x.shape)}")


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices, (M, K) @ (K, N) -> (M, N)."""
    _check_dims("mm", 2, input, mat2)
    return _matmul(input, mat2)


def mv(input: Any, vec: Any) -> Any:
    """A matrix times a vector, (M, K) @ (K,) -> (M,)."""
    _check_dims("mv", 2, input)
    _check_dims("mv", 1, vec)
    return matmul(input, vec)


def bmm(input: Any, mat2: Any) -> Any:
    """The products of pairs of matrices, (B, M, K) @ (B, K, N) -> (B, M, N)."""
    _check_dims("bmm", 3, input, mat2)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: {input.shape[0]} matrices on the left, {mat2.shape[0]} on the right")
    return _matmul(input, mat2)


def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors, (K,) and (K,) -> ()."""
    _check_dims("dot", 1, input, tensor)
    return matmul(input, tensor)


def outer(input: Any, vec2: Any) -> Any:
    """All products of two vectors, (M,) and (N,) -> (M, N)."""
    _check_dims("outer", 1, input, vec2)
    return reshape(input, (-1, 1)) * vec2


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return beta * input + alpha * mm(mat1, mat2)


@differentiable(promotes="same")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``input @ weight.T + bias``: each row of ``weight`` is one output.

    Shapes: (..., K), (N, K), (N,) -> (..., N).
    """
    if input.ndim < 1 or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: input of shape {input.shape} does not fit weight of shape {weight.shape}: "
            f"wanted (..., {weight.shape[-1]}) and (out_features, in_features)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias of shape {bias.shape} does not fit weight of shape {weight.shape}")
    return kernels(input).linear(input, weight, bias)


def _rows(x: Any) -> Any:
    return x if len(x.shape) == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _input_rule(g: Any, weight: Any) -> Any:
    return linear(g, weight.T)


def _weight_rule(g: Any, input: Any) -> Any:
    return _matmul(_rows(g).T, _rows(input))


def _bias_rule(g: Any) -> Any:
    return sum(_rows(g), 0)


linear.vjp(input=_input_rule, weight=_weight_rule, bias=_bias_rule)


# -- einsum


@differentiable
def _einsum(operands: Any, equation: str) -> Any:
    return xp(operands[0]).einsum(equation, *operands, optimize=len(operands) > 2)


def _einsum_rule(g: Any, operands: Any, equation: str) -> Any:
    """For each operand, the einsum of ``g`` and the other operands that has its letters left."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    grads = []
    for i, term in enumerate(terms):
        others = [x for j, x in enumerate(operands) if j != i]
        letters = [t for j, t in enumerate(terms) if j != i]
        known = "".join(letters) + output
        # a letter that nobody else has was summed over: its gradient is the same all along it
        missing = [c for c in term if c not in known]
        ones = [xp(getattr(g, "_array", g)).ones(operands[i].shape[term.index(c)], g_dtype(g)) for c in missing]
        grads.append(_einsum([g, *others, *ones], ",".join([output, *letters, *missing]) + "->" + term))
    return tuple(grads)


def g_dtype(g: Any) -> Any:
    """The NumPy dtype of an array or a tensor."""
    return getattr(g, "_array", g).dtype


_einsum.op.name = "einsum"
_einsum.vjp(operands=_einsum_rule)


def einsum(equation: str, *operands: Any) -> Any:
    """Products summed by letters: ``einsum("bij,bjk->bik", a, b)`` is `bmm`.

    Each operand has a letter for each dimension; letters that are not in the result are summed over. Without ``->`` the
    result has the letters that occur once, in alphabetical order. ``...`` stands for dimensions that broadcast.

    Raises
    ------
    ValueError
        If the equation does not fit the operands. A letter may not stand twice in one operand: take `diagonal` first.
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
    for i, (term, x) in enumerate(zip(terms, operands)):
        extra = len(x.shape) - len(term.replace("...", ""))
        term = terms[i] = term.replace("...", "".join(spare[widest - extra : widest]) if extra > 0 else "")
        if len(term) != len(x.shape) or (not term.isalpha() and term):
            raise ValueError(f"einsum: the term {term!r} does not fit operand {i} of shape {tuple(x.shape)}")
        if len(set(term)) != len(term):
            raise ValueError(f"einsum: the term {term!r} names a letter twice; take diagonal() of the operand first")
        for c, n in zip(term, x.shape):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ShapeError(f"einsum: letter {c!r} has sizes {sizes[c]} and {n} in {equation!r}")
            sizes[c] = max(sizes[c], n)
    output = output.replace("...", "".join(spare[:widest]))
    if any(c not in sizes for c in output) or len(set(output)) != len(output):
        raise ValueError(f"einsum: the result {output!r} of {equation!r} must have letters of the operands, each once")
    return _einsum([_spread_to(x, term, sizes) for term, x in zip(terms, operands)], ",".join(terms) + "->" + output)


def _spread_to(x: Any, term: str, sizes: dict[str, int]) -> Any:
    """Stretch sizes of 1 (einsum's broadcasting), so that the rule need not undo it."""
    full = tuple(sizes[c] for c in term)
    return x if full == tuple(x.shape) else expand(x, full)


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    _check_dims("trace", 2, input)
    return sum(diagonal(input))
