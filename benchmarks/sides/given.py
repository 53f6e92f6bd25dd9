"""What every side is given: the same weights and the same batch, as NumPy arrays."""

import numpy as np

LR, MOMENTUM = 0.001, 0.9
SHAPES = {
    "cifar": {
        "conv1.weight": (32, 3, 3, 3), "conv1.bias": (32,), "conv2.weight": (64, 32, 3, 3), "conv2.bias": (64,),
        "fc1.weight": (512, 4096), "fc1.bias": (512,), "fc2.weight": (10, 512), "fc2.bias": (10,),
    },
    "mlp": {
        "0.weight": (16, 2), "0.bias": (16,), "2.weight": (16, 16), "2.bias": (16,), "4.weight": (1, 16), "4.bias": (1,),
    },
}  # fmt: skip


def weights(shapes):
    """For parameters of these shapes, by name: normal, with the standard deviation that keeps a signal's size; biases zero."""
    rng = np.random.default_rng(0)
    given = {}
    for name, shape in sorted(shapes.items()):
        drawn = rng.normal(size=shape) / np.sqrt(max(1, int(np.prod(shape[1:]))))
        given[name] = (0 * drawn if name.endswith("bias") else drawn).astype(np.float32)
    return given


def batch(model, size):
    """Inputs and targets: pictures and classes, or points and heights."""
    rng = np.random.default_rng(1)
    if model == "mlp":
        return rng.normal(size=(size, 2)).astype(np.float32), rng.normal(size=(size, 1)).astype(np.float32)
    return rng.normal(size=(size, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, size)


def channels_innermost(given, x):
    """Weights of the CIFAR network and its batch for engines that want (N, H, W, C) and kernels (K, L, C, F)."""
    turned = {name: w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for name, w in given.items()}
    turned["fc1.weight"] = given["fc1.weight"].reshape(512, 64, 8, 8).transpose(0, 2, 3, 1).reshape(512, 4096)
    return {name: np.ascontiguousarray(w) for name, w in turned.items()}, np.ascontiguousarray(x.transpose(0, 2, 3, 1))


class Momentum:
    """SGD with momentum on NumPy arrays, in place: for engines that have none."""

    def __init__(self, arrays):
        self.arrays = list(arrays)
        self.velocities = [np.zeros_like(a) for a in self.arrays]

    def step(self, grads):
        for array, velocity, grad in zip(self.arrays, self.velocities, grads):
            velocity *= MOMENTUM
            velocity += grad
            array -= LR * velocity
