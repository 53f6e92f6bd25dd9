"""The tensor cores: a GPU's circuits for products of tiles whose numbers have few bits, 16 times as quick and more."""

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


def operands(dtype: Any, of: str) -> str:
    """What operands of this dtype are rounded to, by name, in products ``of`` matrices ("matmul") or convolutions ("conv")."""
    wanted = precision.operands(of)
    if wanted == "float32" or dtype != SINGLE or not _are_there(cupy.cuda.get_device_id()):
        return _name(dtype)
    return wanted


@cache  # NumPy puts it together each time
def _name(dtype: Any) -> str:
    return np.dtype(dtype).name
