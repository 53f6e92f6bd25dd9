"""Pooling: what a window sees, as one number. Each op here is a linear map (for max-pooling: once it is known which pixel is
the largest), and its rule is the transpose of that map.
"""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import in_one, kernels, xp
from ..shapes import ShapeError, Window, pair
from .layout import reshape


def _window(op: str, size: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Window:
    """The geometry that the arguments describe. With ``ceil_mode`` a last window may hang over the lower or right edge, if
    it starts inside; that is the same as more padding there.
    """
    kernel, before = pair(kernel_size, f"{op}: kernel_size"), pair(padding, f"{op}: padding")
    dilation = pair(dilation, f"{op}: dilation")
    stride = kernel if stride is None or stride == () else pair(stride, f"{op}: stride")
    if any(p > k // 2 for p, k in zip(before, kernel)):
        raise ShapeError(f"{op}: padding {before} must be at most half of kernel_size {kernel}")
    after = before
    if ceil_mode:
        exact = Window(kernel, stride, before, after, dilation).check_numbers(op)
        extra = []
        for i in (0, 1):
            reach = size[i] + 2 * before[i] - dilation[i] * (kernel[i] - 1) - 1
            hang = -reach % stride[i]
            starts = max(exact.out_size(size)[i], 0) * stride[i]  # where one more window would start
            extra.append(hang if hang and starts < size[i] + before[i] else 0)
        after = (before[0] + extra[0], before[1] + extra[1])
    return Window(kernel, stride, before, after, dilation).check(size, op)


def _batch(op: str, input: Any) -> Any:
    """(N, C, H, W), also from (C, H, W); only N may be 0."""
    if len(input.shape) not in (3, 4) or 0 in input.shape[-3:]:
        raise ShapeError(f"{op}: wants input (N, C, H, W) or (C, H, W), none but N of size 0, got shape {tuple(input.shape)}")
    return input if len(input.shape) == 4 else reshape(input, (1, *input.shape))


def _unbatch(out: Any, input: Any) -> Any:
    return out if len(input.shape) == 4 else reshape(out, out.shape[1:])


# -- the largest


@differentiable
def _max_pool2d(input: Any, window: Window) -> Any:
    return kernels(input).max_pool2d(input, window)


@differentiable
def _place(g_out: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    return kernels(g_out).max_pool2d_place(g_out, taps, window, size)


@differentiable
def _pick(input: Any, taps: Any, window: Window) -> Any:
    return kernels(input).max_pool2d_pick(input, taps, window)


@differentiable
def _which(input: Any, pooled: Any, window: Window) -> Any:
    """The number of the tap that max-pooling picked; it has no gradient."""
    return kernels(input).max_pool2d_taps(input, pooled, window)


@differentiable
def _pixel_numbers(input: Any, pooled: Any, window: Window) -> Any:
    """The number, counted row by row through the whole picture, of the pixel that max-pooling picked."""
    m = xp(input)
    taps = kernels(input).max_pool2d_taps(input, pooled, window)
    rows, columns = window.out_size(input.shape[2:])
    row = m.arange(rows)[:, None] * window.stride[0] - window.before[0] + taps // window.kernel[1] * window.dilation[0]
    column = m.arange(columns) * window.stride[1] - window.before[1] + taps % window.kernel[1] * window.dilation[1]
    return (row * input.shape[3] + column).astype("int64")


def _max_rule(g: Any, input: Any, out: Any, window: Window, input_shape: Any) -> Any:
    whole = in_one("max_pool2d_grad", g)
    grad = whole and whole(g, input, window)
    return _place(g, _which(input, out, window), window, input_shape[2:]) if grad is None else grad


_max_pool2d.op.name = "max_pool2d"
_max_pool2d.vjp(input=_max_rule)
_place.op.name = "max_pool2d_place"
_place.vjp(g_out=lambda g, taps, window: _pick(g, taps, window))
_pick.op.name = "max_pool2d_pick"
_pick.vjp(input=lambda g, taps, window, input_shape: _place(g, taps, window, input_shape[2:]))


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest pixel in each window; of equal ones the first, row by row, which alone gets the gradient.

    Shapes: (N, C, H, W) or (C, H, W) -> the same with I x J positions, as in `conv2d` (rounded up instead of down with
    ``ceil_mode``).
    ``stride`` is ``kernel_size`` unless given; padding never wins. With ``return_indices`` also the number of each picked pixel
    within its picture, ``row * W + column``.
    """
    batch = _batch("max_pool2d", input)
    window = _window("max_pool2d", input.shape[-2:], kernel_size, stride, padding, dilation, ceil_mode)
    pooled = _max_pool2d(batch, window)
    out = _unbatch(pooled, input)
    return (out, _unbatch(_pixel_numbers(batch, pooled, window), input)) if return_indices else out


# -- the mean


@differentiable
def _sum_pool2d(input: Any, window: Window) -> Any:
    return kernels(input).sum_pool2d(input, window)


@differentiable
def _spread(g_out: Any, window: Window, size: tuple[int, int]) -> Any:
    return kernels(g_out).sum_pool2d_spread(g_out, window, size)


_sum_pool2d.op.name = "sum_pool2d"
_sum_pool2d.vjp(input=lambda g, window, input_shape: _spread(g, window, input_shape[2:]))
_spread.op.name = "sum_pool2d_spread"
_spread.vjp(g_out=lambda g, window: _sum_pool2d(g, window))


def _covered(window: Window, size: Any, padding: tuple[int, int], i: int) -> list[int]:
    """How many pixels along dimension ``i``, of the picture widened by ``padding``, each position of the window covers."""
    starts = [o * window.stride[i] - window.before[i] for o in range(window.out_size(size)[i])]
    return [min(s + window.kernel[i], size[i] + padding[i]) - max(s, -padding[i]) for s in starts]


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window: its sum over the number of pixels it covers, padding among them if ``count_include_pad``, or
    over ``divisor_override``.

    Shapes: as `max_pool2d`.
    """
    if divisor_override == 0:
        raise ShapeError("avg_pool2d: divisor_override must not be 0")
    batch = _batch("avg_pool2d", input)
    window = _window("avg_pool2d", input.shape[-2:], kernel_size, stride, padding, 1, ceil_mode)
    total = _sum_pool2d(batch, window)
    if divisor_override is not None:
        return _unbatch(total / divisor_override, input)
    counted = window.before if count_include_pad else (0, 0)
    rows, columns = (_covered(window, input.shape[-2:], counted, i) for i in (0, 1))
    if len({*rows}) == 1 and len({*columns}) == 1:
        return _unbatch(total / (rows[0] * columns[0]), input)
    array = getattr(input, "_array", input)
    m = xp(array)
    return _unbatch(total / (m.asarray(rows, array.dtype)[:, None] * m.asarray(columns, array.dtype)), input)
