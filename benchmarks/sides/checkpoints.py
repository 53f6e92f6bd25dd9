"""For PyTorch, which has none: what the examples ask of `minidl.Checkpoints`. Only the newest is kept."""

import torch


class Checkpoints:
    """A file of PyTorch's."""

    def __init__(self, path, keep=1):
        self.path = path

    def save(self, state):
        torch.save(state, self.path)

    def load(self, map_location=None):
        return torch.load(self.path, map_location=map_location)
