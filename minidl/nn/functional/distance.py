"""Lengths of vectors and angles between them."""

from __future__ import annotations

from typing import Any

from ...ops.elementwise import clamp
from ...ops.reduce import norm, sum


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    """``input`` divided by its p-norm along ``dim``, or by ``eps`` where that is larger."""
    return input / clamp(norm(input, p, dim, True), eps)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """The cosine of the angle between vectors along ``dim``: their product over their lengths, each at least ``eps``."""
    return sum(x1 * x2, dim) / (clamp(norm(x1, 2, dim), eps) * clamp(norm(x2, 2, dim), eps))
