"""Quick loops on the CPU, in NumPy; see `minidl.kernels` for the contract."""

from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import add_at, blockwise, erf, relu, relu_grad
from .matmul import matmul
from .norm import batch_norm, batch_norm_grad
from .pool import max_pool2d, max_pool2d_pick, max_pool2d_place, sum_pool2d, sum_pool2d_spread

__all__ = [
    "add_at",
    "batch_norm",
    "batch_norm_grad",
    "blockwise",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "erf",
    "matmul",
    "max_pool2d",
    "max_pool2d_pick",
    "max_pool2d_place",
    "relu",
    "relu_grad",
    "sum_pool2d",
    "sum_pool2d_spread",
]
