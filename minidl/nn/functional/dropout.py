"""Dropout: single elements, whole channels, and for networks of `selu`."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..._tensor import Tensor
from ...autograd.inplace import change
from ...dtypes import check_floating
from ...ops.dropout import dropped, keep_mask
from ...shapes import ShapeError


def _drop(op: str, drop: Any, input: Any, p: float, training: bool, inplace: bool, channels: bool = False) -> Any:
    """``drop(input, p, channels)``, put in the place of ``input`` if ``inplace``; or ``input`` where nothing is to be done."""
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: p must lie between 0 and 1, got {p}")
    if not training or p == 0:
        return input
    if channels and len(input.shape) < 2 and p < 1:
        raise ShapeError(f"{op}: wants input with channels in dimension 1, got shape {tuple(input.shape)}")
    check_floating(op, input)
    return change(input, drop, (p, channels), {}, f"{op}_") if inplace else drop(input, p, channels)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability ``p`` and multiply the others by ``1 / (1 - p)``, so that the mean stays.

    Source: Srivastava et al., Dropout, JMLR 15, 2014.
    """
    return _drop("dropout", dropped, input, p, training, inplace)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels: zero each with probability ``p``.

    Shapes: (N, C, L) or (C, L).
    """
    if len(input.shape) not in (2, 3):
        raise ShapeError(f"dropout1d: wants input (N, C, L) or (C, L), got shape {tuple(input.shape)}")
    channels = len(input.shape) == 3
    drop = dropped if channels else _drop_rows
    return _drop("dropout1d", drop, input, p, training, inplace, channels)


def _drop_rows(input: Any, p: float, channels: bool) -> Any:
    """The channels of a single (C, L)."""
    return dropped(input[None], p, True)[0]


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels: zero each with probability ``p``.

    Shapes: (N, C, H, W). Others are taken for (N, C, ...), with a warning, as in PyTorch: so is a single (C, H, W).
    Source: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """
    if len(input.shape) != 4:
        warnings.warn(
            f"dropout2d: an input of shape {tuple(input.shape)} is taken for (N, C, ...), not for a single (C, H, W); "
            "it should be (N, C, H, W)",
            UserWarning,
            stacklevel=2,
        )
    return _drop("dropout2d", dropped, input, p, training, inplace, True)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Put each element, with probability ``p``, at the value where `selu` saturates; then shift and scale so that mean and
    variance stay.

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    return _drop("alpha_dropout", _alpha, input, p, training, inplace)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels (dimension 1)."""
    return _drop("feature_alpha_dropout", _alpha, input, p, training, inplace, True)


def _alpha(input: Any, p: float, channels: bool) -> Any:
    if p == 1:
        return input * 0.0
    low = -1.7580993408473766  # of selu: -scale * alpha
    factor = 1 / math.sqrt((low * low * p + 1) * (1 - p))
    kept = keep_mask(input, p, channels)
    return input * (kept * factor) + ((1 - kept) * (low * factor) - low * factor * p)
