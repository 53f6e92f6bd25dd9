"""What a transform is: something to be done to one picture, or to many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...functions.creation import from_numpy
from ...functions.joining import stack


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


class TensorTransform(Transform):
    """A transform whose whole-batch form ``of_tensors`` is written for tensors; arrays are seen as tensors on the way."""

    def of_tensors(self, images: Any) -> Any:
        """Many pictures in a tensor (N, ..., channels, height, width), transformed."""
        raise NotImplementedError

    def batch(self, images: Any) -> Any:
        """See `Transform`."""
        return self.of_tensors(images) if isinstance(images, Tensor) else self.of_tensors(from_numpy(images)).numpy()


def chance(p: Any, op: str) -> float:
    """``p`` as a probability."""
    if not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ValueError(f"{op}: p must lie between 0 and 1, got {p!r}")
    return p


def one_by_one(function: Callable[[Any], Any], images: Any) -> Any:
    """``function`` of each picture, given as a batch of one; the results as one batch."""
    parts = [function(images[i : i + 1])[0] for i in range(len(images))]
    return stack(parts) if isinstance(parts[0], Tensor) else np.stack(parts)


def batch_form(transform: Any) -> Callable[[Any], Any] | None:
    """The function that does ``transform`` to many pictures at once, or None if there is none."""
    if transform is None:
        return lambda images: images
    if not all(batch_form(t) for t in getattr(transform, "transforms", ())):
        return None
    if not isinstance(transform, Transform):
        return None
    definer = {
        name: next(i for i, c in enumerate(type(transform).__mro__) if name in vars(c)) for name in ("batch", "__call__")
    }
    # a new __call__ is not what an inherited batch does
    return transform.batch if definer["batch"] <= definer["__call__"] else None
