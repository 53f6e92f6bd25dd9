"""Many pictures on one sheet, and sheets in files."""

from __future__ import annotations

import os
from typing import Any

from .._tensor import Tensor
from ..functions.creation import full
from ..functions.joining import stack


def make_grid(
    tensor: Any,
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Any:
    """Pictures side by side in one picture, (channels, height, width).

    Parameters
    ----------
    tensor
        (N, channels, height, width), or a list of N pictures, or one picture. One channel is shown as grey.
    nrow
        Pictures in a row.
    padding, pad_value
        Width and value of the lines between them.
    normalize
        Bring the values from ``value_range`` (least and largest if not given) to between 0 and 1.
    scale_each
        Find least and largest in each picture, not in all.
    """
    images = stack(list(tensor)) if isinstance(tensor, (list, tuple)) else tensor
    if not isinstance(images, Tensor) or not 2 <= images.ndim <= 4:
        raise TypeError("make_grid: wants a Tensor of 2 to 4 dimensions, or a list of such")
    images = images.detach()
    if images.ndim < 4:
        images = images.reshape((1,) * (4 - images.ndim) + images.shape)
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if normalize:
        images = stack([_scaled(image, value_range) for image in images]) if scale_each else _scaled(images, value_range)
    n, channels, height, width = images.shape
    if n == 1:
        return images[0]
    columns = min(nrow, n)
    rows = -(-n // columns)
    height, width = height + padding, width + padding
    grid = full((channels, rows * height + padding, columns * width + padding), pad_value, dtype=images.dtype)
    for i, image in enumerate(images):
        top, left = i // columns * height + padding, i % columns * width + padding
        grid[:, top : top + height - padding, left : left + width - padding] = image
    return grid


def _scaled(images: Any, value_range: tuple[float, float] | None) -> Any:
    low, high = value_range or (images.min().item(), images.max().item())
    return (images.clamp(low, high) - low) / max(high - low, 1e-5)


def save_image(tensor: Any, fp: str | os.PathLike[str] | Any, format: str | None = None, **kwargs: Any) -> None:
    """Write a picture, or several as a grid, with values between 0 and 1, to an image file. Needs Pillow.

    Parameters
    ----------
    tensor, **kwargs
        As for `make_grid`.
    fp
        File name, or file open for writing (then with ``format``).
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("save_image: needs Pillow, which is not installed: pip install pillow") from error
    grid = make_grid(tensor, **kwargs).numpy()
    Image.fromarray((grid * 255 + 0.5).clip(0, 255).astype("uint8").transpose(1, 2, 0)).save(fp, format=format)
