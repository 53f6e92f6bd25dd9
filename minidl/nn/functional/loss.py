"""Losses between two tensors of the same shape, composed of ops."""

from __future__ import annotations

import warnings
from typing import Any

from ...ops.activation import logsigmoid
from ...ops.elementwise import abs, clamp
from ...ops.loss import binary_losses, reduced, squared_error
from ...shapes import ShapeError, broadcast_shapes


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
