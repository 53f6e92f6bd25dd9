"""Layers and losses as functions. Those that are ops are only named here; the rest is composed of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.inplace import change
from ..ops import activation, elementwise, reduce
from ..ops.activation import gelu, logsigmoid, softplus
from ..ops.conv import conv2d
from ..ops.dropout import dropout
from ..ops.elementwise import abs, clamp, sigmoid, tanh
from ..ops.index import one_hot
from ..ops.layout import constant_pad
from ..ops.linear import linear
from ..ops.loss import binary_losses, cross_entropy, nll_loss, reduced, squared_error
from ..ops.norm import batch_norm
from ..ops.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from ..ops.reduce import norm, sum
from ..shapes import ShapeError, as_index, broadcast_shapes

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "hardtanh",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]

# -- activations that can work in place


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


# -- losses between two tensors of the same shape


def _check_alike(input: Any, target: Any, op: str) -> None:
    """Warn where input and target broadcast: that is seldom meant."""
    if tuple(input.shape) != tuple(target.shape):
        broadcast_shapes(input.shape, target.shape, op=op)
        warnings.warn(
            f"{op}: target has shape {tuple(target.shape)} and input {tuple(input.shape)}; they broadcast, which is seldom "
            "what is meant for a loss. Give them the same shape",
            UserWarning,
            stacklevel=3,
        )


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """``(input - target) ** 2``, its mean or sum."""
    _check_alike(input, target, "mse_loss")
    return squared_error(input, target, reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """``|input - target|``, its mean or sum."""
    _check_alike(input, target, "l1_loss")
    return reduced(abs(input - target), reduction, "l1_loss")


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """``d ** 2 / 2`` for ``d = input - target`` up to ``|d| = delta``, then a straight line, ``delta * (|d| - delta / 2)``.

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    _check_alike(input, target, "huber_loss")
    return reduced(_huber(input - target, delta), reduction, "huber_loss")


def _huber(distance: Any, delta: float) -> Any:
    near = clamp(distance, -delta, delta)
    return near * (distance - 0.5 * near)  # both pieces at once


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    """`huber_loss` with ``delta = beta``, divided by ``beta``: slope ±1 far out. Source: Girshick, Fast R-CNN, 2015."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    _check_alike(input, target, "smooth_l1_loss")
    distance = input - target
    return reduced(_huber(distance, beta) / beta if beta else abs(distance), reduction, "smooth_l1_loss")


def _same_shape(input: Any, target: Any, op: str) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(f"{op}: target has shape {tuple(target.shape)}, input {tuple(input.shape)}; they must be the same")


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Any:
    """``-weight * (target * log(input) + (1 - target) * log(1 - input))``, with logarithms held at -100.

    Raises
    ------
    RuntimeError
        If a probability in ``input`` is not between 0 and 1.
    ShapeError
        If ``input`` and ``target`` differ in shape.
    """
    _same_shape(input, target, "binary_cross_entropy")
    loss = binary_losses(input, target)
    return reduced(loss if weight is None else loss * weight, reduction, "binary_cross_entropy")


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """`binary_cross_entropy` of ``sigmoid(input)``, without overflow: ``(1 - target) * input - q * log(sigmoid(input))``.

    ``q`` is 1, or with ``pos_weight`` (which counts the positive examples) ``1 + (pos_weight - 1) * target``.
    """
    _same_shape(input, target, "binary_cross_entropy_with_logits")
    loss = logsigmoid(input)
    if pos_weight is not None:
        loss = loss * (1 + (pos_weight - 1) * target)
    loss = (1 - target) * input - loss
    return reduced(loss if weight is None else loss * weight, reduction, "binary_cross_entropy_with_logits")


# -- vectors


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    """``input`` divided by its p-norm along ``dim``, or by ``eps`` where that is larger."""
    return input / clamp(norm(input, p, dim, True), eps)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """The cosine of the angle between vectors along ``dim``: their product over their lengths, each at least ``eps``."""
    return sum(x1 * x2, dim) / (clamp(norm(x1, 2, dim), eps) * clamp(norm(x2, 2, dim), eps))


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """``input`` with ``value`` (0) around it; negative numbers crop.

    ``pad`` is (left, right) of the last dimension, then (top, bottom) of the one before, and so on.

    Raises
    ------
    NotImplementedError
        For a ``mode`` other than ``"constant"``.
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: mode {mode!r} is not supported, only 'constant'")
    ndim, edges = len(input.shape), [as_index(n, "pad: pad") for n in pad]
    if len(edges) % 2 or len(edges) > 2 * ndim:
        raise ShapeError(f"pad: wants pairs of numbers for at most {ndim} dimensions, got pad={tuple(pad)}")
    edges += [0] * (2 * ndim - len(edges))
    return constant_pad(input, tuple(edges[-2::-2]), tuple(edges[::-2]), 0.0 if value is None else value)
