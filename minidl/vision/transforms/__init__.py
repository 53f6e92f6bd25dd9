"""What is done to pictures on their way to the network: scaled, shifted, mirrored, coloured.

As in torchvision, a transform is called with one picture: a uint8 array (height, width, channels), where torchvision has a
Pillow image, or a tensor (..., channels, height, width). And it has a method ``batch`` that takes many at once, for speed:
channels come first there, (N, channels, height, width), for arrays as for tensors, and each picture has its own random numbers.
Calling it is `batch` with one picture.

Random numbers come from minidl's default generator; in a `DataLoader` from the batch's own.
"""

from .base import Transform, batch_form
from .colour import ColorJitter, ConvertImageDtype, Grayscale, Normalize, ToTensor
from .combined import Compose, Lambda, RandomApply, RandomChoice
from .placing import CenterCrop, Pad, RandomCrop, RandomErasing, RandomHorizontalFlip, RandomVerticalFlip
from .resampling import InterpolationMode, RandomResizedCrop, RandomRotation, Resize

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
    "batch_form",
]
