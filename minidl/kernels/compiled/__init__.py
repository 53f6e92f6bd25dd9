"""Loops on the CPU, compiled by Numba: what NumPy needs several passes over memory for is done in one.

For float32, and where it pays; all else is `minidl.kernels.cpu`'s. See `minidl.kernels` for the contract.
"""

from typing import Any

from .. import cpu
from .conv import conv2d, conv2d_input_grad, conv2d_relu_pool, conv2d_weight_grad
from .elementwise import blockwise, erf
from .lines import log_softmax, log_softmax_at, log_softmax_at_grad, log_softmax_grad, softmax, softmax_grad
from .matmul import linear, matmul
from .norm import normalise, normalise_grad
from .pool import max_pool2d_place, max_pool2d_taps, sum_pool2d, sum_pool2d_spread
from .recurrent import in_one
from .resize import resample
from .scatter import add_at

__all__ = [
    "add_at",
    "blockwise",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_relu_pool",
    "conv2d_weight_grad",
    "erf",
    "in_one",
    "linear",
    "log_softmax",
    "log_softmax_at",
    "log_softmax_at_grad",
    "log_softmax_grad",
    "matmul",
    "max_pool2d_place",
    "max_pool2d_taps",
    "normalise",
    "normalise_grad",
    "resample",
    "softmax",
    "softmax_grad",
    "sum_pool2d",
    "sum_pool2d_spread",
]


def __getattr__(name: str) -> Any:
    """What is not here is `minidl.kernels.cpu`'s."""
    return getattr(cpu, name)
