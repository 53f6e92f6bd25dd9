"""Pictures made larger and smaller: interpolation, and pixels exchanged for channels."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...autograd import broadcast_to
from ...ops.layout import copy, permute, reshape
from ...ops.resize import resample
from ...shapes import ShapeError, as_index
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, grouped

_DIMS = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2), "linear": (1,), "bilinear": (2,)}


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """``input`` (N, C, L) or (N, C, H, W) at another ``size``, or larger by ``scale_factor`` (rounded down to whole pixels).

    Output pixel ``o`` looks at place ``(o + 0.5) * n / m - 0.5`` of the input, or with ``align_corners`` at
    ``o * (n - 1) / (m - 1)``, where ``n`` and ``m`` are the sizes before and after. By ``mode`` it takes

    - ``"nearest"``: the pixel at ``floor(o * n / m)``; ``"nearest-exact"``: at ``floor((o + 0.5) * n / m)``,
    - ``"linear"``, ``"bilinear"``: the straight line between the two around that place, along each dimension,
    - ``"area"``: the mean of `adaptive_avg_pool2d`.

    With ``scale_factor`` its inverse stands for ``n / m``, unless ``recompute_scale_factor``. A place exactly on a pixel takes
    no other; PyTorch multiplies the next one by 0, and makes NaN where that is infinite.

    Raises
    ------
    NotImplementedError
        For another ``mode``, for a number of dimensions that it does not take, and for ``antialias``.
    ValueError
        Unless one of ``size`` and ``scale_factor`` is given; for ``align_corners`` with a mode that knows no corners.
    """
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(f"interpolate: align_corners goes with 'linear' and 'bilinear', got mode {mode!r}")
    shape, n_dims = tuple(input.shape), len(input.shape) - 2
    wanted, factors = _sizes(shape[2:], size, scale_factor)
    if recompute_scale_factor:
        if size is not None:
            raise ValueError("interpolate: recompute_scale_factor goes with scale_factor, not with size")
        factors = [None] * n_dims
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not supported; average first, with avg_pool2d")
    if mode not in _DIMS:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not supported, only {', '.join(map(repr, _DIMS))}")
    if n_dims not in _DIMS[mode]:
        raise NotImplementedError(f"interpolate: mode {mode!r} does not take {n_dims + 2} dimensions, got shape {shape}")
    if mode == "area":
        return adaptive_avg_pool1d(input, wanted) if n_dims == 1 else adaptive_avg_pool2d(input, wanted)
    if min(*shape[1:], *wanted) < 1:
        raise ShapeError(f"interpolate: wants none but the batch of size 0, got shape {shape} and size {tuple(wanted)}")
    dtype = getattr(input, "_array", input).dtype
    if dtype.kind != "f" and (dtype != np.uint8 or "nearest" not in mode):
        raise NotImplementedError(f"interpolate: mode {mode!r} is not supported for {dtype}")
    if tuple(wanted) == shape[2:] and "nearest" not in mode:
        return copy(input)
    number = np.float64 if dtype == np.float64 else np.float32
    maps: list[Any] = []
    for dim in range(n_dims + 1, 1, -1):
        n, m, factor = shape[dim], wanted[dim - 2], factors[dim - 2]
        if n == 1:
            input = broadcast_to(input, (*input.shape[:dim], m, *input.shape[dim + 1 :]))
        elif "nearest" in mode:
            maps.append((dim, _nearest(n, m, factor, mode == "nearest-exact", None if n_dims == 2 else number), m))
        elif n != m:
            maps.append((dim, _linear(n, m, factor, bool(align_corners), number), m))
    return resample(input, maps) if maps else copy(input)


def _sizes(before: tuple[int, ...], size: Any, scale_factor: Any) -> tuple[list[int], list[Any]]:
    """The size after, and the factors where they are given."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: wants either size or scale_factor, got size={size} and scale_factor={scale_factor}")
    given = size if scale_factor is None else scale_factor
    name = "size" if scale_factor is None else "scale_factor"
    values = list(given) if isinstance(given, (tuple, list)) else [given] * len(before)
    if len(values) != len(before):
        raise ValueError(f"interpolate: {name} wants one number or {len(before)}, got {given}")
    if scale_factor is None:
        return [as_index(n, "interpolate: size") for n in values], [None] * len(before)
    return [math.floor(float(n * f)) for n, f in zip(before, values)], [float(f) for f in values]


