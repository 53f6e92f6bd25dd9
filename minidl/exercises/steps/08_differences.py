"""Differences: never believe a pullback.

You can check a gradient without knowing calculus: move an input a little, and see how the output
moves. The slope between x - h and x + h is closer to the derivative than the one between x and x +
h: its error shrinks with h * h, not with h.
"""

import numpy as np


def slope(f, x, h=1e-4):
    """The gradient of f at x by central differences. f makes one number of an array; x is an array and must stay as it was."""
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        # [solution]
        out[index] = (f(x + step) - f(x - step)) / (2 * h)
        # [start] How much does f change from x - step to x + step, and how far apart are the two?
        # out[index] = ...
        # [mistake] This looks to one side only, and is less exact: take f(x + step) - f(x - step).
        # out[index] = (f(x + step) - f(x)) / h
        # [mistake] From x - step to x + step the way is 2 * h long.
        # out[index] = (f(x + step) - f(x - step)) / h
        # [mistake] Mind what Python divides first: 2 * h needs parentheses.
        # out[index] = (f(x + step) - f(x - step)) / 2 * h
        # [end]
    return out


# [hint] (f(x + step) - f(x - step)) / (2 * h)
# [solved] This has checked all your steps so far, only with two step widths and an eye on kinks:
# | minidl/testing/differences.py.
