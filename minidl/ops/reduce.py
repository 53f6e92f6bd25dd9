"""Many numbers to few: sums, means, extremes, sums of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import broadcast_to, differentiable
from ..backend import kernels, xp
from ..dtypes import check_floating
from ..shapes import ShapeError, wrap_dim, wrap_dims
from .elementwise import abs, exp, sign, where
from .layout import reshape


def _over(dim: Any, ndim: int, op: str) -> tuple[int, ...]:
    """The dimensions that are reduced: all of them for None and, as in PyTorch, for an empty tuple or list."""
    return wrap_dims(None if dim in ((), []) else dim, ndim, op)


def _kept(shape: Any, dim: Any, op: str) -> tuple[int, ...]:
    """The shape with the reduced dimensions left at size 1."""
    dims = _over(dim, len(shape), op)
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def spread(x: Any, shape: Any, dim: Any, op: str) -> Any:
    """A reduced tensor stretched back to the shape it was reduced from."""
    return broadcast_to(reshape(x, _kept(shape, dim, op)), tuple(shape))


def _count(shape: Any, dim: Any, op: str) -> int:
    return math.prod(shape[i] for i in _over(dim, len(shape), op))


def _in(dtype: Any, input: Any) -> Any:
    """``input`` in ``dtype``, if one was asked for."""
    return input if dtype is None else input.astype(dtypes.as_dtype(dtype).dtype, copy=False)


@differentiable
def sum(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The sum over ``dim`` (one, several, or None for all). Bools and integers add up in int64."""
    input = _in(dtypes.int64 if dtype is None and input.dtype.kind != "f" else dtype, input)
    return kernels(input).sum(input, _over(dim, input.ndim, "sum"), keepdim)


