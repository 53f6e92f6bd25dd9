"""Sweep: backpropagation in three lines.

All is ready: pullbacks, history, order. Go through the tensors from the youngest to the oldest.
Call the pullback of each with its gradient, and give the results to its parents. A parent that has
something already gets the sum. That is backpropagation.
"""

import numpy as np


def backward(out, order):
    """The gradient of every tensor that leads to ``out``, as a dictionary. ``order`` is what you wrote last."""
    grads = {out: np.ones_like(out.value)}
    for tensor in order(out):
        if tensor.pullback is not None:
            for parent, g in zip(tensor.parents, tensor.pullback(grads[tensor])):
                # [solution]
                grads[parent] = grads[parent] + g if parent in grads else g
                # [start] Is the parent in grads already? Then g is added to what is there.
                # ...
                # [mistake] `=` forgets what came on another way. Where two ways meet, gradients add up.
                # grads[parent] = g
                # [mistake] The first gradient that reaches a parent finds nothing there to be added to: then it is put there.
                # grads[parent] += g
                # [mistake] This keeps the first gradient and forgets what comes later. Where two ways meet,
                # | gradients add up.
                # grads.setdefault(parent, g)
                # [end]
    return grads


# [hint] grads[parent] = grads.get(parent, 0) + g
# [solved] You have an engine. minidl's is the same loop: minidl/autograd/sweep.py. What follows are its ops.
