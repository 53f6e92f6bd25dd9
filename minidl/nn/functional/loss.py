"""Losses composed of ops: how far two tensors are from each other, and whether they are near enough."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ..._tensor import Tensor
from ...autograd import no_grad
from ...autograd.mode import mode
from ...dtypes import check_floating
from ...functions.arithmetic import xlogy
from ...ops.activation import logsigmoid
from ...ops.elementwise import abs, clamp, exp, log, minimum, sqrt, where
from ...ops.layout import unsqueeze
from ...ops.loss import binary_losses, check_reduction, reduced, squared_error
from ...ops.reduce import sum
from ...shapes import ShapeError, broadcast_shapes
from .distance import pairwise_distance


def _tell(input: Any, target: Any, op: str) -> None:
    """Tell a watcher of a loss; PyTorch says nothing of these where input and target broadcast."""
    if mode.watcher is not None:
        mode.watcher.loss_of(op, input, target)


def _check_alike(input: Any, target: Any, op: str) -> None:
    """Warn where input and target broadcast: that is seldom meant."""
    _tell(input, target, op)
    if tuple(input.shape) != tuple(target.shape):
        broadcast_shapes(input.shape, target.shape, op=op)
        warnings.warn(
            f"{op}: target has shape {tuple(target.shape)} and input {tuple(input.shape)}; they broadcast, which is seldom "
            "what is meant for a loss. Give them the same shape",
            UserWarning,
            stacklevel=3,
        )


def _same_shape(input: Any, target: Any, op: str, name: str = "target") -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(f"{op}: {name} has shape {tuple(target.shape)}, input {tuple(input.shape)}; they must be the same")


def _weighted(each: Any, input: Any, weight: Any, reduction: str, op: str) -> Any:
    """The losses of all elements times their weights, and their mean over the sum of the weights."""
    check_reduction(reduction, op)
    _same_shape(input, weight, op, "weight")
    if reduction == "mean":
        return sum(each * weight) / sum(weight)
    return reduced(each * weight, reduction, op)


# -- distances


def mse_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Tensor:
    """``(input - target) ** 2``, its mean or sum; with ``weight``, of input's shape, the weighted ones."""
    _check_alike(input, target, "mse_loss")
    if weight is None:
        return squared_error(input, target, reduction)
    return _weighted(squared_error(input, target, "none"), input, weight, reduction, "mse_loss")


