"""Integers: dimensions, broadcasting, and the geometry of windows. No arrays here."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

Shape = tuple[int, ...]


class ShapeError(RuntimeError, ValueError):
    """Shapes that do not fit the operation; a RuntimeError as in PyTorch and a ValueError as in NumPy."""


def as_index(n: Any, what: str) -> int:
    """``n`` as a Python integer, which a bool is not; ``what`` names the op and argument in the error."""
    try:
        if isinstance(n, bool):
            raise TypeError
        return operator.index(n)
    except TypeError:
        raise TypeError(f"{what} wants an integer, got {type(n).__name__} ({n!r})") from None


def as_shape(size: Sequence[Any], op: str) -> Shape:
    """Sizes given as ``f(2, 3)``, ``f((2, 3))`` or ``f([2, 3])``, as one tuple of integers."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    return tuple(size if set(map(type, size)) == {int} else [as_index(n, f"{op}: size") for n in size])


def wrap_dim(dim: Any, ndim: int, op: str) -> int:
    """``dim`` counted from the front. A tensor without dimensions takes 0 and -1, as in PyTorch."""
    if type(dim) is int and -ndim <= dim < ndim:  # the usual case, quickly
        return dim % ndim
    place, n = as_index(dim, f"{op}: dim"), max(ndim, 1)
    if not -n <= place < n:
        raise IndexError(f"{op}: dim {dim} is out of range for {ndim} dimensions (wanted {-n} to {n - 1})")
    return place % n


def solid_dim(dim: Any, shape: Any, op: str) -> int:
    """``dim`` counted from the front, of a tensor that has dimensions."""
    if not len(shape):
        raise ShapeError(f"{op}: wants a tensor of at least one dimension, got one without any")
    return wrap_dim(dim, len(shape), op)


def wrap_dims(dim: Any, ndim: int, op: str) -> Shape:
    """One dimension, several, or (``None``) all of them, counted from the front and all different."""
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int and -ndim <= dim < ndim:  # the usual case, quickly
        return (dim % ndim,)
    dims = tuple(wrap_dim(d, ndim, op) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(dims)) != len(dims):
        raise ShapeError(f"{op}: dim {dim} names a dimension twice")
    return dims if ndim else ()


