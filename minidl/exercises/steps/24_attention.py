"""Attention: look it up softly.

Each query q compares itself with all keys k; softmax makes weights of the scores; the answer is the
weighted mean of the values v:

    p = softmax(q @ k.T / sqrt(d))        out = p @ v

It is two products and a softmax. You have all three pullbacks; go through them from the end.
"""

import numpy as np


def attention_pullback(g, q, k, v):
    """The gradients of q, k and v, of shapes (n, d), (m, d) and (m, e)."""
    scale = 1 / np.sqrt(q.shape[1])
    e = np.exp(q @ k.T * scale)
    p = e / e.sum(1, keepdims=True)
    # [solution]
    grad_p = g @ v.T
    grad_scores = p * (grad_p - (grad_p * p).sum(1, keepdims=True)) * scale
    return grad_scores @ k, grad_scores.T @ q, p.T @ g
    # [start] Three stages: from g to p and v, as in matmul; through the softmax (and the scale); then to q
    # | and k.
    # grad_p = ...
    # grad_scores = ...
    # return ..., ..., ...
    # [mistake] The scale is missing: the scores were multiplied by 1 / sqrt(d), and so are their gradients.
    # grad_p = g @ v.T
    # grad_scores = p * (grad_p - (grad_p * p).sum(1, keepdims=True))
    # return grad_scores @ k, grad_scores.T @ q, p.T @ g
    # [mistake] The softmax's sum over the row is missing: if one weight grows all others shrink.
    # grad_p = g @ v.T
    # grad_scores = p * grad_p * scale
    # return grad_scores @ k, grad_scores.T @ q, p.T @ g
    # [mistake] That is the sigmoid's slope, p * (1 - p). In a softmax everyone moves when one moves.
    # grad_p = g @ v.T
    # grad_scores = p * (1 - p) * grad_p * scale
    # return grad_scores @ k, grad_scores.T @ q, p.T @ g
    # [mistake] A transpose is missing. A value is read by many queries, and hears from all of them: p.T @ g.
    # grad_p = g @ v.T
    # grad_scores = p * (grad_p - (grad_p * p).sum(1, keepdims=True)) * scale
    # return grad_scores @ k, grad_scores.T @ q, p @ g
    # [mistake] q and k are exchanged: q was multiplied by k, so k is in the gradient of q.
    # grad_p = g @ v.T
    # grad_scores = p * (grad_p - (grad_p * p).sum(1, keepdims=True)) * scale
    # return grad_scores.T @ q, grad_scores @ k, p.T @ g
    # [end]


# [hint] grad_p = g @ v.T; grad_scores as in the step softmax, times scale; then grad_scores @ k,
# | grad_scores.T @ q and p.T @ g.
# [solved] minidl/sequences/attention.py does it block by block, so that p is never in memory as a whole.
