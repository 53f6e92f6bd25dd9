"""Networks for pictures, with torchvision's names; ``weights`` trained elsewhere are loaded from a file, by name."""

from .resnet import ResNet, resnet18, resnet34, resnet50

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50"]
