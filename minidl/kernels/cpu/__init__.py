"""Quick loops on the CPU, in NumPy; see `minidl.kernels` for the contract."""

from ..reference import in_one
from ..threads import share
from .block import conv2d_relu_pool
from .conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import add_at, bits, blockwise, erf, fused, relu, relu_grad, running_extreme
from .lines import log_softmax, log_softmax_at, log_softmax_at_grad, log_softmax_grad, softmax, softmax_grad
from .matmul import linear, matmul
from .norm import normalise, normalise_grad
from .pool import max_pool2d, max_pool2d_pick, max_pool2d_place, max_pool2d_taps, sum_pool2d, sum_pool2d_spread
from .reduce import sum
from .resize import resample
from .unfold import fold, unfold

__all__ = [
    "add_at",
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
    "normalise",
    "normalise_grad",
    "relu",
    "relu_grad",
    "resample",
    "running_extreme",
    "share",
    "softmax",
    "softmax_grad",
    "sum",
    "sum_pool2d",
    "sum_pool2d_spread",
    "unfold",
]
