"""Pictures that all lie on one device, and batches of them, changed at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import backend
from .._tensor import Tensor
from ..autograd import differentiable
from ..devices import check_device, device_of
from ..functions.creation import as_tensor, tensor
from ..functions.sampling import randperm
from ..random import rng


def augmented(
    data: Any, index: Any, mean: Any = 0.5, std: Any = 0.5, padding: int = 0, flip: float = 0.0, generator: Any = None
) -> Tensor:
    """The pictures ``data[index]`` as a network takes them, on a GPU by one kernel.

    Each is moved by up to ``padding`` pixels down or up and as many to the sides, where black comes in; mirrored with
    probability ``flip``; and normalised, ``(pixel / 255 - mean) / std``. That is `transforms.RandomCrop` with this padding,
    `RandomHorizontalFlip`, `ToTensor` and `Normalize`.

    Shapes: (N, C, H, W) of uint8, (n,) -> (n, C, H, W) of float32.

    Parameters
    ----------
    data : Tensor
        All pictures, with up to four channels.
    index : Tensor
        Which ones; integers, on the same device. On a GPU one that is out of range takes another picture, as in ``x[index]``.
    mean, std : float, or sequence of float
        Of pixels between 0 and 1; one number, or one for each channel.
    padding : int
        By how many pixels a picture is moved at most.
    flip : float
        With what probability it is mirrored.
    generator : Generator, optional
        Where random numbers come from, on the device of ``data``.

    Raises
    ------
    ValueError
        For data or index of another kind, pictures out of none, means and deviations of another number than channels, and
        changes out of range.
    """
    mean, std = (x.tolist() if hasattr(x, "tolist") else x for x in (mean, std))  # an array is no operand, wherever it lies
    return _augmented(data, index, mean, std, padding, flip, generator)


@differentiable
def _augmented(data: Any, index: Any, mean: Any, std: Any, padding: int, flip: float, generator: Any) -> Any:
    if data.ndim != 4 or data.dtype != np.uint8 or not 1 <= data.shape[1] <= 4:
        raise ValueError(f"augmented: data must be uint8 (N, C, H, W) with C up to 4, got {data.dtype} {tuple(data.shape)}")
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(f"augmented: index must be integers of one dimension, got {index.dtype} {tuple(index.shape)}")
    if len(index) and not len(data):
        raise ValueError(f"augmented: there are no pictures, and {len(index)} are asked for")
    if padding < 0 or not 0 <= flip <= 1:
        raise ValueError(f"augmented: padding must not be negative, and flip lie between 0 and 1, got {padding} and {flip}")
    channels = data.shape[1]
    means, stds = ([float(v) for v in (x if np.ndim(x) else [x] * channels)] for x in (mean, std))
    if len(means) != channels or len(stds) != channels:
        raise ValueError(f"augmented: mean and std want one number, or one for each of {channels} channels: {mean}, {std}")
    chances = rng(generator, device_of(data)).random((len(index), 3), "float32")
    make = backend.gpu.kernels.augmented if type(data) in backend.gpu_types else _by_numpy
    return make(data, index, chances, means, stds, padding, flip)


_augmented.op.name = "augmented"


def _by_numpy(data: Any, index: Any, chances: Any, mean: Any, std: Any, padding: int, flip: float) -> Any:
    (h, w), places = data.shape[2:], 2 * padding + 1
    down, right = np.minimum((chances[:, :2] * np.float32(places)).astype(int), places - 1).T[:, :, None] - padding
    rows = np.arange(h) + down
    columns = np.where(chances[:, 2:] < np.float32(flip), np.arange(w)[::-1], np.arange(w)) + right
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None]
    found = data.transpose(0, 2, 3, 1)[index[:, None, None], rows.clip(0, h - 1)[:, :, None], columns.clip(0, w - 1)[:, None]]
    found = np.where(inside[..., None], found, 0).astype(np.float32)
    return np.ascontiguousarray(((found / 255 - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2))


class PictureLoader:
    """A loader whose pictures and classes are all on one device from the start, so that nothing is sent to it later.

    ``for images, labels in loader:`` gives batches as `augmented` makes them. A `DataLoader` does more: any data set, any
    transforms, workers, a state to go on from.

    Parameters
    ----------
    dataset
        With ``data``, uint8 (N, H, W, C), and ``targets``, such as `datasets.CIFAR10`; or a pair of the two. Transforms of
        the data set are not used.
    batch_size : int
        Pictures in a batch.
    shuffle, drop_last : bool
        Whether in a new order each time, and whether a last batch that is smaller is left out.
    generator : Generator, optional
        Of the CPU, for the orders.
    device : optional
        Where; the default device if left out.
    **changes
        ``mean``, ``std``, ``padding`` and ``flip``: see `augmented`.

    Raises
    ------
    ValueError
        If there are not as many targets as pictures, ``batch_size`` is below 1, or the pictures are of another kind.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: Any = None,
        device: Any = None,
        **changes: Any,
    ) -> None:
        where = check_device(device, "PictureLoader")
        data, targets = dataset if isinstance(dataset, (tuple, list)) else (dataset.data, dataset.targets)
        if len(data) != len(targets) or batch_size < 1:
            got = f"{len(data)} pictures, {len(targets)} targets and batch_size={batch_size}"
            raise ValueError(f"PictureLoader: wants as many targets as pictures and a batch_size from 1 on, got {got}")
        data = np.asarray(data)
        if data.ndim != 4 or data.dtype != np.uint8 or not 1 <= data.shape[3] <= 4:
            raise ValueError(f"PictureLoader: data must be uint8 (N, H, W, C) with C up to 4, got {data.dtype} {data.shape}")
        planes = np.ascontiguousarray(np.moveaxis(data, 3, 1))
        self.data, self.targets = as_tensor(planes, device=where), tensor(targets, device=where)
        self.batch_size, self.shuffle, self.drop_last, self.generator = batch_size, shuffle, drop_last, generator
        self.changes = changes

    def __len__(self) -> int:
        n = len(self.data)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        n = len(self.data)
        order = randperm(n, generator=self.generator, device="cpu") if self.shuffle else as_tensor(np.arange(n), device="cpu")
        order = order.to(self.data.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            yield augmented(self.data, index, **self.changes), self.targets[index]
