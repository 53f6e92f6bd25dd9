"""The nonlinear functions between layers. `relu`, `sigmoid` and `tanh` are with the other functions of one number, and what
needs no rule of its own is in `nn.functional`.

Where a function has a kink the rule follows PyTorch: at it, the slope of the left side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ..autograd import differentiable
from ..backend import xp
from ..devices import device_of
from ..dtypes import check_floating
from ..random import rng
from .blocks import blocked
from .elementwise import erf, exp, minimum, sigmoid, tanh, where


def _activation(forward: Callable[..., Any]) -> Any:
    """An op on floating numbers, element by element."""
    name, compute = forward.__name__.strip("_"), blocked(forward)

    @functools.wraps(forward)
    def checked(input: Any, *options: Any) -> Any:
        check_floating(name, input)
        return compute(input, *options)

    return differentiable(checked)


@_activation
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """``input`` where it is positive, ``negative_slope * input`` elsewhere. Source: Maas et al., 2013."""
    m = xp(input)  # a sum, for m.where is slow
    return m.maximum(input, 0) + negative_slope * m.minimum(input, 0)


@_activation
def elu(input: Any, alpha: float = 1.0, scale: float = 1.0, rate: float = 1.0) -> Any:
    """``scale`` times: ``input`` where it is positive, ``alpha * (exp(rate * input) - 1)`` elsewhere.

    With the last two at 1 that is ELU (Clevert et al., 2016); SELU and CELU have others.
    """
    m = xp(input)
    return scale * m.maximum(input, 0) + (scale * alpha) * m.expm1(rate * m.minimum(input, 0))


@_activation
def silu(input: Any) -> Any:
    """``input * sigmoid(input)``, also called swish. Source: Hendrycks and Gimpel, 2016; Ramachandran et al., 2017."""
    return input * sigmoid(input)


@_activation
def mish(input: Any) -> Any:
    """``input * tanh(log(1 + exp(input)))``. Source: Misra, Mish, 2019."""
    return input * _mish_factor(input)[1]


@_activation
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * input)) / beta``; where ``beta * input > threshold`` it is as good as ``input``, and is that."""
    m, scaled = xp(input), beta * input
    return m.where(scaled > threshold, input, m.log1p(m.exp(m.minimum(scaled, threshold))) / beta)


@_activation
def logsigmoid(input: Any) -> Any:
    """``log(sigmoid(input))`` without overflow: ``min(input, 0) - log(1 + exp(-|input|))``."""
    m = xp(input)
    return m.minimum(input, 0) - m.log1p(m.exp(-m.abs(input)))


@differentiable
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``input`` held between ``min_val`` and ``max_val``, with slope 0 at both (`clamp` has slope 1 there)."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be above max_val {max_val}")
    if input.dtype == bool or (input.dtype.kind == "u" and min_val < 0):
        raise TypeError(f"hardtanh: wants numbers, and with min_val {min_val} those of a signed dtype; got {input.dtype}")
    return xp(input).clip(input, input.dtype.type(min_val), input.dtype.type(max_val))


@_activation
def hardsigmoid(input: Any) -> Any:
    """``min(max(input + 3, 0), 6) / 6``, a sigmoid of three straight pieces."""
    return xp(input).clip(input + 3, 0, 6) / 6


@_activation
def hardswish(input: Any) -> Any:
    """``input * hardsigmoid(input)``. Source: Howard et al., Searching for MobileNetV3, 2019."""
    return input * xp(input).clip(input + 3, 0, 6) / 6


def _leaky_rule(g: Any, input: Any, negative_slope: float) -> Any:
    return where(input > 0, g, g * negative_slope)


def _elu_rule(g: Any, input: Any, alpha: float, scale: float, rate: float) -> Any:
    return where(input <= 0, g * (alpha * scale * rate) * exp(rate * minimum(input, 0.0)), g * scale)


def _silu_rule(g: Any, input: Any) -> Any:
    s = sigmoid(input)
    return g * s * (1 + input * (1 - s))


def _mish_factor(x: Any) -> tuple[Any, Any]:
    """``e``, the exponential of ``x``, and ``tanh(log(1 + e))``, which is ``n / (n + 2)`` for ``n = e * (e + 2)``."""
    e = exp(minimum(x, 20.0))  # beyond that the factor is 1
    n = e * (e + 2)
    return e, n / (n + 2)


def _mish_rule(g: Any, input: Any) -> Any:
    e, factor = _mish_factor(input)
    beside = 1 + (1 + e) * (1 + e)  # n + 2
    return g * (factor + input * (4 * e * (1 + e) / (beside * beside)))


leaky_relu.vjp(input=blocked(_leaky_rule))
elu.vjp(input=blocked(_elu_rule))
silu.vjp(input=blocked(_silu_rule))
mish.vjp(input=blocked(_mish_rule))
softplus.vjp(input=blocked(lambda g, input, beta, threshold: where(beta * input > threshold, g, g * sigmoid(beta * input))))
logsigmoid.vjp(input=blocked(lambda g, input: g * sigmoid(-input)))
hardtanh.vjp(input=blocked(lambda g, input, min_val, max_val: where((input <= min_val) | (input >= max_val), 0.0, g)))
hardsigmoid.vjp(input=blocked(lambda g, input: where((input <= -3) | (input >= 3), 0.0, g / 6)))
hardswish.vjp(input=blocked(lambda g, input: where(input <= -3, 0.0, g * where(input < 3, input / 3 + 0.5, 1.0))))


# -- GELU: the input times the chance that a normal number is below it


@_activation
def _gelu(input: Any) -> Any:
    return 0.5 * input * (1 + erf(input * math.sqrt(0.5)))


def _gelu_rule(g: Any, input: Any) -> Any:
    below = 0.5 * (1 + erf(input * math.sqrt(0.5)))  # the normal distribution ...
    density = exp(-0.5 * input * input) * (1 / math.sqrt(2 * math.pi))  # ... and its slope
    return g * (below + input * density)


_BENT, _BEND = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)


@_activation
def _gelu_tanh(input: Any) -> Any:
    return input * (0.5 + 0.5 * tanh(input * (_BENT + _BEND * (input * input))))


def _gelu_tanh_rule(g: Any, input: Any) -> Any:
    square = input * input
    below = 0.5 + 0.5 * tanh(input * (_BENT + _BEND * square))  # its slope: 2 * below * (1 - below), times that of the bend
    return g * (below + below * (1 - below) * input * (2 * _BENT + 6 * _BEND * square))


_gelu.vjp(input=blocked(_gelu_rule))
_gelu_tanh.vjp(input=blocked(_gelu_tanh_rule))


def gelu(input: Any, approximate: str = "none") -> Any:
    """``input * P(Z < input)`` for a normal ``Z``; ``approximate="tanh"`` replaces the error function by a tanh.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)


# -- with slopes by chance


@differentiable(keeps="slope")
def random_leaky_relu(input: Any, lower: float, upper: float) -> Any:
    """`leaky_relu` whose slope is drawn for each element, evenly between ``lower`` and ``upper``."""
    drawn = rng(None, device_of(input)).random(input.shape, "float32") * (upper - lower) + lower
    slope = xp(input).where(input <= 0, drawn, 1).astype(input.dtype)
    return input * slope, slope


random_leaky_relu.op.name = "rrelu"
random_leaky_relu.vjp(input=lambda g, slope: g * slope)
