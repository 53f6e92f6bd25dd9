"""Which kernels run on the CPU."""

from __future__ import annotations

import importlib.util
import os
import warnings
from types import ModuleType

from . import cpu


def quickest() -> ModuleType:
    """The compiled loops where Numba is installed, unless ``MINIDL_COMPILED`` is 0; else those of NumPy."""
    if os.environ.get("MINIDL_COMPILED") != "0" and importlib.util.find_spec("numba"):
        try:
            return importlib.import_module("minidl.kernels.compiled")
        except ImportError as error:  # for this Python or this NumPy
            warnings.warn(f"minidl: Numba is installed but cannot be used, so NumPy's loops run: {error}", stacklevel=2)
    return cpu
