"""Chainer 7: its own links, functions and MomentumSGD, with its type checks off. It wants a NumPy below 2."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

from . import given

chainer.config.type_check = False


class Net(chainer.Chain):
    def __init__(self, w):
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(3, 32, 3, pad=1, initialW=w["conv1.weight"], initial_bias=w["conv1.bias"])
            self.conv2 = L.Convolution2D(32, 64, 3, pad=1, initialW=w["conv2.weight"], initial_bias=w["conv2.bias"])
            self.fc1 = L.Linear(4096, 512, initialW=w["fc1.weight"], initial_bias=w["fc1.bias"])
            self.fc2 = L.Linear(512, 10, initialW=w["fc2.weight"], initial_bias=w["fc2.bias"])

    def forward(self, x):
        x = F.max_pooling_2d(F.relu(self.conv1(x)), 2)
        x = F.max_pooling_2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x)))


class Mlp(chainer.Chain):
    def __init__(self, w):
        super().__init__()
        with self.init_scope():
            self.l0 = L.Linear(2, 16, initialW=w["0.weight"], initial_bias=w["0.bias"])
            self.l2 = L.Linear(16, 16, initialW=w["2.weight"], initial_bias=w["2.bias"])
            self.l4 = L.Linear(16, 1, initialW=w["4.weight"], initial_bias=w["4.bias"])

    def forward(self, x):
        return self.l4(F.tanh(self.l2(F.tanh(self.l0(x)))))


class Case:
    def __init__(self, model, batch, train=True):
        self.net = {"cifar": Net, "mlp": Mlp}[model](given.weights(given.SHAPES[model]))
        self.x, self.y = given.batch(model, batch)
        if model == "cifar":
            self.y = self.y.astype(np.int32)
        self.criterion = F.mean_squared_error if model == "mlp" else F.softmax_cross_entropy
        self.optimizer = chainer.optimizers.MomentumSGD(given.LR, given.MOMENTUM).setup(self.net)

    def step(self):
        self.net.cleargrads()
        loss = self.criterion(self.net(self.x), self.y)
        loss.backward()
        self.optimizer.update()
        return loss.array
