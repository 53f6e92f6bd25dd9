"""Activations that can work in place, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...autograd.inplace import change
from ...ops import activation, elementwise, reduce


def _activate(op: Callable[..., Any], input: Any, inplace: bool, *options: Any) -> Any:
    """``op(input, *options)``, put in the place of ``input`` if ``inplace``."""
    return change(input, op, options, {}, f"{op.__name__}_") if inplace else op(input, *options)


def relu(input: Any, inplace: bool = False) -> Any:
    """``max(input, 0)``."""
    return _activate(elementwise.relu, input, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """``input`` where it is positive, ``negative_slope * input`` elsewhere."""
    return _activate(activation.leaky_relu, input, inplace, negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """``input`` where it is positive, ``alpha * (exp(input) - 1)`` elsewhere."""
    return _activate(activation.elu, input, inplace, alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """``scale * elu(input, alpha)`` with the constants that keep mean and variance from layer to layer."""
    return _activate(activation.selu, input, inplace)


def silu(input: Any, inplace: bool = False) -> Any:
    """``input * sigmoid(input)``."""
    return _activate(activation.silu, input, inplace)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """``input`` held between ``min_val`` and ``max_val``."""
    return _activate(activation.hardtanh, input, inplace, min_val, max_val)


def relu6(input: Any, inplace: bool = False) -> Any:
    """``min(max(input, 0), 6)``."""
    return _activate(activation.relu6, input, inplace)


def _cast(input: Any, dim: int | None, dtype: Any, op: str) -> Any:
    if dim is None:
        raise TypeError(f"{op}: give dim, the dimension of the classes; there is no good default (PyTorch's is deprecated)")
    return input if dtype is None else input.to(dtype)


def softmax(input: Any, dim: int | None = None, *, dtype: Any = None) -> Any:
    """``exp(input) / sum(exp(input))`` along ``dim``, computed in ``dtype`` where that is given."""
    return reduce.softmax(_cast(input, dim, dtype, "softmax"), dim)


def log_softmax(input: Any, dim: int | None = None, *, dtype: Any = None) -> Any:
    """``log(softmax(input))`` along ``dim``, computed in ``dtype`` where that is given."""
    return reduce.log_softmax(_cast(input, dim, dtype, "log_softmax"), dim)
