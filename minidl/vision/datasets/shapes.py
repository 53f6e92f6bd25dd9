"""Pictures that the program draws itself: a stand-in for CIFAR-10 that needs no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .images import ImageSet

# How far a point (u, v) of the drawing lies outside the figure (inside: negative). A figure fills about the unit disc.
# Textures are waves of length 2 / f, cut out by the disc.


def _disc(u: Any, v: Any) -> Any:
    return np.hypot(u, v) - 1


def _cut(wave: Any, u: Any, v: Any, f: Any) -> Any:
    return np.maximum(wave / (np.pi * f), _disc(u, v))


FIGURES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "disc": lambda u, v, f: _disc(u, v),
    "square": lambda u, v, f: np.maximum(abs(u), abs(v)) - 0.85,
    "triangle": lambda u, v, f: np.maximum(0.866 * abs(u) + 0.5 * v, -v) - 0.55,
    "cross": lambda u, v, f: np.minimum(np.maximum(abs(u), 3 * abs(v)), np.maximum(3 * abs(u), abs(v))) - 1,
    "ring": lambda u, v, f: abs(np.hypot(u, v) - 0.8) - 0.2,
    "rows": lambda u, v, f: _cut(np.sin(np.pi * f * v), u, v, f),
    "columns": lambda u, v, f: _cut(np.sin(np.pi * f * u), u, v, f),
    "diagonals": lambda u, v, f: _cut(np.sin(np.pi * f * (u + v) * 0.707), u, v, f),
    "checkers": lambda u, v, f: _cut(np.sin(np.pi * f * u) * np.sin(np.pi * f * v), u, v, f),
    "dots": lambda u, v, f: _cut(0.9 - np.cos(np.pi * f * u) - np.cos(np.pi * f * v), u, v, f),
}

SHEET = 1000  # pictures drawn at a time: few enough to stay in the cache


def _draw(rng: np.random.Generator) -> tuple[Any, Any]:
    """A sheet of pictures, uint8 (SHEET, 3, 32, 32), and their classes."""

    def uniform(low: float, high: float, *more: int) -> Any:
        return rng.uniform(low, high, (SHEET, *more, 1, 1)).astype(np.float32)

    labels = rng.permutation(np.arange(SHEET) % len(FIGURES))
    y, x = np.mgrid[-1:1:32j, -1:1:32j].astype(np.float32)
    radius, angle, waves = uniform(0.6, 0.9), uniform(-0.2, 0.2), uniform(2.5, 3.5)
    dx, dy = (x - uniform(-1, 1) * (1 - radius)) / radius, (y - uniform(-1, 1) * (1 - radius)) / radius
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    cover = np.empty_like(u)
    for label, outside in enumerate(FIGURES.values()):
        mine = labels == label
        cover[mine] = outside(u[mine], v[mine], waves[mine])
    cover = np.clip(0.5 - cover * radius * 16, 0, 1)[:, None]  # 16 pixels to the unit: edges are one pixel soft

    dark = uniform(0, 0.5, 3)
    contrast = uniform(0.3, 0.6, 3)
    cover = np.where(uniform(0, 1, 1) < 0.5, cover, 1 - cover)  # light figure on dark ground, or dark on light
    picture = rng.standard_normal((SHEET, 3, 32, 32), np.float32) * np.float32(0.05)
    picture += dark + contrast * cover
    picture += uniform(-0.1, 0.1, 3) * x + uniform(-0.1, 0.1, 3) * y  # light from one side
    return (picture.clip(0, 1) * 255).astype(np.uint8), labels


class Shapes(ImageSet):
    """Ten kinds of figures, drawn from a seed: 32 x 32 RGB, in the shape of CIFAR-10 and with its interface.

    Colours, place, size, tilt, lighting and noise are drawn by lot, so that no single pixel tells anything: a linear classifier
    gets about a quarter right, a convolutional network nearly all after two epochs. Training and test pictures come from
    different random numbers.

    Parameters
    ----------
    train
        Whether to draw the training or the test set.
    transform, target_transform
        As in `CIFAR10`.
    size
        How many pictures: 50,000 for training and 10,000 for testing if not given. Fewer are the first of these.
    seed
        Other seeds give other pictures.
    """

    classes = tuple(FIGURES)

    def __init__(
        self,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        size = (50_000 if train else 10_000) if size is None else size
        if size < 0:
            raise ValueError(f"Shapes: size must not be negative, got {size}")
        planes, labels = np.empty((size, 3, 32, 32), np.uint8), np.empty(size, np.int64)
        for sheet, start in enumerate(range(0, size, SHEET)):
            drawn, classes = _draw(np.random.default_rng([seed, int(train), sheet]))
            planes[start : start + SHEET], labels[start : start + SHEET] = drawn[: size - start], classes[: size - start]
        super().__init__(planes.transpose(0, 2, 3, 1), labels.tolist(), transform, target_transform)
        self.train = train
