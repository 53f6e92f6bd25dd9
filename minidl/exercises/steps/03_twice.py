"""Twice: where two ways meet, gradients add up.

In x * sin(x) the input is used twice: as a factor, and inside the sine. If x moves, the output
moves for both reasons. So the gradient is the sum of what comes back on each way. This is the whole
of the chain rule for programs: along a way multiply, where ways meet add.
"""

import numpy as np


def pullback(g, x):
    """The gradient of x, where out = x * np.sin(x)."""
    # [solution]
    return g * np.sin(x) + g * x * np.cos(x)
    # [start] Write down what comes back on each of the two ways, and add the two.
    # return ...
    # [mistake] Only one way is there, the one through the factor x. The x inside the sine moves the output
    # | too.
    # return g * np.sin(x)
    # [mistake] Only one way is there, the one through the sine. x is also a factor, and moves the output by
    # | sin(x).
    # return g * x * np.cos(x)
    # [mistake] You multiplied the two ways. They are two reasons for the output to move: add them.
    # return g * np.sin(x) * x * np.cos(x)
    # [mistake] cos(x) is how much the sine moves; it is multiplied by x afterwards, and so is the gradient.
    # return g * np.sin(x) + g * np.cos(x)
    # [end]


# [hint] multiply_pullback gives g * sin(x) for the factor, and g * x for the sine. The latter goes on through
# | the sine: times cos(x).
# [solved] Later the engine will do this addition for you, and forgetting it will be one of the bugs to find.
