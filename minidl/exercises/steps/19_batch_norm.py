"""Batch norm: three ways back.

Each column of x is shifted and scaled to mean 0 and variance 1: out = (x - mean) / std. An element
moves the output in three ways: itself, through the mean, and through the std. With all three worked
out, and with `mean` standing for the mean over the batch, the gradient is

    (g - mean(g) - out * mean(g * out)) / std
"""

import numpy as np


def batch_norm_pullback(g, x, eps=1e-5):
    """The gradient of x, of shape (n, features), where out = (x - mean) / std for each feature."""
    std = np.sqrt(x.var(0) + eps)
    out = (x - x.mean(0)) / std
    # [solution]
    return (g - g.mean(0) - out * (g * out).mean(0)) / std
    # [start] The formula is in the text. The means run over the batch: .mean(0).
    # return ...
    # [mistake] Mean and std were taken for constants. They are made of x, and move when it does: two more
    # | terms.
    # return g / std
    # [mistake] The way through the std is missing: - out * mean(g * out).
    # return (g - g.mean(0)) / std
    # [mistake] The way through the mean is missing: - mean(g).
    # return (g - out * (g * out).mean(0)) / std
    # [mistake] The means run over everything; each feature has its own, over the batch: .mean(0).
    # return (g - g.mean() - out * (g * out).mean()) / std
    # [mistake] The whole is divided by std, because the way forward was.
    # return g - g.mean(0) - out * (g * out).mean(0)
    # [end]


# [hint] (g - g.mean(0) - out * (g * out).mean(0)) / std
# [solved] What is left of g has mean 0 and no part along out: normalisation projects. Layer and group norm
# | share the rule: minidl/ops/norm.py.
