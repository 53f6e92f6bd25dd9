"""Activations that are put together of ops, or can work in place; and softmax with its relatives."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ..._tensor import Tensor
from ...autograd.inplace import change
from ...dtypes import check_floating, finfo
from ...functions.arithmetic import masked_fill
from ...functions.sampling import rand_like
from ...ops import activation, elementwise, reduce
from ...ops.elementwise import abs, clamp, log, sigmoid, tanh, where
from ...ops.index import scatter
from ...ops.layout import narrow, reshape, zeros_for
from ...shapes import ShapeError, wrap_dim


def _activate(op: Callable[..., Any], input: Any, inplace: bool, *options: Any, name: str | None = None) -> Any:
    """``op(input, *options)``, put in the place of ``input`` if ``inplace``."""
    return change(input, op, options, {}, f"{name or op.__name__}_") if inplace else op(input, *options)


def _numbers(op: str, input: Any) -> None:
    if input.dtype == bool:
        raise TypeError(f"{op}: wants numbers, got bool")


# -- rectifiers


def relu(input: Any, inplace: bool = False) -> Tensor:
    """``max(input, 0)``."""
    return _activate(elementwise.relu, input, inplace)


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """``min(max(input, 0), 6)``. Source: Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010."""
    _numbers("relu6", input)
    return _activate(activation.hardtanh, input, inplace, 0.0, 6.0, name="relu6")


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, ``negative_slope * input`` elsewhere."""
    return _activate(activation.leaky_relu, input, inplace, negative_slope)


def prelu(input: Any, weight: Any) -> Tensor:
    """``input`` where it is positive, ``weight * input`` elsewhere: one weight for all, or one for each channel (dimension 1).

    Source: He et al., Delving Deep into Rectifiers, 2015.

    Raises
    ------
    ShapeError
        If ``weight`` is neither a single number nor as long as there are channels (one, without a dimension 1).
    TypeError
        If the two differ in dtype.
    """
    if input.dtype != weight.dtype:
        raise TypeError(f"prelu: input is {input.dtype} and weight {weight.dtype}; they must have the same dtype")
    check_floating("prelu", input)
    ndim, n = len(input.shape), tuple(weight.shape)
    if n not in ((), (1,)):
        channels = input.shape[1] if ndim > 1 else 1
        if not ndim or n != (channels,):
            raise ShapeError(f"prelu: weight must have shape (1,) or ({channels},), one for each channel, got {n}")
        weight = reshape(weight, (channels,) + (1,) * (ndim - 2))
    elif n and not ndim:
        weight = reshape(weight, ())
    positive = input > 0
    return where(positive, input, weight * where(positive, 0.0, input))


def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """`leaky_relu` with a slope drawn for each element, evenly between ``lower`` and ``upper``; when not ``training``, with
    the mean of the two.

    Source: Xu et al., Empirical Evaluation of Rectified Activations, 2015.
    """
    if lower > upper:
        raise ValueError(f"rrelu: lower {lower} must not be above upper {upper}")
    check_floating("rrelu", input)
    if training:
        return _activate(activation.random_leaky_relu, input, inplace, lower, upper, name="rrelu")
    return _activate(activation.leaky_relu, input, inplace, (lower + upper) / 2, name="rrelu")


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it is above ``threshold``, ``value`` elsewhere."""
    _numbers("threshold", input)
    return _activate(_threshold, input, inplace, threshold, value, name="threshold")


def _threshold(input: Any, threshold: float, value: float) -> Any:
    return masked_fill(input, input <= threshold, value)


# -- exponential ones


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, ``alpha * (exp(input) - 1)`` elsewhere."""
    return _activate(activation.elu, input, inplace, alpha)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, ``alpha * (exp(input / alpha) - 1)`` elsewhere. Source: Barron, 2017."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    check_floating("celu", input)
    return _activate(activation.elu, input, inplace, alpha, 1.0, 1 / alpha, name="celu")


def selu(input: Any, inplace: bool = False) -> Tensor:
    """``scale * elu(input, alpha)`` with the constants that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    check_floating("selu", input)
    return _activate(activation.elu, input, inplace, 1.6732632423543772848, 1.0507009873554804934, name="selu")


def silu(input: Any, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``."""
    return _activate(activation.silu, input, inplace)


