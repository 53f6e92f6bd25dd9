"""Multiply: the first pullback.

Training asks one thing of every step of a program: if an input moves a little, how does the loss
move? The answer is found from the end backwards. For each step you write a *pullback*. It is given
g, the gradient of the loss with respect to the step's output, and returns the gradients with
respect to its inputs: g times how much the output moves when that input does.

Here the output is a * b. All are NumPy arrays of one shape.
"""


def multiply_pullback(g, a, b):
    """The gradients of a and of b, in this order."""
    # [solution]
    return g * b, g * a
    # [start] Put something for each of the two dots: g times how much a * b moves when a moves by 1, and when
    # | b does.
    # return ..., ...
    # [mistake] The two are exchanged. If a moves by 1, a * b moves by b: so b is in the gradient of a.
    # return g * a, g * b
    # [mistake] You forgot g. b is how much the output moves; how much the loss moves with the output is for
    # | you to multiply with.
    # return b, a
    # [end]


# [hint] If a moves by 0.01, a * b moves by 0.01 * b, and the loss by g times that.
# [solved] Every rule has this form. minidl's own are in minidl/ops/elementwise.py: look for mul.
