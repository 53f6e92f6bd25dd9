"""A bug: horizontal for vertical.

This convolution runs, trains, and passes its author's test, which uses a picture of ones. "But my
detector of vertical edges finds horizontal ones." The windows are copied into columns, and the
weights are laid out in a row. Do both go through the window in the same order?
"""

import numpy as np


def columns(x, k):
    """The picture x as a matrix: a row for each pixel of the window of k times k, a column for each place."""
    h, w = x.shape[0] - k + 1, x.shape[1] - k + 1
    # [solution]
    return np.stack([x[i : i + h, j : j + w].ravel() for i in range(k) for j in range(k)])
    # [start] `weight.ravel()` goes along the rows of the window: the column j changes faster than the row i.
    # | And here?
    # return np.stack([x[i : i + h, j : j + w].ravel() for j in range(k) for i in range(k)])
    # [mistake] Now each place is read in another order too: the picture itself is transposed.
    # return np.stack([x[i : i + h, j : j + w].T.ravel() for i in range(k) for j in range(k)])
    # [mistake] Now the window is read backwards, from its last pixel: that is the flipped convolution of
    # | signal processing.
    # return np.stack([x[i : i + h, j : j + w].ravel() for i in reversed(range(k)) for j in reversed(range(k))])
    # [end]


def conv2d(x, weight):
    """The sum over the window of x times weight, at each place."""
    k = len(weight)
    h, w = x.shape[0] - k + 1, x.shape[1] - k + 1
    return (weight.ravel() @ columns(x, k)).reshape(h, w)


# [hint] In a comprehension the last `for` runs fastest.
# [solved] Ones cannot tell order: test with random numbers and with shapes in which no two sizes are equal.
# | minidl's tests do.
