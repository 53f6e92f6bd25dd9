"""A bug: the bias that grew.

From here on somebody else's code is broken, and you mend it. A colleague wrote this addition. "My
bias has the shape (3,) at first, and after one step of training it has the shape (8, 3)", he says.
"Nobody complained." Nobody did: NumPy subtracted what he gave it.
"""


class Tensor:
    """A value, the tensors it was made from, and the function from its gradient to theirs."""

    def __init__(self, value, parents=(), pullback=None):
        self.value, self.parents, self.pullback = value, parents, pullback


def unbroadcast(g, shape):
    """g, which has the stretched shape, summed back to ``shape``."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(d for d, n in enumerate(shape) if n == 1), keepdims=True)


def add(a, b):
    """The sum of two tensors, which broadcast."""
    # [solution]
    return Tensor(a.value + b.value, (a, b), lambda g: (unbroadcast(g, a.value.shape), unbroadcast(g, b.value.shape)))
    # [start] The pullback hands g to both. What if one of them was stretched? You have written the function
    # | that helps.
    # return Tensor(a.value + b.value, (a, b), lambda g: (g, g))
    # [mistake] The bias is mended where it stands on the right. `bias + x` is an addition too.
    # return Tensor(a.value + b.value, (a, b), lambda g: (g, unbroadcast(g, b.value.shape)))
    # [mistake] This mends the bias, and breaks every other addition: what was not stretched must not be
    # | summed.
    # return Tensor(a.value + b.value, (a, b), lambda g: (g, g.sum(0)))
    # [end]


# [hint] unbroadcast(g, a.value.shape) for a, and the same for b.
# [solved] The most common bug of home-made engines. In minidl the sweep does this once for all ops.
