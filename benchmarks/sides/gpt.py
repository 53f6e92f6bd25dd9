"""The GPT of examples/gpt.py in minidl and in PyTorch: the same class, with one word for the other; training and writing.

Each is made from the name of a library; ``step()`` does it once and returns a number that tells what was computed.
"""

import importlib
import math
from pathlib import Path

import numpy as np

from . import given

VOCABULARY, LENGTH, WRITTEN = 96, 128, 256
SOURCE = Path(__file__).resolve().parent.parent.parent / "examples" / "gpt.py"


class Joined:
    """A cache for PyTorch, which has none: what is new is joined to what there is. (Memory set aside, as in minidl's KVCache,
    is no quicker there.)
    """

    def __init__(self, max_len):
        self.length, self.kept = 0, None

    def extend(self, key, value):
        """The keys and values of all tokens."""
        import torch

        new = key, value
        self.kept = new if self.kept is None else tuple(torch.cat(pair, 2) for pair in zip(self.kept, new))
        self.length = self.kept[0].shape[2]
        return self.kept


class _Nn:
    """``torch.nn``, and a KVCache."""

    KVCache = Joined

    def __getattr__(self, name):
        return getattr(importlib.import_module("torch").nn, name)


def example(library):
    """What examples/gpt.py defines of the network and of writing, for ``"minidl"`` or ``"torch"``."""
    source = SOURCE.read_text(encoding="utf-8")
    source = source[source.index("class Attention") : source.index("def loss_of")].replace("minidl", library)
    lib = importlib.import_module(library)
    names = {"math": math, library: lib, "F": lib.nn.functional, "nn": lib.nn if library == "minidl" else _Nn()}
    exec(compile(source, str(SOURCE), "exec"), names)
    return names


def network(library, length):
    """4 layers, 128 features, 4 heads; the same weights for all."""
    lib, names = importlib.import_module(library), example(library)
    net = names["GPT"](VOCABULARY, length)
    weights = given.weights({name: tuple(p.shape) for name, p in net.named_parameters()})
    for name, p in net.named_parameters():
        w = weights[name]
        p.data = lib.from_numpy(1 + 0 * w if w.ndim == 1 and name.endswith("weight") else w / 4)  # norms start at 1
    return net, names["write"]


class Training:
    """A training step on ``batch`` sequences of 128 tokens, with AdamW."""

    def __init__(self, library, batch=16):
        self.lib = lib = importlib.import_module(library)
        self.net, _ = network(library, LENGTH)
        tokens = np.random.default_rng(1).integers(0, VOCABULARY, (batch, LENGTH + 1))
        self.x, self.y = (lib.from_numpy(np.ascontiguousarray(part)) for part in (tokens[:, :-1], tokens[:, 1:]))
        self.optimizer = lib.optim.AdamW(self.net.parameters(), lr=1e-3)

    def step(self):
        """The loss."""
        self.optimizer.zero_grad()
        loss = self.lib.nn.functional.cross_entropy(self.net(self.x).flatten(0, 1), self.y.flatten())
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Writing:
    """256 tokens after ``batch`` beginnings of one token, each computed from the caches of those before: the likeliest."""

    def __init__(self, library, batch=1):
        lib = importlib.import_module(library)
        net, write = network(library, WRITTEN + 1)
        start = lib.from_numpy(np.arange(batch).reshape(batch, 1))
        self.write = lambda: write(net, start, WRITTEN, temperature=0)

    def step(self):
        """A number that depends on all tokens and their places."""
        tokens = self.write().numpy()
        return float((tokens * np.sqrt(np.arange(1, tokens.shape[1] + 1))).mean())
