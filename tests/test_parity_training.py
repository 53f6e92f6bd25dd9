"""The same weights and the same batches as PyTorch give the same losses, step after step."""

import numpy as np
import pytest

import minidl

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


def compare(make, optimizer, shape, n_classes, dtype):
    torch.manual_seed(0)
    weights = {name: w.numpy() for name, w in make(torch).state_dict().items()}
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, (STEPS, shape[0]))
    centres = rng.normal(size=(n_classes, *shape[1:]))
    batches = [((centres[labels] + rng.normal(size=shape)).astype(dtype), labels) for labels in y]
    ours = losses(minidl, make, optimizer, weights, batches, dtype)
    theirs = losses(torch, make, optimizer, weights, batches, dtype)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 1e-3)
    assert theirs[-20:].mean() < 0.9 * theirs[:20].mean()  # it did learn something


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_cnn_with_momentum(dtype):
    compare(cnn, lambda lib, p: lib.optim.SGD(p, lr=0.001, momentum=0.9), (8, 3, 32, 32), 10, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_mlp_with_adam(dtype):
    compare(mlp, lambda lib, p: lib.optim.Adam(p, lr=0.001), (16, 20), 5, dtype)
