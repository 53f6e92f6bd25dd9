"""Quick loops on the CPU, in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..shapes import Window


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two dimensions; the others broadcast."""
    return a @ b


def add_at(out: Any, index: Any, values: Any) -> None:
    """``out[index] += values``, adding every time an index repeats."""
    if _is_basic(index):
        out[index] += values
    else:
        np.add.at(out, index, values)


def _is_basic(index: Any) -> bool:
    """Whether ``index`` is made of integers and slices, so that no element can repeat."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, (int, slice, np.integer)) and not isinstance(p, bool) for p in parts)


# erf on [0, 1] and erfc beyond as ratios of polynomials, highest power first: S. L. Moshier, Cephes, ndtr.c (1988).
_ERF = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
        5.55923013010394962768e4)  # fmt: skip
_ERF_BELOW = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
              4.92673942608635921086e4)  # fmt: skip
_ERFC = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
         1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
         5.57535335369399327526e2)  # fmt: skip
_ERFC_BELOW = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
               1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2)  # fmt: skip


def erf(x: Any) -> Any:
    """The error function, to the precision of float64."""
    a = np.minimum(np.abs(x.astype(np.float64)), 6.0)  # beyond 6 it is 1 in float64
    square = a * a
    near = a * np.polyval(_ERF, square) / np.polyval(_ERF_BELOW, square)
    far = 1 - np.exp(-square) * np.polyval(_ERFC, a) / np.polyval(_ERFC_BELOW, a)
    return np.copysign(np.where(a < 1, near, far), x).astype(x.dtype)



# -- convolution
#
# Pictures are kept batch-innermost, memory order C, H, W, N under the shape (N, C, H, W): then any slice of a row is one long
# run, and a copy of it is quick. Convolution is a matrix product with the columns of the picture, (C * K * L, positions * N),
# made for a strip of positions at a time, small enough to stay in the cache.

STRIP_BYTES = 1 << 20  # of columns at a time; the level-2 cache of the machines measured holds 1 MiB a core


def _batch_last(x: Any, window: Window) -> Any:
    """(N, C, H, W) in any memory order to (C, padded H, padded W, N) in plain order, the padding filled with zeros."""
    x = x.transpose(1, 2, 3, 0)
    (top, left), (bottom, right) = window.before, window.after
    if not (top or left or bottom or right):
        return np.ascontiguousarray(x)
    c, h, w, n = x.shape
    out = np.zeros((c, h + top + bottom, w + left + right, n), x.dtype)
    out[:, top : top + h, left : left + w] = x
    return out


def _strips(out_size: tuple[int, int], bytes_each: int) -> Iterator[tuple[slice, slice]]:
    """The output's positions in strips of whole rows, or of parts of one row where a row is too much."""
    rows, columns = out_size
    at_once = max(1, STRIP_BYTES // max(bytes_each, 1))
    if at_once >= columns:
        step = at_once // columns
        for i in range(0, rows, step):
            yield slice(i, min(i + step, rows)), slice(0, columns)
    else:
        for i, j in itertools.product(range(rows), range(0, columns, at_once)):
            yield slice(i, i + 1), slice(j, min(j + at_once, columns))


def _under_tap(window: Window, k: int, l: int, rows: slice, columns: slice) -> tuple[slice, slice, slice]:
    """Which pixels of the padded picture tap (k, l) falls on while the window is at these positions."""
    (dk, dl), (sk, sl) = window.dilation, window.stride
    top, left = rows.start * sk + k * dk, columns.start * sl + l * dl
    return (
        slice(None),
        slice(top, top + (rows.stop - rows.start - 1) * sk + 1, sk),
        slice(left, left + (columns.stop - columns.start - 1) * sl + 1, sl),
    )


def _columns(padded: Any, window: Window, rows: slice, columns: slice) -> Any:
    """What the window sees at a strip of positions, (C * K * L, positions * N)."""
    (k, l), c, n = window.kernel, padded.shape[0], padded.shape[3]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    out = np.empty((c, k, l, height, width, n), padded.dtype)
    for tap in itertools.product(range(k), range(l)):
        out[:, tap[0], tap[1]] = padded[_under_tap(window, *tap, rows, columns)]
    return out.reshape(c * k * l, height * width * n)


def conv2d(x: Any, w: Any, window: Window, groups: int) -> Any:
    """Columns of the picture, then one matrix product for each strip and group."""
    padded, out_size, f = _batch_last(x, window), window.out_size(x.shape[2:]), w.shape[0] // groups
    weights = w.reshape(groups, f, -1)
    out = np.empty((w.shape[0], *out_size, x.shape[0]), np.result_type(x, w))
    for rows, columns in _strips(out_size, weights[0, 0].size * x.shape[0] * x.itemsize):
        for group, pixels in enumerate(np.split(padded, groups)):
            strip = _columns(pixels, window, rows, columns)
            part = out[group * f : (group + 1) * f, rows, columns]
            part[...] = (weights[group] @ strip).reshape(part.shape)
    return out.transpose(3, 0, 1, 2)


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """The same columns times the gradient of their strip, added up over the strips."""
    padded, g, f = _batch_last(x, window), np.ascontiguousarray(g.transpose(1, 2, 3, 0)), g.shape[1] // groups
    taps = x.shape[1] // groups * window.kernel[0] * window.kernel[1]
    out = np.zeros((groups, taps, f), np.result_type(x, g))
    for rows, columns in _strips(g.shape[1:3], taps * x.shape[0] * x.itemsize):
        for group, pixels in enumerate(np.split(padded, groups)):
            strip = _columns(pixels, window, rows, columns)
            part = g[group * f : (group + 1) * f, rows, columns].reshape(f, -1)
            out[group] += strip @ part.T  # this way round the product is quicker than its transpose
    return out.transpose(0, 2, 1).reshape(f * groups, x.shape[1] // groups, *window.kernel)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """The gradient of the columns, each row of it added where it was copied from."""
    g, f, c, (k, l) = np.ascontiguousarray(g.transpose(1, 2, 3, 0)), w.shape[0] // groups, w.shape[1], window.kernel
    weights = w.reshape(groups, f, -1).transpose(0, 2, 1)
    padded_size = [n + b + a for n, b, a in zip(size, window.before, window.after)]
    out = np.zeros((c * groups, *padded_size, g.shape[3]), np.result_type(g, w))
    for rows, columns in _strips(g.shape[1:3], c * k * l * g.shape[3] * g.itemsize):
        for group, pixels in enumerate(np.split(out, groups)):
            part = g[group * f : (group + 1) * f, rows, columns]
            strip = (weights[group] @ part.reshape(f, -1)).reshape(c, k, l, *part.shape[1:])
            for tap in itertools.product(range(k), range(l)):
                pixels[_under_tap(window, *tap, rows, columns)] += strip[:, tap[0], tap[1]]
    top, left = window.before
    return out[:, top : top + size[0], left : left + size[1]].transpose(3, 0, 1, 2)


# -- pooling
#
# A loop over taps, never over positions: for each tap, all positions at once.


def _like_order(x: Any, size: tuple[int, int], fill: Any, dtype: Any) -> Any:
    """A new array (N, C, *size) whose memory order is that of ``x``."""
    order = sorted(range(4), key=lambda d: -abs(x.strides[d]))
    shape = (*x.shape[:2], *size)
    made = np.full([shape[d] for d in order], fill, dtype)
    return made.transpose([order.index(d) for d in range(4)])


def _taps(window: Window, size: tuple[int, int]) -> Iterator[tuple[int, Any, Any]]:
    """Each tap's number, the outputs that see a pixel through it, and those pixels."""
    everything = slice(None)
    for k, l, rows, columns, rows_in, columns_in in window.taps(size):
        yield k * window.kernel[1] + l, (everything, everything, rows, columns), (everything, everything, rows_in, columns_in)


def max_pool2d(x: Any, window: Window) -> tuple[Any, Any]:
    """The running maximum over the taps, and the tap that set it: the largest number among those that were an improvement."""
    size = window.out_size(x.shape[2:])
    small = window.kernel[0] * window.kernel[1] < 128
    out = _like_order(x, size, -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min, x.dtype)
    taps = _like_order(x, size, 0, np.int8 if small else np.int32)
    steps = list(_taps(window, x.shape[2:]))
    for number, positions, _ in reversed(steps):
        taps[positions] = number  # at first, the first tap that sees a pixel
    for number, positions, pixels in steps:
        value, best, tap = x[pixels], out[positions], taps[positions]
        better = value > best
        better |= value != value  # NaN goes before all
        np.maximum(best, value, out=best)
        np.maximum(tap, better * tap.dtype.type(number), out=tap)
    return out, taps


def max_pool2d_place(g: Any, taps: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, the gradients that belong to it are added at its pixels."""
    gx = _like_order(g, size, 0, g.dtype)
    for number, positions, pixels in _taps(window, size):
        gx[pixels] += g[positions] * (taps[positions] == number)
    return gx


def max_pool2d_pick(x: Any, taps: Any, window: Window) -> Any:
    """For each tap, its pixels are copied to the positions that point at it."""
    out = _like_order(x, window.out_size(x.shape[2:]), 0, x.dtype)
    for number, positions, pixels in _taps(window, x.shape[2:]):
        np.copyto(out[positions], x[pixels], where=taps[positions] == number)
    return out


def sum_pool2d(x: Any, window: Window) -> Any:
    """The sum over the taps."""
    out = _like_order(x, window.out_size(x.shape[2:]), 0, x.dtype)
    for _, positions, pixels in _taps(window, x.shape[2:]):
        out[positions] += x[pixels]
    return out


def sum_pool2d_spread(g: Any, window: Window, size: tuple[int, int]) -> Any:
    """For each tap, every gradient is added at its pixel."""
    gx = _like_order(g, size, 0, g.dtype)
    for _, positions, pixels in _taps(window, size):
        gx[pixels] += g[positions]
    return gx


def moments(x: Any, dims: tuple[int, ...]) -> tuple[Any, Any]:
    """The mean over ``dims`` and the mean squared distance from it, in two passes so that nothing cancels."""
    mean = x.mean(dims, keepdims=True)
    distance = x - mean
    distance *= distance
    return mean, distance.mean(dims, keepdims=True)
