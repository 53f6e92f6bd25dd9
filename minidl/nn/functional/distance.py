"""Lengths of vectors, and distances and angles between them."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...autograd import no_grad
from ...dtypes import check_floating
from ...functions.deviation import norm
from ...functions.products import einsum
from ...ops.elementwise import clamp
from ...ops.layout import broadcast_tensors
from ...ops.reduce import sum
from ...shapes import ShapeError, broadcast_shapes, wrap_dim


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """``input`` divided by its p-norm along ``dim``, or by ``eps`` where that is larger."""
    return input / clamp(norm(input, p, dim, True), eps)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along ``dim``: their product over their lengths, each at least ``eps``.

    The gradient does not know of ``eps``: at a zero vector it is the other vector over its length and over ``eps``.
    Shapes: any that broadcast; ``dim`` is one of the result of that, and is gone.
    """
    check_floating("cosine_similarity", x1, x2)
    shape = broadcast_shapes(x1.shape, x2.shape, op="cosine_similarity")
    dim = wrap_dim(dim, len(shape), "cosine_similarity")
    if tuple(x1.shape) != tuple(x2.shape):
        x1, x2 = broadcast_tensors(x1, x2)
    return sum(_unit(x1, dim, eps) * _unit(x2, dim, eps), dim)


def _unit(x: Any, dim: int, eps: float) -> Any:
    x = x if x.is_floating_point() else x * 1.0
    length = norm(x, 2, dim, True)
    with no_grad():
        lift = clamp(length, eps) - length
    return x / (length + lift)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension; ``eps`` keeps it off 0, where its slope jumps.

    Shapes: (N, D) or (D,), any that broadcast -> (N,) or (), or with ``keepdim`` a last size of 1.
    """
    return norm(x1 - x2 + eps, p, -1, keepdim)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """``sum over i, j of input1[i] * weight[k, i, j] * input2[j] + bias[k]``.

    Shapes: input1 (..., I), input2 (..., J) with the same ``...``, weight (K, I, J), bias (K,) -> (..., K).
    """
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise ShapeError(
            f"bilinear: input1 of shape {tuple(input1.shape)} and input2 of shape {tuple(input2.shape)} must be the same but "
            "for the last size"
        )
    if len(weight.shape) != 3 or (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:]):
        raise ShapeError(
            f"bilinear: weight must have shape (K, {input1.shape[-1]}, {input2.shape[-1]}), got {tuple(weight.shape)}"
        )
    out = einsum("...i,kij,...j->...k", input1, weight, input2)
    return out if bias is None else out + bias
