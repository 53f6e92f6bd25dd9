"""Colours: from bytes to numbers, and numbers of another spread, brightness or dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...dtypes import as_dtype, float32, iinfo
from ...functions.creation import from_numpy, tensor
from ...functions.joining import stack
from ...ops.elementwise import minimum, where
from ...ops.layout import cat
from ...random import rng
from .base import TensorTransform, Transform, one_by_one


class ToTensor(Transform):
    """A picture as a tensor (channels, height, width): uint8 becomes float32 between 0 and 1, other numbers stay."""

    def __call__(self, img: Any) -> Any:
        """One picture as a tensor."""
        if isinstance(img, Tensor):
            raise TypeError("ToTensor: expected a picture (array or Pillow image), got a Tensor")
        return super().__call__(img)

    def batch(self, images: Any) -> Any:
        """The pictures as one tensor."""
        if images.dtype != np.uint8:
            return from_numpy(np.array(images, order="C"))
        return from_numpy(np.divide(images, np.float32(255), out=np.empty(images.shape, np.float32)))


class Normalize(Transform):
    """``(image - mean) / std`` for a tensor, with a mean and a standard deviation for each channel.

    Parameters
    ----------
    inplace
        Change the tensor that is given instead of making a new one.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        mean, std = self._by_channel(images)
        return images.sub_(mean).div_(std) if self.inplace else (images - mean) / std

    def overwrite(self, images: Tensor) -> Tensor:
        """The same in the memory of ``images``, which must be nobody else's: new memory would cost more than the arithmetic."""
        mean, std = self._by_channel(images)
        array = images.numpy()
        array -= mean.numpy()
        array /= std.numpy()
        return images

    def _by_channel(self, images: Any) -> list[Any]:
        """Mean and standard deviation, in a shape that broadcasts against ``images``."""
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = str(images.dtype) if isinstance(images, Tensor) else "a picture"
            raise TypeError(f"Normalize: expected a floating Tensor, got {got}; put ToTensor() before it")
        both = [tensor(values, dtype=images.dtype, device=images.device).reshape(-1, 1, 1) for values in (self.mean, self.std)]
        for name, values in zip(("mean", "std"), both):
            if images.ndim < 4 or values.numel() not in (1, images.shape[-3]):
                raise ValueError(f"Normalize: {name} {getattr(self, name)} does not fit images of shape {images.shape[1:]}")
        if (both[1] == 0).any():
            raise ValueError(f"Normalize: std must not be 0 in {images.dtype}, got {self.std}")
        return both


def _largest(dtype: Any) -> float:
    """The value of white."""
    return 1.0 if dtype.is_floating_point else iinfo(dtype).max


class ConvertImageDtype(Transform):
    """A tensor in another ``dtype``, its values scaled: white is 1 in a floating one and the largest number in a whole one."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = as_dtype(dtype)

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        if not isinstance(images, Tensor):
            raise TypeError("ConvertImageDtype: expected a Tensor, got a picture; put ToTensor() before it")
        return convert(images, self.dtype)


def convert(images: Any, dtype: Any) -> Any:
    """What `ConvertImageDtype` does."""
    white, new_white = _largest(images.dtype), _largest(dtype)
    if images.dtype == dtype:
        return images
    if dtype.is_floating_point:
        return images.to(dtype) / white if white != 1 else images.to(dtype)
    if images.is_floating_point():
        if dtype.itemsize >= images.dtype.itemsize:
            raise RuntimeError(f"ConvertImageDtype: the numbers of {dtype} cannot be told apart in {images.dtype}")
        return (images * (new_white + 1 - 1e-3)).to(dtype)  # as many numbers for black as for white
    if white > new_white:
        return (images // ((white + 1) // (new_white + 1))).to(dtype)
    return images.to(dtype) * ((new_white + 1) // (white + 1))


def _gray(images: Any) -> Any:
    """Brightness, as the eye weighs colours (ITU-R 601); one channel."""
    if images.shape[-3] == 1:
        return images
    if images.shape[-3] != 3:
        raise ValueError(f"Grayscale: wants pictures of 1 or 3 channels, got shape {images.shape[1:]}")
    red, green, blue = images.unbind(-3)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(images.dtype).unsqueeze(-3)


class Grayscale(TensorTransform):
    """A picture without colours, in one channel or in ``num_output_channels=3`` equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels must be 1 or 3, got {num_output_channels}")
        self.num_output_channels = num_output_channels

    def of_tensors(self, images: Any) -> Any:
        """See `Transform`."""
        gray = _gray(images)
        return gray if self.num_output_channels == 1 else cat([gray] * 3, -3)


