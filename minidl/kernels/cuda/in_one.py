"""What kernels do in one pass where others take several steps, by name."""

from __future__ import annotations

from typing import Any

from .attention import attention
from .conv import conv2d_parameters_grad
from .conv_pool import conv2d_relu_pool_grad
from .elementwise import cat
from .lines import class_loss, class_loss_grad
from .loader import FLOATS
from .pool import max_pool2d_grad
from .products import linear_grad
from .recurrent import STEPS

FUNCTIONS = attention, class_loss, class_loss_grad, conv2d_parameters_grad, conv2d_relu_pool_grad, linear_grad, max_pool2d_grad
NAMES: dict[str, Any] = {function.__name__: function for function in FUNCTIONS} | STEPS


def in_one(name: str, dtype: Any) -> Any:
    """The function of this name on float32 or float64; arrays of any kind are joined."""
    return cat if name == "cat" else NAMES.get(name) if dtype in FLOATS else None
