"""The kernels on NVIDIA GPUs, over CuPy's arrays; see `minidl.kernels` for the contract.

What CuPy does well (arithmetic, say) is left to it, and products of matrices to cublasLt; the rest are CUDA kernels in the .cu
files beside this. Arrays lie in C order. Nothing here waits for the GPU. Beyond the contract there are random numbers:
``bits``, ``uniform``, ``normal`` and ``keep``; ``augmented`` for pictures, ``unscale`` for gradients; and to capture steps,
``Graph``, ``Drawn`` and ``suitable``.
"""

from .capture import Drawn, Graph, suitable
from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .conv_pool import conv2d_relu_pool
from .elementwise import add_at, erf, relu, relu_grad, running_extreme, share
from .in_one import in_one
from .lines import log_softmax, log_softmax_at, log_softmax_at_grad, log_softmax_grad, softmax, softmax_grad
from .norm import normalise, normalise_grad
from .pictures import augmented
from .pool import (
    fold,
    max_pool2d,
    max_pool2d_pick,
    max_pool2d_place,
    max_pool2d_taps,
    sum_pool2d,
    sum_pool2d_spread,
    unfold,
)
from .products import linear, matmul
from .random import bits, keep, normal, uniform
from .resize import resample
from .sums import sum
from .traced import blockwise, fused
from .unscale import unscale

__all__ = [
    "Drawn",
    "Graph",
    "add_at",
    "augmented",
    "bits",
    "blockwise",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_relu_pool",
    "conv2d_weight_grad",
    "erf",
    "fold",
    "fused",
    "in_one",
    "keep",
    "linear",
    "log_softmax",
    "log_softmax_at",
    "log_softmax_at_grad",
    "log_softmax_grad",
    "matmul",
    "max_pool2d",
    "max_pool2d_pick",
    "max_pool2d_place",
    "max_pool2d_taps",
    "normal",
    "normalise",
    "normalise_grad",
    "relu",
    "relu_grad",
    "resample",
    "running_extreme",
    "share",
    "softmax",
    "softmax_grad",
    "suitable",
    "sum",
    "sum_pool2d",
    "sum_pool2d_spread",
    "unfold",
    "uniform",
    "unscale",
]
