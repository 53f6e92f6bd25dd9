"""Relu: a kink.

relu(x) is x where x is positive, and 0 elsewhere. Its slope is 1 or 0, so the pullback lets g
through or stops it. At 0 itself there is no slope; everybody has agreed to say 0 there.
"""

import numpy as np


def relu_pullback(g, x):
    """The gradient of x, where out = np.maximum(x, 0)."""
    # [solution]
    return g * (x > 0)
    # [start] A comparison makes an array of True and False, and those count as 1 and 0 in a product.
    # return ...
    # [mistake] You asked whether g is positive. Whether the gate was open was decided by x.
    # return g * (g > 0)
    # [mistake] At exactly 0 the convention is that nothing passes: x > 0, not x >= 0.
    # return g * (x >= 0)
    # [mistake] This is relu(x) times g. The slope is wanted: 1 or 0.
    # return g * (x > 0) * x
    # [mistake] This is the slope alone; g is missing.
    # return (x > 0) * 1.0
    # [mistake] This is the slope alone; g is missing.
    # return x > 0
    # [mistake] x is an array, some of it positive and some not, so `if` cannot ask: x > 0 is an array of answers.
    # return g if x > 0 else 0
    # [end]


# [hint] Multiply g by (x > 0).
# [solved] A checker cannot judge a kink, so minidl writes every such choice down, and runs the page:
# | docs/conventions.md.