def mish(input: Any, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))``."""
    return _activate(activation.mish, input, inplace)


def softsign(input: Any) -> Tensor:
    """``input / (1 + |input|)``."""
    _numbers("softsign", input)
    return input / (1 + abs(input))


def tanhshrink(input: Any) -> Tensor:
    """``input - tanh(input)``."""
    _numbers("tanhshrink", input)
    return input - tanh(input)


def glu(input: Any, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)`` for the two halves ``a`` and ``b`` of ``input`` along ``dim``. Source: Dauphin et al., 2017.

    Raises
    ------
    ShapeError
        If there is an odd number to halve.
    """
    if not len(input.shape) or input.shape[wrap_dim(dim, len(input.shape), "glu")] % 2:
        raise ShapeError(f"glu: wants an even size along dim {dim} to halve, got shape {tuple(input.shape)}")
    check_floating("glu", input)
    half = input.shape[dim] // 2
    return narrow(input, dim, 0, half) * sigmoid(narrow(input, dim, half, half))


# -- of straight pieces


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` held between ``min_val`` and ``max_val``."""
    return _activate(activation.hardtanh, input, inplace, min_val, max_val)


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """``relu6(input + 3) / 6``."""
    return _activate(activation.hardsigmoid, input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """``input * hardsigmoid(input)``."""
    return _activate(activation.hardswish, input, inplace)


def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """0 between ``-lambd`` and ``lambd``, ``input`` elsewhere."""
    check_floating("hardshrink", input)
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """``input`` moved towards 0 by ``lambd``, and 0 where that would cross it."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    check_floating("softshrink", input)
    return input - clamp(input, -lambd, lambd)


def _in_place(function: Callable[..., Any]) -> Any:
    """The form of an activation that changes its input."""

    @functools.wraps(function)
    def changed(input: Any, *args: Any, **options: Any) -> Any:
        return function(input, *args, **options, inplace=True)

    changed.__name__ = changed.__qualname__ = f"{function.__name__}_"
    changed.__doc__ = f"`{function.__name__}` put in the place of ``input``."
    return changed


relu_, leaky_relu_, rrelu_ = _in_place(relu), _in_place(leaky_relu), _in_place(rrelu)
elu_, celu_, selu_ = _in_place(elu), _in_place(celu), _in_place(selu)
hardtanh_, threshold_ = _in_place(hardtanh), _in_place(threshold)


# -- softmax


def _cast(input: Any, dim: int | None, dtype: Any, op: str) -> Any:
    if dim is None:
        raise TypeError(f"{op}: give dim, the dimension of the classes; there is no good default (PyTorch's is deprecated)")
    return input if dtype is None else input.to(dtype)


def softmax(input: Any, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """``exp(input) / sum(exp(input))`` along ``dim``, computed in ``dtype`` where that is given."""
    return reduce.softmax(_cast(input, dim, dtype, "softmax"), dim)


def softmin(input: Any, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """``softmax(-input)``."""
    return reduce.softmax(-_cast(input, dim, dtype, "softmin"), dim)


def log_softmax(input: Any, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """``log(softmax(input))`` along ``dim``, computed in ``dtype`` where that is given."""
    return reduce.log_softmax(_cast(input, dim, dtype, "log_softmax"), dim)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A draw from the classes along ``dim`` with the probabilities ``softmax(logits)``, made smooth: softmax of ``logits`` plus
    noise, over the temperature ``tau``. With ``hard`` the largest becomes 1 and the others 0, and the gradient stays.

    Source: Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
    """
    if eps != 1e-10:
        warnings.warn("gumbel_softmax: eps has no effect, as in PyTorch", UserWarning, stacklevel=2)
    check_floating("gumbel_softmax", logits)
    waiting = clamp(-log(1 - rand_like(logits)), finfo(logits.dtype).tiny)  # 0 would be a class that is always drawn
    soft = reduce.softmax((logits - log(waiting)) / tau, dim)
    if not hard:
        return soft
    largest = reduce.argmax(soft, dim, True)
    return scatter(zeros_for(soft.detach(), soft.shape), dim, largest, 1.0) - soft.detach() + soft
