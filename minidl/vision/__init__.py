"""Pictures: data sets, transforms and ways to look at them, with torchvision's names."""

from . import datasets, transforms, utils

__all__ = ["datasets", "transforms", "utils"]