@functools.lru_cache(100)
def _nearest(n: int, m: int, factor: float | None, exact: bool, number: Any) -> Any:
    """The map of ``n`` pixels to ``m``, as `resample` wants it: each takes one."""
    return (*grouped(np.arange(m), [_nearest_place(n, m, factor, exact, number)], [None]),)


def _nearest_place(n: int, m: int, factor: float | None, exact: bool, number: Any) -> Any:
    """Which of ``n`` pixels each of ``m`` takes. PyTorch rounds otherwise for pictures, where ``number`` is None, than for
    vectors and volumes, which it works out in their precision.
    """
    if number is None and not exact and m in (n, 2 * n):
        return np.arange(m) * n // m
    o, precise = np.arange(m, dtype=np.float64), number or np.float32
    scale = precise(1 / factor) if factor else precise(n) / precise(m)
    if not exact:
        places = (scale * o).astype(precise)
    elif number is None:
        places = scale * (o + 0.5)
    else:
        places = np.maximum((scale * (o + 0.5) - 0.5).astype(number), number(0)) + number(0.5)
    return np.minimum(np.floor(places.astype(np.float32)).astype(np.int64), n - 1)


@functools.lru_cache(100)
def _linear(n: int, m: int, factor: float | None, align_corners: bool, number: Any) -> Any:
    """The same with the two pixels around each place and their weights, worked out in the precision of ``number``."""
    o = np.arange(m, dtype=np.float64)
    if align_corners:
        place = (o * (number(n - 1) / number(m - 1) if m > 1 else 0.0)).astype(number)
    else:
        scale = number(1 / factor) if factor else number(n) / number(m)
        place = np.maximum(scale * (o + 0.5) - 0.5, 0.0).astype(number)  # rounded once, like a fused multiply-add
    first = np.minimum(place.astype(np.int64), n - 1)
    second = np.minimum(first + 1, n - 1)
    weight = np.clip(place - first.astype(number), number(0), number(1))
    on_a_pixel = (weight == 0) | (first == second)
    alone, between = np.flatnonzero(on_a_pixel), np.flatnonzero(~on_a_pixel)
    return (
        *grouped(alone, [first[alone]], [None]),
        *grouped(between, [first[between], second[between]], [(1 - weight)[between], weight[between]]),
    )


def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """Channels laid out as pixels: ``out[c, h * r + i, w * r + j] = input[c * r ** 2 + i * r + j, h, w]`` for ``r`` =
    ``upscale_factor``.

    Shapes: (..., C * r ** 2, H, W) -> (..., C, H * r, W * r). Source: Shi et al., Real-Time Single Image and Video
    Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, 2016.
    """
    r, lead, (c, h, w) = _factor("pixel_shuffle", input, upscale_factor)
    if c % r**2:
        raise ShapeError(f"pixel_shuffle: wants a multiple of {r} ** 2 channels, got shape {tuple(input.shape)}")
    k = len(lead)
    parts = reshape(input, (*lead, c // r**2, r, r, h, w))
    return reshape(permute(parts, *range(k + 1), k + 3, k + 1, k + 4, k + 2), (*lead, c // r**2, h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """What `pixel_shuffle` undoes. Shapes: (..., C, H * r, W * r) -> (..., C * r ** 2, H, W)."""
    r, lead, (c, h, w) = _factor("pixel_unshuffle", input, downscale_factor)
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: wants height and width to be multiples of {r}, got shape {tuple(input.shape)}")
    k = len(lead)
    parts = reshape(input, (*lead, c, h // r, r, w // r, r))
    return reshape(permute(parts, *range(k + 1), k + 2, k + 4, k + 1, k + 3), (*lead, c * r**2, h // r, w // r))


def _factor(op: str, input: Any, factor: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The factor, the leading dimensions, and channels, height and width."""
    shape, r = tuple(input.shape), as_index(factor, f"{op}: the factor")
    if len(shape) < 3 or r < 1:
        raise ShapeError(f"{op}: wants at least 3 dimensions and a factor of at least 1, got shape {shape} and {factor}")
    return r, shape[:-3], shape[-3:]


def channel_shuffle(input: Any, groups: int) -> Tensor:
    """Channels (dimension 1) of ``groups`` groups in turn: the first of each, then the second of each, and so on.

    Source: Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, 2018.
    """
    shape, groups = tuple(input.shape), as_index(groups, "channel_shuffle: groups")
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: wants at least 3 dimensions and channels in {groups} equal groups, at least 1; got shape {shape}"
        )
    parts = reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute(parts, 0, 2, 1, *range(3, len(shape) + 1)), shape)
