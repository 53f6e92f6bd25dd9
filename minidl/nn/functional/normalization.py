"""Normalisation of batches, layers, groups of channels and single pictures: one op, over other dimensions each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...autograd.mode import effect
from ...autograd.tape import TensorBase, mark_changed
from ...dtypes import check_floating
from ...ops.layout import constant_pad, narrow, reshape
from ...ops.norm import normalise
from ...shapes import ShapeError, as_index


def _check(op: str, input: Any, shape: tuple[int, ...], mixed: bool = False, **others: Any) -> None:
    """That all others have that shape and, unless ``mixed``, the input's dtype; float16 goes with float32 as well."""
    dtype = getattr(input, "_array", input).dtype
    if dtype.kind != "f":
        check_floating(op, input)
    differ = False
    for name, x in others.items():
        if x is not None:
            x = getattr(x, "_array", x)
            if x.shape != shape:
                raise ShapeError(f"{op}: {name} must have shape {shape}, got {x.shape}")
            differ = differ or x.dtype != dtype
    if differ and not mixed:
        kinds = {name: getattr(x, "_array", x).dtype for name, x in others.items() if x is not None}
        if dtype != np.float16 or {*kinds.values()} != {np.dtype(np.float32)}:
            got = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
            raise RuntimeError(f"{op}: wants the dtype of input, {dtype}, for all (or with float16 float32), got {got}")


def _channels(op: str, input: Any) -> tuple[int, ...]:
    """The shape of input (N, C, ...), once it is known to be one."""
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ShapeError(f"{op}: wants input (N, C, ...), got shape {shape}")
    return shape


