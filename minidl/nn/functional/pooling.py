"""Pooling composed of the ops in `ops.pool`: along one dimension, to a given size, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...autograd import differentiable
from ...backend import xp
from ...ops.elementwise import abs, pow, relu, sign
from ...ops.index import gather, scatter
from ...ops.layout import copy, reshape, unsqueeze, zeros_for
from ...ops.pool import avg_pool2d, max_pool2d
from ...ops.reduce import mean
from ...ops.resize import resample
from ...shapes import ShapeError, as_index, pair, per_dim

# -- along one dimension: a picture of one row


def _row(op: str, input: Any) -> Any:
    """(N, C, 1, L) from (N, C, L), or (C, 1, L) from (C, L)."""
    if len(input.shape) not in (2, 3):
        raise ShapeError(f"{op}: wants input (N, C, L) or (C, L), got shape {tuple(input.shape)}")
    return unsqueeze(input, -2)


def _in_a_row(op: str, kernel_size: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    """The arguments of a window as those of one of height 1."""
    kernel = per_dim(kernel_size, 1, f"{op}: kernel_size")
    stride = kernel if stride is None or stride == () else per_dim(stride, 1, f"{op}: stride")
    return (1, *kernel), (1, *stride), (0, *per_dim(padding, 1, f"{op}: padding"))


def _check_reach(op: str, input: Any, ceil_mode: bool, kernel: Any, stride: Any, padding: Any, dilation: Any = (1, 1)) -> None:
    """Refuse a window that reaches beyond the input, in the words of whoever has no picture; see `shapes.Window.check`."""
    reach, padded = dilation[1] * (kernel[1] - 1) + 1, input.shape[-1] + 2 * padding[1]
    if reach >= padded + (max(stride[1], 1) if ceil_mode else 1):
        raise ShapeError(f"{op}: the window reaches over {reach} elements but the padded input has {padded}")


def _flat(out: Any) -> Any:
    return reshape(out, (*out.shape[:-2], out.shape[-1]))


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element in each window; `max_pool2d` of one row.

    Shapes: (N, C, L) or (C, L) -> the same with the positions for L.
    """
    window = _in_a_row("max_pool1d", kernel_size, stride, padding)
    dilation, row = (1, *per_dim(dilation, 1, "max_pool1d: dilation")), _row("max_pool1d", input)
    _check_reach("max_pool1d", input, ceil_mode, *window, dilation)
    out = max_pool2d(row, *window, dilation, ceil_mode, return_indices)
    return (_flat(out[0]), _flat(out[1])) if return_indices else _flat(out)


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window; `avg_pool2d` of one row. Shapes: as `max_pool1d`."""
    window, row = _in_a_row("avg_pool1d", kernel_size, stride, padding), _row("avg_pool1d", input)
    _check_reach("avg_pool1d", input, ceil_mode, *window)
    return _flat(avg_pool2d(row, *window, ceil_mode, count_include_pad))


# -- to a given size


def _wanted(op: str, input: Any, output_size: Any) -> tuple[int, int]:
    """The size of the output, None replaced by the input's, once input and size are known to be possible."""
    if len(input.shape) not in (3, 4) or 0 in input.shape[-2:]:
        raise ShapeError(f"{op}: wants input (N, C, H, W) or (C, H, W) with pixels, got shape {tuple(input.shape)}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if output_size is None:
        raise TypeError(f"{op}: output_size wants one integer or two, got None")
    if len(sizes) != 2:
        raise ShapeError(f"{op}: output_size wants one integer or two, got {output_size!r}")
    wanted = pair(tuple(n if s is None else s for s, n in zip(sizes, input.shape[-2:])), f"{op}: output_size")
    if min(wanted) < 0:
        raise ShapeError(f"{op}: output_size {wanted} must not be negative")
    return wanted


def _spans(n: int, k: int) -> tuple[Any, Any]:
    """Where the ``k`` windows over ``n`` elements start and end."""
    i = np.arange(k)
    return i * n // max(k, 1), -(-(i + 1) * n // max(k, 1))


def _places(numbers: Any) -> Any:
    """Rising integers as (start, stop, step) if they are evenly spaced."""
    step = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    even = step > 0 and bool((np.diff(numbers) == step).all())
    return (int(numbers[0]), int(numbers[-1]) + 1, step) if even else numbers


def grouped(to: Any, sources: Any, weights: Any) -> Iterator[tuple[Any, Any]]:
    """The map ``out[to] = sum of x[source] * weight`` in groups as `resample` wants them: no place twice in any of them.

    ``sources`` and ``weights`` hold an array for each term; the first of ``sources`` rises, and where it repeats the others do.
    """
    turn = np.arange(len(to)) - np.searchsorted(sources[0], sources[0])  # how often this source was there before
    for n in range(turn.max(initial=-1) + 1):
        now = turn == n
        yield _places(to[now]), tuple((_places(s[now]), w if w is None else _even(w[now])) for s, w in zip(sources, weights))


def _even(weights: Any) -> Any:
    return float(weights[0]) if (weights == weights[0]).all() else weights


def _mean_along(input: Any, dim: int, k: int) -> Any:
    """The means of ``k`` windows along ``dim``; those of one length are taken together."""
    shape, n = tuple(input.shape), input.shape[dim]
    if k and n % k == 0:
        return input if n == k else mean(reshape(input, (*shape[:dim], k, n // k, *shape[dim + 1 :])), dim + 1)
    start, end = _spans(n, k)
    groups: list[Any] = []
    for length in sorted({*(end - start).tolist()}):
        to = np.flatnonzero(end - start == length)
        groups += grouped(to, [start[to] + i for i in range(length)], [np.full(len(to), 1 / length)] * length)
    return resample(input, [(dim, groups, k)])


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Means over windows chosen so that the output has ``output_size`` (an int or a pair; None keeps a size): position i covers
    the pixels from ``floor(i * H / I)`` to ``ceil((i + 1) * H / I)``.

    Shapes: (N, C, H, W) or (C, H, W) -> the same with ``output_size``. Means of rows, then means of columns of those.
    """
    wanted, ndim = _wanted("adaptive_avg_pool2d", input, output_size), len(input.shape)
    if wanted == tuple(input.shape[-2:]):
        return copy(input)
    return _mean_along(_mean_along(input, ndim - 2, wanted[0]), ndim - 1, wanted[1])


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """`adaptive_avg_pool2d` of one row. Shapes: (N, C, L) or (C, L) -> the same with ``output_size`` for L."""
    size = per_dim(output_size, 1, "adaptive_avg_pool1d: output_size")
    return _flat(adaptive_avg_pool2d(_row("adaptive_avg_pool1d", input), (1, *size)))


@differentiable
def _largest(input: Any, size: tuple[int, int]) -> Any:
    """The number, row by row through the picture, of the largest pixel of each window; of NaNs the last. It has no gradient."""
    m, (h, w) = xp(input), input.shape[-2:]
    index = []
    for n, k in zip((h, w), size):
        start, end = _spans(n, k)
        tap = np.arange((end - start).max(initial=1))
        index.append(np.minimum(start[:, None] + tap, end[:, None] - 1))  # a shorter window sees its last pixel again
    taps = len(index[0][0]) * len(index[1][0]) if min(size) else 1
    numbers = m.asarray(index[0][:, None, :, None] * w + index[1][None, :, None, :]).reshape(*size, taps)
    seen = input.reshape(*input.shape[:-2], h * w)[..., numbers]
    best, missing = seen.argmax(-1), m.isnan(seen)
    last = taps - 1 - missing[..., ::-1].argmax(-1)
    best = m.where(missing.any(-1), last, best)
    return m.take_along_axis(m.broadcast_to(numbers, seen.shape), best[..., None], -1)[..., 0]


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest pixels in the windows of `adaptive_avg_pool2d`; of equal ones the first, which alone gets the gradient.

    With ``return_indices`` also the number of each within its picture, ``row * W + column``.
    """
    size = _wanted("adaptive_max_pool2d", input, output_size)
    if 0 in input.shape[1:]:
        raise ShapeError(f"adaptive_max_pool2d: only the batch may be of size 0, got shape {tuple(input.shape)}")
    found, lead = _largest(input, size), tuple(input.shape[:-2])
    pixels = reshape(input, (*lead, input.shape[-2] * input.shape[-1]))
    out = reshape(gather(pixels, len(lead), reshape(found, (*lead, size[0] * size[1]))), (*lead, *size))
    return (out, found) if return_indices else out


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` of one row. Shapes: (N, C, L) or (C, L) -> the same with ``output_size`` for L."""
    size = per_dim(output_size, 1, "adaptive_max_pool1d: output_size")
    out, found = adaptive_max_pool2d(_row("adaptive_max_pool1d", input), (1, *size), True)
    return (_flat(out), _flat(found)) if return_indices else _flat(out)


# -- norms


def lp_pool2d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """``(sum of x ** norm_type) ** (1 / norm_type)`` over each window (0 where that sum is negative); infinity: the largest
    ``|x|``.

    Shapes: as `max_pool2d`.
    """
    kernel = pair(kernel_size, "lp_pool2d: kernel_size")
    if math.isinf(norm_type):
        way = 1 if norm_type > 0 else -1
        return max_pool2d(abs(input) * way, kernel, stride, 0, 1, ceil_mode) * way
    out = avg_pool2d(pow(input, norm_type), kernel, stride, 0, ceil_mode)
    return pow(sign(out) * relu(abs(out)) * (kernel[0] * kernel[1]), 1.0 / norm_type)


def lp_pool1d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`lp_pool2d` of one row. Shapes: as `max_pool1d`."""
    kernel, stride, _ = _in_a_row("lp_pool1d", kernel_size, stride, 0)
    return _flat(lp_pool2d(_row("lp_pool1d", input), norm_type, kernel, stride, ceil_mode))


# -- back


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Each element put where ``indices``, from `max_pool2d`, say that it came from; zeros elsewhere.

    ``output_size`` is that of the picture before; without it, the smallest that the pooling could have had.

    Raises
    ------
    ValueError
        If the pooling could not have had ``output_size``.
    ShapeError
        If ``indices`` differ in shape from ``input``, or an index lies outside the picture.
    """
    op, ndim = "max_unpool2d", len(input.shape)
    if ndim not in (3, 4) or 0 in input.shape[-3:]:
        raise ShapeError(f"{op}: wants input (N, C, I, J) or (C, I, J), none but N of size 0, got shape {tuple(input.shape)}")
    if tuple(indices.shape) != tuple(input.shape):
        raise ShapeError(f"{op}: indices have shape {tuple(indices.shape)}, input {tuple(input.shape)}; they must be the same")
    kernel, before = pair(kernel_size, f"{op}: kernel_size"), pair(padding, f"{op}: padding")
    step = kernel if stride is None else pair(stride, f"{op}: stride")
    least = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(input.shape[-2:], step, kernel, before)]
    size = least if output_size is None else [as_index(n, f"{op}: output_size") for n in output_size]
    size = size[2:] if len(size) == 4 else size[1:] if len(size) == 3 and ndim == 3 else size
    if len(size) != 2 or any(not n - s < m < n + s for m, n, s in zip(size, least, step)):
        raise ValueError(f"{op}: output_size {output_size} must be within {step} of {tuple(least)}")
    lead, numbers = tuple(input.shape[:-2]), getattr(indices, "_array", indices)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= size[0] * size[1]):
        raise ShapeError(f"{op}: indices must lie within {size[0]} x {size[1]} pixels, got {numbers.min()} to {numbers.max()}")
    count = input.shape[-2] * input.shape[-1]
    empty = zeros_for(input, (*lead, size[0] * size[1]))
    out = scatter(empty, len(lead), reshape(indices, (*lead, count)), reshape(input, (*lead, count)))
    return reshape(out, (*lead, *size))


def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """`max_unpool2d` of one row. Shapes: (N, C, I) or (C, I) -> the same with the length before."""
    window = _in_a_row("max_unpool1d", kernel_size, stride, padding)
    size = output_size if output_size is None else (1, tuple(output_size)[-1])
    return _flat(max_unpool2d(_row("max_unpool1d", input), unsqueeze(indices, -2), *window, size))
