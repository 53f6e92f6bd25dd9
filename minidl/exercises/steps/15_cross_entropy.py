"""Cross-entropy: wrong by how much?

The loss of a classifier is the mean, over the examples, of -log(the probability of the right
class). Taken together with softmax the gradient becomes as simple as can be: the probabilities,
minus 1 at the right class. What the network says minus what is true.

exp(1000) is infinite. If the largest number of each row is subtracted first, nothing changes, and
nothing overflows.
"""

import numpy as np


def cross_entropy(x, target):
    """The loss, and its gradient with respect to x. x has a row of scores for each example, target a class number for each."""
    n = len(x)
    # [solution]
    e = np.exp(x - x.max(1, keepdims=True))
    # [start] Here exp must not overflow: what can be subtracted from each row without changing its softmax?
    # e = np.exp(...)
    # [mistake] exp overflows for large scores: subtract x.max(1, keepdims=True) first.
    # e = np.exp(x)
    # [mistake] n numbers do not fit beside n rows unless they stand below each other, as x.max(1, keepdims=True) does. Nor can
    # | target, which is numbers of classes, be subtracted: 1 is, at [np.arange(n), target].
    # e = np.exp(x - x.max(1))
    # [end]
    p = e / e.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(n), target]).mean()
    # [solution]
    grad = p.copy()
    grad[np.arange(n), target] -= 1
    grad /= n
    # [start] Start from p; p[np.arange(n), target] are those of the right classes; and the loss is a mean
    # | over n examples.
    # grad = ...
    # [mistake] The loss is a mean over the examples, so the gradient is divided by n.
    # grad = p.copy()
    # grad[np.arange(n), target] -= 1
    # [mistake] The truth is missing: at the right class 1 is subtracted.
    # grad = p / n
    # [mistake] `:` takes all rows for every target. One place in each row is wanted: [np.arange(n), target].
    # grad = p.copy()
    # grad[:, target] -= 1
    # grad /= n
    # [mistake] This is the way up: the gradient is what the network says minus what is true, not the reverse.
    # grad = -p / n
    # grad[np.arange(n), target] += 1 / n
    # [mistake] 1 was subtracted after the division by n: the whole difference is divided.
    # grad = p / n
    # grad[np.arange(n), target] -= 1
    # [end]
    return loss, grad


# [hint] x - x.max(1, keepdims=True) in the exp. For the gradient: a copy of p, minus 1 at [np.arange(n),
# | target], all divided by n.
# [solved] That is why PyTorch and minidl take scores, not probabilities, in cross_entropy:
# | minidl/ops/loss.py.
