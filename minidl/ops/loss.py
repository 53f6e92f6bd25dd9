"""Losses with a rule of their own: over classes, the squared distance, and of two classes. What is composed of these, and what
checks their arguments, is in `nn.functional`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import differentiable
from ..backend import in_one, kernels, xp
from ..devices import check
from .elementwise import clamp
from .index import gather, scatter
from .layout import unsqueeze, zeros_for
from .reduce import _softmax_grad, mean, softmax, sum


def reduced(loss: Any, reduction: str, op: str) -> Any:
    """The mean or the sum of a loss, or (``"none"``) itself.

    Raises
    ------
    ValueError
        For any other ``reduction``.
    """
    check_reduction(reduction, op)
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum(loss)


def check_reduction(reduction: str, op: str) -> None:
    """Refuse a ``reduction`` that is not one of the three."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _class_loss(op: str, input: Any, target: Any, weight: Any, ignore_index: int, reduction: str, soft: bool) -> Any:
    """The loss; minus the share that each element of target has in it; and the classes as places along dimension 1.

    Raises
    ------
    IndexError
        If ``target`` holds numbers of no class.
    """
    n_classes, whole = input.shape[1], in_one("class_loss", input)
    beyond = f"is out of range for {n_classes} classes"
    if whole:
        *found, wrong = whole(soft, input, target, weight, ignore_index, reduction)
        check(wrong, IndexError, str, f"{op}: a target {beyond}")
        return tuple(found)
    m, counted = xp(input), target != ignore_index
    wrong = counted & ((target < 0) | (target >= n_classes))
    check(wrong.any(), IndexError, lambda: f"{op}: target {int(target[wrong][0])} {beyond}", f"{op}: a target {beyond}")
    classes = m.where(counted, target, 0)
    slope, places = -(counted if weight is None else counted * weight[classes]).astype(input.dtype), classes[:, None]
    picked = kernels(input).log_softmax_at(input, 1, places) if soft else m.take_along_axis(input, places, 1)
    loss = m.where(counted, picked[:, 0], input.dtype.type(0))  # not 0 * loss: what is ignored may be infinite
    loss *= slope
    if reduction == "none":
        return loss, slope, places
    total = -slope.sum()
    if reduction == "mean":
        with np.errstate(invalid="ignore"):  # 0 / 0, where nothing counts; then nothing has a share
            return loss.sum() / total, slope / m.where(total == 0, 1, total).astype(slope.dtype), places
    return loss.sum(), slope, places


@differentiable(keeps="slope classes")
def picked_loss(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """`nll_loss` of ``input`` (N, C, ...), of log-probabilities."""
    return _class_loss("nll_loss", input, target, weight, ignore_index, reduction, False)


@differentiable(keeps="slope classes")
def softmax_loss(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """`picked_loss` of ``log_softmax(input, 1)`` in one op, for its gradient: the probabilities, less 1 at the true class."""
    return _class_loss("cross_entropy", input, target, weight, ignore_index, reduction, True)


@differentiable
def _log_softmax_at_grad(g_out: Any, input: Any, places: Any) -> Any:
    return kernels(input).log_softmax_at_grad(g_out, input, 1, places)


def _picked_rule(g: Any, slope: Any, classes: Any, input_shape: Any) -> Any:
    return scatter(zeros_for(g, input_shape), 1, classes, unsqueeze(g * slope, 1))


def _softmax_rule(g: Any, input: Any, slope: Any, classes: Any) -> Any:
    whole = in_one("class_loss_grad", g)
    return whole(g, input, slope, classes) if whole else _log_softmax_at_grad(unsqueeze(g * slope, 1), input, classes)


picked_loss.op.name = "nll_loss"
picked_loss.vjp(input=_picked_rule)
softmax_loss.op.name = "cross_entropy"
softmax_loss.vjp(input=_softmax_rule)
_log_softmax_at_grad.vjp(
    g_out=lambda g, input, places: gather(g, 1, places) - sum(g * softmax(input, 1), 1, True),
    input=lambda g, g_out, input: -g_out * _softmax_grad(g, softmax(input, 1), 1),
)


# -- distances


@differentiable(promotes="common")
def squared_error(input: Any, target: Any, reduction: str = "mean") -> Any:
    """``(input - target) ** 2``, its mean or sum."""
    check_reduction(reduction, "mse_loss")
    distance = input - target
    if distance.dtype.kind != "f":
        raise TypeError(f"mse_loss: wants a floating dtype, got {distance.dtype}")
    distance *= distance
    return reduced(distance, reduction, "mse_loss")


def _squared_error_rule(g: Any, input: Any, target: Any, reduction: str) -> Any:
    distance = input - target
    count = math.prod(distance.shape) if reduction == "mean" else 1
    return distance * (g * (2 / max(count, 1)))  # of nothing the gradient is nothing


squared_error.op.name = "mse_loss"
squared_error.vjp(
    input=_squared_error_rule,
    target=lambda g, input, target, reduction: -_squared_error_rule(g, input, target, reduction),
)


# -- two classes


@differentiable(promotes="float")
def binary_losses(input: Any, target: Any) -> Any:
    """``-(target * log(input) + (1 - target) * log(1 - input))``, element by element, with logarithms held at -100."""
    hint = "; scores without bounds are for binary_cross_entropy_with_logits"
    for what, x in (("input", input), ("target", target)):
        said = f"binary_cross_entropy: all elements of {what} must lie between 0 and 1{hint if x is input else ''}"
        check(((x < 0) | (x > 1) | (x != x)).any(), RuntimeError, said.__str__, said)
    return -(target * _bounded_log(input) + (1 - target) * _bounded_log(1 - input))


@differentiable
def _bounded_log(input: Any) -> Any:
    with np.errstate(divide="ignore"):
        return xp(input).maximum(xp(input).log(input), -100)


_bounded_log.vjp(input=lambda g, input: g / clamp(input, 1e-12))
binary_losses.op.name = "binary_cross_entropy"
binary_losses.vjp(
    input=lambda g, input, target: g * (input - target) / clamp(input * (1 - input), 1e-12),
    target=lambda g, input: g * (_bounded_log(1 - input) - _bounded_log(input)),
)
