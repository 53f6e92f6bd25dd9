"""Layers by themselves, at the sizes they have in a ResNet, written once for minidl and PyTorch.

``lib`` is the library. Each entry makes a layer, and says the shape of what comes in. The weights and the input are the same on
every side, and so is the gradient that comes back.
"""

import importlib

import numpy as np


def _loss(lib, shape, dim=1):
    """Cross-entropy as a layer: scores in, each picture's (or pixel's) loss out."""
    n_classes = shape[dim]
    target = np.random.default_rng(2).integers(0, n_classes, (shape[0], *shape[2:]))
    target = lib.from_numpy(target)
    return lambda x: lib.nn.functional.cross_entropy(x, target, reduction="none")


# title -> (shape of the input, what makes the layer)
LAYERS = {
    "convolution 3 x 3, 64 to 64 channels": ((32, 64, 56, 56), lambda lib: lib.nn.Conv2d(64, 64, 3, padding=1)),
    "depthwise convolution 3 x 3, 64 channels": ((32, 64, 56, 56), lambda lib: lib.nn.Conv2d(64, 64, 3, padding=1, groups=64)),
    "depthwise convolution 3 x 3, 256 channels": (
        (32, 256, 14, 14),
        lambda lib: lib.nn.Conv2d(256, 256, 3, padding=1, groups=256),
    ),
    "convolution 3 x 3, 128 channels in 32 groups": (
        (32, 128, 28, 28),
        lambda lib: lib.nn.Conv2d(128, 128, 3, padding=1, groups=32),
    ),
    "convolution 3 x 3, 128 channels in 4 groups": (
        (32, 128, 28, 28),
        lambda lib: lib.nn.Conv2d(128, 128, 3, padding=1, groups=4),
    ),
    "transposed convolution 4 x 4, stride 2": (
        (32, 64, 28, 28),
        lambda lib: lib.nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
    ),
    "transposed convolution 2 x 2, stride 2": ((32, 64, 28, 28), lambda lib: lib.nn.ConvTranspose2d(64, 32, 2, stride=2)),
    "convolution in one dimension, 5 taps": ((64, 64, 512), lambda lib: lib.nn.Conv1d(64, 64, 5, padding=2)),
    "max-pooling 3 x 3, stride 2": ((32, 64, 112, 112), lambda lib: lib.nn.MaxPool2d(3, 2, 1)),
    "mean-pooling 2 x 2": ((32, 64, 56, 56), lambda lib: lib.nn.AvgPool2d(2)),
    "batch norm": ((32, 64, 56, 56), lambda lib: lib.nn.BatchNorm2d(64)),
    "group norm, 32 groups": ((32, 64, 56, 56), lambda lib: lib.nn.GroupNorm(32, 64)),
    "instance norm": ((32, 64, 56, 56), lambda lib: lib.nn.InstanceNorm2d(64, affine=True)),
    "layer norm of rows": ((64, 128, 512), lambda lib: lib.nn.LayerNorm(512)),
    "layer norm of pictures": ((32, 64, 56, 56), lambda lib: lib.nn.LayerNorm((64, 56, 56))),
    "RMS norm of rows": ((64, 128, 512), lambda lib: lib.nn.RMSNorm(512)),
    "interpolation, nearest, twice the size": ((32, 64, 28, 28), lambda lib: lib.nn.Upsample(scale_factor=2)),
    "interpolation, bilinear, twice the size": (
        (32, 64, 28, 28),
        lambda lib: lib.nn.Upsample(scale_factor=2, mode="bilinear"),
    ),
    "softmax": ((8192, 1000), lambda lib: lib.nn.Softmax(1)),
    "softmax of pixels": ((32, 21, 112, 112), lambda lib: lib.nn.Softmax(1)),
    "cross-entropy": ((8192, 1000), lambda lib: _loss(lib, (8192, 1000))),
    "cross-entropy of pixels": ((32, 21, 112, 112), lambda lib: _loss(lib, (32, 21, 112, 112))),
    "GELU": ((32, 64, 56, 56), lambda lib: lib.nn.GELU()),
    "SiLU": ((32, 64, 56, 56), lambda lib: lib.nn.SiLU()),
}  # fmt: skip


def _kept(lib, array, channels_last):
    """A tensor in the memory order that a layer within a network finds: each library's own, for pictures."""
    x = lib.from_numpy(array)
    if array.ndim != 4:
        return x
    if lib.__name__ == "minidl":
        return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)  # the batch innermost
    return x.contiguous(memory_format=lib.channels_last) if channels_last else x


class Layer:
    """A layer with its input, and the gradient that comes back to it."""

    def __init__(self, model, train=True, threads=None, small=False, *, library, channels_last=False, compiled=False):
        self.lib = lib = importlib.import_module(library)
        if compiled:
            raise NotImplementedError("a layer by itself is not compiled")
        if threads:
            lib.set_num_threads(threads)
        rng = np.random.default_rng(0)
        shape, make = LAYERS[model]
        if small:
            shape = (2, *shape[1:])
            make = make if not model.startswith("cross-entropy") else lambda lib: _loss(lib, shape)
        self.layer, self.train = make(lib), train
        parameters = list(self.layer.parameters()) if isinstance(self.layer, lib.nn.Module) else []
        for p in parameters:
            p.data = lib.from_numpy(rng.normal(size=tuple(p.shape)).astype(np.float32))
        if channels_last and parameters:
            self.layer.to(memory_format=lib.channels_last)
        self.x = _kept(lib, rng.normal(size=shape).astype(np.float32), channels_last).requires_grad_(train)
        self.leaves = [self.x, *parameters]
        with lib.no_grad():
            out = tuple(self.layer(self.x).shape)
        self.gradient = _kept(lib, rng.normal(size=out).astype(np.float32), channels_last)

    def step(self):
        """Forward, and backward where that is asked for; the output."""
        if not self.train:
            with self.lib.no_grad():
                return self.layer(self.x)
        for leaf in self.leaves:
            leaf.grad = None
        out = self.layer(self.x)
        out.backward(self.gradient)
        return out

    def proof(self):
        """Numbers that another side must find as well, of the output and of every gradient: its size, and some elements of it
        in that unit.
        """
        out, found = self.step(), []
        for t in (out, *(leaf.grad for leaf in self.leaves if self.train)):
            array = t.detach().numpy()
            some = array.reshape(-1)[np.random.default_rng(3).integers(0, array.size, 16)]
            size = float(np.abs(array).mean())
            found += [size, *(some / size).tolist()]
        return found
