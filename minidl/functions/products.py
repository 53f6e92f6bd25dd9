"""Products of vectors and matrices under their several names, and `einsum`, which is all of them."""

from __future__ import annotations

import string
from typing import Any

from ..ops.layout import diagonal, reshape
from ..ops.linear import contract, matmul
from ..ops.reduce import sum
from ..shapes import ShapeError
from .shaping import expand


def _check_dims(op: str, n: int, *tensors: Any) -> None:
    for x in tensors:
        if len(x.shape) != n:
            raise ShapeError(f"{op}: wants {n} dimensions, got shape {tuple(x.shape)}")


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices, (M, K) @ (K, N) -> (M, N)."""
    _check_dims("mm", 2, input, mat2)
    return matmul(input, mat2)


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
    return matmul(input, mat2)


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


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    _check_dims("trace", 2, input)
    return sum(diagonal(input))


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
    return contract([_spread_to(x, term, sizes) for term, x in zip(terms, operands)], ",".join(terms) + "->" + output)


def _spread_to(x: Any, term: str, sizes: dict[str, int]) -> Any:
    """Stretch sizes of 1 (einsum's broadcasting), so that the rule need not undo it."""
    full = tuple(sizes[c] for c in term)
    return x if full == tuple(x.shape) else expand(x, full)
