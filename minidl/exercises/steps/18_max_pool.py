"""Max-pool: the winner takes all.

Pooling keeps the largest number of each window. Only the winner moved the output, so only the
winner gets the gradient. If two are equal, the first wins; somebody must. And if windows overlap,
one number can win twice.
"""

import numpy as np


def max_pool_pullback(g, x, size, stride):
    """The gradient of x, of one dimension. Window i is x[i * stride : i * stride + size]; g[i] belongs to its maximum."""
    out = np.zeros_like(x)
    for i in range(len(g)):
        window = x[i * stride : i * stride + size]
        # [solution]
        out[i * stride + window.argmax()] += g[i]
        # [start] Where in x is the window's winner? window.argmax() counts from the beginning of the window,
        # | and gives the first of equal ones.
        # ...
        # [mistake] `=` for `+=`: where windows overlap a number can win twice, and gets both gradients.
        # out[i * stride + window.argmax()] = g[i]
        # [mistake] argmax counts from the beginning of the window; in x that is i * stride further.
        # out[window.argmax()] += g[i]
        # [mistake] argmax counts from the beginning of the window; in x that is i * stride further. And `+=`: a number
        # | can win twice.
        # out[window.argmax()] = g[i]
        # [mistake] Equal ones all got the gradient, and the output moves only once. The first of them takes
        # | it.
        # out[i * stride : i * stride + size] += g[i] * (window == window.max())
        # [mistake] Everyone in the window got a share. Those who lost did not move the output.
        # out[i * stride : i * stride + size] += g[i] / size
        # [end]
    return out


# [hint] The winner stands at i * stride + window.argmax(). Add g[i] there.
# [solved] In two dimensions it is the same with two indices: minidl/ops/pool.py, and as loops in
# | minidl/kernels/reference.py.
