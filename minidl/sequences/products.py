"""Products of matrices by the thread that asks for them."""

from __future__ import annotations

from typing import Any

from ..backend import gpu_types, kernels, xp


def product(a: Any, b: Any, out: Any = None) -> Any:
    """``a @ b``, in ``out`` if there is one: NumPy's own, or on a GPU the provider's."""
    return kernels(a).matmul(a, b, out) if type(a) in gpu_types else xp(a).matmul(a, b, out=out)
