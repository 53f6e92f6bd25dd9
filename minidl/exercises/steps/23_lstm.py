"""LSTM: a memory with gates.

A gate is a number between 0 and 1. The memory c forgets a share of itself and takes in something
new; what is shown of it is h:

    c = f * c_before + i * new        h = o * tanh(c)

gh and gc are the gradients of h and c: what later steps, and the loss, say of them. But c also
moves h.
"""

import numpy as np


def lstm_pullback(gh, gc, i, f, new, o, c_before):
    """The gradients of i, f, new, o and c_before, in this order."""
    c = f * c_before + i * new
    # [solution]
    gc = gc + gh * o * (1 - np.tanh(c) ** 2)
    return gc * new, gc * c_before, gc * i, gh * np.tanh(c), gc * f
    # [start] First all that is known of c: gc, and what comes through h. With that each gradient is one
    # | product.
    # gc = ...
    # return ..., ..., ..., ..., ...
    # [mistake] c moves h as well: to gc belongs what comes through h, gh * o * (1 - tanh(c)**2).
    # return gc * new, gc * c_before, gc * i, gh * np.tanh(c), gc * f
    # [mistake] Only what comes through h is there. The next step has something to say of c too: gc is added.
    # gc = gh * o * (1 - np.tanh(c) ** 2)
    # return gc * new, gc * c_before, gc * i, gh * np.tanh(c), gc * f
    # [mistake] On its way from h to c the gradient passes a tanh, with the slope 1 - tanh(c)**2.
    # gc = gc + gh * o
    # return gc * new, gc * c_before, gc * i, gh * np.tanh(c), gc * f
    # [mistake] The old memory was multiplied by f; so is its gradient.
    # gc = gc + gh * o * (1 - np.tanh(c) ** 2)
    # return gc * new, gc * c_before, gc * i, gh * np.tanh(c), gc
    # [mistake] h is o times tanh(c), not o times c: the tanh is missing in the gradient of o.
    # gc = gc + gh * o * (1 - np.tanh(c) ** 2)
    # return gc * new, gc * c_before, gc * i, gh * c, gc * f
    # [end]


# [hint] gc = gc + gh * o * (1 - np.tanh(c) ** 2). Then i gets gc * new, and so on: each factor gets gc times
# | the other one.
# [solved] Along c the gradient is only multiplied by f: no matrix, no tanh. With f near 1 it lives long. See
# | minidl/sequences/recurrent.py.
