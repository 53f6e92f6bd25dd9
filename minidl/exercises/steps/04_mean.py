"""Mean: what was gathered is spread again.

A mean over one dimension makes one number of many. On the way back it is the reverse: each of the
many gets its share of the one gradient. g has lost the dimension; NumPy must be told where it was,
or it stretches g along another one and does not complain.
"""

import numpy as np


def mean_pullback(g, x, dim):
    """The gradient of x, of x's shape, where out = x.mean(dim) and x has two dimensions or more."""
    # [solution]
    return np.broadcast_to(np.expand_dims(g, dim) / x.shape[dim], x.shape)
    # [start] np.expand_dims gives g its dimension back, np.broadcast_to spreads it. What share does each
    # | element get?
    # return ...
    # [mistake] Each element gets all of g. In a mean of n numbers each counts for 1 / n.
    # return np.broadcast_to(np.expand_dims(g, dim), x.shape)
    # [mistake] You divided by the number of all elements. Only x.shape[dim] of them go into one mean.
    # return np.broadcast_to(np.expand_dims(g, dim) / x.size, x.shape)
    # [mistake] g was spread along the wrong dimension: without np.expand_dims NumPy lines dimensions up from
    # | the right.
    # return np.broadcast_to(g / x.shape[dim], x.shape)
    # [mistake] The dimension is back, but the gradient still has one element where x has many: spread it with
    # | np.broadcast_to.
    # return np.expand_dims(g, dim) / x.shape[dim]
    # [end]


# [hint] First np.expand_dims(g, dim), then divide by x.shape[dim], then np.broadcast_to(..., x.shape).
# [solved] Sums, means and norms share one helper in minidl: `spread` in minidl/ops/reduce.py.
