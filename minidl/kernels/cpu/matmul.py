"""Matrix products: BLAS on one core, shared out over the threads by columns or rows of the result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import threads


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast."""
    small = 32 * a.size * b.shape[-1] <= threads.WORTH_A_THREAD  # done before it is known how small: the usual case, quickly
    if small or a.ndim != 2 or b.ndim != 2 or a.dtype.kind != "f":
        return a @ b
    (m, k), n = a.shape, b.shape[1]
    nbytes = max(threads.as_bytes(m * n * k), (m * k + k * n + m * n) * a.itemsize)
    work = threads.parts(max(m, n), nbytes)
    if len(work) < 2:
        return a @ b
    out = np.empty((m, n), np.result_type(a, b))
    if n >= m:
        threads.run(lambda part: np.matmul(a, b[:, part], out=out[:, part]), work)
    else:
        threads.run(lambda part: np.matmul(a[part], b, out=out[part]), work)
    return out


def linear(x: Any, w: Any, bias: Any, with_relu: bool = False, product: Any = matmul) -> Any:
    """The product of the rows of x with those of w, cut off at 0 if that is wanted. A matrix keeps its memory order:
    batch-innermost, it is quicker.
    """
    alone = x.size == x.shape[-1]  # one row, as of a token that is generated: there is no order to keep
    flat = x if alone or x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    out = product(flat, w.T) if alone or flat.strides[0] >= flat.strides[1] else product(w, flat.T).T
    if bias is not None:
        out += bias
    if with_relu:
        np.maximum(out, 0, out=out)
    return out if flat is x else out.reshape(*x.shape[:-1], w.shape[0])
