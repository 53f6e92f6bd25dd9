"""The tensor cores: a GPU's circuits for products of tiles whose numbers have few bits, 16 times as quick and more."""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import numpy as np

from .. import precision


@cache
def _are_there(device: int) -> bool:
    """For all that `precision` names; older ones know float16 only."""
    return bool(cupy.cuda.runtime.getDeviceProperties(device)["major"] >= 8)


def operands(dtype: Any, of: str) -> str:
    """What operands of this dtype are rounded to, by name, in products ``of`` matrices ("matmul") or convolutions ("conv")."""
    wanted = precision.operands(of) if dtype == np.float32 else "float32"
    return wanted if wanted != "float32" and _are_there(cupy.cuda.get_device_id()) else np.dtype(dtype).name
