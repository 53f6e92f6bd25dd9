"""MyGrad: its own convolution, pooling and losses, with its memory guard off, as it advises for speed. It has no optimisers."""

import mygrad
from mygrad.nnet.activations import relu, tanh
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from . import given

mygrad.turn_memory_guarding_off()


def cifar(w, x):
    for name in ("conv1", "conv2"):
        x = relu(conv_nd(x, w[name + ".weight"], stride=1, padding=1) + w[name + ".bias"].reshape(1, -1, 1, 1))
        x = max_pool(x, (2, 2), 2)
    x = relu(x.reshape(len(x), -1) @ w["fc1.weight"].T + w["fc1.bias"])
    return x @ w["fc2.weight"].T + w["fc2.bias"]


def mlp(w, x):
    x = tanh(x @ w["0.weight"].T + w["0.bias"])
    x = tanh(x @ w["2.weight"].T + w["2.bias"])
    return x @ w["4.weight"].T + w["4.bias"]


def squared_error(output, y):
    return mygrad.mean(mygrad.square(output - y))


class Case:
    def __init__(self, model, batch, train=True):
        self.model = {"cifar": cifar, "mlp": mlp}[model]
        self.criterion = squared_error if model == "mlp" else softmax_crossentropy
        self.x, self.y = given.batch(model, batch)
        self.weights = {name: mygrad.tensor(w) for name, w in given.weights(given.SHAPES[model]).items()}
        self.optimizer = given.Momentum(w.data for w in self.weights.values())

    def step(self):
        loss = self.criterion(self.model(self.weights, self.x), self.y)
        loss.backward()
        self.optimizer.step(w.grad for w in self.weights.values())
        return loss.data
