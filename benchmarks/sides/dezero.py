"""DeZero (K. Saito, Deep Learning from Scratch 3): its own layers, functions and MomentumSGD.

It uses ``np.int``, which NumPy has dropped; given that name back, it runs on NumPy 2.
"""

import numpy as np

np.int = int

import dezero
import dezero.functions as F
import dezero.layers as L

from . import given


class Net(dezero.Model):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = L.Conv2d(32, 3, pad=1), L.Conv2d(64, 3, pad=1)
        self.fc1, self.fc2 = L.Linear(512), L.Linear(10)

    def forward(self, x):
        x = F.pooling(F.relu(self.conv1(x)), 2, 2)
        x = F.pooling(F.relu(self.conv2(x)), 2, 2)
        return self.fc2(F.relu(self.fc1(F.flatten(x))))


class Mlp(dezero.Model):
    def __init__(self):
        super().__init__()
        self.l0, self.l2, self.l4 = L.Linear(16), L.Linear(16), L.Linear(1)

    def forward(self, x):
        return self.l4(F.tanh(self.l2(F.tanh(self.l0(x)))))


class Case:
    def __init__(self, model, batch, train=True):
        self.net = {"cifar": Net, "mlp": Mlp}[model]()
        self.criterion = F.mean_squared_error if model == "mlp" else F.softmax_cross_entropy
        for name, w in given.weights(given.SHAPES[model]).items():
            layer, _, what = name.partition(".")
            layer = getattr(self.net, layer if model == "cifar" else "l" + layer)
            if what == "bias":
                layer.b.data = w
            else:
                layer.W.data = w.T.copy() if w.ndim == 2 else w
        self.x, self.y = given.batch(model, batch)
        self.optimizer = dezero.optimizers.MomentumSGD(given.LR, given.MOMENTUM).setup(self.net)

    def step(self):
        loss = self.criterion(self.net(self.x), self.y)
        self.net.cleargrads()
        loss.backward()
        self.optimizer.update()
        return loss.data
