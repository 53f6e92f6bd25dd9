"""Record: an engine is a notebook.

Now the engine. A Tensor is a value, and a note of how it came about: its *parents*, the tensors it
was made from, and its *pullback*. The notes are taken while the program runs forwards, and are all
that is needed to go back.
"""

import itertools


class Tensor:
    """A value, the tensors it was made from, and the function from its gradient to theirs."""

    numbers = itertools.count()

    def __init__(self, value, parents=(), pullback=None):
        self.value = value
        self.parents = parents
        self.pullback = pullback
        self.number = next(Tensor.numbers)  # when it was born


def multiply(a, b):
    """The product of two tensors, as a tensor with its history."""
    # [solution]
    return Tensor(a.value * b.value, (a, b), lambda g: (g * b.value, g * a.value))
    # [start] Tensor(value, parents, pullback): values are multiplied as a.value * b.value, and the pullback
    # | is a function of g alone.
    # return Tensor(..., (), lambda g: ...)
    # [mistake] It has no parents, so nobody finds the way back: give it (a, b).
    # return Tensor(a.value * b.value, (), lambda g: (g * b.value, g * a.value))
    # [mistake] a and b are Tensors: a value, and how it came about. Their numbers are a.value and b.value.
    # return Tensor(a * b, (a, b), lambda g: (g * b, g * a))
    # [mistake] The pullback is a function of g alone, and returns two gradients, one for each parent; this adds them up.
    # return Tensor(a.value * b.value, (a, b), lambda g: g * b.value + g * a.value)
    # [mistake] The pullback gives a what belongs to b, and b what belongs to a.
    # return Tensor(a.value * b.value, (a, b), lambda g: (g * a.value, g * b.value))
    # [mistake] The parents and the gradients are not in the same order.
    # return Tensor(a.value * b.value, (b, a), lambda g: (g * b.value, g * a.value))
    # [mistake] The pullback is there, but it forgets g.
    # return Tensor(a.value * b.value, (a, b), lambda g: (b.value, a.value))
    # [end]


# [hint] The pullback is your first exercise: lambda g: (g * b.value, g * a.value). A function inside a
# | function remembers a and b.
# [solved] minidl writes such a note for every op: `Node` in minidl/autograd/tape.py, and
# | minidl/autograd/op.py fills it in.
