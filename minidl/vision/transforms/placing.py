"""Where pixels come to lie: mirrored, cut out, with a border."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...functions.creation import from_numpy
from ...functions.joining import stack
from ...ops.elementwise import where
from ...ops.layout import constant_pad, copy, flip
from ...random import rng
from ...shapes import pair
from .base import Transform, chance


class _RandomFlip(Transform):
    """A picture mirrored with the probability ``p``."""

    dim: int

    def __init__(self, p: float = 0.5) -> None:
        self.p = chance(p, type(self).__name__)

    def batch(self, images: Any) -> Any:
        """See `Transform`; each picture is mirrored or not."""
        chosen = rng(None).random((len(images),) + (1,) * (images.ndim - 1)) < self.p
        if isinstance(images, Tensor):
            chosen = from_numpy(chosen).to(images.device)
        return where(chosen, flip(images, (self.dim,)), images)


class RandomHorizontalFlip(_RandomFlip):
    """Left and right exchanged, with the probability ``p``."""

    dim = -1


class RandomVerticalFlip(_RandomFlip):
    """Top and bottom exchanged, with the probability ``p``."""

    dim = -2


def _pad(images: Any, left: int, top: int, right: int, bottom: int, fill: Any, mode: str) -> Any:
    """``images`` with a border: of the colour ``fill``, or of what is inside (``mode`` as for `Pad`)."""
    if mode != "constant":
        h, w = images.shape[-2:]
        rows = np.pad(np.arange(h), (top, bottom), mode)  # type: ignore[call-overload]
        columns = np.pad(np.arange(w), (left, right), mode)  # type: ignore[call-overload]
        return images[..., rows[:, None], columns]
    dims = (0,) * (images.ndim - 2)
    before, after = (*dims, top, left), (*dims, bottom, right)
    if isinstance(fill, (int, float)):
        return constant_pad(images, before, after, fill)
    if isinstance(images, Tensor) or len(fill) != images.shape[-3]:
        raise ValueError(f"Pad: fill {fill} must be one number, or for a picture (not a Tensor) one for each channel")
    inside = constant_pad(np.ones(images.shape, bool), before, after, False)
    return np.where(inside, constant_pad(images, before, after, 0), np.asarray(fill, images.dtype)[:, None, None])


def _check_pad(op: str, padding: Any, fill: Any, padding_mode: str) -> tuple[int, int, int, int]:
    """The padding as (left, top, right, bottom)."""
    sizes = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sizes) not in (1, 2, 4) or min(sizes) < 0:
        raise ValueError(f"{op}: padding must be one size, (horizontal, vertical) or (left, top, right, bottom), got {padding}")
    if not isinstance(fill, (int, float, tuple, list)):
        raise TypeError(f"{op}: fill must be a number or a tuple, got {type(fill).__name__}")
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError(f"{op}: padding_mode must be constant, edge, reflect or symmetric, got {padding_mode!r}")
    left, top, right, bottom = sizes * (4 // len(sizes))
    return left, top, right, bottom


class Pad(Transform):
    """A border around a picture.

    Parameters
    ----------
    padding
        Its width: one number, (horizontal, vertical) or (left, top, right, bottom).
    fill
        The value of its pixels; for pictures also one for each channel.
    padding_mode
        ``"constant"``; or pixels from inside: ``"edge"`` repeats the last, ``"reflect"`` mirrors without it, ``"symmetric"``
        with it.
    """

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        self.padding = _check_pad("Pad", padding, fill, padding_mode)
        self.fill, self.padding_mode = fill, padding_mode

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        return _pad(images, *self.padding, self.fill, self.padding_mode)


class CenterCrop(Transform):
    """The middle of a picture, in the ``size`` (height, width); a smaller picture gets a black border first."""

    def __init__(self, size: Any) -> None:
        self.size = pair(size, "CenterCrop: size")

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        (height, width), (h, w) = self.size, images.shape[-2:]
        down, across = max(height - h, 0), max(width - w, 0)
        images = _pad(images, across // 2, down // 2, (across + 1) // 2, (down + 1) // 2, 0, "constant")
        top, left = round((images.shape[-2] - height) / 2), round((images.shape[-1] - width) / 2)
        return images[..., top : top + height, left : left + width]


class RandomCrop(Transform):
    """A part of a picture, in the ``size`` (height, width), from a random place.

    Parameters
    ----------
    padding
        A border that the picture gets first; sizes as for `Pad`.
    pad_if_needed
        Give a picture that is too small a border that makes it large enough.
    fill, padding_mode
        As for `Pad`.
    """

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant"
    ) -> None:
        self.size = pair(size, "RandomCrop: size")
        self.padding = _check_pad("RandomCrop", 0 if padding is None else padding, fill, padding_mode)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode

    def batch(self, images: Any) -> Any:
        """See `Transform`; each picture has a place of its own."""
        height, width = self.size
        if any(self.padding):
            images = _pad(images, *self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            across, down = max(width - images.shape[-1], 0), max(height - images.shape[-2], 0)
            images = _pad(images, across, down, across, down, self.fill, self.padding_mode)
        rows, columns = images.shape[-2] - height + 1, images.shape[-1] - width + 1
        if rows < 1 or columns < 1:
            raise ValueError(f"RandomCrop: size {self.size} is larger than the picture, {images.shape[-2:]}")
        corners = rng(None).integers(0, (rows, columns), (len(images), 2)).tolist()
        parts = [image[..., top : top + height, left : left + width] for image, (top, left) in zip(images, corners)]
        return stack(parts) if isinstance(images, Tensor) else np.stack(parts)


def random_box(area: float, scale: Any, ratio: Any) -> Any:
    """Ten tries of a random height and width: a share of ``area``, and a ratio of width to height, within the bounds given.

    The ratio is drawn evenly in its logarithm.
    """
    for _ in range(10):
        wanted = area * rng(None).uniform(*scale)
        aspect = math.exp(rng(None).uniform(math.log(ratio[0]), math.log(ratio[1])))
        yield round(math.sqrt(wanted / aspect)), round(math.sqrt(wanted * aspect))


def check_box(op: str, scale: Any, ratio: Any) -> None:
    """Refuse bounds that are no two numbers, or in the wrong order."""
    for name, bounds, least in (("scale", scale, 0), ("ratio", ratio, 1e-300)):
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2 or not least <= bounds[0] <= bounds[1]:
            raise ValueError(f"{op}: {name} must be two numbers, the smaller first, got {bounds}")


class RandomErasing(Transform):
    """With the probability ``p``, a random rectangle of a tensor is painted over (Zhong and others, 2017).

    Parameters
    ----------
    scale
        The share of the picture that the rectangle covers, from and to.
    ratio
        The ratio of its sides, from and to.
    value
        What is put there: a number, one for each channel, or ``"random"`` for normal random numbers.
    inplace
        Change the tensor that is given instead of making a new one.
    """

    def __init__(
        self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0, inplace: bool = False
    ) -> None:
        if not isinstance(value, (int, float, tuple, list)) and value != "random":
            raise TypeError(f'RandomErasing: value must be a number, numbers or "random", got {value!r}')
        check_box("RandomErasing", scale, ratio)
        if scale[1] > 1:
            raise ValueError(f"RandomErasing: scale must lie between 0 and 1, got {scale}")
        self.p, self.scale, self.ratio, self.value, self.inplace = chance(p, "RandomErasing"), scale, ratio, value, inplace

    def batch(self, images: Any) -> Any:
        """See `Transform`; each picture has a rectangle of its own, or none."""
        if not isinstance(images, Tensor):
            raise TypeError("RandomErasing: expected a Tensor, got a picture; put ToTensor() before it")
        painted: Any = images if self.inplace else copy(images)
        channels, height, width = images.shape[-3:]
        if self.value != "random" and np.size(self.value) not in (1, channels):
            raise ValueError(f"RandomErasing: value {self.value} must be one number, or one for each of {channels} channels")
        for i in np.flatnonzero(rng(None).random(len(images)) < self.p).tolist():
            for h, w in random_box(height * width, self.scale, (1 / self.ratio[1], 1 / self.ratio[0])):
                if h < height and w < width:
                    top, left = rng(None).integers(0, (height - h + 1, width - w + 1)).tolist()
                    colour = (
                        rng(None).standard_normal((channels, h, w))
                        if self.value == "random"
                        else np.reshape(self.value, (-1, 1, 1))
                    )
                    painted[i, ..., top : top + h, left : left + w] = from_numpy(np.asarray(colour)).to(images)
                    break
        return painted
