"""numpygrad: its own convolution and losses. It has no pooling, which is a maximum over pairs of axes, and no momentum."""

import numpygrad
from numpygrad.nn import cross_entropy_loss, mse

from . import given


def pool(x):
    n, c, h, w = x.shape
    return numpygrad.reshape(x, (n, c, h // 2, 2, w // 2, 2)).max(axis=(3, 5))


def cifar(w, x):
    for name in ("conv1", "conv2"):
        x = pool(numpygrad.relu(numpygrad.conv2d(x, w[name + ".weight"], w[name + ".bias"], 1, 1)))
    x = numpygrad.relu(numpygrad.reshape(x, (x.shape[0], -1)) @ w["fc1.weight"] + w["fc1.bias"])
    return x @ w["fc2.weight"] + w["fc2.bias"]


def mlp(w, x):
    x = numpygrad.tanh(x @ w["0.weight"] + w["0.bias"])
    x = numpygrad.tanh(x @ w["2.weight"] + w["2.bias"])
    return x @ w["4.weight"] + w["4.bias"]


class Case:
    def __init__(self, model, batch, train=True):
        self.model = {"cifar": cifar, "mlp": mlp}[model]
        self.criterion = mse if model == "mlp" else cross_entropy_loss
        self.x, self.y = map(numpygrad.array, given.batch(model, batch))
        arrays = {n: w.T.copy() if w.ndim == 2 else w for n, w in given.weights(given.SHAPES[model]).items()}
        self.weights = {n: numpygrad.array(w, requires_grad=True) for n, w in arrays.items()}
        self.optimizer = given.Momentum(w.data for w in self.weights.values())
        self.zero = numpygrad.optim.Optimizer(list(self.weights.values()))

    def step(self):
        self.zero.zero_grad()
        loss = self.criterion(self.model(self.weights, self.x), self.y)
        loss.backward()
        self.optimizer.step(w.grad for w in self.weights.values())
        return loss.data
