"""How precisely products are computed on a GPU: to how many bits their operands are rounded. Sums are in float32 all the same.

===========  ==================  ==========================  ======================================
operands     bits of a fraction  largest number              what it is for
===========  ==================  ==========================  ======================================
float32      23                  3.4e38                      the default; no tensor cores
tf32         10                  3.4e38                      `minidl.set_float32_matmul_precision`
float16      10                  65504                       `minidl.autocast`, with a `GradScaler`
bfloat16     7                   3.4e38                      `minidl.autocast`
===========  ==================  ==========================  ======================================

The kernels of the CPU know nothing of it, and neither do products of float64.
"""

from __future__ import annotations

import threading


class _Here(threading.local):
    autocast: str | None = None  # "bfloat16" or "float16", inside `minidl.autocast`


here = _Here()
allowed = {"matmul": "float32", "conv": "float32"}  # outside it, for products of matrices and convolutions; of all threads


def operands(of: str) -> str:
    """What operands in float32 are rounded to now, in products ``of`` matrices ("matmul") or in convolutions ("conv")."""
    return here.autocast or allowed[of]
