"""Linear: three gradients of one layer.

The layer that all networks are made of: out = x @ weight.T + bias. x has a row for each example of
the batch, shape (n, k); weight has shape (m, k) and bias (m,). You know the products, and you know
what happens to a bias that is added to every row.
"""


def linear_pullback(g, x, weight, bias):
    """The gradients of x, weight and bias. g has shape (n, m)."""
    # [solution]
    return g @ weight, g.T @ x, g.sum(0)
    # [start] Shapes (n, k), (m, k) and (m,) are wanted. For the first two let the shapes lead you; the bias
    # | was stretched.
    # return ..., ..., ...
    # [mistake] You forgot to sum over what broadcasting stretched: the bias was added to each row, and hears
    # | from each.
    # return g @ weight, g.T @ x, g
    # [mistake] The bias gets the mean of the rows. If the loss is a mean, 1 / n is in g already: it is a sum.
    # return g @ weight, g.T @ x, g.mean(0)
    # [mistake] The gradient of the weight is transposed: weight has shape (m, k), so it is g.T @ x.
    # return g @ weight, x.T @ g, g.sum(0)
    # [mistake] The weight was transposed on the way forward, so on the way back it is not.
    # return g @ weight.T, g.T @ x, g.sum(0)
    # [end]


# [hint] (n, m) @ (m, k) is g @ weight. (m, n) @ (n, k) is g.T @ x. And bias: unbroadcast from (n, m) to (m,).
# [solved] Convolution and attention are this layer in disguise: minidl/ops/linear.py.
