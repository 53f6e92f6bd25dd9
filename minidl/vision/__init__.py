"""Pictures: data sets, transforms and ways to look at them, with torchvision's names."""

from . import datasets, transforms, utils
from .pictures import PictureLoader, augmented

__all__ = ["PictureLoader", "augmented", "datasets", "transforms", "utils"]
