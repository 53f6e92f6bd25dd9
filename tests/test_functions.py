"""Functions composed of ops: values against plain Python or loops, gradients to order two."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import (
    Row,
    along,
    boolean,
    check_gradients,
    check_values,
    common,
    floating,
    lifted,
    long,
    reduced,
    summed,
)
from test_ops_elementwise import drawn
from test_ops_reduce import dims, mean, one_dim, own, pairs, two, variance

import minidl
from minidl.testing import gradcheck, gradgradcheck
from minidl.testing import strategies as mst
from minidl.testing.strategies import ANY, NONZERO, POSITIVE, UNIQUE, Domain

inf, nan = math.inf, math.nan
FLOAT, NUMBERS, ALL = ("float",), ("float", "integer"), ("float", "integer", "bool")
WIDE = (minidl.float64, minidl.float32)
OFF = Domain(shift=1 / 37)
WITHIN = {"many": False, "none": False, "min_side": 1}


def element(op, python, *domains, kinds=FLOAT, dtype=common, grad=True):
    return Row(op, lifted(python), drawn(*domains), kinds, dtype, grad)


def alike(*domains):
    """Arrays that broadcast, of one dtype."""
    draw = drawn(*domains)
    return lambda dtypes: dtypes.flatmap(draw) if isinstance(dtypes, st.SearchStrategy) else draw(dtypes)


def always(name):
    return lambda *arrays: np.dtype(name)


# -- element by element


def sinc(x):
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def step(x, at):
    return at if x == 0 else x > 0


ROWS = {
    "clamp_min": element(lambda x: minidl.clamp_min(x, 0.5), lambda a: max(a, 0.5), OFF),
    "clamp_max": element(lambda x: minidl.clamp_max(x, 0.5), lambda a: min(a, 0.5), OFF),
    "fmax": element(minidl.fmax, max, ANY, OFF, kinds=NUMBERS),
    "fmin": element(minidl.fmin, min, ANY, OFF, kinds=NUMBERS),
    "copysign": element(minidl.copysign, math.copysign, NONZERO, NONZERO, kinds=NUMBERS, dtype=floating),
    "copysign number": element(lambda x: minidl.copysign(x, -2), lambda a: -abs(a), NONZERO, kinds=NUMBERS, dtype=floating),
    "positive": element(minidl.positive, lambda a: a, ANY, kinds=NUMBERS),
    "float_power": element(
        minidl.float_power, lambda a, b: float(a) ** b, POSITIVE, ANY, kinds=NUMBERS, dtype=always("float64")
    )._replace(raw=False),
    "ldexp": Row(minidl.ldexp, lifted(lambda a, b: a * 2.0**b), alike(ANY, ANY), FLOAT),
    "xlogy": element(minidl.xlogy, lambda a, b: a * math.log(b) if a else 0.0, ANY, POSITIVE, kinds=NUMBERS, dtype=floating),
    "logaddexp2": element(minidl.logaddexp2, lambda a, b: math.log2(2.0**a + 2.0**b), ANY, ANY),
    "hypot": element(minidl.hypot, math.hypot, NONZERO, NONZERO),
    "logit": element(minidl.logit, lambda a: math.log(a / (1 - a)), Domain(1 / 16, 15 / 16)),
    "logit eps": element(
        lambda x: minidl.logit(x, 0.25),
        lambda a: math.log(min(max(a, 0.25), 0.75) / (1 - min(max(a, 0.25), 0.75))),
        Domain(0, 1, away_from=(0.25, 0.75)),
    ),
    "sinc": element(minidl.sinc, sinc, OFF),
    "erfc": element(minidl.erfc, math.erfc, ANY, kinds=NUMBERS, dtype=floating),
    "deg2rad": element(minidl.deg2rad, math.radians, ANY, kinds=NUMBERS, dtype=floating),
    "rad2deg": element(minidl.rad2deg, math.degrees, ANY, kinds=NUMBERS, dtype=floating),
}
FLAT = {  # no gradient
    "signbit": element(minidl.signbit, lambda a: math.copysign(1, a) < 0, ANY, kinds=ALL, dtype=boolean),
    "heaviside": Row(minidl.heaviside, lifted(step), alike(Domain(-1, 1), ANY), ALL, grad=False),
    "isposinf": element(minidl.isposinf, lambda a: a == inf, ANY, kinds=ALL, dtype=boolean),
    "isneginf": element(minidl.isneginf, lambda a: a == -inf, ANY, kinds=ALL, dtype=boolean),
}


# -- statistics


def lower_median(numbers):
    return sorted(numbers)[(len(numbers) - 1) // 2]


def order(numbers):
    return sorted(range(len(numbers)), key=lambda i: (numbers[i], i))


def most_frequent(numbers):
    return min(numbers, key=lambda x: (-numbers.count(x), x))


def last_place(numbers):
    return max(i for i, x in enumerate(numbers) if x == most_frequent(numbers))


def between(numbers, q, interpolation="linear"):
    """A quantile, element by element."""
    ordered, rank = sorted(numbers), q * (len(numbers) - 1)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    if interpolation == "nearest":
        return ordered[round(rank)]
    share = {"lower": 0, "higher": 1, "midpoint": 0.5}.get(interpolation, rank - math.floor(rank))
    return low + share * (high - low)


@st.composite
def with_quantile(draw, dtypes):
    dtypes = st.sampled_from(WIDE) if isinstance(dtypes, st.SearchStrategy) else dtypes
    (a,), options = draw(dims(UNIQUE, many=False, min_side=1)(dtypes))
    return (a,), {
        **options,
        "q": draw(st.sampled_from([0.0, 0.25, 0.3125, 0.8125, 1.0])),  # of no rank that is nearly whole, or halfway
        "interpolation": draw(st.sampled_from(["linear", "lower", "higher", "nearest", "midpoint"])),
    }


def running(better):
    """The best so far and its place, the last one of equals."""

    def scan(numbers):
        places = []
        for i, x in enumerate(numbers):
            places.append(i if not places or better(x, numbers[places[-1]]) else places[-1])
        return places

    return along(lambda x: [x[i] for i in scan(x)]), along(scan)


def log_sums(numbers):
    return [math.log(math.fsum(map(math.exp, numbers[: i + 1]))) for i in range(len(numbers))]


def differences(numbers, n):
    for _ in range(n):
        numbers = [b - a if not isinstance(a, bool) else a != b for a, b in zip(numbers, numbers[1:])]
    return numbers


@st.composite
def with_n(draw, dtypes):
    (a,), options = draw(one_dim(min_dims=1, min_side=1)(dtypes))
    return (a,), {**options, "n": draw(st.integers(0, 3))}


def trapezoids(numbers, dx=1):
    return dx * math.fsum((a + b) / 2 for a, b in zip(numbers, numbers[1:]))


@st.composite
def table(draw, dtypes, unique=True):
    """A table of variables (rows) and observations, at least 2 of them."""
    shape = (draw(st.integers(2, 3)), draw(st.integers(3, 4))) if draw(st.booleans()) else (draw(st.integers(2, 4)),)
    return (draw(mst.arrays(shape, dtypes, UNIQUE)),), {}


def covariance(a, correction=1):
    rows = np.atleast_2d(a)
    out = np.empty((len(rows), len(rows)))
    for i, j in itertools.product(range(len(rows)), repeat=2):
        centers = [mean(rows[k].tolist()) for k in (i, j)]
        out[i, j] = math.fsum((x - centers[0]) * (y - centers[1]) for x, y in zip(rows[i], rows[j]))
    out /= rows.shape[1] - correction
    return out if a.ndim > 1 else out[0, 0]


def correlation(a):
    c = np.atleast_2d(covariance(a))
    out = np.array([[c[i, j] / math.sqrt(c[i, i] * c[j, j]) for j in range(len(c))] for i in range(len(c))])
    return out if a.ndim > 1 else out[0, 0]


def bins_of(a, bins, low, high):
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    inside = [x for x in a.reshape(-1).tolist() if low <= x <= high]
    return np.array([sum(p <= x < q or (x == q == high) for x in inside) for p, q in zip(edges, edges[1:])])


def distances(a, b, p):
    out = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-2]))
    for place in np.ndindex(*out.shape):
        rows = [
            x[tuple(0 if n == 1 else i for n, i in zip(x.shape[:-2], place[-x.ndim : -2] if x.ndim > 2 else ()))]
            for x in (a, b)
        ]
        gaps = [abs(x - y) for x, y in zip(rows[0][place[-2]], rows[1][place[-1]])]
        out[place] = max(gaps, default=0) if p == inf else math.fsum(g**p for g in gaps) ** (1 / p)
    return out


@st.composite
def two_tables(draw, dtypes):
    dtype = draw(st.sampled_from(WIDE)) if isinstance(dtypes, st.SearchStrategy) else dtypes
    lead, width = draw(st.sampled_from([((), ()), ((2,), (2,)), ((2,), (1,))])), draw(st.integers(1, 3))
    shapes = [(*some, draw(st.integers(0, 3)), width) for some in lead]
    arrays = draw(mst.arrays(shapes[0], dtype)), draw(mst.arrays(shapes[1], dtype, OFF))
    return arrays, {"p": draw(st.sampled_from([1.0, 2.0, 3.0, 1.5]))}


STATISTICS = {
    "std_mean": Row(
        minidl.std_mean,
        pairs(reduced(lambda x: math.sqrt(variance(x))), reduced(mean)),
        dims(UNIQUE, min_side=2, min_dims=1),
        FLOAT,
        two(own, own),
    ),
    "nansum": Row(minidl.nansum, reduced(sum), dims(), ALL, summed),
    "nanmean": Row(minidl.nanmean, reduced(mean), dims(min_side=1), FLOAT),
    "median": Row(
        minidl.median,
        pairs(reduced(lower_median), reduced(lambda x: order(x)[(len(x) - 1) // 2])),
        dims(UNIQUE, **WITHIN),
        NUMBERS,
        two(own, long),
    ),
    "median of all": Row(
        minidl.median,
        reduced(lower_median),
        lambda d: mst.arrays(mst.shapes(min_side=1), d, UNIQUE).map(lambda a: ((a,), {})),
        NUMBERS,
    ),
    "nanmedian": Row(
        minidl.nanmedian,
        pairs(reduced(lower_median), reduced(lambda x: order(x)[(len(x) - 1) // 2])),
        dims(UNIQUE, **WITHIN),
        NUMBERS,
        two(own, long),
    ),
    "kthvalue": Row(
        lambda x, **o: minidl.kthvalue(x, 1, **o),
        pairs(reduced(min), reduced(lambda x: order(x)[0])),
        dims(UNIQUE, **WITHIN),
        NUMBERS,
        two(own, long),
    ),
    "mode": Row(
        minidl.mode, pairs(reduced(most_frequent), reduced(last_place)), dims(UNIQUE, **WITHIN), NUMBERS, two(own, long)
    ),
    "msort": Row(
        minidl.msort,
        lambda a: along(sorted)(a, 0),
        lambda d: mst.arrays(mst.shapes(1), d, UNIQUE).map(lambda a: ((a,), {})),
        NUMBERS,
    ),
    "quantile": Row(minidl.quantile, reduced(between), with_quantile, FLOAT),
    "nanquantile": Row(minidl.nanquantile, reduced(between), with_quantile, FLOAT),
    "cummax": Row(minidl.cummax, pairs(*running(lambda x, y: x >= y)), one_dim(UNIQUE), NUMBERS, two(own, long)),
    "cummin": Row(minidl.cummin, pairs(*running(lambda x, y: x <= y)), one_dim(UNIQUE), NUMBERS, two(own, long)),
    "logcumsumexp": Row(minidl.logcumsumexp, along(log_sums), one_dim(), FLOAT),
    "diff": Row(minidl.diff, along(differences), with_n, NUMBERS),
    "trapezoid": Row(
        lambda y, dim: minidl.trapezoid(y, dx=0.5, dim=dim),
        lambda a, dim: reduced(trapezoids)(a, dim, dx=0.5),
        one_dim(min_dims=1, min_side=1),
        FLOAT,
    ),
    "cov": Row(minidl.cov, covariance, table, FLOAT),
    "corrcoef": Row(minidl.corrcoef, correlation, table, FLOAT),
    "dist": Row(
        minidl.dist,
        lambda a, b: math.sqrt(sum((x - y) ** 2 for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist()))),
        lambda d: same_shapes(d, (ANY, OFF)),
        FLOAT,
    ),
    "cdist": Row(minidl.cdist, distances, two_tables, FLOAT),
}
FLAT["histc"] = Row(
    lambda x: minidl.histc(x, 5, -2, 3),
    lambda a: bins_of(a, 5, -2, 3),
    lambda d: mst.arrays(dtype=d).map(lambda a: ((a,), {})),
    FLOAT,
)


@st.composite
def same_shapes(draw, dtypes, domains, **shape):
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(**{"max_side": 3, **shape}))
    return tuple(draw(mst.arrays(shape, dtype, domain)) for domain in domains), {}


# -- products


@st.composite
def shaped(draw, dtypes, *wanted, options):
    """Arrays whose shapes are written with letters: ``"bij" "bjk"``; every letter is a size from 0 to 3."""
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    sizes = {c: draw(st.integers(0, 3)) for c in sorted(set("".join(wanted)) - set("123"))}
    sizes |= {c: int(c) for c in "123"}
    return tuple(draw(mst.arrays(tuple(sizes[c] for c in term), dtype)) for term in wanted), draw(options)


def letters(*wanted, options=None):
    return lambda dtypes: shaped(dtypes, *wanted, options=st.just({}) if options is None else options)


def summed_by(equation):
    """Sums of products by letters, in loops."""
    inputs, output = equation.split("->")

    def oracle(*arrays):
        sizes = {c: n for term, a in zip(inputs.split(","), arrays) for c, n in zip(term, a.shape)}
        out = np.zeros([sizes[c] for c in output], object)
        for values in itertools.product(*(range(sizes[c]) for c in sizes)):
            at = dict(zip(sizes, values))
            out[tuple(at[c] for c in output)] += math.prod(
                a[tuple(at[c] for c in term)].item() for term, a in zip(inputs.split(","), arrays)
            )
        return out

    return oracle


def plus(equation):
    product = summed_by(equation)
    return lambda a, b, c, beta, alpha: beta * a + alpha * product(b, c)


SCALES = st.sampled_from([{"beta": 1, "alpha": 1}, {"beta": 2, "alpha": 3}, {"beta": 0, "alpha": 1}])


def kronecker(a, b):
    n = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (n - x.ndim) + x.shape) for x in (a, b))
    out = np.empty([p * q for p, q in zip(a.shape, b.shape)], object)
    for place in np.ndindex(*out.shape):
        out[place] = a[tuple(i // m for i, m in zip(place, b.shape))] * b[tuple(i % m for i, m in zip(place, b.shape))]
    return out


def crossed(a, b):
    a, b = np.broadcast_arrays(a.astype(object), b.astype(object))
    out = np.empty(a.shape, object)
    for place in np.ndindex(*a.shape[:-1]):
        (u, v, w), (x, y, z) = a[place], b[place]
        out[place] = v * z - w * y, w * x - u * z, u * y - v * x
    return out


def multiplied(a, n):
    out = np.eye(a.shape[-1])
    for _ in range(n):
        out = np.array([[math.fsum(x * y for x, y in zip(row, column)) for column in a.T] for row in out]).reshape(a.shape)
    return out


PRODUCTS = {
    "inner": Row(minidl.inner, summed_by("aik,jk->aij"), letters("aik", "jk"), NUMBERS),
    "inner of numbers": Row(minidl.inner, lambda a, b: a * b, letters("", "ij"), NUMBERS),
    "vdot": Row(minidl.vdot, summed_by("i,i->"), letters("i", "i"), NUMBERS),
    "tensordot": Row(minidl.tensordot, summed_by("aij,ijb->ab"), letters("aij", "ijb"), NUMBERS),
    "tensordot lists": Row(
        lambda a, b: minidl.tensordot(a, b, ([0, -1], [2, 1])), summed_by("iaj,bji->ab"), letters("iaj", "bji"), NUMBERS
    ),
    "tensordot 0": Row(lambda a, b: minidl.tensordot(a, b, 0), summed_by("ij,k->ijk"), letters("ij", "k"), NUMBERS),
    "kron": Row(minidl.kron, kronecker, letters("ij", "abc"), NUMBERS),
    "cross": Row(lambda a, b: minidl.cross(a, b, -1), crossed, letters("i3", "13"), NUMBERS),
    "cross first": Row(minidl.cross, lambda a, b: crossed(a.T, b.T).T, letters("32", "32"), NUMBERS),
    "matrix_power": Row(
        lambda a, n: minidl.matrix_power(a, n),
        multiplied,
        letters("ii", options=st.integers(1, 5).map(lambda n: {"n": n})),
        FLOAT,
    ),
    "addmm": Row(minidl.addmm, plus("ij,jk->ik"), letters("ik", "ij", "jk", options=SCALES), NUMBERS),
    "addbmm": Row(minidl.addbmm, plus("bij,bjk->ik"), letters("ik", "bij", "bjk", options=SCALES), FLOAT),
    "baddbmm": Row(minidl.baddbmm, plus("bij,bjk->bik"), letters("bik", "bij", "bjk", options=SCALES), NUMBERS),
    "baddbmm broadcast": Row(
        lambda a, *o, **k: minidl.baddbmm(a, *o, **k),
        plus("bij,bjk->bik"),
        letters("1k", "bij", "bjk", options=SCALES),
        NUMBERS,
    ),
    "addmv": Row(minidl.addmv, plus("ij,j->i"), letters("i", "ij", "j", options=SCALES), NUMBERS),
    "addr": Row(minidl.addr, plus("i,j->ij"), letters("ij", "i", "j", options=SCALES), NUMBERS),
}


# -- shapes


def by_place(shape, f):
    """An oracle: the element at each place of the result, from the array and the place."""

    def oracle(a, **options):
        out = np.empty(shape(a, **options), a.dtype)
        for place in np.ndindex(*out.shape):
            out[place] = f(a, place, **options)
        return out

    return oracle


def turned(a, k, dims):
    for _ in range(k % 4):  # a quarter turn: what was at (i, j) goes to (n - 1 - j, i)
        i, j = dims
        out = np.empty([a.shape[j] if d == i else a.shape[i] if d == j else n for d, n in enumerate(a.shape)], a.dtype)
        for place in np.ndindex(*a.shape):
            new = list(place)
            new[i], new[j] = a.shape[j] - 1 - place[j], place[i]
            out[tuple(new)] = a[place]
        a = out
    return a


@st.composite
def with_turns(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(2, max_side=3), dtypes))
    return (a,), {"k": draw(st.integers(-5, 5)), "dims": tuple(draw(st.permutations(range(a.ndim)))[:2])}


def some(**shape):
    return lambda dtypes: mst.arrays(mst.shapes(**{"max_side": 3, **shape}), dtypes).map(lambda a: ((a,), {}))


def on_a_diagonal(a, offset):
    flat = a.reshape(-1).tolist()
    n = len(flat) + abs(offset)
    out = np.zeros((n, n), a.dtype)
    for i, x in enumerate(flat):
        out[i + max(-offset, 0), i + max(offset, 0)] = x
    return out


def slid(a, dimension, size, step):
    d = dimension % a.ndim
    out = np.empty((*a.shape[:d], (a.shape[d] - size) // step + 1, *a.shape[d + 1 :], size), a.dtype)
    for place in np.ndindex(*out.shape):
        out[place] = a[(*place[:d], place[d] * step + place[-1], *place[d + 1 : -1])]
    return out


@st.composite
def with_windows(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(1, max_side=4), dtypes))
    dim = draw(st.integers(-a.ndim, a.ndim - 1))
    return (a,), {"dimension": dim, "size": draw(st.integers(0, a.shape[dim])), "step": draw(st.integers(1, 3))}


def blocks(*arrays):
    arrays = [np.atleast_2d(a) for a in arrays]
    out = np.zeros([sum(a.shape[d] for a in arrays) for d in (0, 1)], arrays[0].dtype)
    row = column = 0
    for a in arrays:
        for i, j in np.ndindex(*a.shape):
            out[row + i, column + j] = a[i, j]
        row, column = row + a.shape[0], column + a.shape[1]
    return out


def rows_of(choose):
    """A matrix with a row for each choice."""

    def oracle(*arrays, **options):
        found, width = choose(*(a.tolist() for a in arrays), **options)
        return np.array(list(found), arrays[0].dtype).reshape(-1, width)

    return oracle


@st.composite
def with_r(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(1, 1), dtypes))
    return (a,), {"r": draw(st.integers(1, 3)), "with_replacement": draw(st.booleans())}


def chosen(numbers, r, with_replacement):
    return (itertools.combinations_with_replacement if with_replacement else itertools.combinations)(numbers, r), r


def powers(a, N, increasing):
    out = np.empty((len(a), N), object)
    for i, j in np.ndindex(*out.shape):
        out[i, j] = a[i].item() ** (j if increasing else N - 1 - j)
    return out


@st.composite
def with_N(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(1, 1, max_side=3), dtypes, NONZERO))
    return (a,), {"N": draw(st.integers(0, 3)), "increasing": draw(st.booleans())}


def cut(a, places, dim):
    """Pieces by which elements they keep."""
    n, out, start = a.shape[dim], [], 0
    for place in [*places, n]:
        stop = min(max(place + n if place < 0 else place, 0), n)
        keep = [i for i in range(n) if start <= i < stop]
        out.append(
            np.moveaxis(
                np.array([np.moveaxis(a, dim, 0)[i] for i in keep], a.dtype).reshape(
                    len(keep), *np.moveaxis(a, dim, 0).shape[1:]
                ),
                0,
                dim,
            )
        )
        start = stop
    return out


def pieces(a, sections, dim):
    n = a.shape[dim]
    sizes = [n // sections + (i < n % sections) for i in range(sections)]
    return cut(a, list(itertools.accumulate(sizes))[:-1], dim)


@st.composite
def with_sections(draw, dtypes):
    a = draw(mst.arrays(mst.shapes(1, max_side=4), dtypes))
    return (a,), {"sections": draw(st.integers(1, 5)), "dim": draw(st.integers(0, a.ndim - 1))}


def at_least(n):
    def oracle(a):
        shape = {(0, 1): (1,), (0, 2): (1, 1), (1, 2): (1, -1), (0, 3): (1, 1, 1), (1, 3): (1, -1, 1)}.get((a.ndim, n), a.shape)
        return a.reshape((*a.shape, 1) if (a.ndim, n) == (2, 3) else shape)

    return oracle


SHAPES = {
    "atleast_1d": Row(minidl.atleast_1d, at_least(1), some(), ALL),
    "atleast_2d": Row(minidl.atleast_2d, at_least(2), some(), ALL),
    "atleast_3d": Row(minidl.atleast_3d, at_least(3), some(max_dims=4), ALL),
    "diagflat": Row(
        minidl.diagflat,
        on_a_diagonal,
        lambda d: st.tuples(mst.arrays(mst.shapes(max_dims=2, max_side=2), d), st.integers(-2, 2)).map(
            lambda drawn: ((drawn[0],), {"offset": drawn[1]})
        ),
        ALL,
    ),
    "fliplr": Row(
        minidl.fliplr, by_place(lambda a: a.shape, lambda a, p: a[(p[0], a.shape[1] - 1 - p[1], *p[2:])]), some(min_dims=2), ALL
    ),
    "flipud": Row(
        minidl.flipud, by_place(lambda a: a.shape, lambda a, p: a[(a.shape[0] - 1 - p[0], *p[1:])]), some(min_dims=1), ALL
    ),
    "rot90": Row(minidl.rot90, turned, with_turns, ALL),
    "unfold": Row(minidl.functions.shaping.unfold, slid, with_windows, ALL),
    "block_diag": Row(minidl.block_diag, blocks, letters("ij", "k", "", "23"), ALL),
    "cartesian_prod": Row(
        minidl.cartesian_prod, rows_of(lambda *lists: (itertools.product(*lists), len(lists))), letters("i", "j", "2"), ALL
    ),
    "combinations": Row(minidl.combinations, rows_of(chosen), with_r, ALL),
    "vander": Row(minidl.vander, powers, with_N, NUMBERS),
    "column_stack": Row(
        lambda *x: minidl.column_stack(x),
        lambda a, b, c: np.array([[*row, x, *more] for row, x, more in zip(a.tolist(), b.tolist(), c.tolist())], a.dtype),
        letters("32", "3", "31"),
        ALL,
    ),
    "dstack": Row(
        lambda *x: minidl.dstack(x),
        lambda a, b: np.array([[[a[i, j], *b[i, j]] for j in range(a.shape[1])] for i in range(a.shape[0])], a.dtype).reshape(
            *a.shape, 1 + b.shape[2]
        ),
        letters("ij", "ijk"),
        ALL,
    ),
    "tensor_split": Row(
        lambda x, sections, dim: minidl.tensor_split(x, sections, dim), pieces, with_sections, ALL, lambda a, *_: [a.dtype]
    ),
    "tensor_split places": Row(
        lambda x: minidl.tensor_split(x, [1, -1, 2, 9]), lambda a: cut(a, [1, -1, 2, 9], 0), some(min_dims=1), ALL
    ),
    "hsplit": Row(lambda x: minidl.hsplit(x, 2), lambda a: pieces(a, 2, 1), letters("i2j"), ALL),
    "vsplit": Row(lambda x: minidl.vsplit(x, [1]), lambda a: cut(a, [1], 0), some(min_dims=2), ALL),
    "dsplit": Row(lambda x: minidl.dsplit(x, 3), lambda a: pieces(a, 3, 2), letters("i2" + "3"), ALL),
}


# -- positions


def scattered(kind):
    """What comes together at each place, gathered in lists."""

    def oracle(a, src, *, dim, index, include_self):
        lists = np.empty(a.shape, object)
        for place in np.ndindex(*a.shape):
            lists[place] = [a[place]]
        touched = set()
        for place in np.ndindex(*index.shape):
            target = tuple(int(index[place]) if d == dim % a.ndim else i for d, i in enumerate(place))
            if not include_self and target not in touched:
                lists[target] = []
            touched.add(target)
            lists[target].append(src[place])
        how = {"sum": math.fsum, "mean": mean, "amax": max, "amin": min}[kind]
        return np.array([how(some) for some in lists.reshape(-1)], float).reshape(a.shape)

    return oracle


@st.composite
def with_targets(draw, dtypes):
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(1, 2, 1, 3))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    src_shape = tuple(draw(st.integers(1, 4 if d == dim % len(shape) else n)) for d, n in enumerate(shape))
    rng = np.random.default_rng(draw(mst.seeds()))
    index_shape = tuple(draw(st.integers(1, n)) for n in src_shape)
    index = np.array(rng.integers(0, shape[dim], index_shape))
    both = draw(mst.arrays(shape, dtype, UNIQUE)), draw(mst.arrays(src_shape, dtype, Domain(unique=True, shift=1 / 37)))
    return both, {"dim": dim, "index": index, "include_self": draw(st.booleans())}


def with_index(op, *fixed):
    """``op`` with an index that is an array beside arrays, and a tensor beside tensors."""

    def call(x, *others, index, **options):
        return op(x, *others, index=minidl.from_numpy(index) if isinstance(x, minidl.Tensor) else index, **options)

    return call


def reducing(kind):
    return Row(
        with_index(lambda x, src, **o: minidl.scatter_reduce(x, src=src, reduce=kind, **o)),
        scattered(kind),
        with_targets,
        FLOAT,
    )


@st.composite
def with_places(draw, dtypes, source=True, negative=False):
    """An array, slices for some of its places along a dimension, and which."""
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(1, 3, 1, 3))
    dim = draw(st.integers(0, len(shape) - 1))
    index = draw(st.lists(st.integers(-shape[dim] * negative, shape[dim] - 1), unique_by=lambda i: i % shape[dim], max_size=3))
    arrays = [draw(mst.arrays(shape, dtype))]
    if source:
        arrays.append(draw(mst.arrays((*shape[:dim], len(index), *shape[dim + 1 :]), dtype)))
    return tuple(arrays), {"dim": dim, "index": np.array(index, np.int64)}


def copied(a, source, *, dim, index):
    out = a.copy()
    for k, i in enumerate(index):
        for place in np.ndindex(*a.shape):
            if place[dim] == i:
                out[place] = source[(*place[:dim], k, *place[dim + 1 :])]
    return out


def filled(a, *, dim, index):
    out = a.copy()
    for place in np.ndindex(*a.shape):
        if place[dim] in [i % a.shape[dim] for i in index]:
            out[place] = 1
    return out


@st.composite
def with_flat_places(draw, dtypes, source=True):
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(0, 3, 1, 3))
    n = math.prod(shape)
    index = np.array(draw(st.lists(st.integers(-n, n - 1), unique_by=lambda i: i % n, min_size=1, max_size=3)), np.int64)
    arrays = [draw(mst.arrays(shape, dtype))]
    if source:
        arrays.append(draw(mst.arrays((len(index),), dtype)))
    return tuple(arrays), {"index": index}


def put_there(a, source, *, index, add=False):
    flat = a.reshape(-1).copy()
    for i, x in zip(index, source):
        flat[i] = flat[i] + x if add else x
    return flat.reshape(a.shape)


@st.composite
def with_mask(draw, dtypes):
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    shape = draw(mst.shapes(max_side=3))
    mask = draw(mst.arrays(shape, minidl.bool))
    return (mask, draw(mst.arrays(shape, dtype)), draw(mst.arrays((mask.size + 1,), dtype))), {}


def masked(mask, a, source):
    out, rest = a.copy(), list(source)
    for place in np.ndindex(*a.shape):
        if mask[place]:
            out[place] = rest.pop(0)
    return out


def second(_, a, *rest):
    return a.dtype


POSITIONS = {
    "take": Row(
        with_index(minidl.take),
        lambda a, index: np.array([a.reshape(-1)[i] for i in index]),
        lambda d: with_flat_places(d, False),
        ALL,
    ),
    "put": Row(with_index(lambda x, source, index: minidl.put(x, index, source)), put_there, with_flat_places, ALL),
    "put accumulate": Row(
        with_index(lambda x, source, index: minidl.put(x, index, source, True)),
        lambda a, source, index: put_there(a, source, index=index, add=True),
        with_flat_places,
        NUMBERS,
    ),
    "index_put": Row(
        with_index(lambda x, v, index: minidl.index_put(x.reshape((-1,)), (index,), v)),
        lambda a, v, index: put_there(a, v, index=index).reshape(-1),
        with_flat_places,
        ALL,
    ),
    "index_copy": Row(with_index(lambda x, s, dim, index: minidl.index_copy(x, dim, index, s)), copied, with_places, ALL),
    "index_fill": Row(
        with_index(lambda x, dim, index: minidl.index_fill(x, dim, index, 1)),
        filled,
        lambda d: with_places(d, False, True),
        ALL,
    ),
    "masked_scatter": Row(lambda m, x, s: minidl.masked_scatter(x, m, s), masked, with_mask, ALL, second),
    "scatter_reduce": reducing("sum"),
    "scatter_reduce mean": reducing("mean"),
    "scatter_reduce amax": reducing("amax"),
    "scatter_reduce amin": reducing("amin"),
}


@st.composite
def with_sorted(draw, dtypes):
    """A rising sequence (or rows of them) and values."""
    dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
    lead = draw(mst.shapes(0, 1))
    rows = draw(mst.arrays((*lead, draw(st.integers(0, 4))), dtype, Domain(0, 2)))
    return (np.sort(rows, -1), draw(mst.arrays((*lead, draw(st.integers(0, 3))), dtype, Domain(-1, 3)))), {
        "right": draw(st.booleans())
    }


def searched(rows, values, right):
    out = np.empty(values.shape, object)
    for place in np.ndindex(*values.shape):
        row = rows if rows.ndim == 1 else rows[place[:-1]]
        out[place] = sum(x < values[place] or (right and x == values[place]) for x in row)
    return out


def places_of(a):
    found = [p for p in np.ndindex(*a.shape) if a[p]]
    return np.array(found, np.int64).reshape(len(found), a.ndim)


FLAT |= {
    "argwhere": Row(minidl.argwhere, places_of, some(), ALL, long),
    "isin": Row(
        minidl.isin,
        lambda a, b: np.array([x in b.reshape(-1).tolist() for x in a.reshape(-1).tolist()], bool).reshape(a.shape),
        letters("ij", "kl"),
        NUMBERS,
        boolean,
    ),
    "searchsorted": Row(minidl.searchsorted, searched, with_sorted, NUMBERS, long),
    "bucketize": Row(
        lambda x, edges, right: minidl.bucketize(x, edges.reshape((-1,)), right=right),
        lambda x, edges, right: searched(edges, x, right),
        lambda d: with_sorted(d).map(lambda drawn: ((drawn[0][1], np.sort(drawn[0][0].reshape(-1))), drawn[1])),
        NUMBERS,
        long,
    ),
    "unique_consecutive": Row(
        minidl.unique_consecutive,
        lambda a: np.array([x for i, x in enumerate(a.reshape(-1)) if not i or x != a.reshape(-1)[i - 1]], a.dtype),
        lambda d: mst.arrays(dtype=d, domain=Domain(0, 2)).map(lambda a: ((np.asarray(np.trunc(a), a.dtype),), {})),
        NUMBERS,
    ),
    "unravel_index": Row(
        lambda i: minidl.unravel_index(i, (2, 3, 4)),
        lambda i: tuple(np.array([list(np.ndindex(2, 3, 4))[n][d] for n in i], np.int64) for d in range(3)),
        lambda d: st.lists(st.integers(0, 23), max_size=4).map(lambda i: ((np.array(i, np.int64),), {})),
        ("integer",),
        long,
    ),
}
ROWS |= STATISTICS | PRODUCTS | SHAPES | POSITIONS


@pytest.mark.parametrize("name", [*ROWS, *FLAT])
@given(st.data())
def test_values(name, data):
    row = ROWS[name] if name in ROWS else FLAT[name]
    arrays, options = data.draw(row.draw(mst.dtypes(*row.kinds)))
    check_values(row, arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


def test_a_matrix_to_the_power_of_nothing_is_the_identity():
    for x in (minidl.tensor([[1.0, nan], [inf, 0.0]]), minidl.tensor([[2]]), minidl.zeros(2, 0, 0)):
        one = minidl.matrix_power(x, 0)
        assert one.dtype == x.dtype and (one == minidl.eye(x.shape[-1])).all() and one.shape == x.shape


def test_the_gradient_of_unique_neighbours_goes_to_the_first():
    x = minidl.tensor([1.0, 1.0, 2.0], requires_grad=True)
    minidl.unique_consecutive(x).sum().backward()
    assert x.grad.tolist() == [1, 0, 1]


@given(mst.arrays(mst.shapes(1, 2, 1), domain=Domain(-1, 1)))
def test_the_median_shares_its_gradient_among_equals(a):
    x = minidl.from_numpy(np.round(a)).requires_grad_()
    out = x.median()
    out.backward()
    assert out.item() == statistics.median_low(x.detach().numpy().reshape(-1).tolist())
    hits = (x == out).detach().numpy()
    np.testing.assert_allclose(x.grad.numpy(), hits / hits.sum(), rtol=1e-12)


@given(st.data())
def test_what_is_not_nan_is_all_that_counts(data):
    """Each row beside the same row without its NaN."""
    numbers = data.draw(st.lists(st.one_of(st.just(nan), st.integers(-9, 9).map(float)), min_size=1, max_size=6))
    x, rest = minidl.tensor(numbers, dtype=minidl.float64), minidl.tensor([n for n in numbers if n == n], dtype=minidl.float64)
    assert minidl.nansum(x).item() == sum(rest.tolist())
    if len(rest):
        assert minidl.nanmean(x).item() == pytest.approx(statistics.fmean(rest.tolist()))
        assert minidl.nanmedian(x).item() == statistics.median_low(rest.tolist()) == x.nanmedian(0).values.item()
        assert minidl.nanquantile(x, 0.3).item() == pytest.approx(minidl.quantile(rest, 0.3).item())
    else:
        with np.errstate(invalid="ignore"):
            for f in (minidl.nanmean, minidl.nanmedian, lambda x: minidl.nanquantile(x, 0.5)):
                assert math.isnan(f(x).item())


@given(mst.arrays(mst.shapes(1, 2, 1), domain=Domain(0, 2)), st.data())
def test_the_most_frequent_and_its_last_place(a, data):
    a = np.trunc(a)
    dim = data.draw(st.integers(0, a.ndim - 1))
    for got, want in zip(
        minidl.mode(minidl.from_numpy(a), dim), pairs(reduced(most_frequent), reduced(last_place))(a, dim=dim)
    ):
        np.testing.assert_array_equal(got.numpy(), want.astype(float))


@given(mst.arrays(mst.shapes(1, 2, 1)), st.data())
def test_the_kth_smallest(a, data):
    dim = data.draw(st.integers(0, a.ndim - 1))
    k = data.draw(st.integers(1, a.shape[dim]))
    values, indices = minidl.kthvalue(minidl.from_numpy(a), k, dim)
    want = reduced(lambda x: sorted(x)[k - 1])(a, dim).astype(float)
    np.testing.assert_array_equal(values.numpy(), want)
    picked = np.take_along_axis(a, np.expand_dims(indices.numpy(), dim), dim)
    np.testing.assert_array_equal(picked, np.expand_dims(want, dim))


@given(mst.arrays(mst.shapes(1, 2), mst.dtypes("float", "integer"), Domain(0, 3)), st.data())
def test_unique_and_what_comes_with_it(a, data):
    x = minidl.from_numpy(a)
    values, inverse, counts = minidl.unique(x, return_inverse=True, return_counts=True)
    assert values.tolist() == sorted(set(a.reshape(-1).tolist())) and values.dtype == x.dtype
    assert (values[inverse] == x).all() and counts.tolist() == [(a == v).sum() for v in values.tolist()]
    if 0 not in a.shape:
        dim = data.draw(st.integers(0, a.ndim - 1))
        rows = [tuple(np.ravel(row).tolist()) for row in np.moveaxis(a, dim, 0)]
        values, inverse, counts = x.unique(dim=dim, return_inverse=True, return_counts=True)
        kept = [tuple(np.ravel(row).tolist()) for row in np.moveaxis(values.numpy(), dim, 0)]
        assert kept == sorted(set(rows)) and counts.tolist() == [rows.count(row) for row in kept]
        assert [kept[i] for i in inverse.tolist()] == rows
        assert minidl.unique(x, return_counts=True, dim=dim)[1].tolist() == counts.tolist()
        runs = [(row, len(list(same))) for row, same in itertools.groupby(rows)]
        values, inverse, counts = x.unique_consecutive(True, True, dim)
        assert counts.tolist() == [n for _, n in runs] and [tuple(np.ravel(v).tolist()) for v in values.unbind(dim)] == [
            row for row, _ in runs
        ]
        assert inverse.tolist() == [i for i, (_, n) in enumerate(runs) for _ in range(n)]


def test_covariances_with_weights_are_those_of_the_repeated_table():
    rng = np.random.default_rng(0)
    table, often = rng.normal(size=(3, 4)), np.array([1, 3, 0, 2])
    x = minidl.from_numpy(table)
    np.testing.assert_allclose(minidl.cov(x, fweights=minidl.from_numpy(often)), covariance(table.repeat(often, 1)), rtol=1e-12)
    weights = rng.random(4)
    np.testing.assert_allclose(
        minidl.cov(x, aweights=minidl.from_numpy(weights), fweights=minidl.from_numpy(often)),
        np.cov(table, aweights=weights, fweights=often),
    )
    x.requires_grad_()
    w = minidl.from_numpy(weights).requires_grad_()
    assert gradcheck(lambda x, w: minidl.cov(x, aweights=w), (x, w)) and gradgradcheck(
        lambda x, w: minidl.cov(x, aweights=w), (x, w)
    )


def test_distances_by_way_of_a_product():
    rng = np.random.default_rng(0)
    a, b = (minidl.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in ((2, 3, 4), (30, 4)))
    np.testing.assert_allclose(minidl.cdist(a, b).detach(), distances(a.detach().numpy(), b.detach().numpy(), 2.0), rtol=1e-12)
    for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        near, far = minidl.cdist(a, b, compute_mode=mode), minidl.cdist(a, b)
        np.testing.assert_allclose(near.detach(), far.detach(), rtol=1e-12)
    c = b[:3].detach().requires_grad_()
    assert gradcheck(lambda a, c: minidl.cdist(a, c, compute_mode="use_mm_for_euclid_dist"), (a, c))
    x = minidl.zeros(2, 3, requires_grad=True)
    minidl.cdist(x, x, compute_mode="use_mm_for_euclid_dist").sum().backward()
    assert x.grad.tolist() == [[0] * 3] * 2


# -- in place


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("index_copy_", (0, minidl.tensor([1, 0]), minidl.tensor([[7.0, 8.0], [5.0, 6.0]]))),
        ("index_fill_", (1, minidl.tensor([-1]), 9.0)),
        ("masked_scatter_", (minidl.tensor([[True, False], [False, True]]), minidl.tensor([5.0, 6.0]))),
        ("put_", (minidl.tensor([0, -1]), minidl.tensor([5.0, 6.0]))),
        ("index_put_", ((minidl.tensor([0]),), minidl.tensor([5.0, 6.0]))),
        ("scatter_reduce_", (0, minidl.tensor([[0, 0]]), minidl.tensor([[9.0, 9.0]]), "amax")),
        ("addmm_", (minidl.ones(2, 2), minidl.ones(2, 2))),
        ("cumsum_", (0,)),
        ("tril_", ()),
        ("nan_to_num_", ()),
        ("copysign_", (minidl.tensor(-1.0),)),
        ("clamp_min_", (2.5,)),
        ("arctan_", ()),
        ("subtract_", (1,)),
        ("fix_", ()),
        ("logical_and_", (minidl.tensor([0.0, 1.0]),)),
    ],
)
def test_in_place_is_the_same_put_back(name, args):
    x = minidl.tensor([[1.0, -2.0], [3.0, 4.5]])
    out = getattr(x, name[:-1])(*args)
    y = x.clone()
    assert getattr(y, name)(*args) is y and y.dtype == x.dtype
    assert y.tolist() == out.to(x.dtype).tolist()


def test_diagonals_are_filled():
    assert minidl.zeros(3, 2).fill_diagonal_(5).tolist() == [[5, 0], [0, 5], [0, 0]]
    assert minidl.zeros(5, 2).fill_diagonal_(5, wrap=True).tolist() == [[5, 0], [0, 5], [0, 0], [5, 0], [0, 5]]
    assert minidl.zeros(2, 2, 2).fill_diagonal_(1).sum() == 2
    x = minidl.ones(2, 2, requires_grad=True)
    (x * 2).fill_diagonal_(0).sum().backward()
    assert x.grad.tolist() == [[0, 2], [2, 0]]
    for shape in ((3,), (2, 3, 2)):
        with pytest.raises(RuntimeError, match="fill_diagonal_"):
            minidl.zeros(shape).fill_diagonal_(1)


def test_a_tensor_is_turned_in_place():
    x = minidl.arange(6.0)
    assert x.unsqueeze_(0) is x and x.shape == (1, 6) and x.squeeze_().shape == (6,) and x.unsqueeze_(-1).t_().shape == (1, 6)
    y = minidl.ones(2, 3, requires_grad=True) * 2
    y.transpose_(0, 1)
    (y * minidl.arange(6.0).reshape(3, 2)).sum().backward()
    for refused in (minidl.ones(2, 3)[0], minidl.ones(1, 2, requires_grad=True)):
        with pytest.raises(RuntimeError, match=r"unsqueeze_: .* x = x\.unsqueeze"):
            refused.unsqueeze_(0)
    z = minidl.ones(1, 2)
    view = z[0]
    with pytest.raises(RuntimeError, match="squeeze_"):
        z.squeeze_()
    assert view.shape == (2,)


def test_the_gradient_passes_a_tensor_turned_in_place():
    x = minidl.arange(6.0).reshape(2, 3).requires_grad_()
    y = x + 1
    y.transpose_(0, 1)
    (y * minidl.arange(6.0).reshape(3, 2)).sum().backward()
    assert x.grad.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_windows_that_overlap_are_not_written_to():
    x = minidl.arange(6.0)
    x.unfold(0, 2, 2).mul_(2)
    assert x.tolist() == [0, 2, 4, 6, 8, 10]
    with pytest.raises(RuntimeError, match="mul_"):
        x.unfold(0, 2, 1).mul_(2)


# -- random numbers

MOMENTS = {  # mean and variance of what is drawn
    "exponential_": ((2.0,), 1 / 2, 1 / 4),
    "geometric_": ((0.25,), 4, 12),
    "log_normal_": ((0.0, 0.5), math.exp(1 / 8), (math.exp(1 / 4) - 1) * math.exp(1 / 4)),
    "normal_": ((1.0, 2.0), 1, 4),
    "uniform_": ((-1.0, 3.0), 1, 16 / 12),
    "random_": ((-2, 4), 0.5, 35 / 12),
    "bernoulli_": ((0.25,), 0.25, 3 / 16),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_what_is_drawn(name):
    args, center, spread = MOMENTS[name]
    x = getattr(minidl.zeros(40_000, dtype=minidl.float64), name)(*args, generator=minidl.Generator().manual_seed(1))
    assert abs(x.mean().item() - center) < 6 * math.sqrt(spread / 40_000)
    assert x.var().item() == pytest.approx(spread, rel=0.1)


def test_cauchy_and_poisson():
    g = minidl.Generator().manual_seed(0)
    x = minidl.zeros(20_000).cauchy_(2.0, 0.5, generator=g)
    for q, at in ((0.25, 1.5), (0.5, 2.0), (0.75, 2.5)):
        assert abs(x.quantile(q).item() - at) < 0.05
    p = minidl.poisson(minidl.tensor([0.0, 3.0]).expand(20_000, 2), g)
    assert (p[:, 0] == 0).all() and abs(p[:, 1].mean().item() - 3) < 0.1 and abs(p[:, 1].var().item() - 3) < 0.2
    with pytest.raises(ValueError, match="poisson"):
        minidl.poisson(minidl.tensor([-1.0]))


@pytest.mark.parametrize(
    ("dtype", "bounds", "low", "high"),
    [
        ("uint8", (), 0, 255),
        ("int8", (), 0, 127),
        ("bool", (), 0, 1),
        ("float16", (), 0, 2048),
        ("int8", (-5, 5), -5, 4),
        ("float32", (3,), 0, 2),
    ],
)
def test_random_integers_fill_their_range(dtype, bounds, low, high):
    x = minidl.zeros(60_000, dtype=dtype).random_(*bounds, generator=minidl.Generator().manual_seed(0))
    assert (x.min().item(), x.max().item()) == (low, high)


def test_a_tensor_of_probabilities():
    assert minidl.zeros(3, dtype=minidl.int64).bernoulli_(minidl.tensor([0.0, 1.0, 1.0])).tolist() == [0, 1, 1]


# -- small things


def test_grids():
    assert minidl.logspace(0, 2, 3).tolist() == [1, 10, 100] and minidl.logspace(0, 4, 3, base=2).tolist() == [1, 4, 16]
    assert minidl.tril_indices(3, 2, -1).tolist() == [[1, 2, 2], [0, 0, 1]]
    assert minidl.triu_indices(2, 3, 1).tolist() == [[0, 0, 1], [1, 2, 2]]
    for offset in range(-4, 5):
        rows, columns = minidl.tril_indices(3, 4, offset)
        assert [*zip(rows.tolist(), columns.tolist())] == [(i, j) for i in range(3) for j in range(4) if j - i <= offset]
        rows, columns = minidl.triu_indices(3, 4, offset)
        assert [*zip(rows.tolist(), columns.tolist())] == [(i, j) for i in range(3) for j in range(4) if j - i >= offset]
    assert minidl.scalar_tensor(2).dtype == minidl.float32 and minidl.scalar_tensor(2, dtype=minidl.int64).item() == 2


def test_questions():
    x = minidl.zeros(2)
    assert not x.is_complex() and x.is_signed() and not minidl.is_signed(x.byte()) and not x.bool().is_signed()
    assert minidl.is_nonzero(minidl.tensor([2.0])) and not minidl.is_nonzero(minidl.tensor(0)) and x.is_same_size(x + 1)
    assert x.get_device() == -1 and x.new_empty(2, 3).shape == (2, 3) and x.char().dtype == minidl.int8
    assert minidl.get_default_device() == minidl.device("cpu") and minidl.set_default_device("cpu") is None
    with pytest.raises(RuntimeError, match="set_default_device"):
        minidl.set_default_device("cuda")
    with pytest.raises(RuntimeError, match="pin_memory"):
        x.pin_memory()
    y = x.requires_grad_() * 1
    assert not y.retains_grad and not x.retains_grad
    y.retain_grad()
    assert y.retains_grad


def test_dtypes_of_all_methods_are_kept():
    """Nothing becomes float64 on the way."""
    x = minidl.tensor([[0.25, 0.5], [0.75, 0.125]])
    for name in "sinc erfc logit deg2rad rad2deg cov corrcoef nanmean nanmedian msort".split():
        assert getattr(x, name)().dtype == minidl.float32, name
    assert x.quantile(0.3).dtype == x.float().logcumsumexp(0).dtype == minidl.cdist(x, x).dtype == minidl.float32
