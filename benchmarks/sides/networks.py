"""The networks, for every library with PyTorch's names: ``lib`` is ``minidl`` or ``torch``."""


def cifar_network(lib):
    """Two convolutions and two linear layers: the network of the CIFAR-10 example."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
            self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
            self.fc1 = nn.Linear(4096, 512)
            self.fc2 = nn.Linear(512, 10)

        def forward(self, x):
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv2(x)), 2)
            x = nn.functional.relu(self.fc1(lib.flatten(x, 1)))
            return self.fc2(x)

    return Net()


def resnet20(lib):
    """He et al., Deep Residual Learning, 2016, for 32 x 32 pictures: three stages of three blocks, 16, 32 and 64 channels."""
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self, c_in, c_out, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(c_out)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(c_out)
            self.short = nn.Identity()
            if stride != 1 or c_in != c_out:
                self.short = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

        def forward(self, x):
            out = nn.functional.relu(self.norm1(self.conv1(x)))
            return nn.functional.relu(self.norm2(self.conv2(out)) + self.short(x))

    blocks = [Block(16, 16, 1) for _ in range(3)]
    for c in (32, 64):
        blocks += [Block(c // 2, c, 2), Block(c, c, 1), Block(c, c, 1)]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def tiny_mlp(lib):
    """2-16-16-1 with tanh: nothing but overhead."""
    nn = lib.nn
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
