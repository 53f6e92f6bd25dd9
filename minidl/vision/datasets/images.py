"""What the image sets have in common: all pictures in one array, read one at a time or a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...utils.data import Columns, Dataset
from ..transforms import batch_form


class ImageSet(Dataset):
    """Pictures with a class each, held in memory.

    ``data`` has the shape (N, height, width, 3), but in memory each picture is a red, a green and a blue plane, as the network
    wants it.

    Parameters
    ----------
    data
        uint8 array of shape (N, height, width, 3).
    targets
        The class of each picture.
    transform, target_transform
        Called with a picture (uint8 array of shape (height, width, 3)) and with its class; what they return is used instead.
    """

    classes: Sequence[str] = ()

    def __init__(
        self,
        data: Any,
        targets: list[int],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
    ) -> None:
        for name, value in (("transform", transform), ("target_transform", target_transform)):
            if value is not None and not callable(value):
                raise TypeError(f"{type(self).__name__}: {name} must be callable, got {type(value).__name__}")
        self.data, self.targets = data, targets
        self.transform, self.target_transform = transform, target_transform

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class by its name."""
        return {name: i for i, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """A picture and its class, after the transforms. As it is, the picture is a uint8 array (height, width, 3)."""
        image = self.data[index]
        return image if self.transform is None else self.transform(image), self._target(index)

    def __getitems__(self, indices: Sequence[int]) -> Sequence[tuple[Any, Any]]:
        """Many pictures with their classes: the transform runs once for all of them, if it can."""
        whole = batch_form(self.transform)
        if whole is None:
            return [self[i] for i in indices]
        images = whole(self.data.transpose(0, 3, 1, 2)[np.asarray(indices, np.int64)])
        if isinstance(images, np.ndarray):
            images = images.transpose(0, 2, 3, 1)
        return Columns(images, [self._target(i) for i in indices])

    def _target(self, index: int) -> Any:
        target = self.targets[index]
        return target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} pictures of {len(self.classes)} classes, transform={self.transform})"