def _with_statistics(
    op: str, dims: Any, input: Any, mean: Any, var: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    """`normalise` for each channel, with the input's own statistics if ``training``, else with the running ones."""
    shape = tuple(input.shape)
    _check(op, input, shape[1:2], running_mean=mean, running_var=var, weight=weight, bias=bias)
    if training and (mean is None) != (var is None):
        raise ValueError(f"{op}: wants both running_mean and running_var, or neither")
    if not training and (mean is None or var is None):
        raise ShapeError(f"{op}: without statistics of the input it wants running_mean and running_var")
    for name, x in (("running_mean", mean), ("running_var", var)):
        if getattr(x, "requires_grad", False):
            raise RuntimeError(f"{op}: there is no gradient of {name}; give it without requires_grad, as .detach() does")
    if eps < 0 or (training and eps == 0):
        raise ValueError(f"{op}: eps must be positive{'' if training else ' or 0'}, got {eps}")
    if training and momentum is None:
        raise TypeError(f"{op}: momentum must be a number, got None")
    per_channel = (shape[1],) + (1,) * (len(shape) - 2)
    out = normalise(input, weight, bias, dims, per_channel, eps, (training, training), mean, var, momentum)
    if training and mean is not None:
        _mark(op, mean, var)
    return out


@effect
def _mark(op: str, *running: Any) -> None:
    """Count the changes that the op has made."""
    for t in running:
        if isinstance(t, TensorBase):
            mark_changed(t, op)


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel.

    When ``training``, mean and (biased) variance are the batch's own, over all dimensions but the second, and the running ones
    move towards them: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance. Otherwise the
    running ones are used.

    Shapes: (N, C, ...) with all others (C,) -> (N, C, ...). Source: Ioffe and Szegedy, Batch Normalization, ICML 2015.

    Raises
    ------
    ValueError
        If a channel has only one value while ``training``, only one running statistic is given, or they are missing while not
        ``training``; or if ``eps`` is not positive.
    RuntimeError
        If dtypes differ (with float16 all others may be float32), or a running statistic requires a gradient.
    """
    shape = _channels("batch_norm", input)
    if training and math.prod((shape[0], *shape[2:])) == 1:
        raise ValueError(f"batch_norm: training wants more than one value for each channel, got input of shape {shape}")
    dims = (0, *range(2, len(shape)))
    return _with_statistics("batch_norm", dims, input, running_mean, running_var, weight, bias, bool(training), momentum, eps)


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias`` for each channel of each picture by itself.

    With ``use_input_stats`` mean and (biased) variance are those of all pixels, and running statistics, if given, move towards
    the batch's average of them, as in `batch_norm`. Otherwise the running ones are used.

    Shapes: (N, C, ...) with all others (C,) -> (N, C, ...).
    Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.

    Raises
    ------
    ValueError
        If there is only one pixel, and as in `batch_norm`.
    RuntimeError
        As in `batch_norm`.
    """
    if use_input_stats and math.prod(input.shape[2:]) == 1:
        raise ValueError(f"instance_norm: wants more than one pixel in each picture, got input of shape {tuple(input.shape)}")
    shape, own = _channels("instance_norm", input), bool(use_input_stats)
    dims = tuple(range(2, len(shape)))
    return _with_statistics("instance_norm", dims, input, running_mean, running_var, weight, bias, own, momentum, eps)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias``, the mean and (biased) variance those of a group of channels in one
    example; weight and bias have a number for each channel.

    Shapes: (N, C, ...), (C,), (C,) -> (N, C, ...). Source: Wu and He, Group Normalization, ECCV 2018.

    Raises
    ------
    ShapeError
        If ``num_groups`` does not divide the number of channels, or a shape does not fit.
    ValueError
        If the whole batch has but one example and a group but one number.
    """
    shape, groups = _channels("group_norm", input), as_index(num_groups, "group_norm: num_groups")
    if groups < 1 or shape[1] % groups:
        raise ShapeError(f"group_norm: num_groups {groups} must divide the {shape[1]} channels of input {shape}")
    if math.prod((shape[0], shape[1] // groups, *shape[2:])) == 1:
        raise ValueError(f"group_norm: wants more than one value in each group, got input of shape {shape}")
    _check("group_norm", input, shape[1:2], weight=weight, bias=bias)
    parts = groups, shape[1] // groups, *shape[2:]
    dims = tuple(range(2, len(parts) + 1))
    out = normalise(reshape(input, (shape[0], *parts)), weight, bias, dims, (*parts[:2], *[1] * (len(shape) - 2)), eps)
    return reshape(out, shape)


def _last_dims(op: str, input: Any, normalized_shape: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``normalized_shape`` as a tuple, and the dimensions that it names."""
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(f"{op}: normalized_shape must be a tuple of integers, got {normalized_shape!r}")
    whole = set(map(type, normalized_shape)) <= {int}
    wanted = tuple(normalized_shape if whole else [as_index(n, f"{op}: normalized_shape") for n in normalized_shape])
    shape = tuple(input.shape)
    if not wanted or shape[-len(wanted) :] != wanted:
        raise ShapeError(f"{op}: normalized_shape must be the last sizes of input {shape}, at least one, got {wanted}")
    return wanted, tuple(range(len(shape) - len(wanted), len(shape)))


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """``(input - mean) / sqrt(var + eps) * weight + bias``, mean and (biased) variance over the last dimensions.

    Shapes: ``(..., *normalized_shape)``, with weight and bias of ``normalized_shape``.
    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.

    Raises
    ------
    ShapeError
        If the last sizes of input, or the shape of weight or bias, are not ``normalized_shape``.
    RuntimeError
        If dtypes differ (with float16 weight and bias may be float32).
    """
    wanted, dims = _last_dims("layer_norm", input, normalized_shape)
    _check("layer_norm", input, wanted, weight=weight, bias=bias)
    return normalise(input, weight, bias, dims, None, eps)


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """``input / sqrt(mean(input ** 2) + eps) * weight``, the mean over the last dimensions.

    ``eps`` is by default the spacing of numbers at 1 in what it is computed in: float32, or for float64 that.

    Shapes: ``(..., *normalized_shape)``, with weight of ``normalized_shape``, in any dtype.
    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019.

    Raises
    ------
    ShapeError
        If the last sizes of input, or the shape of weight, are not ``normalized_shape``.
    """
    wanted, dims = _last_dims("rms_norm", input, normalized_shape)
    _check("rms_norm", input, wanted, True, weight=weight)
    if eps is None:
        eps = float(np.finfo(np.promote_types(getattr(input, "_array", input).dtype, np.float32)).eps)
    return normalise(input, weight, None, dims, None, eps, (False, True))


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``input / (k + alpha * mean) ** beta``, with the mean square of ``size`` channels around each, 0 beyond the edges.

    Shapes: (N, C, ...), at least three dimensions. Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification, 2012.
    """
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ShapeError(f"local_response_norm: wants input (N, C, ...) of at least 3 dimensions, got shape {shape}")
    if as_index(size, "local_response_norm: size") < 1:
        raise ShapeError(f"local_response_norm: size must be at least 1, got {size}")
    before, after = ((0, n, *[0] * (len(shape) - 2)) for n in (size // 2, (size - 1) // 2))
    squares = constant_pad(input * input, before, after)
    total = sum(narrow(squares, 1, i, shape[1]) for i in range(size))
    return input / (k + alpha / size * total) ** beta
