"""Shapes, order and position: values against NumPy or loops, gradients to order two."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, as_tuple, check_gradients, check_values, long

import minidl
from minidl.ops import index, layout
from minidl.testing import strategies as mst
from minidl.testing.strategies import Domain


def given_array(options=lambda draw, shape: {}, **shape):
    """A strategy for one array, and options that fit its shape."""

    @st.composite
    def draw_(draw, dtypes):
        a = draw(mst.arrays(mst.shapes(**{"max_side": 3, **shape}), dtypes))
        return (a,), options(draw, a.shape)

    return draw_


def given_arrays(shapes, options=lambda draw, shapes: {}):
    """A strategy for several arrays of one dtype: their shapes, and options that fit."""

    @st.composite
    def draw_(draw, dtypes):
        drawn, dtype = shapes(draw), draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
        return tuple(draw(mst.arrays(shape, dtype)) for shape in drawn), options(draw, drawn)

    return draw_


def a_dim(draw, shape, name="dim", more=0):
    n = max(len(shape) + more, 1)
    return {name: draw(st.integers(-n, n - 1))}


def regrouped(draw, shape):
    """The sizes of ``shape``, some neighbours multiplied, some ones put in, perhaps one written as -1."""
    sizes = list(shape)
    if len(sizes) > 1 and draw(st.booleans()):
        i = draw(st.integers(0, len(sizes) - 2))
        sizes[i : i + 2] = [sizes[i] * sizes[i + 1]]
    if draw(st.booleans()):
        sizes.insert(draw(st.integers(0, len(sizes))), 1)
    if sizes and math.prod(sizes) and draw(st.booleans()):
        sizes[draw(st.integers(0, len(sizes) - 1))] = -1
    return {"shape": tuple(sizes)}


def by_position(a, shape):
    """The elements in row-major order, one by one, in another shape."""
    known = math.prod(n for n in shape if n != -1)
    shape = tuple(a.size // known if n == -1 else n for n in shape)
    out = np.empty(shape, a.dtype)
    for place, value in zip(np.ndindex(*shape), [a[i] for i in np.ndindex(*a.shape)]):
        out[place] = value
    return out


def from_to(draw, shape):
    start = draw(st.integers(0, max(len(shape) - 1, 0)))
    return {"start_dim": start, "end_dim": draw(st.integers(start, max(len(shape) - 1, 0)))}


def flat(a, start_dim, end_dim):
    return by_position(a, (*a.shape[:start_dim], math.prod(a.shape[start_dim : end_dim + 1]), *a.shape[end_dim + 1 :]))


def split_sizes(draw, shape):
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return {"dim": dim, "sizes": (draw(st.sampled_from([1, -1])) if shape[dim] else 1, shape[dim])}


def squeezed(a, dim=None):
    dims = range(a.ndim) if dim is None else [d % max(a.ndim, 1) for d in as_tuple(dim)]
    return by_position(a, [n for i, n in enumerate(a.shape) if n != 1 or i not in dims])


def an_order(draw, shape):
    return {"dims": tuple(draw(st.permutations(range(len(shape)))))}


def reordered(a, dims):
    out = np.empty([a.shape[d] for d in dims], a.dtype)
    for place in np.ndindex(*a.shape):
        out[tuple(place[d] for d in dims)] = a[place]
    return out


def two_dims(draw, shape):
    return {**a_dim(draw, shape, "dim0"), **a_dim(draw, shape, "dim1")}


def some_dims(draw, shape):
    return {"dims": tuple(draw(st.lists(st.integers(0, len(shape) - 1), unique=True))) if shape else ()}


def moves(draw, shape):
    n = draw(st.integers(0, len(shape)))
    return {name: tuple(draw(st.permutations(range(len(shape)))))[:n] for name in ("source", "destination")}


def flipped(a, dims):
    out = np.empty_like(a)
    for place in np.ndindex(*a.shape):
        out[tuple(a.shape[d] - 1 - i if d in dims else i for d, i in enumerate(place))] = a[place]
    return out


def shifts(draw, shape):
    dims = some_dims(draw, shape)["dims"]
    return (
        {"shifts": tuple(draw(st.integers(-4, 4)) for _ in dims), "dims": dims}
        if dims
        else {"shifts": draw(st.integers(-4, 4))}
    )


def rolled(a, shifts, dims=None):
    if dims is None:
        return rolled(a.reshape(-1), (shifts,), (0,)).reshape(a.shape)
    out = np.empty_like(a)
    for place in np.ndindex(*a.shape):
        moved = list(place)
        for d, shift in zip(dims, shifts):
            moved[d] = (moved[d] + shift) % a.shape[d]
        out[tuple(moved)] = a[place]
    return out


def wider(draw, shape):
    lead = draw(st.lists(st.integers(0, 2), max_size=2))
    sizes = [draw(st.integers(0, 3)) if n == 1 else draw(st.sampled_from([n, -1])) for n in shape]
    return {"size": (*lead, *sizes)}


def expanded(a, size):
    lead = len(size) - a.ndim
    shape = tuple(a.shape[i - lead] if n == -1 else n for i, n in enumerate(size))
    out = np.empty(shape, a.dtype)
    for place in np.ndindex(*shape):
        out[place] = a[tuple(0 if n == 1 else i for i, n in zip(place[lead:], a.shape))]
    return out


def counts(draw, shape):
    return {"sizes": tuple(draw(st.integers(0, 2)) for _ in range(len(shape) + draw(st.integers(0, 1))))}


def a_place(draw, shape):
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return {"dim": dim, "index": draw(st.integers(-shape[dim], shape[dim] - 1))}


def a_span(draw, shape):
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    start = draw(st.integers(0, shape[dim]))
    return {"dim": dim, "start": start, "length": draw(st.integers(0, shape[dim] - start))}


def pieces(draw, shape):
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    first = draw(st.integers(0, shape[dim]))
    return {"dim": dim, "split_size_or_sections": draw(st.one_of(st.integers(1, 4), st.just([first, shape[dim] - first])))}


def cut(a, split_size_or_sections, dim):
    sizes, n = split_size_or_sections, a.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)] or [0]
    return tuple(np.split(a, list(itertools.accumulate(sizes))[:-1], dim))


def chunked(a, chunks, dim):
    if not a.shape[dim]:
        return (a,) * chunks
    return cut(a, -(-a.shape[dim] // chunks), dim)


def triangle(keep):
    def oracle(a, diagonal):
        out = a.copy()
        for place in np.ndindex(*a.shape):
            if not keep(place[-1] - place[-2], diagonal):
                out[place] = 0
        return out

    return oracle


def a_diagonal(draw, shape):
    dim1, dim2 = draw(st.permutations(range(len(shape))))[:2]
    return {"offset": draw(st.integers(-shape[dim1], shape[dim2])), "dim1": dim1, "dim2": dim2}


def diagonal_of(a, offset, dim1, dim2):
    rest = [d for d in range(a.ndim) if d not in (dim1, dim2)]
    a = a.transpose(*rest, dim1, dim2)
    row, column = max(-offset, 0), max(offset, 0)
    n = max(0, min(a.shape[-2] - row, a.shape[-1] - column))
    return np.stack([a[..., row + i, column + i] for i in range(n)], -1) if n else np.zeros((*a.shape[:-2], 0))


def embedded(a, offset=0):
    n = a.shape[-1] + abs(offset)
    out = np.zeros((*a.shape[:-1], n, n), a.dtype)
    for i in range(a.shape[-1]):
        out[..., i + max(-offset, 0), i + max(offset, 0)] = a[..., i]
    return out


def diag_oracle(a, diagonal):
    return embedded(a, diagonal) if a.ndim == 1 else diagonal_of(a, diagonal, 0, 1)


def joinable(draw):
    shape = list(draw(mst.shapes(1, max_side=3)))
    dim = draw(st.integers(0, len(shape) - 1))
    return [(*shape[:dim], draw(st.integers(0, 3)), *shape[dim + 1 :]) for _ in range(draw(st.integers(1, 3)))] + [(dim,)]


@st.composite
def given_joinable(draw, dtypes):
    *shapes, (dim,) = joinable(draw)
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    return tuple(draw(mst.arrays(shape, dtype)) for shape in shapes), {"dim": dim - draw(st.sampled_from([0, len(shapes[0])]))}


def joined(*arrays, dim):
    dim %= arrays[0].ndim
    total = sum(a.shape[dim] for a in arrays)
    out = np.empty([total if d == dim else n for d, n in enumerate(arrays[0].shape)], arrays[0].dtype)
    at = 0
    for a in arrays:
        out[(slice(None),) * dim + (slice(at, at + a.shape[dim]),)] = a
        at += a.shape[dim]
    return out


def equal_shapes(draw):
    return [draw(mst.shapes(max_dims=2, max_side=3))] * draw(st.integers(1, 3))


def paddings(draw, shape):
    around = [(draw(st.integers(-(n // 2), 2)), draw(st.integers(-(n - n // 2), 2))) for n in shape]
    return {"before": tuple(b for b, _ in around), "after": tuple(a for _, a in around), "value": draw(st.sampled_from([0, 2]))}


def padded(a, before, after, value):
    if not a.ndim:
        return a
    out = np.pad(a, [(max(b, 0), max(e, 0)) for b, e in zip(before, after)], constant_values=value)
    return out[tuple(slice(max(-b, 0), n - max(-e, 0)) for b, e, n in zip(before, after, out.shape))]


def own(*arrays):
    return tuple(a.dtype for a in arrays)


m = minidl
ROWS = {
    "reshape": Row(m.reshape, by_position, given_array(regrouped)),
    "view": Row(lambda x, shape: m.view(m.contiguous(x), shape), by_position, given_array(regrouped)),
    "flatten": Row(m.flatten, flat, given_array(from_to)),
    "ravel": Row(m.ravel, lambda a: by_position(a, (-1,)) if a.size else np.zeros(0), given_array()),
    "unflatten": Row(
        m.unflatten,
        lambda a, dim, sizes: by_position(np.expand_dims(a, dim % a.ndim), np.expand_dims(a, dim % a.ndim).shape),
        given_array(split_sizes, min_dims=1),
    ),
    "squeeze": Row(m.squeeze, squeezed, given_array(lambda draw, shape: draw(st.sampled_from([{}, a_dim(draw, shape)])))),
    "unsqueeze": Row(
        m.unsqueeze, lambda a, dim: np.expand_dims(a, dim), given_array(lambda draw, shape: a_dim(draw, shape, more=1))
    ),
    "permute": Row(lambda x, dims: m.permute(x, *dims), reordered, given_array(an_order)),
    "transpose": Row(m.transpose, lambda a, dim0, dim1: np.swapaxes(a, dim0, dim1) if a.ndim else a, given_array(two_dims)),
    "t": Row(m.t, lambda a: reordered(a, range(a.ndim)[::-1]), given_array(max_dims=2)),
    "movedim": Row(m.movedim, np.moveaxis, given_array(moves)),
    "flip": Row(m.flip, flipped, given_array(some_dims)),
    "roll": Row(m.roll, rolled, given_array(shifts)),
    "expand": Row(lambda x, size: m.expand(x, *size), expanded, given_array(wider)),
    "expand_as": Row(
        lambda x, y: m.expand_as(x, y),
        lambda a, b: expanded(a, b.shape),
        given_arrays(lambda draw: [(3, 1), (2, 3, draw(st.integers(0, 3)))]),
    ),
    "broadcast_tensors": Row(
        m.broadcast_tensors,
        np.broadcast_arrays,
        given_arrays(lambda draw: draw(mst.broadcastable_shapes(3, max_side=3))),
        dtype=own,
    ),
    "repeat": Row(lambda x, sizes: m.repeat(x, *sizes), lambda a, sizes: np.tile(a, sizes), given_array(counts)),
    "tile": Row(
        lambda x, sizes: m.tile(x, sizes),
        lambda a, sizes: np.tile(a, sizes),
        given_array(lambda draw, shape: {"sizes": tuple(draw(st.lists(st.integers(0, 2), max_size=len(shape) + 1)))}),
    ),
    "repeat_interleave": Row(
        m.repeat_interleave,
        lambda a, repeats, dim=None: np.repeat(a, repeats, dim),
        given_array(
            lambda draw, shape: {"repeats": draw(st.integers(0, 3)), **draw(st.sampled_from([{}, a_dim(draw, shape)]))},
            min_dims=1,
        ),
    ),
    "copy": Row(m.clone, np.positive, given_array(), ("float", "integer")),
    "contiguous": Row(m.contiguous, np.positive, given_array(), ("float", "integer")),
    "diagonal": Row(m.diagonal, diagonal_of, given_array(a_diagonal, min_dims=2)),
    "diag": Row(
        m.diag, diag_oracle, given_array(lambda draw, shape: {"diagonal": draw(st.integers(-2, 2))}, min_dims=1, max_dims=2)
    ),
    "diag_embed": Row(
        m.diag_embed, embedded, given_array(lambda draw, shape: {"offset": draw(st.integers(-2, 2))}, min_dims=1, max_dims=2)
    ),
    "tril": Row(
        m.tril,
        triangle(lambda d, diagonal: d <= diagonal),
        given_array(lambda draw, _: {"diagonal": draw(st.integers(-3, 3))}, min_dims=2),
    ),
    "triu": Row(
        m.triu,
        triangle(lambda d, diagonal: d >= diagonal),
        given_array(lambda draw, _: {"diagonal": draw(st.integers(-3, 3))}, min_dims=2),
    ),
    "constant_pad": Row(layout.constant_pad, padded, given_array(paddings)),
    "cat": Row(lambda *xs, dim: m.cat(xs, dim), joined, given_joinable),
    "stack": Row(
        lambda *xs, dim: m.stack(xs, dim),
        lambda *arrays, dim: np.stack(arrays, dim),
        given_arrays(equal_shapes, lambda draw, shapes: a_dim(draw, shapes[0], more=1)),
    ),
    "hstack": Row(lambda *xs: m.hstack(xs), lambda *arrays: np.hstack(arrays), given_arrays(equal_shapes)),
    "vstack": Row(lambda *xs: m.vstack(xs), lambda *arrays: np.vstack(arrays), given_arrays(equal_shapes)),
    "split": Row(m.split, cut, given_array(pieces, min_dims=1)),
    "chunk": Row(
        m.chunk, chunked, given_array(lambda draw, shape: {"chunks": draw(st.integers(1, 4)), **a_dim(draw, shape)}, min_dims=1)
    ),
    "unbind": Row(m.unbind, lambda a, dim: tuple(np.moveaxis(a, dim, 0)), given_array(a_dim, min_dims=1, min_side=1)),
    "narrow": Row(
        m.narrow, lambda a, dim, start, length: np.take(a, range(start, start + length), dim), given_array(a_span, min_dims=1)
    ),
    "select": Row(m.select, lambda a, dim, index: np.take(a, index, dim), given_array(a_place, min_dims=1, min_side=1)),
    "meshgrid": Row(
        m.meshgrid,
        lambda *arrays, indexing: np.meshgrid(*arrays, indexing=indexing),
        given_arrays(
            lambda draw: [(draw(st.integers(0, 3)),) for _ in range(draw(st.integers(1, 3)))],
            lambda draw, _: {"indexing": draw(st.sampled_from(["ij", "xy"]))},
        ),
        dtype=own,
    ),
}


# -- positions


@st.composite
def given_key(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(max_side=3), dtypes))
    return (a,), {"key": draw(mst.indices(a.shape))}


@st.composite
def given_gather(draw, dtypes, with_src=False, repeats=True):
    """An array and, for one dimension, an index array that is nowhere larger in the others; and something to scatter."""
    shape = draw(mst.shapes(1, min_side=1, max_side=3))
    dim = draw(st.integers(0, len(shape) - 1))
    most = 4 if repeats else shape[dim]
    covered = tuple(draw(st.integers(0, most if d == dim else n)) for d, n in enumerate(shape))
    rng = np.random.default_rng(draw(mst.seeds()))
    if repeats:
        places = rng.integers(0, shape[dim], covered)
    else:
        grid = np.moveaxis(np.zeros((*covered[:dim], shape[dim], *covered[dim + 1 :]), int), dim, -1)
        grid[...] = np.arange(shape[dim])
        places = np.moveaxis(rng.permuted(grid, axis=-1), -1, dim)
        places = places[tuple(slice(n) for n in covered)]
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    arrays = [draw(mst.arrays(shape, dtype))]
    if with_src:
        arrays.append(draw(mst.arrays(tuple(n + draw(st.integers(0, 1)) for n in covered), dtype)))
    return tuple(arrays), {"dim": dim - draw(st.sampled_from([0, len(shape)])), "index": places}


@st.composite
def given_take(draw, dtypes):
    """An array and, for one dimension, an index array; in the others their sizes are equal, or one of them is 1."""
    shape = draw(mst.shapes(1, min_side=1, max_side=3))
    dim = draw(st.integers(0, len(shape) - 1))
    covered = [
        draw(st.integers(0, 3) if d == dim else st.sampled_from([1, n] if n > 1 else [1, 2])) for d, n in enumerate(shape)
    ]
    rng = np.random.default_rng(draw(mst.seeds()))
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    return (draw(mst.arrays(shape, dtype)),), {"dim": dim, "index": rng.integers(0, shape[dim], covered)}


def taken(a, dim, index):
    full = np.maximum(a.shape, index.shape)
    wide, places = full.copy(), full.copy()
    wide[dim], places[dim] = a.shape[dim], index.shape[dim]
    return gathered(np.broadcast_to(a, wide), dim, np.broadcast_to(index, places))


def gathered(a, dim, index):
    out = np.empty(index.shape, a.dtype)
    for place in np.ndindex(*index.shape):
        source = list(place)
        source[dim] = index[place]
        out[place] = a[tuple(source)]
    return out


def scattered(add):
    def oracle(a, src, dim, index):
        out = a.copy()
        for place in np.ndindex(*index.shape):
            target = list(place)
            target[dim] = index[place]
            out[tuple(target)] = src[place] + (out[tuple(target)] if add else 0)
        return out

    return oracle


@st.composite
def given_slices(draw, dtypes, with_source=False):
    shape = draw(mst.shapes(1, min_side=1, max_side=3))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    places = draw(st.lists(st.integers(0, shape[dim] - 1), max_size=4))
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    arrays = [draw(mst.arrays(shape, dtype))]
    if with_source:
        part = list(shape)
        part[dim] = len(places)
        arrays.append(draw(mst.arrays(tuple(part), dtype)))
    return tuple(arrays), {"dim": dim, "index": np.array(places, int)}


def added(a, source, dim, index, alpha=1):
    out = a.copy()
    for i, place in enumerate(index):
        key = [slice(None)] * a.ndim
        key[dim] = place
        out[tuple(key)] += alpha * np.take(source, i, dim)
    return out


@st.composite
def given_masked(draw, dtypes):
    shape, mask = draw(mst.broadcastable_shapes(2, max_side=3))
    return (draw(mst.arrays(shape, dtypes)),), {"mask": draw(mst.arrays(mask, minidl.bool))}


def unmasked(a, mask):
    a, mask = np.broadcast_arrays(a, mask)
    return np.array([a[place] for place in np.ndindex(*a.shape) if mask[place]], a.dtype)


def with_tensor(op, *names):
    """The op with those options, which are arrays, as tensors if its input is one."""

    def call(x, *more, **options):
        if isinstance(x, minidl.Tensor):
            options |= {name: minidl.from_numpy(options[name]) for name in names}
        return op(x, *more, **options)

    return call


def put_last(op):
    return lambda x, src, dim, index: op(x, dim, index, src)


def places_that_count(a):
    found = [place for place in np.ndindex(*a.shape) if a[place]]
    return np.array(found, int).reshape(len(found), a.ndim)


NUMBERS = ("float", "integer")
i = index
POSITIONS = {
    "getitem": Row(lambda x, key: i.getitem(x, key), lambda a, key: a[key], given_key),
    "put": Row(lambda x, key: i.put(x, 2, key), lambda a, key: np.where(hit(a.shape, key), 2, a), given_key, NUMBERS),
    "gather": Row(with_tensor(i.gather, "index"), gathered, given_gather),
    "take_along_dim": Row(with_tensor(lambda x, dim, index: m.take_along_dim(x, index, dim), "index"), taken, given_take),
    "scatter_add": Row(
        with_tensor(put_last(i.scatter_add), "index"), scattered(True), lambda d: given_gather(d, True), NUMBERS
    ),
    "scatter": Row(with_tensor(put_last(i.scatter), "index"), scattered(False), lambda d: given_gather(d, True, False)),
    "scatter number": Row(
        with_tensor(lambda x, dim, index: i.scatter(x, dim, index, 2), "index"),
        lambda a, dim, index: scattered(False)(a, np.full(index.shape, 2), dim, index),
        given_gather,
        NUMBERS,
    ),
    "index_select": Row(with_tensor(m.index_select, "index"), lambda a, dim, index: np.take(a, index, dim), given_slices),
    "index_add": Row(
        with_tensor(lambda x, source, dim, index: m.index_add(x, dim, index, source), "index"),
        added,
        lambda d: given_slices(d, True),
        NUMBERS,
    ),
    "index_add alpha": Row(
        with_tensor(lambda x, source, dim, index: m.index_add(x, dim, index, source, alpha=3), "index"),
        lambda a, source, dim, index: added(a, source, dim, index, 3),
        lambda d: given_slices(d, True),
        NUMBERS,
    ),
    "masked_select": Row(with_tensor(m.masked_select, "mask"), unmasked, given_masked),
}
FLAT = {
    "nonzero": Row(i.nonzero, places_that_count, given_array(), dtype=long),
    "one_hot": Row(
        m.one_hot,
        lambda a, num_classes: np.array([[int(c == x) for c in range(num_classes)] for x in a.reshape(-1)], int).reshape(
            *a.shape, num_classes
        ),
        lambda d: mst.arrays(mst.shapes(max_side=3), d, Domain(0, 4)).map(lambda a: ((a,), {"num_classes": 5})),
        ("integer",),
        long,
    ),
}


def hit(shape, key):
    """Which places of an array a key names."""
    out = np.zeros(shape, bool)
    out[key] = True
    return out


@pytest.mark.parametrize("name", [*ROWS, *POSITIONS, *FLAT])
@given(st.data())
def test_values(name, data):
    row = {**ROWS, **POSITIONS, **FLAT}[name]
    arrays, options = data.draw(row.draw(mst.dtypes(*row.kinds)))
    check_values(row, arrays, options)


@pytest.mark.parametrize("name", [*ROWS, *POSITIONS])
@given(st.data())
def test_gradients(name, data):
    row = {**ROWS, **POSITIONS}[name]
    arrays, options = data.draw(row.draw(minidl.float64))
    check_gradients(row, arrays, options)


@given(mst.arrays(mst.shapes(1)), st.data())
def test_assignment_at_any_key(a, data):
    """``x[key] = y`` with a gradient for both, at keys that do not repeat a place."""
    key = data.draw(mst.indices(a.shape, fancy=False))
    part = a[key]
    y = data.draw(mst.arrays(part.shape))

    def put(x, y):
        x = x.clone()
        x[key] = y
        return x

    want = a.copy()
    want[key] = y
    row = Row(put, None, None)
    np.testing.assert_array_equal(put(minidl.from_numpy(a), minidl.from_numpy(y)), want)
    check_gradients(row, (a, y), {})


VIEWS = [
    "reshape",
    "flatten",
    "squeeze",
    "unsqueeze",
    "transpose",
    "permute",
    "movedim",
    "expand",
    "narrow",
    "select",
    "split",
    "unbind",
    "diagonal",
]


@pytest.mark.parametrize("name", VIEWS)
@given(st.data())
def test_views_share_memory_where_numpy_can(name, data):
    row = ROWS[name]
    (a,), options = data.draw(row.draw(minidl.float64))
    a = np.ascontiguousarray(a).reshape(a.shape)
    for out in as_tuple(row.call(minidl.from_numpy(a), **options)):
        assert out.numel() == 0 or np.shares_memory(out.numpy(), a)


@pytest.mark.parametrize("name", ["flip", "roll", "repeat", "copy", "tril", "cat", "gather", "index_select"])
@given(st.data())
def test_copies_do_not_share_memory(name, data):
    row = {**ROWS, **POSITIONS}[name]
    arrays, options = data.draw(row.draw(minidl.float64))
    out = row.call(*map(minidl.from_numpy, arrays), **options)
    assert not any(np.shares_memory(out.numpy(), a) for a in arrays)


def test_nonzero_as_a_tuple():
    rows, columns = minidl.nonzero(minidl.tensor([[0, 1], [2, 0]]), as_tuple=True)
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]


def test_cat_and_stack_bring_dtypes_together_as_arithmetic_does():
    whole, x = minidl.tensor([1]), minidl.tensor([1.5], requires_grad=True)
    assert minidl.cat([whole, x]).dtype == minidl.stack([whole, x]).dtype == minidl.float32
    wide = minidl.cat([x, x.double()])
    assert wide.dtype == minidl.float64
    wide.sum().backward()
    assert x.grad.dtype == minidl.float32 and x.grad.tolist() == [2]


def test_cat_skips_empty_vectors():
    x = minidl.ones(2, 3, requires_grad=True)
    found = minidl.tensor([])
    for _ in range(2):
        found = minidl.cat([found, x * 2])
    found.sum().backward()
    assert found.shape == (4, 3) and (x.grad == 4).all()
    assert minidl.cat([minidl.tensor([]), minidl.tensor([])]).shape == (0,)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0,)])
def test_what_is_empty_was_used_when_it_was_joined(shape):
    """Its gradient has no numbers but is one; it was None, and ``grad`` said that it was not used."""
    empty, x = minidl.zeros(*shape, requires_grad=True), minidl.ones(2, 1, 3, requires_grad=True)
    for create_graph in (False, True):
        found = minidl.autograd.grad(minidl.cat([empty, x], 1).sum(), [empty, x], create_graph=create_graph)
        assert [g.shape for g in found] == [shape, (2, 1, 3)]


def test_where_alone_says_where():
    rows, columns = minidl.where(minidl.tensor([[0, 1], [2, 0]]) > 0)
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]


def test_a_diagonal_of_one_dimension_is_refused():
    with pytest.raises(minidl.shapes.ShapeError, match="diagonal: dim .* names a dimension twice"):
        m.diagonal(minidl.zeros(2, 3), 0, 1, -1)
