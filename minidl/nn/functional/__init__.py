"""Layers and losses as functions. Those that are ops are only named here; the files beside this one compose the others."""

from ...ops.activation import gelu, logsigmoid, softplus
from ...ops.conv import conv2d
from ...ops.dropout import dropout
from ...ops.elementwise import sigmoid, tanh
from ...ops.index import one_hot
from ...ops.linear import linear
from ...ops.loss import cross_entropy, nll_loss
from ...ops.norm import batch_norm
from ...ops.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .activation import elu, hardtanh, leaky_relu, log_softmax, relu, relu6, selu, silu, softmax
from .distance import cosine_similarity, normalize
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .padding import pad

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "hardtanh",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
