"""A bug: the optimiser that looked the wrong way.

Nesterov's momentum looks ahead: it steps along the new velocity once more, before it gets there. As
PyTorch has it:

    v = mu * v + grad        p = p - lr * (grad + mu * v)

"Mine is no better than without", says its author. It does not crash, and it converges; only the
numbers are not Nesterov's.
"""


def nesterov(p, grad, v, lr, mu):
    """The new parameter and the new velocity."""
    # [solution]
    v = mu * v + grad
    return p - lr * (grad + mu * v), v
    # [start] Write grad + mu * v out with the old v: it is the new v, so this is plain momentum. Which v
    # | belongs into the step?
    # return p - lr * (grad + mu * v), mu * v + grad
    # [mistake] mu stands at the wrong one of the two: the step is grad + mu * v.
    # v = mu * v + grad
    # return p - lr * (mu * grad + v), v
    # [mistake] The step is right, but the old velocity is returned, and so nothing rolls.
    # return p - lr * (grad + mu * (mu * v + grad)), v
    # [end]


# [hint] Work through two steps by hand, from v = 0. In the first step p must move by lr * (1 + mu) * grad.
# [solved] Optimisers have no gradient checker. What helps is a second source of numbers: minidl's are
# | compared with PyTorch's, step by step.
