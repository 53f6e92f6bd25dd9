"""Losses over classes: the negative log-likelihood, and cross-entropy made of it; for two classes, the binary one."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import differentiable
from ..backend import xp
from ..shapes import ShapeError
from .elementwise import clamp, where
from .index import scatter
from .layout import unsqueeze, zeros_for
from .reduce import log_softmax, mean, softmax, sum


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


def _check_classes(op: str, input: Any, target: Any, weight: Any) -> None:
    if len(input.shape) < 2 or tuple(target.shape) != (input.shape[0], *input.shape[2:]):
        raise ShapeError(
            f"{op}: input of shape {tuple(input.shape)} (N, C, ...) wants target of shape "
            f"{(input.shape[0], *input.shape[2:]) if input.shape else '(N, ...)'}, got {tuple(target.shape)}"
        )
    classes = getattr(target, "_array", target)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"{op}: target must hold class numbers as integers, got {classes.dtype}")
    if weight is not None and tuple(weight.shape) != (input.shape[1],):
        raise ShapeError(
            f"{op}: weight must have shape ({input.shape[1]},), one number for each class, got {tuple(weight.shape)}"
        )


def _known_classes(op: str, target: Any, n_classes: int, ignore_index: int) -> Any:
    """Where target counts; or an error, if it holds numbers of no class."""
    counted = target != ignore_index
    wrong = counted & ((target < 0) | (target >= n_classes))
    if wrong.any():
        raise IndexError(f"{op}: target {int(target[wrong][0])} is out of range for {n_classes} classes")
    return counted


def _picked(op: str, input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> tuple[Any, Any, Any]:
    """The loss, the share that each element of target has in it, and the classes as places along dimension 1."""
    m = xp(input)
    counted = _known_classes(op, target, input.shape[1], ignore_index)
    classes = m.where(counted, target, 0)
    share = (counted if weight is None else counted * weight[classes]).astype(input.dtype)
    classes = classes[:, None]
    loss = -m.take_along_axis(input, classes, 1)[:, 0]
    loss[~counted] = 0  # not 0 * loss: what is ignored may be infinite
    loss *= share
    if reduction == "none":
        return loss, share, classes
    total = share.sum()
    if reduction == "mean":
        with m.errstate(invalid="ignore"):  # 0 / 0, where nothing counts; then nothing has a share
            return loss.sum() / total, share / m.where(total == 0, 1, total).astype(share.dtype), classes
    return loss.sum(), share, classes


@differentiable(keeps="share classes")
def _nll(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    return _picked("nll_loss", input, target, weight, ignore_index, reduction)


def _nll_rule(g: Any, share: Any, classes: Any, input_shape: Any) -> Any:
    return scatter(zeros_for(g, input_shape), 1, classes, unsqueeze(-g * share, 1))


_nll.op.name = "nll_loss"
_nll.vjp(input=_nll_rule)


def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """``-weight[target] * input[target]``, where ``input`` holds log-probabilities; the mean is weighted too.

    Shapes: input (N, C) or (N, C, ...) or (C,), target (N,) or (N, ...) or (), weight (C,) -> () or, with
    ``reduction="none"``, target's.
    Targets equal to ``ignore_index`` do not count.

    Raises
    ------
    IndexError
        For a class number out of range.
    NotImplementedError
        If ``weight`` requires a gradient.
    """
    check_reduction(reduction, "nll_loss")
    if getattr(weight, "requires_grad", False):
        raise NotImplementedError("nll_loss: weight has no gradient here, as in PyTorch; pass weight.detach()")
    if len(input.shape) == 1 and not len(target.shape):
        out = nll_loss(unsqueeze(input, 0), target[None], weight, ignore_index=ignore_index, reduction=reduction)
        return out[0] if reduction == "none" else out
    _check_classes("nll_loss", input, target, weight)
    return _nll(input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """``-sum over classes of weight * q * log(softmax(input))``, where ``q`` is 1 at the class that ``target`` names, or the
    probabilities that a floating ``target`` holds; ``label_smoothing`` mixes that share of an even distribution into ``q``.

    Shapes: input (N, C) or (N, C, ...) or (C,); target the same without C (class numbers) or the same (probabilities).
    The mean over class numbers is weighted by ``weight[target]``; over probabilities it is plain.
    """
    check_reduction(reduction, "cross_entropy")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie between 0 and 1, got {label_smoothing}")
    if not len(input.shape):
        raise ShapeError("cross_entropy: wants input (C,) or (N, C, ...), got a single number")
    if tuple(input.shape) == tuple(target.shape) and getattr(target, "_array", target).dtype.kind == "f":
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    if len(input.shape) > 1 and not label_smoothing and not getattr(weight, "requires_grad", False):
        _check_classes("cross_entropy", input, target, weight)
        return _cross_entropy(input, target, weight, ignore_index, reduction)
    log_p = log_softmax(input, 0 if len(input.shape) == 1 else 1)
    plain = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return plain
    return (1 - label_smoothing) * plain + label_smoothing * _even_part(log_p, target, weight, ignore_index, reduction)


@differentiable(keeps="share classes")
def _cross_entropy(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """`nll_loss` of `log_softmax` in one op, for its gradient: the probabilities, less 1 at the class that is true."""
    return _picked("cross_entropy", log_softmax(input, 1), target, weight, ignore_index, reduction)


def _cross_entropy_rule(g: Any, input: Any, share: Any, classes: Any) -> Any:
    weighted, array = unsqueeze(g * share, 1), getattr(input, "_array", input)
    nothing = xp(array).zeros_like(array)  # in input's memory order
    return softmax(input, 1) * weighted - scatter(nothing, 1, classes, weighted)


_cross_entropy.op.name = "cross_entropy"
_cross_entropy.vjp(input=_cross_entropy_rule)


def _per_class(weight: Any, log_p: Any, dim: int) -> Any:
    return log_p if weight is None else log_p * weight.reshape((-1,) + (1,) * (len(log_p.shape) - dim - 1))


def _even_part(log_p: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """The cross-entropy against an even distribution, counted and averaged as `nll_loss` counts."""
    dim = 0 if len(log_p.shape) == 1 else 1
    counted = target != ignore_index
    each = where(counted, -mean(_per_class(weight, log_p, dim), dim), 0.0)
    if reduction == "none":
        return each
    if reduction == "sum":
        return sum(each)
    share = counted if weight is None else where(counted, weight[where(counted, target, 0)], 0.0)
    return sum(each) / share.sum()


def _soft_cross_entropy(input: Any, target: Any, weight: Any, reduction: str, label_smoothing: float) -> Any:
    dim = 0 if len(input.shape) == 1 else 1
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    each = -sum(target * _per_class(weight, log_softmax(input, dim), dim), dim)
    return reduced(each, reduction, "cross_entropy")


# -- distances


@differentiable(promotes="common")
def squared_error(input: Any, target: Any, reduction: str = "mean") -> Any:
    """``(input - target) ** 2``, its mean or sum."""
    check_reduction(reduction, "mse_loss")
    distance = input - target
    if distance.dtype.kind != "f":
        raise TypeError(f"mse_loss: wants a floating dtype, got {distance.dtype}")
    distance *= distance
    if reduction == "none":
        return distance
    if reduction == "sum":
        return distance.sum()
    return distance.mean() if distance.size else xp(distance).full((), math.nan, distance.dtype)  # 0 / 0


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
    if not ((input >= 0) & (input <= 1)).all():
        raise RuntimeError(
            "binary_cross_entropy: all elements of input must lie between 0 and 1; "
            "scores without bounds are for binary_cross_entropy_with_logits"
        )
    return -(target * _bounded_log(input) + (1 - target) * _bounded_log(1 - input))


@differentiable
def _bounded_log(input: Any) -> Any:
    m = xp(input)
    with m.errstate(divide="ignore"):
        return m.maximum(m.log(input), -100)


_bounded_log.vjp(input=lambda g, input: g / clamp(input, 1e-12))
binary_losses.op.name = "binary_cross_entropy"
binary_losses.vjp(
    input=lambda g, input, target: g * (input - target) / clamp(input * (1 - input), 1e-12),
    target=lambda g, input: g * (_bounded_log(1 - input) - _bounded_log(input)),
)
