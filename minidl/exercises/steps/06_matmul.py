"""Matrix product: let the shapes lead you.

a has shape (n, k), b has shape (k, m), and a @ b and g have shape (n, m). The gradient of a must
have a's shape, (n, k), and be a product of g with b. There is one way to write that. The same holds
for b. (Why it is right: write the product as a sum and differentiate one term.)
"""


def matmul_pullback(g, a, b):
    """The gradients of a and of b."""
    # [solution]
    return g @ b.T, a.T @ g
    # [start] Two products. Which one of b and b.T fits to the right of g, so that (n, k) comes out?
    # return ..., ...
    # [mistake] A transpose is missing. Where all matrices are square the shapes fit without, and only the
    # | numbers tell.
    # return g @ b, a @ g
    # [mistake] The second product is the wrong way round: n must be what is summed over, so a.T comes first.
    # return g @ b.T, g @ a.T
    # [mistake] Here a's gradient is made of a, and b's of b. As with a product of numbers, each takes the
    # | other.
    # return a.T @ g, g @ b.T
    # [end]


# [hint] (n, m) @ (m, k) gives (n, k), and b.T has shape (m, k). (k, n) @ (n, m) gives (k, m), and a.T has
# | shape (k, n).
# [solved] All the work of a network is in these two products and the one forward: minidl/ops/linear.py.