def l1_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Tensor:
    """``|input - target|``, its mean or sum; with ``weight``, of input's shape, the weighted ones."""
    _check_alike(input, target, "l1_loss")
    each = abs(input - target)
    return reduced(each, reduction, "l1_loss") if weight is None else _weighted(each, input, weight, reduction, "l1_loss")


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """``d ** 2 / 2`` for ``d = input - target`` up to ``|d| = delta``, then a straight line, ``delta * (|d| - delta / 2)``.

    With ``weight``, of input's shape, times that; the mean stays one over the number of elements.
    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    _check_alike(input, target, "huber_loss")
    check_floating("huber_loss", input, target)
    each = _huber(input - target, delta)
    if weight is not None:
        _same_shape(input, weight, "huber_loss", "weight")
        each = each * weight
    return reduced(each, reduction, "huber_loss")


def _huber(distance: Any, delta: float) -> Any:
    near = clamp(distance, -delta, delta)
    return near * (distance - 0.5 * near)  # both pieces at once


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` with ``delta = beta``, divided by ``beta``: slope ±1 far out. Source: Girshick, Fast R-CNN, 2015."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    _check_alike(input, target, "smooth_l1_loss")
    check_floating("smooth_l1_loss", input, target)
    distance = input - target
    return reduced(_huber(distance, beta) / beta if beta else abs(distance), reduction, "smooth_l1_loss")


# -- between distributions


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """``-weight * (target * log(input) + (1 - target) * log(1 - input))``, with logarithms held at -100.

    Raises
    ------
    RuntimeError
        If a probability in ``input`` or ``target`` is not between 0 and 1.
    ShapeError
        If ``input`` and ``target`` differ in shape.
    """
    _same_shape(input, target, "binary_cross_entropy")
    loss = binary_losses(input, target)
    return reduced(_times(loss, weight, "binary_cross_entropy"), reduction, "binary_cross_entropy")


def _times(loss: Any, weight: Any, op: str) -> Any:
    """``loss * weight``; the weights must not make it larger."""
    if weight is None:
        return loss
    if broadcast_shapes(loss.shape, weight.shape, op=op) != tuple(loss.shape):
        raise ShapeError(f"{op}: weight of shape {tuple(weight.shape)} does not fit input of shape {tuple(loss.shape)}")
    return loss * weight


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(input)``, without overflow: ``(1 - target) * input - q * log(sigmoid(input))``.

    ``q`` is 1, or with ``pos_weight`` (which counts the positive examples) ``1 + (pos_weight - 1) * target``.
    """
    _same_shape(input, target, "binary_cross_entropy_with_logits")
    loss = logsigmoid(input)
    if pos_weight is not None:
        loss = loss * (1 + (pos_weight - 1) * target)
    loss = (1 - target) * input - loss
    op = "binary_cross_entropy_with_logits"
    return reduced(_times(loss, weight, op), reduction, op)


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """``target * (log(target) - input)``, for ``input`` of log-probabilities: what the distribution ``input`` costs where
    ``target`` is true, beyond what ``target`` itself costs. With ``log_target`` the target is of log-probabilities too.

    ``reduction="batchmean"`` divides the sum by the size of dimension 0, as the definition does; "mean" divides by the number
    of elements, and warns that this is seldom meant.
    Source: Kullback and Leibler, On Information and Sufficiency, 1951.
    """
    if reduction != "batchmean":
        check_reduction(reduction, "kl_div")
    if reduction == "mean":
        warnings.warn(
            "kl_div: reduction 'mean' divides by the number of elements; the Kullback-Leibler divergence is 'batchmean', "
            "which divides by the size of the batch",
            UserWarning,
            stacklevel=2,
        )
    check_floating("kl_div", input)
    _tell(input, target, "kl_div")
    each = exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    if reduction == "batchmean":
        return sum(each) / input.shape[0] if len(input.shape) else sum(each)
    return reduced(each, reduction, "kl_div")


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of the counts ``target`` under Poisson distributions of mean ``exp(input)``, up to a term
    that only depends on ``target``: ``exp(input) - target * input``.

    Without ``log_input`` the means are ``input``: ``input - target * log(input + eps)``. With ``full`` the term is added, by
    Stirling's formula where ``target > 1``: ``target * log(target) - target + log(2 * pi * target) / 2``.
    """
    check_reduction(reduction, "poisson_nll_loss")
    _tell(input, target, "poisson_nll_loss")
    each = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        count = where(target > 1, target, 1.0)
        each = each + where(target > 1, count * log(count) - count + 0.5 * log(2 * math.pi * count), 0.0)
    return reduced(each, reduction, "poisson_nll_loss")


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """The negative log-likelihood of ``target`` under normal distributions of mean ``input`` and variance ``var``, up to a
    constant (added with ``full``): ``(log(var) + (input - target) ** 2 / var) / 2``.

    Shapes: input and target (N, ..., D); var the same, or with 1 in place of one size, or without the last dimension, or a
    float. Variances below ``eps`` are taken for ``eps``, and the gradient does not know of it.
    Source: Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994.
    """
    op = "gaussian_nll_loss"
    check_reduction(reduction, op)
    _tell(input, target, op)
    if isinstance(var, float):
        if var < 0:
            raise ValueError(f"{op}: var must not be negative, got {var}")
        var = input * 0 + var
    elif bool((var < 0).any()):
        raise ValueError(f"{op}: var must not be negative")
    shape, sizes = tuple(input.shape), tuple(var.shape)
    if sizes == shape[:-1] and sizes != shape:
        var = unsqueeze(var, -1)
    elif sizes != shape:
        other = [m for n, m in zip(shape, sizes) if m != n]
        if len(sizes) != len(shape) or other != [1]:
            raise ShapeError(f"{op}: var of shape {sizes} does not fit input of shape {shape}")
    with no_grad():
        lift = clamp(var, eps) - var
    var = var + lift
    distance = input - target
    each = 0.5 * (log(var) + distance * distance / var)
    return reduced(each + 0.5 * math.log(2 * math.pi) if full else each, reduction, op)


# -- near and far


def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """``log(1 + exp(-target * input))``, for ``target`` of 1 and -1, without overflow."""
    return reduced(-logsigmoid(target * input), reduction, "soft_margin_loss")


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    """``input``, a distance, where ``target`` is 1, and ``max(0, margin - input)`` where it is -1."""
    far = where(target != 1, clamp(margin - input, 0), 0.0)
    return reduced(far + where(target != -1, input, 0.0), reduction, "hinge_embedding_loss")


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean") -> Tensor:
    """``max(0, margin - target * (input1 - input2))``: where ``target`` is 1, ``input1`` shall be larger; where -1, smaller."""
    if len({len(x.shape) for x in (input1, input2, target)}) > 1:
        raise ShapeError(
            f"margin_ranking_loss: input1, input2 and target must have as many dimensions each, got shapes "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    return reduced(clamp(-target * (input1 - input2) + margin, 0), reduction, "margin_ranking_loss")


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean") -> Tensor:
    """``1 - cos`` where ``target`` is 1, and ``max(0, cos - margin)`` where it is -1, for the cosine of the angle between the
    vectors of ``input1`` and ``input2``.

    Shapes: inputs (N, D), target (N,); or (D,) and ().
    """
    ndim = len(target.shape)
    if ndim > 1 or {len(input1.shape), len(input2.shape)} != {ndim + 1}:
        raise ShapeError(
            "cosine_embedding_loss: wants inputs (N, D) and target (N,), or (D,) and (); got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    size1, size2 = sum(input1 * input1, -1) + 1e-12, sum(input2 * input2, -1) + 1e-12
    cosine = sum(input1 * input2, -1) / sqrt(size1 * size2)
    far = where(target == -1, clamp(cosine - margin, 0), 0.0)
    return reduced(where(target == 1, 1 - cosine, 0.0) + far, reduction, "cosine_embedding_loss")


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` for `pairwise_distance` with ``p`` and ``eps``.

    With ``swap``, ``d(positive, negative)`` in place of ``d(anchor, negative)`` where that is smaller.
    Source: Balntas et al., Learning Shallow Convolutional Feature Descriptors with Triplet Losses, 2016.
    """

    def distance(x1: Any, x2: Any) -> Any:
        return pairwise_distance(x1, x2, p, eps)

    return _triplet("triplet_margin_loss", (anchor, positive, negative), distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance; `pairwise_distance` unless given."""
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet("triplet_margin_with_distance_loss", (anchor, positive, negative), distance, margin, swap, reduction)


def _triplet(op: str, three: tuple[Any, Any, Any], distance: Any, margin: float, swap: bool, reduction: str) -> Any:
    check_reduction(reduction, op)
    if margin <= 0:
        raise ValueError(f"{op}: margin must be positive, got {margin}")
    if len({len(x.shape) for x in three}) > 1:
        raise ShapeError(
            f"{op}: anchor, positive and negative must have as many dimensions each, got shapes "
            + ", ".join(str(tuple(x.shape)) for x in three)
        )
    anchor, positive, negative = three
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp(margin + near - far, 0), reduction, op)
