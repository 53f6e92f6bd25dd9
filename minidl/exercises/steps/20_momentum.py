"""Momentum: a ball that rolls.

Gradient descent follows the slope at every step. With momentum the parameter has a velocity: each
step keeps a share mu of the old one, adds the gradient, and moves against it. Through a narrow
valley the ball rolls along, where plain descent would bounce from side to side.

    v = mu * v + grad        p = p - lr * v
"""


def sgd(p, grad, v, lr, mu):
    """The new parameter and the new velocity, in this order; what is passed in is not changed."""
    # [solution]
    v = mu * v + grad
    return p - lr * v, v
    # [start] Two lines, as in the text: first the velocity, then the step.
    # v = ...
    # return ..., v
    # [mistake] The step is made with the gradient alone; it is the velocity that moves the parameter.
    # v = mu * v + grad
    # return p - lr * grad, v
    # [mistake] That is a running mean. PyTorch's velocity (and ours) takes the whole gradient, without 1 -
    # | mu.
    # v = mu * v + (1 - mu) * grad
    # return p - lr * v, v
    # [mistake] The parameter moved with the old velocity: compute the new one first.
    # return p - lr * v, mu * v + grad
    # [mistake] `*=` and `+=` write into the array that was passed in, which belongs to the caller: v = mu * v + grad makes a
    # | new one.
    # v *= mu
    # v += grad
    # return p - lr * v, v
    # [mistake] That is the way up the hill: subtract.
    # v = mu * v + grad
    # return p + lr * v, v
    # [mistake] The learning rate is in the velocity. Then a change of it is felt only slowly; PyTorch
    # | multiplies by it at the end.
    # v = mu * v + lr * grad
    # return p - v, v
    # [end]


# [hint] The two formulas of the text, in this order, with names v and p.
# [solved] minidl/optim/sgd.py does it in place, for all parameters at once.