class ColorJitter(TensorTransform):
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Parameters
    ----------
    brightness, contrast, saturation
        The factor, from and to; or one number b for (max(0, 1 - b), 1 + b), so that 0 changes nothing. The picture is mixed
        with black, with its mean gray, and with itself in gray.
    hue
        How far colours turn around the circle of colours, from and to, between -0.5 and 0.5; or one number h for (-h, h).
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness = _bounds("brightness", brightness, 1, 0, math.inf)
        self.contrast = _bounds("contrast", contrast, 1, 0, math.inf)
        self.saturation = _bounds("saturation", saturation, 1, 0, math.inf)
        self.hue = _bounds("hue", hue, 0, -0.5, 0.5)

    def of_tensors(self, images: Any) -> Any:
        """See `Transform`; each picture has factors and an order of its own."""
        return one_by_one(self._of_one, images)

    def _of_one(self, image: Any) -> Any:
        steps = [("brightness", brighten), ("contrast", contrast), ("saturation", saturate), ("hue", turn_hue)]
        for i in rng(None).permutation(len(steps)).tolist():
            name, step = steps[i]
            if getattr(self, name) is not None:
                image = step(image, rng(None).uniform(*getattr(self, name)))
        return image


def _bounds(name: str, value: Any, middle: float, least: float, most: float) -> tuple[float, float] | None:
    """The two bounds of a factor, or None where it changes nothing."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"ColorJitter: {name} must not be negative if it is one number, got {value}")
        value = max(middle - value, 0) if middle else -value, middle + value
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not least <= value[0] <= value[1] <= most:
        raise ValueError(f"ColorJitter: {name} must be one number or two between {least} and {most}, got {value}")
    return None if value[0] == value[1] == middle else (float(value[0]), float(value[1]))


def _mixed(images: Any, others: Any, share: float) -> Any:
    """``images`` with the weight ``share`` and ``others`` with the rest, within the bounds of the dtype."""
    return (share * images + (1 - share) * others).clamp(0, _largest(images.dtype)).to(images.dtype)


def brighten(images: Any, factor: float) -> Any:
    """Mixed with black; a factor above 1 makes it brighter."""
    return _mixed(images, 0, factor)


def contrast(images: Any, factor: float) -> Any:
    """Mixed with its mean gray."""
    gray = _gray(images)
    return _mixed(images, (gray if gray.is_floating_point() else gray.float()).mean((-3, -2, -1), keepdim=True), factor)


def saturate(images: Any, factor: float) -> Any:
    """Mixed with itself in gray."""
    return images if images.shape[-3] == 1 else _mixed(images, _gray(images), factor)


def turn_hue(images: Any, turn: float) -> Any:
    """Colours turned around the circle red, green, blue, by a share of it; brightness and saturation stay."""
    if images.shape[-3] == 1:
        return images
    colours = convert(images, images.dtype if images.is_floating_point() else float32)
    red, green, blue = colours.unbind(-3)
    value, least = colours.amax(-3), colours.amin(-3)
    spread = value - least
    part = where(spread == 0, 1, spread)  # of gray there is no hue
    hue = where(value == red, (green - blue) / part, where(value == green, 2 + (blue - red) / part, 4 + (red - green) / part))
    hue = hue + 6 * turn
    # each of the three is full for a third of the circle, none for a third, and rises and falls in between
    away = [(hue + start) % 6 for start in (5, 3, 1)]
    turned = stack([value - spread * minimum(k, 4 - k).clamp(0, 1) for k in away], -3)
    return convert(turned, images.dtype)
