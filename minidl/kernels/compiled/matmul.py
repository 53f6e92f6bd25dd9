"""Matrix products: NumPy's own BLAS, called from within a loop, so that OpenMP's threads share them as they share all else."""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding
import numpy as np
from numba import prange, types

from .. import cpu, threads
from ..cpu.matmul import linear as linear_of
from .compile import PARALLEL, part, parts, shared
from .mathematics import f32

SMALL = 1 << 18  # multiplications: fewer are done before it is known who does them
ROWS, PLAIN, TURNED = 101, 111, 112  # words of CBLAS: by rows, as it lies, and transposed
NAMES = ("scipy_cblas_sgemm64_", "cblas_sgemm64_", "scipy_cblas_sgemm", "cblas_sgemm")  # the first two count in 64 bits


def _find() -> Any:
    """The sgemm of the OpenBLAS that NumPy uses, for loops to call; None where it uses another BLAS."""
    for library in threads.blas_of_numpy().lib_controllers:
        for name in NAMES if library.internal_api == "openblas" else ():
            function = getattr(library.dynlib, name, None)
            if function is not None:
                count, known = (types.int64, "minidl_sgemm64") if name.endswith("64_") else (types.int32, "minidl_sgemm32")
                llvmlite.binding.add_symbol(known, ctypes.cast(function, ctypes.c_void_p).value)
                matrix = [types.intp, count]  # its address, and how far apart its rows are
                sizes = [types.int32] * 3 + [count] * 3
                return types.ExternalFunction(
                    known, types.void(*sizes, types.float32, *matrix, *matrix, types.float32, *matrix)
                )
    return None


_sgemm: Any = _find() if PARALLEL else None


@shared
def _product(parts, a, b, c, m, n, k, by_rows):
    """(M, K) @ (K, N) -> (M, N), some rows or columns at a time; the matrices are as `_seen` has them."""
    for p in prange(parts):
        first, last = part(m if by_rows else n, p, parts)
        rows, columns = (last - first, n) if by_rows else (m, last - first)
        at_a = a[0] + (4 * first * (a[1] if a[2] == PLAIN else 1) if by_rows else 0)
        at_b = b[0] + (0 if by_rows else 4 * first * (1 if b[2] == PLAIN else b[1]))
        at_c = c[0] + 4 * first * (c[1] if by_rows else 1)
        _sgemm(ROWS, a[2], b[2], rows, columns, k, f32(1), at_a, a[1], at_b, b[1], f32(0), at_c, c[1])


def _seen(x: Any) -> tuple[int, int, int] | None:
    """The address of a matrix, how far apart its rows are, and PLAIN; or its columns, and TURNED. None where it is neither."""
    (m, n), (down, across) = x.shape, x.strides
    for order, length, near, far in ((PLAIN, n, across, down), (TURNED, m, down, across)):
        if near == 4 and far >= 4 * length and far % 4 == 0:
            return x.ctypes.data, far // 4, order
    return None


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast."""
    small = a.size * b.shape[-1] <= SMALL
    if small or a.ndim != 2 or b.ndim != 2 or not a.dtype == b.dtype == np.float32 or _sgemm is None:
        return cpu.matmul(a, b)
    (m, k), n, left, right = a.shape, b.shape[1], _seen(a), _seen(b)
    if left is None or right is None or k != len(b) or not m * n * k:
        return cpu.matmul(a, b)
    count = parts(max(m, n), threads.as_bytes(m * n * k))
    if count == 1:
        return a @ b
    threads.hold_blas()
    out = np.empty((m, n), np.float32)
    _product(count, left, right, _seen(out), m, n, k, m > n)
    return out


@shared
def _row(parts, out, x, w, bias):
    """One row times those of w, each of which goes by once."""
    for p in prange(parts):
        first, last = part(len(out), p, parts)
        for r in range(first, last):
            total = f32(0)
            for i in range(x.size):
                total += x[i] * w[r, i]
            out[r] = total if bias is None else total + bias[r]


def linear(x: Any, w: Any, bias: Any, with_relu: bool = False) -> Any:
    """As `minidl.kernels.cpu` does it, with these products; one row, as of a token that is generated, in a loop."""
    n, k = w.shape
    plain = 0 < x.size == k and x.dtype == w.dtype == np.float32 and w.flags.c_contiguous and not with_relu
    if not plain or (bias is not None and bias.dtype != np.float32):
        return linear_of(x, w, bias, with_relu, matmul)
    out = np.empty((*x.shape[:-1], n), np.float32)
    _row(parts(n, threads.as_bytes(w.size)), out.reshape(n), x.reshape(k), w, bias)
    return out
