"""What is done to pictures on their way to the network: scaled, shifted, mirrored.

As in torchvision, a transform is called with one picture: a uint8 array (height, width, channels), where torchvision has a
Pillow image, or a tensor (..., channels, height, width). And it has a method ``batch`` that takes many at once, for speed:
channels come first there, (N, channels, height, width), for arrays as for tensors, and each picture has its own random numbers.
Calling it is `batch` with one picture.

Random numbers come from minidl's default generator; in a `DataLoader` from the batch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor
from ..functions.creation import from_numpy, tensor
from ..functions.joining import stack
from ..ops.elementwise import where
from ..ops.layout import constant_pad, flip
from ..random import rng
from ..shapes import pair


class Transform:
    """A transform with a whole-batch form.

    A subclass defines ``batch``; one that has its own ``__call__`` instead is used picture by picture.
    """

    def batch(self, images: Any) -> Any:
        """Many pictures, transformed."""
        raise NotImplementedError(f"{type(self).__name__}: a Transform must have a method batch(images), or __call__(img)")

    def __call__(self, img: Any) -> Any:
        """One picture, transformed."""
        if isinstance(img, Tensor):
            return self.batch(img[None])[0]
        out = self.batch(_planes(img, type(self).__name__)[None])[0]
        return out.transpose(1, 2, 0) if isinstance(out, np.ndarray) else out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


def _planes(img: Any, op: str) -> Any:
    """A picture as an array of planes, (channels, height, width)."""
    if not isinstance(img, np.ndarray) and not hasattr(img, "__array_interface__"):  # which Pillow's images have
        raise TypeError(f"{op}: expected a picture (array or Pillow image) or a Tensor, got {type(img).__name__}")
    if getattr(img, "mode", "RGB") not in ("L", "LA", "RGB", "RGBA"):
        raise TypeError(f'{op}: cannot take a Pillow image of mode {img.mode!r}; use img.convert("RGB")')
    array = np.asarray(img)
    if array.ndim not in (2, 3):
        raise ValueError(f"{op}: a picture has the shape (height, width) or (height, width, channels), got {array.shape}")
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def batch_form(transform: Any) -> Callable[[Any], Any] | None:
    """The function that does ``transform`` to many pictures at once, or None if there is none."""
    if transform is None:
        return lambda images: images
    if isinstance(transform, Compose) and not all(batch_form(t) for t in transform.transforms):
        return None
    if not isinstance(transform, Transform):
        return None
    definer = {
        name: next(i for i, c in enumerate(type(transform).__mro__) if name in vars(c)) for name in ("batch", "__call__")
    }
    # a new __call__ is not what an inherited batch does
    return transform.batch if definer["batch"] <= definer["__call__"] else None


class Compose(Transform):
    """The ``transforms``, one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms: list[Any] = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: transforms must be callable, got {type(transform).__name__}")

    def __call__(self, img: Any) -> Any:
        """One picture through all transforms."""
        for transform in self.transforms:
            img = transform(img)
        return img

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        before: Any = None
        for transform in self.transforms:
            fresh = type(before) is ToTensor and type(transform) is Normalize
            images = transform.overwrite(images) if fresh else batch_form(transform)(images)  # type: ignore[misc]
            before = transform
        return images


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
        both = [tensor(values, dtype=images.dtype).reshape(-1, 1, 1) for values in (self.mean, self.std)]
        for name, values in zip(("mean", "std"), both):
            if images.ndim < 4 or values.numel() not in (1, images.shape[-3]):
                raise ValueError(f"Normalize: {name} {getattr(self, name)} does not fit images of shape {images.shape[1:]}")
        if (both[1] == 0).any():
            raise ValueError(f"Normalize: std must not be 0 in {images.dtype}, got {self.std}")
        return both


class _RandomFlip(Transform):
    """A picture mirrored with the probability ``p``."""

    dim: int

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must lie between 0 and 1, got {p}")
        self.p = p

    def batch(self, images: Any) -> Any:
        """See `Transform`; each picture is mirrored or not."""
        chosen = rng(None).random((len(images),) + (1,) * (images.ndim - 1)) < self.p
        return where(from_numpy(chosen) if isinstance(images, Tensor) else chosen, flip(images, (self.dim,)), images)


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


class Lambda(Transform):
    """A function of one's own, called with one picture at a time."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: expected a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """What the function gives for one picture."""
        return self.lambd(img)
