"""A strided convolution as a sum of plain ones: every group of taps on the pixels that only it sees.

Along one dimension tap k falls on the pixels ``o * stride + k * dilation - before``, one for each position o. Taps whose
``k * dilation`` leaves the same remainder by the stride fall on the same pixels, every stride-th, and slide over those with
stride 1; other taps never meet them. With 4 taps and stride 2 the taps 0 and 2 see the even pixels, 1 and 3 the odd ones. So
the output is the sum of the groups' convolutions, and the gradient of the picture is theirs, side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from ...shapes import Window

Place = tuple[slice, slice, slice, slice]  # filters, channels, taps; or images, channels, pixels


class Phase(NamedTuple):
    """A group of taps, the pixels of the picture that it sees, and the window, of stride 1, that slides over them."""

    taps: Place
    pixels: Place
    window: Window


def phases(window: Window, size: Sequence[int]) -> list[Phase]:
    """The groups that see a pixel of a picture of ``size``; their pixels do not overlap."""
    all_of, found = slice(None), []
    for v, h in itertools.product(*(_along(window, i, size[i], window.out_size(size)[i]) for i in (0, 1))):
        plain = Window((v[2], h[2]), (1, 1), (v[3], h[3]), (v[4], h[4]), (v[5], h[5]))
        found.append(Phase((all_of, all_of, v[0], h[0]), (all_of, all_of, v[1], h[1]), plain))
    return found


def _along(window: Window, i: int, size: int, out: int) -> list[tuple[slice, slice, int, int, int, int]]:
    """Along dimension ``i``: taps, pixels, how many taps, padding before and after the pixels, dilation."""
    stride, dilation, kernel, found = window.stride[i], window.dilation[i], window.kernel[i], []
    step = stride // math.gcd(stride, dilation)  # from a tap to the next with the same remainder
    for tap in range(min(step, kernel)):
        n_taps, spread = len(range(tap, kernel, step)), dilation * step // stride
        length = out + (n_taps - 1) * spread  # what these taps see, padding and all; it begins at this pixel
        start = tap * dilation - window.before[i]
        first, stop = max(0, -(start // stride)), min(length, -((start - size) // stride))
        if first < stop:
            pixels = slice(start + stride * first, start + stride * (stop - 1) + 1, stride)
            found.append((slice(tap, None, step), pixels, n_taps, first, length - stop, spread))
    return found


def mirrored(phase: Phase) -> tuple[Place, Window]:
    """The window that a pixel's gradient sees on the output's, mirrored, and which part of that there is to be seen: less than
    all, where the outermost positions see only padding.
    """
    _, _, (kernel, _, *edges, dilation) = phase
    before, after = (tuple(d * (k - 1) - n for d, k, n in zip(dilation, kernel, edge)) for edge in edges)
    rows, columns = (slice(max(0, -b), min(0, a) or None) for b, a in zip(before, after))
    top, left, bottom, right = (max(n, 0) for n in (*before, *after))
    return (slice(None), slice(None), rows, columns), Window(kernel, (1, 1), (top, left), (bottom, right), dilation)
