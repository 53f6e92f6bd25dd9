"""Losses over classes: the negative log-likelihood and cross-entropy, and those that want a margin between classes."""

from __future__ import annotations

from typing import Any

from ..._tensor import Tensor
from ...backend import xp
from ...dtypes import as_dtype, check_floating
from ...ops.activation import logsigmoid
from ...ops.elementwise import relu, where
from ...ops.index import gather
from ...ops.layout import unsqueeze
from ...ops.loss import check_reduction, picked_loss, reduced, softmax_loss
from ...ops.reduce import log_softmax, mean, sum
from ...shapes import ShapeError


def _check_classes(op: str, input: Any, target: Any, weight: Any) -> None:
    if len(input.shape) < 2 or tuple(target.shape) != (input.shape[0], *input.shape[2:]):
        raise ShapeError(
            f"{op}: input of shape {tuple(input.shape)} (N, C, ...) wants target of shape "
            f"{(input.shape[0], *input.shape[2:]) if input.shape else '(N, ...)'}, got {tuple(target.shape)}"
        )
    if as_dtype(target.dtype).category != 1:
        raise TypeError(f"{op}: target must hold class numbers as integers, got {as_dtype(target.dtype).name}")
    check_floating(op, input)
    _check_weight(op, weight, input.shape[1])
    if getattr(weight, "requires_grad", False):
        raise NotImplementedError(f"{op}: weight has no gradient here, as in PyTorch; pass weight.detach()")


def _check_weight(op: str, weight: Any, n_classes: int) -> None:
    if weight is not None and tuple(weight.shape) != (n_classes,):
        raise ShapeError(f"{op}: weight must have shape ({n_classes},), one number for each class, got {tuple(weight.shape)}")


def _of_one(op: Any, input: Any, target: Any, reduction: str, *args: Any) -> Any:
    """The loss ``op`` of a single vector of scores (C,)."""
    out = op(unsqueeze(input, 0), target if len(target.shape) else target[None], *args)
    return out[0] if reduction == "none" and not len(target.shape) else out


def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
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
    if len(input.shape) == 1 and tuple(target.shape) in ((), (1,)):
        return _of_one(
            lambda x, t: nll_loss(x, t, weight, ignore_index=ignore_index, reduction=reduction), input, target, reduction
        )
    _check_classes("nll_loss", input, target, weight)
    return picked_loss(input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-sum over classes of weight * q * log(softmax(input))``, where ``q`` is 1 at the class that ``target`` names, or the
    probabilities that a floating ``target`` holds; ``label_smoothing`` mixes that share of an even distribution into ``q``.

    Shapes: input (N, C) or (N, C, ...) or (C,); target the same without C (class numbers) or the same (probabilities).
    The mean over class numbers is weighted by ``weight[target]``; over probabilities it is plain, and none may be ignored.
    """
    check_reduction(reduction, "cross_entropy")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie between 0 and 1, got {label_smoothing}")
    if not len(input.shape):
        raise ShapeError("cross_entropy: wants input (C,) or (N, C, ...), got a single number")
    if tuple(input.shape) == tuple(target.shape) and as_dtype(target.dtype).is_floating_point:
        if ignore_index >= 0:
            raise ValueError(f"cross_entropy: ignore_index {ignore_index} has no meaning for a target of probabilities")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    if len(input.shape) == 1 and tuple(target.shape) in ((), (1,)):
        options: Any = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
        return _of_one(lambda x, t: cross_entropy(x, t, weight, **options), input, target, reduction)
    _check_classes("cross_entropy", input, target, weight)
    if not label_smoothing:
        return softmax_loss(input, target, weight, ignore_index, reduction)
    log_p = log_softmax(input, 1)
    plain = picked_loss(log_p, target, weight, ignore_index, reduction)
    even = _even_part(log_p, target, weight, ignore_index, reduction)
    return (1 - label_smoothing) * plain + label_smoothing * even


def _per_class(weight: Any, log_p: Any, dim: int) -> Any:
    return log_p if weight is None else log_p * weight.reshape((-1,) + (1,) * (len(log_p.shape) - dim - 1))


def _even_part(log_p: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """The cross-entropy against an even distribution, counted and averaged as `nll_loss` counts."""
    counted = target != ignore_index
    each = where(counted, -mean(_per_class(weight, log_p, 1), 1), 0.0)
    if reduction == "none":
        return each
    if reduction == "sum":
        return sum(each)
    share = counted if weight is None else where(counted, weight[where(counted, target, 0)], 0.0)
    return sum(each) / share.sum()


def _soft_cross_entropy(input: Any, target: Any, weight: Any, reduction: str, label_smoothing: float) -> Any:
    dim = 0 if len(input.shape) == 1 else 1
    _check_weight("cross_entropy", weight, input.shape[dim])
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[dim]
    each = -sum(target * _per_class(weight, log_softmax(input, dim), dim), dim)
    return reduced(each, reduction, "cross_entropy")


# -- margins between classes


def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """``sum over i != y of weight[y] * max(0, margin - x[y] + x[i]) ** p / C`` for each row ``x`` of ``input`` and its class
    ``y`` in ``target``.

    Shapes: input (N, C) or (C,), target (N,) or (), weight (C,).
    """
    check_reduction(reduction, "multi_margin_loss")
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, got {p}")
    if len(input.shape) == 1 and tuple(target.shape) in ((), (1,)):
        return _of_one(lambda x, t: multi_margin_loss(x, t, p, margin, weight, reduction=reduction), input, target, reduction)
    if len(input.shape) != 2:
        raise ShapeError(f"multi_margin_loss: wants input (N, C) or (C,), got shape {tuple(input.shape)}")
    _check_classes("multi_margin_loss", input, target, weight)
    classes, n = unsqueeze(target, 1), input.shape[1]
    too_near = relu(margin - gather(input, 1, classes) + input)
    others = xp(getattr(input, "_array", input)).arange(n) != classes
    each = sum(where(others, too_near if p == 1 else too_near * too_near, 0.0), 1) / n
    return reduced(each if weight is None else each * weight[target], reduction, "multi_margin_loss")


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """``-target * log(sigmoid(input)) - (1 - target) * log(1 - sigmoid(input))``, the mean over classes (the last dimension).

    Shapes: input (..., C), target the same, weight (C,).
    """
    if not len(input.shape):
        raise ShapeError("multilabel_soft_margin_loss: wants input (..., C), got a single number")
    each = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    each = mean(each if weight is None else each * weight, -1)
    return reduced(each, reduction, "multilabel_soft_margin_loss")
