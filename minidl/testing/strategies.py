"""Hypothesis strategies for what tensor code trips over: shapes, memory layouts, indices, window geometries.

Every strategy draws only valid examples, from the result backwards where that is needed, so none has to be thrown away.
Numbers come from a seed that Hypothesis draws (they are multiples of 1/16, short to read and exact in every dtype); what is
shrunk is the shape, the layout and the geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

try:
    import hypothesis
    from hypothesis import given
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(f"minidl.testing.strategies needs Hypothesis ({error}); pip install minidl[test]") from error

from .. import dtypes as types
from .engine import Engine
from .gradcheck import gradcheck, gradgradcheck

FLOATS = (types.float64, types.float32, types.float16)
INTEGERS = (types.int64, types.int32, types.int16, types.int8, types.uint8)
Shape = tuple[int, ...]


# -- shapes and dtypes


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4) -> Any:
    """Shapes, sizes of 0 and 1 among them."""
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def broadcastable_shapes(
    draw: Any, n: int = 2, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> tuple[Shape, ...]:
    """``n`` shapes that broadcast together: one shape, with leading dimensions left out and others set to 1."""
    full = draw(shapes(min_dims, max_dims, min_side, max_side))
    found = []
    for _ in range(n):
        lead = draw(st.integers(0, len(full) - min_dims))
        stretched = draw(st.lists(st.booleans(), min_size=len(full) - lead, max_size=len(full) - lead))
        found.append(tuple(1 if one else size for one, size in zip(stretched, full[lead:])))
    return tuple(found)


def dtypes(*kinds: str) -> Any:
    """Dtypes of the ``kinds`` "float", "integer" and "bool" (default: all)."""
    known = {"float": FLOATS, "integer": INTEGERS, "bool": (types.bool_,)}
    return st.sampled_from([d for kind in kinds or known for d in known[kind]])


# -- numbers


class Domain(NamedTuple):
    """Which numbers to draw: multiples of 1/16 in [``low``, ``high``], none within ``gap`` of a point in ``away_from``,
    (``unique``) no two equal, so that nothing ties, and all moved by ``shift``.
    """

    low: float = -3.0
    high: float = 3.0
    away_from: tuple[float, ...] = ()
    gap: float = 1 / 16
    unique: bool = False
    shift: float = 0.0

    def draw(self, rng: Any, shape: Shape, dtype: Any) -> Any:
        """An array. Of integer dtypes only the whole numbers are drawn, of unsigned ones none below 0; bools are any."""
        d = types.as_dtype(dtype)
        if d.category == 0:
            return rng.random(shape) < 0.5
        low, high, fineness = self.low, self.high, 16
        if d.category == 1:
            low, fineness = max(low, 0.0) if d == types.uint8 else low, 1
        while True:
            numbers = np.arange(np.ceil(low * fineness), np.floor(high * fineness) + 1) / fineness
            for point in self.away_from:
                numbers = numbers[np.abs(numbers - point) >= self.gap]
            if not self.unique or numbers.size >= np.prod(shape):
                return (rng.choice(numbers, shape, replace=not self.unique) + self.shift * d.is_floating_point).astype(d.dtype)
            if d.category == 1:  # too few whole numbers: go beyond
                high += len(numbers) + 1
            else:
                fineness *= 2


ANY = Domain()
POSITIVE = Domain(1 / 4, 4.0)
NONZERO = Domain(away_from=(0.0,))
UNIQUE = Domain(unique=True)


def seeds() -> Any:
    """Seeds for random numbers."""
    return st.integers(0, 2**32 - 1)


@st.composite
def arrays(draw: Any, shape: Any = None, dtype: Any = types.float64, domain: Domain = ANY, layout: Any = None) -> Any:
    """NumPy arrays.

    Parameters
    ----------
    shape : tuple or strategy, optional
        Default: `shapes`.
    dtype : dtype or strategy
        Default: float64.
    domain : Domain
        Which numbers.
    layout : Layout or strategy, optional
        The order in memory. Default: `layouts`.
    """
    shape = draw(shapes() if shape is None else shape) if not isinstance(shape, tuple) else shape
    dtype = draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    numbers = domain.draw(np.random.default_rng(draw(seeds())), shape, dtype)
    layout = draw(layouts(len(shape))) if layout is None else draw(layout) if isinstance(layout, st.SearchStrategy) else layout
    return layout.store(np.asarray(numbers))


def tensors(
    shape: Any = None,
    dtype: Any = types.float64,
    domain: Domain = ANY,
    layout: Any = None,
    requires_grad: bool = True,
    engine: Any = None,
) -> Any:
    """Tensors around `arrays`, which require a gradient if they are floating ones and ``requires_grad``.

    They are minidl's, or those of the library that ``engine`` is about; see `minidl.testing.Engine`.
    """
    made = engine or Engine()
    return arrays(shape, dtype, domain, layout).map(lambda a: made.tensor(a, requires_grad and a.dtype.kind == "f"))


def gradient_test(
    func: Callable[..., Any], *inputs: Any, order: int = 2, engine: Any = None, settings: Any = None, **options: Any
) -> Any:
    """A test for pytest: the gradients of ``func`` are right for all inputs that Hypothesis draws.

    Parameters
    ----------
    func : function
        Of tensors; see `gradcheck`.
    *inputs : strategy
        One for each argument, such as `tensors`; or one alone that draws the tuple of all, where they depend on each other.
    order : int
        1: first derivatives. 2: second ones too, by `gradgradcheck`.
    engine : object, optional
        Of another library; give it to `tensors` as well. See `minidl.testing.Engine`.
    settings : hypothesis.settings, optional
        How many inputs to draw, and so on. Default: as Hypothesis is set, without a deadline.
    **options
        For `gradcheck` and `gradgradcheck`.

    Returns
    -------
    function
        Without arguments.
    """
    if order not in (1, 2):
        raise ValueError(f"gradient_test: order is 1 or 2, got {order!r}")

    @(settings or hypothesis.settings(deadline=None))
    @given(st.tuples(*inputs))
    def test(drawn: Any) -> None:
        args = drawn[0] if len(drawn) == 1 and isinstance(drawn[0], tuple) else drawn
        gradcheck(func, args, engine=engine, **options)
        if order == 2:
            gradgradcheck(func, args, engine=engine, **options)

    return test


@st.composite
def broadcastable(draw: Any, /, n: int = 2, **options: Any) -> tuple[Any, ...]:
    """``n`` `tensors` of `broadcastable_shapes`; the ``options`` are for `tensors`."""
    return tuple(draw(tensors(shape, **options)) for shape in draw(broadcastable_shapes(n)))


class Layout(NamedTuple):
    """How an array lies in memory: its dimensions in which order, and at which step along each (negative: reversed)."""

    order: tuple[int, ...]
    steps: tuple[int, ...]

    def store(self, array: Any) -> Any:
        """The same numbers in this layout; what lies between them in memory is NaN, or the largest integer."""
        filler = np.nan if array.dtype.kind == "f" else True if array.dtype.kind == "b" else np.iinfo(array.dtype).max
        memory = np.full([array.shape[d] * abs(self.steps[d]) for d in self.order], filler, array.dtype)
        out = memory.transpose([self.order.index(d) for d in range(array.ndim)])
        key: Any = (..., *(slice(None, None, step) for step in self.steps))
        out = out[key]
        out[...] = array
        return out


@st.composite
def layouts(draw: Any, ndim: int) -> Layout:
    """Memory layouts: row-major, permuted, with gaps, reversed, and all of that together."""
    plain = Layout(tuple(range(ndim)), (1,) * ndim)
    if draw(st.booleans()):
        plain = plain._replace(order=tuple(draw(st.permutations(range(ndim)))))
    if draw(st.booleans()):
        steps = st.lists(st.sampled_from([1, 2, -1, -2]), min_size=ndim, max_size=ndim)
        plain = plain._replace(steps=tuple(draw(steps)))
    return plain


# -- indices


@st.composite
def indices(draw: Any, shape: Shape, fancy: bool = True) -> tuple[Any, ...]:
    """Keys for an array of ``shape``: integers, slices, ``...`` and None; or (``fancy``) slices, masks and arrays of integers,
    which may repeat and be negative. Integers and arrays are not mixed: NumPy and PyTorch mean different things by that.
    """
    kind = draw(st.sampled_from(["basic", "integers", "mask"])) if fancy and shape else "basic"
    named = draw(st.integers(0 if kind == "basic" else 1, len(shape)))  # how many dimensions the key speaks of
    rng = np.random.default_rng(draw(seeds()))
    if kind == "mask":  # one over some leading dimensions
        return (rng.random(shape[:named]) < 0.5,)
    if kind == "integers":  # the index arrays broadcast, so they have one shape
        common = draw(st.one_of(shapes(1, 2, 2, 4), shapes(0, 2, 0, 1)))
        arrays = draw(st.lists(st.booleans(), min_size=named, max_size=named))
        arrays[draw(st.integers(0, named - 1))] = True
        return tuple(rng.integers(-n, n, common) if n and a else draw(_slices(n)) for n, a in zip(shape, arrays))
    key = [draw(_slices(n) if n == 0 or draw(st.booleans()) else st.integers(-n, n - 1)) for n in shape[:named]]
    if draw(st.booleans()):
        key.append(...)
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), None)
    return tuple(key)


def _slices(n: int) -> Any:
    """Slices with a positive step; empty ones and such as reach over the end too."""
    ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    return st.builds(slice, ends, ends, st.sampled_from([None, 1, 2, 3]))


# -- windows


class Geometry(NamedTuple):
    """A convolution or a pooling in two dimensions, and the size of its output."""

    n: int
    channels: int
    filters: int
    groups: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    out_size: tuple[int, int]

    @property
    def input_shape(self) -> Shape:
        """(N, C, H, W)."""
        return self.n, self.channels, *self.size

    @property
    def weight_shape(self) -> Shape:
        """(F, C / groups, K, L)."""
        return self.filters, self.channels // self.groups, *self.kernel

    @property
    def output_shape(self) -> Shape:
        """(N, F, I, J)."""
        return self.n, self.filters, *self.out_size


@st.composite
def conv_geometries(draw: Any, max_out: int = 3, max_kernel: int = 3) -> Geometry:
    """Convolutions whose window fits, drawn from the output: its size, then window, stride and dilation, then the padding, and
    the input's size is what is left.
    """
    groups = draw(st.integers(1, 2))
    channels, filters = (groups * draw(st.integers(1, 2)) for _ in range(2))
    spans = [_draw_span(draw, max_out, max_kernel, st.integers(1, 2), None) for _ in range(2)]
    return Geometry(draw(st.integers(0, 2)), channels, filters, groups, *zip(*spans))


@st.composite
def pool_geometries(draw: Any, max_out: int = 3, max_kernel: int = 3, dilation: bool = False) -> Geometry:
    """Poolings whose window fits, with padding of at most half the window; windows overlap, touch or leave gaps."""
    channels = draw(st.integers(1, 2))
    spread = st.integers(1, 2) if dilation else st.just(1)
    spans = [_draw_span(draw, max_out, max_kernel, spread, 2) for _ in range(2)]
    return Geometry(draw(st.integers(0, 2)), channels, channels, 1, *zip(*spans))


def _draw_span(draw: Any, max_out: int, max_kernel: int, dilations: Any, share: int | None) -> tuple[int, ...]:
    """Size, kernel, stride, padding, dilation and output size along one dimension; padding is at most kernel / ``share``."""
    out, kernel = draw(st.integers(1, max_out)), draw(st.integers(1, max_kernel))
    stride, dilation = draw(st.integers(1, 3)), draw(dilations)
    padded = (out - 1) * stride + dilation * (kernel - 1) + 1 + draw(st.integers(0, stride - 1))  # the rest is not looked at
    # a pooling window must see a pixel: an input at least as wide as the dilation cannot lie between two taps
    most = min((padded - 1) // 2, 2) if share is None else min(max(padded - dilation, 0) // 2, kernel // share)
    padding = draw(st.integers(0, most))
    return padded - 2 * padding, kernel, stride, padding, dilation, out
