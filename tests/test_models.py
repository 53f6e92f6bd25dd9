"""Networks for pictures: their names and numbers, what they refuse, and that they learn."""

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.vision import models

# how many numbers are trained, as published with the weights of torchvision
SIZES = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    net = getattr(models, name)()
    assert sum(p.numel() for p in net.parameters()) == SIZES[name]


def test_names():
    net = minidl.vision.models.resnet18(num_classes=7)
    names = list(net.state_dict())
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"] and names[-2:] == ["fc.weight", "fc.bias"]
    wanted = {"layer1.0.conv1.weight", "layer1.1.bn2.running_var", "layer2.0.downsample.0.weight", "layer4.0.downsample.1.bias"}
    assert wanted <= set(names) and not any(name.startswith("layer1.0.downsample") for name in names)
    assert len(names) == 20 + 20 * 5 + 2 and net.fc.weight.shape == (7, 512)  # convolutions, normalisations, the last layer
    assert [name for name, _ in net.named_children()][2:4] == ["relu", "maxpool"]


@pytest.mark.parametrize(
    ("options", "shape"), [({}, (2, 512, 2, 2)), ({"replace_stride_with_dilation": [False, True, True]}, (2, 512, 8, 8))]
)
def test_resolution(options, shape):
    seen = []
    if options:  # only the blocks of larger networks can be dilated
        with pytest.raises(NotImplementedError, match="BasicBlock: dilation 2"):
            models.resnet18(**options)
        net, shape = models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], **options), (2, 2048, 8, 8)
    else:
        net = models.resnet18()
    net.eval().layer4.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert net(minidl.zeros(2, 3, 64, 64)).shape == (2, 1000) and seen == [shape]


def test_zero_init_residual():
    net = models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], zero_init_residual=True)
    assert not net.layer1[0].bn3.weight.any() and (net.layer1[0].bn2.weight == 1).all()
    net = models.resnet18(zero_init_residual=True)
    x = minidl.rand(2, 64, 4, 4)  # after a ReLU there is nothing negative, so the block hands it on
    np.testing.assert_array_equal(net.layer1[1](x).detach().numpy(), x.numpy())
    assert models.resnet18().layer1[1].bn2.weight.all()


def test_what_is_refused():
    for weights in ("DEFAULT", "IMAGENET1K_V1", True):
        with pytest.raises(ValueError, match=r'resnet34: weights=.* net.load_state_dict\(minidl.load\("resnet34.pth"\)\)'):
            models.resnet34(weights=weights)
    with pytest.raises(TypeError, match="pretrained"):
        models.resnet18(pretrained=True)
    with pytest.raises(ValueError, match="BasicBlock: only supports groups=1 and base_width=64, got 2 and 64"):
        models.resnet18(groups=2)
    with pytest.raises(ValueError, match="replace_stride_with_dilation must be None or 3 bools"):
        models.resnet50(replace_stride_with_dilation=[True])


def test_a_file_fits_by_name(tmp_path):
    net = models.resnet18(num_classes=5).eval()
    minidl.save(net.state_dict(), tmp_path / "net.safetensors")
    other = models.resnet18(num_classes=5).eval()
    other.load_state_dict(minidl.load(tmp_path / "net.safetensors"))
    x = minidl.rand(1, 3, 33, 40)
    np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())
    with pytest.raises(RuntimeError, match=r"'fc.weight' has shape \(5, 512\) in state_dict, \(1000, 512\) in the module"):
        models.resnet18().load_state_dict(net.state_dict())
    trunk = {name: value for name, value in net.state_dict().items() if not name.startswith("fc.")}
    assert models.resnet18().load_state_dict(trunk, strict=False).missing_keys == ["fc.weight", "fc.bias"]


def test_it_learns():
    net = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=2, norm_layer=nn.BatchNorm2d)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    x, labels = minidl.randn(8, 3, 32, 32), minidl.arange(8) % 2
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
