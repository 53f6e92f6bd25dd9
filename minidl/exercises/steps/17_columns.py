"""Columns: the way back of a copy.

Pictures are convolved by a trick: all windows are copied into the columns of a matrix, and the rest
is one matrix product. `columns` below makes the copy for windows of k times k pixels. Its way back
takes a matrix of gradients, and puts each where its pixel came from. Windows overlap.

The two are each other's *transpose*, and the checker tests just that: the sum of columns(x) * g is
the sum of x * pixels(g), for any x and g.
"""

import numpy as np


def columns(x, k):
    """x, of shape (h, w), as a matrix of shape (k * k, places): a row for each pixel of the window, a column for each place."""
    h, w = x.shape[0] - k + 1, x.shape[1] - k + 1
    return np.stack([x[i : i + h, j : j + w].ravel() for i in range(k) for j in range(k)])


def pixels(g, shape, k):
    """The transpose of ``columns``: from a matrix like its result to a picture of ``shape``."""
    out = np.zeros(shape)
    h, w = shape[0] - k + 1, shape[1] - k + 1
    for row, (i, j) in enumerate((i, j) for i in range(k) for j in range(k)):
        # [solution]
        out[i : i + h, j : j + w] += g[row].reshape(h, w)
        # [start] `columns` read x[i : i + h, j : j + w] into this row. What happens to the same part of out?
        # ...
        # [mistake] `=` for `+=`: windows overlap, and a pixel that was copied nine times gets nine gradients.
        # out[i : i + h, j : j + w] = g[row].reshape(h, w)
        # [mistake] Rows and columns of the window are exchanged: the row belongs to x[i : i + h, j : j + w].
        # out[j : j + h, i : i + w] += g[row].reshape(h, w)
        # [end]
    return out


# [hint] out[i : i + h, j : j + w] += g[row].reshape(h, w)
# [solved] PyTorch and minidl call the two unfold and fold; see minidl/ops/unfold.py.