def infer_size(shape: Shape, numel: int, op: str) -> Shape:
    """``shape`` with its one ``-1`` worked out, so that it holds ``numel`` elements."""
    if min(shape, default=0) < -1 or shape.count(-1) > 1:
        raise ShapeError(f"{op}: size {shape} may hold one -1 and no other negative number")
    known = abs(math.prod(shape))
    if -1 in shape:
        if known == 0 or numel % known:
            raise ShapeError(f"{op}: size {shape} does not divide {numel} elements")
        return tuple([numel // known if n == -1 else n for n in shape])
    if known != numel:
        raise ShapeError(f"{op}: size {shape} holds {known} elements, the tensor has {numel}")
    return shape


def broadcast_shapes(*shapes: Sequence[int], op: str = "broadcast_shapes") -> Shape:
    """The shape that all ``shapes`` broadcast to: sizes aligned from the right, 1 stretches.

    >>> broadcast_shapes((5, 1), (3,))
    (5, 3)
    """
    ndim = max(map(len, shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, start=ndim - len(shape)):
            if n != 1 and out[axis] not in (1, n):
                listed = " and ".join(str(tuple(s)) for s in shapes)
                raise ShapeError(f"{op}: shapes {listed} do not broadcast: sizes {out[axis]} and {n} at dim {axis - ndim}")
            if n != 1:
                out[axis] = n
    return tuple(out)


def per_dim(value: Any, dims: int, what: str) -> Shape:
    """``value`` for every one of ``dims`` dimensions, or one for each; ``what`` names op and argument."""
    if type(value) is int:  # the usual case, quickly
        return (value,) * dims
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) not in (1, dims):
        raise ShapeError(f"{what} wants one integer{' or two' if dims == 2 else ''}, got {value!r}")
    return tuple(as_index(n, what) for n in (values if len(values) == dims else values * dims))


def pair(value: Any, what: str) -> tuple[int, int]:
    """A size for both spatial dimensions, or one for each; ``what`` names op and argument."""
    vertical, horizontal = per_dim(value, 2, what)
    return vertical, horizontal


class Window(NamedTuple):
    """How a window of ``kernel`` taps slides over a picture; every field is (vertical, horizontal).

    Output size per dimension: ``floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1``.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)  # padding above and left
    after: tuple[int, int] = (0, 0)  # padding below and right
    dilation: tuple[int, int] = (1, 1)

    def out_size(self, size: Sequence[int]) -> tuple[int, int]:
        """How many positions the window takes on a picture of ``size``, per dimension."""
        both = zip(size, self.before, self.after, self.dilation, self.kernel, self.stride)
        h, w = [(n + b + a - d * (k - 1) - 1) // s + 1 for n, b, a, d, k, s in both]
        return h, w

    def check_numbers(self, op: str) -> Window:
        """Itself, once it is known that no field is too small."""
        for name, smallest in (("kernel", 1), ("stride", 1), ("before", 0), ("after", 0), ("dilation", 1)):
            value = getattr(self, name)
            if min(value) < smallest:
                said = {"kernel": "kernel_size", "before": "padding", "after": "padding"}.get(name, name)
                raise ShapeError(f"{op}: {said} {value} must be at least {smallest}")
        return self

    @lru_cache(1000)  # noqa: B019 - there are few windows, and they are small
    def check(self, size: Shape, op: str) -> Window:
        """Itself, once it is also known that the window fits ``size`` at least once."""
        self.check_numbers(op)
        if min(self.out_size(size)) < 1:
            row = op.endswith("1d")  # a sequence stands as a picture of one row, of which the user knows nothing
            reach = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))[row:]
            padded = tuple(n + b + a for n, b, a in zip(size, self.before, self.after))[row:]
            raise ShapeError(f"{op}: the window reaches over {reach} pixels but the padded input has {padded}")
        return self

    def along(self, i: int) -> Window:
        """The same along dimension ``i``, and in the other a window of one pixel."""
        one = Window((1, 1))
        pairs = ((mine[0], other[1]) if i == 0 else (other[0], mine[1]) for mine, other in zip(self, one))
        return Window(*pairs)

    def tiles(self, size: Sequence[int]) -> bool:
        """Whether every pixel is seen through exactly one position of the window."""
        plain = self.kernel == self.stride and not any((*self.before, *self.after)) and self.dilation == (1, 1)
        return plain and all(n % k == 0 for n, k in zip(size, self.kernel))

    def taps(self, size: Sequence[int]) -> list[tuple[int, int, slice, slice, slice, slice]]:
        """Every tap that meets the picture: its row and column in the kernel, then the rows and columns of the
        *output* it meets there, and the rows and columns of the unpadded *input* it reads for them.
        """
        found = []
        spans = [[self._span(i, tap, size[i], self.out_size(size)[i]) for tap in range(self.kernel[i])] for i in (0, 1)]
        for row, vertical in enumerate(spans[0]):
            for column, horizontal in enumerate(spans[1]):
                if vertical and horizontal:
                    found.append((row, column, vertical[0], horizontal[0], vertical[1], horizontal[1]))
        return found

    def _span(self, i: int, tap: int, size: int, out: int) -> tuple[slice, slice] | None:
        """Along dimension ``i``: which outputs see a real pixel through ``tap``, and which pixels those are."""
        offset, step = tap * self.dilation[i] - self.before[i], self.stride[i]
        first = max(0, -(offset // step))  # the first output o with o * step + offset >= 0
        last = min(out - 1, (size - 1 - offset) // step)
        if first > last:
            return None
        start = first * step + offset
        return slice(first, last + 1), slice(start, start + (last - first) * step + 1, step)
