"""autograd (HIPS): convolution and pooling as in its examples/convnet.py, SGD with momentum by hand."""

import autograd.numpy as np
from autograd import value_and_grad
from autograd.scipy.signal import convolve

from . import given


def pool(x):
    n, c, h, w = x.shape
    return np.max(np.max(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=3), axis=4)


def relu(x):
    return np.maximum(0, x)


def cifar(w, x, y):
    for name in ("conv1", "conv2"):
        x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], "constant")
        x = convolve(x, w[name + ".weight"], axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid")
        x = pool(relu(x + w[name + ".bias"].reshape(1, -1, 1, 1)))
    x = relu(x.reshape(len(x), -1) @ w["fc1.weight"].T + w["fc1.bias"])
    x = x @ w["fc2.weight"].T + w["fc2.bias"]
    x = x - np.max(x, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[np.arange(len(y)), y])


def mlp(w, x, y):
    x = np.tanh(x @ w["0.weight"].T + w["0.bias"])
    x = np.tanh(x @ w["2.weight"].T + w["2.bias"])
    return np.mean((x @ w["4.weight"].T + w["4.bias"] - y) ** 2)


class Case:
    def __init__(self, model, batch, train=True):
        self.loss = value_and_grad({"cifar": cifar, "mlp": mlp}[model])
        self.batch = given.batch(model, batch)
        self.weights = given.weights(given.SHAPES[model])
        for name, w in self.weights.items():
            if w.ndim == 4:  # its convolution turns the kernel over, as in mathematics
                self.weights[name] = w[:, :, ::-1, ::-1].copy()
        self.optimizer = given.Momentum(self.weights.values())

    def step(self):
        loss, grads = self.loss(self.weights, *self.batch)
        self.optimizer.step(grads.values())
        return loss
