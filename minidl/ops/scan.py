"""Running totals and order: cumulative sums and products, places in order."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..autograd import differentiable
from ..backend import xp
from ..shapes import wrap_dim, wrap_dims
from .layout import cat, flip, narrow, reshape
from .reduce import spread


@differentiable
def cumsum(input: Any, dim: int, dtype: Any = None) -> Any:
    """At each place along ``dim``, the sum of the elements up to it."""
    return _scan("cumsum", input, dim, dtype)


@differentiable
def cumprod(input: Any, dim: int, dtype: Any = None) -> Any:
    """At each place along ``dim``, the product of the elements up to it."""
    return _scan("cumprod", input, dim, dtype)


def _scan(op: str, input: Any, dim: int, dtype: Any) -> Any:
    dim = wrap_dim(dim, input.ndim, op)
    if dtype is None and input.dtype.kind != "f":
        dtype = dtypes.int64
    wanted = input.dtype if dtype is None else dtypes.as_dtype(dtype).dtype
    return getattr(xp(input), op)(input, dim, wanted) if input.ndim else input.astype(wanted)


def _reverse_cumsum(g: Any, dim: int) -> Any:
    return flip(cumsum(flip(g, dim), dim), dim) if len(g.shape) else g


def _cumprod_rule(g: Any, input: Any, out: Any, dim: int) -> Any:
    """``d out[k] / d x[i] = prod of x[j], j <= k, j != i``: by division where no element is 0, else without it.

    Without it: the product of what stands before i, times ``s[i] = g[i] + x[i + 1] * s[i + 1]``.
    """
    if not len(input.shape):
        return g
    if not (input == 0).any():
        return _reverse_cumsum(g * out, dim) / input
    s = narrow(g, dim, input.shape[dim] - 1, 1)
    sums = [s]
    for i in reversed(range(input.shape[dim] - 1)):
        s = narrow(g, dim, i, 1) + narrow(input, dim, i + 1, 1) * s
        sums.insert(0, s)
    return _products(input, dim, False) * cat(sums, dim)


cumsum.vjp(input=lambda g, dim: _reverse_cumsum(g, dim))
cumprod.vjp(input=_cumprod_rule)


@differentiable
def prod(input: Any, dim: int | None = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The product over ``dim``, or of all elements. Bools and integers multiply in int64."""
    if dtype is None and input.dtype.kind != "f":
        dtype = dtypes.int64
    dims = wrap_dims(dim, input.ndim, "prod")
    return input.prod(dims, None if dtype is None else dtypes.as_dtype(dtype).dtype, keepdims=keepdim)


def _prod_rule(g: Any, input: Any, dim: Any) -> Any:
    """Times the product of all *other* elements, found without division so that zeros are no trouble."""
    flat = reshape(input, (-1,)) if dim is None else input
    axis = 0 if dim is None else wrap_dim(dim, len(input.shape), "prod")
    others = _products(flat, axis, False) * _products(flat, axis, True)
    return spread(g, input.shape, dim, "prod") * reshape(others, tuple(input.shape))


def _products(x: Any, dim: int, after: bool) -> Any:
    """At each place along ``dim``, the product of the elements before it (or after it)."""
    if not x.shape or x.shape[dim] == 0:
        return x * 0 + 1
    x = flip(x, dim) if after else x
    one = narrow(x, dim, 0, 1) * 0 + 1
    out = cat([one, cumprod(narrow(x, dim, 0, x.shape[dim] - 1), dim)], dim)
    return flip(out, dim) if after else out


prod.vjp(input=_prod_rule)


@differentiable
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The places of the elements along ``dim`` in rising (or falling) order; always stable."""
    dim = wrap_dim(dim, input.ndim, "argsort")
    m = xp(input)
    if not input.ndim:
        return m.zeros((), "int64")
    if not descending:
        return m.argsort(input, dim, kind="stable")
    n = input.shape[dim]  # sorting the reversed input and reversing the result keeps equal elements in order
    return n - 1 - m.flip(m.argsort(m.flip(input, dim), dim, kind="stable"), dim)
