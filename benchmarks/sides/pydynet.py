"""PyDyNet: its own modules and its SGD with momentum."""

import warnings

warnings.filterwarnings("ignore", "Cupy is not installed")

import pydynet
from pydynet import nn
from pydynet.nn import functional as F
from pydynet.optim import SGD

from . import given


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(4096, 512), nn.Linear(512, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2, 2)
        return self.fc2(F.relu(self.fc1(x.reshape(x.shape[0], -1))))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.l0, self.l2, self.l4 = nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 1)

    def forward(self, x):
        return self.l4(F.tanh(self.l2(F.tanh(self.l0(x)))))


class Case:
    def __init__(self, model, batch, train=True):
        self.net = {"cifar": Net, "mlp": Mlp}[model]()
        for name, w in given.weights(given.SHAPES[model]).items():
            layer, _, what = name.partition(".")
            p = getattr(getattr(self.net, layer if model == "cifar" else "l" + layer), what)
            p.data = (w.T.copy() if w.ndim == 2 else w.reshape(p.shape)).astype("float32")
            p.grad = 0 * p.data
        x, y = given.batch(model, batch)
        self.x, self.y = pydynet.Tensor(x), pydynet.Tensor(y) if model == "mlp" else y
        self.criterion = nn.MSELoss() if model == "mlp" else nn.CrossEntropyLoss()
        self.optimizer = SGD(self.net.parameters(), given.LR, given.MOMENTUM, nesterov=False)

    def step(self):
        loss = self.criterion(self.net(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.data
