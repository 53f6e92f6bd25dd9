"""Tanh: a pullback may look at the output.

The derivative of tanh is 1 - tanh(x)**2. The forward pass has computed tanh(x) already and kept it:
it comes as out. What is kept need not be computed again, and x itself can be forgotten. That saves
time and memory in every network.
"""

import numpy as np


def tanh_pullback(g, out):
    """The gradient of x, where out = np.tanh(x)."""
    # [solution]
    return g * (1 - out**2)
    # [start] One expression of g and out takes the place of the dots. tanh need not be called.
    # return ...
    # [mistake] You forgot g: a pullback multiplies the gradient that comes in with the derivative.
    # return 1 - out**2
    # [mistake] The square is missing: the derivative is 1 - out**2.
    # return g * (1 - out)
    # [mistake] out is tanh(x) already; this takes the tanh of it once more.
    # return g * (1 - np.tanh(out) ** 2)
    # [end]


# [hint] The text has the formula; tanh(x) in it is out.
# [solved] minidl keeps the output of exp, sqrt, sigmoid and softmax for the same reason: rules that read
# | `out` in minidl/ops/elementwise.py.
