"""Data sets of pictures."""

from .cifar import CIFAR10
from .images import ImageSet
from .shapes import Shapes

__all__ = ["CIFAR10", "ImageSet", "Shapes"]
