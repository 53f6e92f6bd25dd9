"""Edges put around a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._tensor import Tensor
from ...autograd import broadcast_to
from ...ops.layout import cat, constant_pad, copy, flip, narrow
from ...shapes import ShapeError, as_index


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``input`` with further elements around it; negative numbers crop.

    ``pad`` is (left, right) of the last dimension, then (top, bottom) of the one before, and so on.
    The new elements are, by ``mode``:

    - ``"constant"``: ``value`` (0),
    - ``"reflect"``: those inside, mirrored at the outermost one,
    - ``"replicate"``: the outermost one over and over,
    - ``"circular"``: those from the other end, after any cropping.

    The last three take (C, W) or (N, C, W) with two numbers, and likewise one dimension more with four, and two more with six.

    Raises
    ------
    NotImplementedError
        For another ``mode``, or a number of dimensions that the mode does not take.
    ShapeError
        For numbers that are not in pairs or too many, more new elements than there are to take, or more cropped than there is.
    """
    if not isinstance(pad, (tuple, list)):
        raise TypeError(f"pad: pad wants a tuple of integers, got {type(pad).__name__} ({pad!r})")
    shape, numbers = tuple(input.shape), [as_index(n, "pad: pad") for n in pad]
    if len(numbers) % 2 or len(numbers) > 2 * len(shape):
        raise ShapeError(f"pad: wants pairs of numbers for at most {len(shape)} dimensions, got pad={tuple(pad)}")
    edges = dict(zip(reversed(range(len(shape))), zip(numbers[::2], numbers[1::2])))  # by dimension, the last one first
    if mode == "constant":
        for dim, edge in edges.items():
            if shape[dim] + min(edge[0], 0) + min(edge[1], 0) < 0:
                raise ShapeError(f"pad: {edge} crops more than there is in dim {dim} of shape {shape}")
        before, after = (tuple(edges.get(dim, (0, 0))[end] for dim in range(len(shape))) for end in (0, 1))
        return constant_pad(input, before, after, 0.0 if value is None else value)
    if mode not in _BEYOND:
        raise NotImplementedError(f"pad: mode {mode!r} is not supported, only 'constant', {', '.join(map(repr, _BEYOND))}")
    if value:
        raise ShapeError(f"pad: mode {mode!r} takes no value, got {value}")
    if len(edges) not in (1, 2, 3) or len(shape) - len(edges) not in (1, 2):
        raise NotImplementedError(
            f"pad: mode {mode!r} takes 2, 4 or 6 numbers, and one or two dimensions more than it pads; got {len(numbers)} for "
            f"shape {shape}"
        )
    if mode != "circular" and 0 in shape[len(shape) - len(edges) - 1 :]:
        raise ShapeError(f"pad: mode {mode!r} wants no size of 0 except that of the batch, got shape {shape}")
    sizes = [shape[dim] + sum(edge) for dim, edge in edges.items()]
    if min(sizes) < 0 or (mode != "circular" and not any(sizes)):
        raise ShapeError(f"pad: cropping by pad={tuple(pad)} leaves nothing of shape {shape}")
    for dim, edge in edges.items():
        n = shape[dim]
        there = {"reflect": n - 1, "circular": n + min(edge[0], 0) + min(edge[1], 0)}.get(mode, max(edge))
        if max(*edge, 0) > max(there, 0):
            raise ShapeError(f"pad: mode {mode!r} finds only {there} elements in dim {dim} of shape {shape} for {edge}")
    padded = {dim: edge for dim, edge in edges.items() if any(edge)}
    for dim, edge in padded.items():
        input = _BEYOND[mode](input, dim, *edge)
    return input if padded else copy(input)


def _joined(input: Any, dim: int, before: Any, after: Any, edge: tuple[int, ...]) -> Any:
    """``before``, ``input`` and ``after`` side by side, cropped by what is negative in ``edge``."""
    out = cat([before, input, after], dim)
    crop = max(-edge[0], 0)
    return narrow(out, dim, crop, out.shape[dim] - crop - max(-edge[1], 0))


def _reflect(input: Any, dim: int, *edge: int) -> Any:
    left, right = (max(n, 0) for n in edge)
    before, after = narrow(input, dim, 1, left), narrow(input, dim, input.shape[dim] - 1 - right, right)
    return _joined(input, dim, flip(before, dim), flip(after, dim), edge)


def _replicate(input: Any, dim: int, *edge: int) -> Any:
    shapes = ((*input.shape[:dim], max(n, 0), *input.shape[dim + 1 :]) for n in edge)
    before, after = (broadcast_to(narrow(input, dim, place, 1), shape) for place, shape in zip((0, -1), shapes))
    return _joined(input, dim, before, after, edge)


def _circular(input: Any, dim: int, *edge: int) -> Any:
    left, right = (max(n, 0) for n in edge)
    crop = left - edge[0]
    input = narrow(input, dim, crop, input.shape[dim] - crop - right + edge[1])
    return _joined(input, dim, narrow(input, dim, input.shape[dim] - left, left), narrow(input, dim, 0, right), (0, 0))


_BEYOND = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}
