"""Residual networks: each block learns what to add to its input, so that even a hundred of them can be trained.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.
"""

from __future__ import annotations

from typing import Any

from ...nn import init
from ...nn.activations import ReLU
from ...nn.batchnorm import BatchNorm2d
from ...nn.containers import Sequential
from ...nn.conv import Conv2d
from ...nn.linear import Linear
from ...nn.module import Module
from ...nn.pooling import AdaptiveAvgPool2d, MaxPool2d


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> Conv2d:
    """A convolution that keeps the size at stride 1, without a bias: the normalisation that follows has one."""
    return Conv2d(in_planes, out_planes, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> Conv2d:
    """A convolution of single pixels."""
    return Conv2d(in_planes, out_planes, 1, stride, bias=False)


class BasicBlock(Module):
    """Two 3x3 convolutions, and the input added to what they give."""

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Any = BatchNorm2d,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError(f"BasicBlock: only supports groups=1 and base_width=64, got {groups} and {base_width}")
        if dilation > 1:
            raise NotImplementedError(f"BasicBlock: dilation {dilation} is not supported, only 1")
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Any) -> Any:
        """Of shape (N, planes, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Bottleneck(Module):
    """A 3x3 convolution between two 1x1 ones, the first with fewer channels, the last with more; and the input added.

    The stride is that of the 3x3 convolution, as in torchvision; in the paper it is that of the first.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Any = BatchNorm2d,
    ) -> None:
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Any) -> Any:
        """Of shape (N, 4 * planes, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(Module):
    """A residual network: four rows of blocks, each with half the resolution and twice the channels of the one before.

    Parameters
    ----------
    block
        `BasicBlock` or `Bottleneck`.
    layers
        How many blocks there are in each of the four rows.
    num_classes
        How many numbers come out for each picture.
    zero_init_residual
        Start each block as the identity: the weight of its last normalisation is 0 (Goyal and others, 2017).
    groups, width_per_group
        Of the 3x3 convolutions of a `Bottleneck`: with groups the network is a ResNeXt (Xie and others, 2016).
    replace_stride_with_dilation
        For each of the last three rows, whether to keep the resolution and to dilate the convolutions instead.
    norm_layer
        Makes a normalisation, given the number of channels: `BatchNorm2d` if not given.
    """

    def __init__(
        self,
        block: Any,
        layers: list[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: list[bool] | None = None,
        norm_layer: Any = None,
    ) -> None:
        super().__init__()
        dilate = [False, False, False] if replace_stride_with_dilation is None else replace_stride_with_dilation
        if len(dilate) != 3:
            raise ValueError(f"ResNet: replace_stride_with_dilation must be None or 3 bools, got {dilate}")
        self.inplanes, self.dilation = 64, 1
        self.groups, self.base_width = groups, width_per_group
        self._norm_layer = BatchNorm2d if norm_layer is None else norm_layer
        self.conv1 = Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(64)
        self.relu = ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], 2, dilate[2])
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.fc = Linear(512 * block.expansion, num_classes)
        self._start(zero_init_residual)

    def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> Sequential:
        """A row of blocks; the first of them changes the resolution and the number of channels, its input with them."""
        before = self.dilation
        if dilate:
            self.dilation, stride = self.dilation * stride, 1
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = Sequential(
                conv1x1(self.inplanes, planes * block.expansion, stride), self._norm_layer(planes * block.expansion)
            )
        shared = self.groups, self.base_width
        row = [block(self.inplanes, planes, stride, downsample, *shared, before, self._norm_layer)]
        self.inplanes = planes * block.expansion
        for _ in range(1, blocks):
            row.append(block(self.inplanes, planes, 1, None, *shared, self.dilation, self._norm_layer))
        return Sequential(*row)

    def _start(self, zero_init_residual: bool) -> None:
        """The weights to start from: He's for convolutions; normalisations do nothing yet."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                init.zeros_(last.weight)

    def forward(self, x: Any) -> Any:
        """Scores (N, num_classes) of pictures (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _resnet(name: str, block: Any, layers: list[int], weights: Any, progress: bool, options: dict[str, Any]) -> ResNet:
    if weights is not None:
        raise ValueError(
            f"{name}: weights={weights!r} cannot be downloaded here; make {name}() and load them from a file of PyTorch: "
            f'net.load_state_dict(minidl.load("{name}.pth"))'
        )
    return ResNet(block, layers, **options)


def resnet18(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 18 layers.

    Parameters
    ----------
    weights
        None. Trained weights are loaded from a file, ``net.load_state_dict(minidl.load("resnet18.pth"))``.
    progress
        Whether a download would say how far it is: there is none.
    **kwargs
        For `ResNet`: ``num_classes`` and so on.
    """
    return _resnet("resnet18", BasicBlock, [2, 2, 2, 2], weights, progress, kwargs)


def resnet34(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 34 layers; parameters as for `resnet18`."""
    return _resnet("resnet34", BasicBlock, [3, 4, 6, 3], weights, progress, kwargs)


def resnet50(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet with 50 layers; parameters as for `resnet18`."""
    return _resnet("resnet50", Bottleneck, [3, 4, 6, 3], weights, progress, kwargs)
