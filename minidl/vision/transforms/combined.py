"""Transforms made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...random import rng
from .base import Transform, batch_form, chance, one_by_one
from .colour import Normalize, ToTensor


def listed(transforms: Any, op: str) -> list[Any]:
    """A list of transforms, all of them callable."""
    found = list(transforms)
    for transform in found:
        if not callable(transform):
            raise TypeError(f"{op}: transforms must be callable, got {type(transform).__name__}")
    return found


class Compose(Transform):
    """The ``transforms``, one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = listed(transforms, "Compose")

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}(" + "".join(f"\n    {transform}" for transform in self.transforms) + "\n)"


class RandomApply(Transform):
    """The ``transforms``, one after the other, with the probability ``p``; otherwise none of them."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.transforms, self.p = listed(transforms, "RandomApply"), chance(p, "RandomApply")

    def __call__(self, img: Any) -> Any:
        """One picture, transformed or not."""
        return Compose(self.transforms)(img) if rng(None).random() < self.p else img

    def batch(self, images: Any) -> Any:
        """See `Transform`; each picture is transformed or not."""
        return one_by_one(lambda image: Compose(self.transforms).batch(image) if rng(None).random() < self.p else image, images)

    def __repr__(self) -> str:
        return f"RandomApply(\n    p={self.p}" + "".join(f"\n    {transform}" for transform in self.transforms) + "\n)"


class RandomChoice(Transform):
    """One of the ``transforms``, chosen evenly or with the probabilities ``p``, which need not sum to 1."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        self.transforms, self.p = listed(transforms, "RandomChoice"), p
        if p is not None and len(p) != len(self.transforms):
            raise ValueError(f"RandomChoice: p must have one number for each of the {len(self.transforms)} transforms, got {p}")

    def _one(self) -> Any:
        shares = np.ones(len(self.transforms)) if self.p is None else np.asarray(self.p, float)
        return self.transforms[rng(None).choice(len(shares), p=shares / shares.sum())]

    def __call__(self, img: Any) -> Any:
        """One picture, transformed."""
        return self._one()(img)

    def batch(self, images: Any) -> Any:
        """See `Transform`; a choice for each picture."""
        return one_by_one(lambda image: Compose([self._one()]).batch(image), images)


class Lambda(Transform):
    """A function of one's own, called with one picture at a time."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: expected a function, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        """What the function gives for one picture."""
        return self.lambd(img)
