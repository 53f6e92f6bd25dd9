"""A bug: fine in training, hopeless in use.

In training, batch norm takes mean and variance from the batch, and remembers them in a running mean
and variance, for use when there is no batch:

    running = (1 - momentum) * running + momentum * this batch's

"In training 98 % are right, with model.eval() 10 %." Such reports nearly always mean this layer.
"""

import numpy as np


class BatchNorm:
    """Normalisation of each feature."""

    def __init__(self, features, momentum=0.1, eps=1e-5):
        self.mean, self.var = np.zeros(features), np.ones(features)  # the running ones
        self.momentum, self.eps = momentum, eps

    def __call__(self, x, training):
        """Normalise x: by the batch in training, by the running mean and variance else."""
        if not training:
            return (x - self.mean) / np.sqrt(self.var + self.eps)
        mean, var = x.mean(0), x.var(0)
        unbiased = x.var(0, ddof=1)  # over n - 1: this one is remembered
        m = self.momentum
        # [solution]
        self.mean = (1 - m) * self.mean + m * mean
        self.var = (1 - m) * self.var + m * unbiased
        # [start] Print layer.mean after some batches: it never moves. Where do the two new numbers go?
        # running_mean = (1 - m) * self.mean + m * mean
        # running_var = (1 - m) * self.var + m * unbiased
        # [mistake] momentum is on the wrong side: 0.1 is the share of the new batch, not of the old.
        # self.mean = m * self.mean + (1 - m) * mean
        # self.var = m * self.var + (1 - m) * unbiased
        # [mistake] Only the last batch is remembered; the running ones are a mean over many.
        # self.mean, self.var = mean, unbiased
        # [mistake] The variance that is remembered is the unbiased one, over n - 1.
        # self.mean = (1 - m) * self.mean + m * mean
        # self.var = (1 - m) * self.var + m * var
        # [mistake] The mean is mended; the variance still forgets.
        # self.mean = (1 - m) * self.mean + m * mean
        # [end]
        return (x - mean) / np.sqrt(var + self.eps)


# [hint] A name without self. is forgotten when the function returns.
# [solved] See minidl/nn/batchnorm.py, and the list of what people fall into, docs/conventions.md.
