"""The nonlinear functions between layers. `relu`, `sigmoid` and `tanh` are with the other functions of one number.

Where a function has a kink the rule follows PyTorch: at it, the slope of the left side.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import differentiable
from ..backend import kernels, xp
from .elementwise import erf, exp, minimum, sigmoid, tanh, where


@differentiable
def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """``input`` where it is positive, ``negative_slope * input`` elsewhere. Source: Maas et al., 2013."""
    return xp(input).where(input > 0, input, negative_slope * input)


@differentiable
def elu(input: Any, alpha: float = 1.0) -> Any:
    """``input`` where it is positive, ``alpha * (exp(input) - 1)`` elsewhere. Source: Clevert et al., 2016."""
    m = xp(input)
    return m.where(input > 0, input, alpha * m.expm1(m.minimum(input, 0)))


def selu(input: Any) -> Any:
    """``scale * elu(input, alpha)``, with the two constants that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    return 1.0507009873554804934193349852946 * elu(input, 1.6732632423543772848170429916717)


@differentiable(promotes="float")
def silu(input: Any) -> Any:
    """``input * sigmoid(input)``, also called swish. Source: Hendrycks and Gimpel, 2016; Ramachandran et al., 2017."""
    return input * sigmoid(input)


@differentiable(promotes="float")
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * input)) / beta``; where ``beta * input > threshold`` it is as good as ``input``, and is that."""
    m, scaled = xp(input), beta * input
    return m.where(scaled > threshold, input, m.log1p(m.exp(m.minimum(scaled, threshold))) / beta)


@differentiable(promotes="float")
def logsigmoid(input: Any) -> Any:
    """``log(sigmoid(input))`` without overflow: ``min(input, 0) - log(1 + exp(-|input|))``."""
    m = xp(input)
    return m.minimum(input, 0) - m.log1p(m.exp(-m.abs(input)))


@differentiable
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``input`` held between ``min_val`` and ``max_val``, with slope 0 at both (`clamp` has slope 1 there)."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be above max_val {max_val}")
    return xp(input).clip(input, min_val, max_val)


def relu6(input: Any) -> Any:
    """``min(max(input, 0), 6)``. Source: Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010."""
    return hardtanh(input, 0.0, 6.0)


leaky_relu.vjp(input=lambda g, input, negative_slope: where(input > 0, g, g * negative_slope))
elu.vjp(input=lambda g, input, alpha: where(input > 0, g, g * alpha * exp(minimum(input, 0.0))))
hardtanh.vjp(input=lambda g, input, min_val, max_val: where((input > min_val) & (input < max_val), g, 0.0))
logsigmoid.vjp(input=lambda g, input: g * sigmoid(-input))
softplus.vjp(
    input=lambda g, input, beta, threshold: where(beta * input > threshold, g, g * sigmoid(beta * input)),
)


def _silu_rule(g: Any, input: Any) -> Any:
    s = sigmoid(input)
    return g * s * (1 + input * (1 - s))


silu.vjp(input=_silu_rule)


# -- GELU: the input times the chance that a normal number is below it


@differentiable(promotes="float")
def _gelu(input: Any) -> Any:
    return 0.5 * input * (1 + kernels(input).erf(input * math.sqrt(0.5)))


def _gelu_rule(g: Any, input: Any) -> Any:
    below = 0.5 * (1 + erf(input * math.sqrt(0.5)))  # the normal distribution ...
    density = exp(-0.5 * input * input) * (1 / math.sqrt(2 * math.pi))  # ... and its slope
    return g * (below + input * density)


@differentiable(promotes="float")
def _gelu_tanh(input: Any) -> Any:
    return 0.5 * input * (1 + xp(input).tanh(_bent(input)))


def _bent(x: Any) -> Any:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


def _gelu_tanh_rule(g: Any, input: Any) -> Any:
    t = tanh(_bent(input))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * input * input)
    return g * (0.5 * (1 + t) + 0.5 * input * (1 - t * t) * slope)


_gelu.vjp(input=_gelu_rule)
_gelu_tanh.vjp(input=_gelu_tanh_rule)


def gelu(input: Any, approximate: str = "none") -> Any:
    """``input * P(Z < input)`` for a normal ``Z``; ``approximate="tanh"`` replaces the error function by a tanh.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)
