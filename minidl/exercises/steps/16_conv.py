"""Convolution: a weight that is used everywhere.

out[i] = x[i] * w[0] + x[i + 1] * w[1] + ...: a small window slides along x, with the same weights
at each place. To go back, ask for each weight (and for each x) where it was used and by what it was
multiplied, and add up. A loop over the window is enough:

    for k in range(len(w)):
        out += x[k : k + len(out)] * w[k]
"""

import numpy as np


def conv_pullback(g, x, w):
    """The gradients of x and w, both of one dimension. g has len(x) - len(w) + 1 elements."""
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(w)
    n = len(g)
    for k in range(len(w)):
        # [solution]
        grad_x[k : k + n] += g * w[k]
        grad_w[k] = (g * x[k : k + n]).sum()
        # [start] The line of the text multiplies x[k : k + n] by w[k]. What does each of the two get back?
        # | One was used n times.
        # grad_x[k : k + n] += ...
        # grad_w[k] = ...
        # [mistake] `=` for `+=`: neighbouring windows overlap, and an x that was seen twice gets both
        # | gradients.
        # grad_x[k : k + n] = g * w[k]
        # grad_w[k] = (g * x[k : k + n]).sum()
        # [mistake] The weights are the wrong way round for x: what was multiplied by w[k] gets g * w[k] back.
        # grad_x[k : k + n] += g * w[-1 - k]
        # grad_w[k] = (g * x[k : k + n]).sum()
        # [mistake] The window is not moved for w: w[k] was multiplied by x[k : k + n].
        # grad_x[k : k + n] += g * w[k]
        # grad_w[k] = (g * x[:n]).sum()
        # [mistake] w[k] was used at every place: its gradients are summed, not averaged.
        # grad_x[k : k + n] += g * w[k]
        # grad_w[k] = (g * x[k : k + n]).mean()
        # [end]
    return grad_x, grad_w


# [hint] It is multiply_pullback for each k: g * w[k] goes to x[k : k + n], and g * x[k : k + n], summed, to
# | w[k].
# [solved] Convolution, and its gradients with respect to input and weight: three forms of one sum. See
# | minidl/ops/conv.py.