@differentiable
def mean(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The mean over ``dim`` (one, several, or None for all)."""
    input = _in(dtype, input)
    check_floating("mean", input)
    dims = _over(dim, input.ndim, "mean")
    if input.size == 0:  # 0 / 0, without NumPy's warning
        return xp(input).full(input.sum(dims, keepdims=keepdim).shape, math.nan, input.dtype)
    if input.dtype == "float16":  # whose sum may be too large for it
        return input.mean(dims, keepdims=keepdim)
    return kernels(input).sum(input, dims, keepdim) / _count(input.shape, dim, "mean")


sum.vjp(input=lambda g, input_shape, dim: spread(g, input_shape, dim, "sum"))
mean.vjp(input=lambda g, input_shape, dim: spread(g / (_count(input_shape, dim, "mean") or 1), input_shape, dim, "mean"))


@differentiable
def _root(input: Any) -> Any:
    return xp(input).sqrt(input)


def _root_rule(g: Any, out: Any) -> Any:
    zero = out == 0
    return where(zero, 0.0, g / where(zero, 1.0, 2 * out))


_root.op.name = "std"
_root.vjp(input=_root_rule)


# -- extremes


def _some(op: str, input: Any, dims: Any) -> Any:
    """``dims``, once it is known that there is an element to choose."""
    if 0 in [input.shape[i] for i in dims]:
        raise ShapeError(f"{op}: no element to choose from in shape {input.shape} along {dims or 'all'}")
    return dims


@differentiable
def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element over ``dim``; equal ones share the gradient equally."""
    return input.max(_some("amax", input, _over(dim, input.ndim, "amax")), keepdims=keepdim)


@differentiable
def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element over ``dim``; equal ones share the gradient equally."""
    return input.min(_some("amin", input, _over(dim, input.ndim, "amin")), keepdims=keepdim)


def _extreme_rule(g: Any, out: Any, input: Any, dim: Any) -> Any:
    hits = (input == spread(out, input.shape, dim, "amax")) * 1.0
    return spread(g, input.shape, dim, "amax") * (hits / sum(hits, dim, True))


amax.vjp(input=_extreme_rule)
amin.vjp(input=_extreme_rule)


@differentiable
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The place of the largest element (the first of equal ones) along ``dim``, or in the flattened tensor."""
    return _arg("argmax", input, dim, keepdim)


@differentiable
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The place of the smallest element (the first of equal ones) along ``dim``, or in the flattened tensor."""
    return _arg("argmin", input, dim, keepdim)


def _arg(op: str, input: Any, dim: int | None, keepdim: bool) -> Any:
    dims = _some(op, input, wrap_dims(dim, input.ndim, op))
    axis = None if dim is None or not input.ndim else dims[0]
    return getattr(xp(input), op)(input, axis, keepdims=keepdim and input.ndim > 0)


@differentiable
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether every element is true (not 0)."""
    return _truth("all", input, dim, keepdim)


@differentiable
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether some element is true (not 0)."""
    return _truth("any", input, dim, keepdim)


def _truth(op: str, input: Any, dim: Any, keepdim: bool) -> Any:
    out = getattr(xp(input), op)(input, wrap_dims(dim, input.ndim, op), keepdims=keepdim)
    return out.astype(input.dtype) if input.dtype == "uint8" else out  # PyTorch's bool of old


@differentiable
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not 0."""
    return xp(input).count_nonzero(input, wrap_dims(dim, input.ndim, "count_nonzero"))


# -- sums of exponentials, norms


@differentiable(promotes="float")
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """``log(sum(exp(input)))`` over ``dim``, without overflow: the largest element is taken out first."""
    m, dims = xp(input), _over(dim, input.ndim, "logsumexp")
    kept = _kept(input.shape, dim, "logsumexp")
    top = input.max(dims, keepdims=True) if input.size else m.zeros(kept, input.dtype)
    top = m.where(m.isfinite(top), top, m.zeros_like(top))
    with np.errstate(divide="ignore"):  # the log of an empty sum is -inf
        out = m.log(m.exp(input - top).sum(dims, keepdims=True)) + top
    return out if keepdim else out.reshape([n for i, n in enumerate(input.shape) if i not in dims])


def _logsumexp_rule(g: Any, input: Any, out: Any, dim: Any) -> Any:
    return spread(g, input.shape, dim, "logsumexp") * exp(input - spread(out, input.shape, dim, "logsumexp"))


logsumexp.vjp(input=_logsumexp_rule)


@differentiable
def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """``exp(input) / sum(exp(input))`` along ``dim``: positive numbers that add up to 1."""
    input = _in(dtype, input)
    check_floating("softmax", input)
    dim = wrap_dim(dim, input.ndim, "softmax")
    return kernels(input).softmax(input, dim) if input.ndim else xp(input).ones_like(input)


@differentiable
def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """``log(softmax(input))`` along ``dim``, computed as ``input - logsumexp(input)``."""
    input = _in(dtype, input)
    check_floating("log_softmax", input)
    dim = wrap_dim(dim, input.ndim, "log_softmax")
    return kernels(input).log_softmax(input, dim) if input.ndim else xp(input).zeros_like(input)


@differentiable
def _softmax_grad(g_out: Any, out: Any, dim: int) -> Any:
    return kernels(out).softmax_grad(g_out, out, dim % out.ndim) if out.ndim else g_out * 0


@differentiable
def _log_softmax_grad(g_out: Any, out: Any, dim: int) -> Any:
    return kernels(out).log_softmax_grad(g_out, out, dim % out.ndim) if out.ndim else g_out * 0


softmax.vjp(input=lambda g, out, dim: _softmax_grad(g, out, dim))
log_softmax.vjp(input=lambda g, out, dim: _log_softmax_grad(g, out, dim))
_softmax_grad.vjp(  # as a map of g_out it is symmetric
    g_out=lambda g, out, dim: _softmax_grad(g, out, dim),
    out=lambda g, g_out, out, dim: g * (g_out - sum(g_out * out, dim, True)) - g_out * sum(g * out, dim, True),
)
_log_softmax_grad.vjp(
    g_out=lambda g, out, dim: g - sum(g * exp(out), dim, True),
    out=lambda g, g_out, out, dim: -g * exp(out) * sum(g_out, dim, True),
)


@differentiable
def _norm_p(input: Any, p: float, dim: Any, keepdim: bool) -> Any:
    return (xp(input).abs(input) ** p).sum(_over(dim, input.ndim, "norm"), keepdims=keepdim) ** (1 / p)


def _norm_p_rule(g: Any, input: Any, out: Any, p: float, dim: Any) -> Any:
    """``sign(x) * (|x| / norm) ** (p - 1)``, and 0 where that is a power of 0."""
    size, length = abs(input), spread(out, input.shape, dim, "norm")
    zero = size == 0
    share = where(zero, 1.0, size) / where(length == 0, 1.0, length)
    return spread(g, input.shape, dim, "norm") * where(zero, 0.0, sign(input) * share ** (p - 1))


@differentiable
def _norm2(input: Any, dim: Any, keepdim: bool) -> Any:
    return xp(input).sqrt((input * input).sum(_over(dim, input.ndim, "norm"), keepdims=keepdim))


def _norm2_rule(g: Any, input: Any, out: Any, dim: Any) -> Any:
    length = spread(out, input.shape, dim, "norm")
    zero = length == 0
    return spread(g, input.shape, dim, "norm") * where(zero, 0.0, input / where(zero, 1.0, length))


_norm_p.op.name = _norm2.op.name = "norm"
_norm_p.vjp(input=_norm_p_rule)
_norm2.vjp(input=_norm2_rule)
