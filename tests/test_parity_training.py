"""The same weights and the same batches as PyTorch give the same losses, step after step."""

import itertools

import numpy as np
import pytest

import minidl
from minidl.vision.datasets import Shapes

torch = pytest.importorskip("torch")

STEPS = 200
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def cnn(lib):
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
            return self.fc2(nn.functional.relu(self.fc1(x.view(-1, 4096))))

    return Net()


def mlp(lib):
    nn = lib.nn
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 5))


def losses(lib, make, optimizer, weights, batches, dtype):
    """The loss before each step."""
    net = make(lib)
    net.load_state_dict({name: lib.from_numpy(w.copy()) for name, w in weights.items()})
    net = net.to(getattr(lib, dtype))
    descent, criterion, seen = optimizer(lib, net.parameters()), lib.nn.CrossEntropyLoss(), []
    for x, y in batches:
        descent.zero_grad()
        loss = criterion(net(lib.from_numpy(x)), lib.from_numpy(y))
        loss.backward()
        descent.step()
        seen.append(loss.item())
    return np.array(seen)


def compare(make, optimizer, batches, dtype):
    torch.manual_seed(0)
    weights = {name: w.numpy() for name, w in make(torch).state_dict().items()}
    batches = [(x.astype(dtype), y) for x, y in batches]
    ours = losses(minidl, make, optimizer, weights, batches, dtype)
    theirs = losses(torch, make, optimizer, weights, batches, dtype)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype])
    if len(batches) == STEPS:
        assert theirs[-20:].mean() < theirs[:20].mean()  # it did learn something


def pictures():
    """Batches of 32 of the embedded pictures. With a few pictures of pure noise a single change of a maximum, made by rounding,
    moves the loss: then float32 strays from float64 in either library."""
    data = Shapes(train=True, size=2000)
    rng = np.random.default_rng(0)
    for chosen in rng.integers(0, len(data), (STEPS, 32)):
        yield data.data[chosen].transpose(0, 3, 1, 2) / 127.5 - 1, np.array(data.targets)[chosen]


def points():
    """Batches of 16 points around five centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 20))
    for labels in rng.integers(0, 5, (STEPS, 16)):
        yield centres[labels] + rng.normal(size=(16, 20)), labels


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cnn_with_momentum(dtype, request):
    steps = 2 if "stand-in" in (request.config.on_gpu or "") else STEPS  # emulated, one takes many seconds
    compare(cnn, lambda lib, p: lib.optim.SGD(p, lr=0.001, momentum=0.9), itertools.islice(pictures(), steps), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_mlp_with_adam(dtype):
    compare(mlp, lambda lib, p: lib.optim.Adam(p, lr=0.001), points(), dtype)
