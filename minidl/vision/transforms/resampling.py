"""Pictures in another size or direction, whose pixels lie between those of the old one."""

from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np

from ...functions.creation import from_numpy, tensor
from ...ops.elementwise import where
from ...random import rng
from ...shapes import pair
from .base import TensorTransform, one_by_one
from .placing import check_box, random_box


class InterpolationMode(enum.Enum):
    """How a value between pixels is found: from the nearest one, or as a mean of the 2 or 4 around it in each direction."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"

    def __str__(self) -> str:
        return str(self.value)


def _check_mode(op: str, interpolation: Any, *allowed: InterpolationMode) -> Any:
    if interpolation not in allowed:
        raise NotImplementedError(
            f"{op}: interpolation {interpolation!r} is not supported, only {', '.join(map(repr, allowed))}"
        )
    return interpolation


def _triangle(x: Any) -> Any:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: Any) -> Any:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1/2."""
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


def _rows(n: int, new: int, mode: InterpolationMode, antialias: bool) -> Any:
    """Resizing is linear: the matrix (new, n) that makes ``new`` pixels in a row of ``n``.

    A new pixel is a weighted mean of the old ones around its centre. Where the new ones are fewer, ``antialias`` makes the
    weights so wide that all old ones count; else most are passed over, and fine patterns become false coarse ones.
    """
    scale = n / new
    if mode is InterpolationMode.NEAREST:
        return np.eye(n)[np.minimum(np.floor(np.arange(new, dtype=np.float32) * np.float32(scale)).astype(int), n - 1)]
    wide = max(scale, 1) if antialias else 1
    distance = np.arange(n) + 0.5 - scale * (np.arange(new)[:, None] + 0.5)
    weights = (_triangle if mode is InterpolationMode.BILINEAR else _cubic)(distance / wide)
    return weights / weights.sum(1, keepdims=True)


def _as_numbers(images: Any) -> Any:
    return images if images.is_floating_point() else images.float()


def _as_before(numbers: Any, images: Any) -> Any:
    """Numbers that were computed, in the dtype of ``images``: rounded, and within its bounds, if that is a whole one."""
    if images.is_floating_point():
        return numbers
    numbers = numbers.round()
    return (numbers.clamp(0, 255) if images.dtype == np.uint8 else numbers).to(images.dtype)


def resize(images: Any, size: tuple[int, int], mode: InterpolationMode, antialias: bool) -> Any:
    """The pictures in a tensor in another ``size`` (height, width)."""
    if images.shape[-2:] == size:
        return images
    numbers = _as_numbers(images)
    down, across = (
        from_numpy(_rows(n, new, mode, antialias)).to(numbers.device, numbers.dtype)
        for n, new in zip(images.shape[-2:], size, strict=True)
    )
    return _as_before(down @ (numbers @ across.T), images)


def _check_resizing(op: str, interpolation: Any, antialias: Any) -> tuple[Any, bool]:
    _check_mode(op, interpolation, *InterpolationMode)
    if interpolation is InterpolationMode.BICUBIC and not antialias:
        raise NotImplementedError(f"{op}: bicubic interpolation without antialias is not supported")
    return interpolation, bool(antialias)


