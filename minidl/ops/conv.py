"""Two-dimensional convolution (cross-correlation, as all of deep learning means it); its public names, also of those in one
dimension, are in `functions.convolution`.

The family is closed under differentiation. ``T(x, w, g) = sum(conv2d(x, w) * g)`` is linear in each of its three
arguments, and the three ops below are its partial derivatives: with respect to ``g`` the convolution, to ``x`` the input
gradient, to ``w`` the weight gradient. So each one's rules are the other two.

Letters: N images, C channels, F filters, G groups, H x W pixels, I x J positions, K x L taps.
"""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import in_one, kernels
from ..shapes import Window
from .reduce import sum


@differentiable(promotes="same")
def _conv2d(input: Any, weight: Any, bias: Any = None, window: Any = None, groups: int = 1) -> Any:
    return kernels(input).conv2d(input, weight, bias, window, groups)


@differentiable
def _input_grad(g_out: Any, weight: Any, window: Window, groups: int, size: tuple[int, int], bias: Any = None) -> Any:
    out = kernels(g_out).conv2d_input_grad(g_out, weight, window, groups, size)
    if bias is not None:
        out += bias[:, None, None]
    return out


@differentiable
def _weight_grad(input: Any, g_out: Any, window: Window, groups: int) -> Any:
    return kernels(input).conv2d_weight_grad(input, g_out, window, groups)


def _parameters_rule(g: Any, input: Any, window: Window, groups: int, wanted: Any) -> tuple[Any, ...]:
    """The gradients of weight and bias: both in one pass, where a kernel can do that."""
    whole = in_one("conv2d_parameters_grad", g) if all(wanted) else None
    both = whole and whole(input, g, window, groups)
    return both or (_weight_grad(input, g, window, groups) if wanted[0] else None, sum(g, (0, 2, 3)) if wanted[1] else None)


_conv2d.op.name = "conv2d"
_conv2d.vjp(input=lambda g, weight, window, groups, input_shape: _input_grad(g, weight, window, groups, input_shape[2:]))
_conv2d.vjp(_parameters_rule, weight=None, bias=None)
_input_grad.op.name = "conv2d_input_grad"
_input_grad.vjp(
    g_out=lambda g, weight, window, groups: _conv2d(g, weight, None, window, groups),
    weight=lambda g, g_out, window, groups: _weight_grad(g, g_out, window, groups),
    bias=lambda g: sum(g, (0, 2, 3)),
)
_weight_grad.op.name = "conv2d_weight_grad"
_weight_grad.vjp(
    input=lambda g, g_out, window, groups, input_shape: _input_grad(g_out, g, window, groups, input_shape[2:]),
    g_out=lambda g, input, window, groups: _conv2d(input, g, None, window, groups),
)
