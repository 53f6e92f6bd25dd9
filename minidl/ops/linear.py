"""Products of matrices, and everything that is one in disguise."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import differentiable
from ..backend import in_one, kernels, xp
from ..shapes import ShapeError
from .layout import reshape, transpose, zeros_for
from .reduce import sum


@differentiable(promotes="same")
def _matmul(input: Any, other: Any) -> Any:
    k = input.shape[-1]
    if input.dtype == bool:
        raise TypeError("matmul: bools have no products here; convert them with .to(int)")
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


def _parameters_rule(g: Any, input: Any, wanted: Any) -> tuple[Any, ...]:
    """The gradients of weight and bias: both in one pass, where a kernel can do that."""
    whole = in_one("linear_grad", g) if all(wanted) else None
    g_rows, rows = _rows(g), _rows(input)
    both = whole and whole(g_rows, rows)
    return both or (_matmul(g_rows.T, rows) if wanted[0] else None, sum(g_rows, 0) if wanted[1] else None)


linear.vjp(input=_input_rule)
linear.vjp(_parameters_rule, weight=None, bias=None)


@differentiable
def contract(operands: Any, equation: str) -> Any:
    """``operands`` multiplied and summed by letters: what is left of `einsum` when the equation is understood."""
    return xp(operands[0]).einsum(equation, *operands, optimize=len(operands) > 2)


def _contract_rule(g: Any, operands: Any, equation: str) -> Any:
    """For each operand, the einsum of ``g`` and the other operands that has its letters left."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    grads = []
    for i, term in enumerate(terms):
        others = [x for j, x in enumerate(operands) if j != i]
        letters = [t for j, t in enumerate(terms) if j != i]
        # a letter that nobody else has was summed over: its gradient is the same all along it
        missing = [c for c in term if c not in "".join([output, *letters])]
        ones = [zeros_for(g, operands[i].shape[term.index(c)]) + 1 for c in missing]
        grads.append(contract([g, *others, *ones], ",".join([output, *letters, *missing]) + "->" + term))
    return tuple(grads)


contract.op.name = "einsum"
contract.vjp(operands=_contract_rule)
