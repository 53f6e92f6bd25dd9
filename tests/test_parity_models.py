"""ResNets against the same networks written once more in PyTorch, with weights from PyTorch's files.

torchvision is not needed: the networks below are written after He and others (2015) and the names in torchvision's files.
"""

from collections import OrderedDict

import numpy as np
import pytest

import minidl
from minidl.vision import models

torch = pytest.importorskip("torch")
nn = torch.nn


class Residual(nn.Module):
    """A block, by the list of its convolutions: (kernel, inputs, outputs, stride, groups, dilation)."""

    def __init__(self, convs):
        super().__init__()
        for i, (k, n_in, n_out, s, g, d) in enumerate(convs, 1):
            self.add_module(f"conv{i}", nn.Conv2d(n_in, n_out, k, s, d * (k // 2), d, g, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(n_out))
        self.n, first, last, stride = len(convs), convs[0][1], convs[-1][2], max(c[3] for c in convs)
        if (first, 1) != (last, stride):
            self.downsample = nn.Sequential(nn.Conv2d(first, last, 1, stride, bias=False), nn.BatchNorm2d(last))

    def forward(self, x):
        y = x
        for i in range(1, self.n + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.n else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def twin(kind, layers, num_classes=1000, groups=1, width_per_group=64, dilate=(False, False, False)):
    """The network in PyTorch."""
    parts = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, 2, 3, bias=False), bn1=nn.BatchNorm2d(64), relu=nn.ReLU(), maxpool=nn.MaxPool2d(3, 2, 1)
    )
    channels, dilation = 64, 1
    for row, (planes, n) in enumerate(zip((64, 128, 256, 512), layers)):
        blocks = []
        for i in range(n):
            stride, d = 2 if row and i == 0 else 1, dilation
            if row and dilate[row - 1] and i == 0:
                stride, dilation = 1, dilation * 2  # the first block still has the dilation of the row before
            if kind == "basic":
                blocks.append(Residual([(3, channels, planes, stride, 1, 1), (3, planes, planes, 1, 1, 1)]))
            else:
                w = planes * width_per_group // 64 * groups
                blocks.append(Residual([(1, channels, w, 1, 1, 1), (3, w, w, stride, groups, d), (1, w, 4 * planes, 1, 1, 1)]))
            channels = planes if kind == "basic" else 4 * planes
        parts[f"layer{row + 1}"] = nn.Sequential(*blocks)
    parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(channels, num_classes)}
    return nn.Sequential(parts)


NETWORKS = {
    "resnet18": (models.resnet18, ("basic", (2, 2, 2, 2)), {"num_classes": 10}),
    "resnet34": (models.resnet34, ("basic", (3, 4, 6, 3)), {"num_classes": 3}),
    "resnet50": (models.resnet50, ("bottleneck", (3, 4, 6, 3)), {"num_classes": 3}),
    "resnext": (
        lambda **options: models.ResNet(models.resnet.Bottleneck, [1, 2, 1, 1], **options),
        ("bottleneck", (1, 2, 1, 1)),
        {"groups": 32, "width_per_group": 4},
    ),
    "dilated": (
        lambda **options: models.ResNet(models.resnet.Bottleneck, [1, 1, 2, 2], **options),
        ("bottleneck", (1, 1, 2, 2)),
        {"replace_stride_with_dilation": [False, True, True]},
    ),
}


def made(name, seed=0):
    """Ours and PyTorch's, the latter with random weights and running statistics."""
    ours, layout, options = NETWORKS[name]
    torch.manual_seed(seed)
    renamed = {"dilate" if key == "replace_stride_with_dilation" else key: value for key, value in options.items()}
    theirs = twin(*layout, **renamed)
    with torch.no_grad():
        for key, value in theirs.state_dict().items():
            if key.endswith(("running_mean", "bias")):
                value.normal_(0, 0.2)
            elif key.endswith("running_var") or value.ndim == 1:
                value.uniform_(0.5, 1.5)
    return ours(**options), theirs


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_pytorch_gives_the_same_network(name, tmp_path):
    ours, theirs = made(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    assert repr(ours.load_state_dict(minidl.load(tmp_path / "net.pth"))) == "<All keys matched successfully>"
    for key, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[key].numpy(), value.numpy(), err_msg=key)
    x = np.random.default_rng(1).normal(size=(2, 3, 70, 61))
    theirs.double().eval(), ours.double().eval()
    with torch.no_grad(), minidl.no_grad():
        wanted, found = theirs(torch.tensor(x)).numpy(), ours(minidl.tensor(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["resnet18", "resnext", "dilated"])
def test_a_step_of_training_is_the_same(name, tmp_path):
    ours, theirs = made(name)
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    ours.load_state_dict(minidl.load(tmp_path / "net.safetensors"))
    ours.double(), theirs.double()
    x, labels = np.random.default_rng(1).normal(size=(3, 3, 64, 64)), [0, 2, 1]
    results = []
    for lib, net in ((torch, theirs), (minidl, ours)):
        optimizer = lib.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        loss = lib.nn.functional.cross_entropy(net(lib.tensor(x)), lib.tensor(labels))
        loss.backward()
        grads = {key: p.grad.numpy() for key, p in net.named_parameters()}
        optimizer.step()
        state = {key: value.detach().numpy() for key, value in net.state_dict().items()}
        results.append((loss.item(), grads, state))
    (loss, grads, state), (our_loss, our_grads, our_state) = results
    assert our_loss == pytest.approx(loss, rel=1e-10)
    for key, wanted in grads.items():
        np.testing.assert_allclose(our_grads[key], wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max() + 1e-12, err_msg=key)
    for key, wanted in state.items():
        np.testing.assert_allclose(our_state[key], wanted, rtol=1e-8, atol=1e-10, err_msg=key)
