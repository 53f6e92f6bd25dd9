"""Automatic differentiation: the tape, the sweep, and the ways to write one's own differentiable function."""

from .function import Function
from .mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .op import differentiable
from .sweep import backward, broadcast_to, grad, sum_to

__all__ = [
    "Function",
    "backward",
    "broadcast_to",
    "differentiable",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "sum_to",
]
