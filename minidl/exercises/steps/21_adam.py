"""Adam: every number its own step.

Adam keeps two running means, both from 0: m of the gradients and s of their squares. The step is m
divided by the root of s, so that a parameter with small gradients moves as far as one with large
ones. At first the means are too small, for they began at 0: after t steps they are divided by 1 -
beta**t. Then comes the step, lr * m / (sqrt(s) + eps), with the corrected m and s.
"""

import numpy as np


def adam(p, grad, m, s, t, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8):
    """The new parameter, m and s (these two not corrected). t is 1 in the first step."""
    m = beta1 * m + (1 - beta1) * grad
    s = beta2 * s + (1 - beta2) * grad**2
    # [solution]
    step = lr * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + eps)
    # [start] Correct m and s, each with its own beta, then put them into the formula of the text.
    # step = ...
    # [mistake] m and s are not corrected: in the first steps they are far too small, s more than m.
    # step = lr * m / (np.sqrt(s) + eps)
    # [mistake] eps belongs beside the root, not under it: under it 1e-8 counts as 1e-4.
    # step = lr * (m / (1 - beta1**t)) / np.sqrt(s / (1 - beta2**t) + eps)
    # [mistake] The root is missing: s is made of squares.
    # step = lr * (m / (1 - beta1**t)) / (s / (1 - beta2**t) + eps)
    # [mistake] The correction is the same at every step. It fades with t: 1 - beta**t.
    # step = lr * (m / (1 - beta1)) / (np.sqrt(s / (1 - beta2)) + eps)
    # [mistake] Only m is corrected. s began at 0 as well, and is even slower.
    # step = lr * (m / (1 - beta1**t)) / (np.sqrt(s) + eps)
    # [end]
    return p - step, m, s


# [hint] m / (1 - beta1**t) on top, and np.sqrt(s / (1 - beta2**t)) + eps below.
# [solved] In the first step every number moves by just lr, whatever its gradient. minidl/optim/adam.py has
# | the relatives too.
