"""Convolution as matrix products with the columns of the picture (see `columns`), a strip of positions at a time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ...shapes import Window
from .. import threads
from . import grouped
from .columns import batch_last, gathered, strips, windows
from .phases import mirrored, phases

Part = tuple[slice, slice]  # a rectangle of output positions


def parts_of(out_size: tuple[int, int], products: int) -> list[Part]:
    """The output's positions, cut for the threads along the longer side."""
    (rows, columns), nbytes = out_size, threads.as_bytes(products)
    if rows >= columns:
        return [(part, slice(0, columns)) for part in threads.parts(rows, nbytes)]
    return [(slice(0, rows), part) for part in threads.parts(columns, nbytes)]


def conv2d(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """One matrix product for each strip and group; the threads share the positions."""
    if grouped.is_fine(w.shape[0] // groups, w.shape[1], groups):
        return grouped.conv2d(x, w, bias, window, groups)
    fill, out_size = filler(x, w, bias, window, groups), window.out_size(x.shape[2:])
    out = np.empty((w.shape[0], *out_size, x.shape[0]), np.result_type(x, w))
    threads.run(lambda part: fill(out[:, part[0], part[1]], part), parts_of(out_size, out.size * math.prod(w.shape[1:])))
    return out.transpose(3, 0, 1, 2)


def filler(x: Any, w: Any, bias: Any, window: Window, groups: int) -> Any:
    """A function that computes a rectangle of the output: ``fill(out, part)``, with ``out`` (F, rows, columns, N)."""
    f, c, (k, l) = w.shape[0] // groups, w.shape[1], window.kernel
    by_rows = k > 1 and window.stride[0] == 1 and c >= f
    if by_rows:
        padded = batch_last(x, window._replace(before=(0, window.before[1]), after=(0, window.after[1])))
        kernel = w.reshape(groups, f, c, k, l).transpose(0, 3, 1, 2, 4).reshape(groups, k * f, c * l)
    else:
        padded, kernel = batch_last(x, window), w.reshape(groups, f, c * k * l)

    def fill(out: Any, part: Part) -> None:
        for group in range(groups):
            own, seen = slice(group * f, (group + 1) * f), padded[group * c : (group + 1) * c]
            kind = _fill_by_rows if by_rows else _fill_by_positions
            kind(out[own], seen, kernel[group], None if bias is None else bias[own, None, None, None], window, part)

    return fill


def _fill_by_positions(out: Any, padded: Any, kernel: Any, bias: Any, window: Window, part: Part) -> None:
    """The product with all that the window sees at a position: (F, C * K * L) @ (C * K * L, positions * N)."""
    f, rows, columns, n = out.shape
    seen = windows(padded, window, (part[0].stop, part[1].stop))[:, :, :, part[0], part[1]]
    for strip in strips(slice(0, rows), slice(0, columns), (kernel.shape[1] + f) * n * out.itemsize):
        place = out[:, strip[0], strip[1]]
        product = place.reshape(f, math.prod(place.shape[1:]))
        if np.may_share_memory(product, place):  # the rows lie one behind the other
            np.matmul(kernel, gathered(seen, *strip), out=product)
        else:
            place[...] = (kernel @ gathered(seen, *strip)).reshape(place.shape)
        if bias is not None:
            place += bias


def _fill_by_rows(out: Any, padded: Any, kernel: Any, bias: Any, window: Window, part: Part) -> None:
    """All that one row of pixels contributes, to the K rows of the output above and below it: (K * F, C * L) @
    (C * L, positions * N), then K additions. Only a third of the columns have to be gathered with 3 x 3 taps, and the
    product, of K times the height, is quicker; what the additions cost is less unless there are more filters than channels.
    """
    f, height, _, n = out.shape
    (taps, reach), dilation = window.kernel, window.dilation[0]
    above = window.before[0] - part[0].start  # tap 0 puts row r of the pixels on row r + above of out, tap k on one further up
    row = Window((1, reach), (1, window.stride[1]), dilation=(1, window.dilation[1]))
    seen = windows(padded, row, (padded.shape[1], part[1].stop))[:, :, :, :, part[1]]
    ready = 0  # the rows of the output that are begun
    first, last = max(0, -above), min(padded.shape[1], height - above + (taps - 1) * dilation)
    bytes_each = (kernel.shape[1] + len(kernel)) * n * out.itemsize
    for rows, columns in strips(slice(first, last), slice(0, out.shape[2]), bytes_each):
        low, high = rows.start + above, rows.stop + above
        if ready < min(high, height):
            out[:, ready:high] = 0 if bias is None else bias
            ready = min(high, height)
        meeting = _taps_that_meet(low, high, height, taps, dilation)
        if not meeting:  # between dilated taps
            continue
        lowest, shape = meeting[0][0], (len(meeting), f, rows.stop - rows.start, columns.stop - columns.start, n)
        product = threads.scratch("product", shape, out.dtype)
        flat = product.reshape(len(meeting) * f, math.prod(shape[2:]))
        np.matmul(kernel[lowest * f : lowest * f + len(flat)], gathered(seen, rows, columns), out=flat)
        for i, (_, reached, reaching) in enumerate(meeting):
            out[:, reached, columns] += product[i, :, reaching]
    out[:, ready:] = 0 if bias is None else bias


def _taps_that_meet(low: int, high: int, height: int, taps: int, dilation: int) -> list[tuple[int, slice, slice]]:
    """The taps through which a strip of pixels, put on rows ``low`` to ``high`` by tap 0, reaches an output of ``height`` rows;
    with the rows that each reaches, and those of the strip that do.

    With three taps and padding 1, tap 0 puts pixels 3 and 4 on rows 4 and 5. Of an output of rows 0 to 3 they reach row 3
    through tap 1 (pixel 3 alone), and rows 2 and 3 through tap 2. Between two taps that meet the output none misses it.
    """
    found = []
    for k in range(taps):
        start, stop = max(low - k * dilation, 0), min(high - k * dilation, height)
        if start < stop:
            skipped = start - low + k * dilation
            found.append((k, slice(start, stop), slice(skipped, skipped + stop - start)))
    return found


def conv2d_weight_grad(x: Any, g: Any, window: Window, groups: int) -> Any:
    """The same columns times the gradient of their strip, added up over the strips: by each thread, then over the threads."""
    if grouped.is_few(g.shape[1] // groups, x.shape[1] // groups, groups):
        return grouped.conv2d_weight_grad(x, g, window, groups)
    padded, g, f, c = batch_last(x, window), batch_last(g, Window((1, 1))), g.shape[1] // groups, x.shape[1] // groups
    taps, n = c * window.kernel[0] * window.kernel[1], x.shape[0]
    seen, work = windows(padded, window, g.shape[1:3]), parts_of(g.shape[1:3], g.size * taps)
    sums = np.zeros((len(work), groups, taps, f), np.result_type(x, g))

    def add_up(numbered: tuple[int, Part]) -> None:
        i, part = numbered
        for (rows, columns), group in itertools.product(strips(*part, taps * n * x.itemsize), range(groups)):
            gradient = g[group * f : (group + 1) * f, rows, columns]
            columns_seen = gathered(seen[group * c : (group + 1) * c], rows, columns)
            # this way round the product is quicker than its transpose
            sums[i, group] += columns_seen @ gradient.reshape(f, columns_seen.shape[1]).T

    threads.run(add_up, list(enumerate(work)))
    return sums.sum(0).transpose(0, 2, 1).reshape(f * groups, c, *window.kernel)


def conv2d_input_grad(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int], convolve: Any = conv2d) -> Any:
    """With stride 1, or where there is hardly a matrix, convolutions of the gradient with the mirrored taps, one for each phase
    (see `phases`), done by ``convolve``; else by way of the columns' gradient.
    """
    f, c, (k, l) = w.shape[0] // groups, w.shape[1], window.kernel
    if window.stride != (1, 1) and not grouped.is_few(f, c, groups):
        return _add_columns_back(g, w, window, groups, size)
    turned = w.reshape(groups, f, c, k, l).swapaxes(1, 2).reshape(groups * c, f, k, l)
    out = np.zeros((groups * c, *size, g.shape[0]), np.result_type(g, w)).transpose(3, 0, 1, 2)
    for phase in phases(window, size):
        seen, back = mirrored(phase)
        found = convolve(g[seen], turned[phase.taps][:, :, ::-1, ::-1], None, back, groups)
        if found.shape == out.shape:
            return found
        out[phase.pixels] = found
    return out


def _under_tap(window: Window, k: int, l: int, rows: slice, columns: slice) -> tuple[slice, slice, slice]:
    """Which pixels of the padded picture tap (k, l) falls on while the window is at these positions."""
    (dk, dl), (sk, sl) = window.dilation, window.stride
    top, left = rows.start * sk + k * dk, columns.start * sl + l * dl
    down = slice(top, top + (rows.stop - rows.start - 1) * sk + 1, sk)
    return slice(None), down, slice(left, left + (columns.stop - columns.start - 1) * sl + 1, sl)


def _add_columns_back(g: Any, w: Any, window: Window, groups: int, size: tuple[int, int]) -> Any:
    """The gradient of the columns, each row of it added where it was copied from; the threads share the channels. Where the
    windows tile the picture every pixel was copied once, and gets its row.
    """
    g, f, c, (k, l) = batch_last(g, Window((1, 1))), w.shape[0] // groups, w.shape[1], window.kernel
    weights = w.reshape(groups, f, c, k * l).transpose(0, 2, 3, 1)
    padded_size = [n + b + a for n, b, a in zip(size, window.before, window.after)]
    out = np.empty((c * groups, *padded_size, g.shape[3]), np.result_type(g, w))
    channels, tiles = threads.parts(c, threads.as_bytes(g.size * c * k * l)), window.tiles(size)

    def work(part: slice) -> None:
        share = part.stop - part.start
        for group in range(groups):
            pixels = out[group * c + part.start : group * c + part.stop]
            if not tiles:
                pixels[...] = 0
            kernel = weights[group, part].reshape(share * k * l, f)
            for rows, columns in strips(slice(0, g.shape[1]), slice(0, g.shape[2]), share * k * l * g.shape[3] * g.itemsize):
                gradient = g[group * f : (group + 1) * f, rows, columns]
                positions = math.prod(gradient.shape[1:])
                strip = threads.scratch("columns", (share * k * l, positions), out.dtype)
                np.matmul(kernel, gradient.reshape(f, positions), out=strip)
                strip = strip.reshape(share, k, l, *gradient.shape[1:])
                for tap in itertools.product(range(k), range(l)):
                    seen = pixels[_under_tap(window, *tap, rows, columns)]
                    if tiles:
                        seen[...] = strip[:, tap[0], tap[1]]
                    else:
                        seen += strip[:, tap[0], tap[1]]

    threads.run(work, channels)
    top, left = window.before
    return np.ascontiguousarray(out[:, top : top + size[0], left : left + size[1]]).transpose(3, 0, 1, 2)
