"""Unbroadcast: what was stretched is summed again.

In x + b, with x of shape (3, 4) and b of shape (4,), NumPy uses each number of b three times: it
*stretches* b. A number that is used three times gets three gradients, and they add up. So the
gradient, of shape (3, 4), is summed until it has b's shape.

NumPy lines shapes up from the right. It puts new dimensions in front, and stretches dimensions of
size 1.
"""


def unbroadcast(g, shape):
    """g, which has the stretched shape, summed back to ``shape``."""
    # [solution]
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # the dimensions in front
    return g.sum(axis=tuple(d for d, n in enumerate(shape) if n == 1), keepdims=True)  # those of size 1
    # [start] Two sums: one over the dimensions that came in front, and one, with keepdims=True, over those
    # | that had size 1.
    # return ...
    # [mistake] You forgot to sum over what broadcasting stretched: each use of a number brings a gradient of
    # | its own.
    # return g
    # [mistake] The new dimensions in front are summed. Dimensions of size 1 were stretched as well: sum those
    # | with keepdims=True.
    # return g.sum(axis=tuple(range(g.ndim - len(shape))))
    # [mistake] This is the mean of the gradients. They add up: it is a sum.
    # g = g.mean(axis=tuple(range(g.ndim - len(shape))))
    # return g.mean(axis=tuple(d for d, n in enumerate(shape) if n == 1), keepdims=True)
    # [mistake] Without keepdims=True the dimensions of size 1 are gone after the sum.
    # g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    # return g.sum(axis=tuple(d for d, n in enumerate(shape) if n == 1))
    # [mistake] Only the dimensions of size 1 are summed. There may also be new ones in front: g.ndim -
    # | len(shape) of them.
    # return g.sum(axis=tuple(d for d, n in enumerate(shape) if n == 1), keepdims=True)
    # [end]


# [hint] g.ndim - len(shape) dimensions came in front; g.sum(axis=tuple(range(that))) removes them. Then look
# | at which sizes in shape are 1.
# [solved] In minidl no rule has to think of this: the sweep does it for all of them, in
# | minidl/autograd/sweep.py.
