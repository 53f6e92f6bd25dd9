"""Softmax: everyone moves when one moves.

softmax turns a row of numbers into probabilities: exp(x) divided by the sum of the row's exp(x). If
one x grows, its own probability grows and all others shrink. So each element of the gradient needs
the whole row. With p = softmax(x), written out it is

    p * (g - (the sum of g * p over the row))
"""


def softmax_pullback(g, out):
    """The gradient of x, where out = softmax(x) along the last dimension."""
    # [solution]
    return out * (g - (g * out).sum(-1, keepdims=True))
    # [start] The formula is in the text; p is out. One sum per row: sum(-1, keepdims=True).
    # return ...
    # [mistake] That is the sigmoid's rule: it forgets that the others in the row move as well.
    # return g * out * (1 - out)
    # [mistake] The sum runs over everything. Rows know nothing of each other: sum(-1, keepdims=True).
    # return out * (g - (g * out).sum())
    # [mistake] One sum for each row is right, but without keepdims=True NumPy lines the sums up with the columns.
    # return out * (g - (g * out).sum(-1))
    # [mistake] The sum is over g alone; each g is weighted with its probability.
    # return out * (g - g.sum(-1, keepdims=True))
    # [mistake] The sum runs down the columns, over the examples. A row is along the last dimension: sum(-1,
    # | keepdims=True).
    # return out * (g - (g * out).sum(0, keepdims=True))
    # [end]


# [hint] total = (g * out).sum(-1, keepdims=True); then out * (g - total).
# [solved] The rule is this line in minidl too: softmax in minidl/ops/reduce.py. Without the formula you would
# | need a whole matrix.
