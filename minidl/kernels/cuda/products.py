"""Products of matrices: by cublasLt, or by our own kernel."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from . import cublaslt
from .cores import operands, rounded
from .loader import empty, launch, plain

TILE, THREADS = 64, 128  # of gemm.cu and tiles.cuh
BLOCKS = 264  # that a large GPU can work on at a time: two on each of its multiprocessors
SHORTEST = 256  # products in a part of a sum: with fewer, adding up the parts takes longer than is gained


def multiply(a: Any, b: Any, out: Any, bias: Any = None, with_relu: bool = False) -> None:
    """``out = a @ b``, then the bias of each column added, then cut off at 0.

    Which of the two does it is decided here. The library's kernels are NVIDIA's own for each GPU, have tensor cores and cut
    long sums as ours does, so they go first. Ours is for where the library is not installed, and for what it says it cannot do
    (some sums in float64, sizes of 0). Whether ours is the quicker somewhere has not been measured.
    """
    after = ("relu" if with_relu else "") if bias is None else "relu_bias" if with_relu else "bias"
    compute = operands(a.dtype, "matmul")
    if not a.shape[-1] or cublaslt.library() is None or not cublaslt.product(a, b, out, compute, after, bias):
        own(a, b, out, bias, with_relu)


def own(a: Any, b: Any, out: Any, bias: Any = None, with_relu: bool = False) -> None:
    """The same by gemm.cu. float16, only a way to keep numbers, is computed in float32."""
    dtype = np.dtype(np.float32 if out.dtype == np.float16 else out.dtype)
    types: dict[str, Any] = {"real": dtype, "operand": operands(dtype, "matmul")}
    whole = out if out.dtype == dtype and out.flags.c_contiguous else empty(out.shape, dtype)
    a, b, bias = (x if x is None else x.astype(dtype, copy=False) for x in (a, b, bias))
    (*batch, m, n), k, count = out.shape, a.shape[-1], math.prod(out.shape[:-2])
    (a, turned_a, step_a), (b, turned_b, step_b) = (_lying(x, tuple(batch)) for x in (a, b))
    tiles = -(-m // TILE) * -(-n // TILE) * count
    splits = parts(tiles, k)
    to = whole if splits == 1 else empty((splits, *out.shape), dtype)
    sizes = count, m, n, k, turned_a, turned_b, step_a, step_b, splits, -(-k // splits)
    launch("gemm", "gemm", (tiles * splits,), a, b, bias, to, *sizes, int(with_relu), block=THREADS, **types)
    if splits > 1:
        launch("gemm", "add_parts", out.size, to, bias, whole, out.size, n, splits, int(with_relu), **types)
    if whole is not out:
        out[...] = whole


def parts(tiles: int, k: int) -> int:
    """In how many parts sums of ``k`` products are cut, so that all of the GPU has work."""
    return max(1, min(BLOCKS // max(tiles, 1), k // SHORTEST))


def _lying(x: Any, batch: tuple[int, ...]) -> tuple[Any, int, int]:
    """A factor as it lies in memory, without gaps; whether it lies transposed; and how far it is from matrix to matrix."""
    step = math.prod(x.shape[-2:])
    if math.prod(x.shape[:-2]) == 1:
        x, step = x.reshape(x.shape[-2:]), 0
    elif x.shape[:-2] != batch:
        x = cupy.broadcast_to(x, (*batch, *x.shape[-2:]))
    turned = x.swapaxes(-1, -2)
    return (turned, 1, step) if turned.flags.c_contiguous and not x.flags.c_contiguous else (plain(x), 0, step)


def _rows(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """The matrix product of the last two dimensions, in ``out`` if there is one; the others broadcast."""
    if a.dtype.kind != "f":
        return cupy.matmul(a, b, out=out)
    if out is None and b.ndim == 2 < a.ndim and a.flags.c_contiguous:  # one product, of all rows
        return matmul(_rows(a), b).reshape(*a.shape[:-1], b.shape[1])
    if out is None:
        out = empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    if out.size:
        multiply(a, b, out)
    return out


def linear(x: Any, w: Any, bias: Any, with_relu: bool = False) -> Any:
    """The rows of x times those of w, the bias added, and cut off at 0."""
    out = empty((math.prod(x.shape[:-1]), len(w)), x.dtype)
    if out.size:
        multiply(_rows(x), w.T, out, None if bias is None else plain(bias), with_relu)
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], len(w))


def linear_grad(g: Any, x: Any) -> tuple[Any, Any] | None:
    """The gradients of a linear layer's weight and bias in one product, by the library only: what is multiplied is also added
    up. Not where it is rounded for that, since sums should not be.
    """
    if rounded(g.dtype, "matmul") or not g.size * x.size or cublaslt.library() is None:
        return None
    g, x = _rows(g), _rows(x)
    gw, gb = empty((g.shape[1], x.shape[1]), g.dtype), empty(g.shape[1], g.dtype)
    return (gw, gb) if cublaslt.product(g.T, x, gw, epilogue="bgradb", bias=gb) else None
