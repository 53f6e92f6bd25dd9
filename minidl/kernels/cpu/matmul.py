"""Matrix products: BLAS on one core, shared out over the threads by columns or rows of the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast."""
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if a.ndim == b.ndim == 2 and a.dtype.kind == "f" and (work := threads.parts(max(m, n), m * n * k // 5))[1:]:
        out = np.empty((m, n), np.result_type(a, b))
        if n >= m:
            threads.run(lambda part: np.matmul(a, b[:, part], out=out[:, part]), work)
        else:
            threads.run(lambda part: np.matmul(a[part], b, out=out[part]), work)
        return out
    return a @ b
