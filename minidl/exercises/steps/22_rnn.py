"""Recurrent network: backwards through time.

One step after the other, h[t + 1] = tanh(x[t] + h[t] @ w), always with the same w. On the way back
go through the steps from the last to the first. Each h hears from two sides: from the loss, g[t],
and from the step after it, which we carry along. And w, used at every step, collects.
"""

import numpy as np


def rnn_pullback(g, h, w):
    """The gradients of x, of shape (steps, n), and w. h has one row more than g: h[0] is the state before the first step."""
    grad_x, grad_w = np.zeros_like(g), np.zeros_like(w)
    carry = np.zeros_like(h[0])  # what the step after says of h[t + 1]
    for t in reversed(range(len(g))):
        # [solution]
        inside = (g[t] + carry) * (1 - h[t + 1] ** 2)
        grad_x[t] = inside
        grad_w += np.outer(h[t], inside)
        carry = w @ inside
        # [start] inside is the gradient of x[t] + h[t] @ w. First through the tanh, with all that is known of
        # | h[t + 1]; then to x, w and h[t].
        # inside = ...
        # grad_x[t] = inside
        # grad_w += ...
        # carry = ...
        # [mistake] Nothing is carried from one step to the one before: each learns only from its own loss.
        # inside = g[t] * (1 - h[t + 1] ** 2)
        # grad_x[t] = inside
        # grad_w += np.outer(h[t], inside)
        # carry = w @ inside
        # [mistake] The weights were used at every step: what they get adds up.
        # inside = (g[t] + carry) * (1 - h[t + 1] ** 2)
        # grad_x[t] = inside
        # grad_w = np.outer(h[t], inside)
        # carry = w @ inside
        # [mistake] The way back through h[t] @ w is w @ inside: the transpose of the way forward.
        # inside = (g[t] + carry) * (1 - h[t + 1] ** 2)
        # grad_x[t] = inside
        # grad_w += np.outer(h[t], inside)
        # carry = inside @ w
        # [mistake] The tanh that was taken in step t gave h[t + 1], not h[t].
        # inside = (g[t] + carry) * (1 - h[t] ** 2)
        # grad_x[t] = inside
        # grad_w += np.outer(h[t], inside)
        # carry = w @ inside
        # [mistake] The outer product is the wrong way round: w[i, j] was multiplied by h[t][i], and went into
        # | place j.
        # inside = (g[t] + carry) * (1 - h[t + 1] ** 2)
        # grad_x[t] = inside
        # grad_w += np.outer(inside, h[t])
        # carry = w @ inside
        # [end]
    return grad_x, grad_w


# [hint] inside = (g[t] + carry) * (1 - h[t + 1] ** 2), as in the step tanh; then np.outer(h[t], inside) for
# | w, and w @ inside to carry.
# [solved] Each carry is multiplied by w again: that is how gradients vanish or explode.
# | minidl/sequences/recurrent.py goes the same way.
