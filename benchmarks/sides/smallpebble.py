"""SmallPebble: its own convolution and pooling, channels innermost. It has no tanh, which is made of exp, and no momentum."""

import numpy as np
import smallpebble as sp

from . import given


def relu(x):
    return sp.leaky_relu(x, 0)


def tanh(x):
    one, two = sp.Variable(np.float32(1)), sp.Variable(np.float32(2))
    return sp.sub(one, sp.div(two, sp.add(sp.exp(sp.mul(two, x)), one)))


def cifar(w, x):
    for name in ("conv1", "conv2"):
        x = relu(sp.add(sp.conv2d(x, w[name + ".weight"]), w[name + ".bias"]))
        x = sp.maxpool2d(x, 2, 2, strides=[2, 2])
    x = relu(sp.add(sp.matmul(sp.reshape(x, (x.shape[0], 4096)), w["fc1.weight"]), w["fc1.bias"]))
    return sp.add(sp.matmul(x, w["fc2.weight"]), w["fc2.bias"])


def mlp(w, x):
    x = tanh(sp.add(sp.matmul(x, w["0.weight"]), w["0.bias"]))
    x = tanh(sp.add(sp.matmul(x, w["2.weight"]), w["2.bias"]))
    return sp.add(sp.matmul(x, w["4.weight"]), w["4.bias"])


def cross_entropy(output, y):
    return sp.cross_entropy(sp.softmax(output), y)


def squared_error(output, y):
    return sp.sum(sp.square(sp.sub(output, sp.Variable(y))))


class Case:
    def __init__(self, model, batch, train=True):
        weights = given.weights(given.SHAPES[model])
        x, self.y = given.batch(model, batch)
        self.model, self.criterion = {"cifar": (cifar, cross_entropy), "mlp": (mlp, squared_error)}[model]
        if model == "cifar":
            weights, x = given.channels_innermost(weights, x)
        self.x, self.share = sp.Variable(x), sp.Variable(np.float32(1 / batch))
        self.weights = {n: sp.Variable(w.T.copy() if w.ndim == 2 else w) for n, w in weights.items()}
        self.optimizer = given.Momentum(w.array for w in self.weights.values())

    def step(self):
        loss = sp.mul(self.criterion(self.model(self.weights, self.x), self.y), self.share)
        grads = sp.get_gradients(loss)
        self.optimizer.step(grads[w] for w in self.weights.values())
        return loss.array
