"""Two-dimensional convolution (cross-correlation, as all of deep learning means it).

The family is closed under differentiation. ``T(x, w, g) = sum(conv2d(x, w) * g)`` is linear in each of its three
arguments, and the three ops below are its partial derivatives: with respect to ``g`` the convolution, to ``x`` the input
gradient, to ``w`` the weight gradient. So each one's rules are the other two.

Letters: N images, C channels, F filters, G groups, H x W pixels, I x J positions, K x L taps.
"""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import kernels
from ..shapes import ShapeError, Window, as_index, pair
from .layout import reshape
from .reduce import sum


@differentiable(promotes="same")
def _conv2d(input: Any, weight: Any, bias: Any = None, window: Any = None, groups: int = 1) -> Any:
    return kernels(input).conv2d(input, weight, bias, window, groups)


@differentiable
def _input_grad(g_out: Any, weight: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    return kernels(g_out).conv2d_input_grad(g_out, weight, window, groups, size)


@differentiable
def _weight_grad(input: Any, g_out: Any, window: Window, groups: int) -> Any:
    return kernels(input).conv2d_weight_grad(input, g_out, window, groups)


_conv2d.op.name = "conv2d"
_conv2d.vjp(
    input=lambda g, weight, window, groups, input_shape: _input_grad(g, weight, window, groups, input_shape[2:]),
    weight=lambda g, input, window, groups: _weight_grad(input, g, window, groups),
    bias=lambda g: sum(g, (0, 2, 3)),
)
_input_grad.op.name = "conv2d_input_grad"
_input_grad.vjp(
    g_out=lambda g, weight, window, groups: _conv2d(g, weight, None, window, groups),
    weight=lambda g, g_out, window, groups: _weight_grad(g, g_out, window, groups),
)
_weight_grad.op.name = "conv2d_weight_grad"
_weight_grad.vjp(
    input=lambda g, g_out, window, groups, input_shape: _input_grad(g_out, g, window, groups, input_shape[2:]),
    g_out=lambda g, input, window, groups: _conv2d(input, g, None, window, groups),
)


def _window(weight: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    """The geometry that the arguments of `conv2d` describe."""
    kernel = tuple(weight.shape[2:])
    stride, dilation = pair(stride, "conv2d: stride"), pair(dilation, "conv2d: dilation")
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' keeps the size only with stride 1, got stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        before = tuple(n // 2 for n in total)
        after = tuple(n - b for n, b in zip(total, before))
    elif isinstance(padding, str) and padding != "valid":
        raise ValueError(f"conv2d: padding must be an integer, two of them, 'same' or 'valid', got {padding!r}")
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding, "conv2d: padding")
    return Window(kernel, stride, before, after, dilation)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Slide every filter over every picture: ``out[n, f, i, j] = bias[f] + sum over c, k, l of
    input[n, c, i * stride - padding + k * dilation, ...] * weight[f, c, k, l]``.

    Shapes: (N, C, H, W) or (C, H, W), weight (F, C / groups, K, L), bias (F,) -> (N, F, I, J) or (F, I, J), with
    ``I = floor((H + 2 * padding - dilation * (K - 1) - 1) / stride) + 1``. Filters of group number q see only the channels of
    group q.

    Parameters
    ----------
    stride, padding, dilation : int or pair of ints
        Vertical and horizontal. ``padding`` may also be ``"valid"`` (none) or ``"same"`` (the size stays; stride 1 only).

    Raises
    ------
    ShapeError
        If sizes do not fit each other.
    """
    groups = as_index(groups, "conv2d: groups")
    if len(weight.shape) != 4 or len(input.shape) not in (3, 4):
        raise ShapeError(
            "conv2d: wants input (N, C, H, W) or (C, H, W) and weight (F, C / groups, K, L), "
            f"got shapes {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    filters, channels = weight.shape[:2]
    if groups < 1 or filters % groups or input.shape[-3] != channels * groups:
        raise ShapeError(
            f"conv2d: weight of shape {tuple(weight.shape)} with groups={groups} wants {channels * max(groups, 1)} input "
            f"channels and a number of filters that groups divides, got input of shape {tuple(input.shape)}"
        )
    if bias is not None and tuple(bias.shape) != (filters,):
        raise ShapeError(f"conv2d: bias must have shape ({filters},), one number for each filter, got {tuple(bias.shape)}")
    window = _window(weight, stride, padding, dilation).check(input.shape[-2:], "conv2d")
    batch = input if len(input.shape) == 4 else reshape(input, (1, *input.shape))
    out = _conv2d(batch, weight, bias, window, groups)
    return out if len(input.shape) == 4 else reshape(out, out.shape[1:])
