"""JAX on the CPU: the whole step, momentum included, in one jit that may write over its weights; channels innermost."""

from functools import partial

import jax
import jax.numpy as jnp

from . import given


def conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def cifar(w, x, y):
    for name in ("conv1", "conv2"):
        x = pool(jax.nn.relu(conv(x, w[name + ".weight"]) + w[name + ".bias"]))
    x = jax.nn.relu(x.reshape(len(x), -1) @ w["fc1.weight"].T + w["fc1.bias"])
    x = jax.nn.log_softmax(x @ w["fc2.weight"].T + w["fc2.bias"])
    return -x[jnp.arange(len(y)), y].mean()


def mlp(w, x, y):
    x = jnp.tanh(x @ w["0.weight"].T + w["0.bias"])
    x = jnp.tanh(x @ w["2.weight"].T + w["2.bias"])
    return ((x @ w["4.weight"].T + w["4.bias"] - y) ** 2).mean()


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def train(model, weights, velocities, x, y):
    loss, grads = jax.value_and_grad(model)(weights, x, y)
    velocities = jax.tree.map(lambda v, g: given.MOMENTUM * v + g, velocities, grads)
    weights = jax.tree.map(lambda w, v: w - given.LR * v, weights, velocities)
    return loss, weights, velocities


class Case:
    def __init__(self, model, batch, train=True):
        weights, (x, y) = given.weights(given.SHAPES[model]), given.batch(model, batch)
        if model == "cifar":
            weights, x = given.channels_innermost(weights, x)
        self.model = {"cifar": cifar, "mlp": mlp}[model]
        self.batch = jnp.asarray(x), jnp.asarray(y)
        self.weights = {name: jnp.asarray(w) for name, w in weights.items()}
        self.velocities = {name: jnp.zeros_like(w) for name, w in self.weights.items()}

    def step(self):
        loss, self.weights, self.velocities = train(self.model, self.weights, self.velocities, *self.batch)
        jax.block_until_ready(self.weights)
        return loss
