"""A bug: the layer with a short memory.

A layer is used twice: once for each of two pictures that are to be compared. "It learns, but only
from one of them", says its author.
"""

import numpy as np


class Linear:
    """x @ weight, which may be called several times before the way back. Each call keeps its input for its own `backward`."""

    def __init__(self, weight):
        self.weight = weight
        self.grad = np.zeros_like(weight)
        self.inputs = []

    def forward(self, x):
        """The output for x."""
        self.inputs.append(x)
        return x @ self.weight

    def backward(self, g):
        """The gradient of x; that of the weight is in `grad`. Called for the last call first."""
        x = self.inputs.pop()
        # [solution]
        self.grad += x.T @ g
        # [start] Follow self.grad through two calls of backward: what is left of the first?
        # self.grad = x.T @ g
        # [mistake] This is the mean of old and new. Gradients of several uses add up.
        # self.grad = (self.grad + x.T @ g) / 2
        # [mistake] The sum is made before it is known: np.maximum, or any choice among the two, loses one of
        # | them. Add.
        # self.grad = np.maximum(self.grad, x.T @ g)
        # [end]
        return g @ self.weight.T


# [hint] One character is missing.
# [solved] This is also why there is zero_grad: what adds up must be cleared between steps. PyTorch's p.grad,
# | and minidl's, work so.