class Resize(TensorTransform):
    """A picture in another size.

    Parameters
    ----------
    size
        (height, width); or one number for the shorter side, the longer one following in proportion.
    interpolation
        How a value between pixels is found.
    max_size
        If ``size`` is one number: a bound for the longer side, which then decides.
    antialias
        Let all pixels count where the picture becomes smaller. Without it bicubic interpolation is not supported.
    """

    def __init__(
        self,
        size: Any,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        height, width = pair(size, "Resize: size")
        one = isinstance(size, int) or len(size) == 1
        if min(height, width) < 1:
            raise ValueError(f"Resize: size must be positive, got {size}")
        if max_size is not None and not one:
            raise ValueError(f"Resize: max_size is only for a size of one number, got size {size}")
        if max_size is not None and max_size <= height:
            raise ValueError(f"Resize: max_size must be greater than size, got {max_size} and {size}")
        self.size = height if one else (height, width)
        self.interpolation, antialias = _check_resizing("Resize", interpolation, antialias)
        self.max_size, self.antialias = max_size, antialias

    def of_tensors(self, images: Any) -> Any:
        """See `Transform`."""
        return resize(images, self._size(*images.shape[-2:]), self.interpolation, self.antialias)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size
        shorter, longer = self.size, int(self.size * max(height, width) / min(height, width))
        if self.max_size is not None and longer > self.max_size:
            shorter, longer = int(self.max_size * shorter / longer), self.max_size
        return (longer, shorter) if width <= height else (shorter, longer)


class RandomResizedCrop(TensorTransform):
    """A random part of a picture, resized to ``size``: what a classifier should know again from near and from far.

    Parameters
    ----------
    size
        (height, width), or one number for both.
    scale
        The share of the picture's area, from and to.
    ratio
        The ratio of width to height, from and to.
    interpolation, antialias
        As for `Resize`.
    """

    def __init__(
        self,
        size: Any,
        scale: Any = (0.08, 1.0),
        ratio: Any = (3 / 4, 4 / 3),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.size = pair(size, "RandomResizedCrop: size")
        check_box("RandomResizedCrop", scale, ratio)
        self.scale, self.ratio = scale, ratio
        self.interpolation, self.antialias = _check_resizing("RandomResizedCrop", interpolation, antialias)

    def of_tensors(self, images: Any) -> Any:
        """See `Transform`; each picture has a part of its own."""
        return one_by_one(self._of_one, images)

    def _of_one(self, image: Any) -> Any:
        top, left, h, w = self._box(*image.shape[-2:])
        return resize(image[..., top : top + h, left : left + w], self.size, self.interpolation, self.antialias)

    def _box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width; if ten tries do not fit, the middle, as much of it as the ratio allows."""
        for h, w in random_box(height * width, self.scale, self.ratio):
            if 0 < h <= height and 0 < w <= width:
                top, left = rng(None).integers(0, (height - h + 1, width - w + 1)).tolist()
                return top, left, h, w
        h, w = height, width
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w


class RandomRotation(TensorTransform):
    """A picture turned by a random angle, anticlockwise, in a frame of the same size.

    Parameters
    ----------
    degrees
        From and to; or one number for ``(-degrees, degrees)``.
    interpolation
        How a value between pixels is found: ``NEAREST`` or ``BILINEAR``.
    expand
        Enlarging the frame is not supported.
    center
        (x, y) of the point around which it turns, counted from the upper left corner; the middle if not given.
    fill
        What comes in from outside: one number, or one for each channel.
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Any = None,
        fill: Any = 0,
    ) -> None:
        if isinstance(degrees, (int, float)):
            if degrees < 0:
                raise ValueError(f"RandomRotation: degrees must be positive if it is one number, got {degrees}")
            degrees = -degrees, degrees
        if len(degrees) != 2:
            raise ValueError(f"RandomRotation: degrees must be one number or two, got {degrees}")
        if expand:
            raise NotImplementedError("RandomRotation: expand=True is not supported")
        if center is not None and len(center) != 2:
            raise ValueError(f"RandomRotation: center must be (x, y), got {center}")
        _check_mode("RandomRotation", interpolation, InterpolationMode.NEAREST, InterpolationMode.BILINEAR)
        self.degrees, self.interpolation, self.expand = degrees, interpolation, expand
        self.center, self.fill = center, fill

    def of_tensors(self, images: Any) -> Any:
        """See `Transform`; each picture is turned by an angle of its own."""
        return one_by_one(lambda image: self.rotate(image, rng(None).uniform(*self.degrees)), images)

    def rotate(self, images: Any, angle: float) -> Any:
        """The pictures turned by ``angle``, in degrees."""
        height, width = images.shape[-2:]
        y, x = np.mgrid[:height, :width] - np.array([height - 1, width - 1])[:, None, None] / 2  # from the middle
        x0, y0 = (0, 0) if self.center is None else (self.center[0] - width / 2, self.center[1] - height / 2)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # where each pixel comes from
        rows = sin * (x - x0) + cos * (y - y0) + y0 + (height - 1) / 2
        columns = cos * (x - x0) - sin * (y - y0) + x0 + (width - 1) / 2
        numbers, (value, inside) = _as_numbers(images), (0, 0)
        like: dict[str, Any] = {"dtype": numbers.dtype, "device": numbers.device}
        for i, j, weight in _around(rows, columns, self.interpolation):
            weight = weight * ((i >= 0) & (i < height) & (j >= 0) & (j < width))
            taken = numbers[..., np.clip(i, 0, height - 1), np.clip(j, 0, width - 1)]
            value = value + taken * tensor(weight, **like)
            inside = inside + weight
        covered, fill = tensor(inside, **like), tensor(self.fill, **like).reshape(-1, 1, 1)
        if self.interpolation is InterpolationMode.NEAREST:
            return _as_before(where(covered < 0.5, fill, value), images)
        return _as_before(value * covered + (1 - covered) * fill, images)


def _around(y: Any, x: Any, mode: InterpolationMode) -> Any:
    """The pixels near the points (y, x): row, column and weight of each."""
    if mode is InterpolationMode.NEAREST:
        yield np.rint(y).astype(int), np.rint(x).astype(int), np.ones(y.shape)
        return
    top, left = np.floor(y), np.floor(x)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        i, j = top + down, left + across
        yield i.astype(int), j.astype(int), _triangle(y - i) * _triangle(x - j)
