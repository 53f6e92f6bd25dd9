"""Networks on sequences, written once for minidl and PyTorch.

``lib`` is the library. Each entry of `CASES` makes a network and its batch, with the same numbers on every side, and returns a
step: a function without arguments that trains or computes once, and returns a number that must be the same on every side.
"""

import importlib

import numpy as np

from . import gpt


def fill(lib, module):
    """Set the weights of a module to numbers that are the same on every side; as large as PyTorch draws those of an LSTM."""
    rng = np.random.default_rng(0)
    for p in module.parameters():
        bound = 1 / np.sqrt(p.shape[-1])
        p.data = lib.from_numpy(rng.uniform(-bound, bound, tuple(p.shape)).astype(np.float32))
    return module


def numbers(lib, *shape):
    return lib.from_numpy(np.random.default_rng(1).normal(size=shape).astype(np.float32))


def integers(lib, below, *shape):
    return lib.from_numpy(np.random.default_rng(2).integers(0, below, shape))


def training(lib, module, optimizer, loss_of):
    """A step of gradient descent; the loss."""

    def step():
        optimizer.zero_grad()
        loss = loss_of(module)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def forward(lib, function):
    """A pass without gradients; how large what it returns is on the whole."""

    def step():
        with lib.no_grad():
            out = function()
        return float(abs(out.numpy()).mean())

    return step


def recurrent(kind, inputs, hidden, steps, batch, train):
    """A recurrent layer; to train, with a linear layer on its last state that tells ten classes."""

    def make(lib, small):
        n = 2 if small else batch
        layer, x = fill(lib, getattr(lib.nn, kind)(inputs, hidden)), numbers(lib, steps, n, inputs)
        if not train:
            return forward(lib, lambda: layer(x)[0])
        head, target = fill(lib, lib.nn.Linear(hidden, 10)), integers(lib, 10, n)
        net = lib.nn.ModuleList([layer, head])
        cross_entropy = lib.nn.functional.cross_entropy
        return training(
            lib, net, lib.optim.SGD(net.parameters(), lr=0.01), lambda net: cross_entropy(net[1](net[0](x)[0][-1]), target)
        )

    return make


def characters(train):
    """The network of examples/char_rnn.py: training on 32 sequences of 128 characters, or writing as many, one at a time."""

    def make(lib, small):
        nn, n, steps, width, vocabulary = lib.nn, 2 if small else 32, 8 if small else 128, 256, 96
        table, layer, head = (
            nn.Embedding(vocabulary, width),
            nn.LSTM(width, width, batch_first=True),
            nn.Linear(width, vocabulary),
        )
        net = fill(lib, nn.ModuleList([table, layer, head]))
        if train:
            tokens, target = integers(lib, vocabulary, n, steps), integers(lib, vocabulary, n * steps)

            def loss_of(net):
                return nn.functional.cross_entropy(head(layer(table(tokens))[0]).flatten(0, 1), target)

            return training(lib, net, lib.optim.Adam(net.parameters(), lr=1e-3), loss_of)

        def write():
            token, state = integers(lib, vocabulary, 1, 1), None
            for _ in range(steps):
                out, state = layer(table(token), state)
                scores = head(out[:, -1])
                token = scores.argmax(-1, keepdim=True)
            return scores

        return forward(lib, write)

    return make


def alone(make, *shape):
    """A module by itself, forward and backward; a number that some of the output and of the gradient make."""

    def case(lib, small):
        module, x = make(lib), numbers(lib, *((2,) if small else shape[:1]), *shape[1:])
        gradient = lib.from_numpy(np.random.default_rng(3).normal(size=tuple(x.shape)).astype(np.float32))
        x.requires_grad_(True)

        def step():
            x.grad = None
            out = module(x)
            out.backward(gradient)
            return sum(float(abs(t.detach()[0].numpy()).sum()) for t in (out, x.grad))

        return step

    return case


def adam(lib, small):
    """Adam by itself, on the parameters of the GPT, which keep the gradients that they have."""
    net, _ = gpt.network(lib.__name__, gpt.LENGTH)
    parameters = list(net.parameters())
    for p in parameters:
        p.grad = p.detach().clone()
    optimizer = lib.optim.Adam(parameters, lr=1e-3)

    def step():
        optimizer.step()
        return float(abs(parameters[0].detach().numpy()).mean())

    return step


def a_gpt_trains(lib, small):
    case = gpt.Training(lib.__name__, 1 if small else 16)
    return lambda: case.step().item()


# title -> what makes the step
CASES = {}
for kind in ("LSTM", "GRU", "RNN"):
    for train in (True, False):
        title = f"{kind} 28 to 128, 28 steps, batch 100, {'training' if train else 'forward'}"
        CASES[title] = recurrent(kind, 28, 128, 28, 100, train)
CASES |= {
    "LSTM 28 to 128, 28 steps, batch 32, training": recurrent("LSTM", 28, 128, 28, 32, True),
    "LSTM 28 to 128, 28 steps, batch 1, training": recurrent("LSTM", 28, 128, 28, 1, True),
    "LSTM 512 to 512, 28 steps, batch 32, training": recurrent("LSTM", 512, 512, 28, 32, True),
    "LSTM on characters, 128 steps, batch 32, training": characters(train=True),
    "LSTM on characters, 128 written": characters(train=False),
    "GPT, 4 layers, width 128, 4 heads, 16 x 128 tokens, training": a_gpt_trains,
    "GPT, 256 tokens written with the cache": lambda lib, small: gpt.Writing(lib.__name__).step,
    "layer norm, 16 x 128 x 128, forward and backward": alone(lambda lib: lib.nn.LayerNorm(128), 16, 128, 128),
    "softmax, 64 x 128 x 128, forward and backward": alone(lambda lib: lib.nn.Softmax(-1), 64, 128, 128),
    "GELU, 16 x 128 x 512, forward and backward": alone(lambda lib: lib.nn.GELU(approximate="tanh"), 16, 128, 512),
    "Adam, the parameters of that GPT": adam,
}


class Case:
    """One of `CASES`, by its title, as a side runs it."""

    def __init__(self, library, model, small=False, threads=None, channels_last=False, compiled=False):
        lib = importlib.import_module(library)
        if channels_last or compiled:
            raise ValueError("sequences have no channels, and run as they are written")
        if threads:
            lib.set_num_threads(threads)
        self.step = CASES[model](lib, small)

    def proof(self):
        """What four steps return."""
        return [self.step() for _ in range(4)]
