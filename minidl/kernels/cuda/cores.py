"""The tensor cores: a GPU's circuits for products of tiles whose numbers have few bits, 7 to 16 times as quick."""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import numpy as np

from .. import precision
from .loader import SINGLE


@cache
def _are_there(device: int) -> bool:
    """For all that `precision` names; older ones know float16 only."""
    return bool(cupy.cuda.runtime.getDeviceProperties(device)["major"] >= 8)


def rounded(dtype: Any, of: str) -> bool:
    """Whether operands of this dtype are rounded, in products ``of`` matrices ("matmul") or convolutions ("conv")."""
    return precision.operands(of) != "float32" and dtype == SINGLE and _are_there(cupy.cuda.get_device_id())


def operands(dtype: Any, of: str) -> str:
    """To what, by name; of those that are not the name of their dtype."""
    return precision.operands(of) if rounded(dtype, of) else _name(dtype)


@cache  # NumPy puts it together each time
def _name(dtype: Any) -> str:
    return np.dtype(dtype).name
