"""What kernels do in one pass where others take several steps, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from .attention import attention
from .conv_pool import conv2d_relu_pool_grad
from .elementwise import cat
from .products import linear_grad
from .recurrent import STEPS

NAMES: dict[str, Any] = {function.__name__: function for function in (attention, conv2d_relu_pool_grad, linear_grad)} | STEPS


def in_one(name: str, dtype: Any) -> Any:
    """The function of this name on float32 or float64; arrays of any kind are joined."""
    return cat if name == "cat" else NAMES.get(name) if dtype in (np.float32, np.float64) else None
