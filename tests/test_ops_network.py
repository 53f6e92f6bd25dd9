"""Activations, convolution, pooling, losses, dropout: values against loops, gradients to order two."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values, floating, lifted, same

import minidl
import minidl.nn.functional as F
from minidl.functions import convolution as conv
from minidl.kernels import reference
from minidl.ops import activation, elementwise, embedding, fused, loss, pool
from minidl.shapes import Window
from minidl.testing import adjointcheck
from minidl.testing import strategies as mst
from minidl.testing.strategies import ANY, POSITIVE, UNIQUE, Domain

FLOAT = ("float",)
OFF = Domain(-4, 4, shift=1 / 37)  # away from every kink


def sampled(dtypes, draw):
    return draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes


# -- activations


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def elu(x, alpha=1.0):
    return x if x > 0 else alpha * (math.exp(x) - 1)


def gelu(x):
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def one(domain):
    return lambda dtypes: mst.arrays(mst.shapes(max_side=3), dtypes, domain).map(lambda a: ((a,), {}))


def activated(op, python, domain=OFF):
    return Row(op, lifted(python), one(domain), FLOAT)


A = activation
ACTIVATIONS = {
    "leaky_relu": activated(A.leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    "leaky_relu slope": activated(lambda x: A.leaky_relu(x, 0.5), lambda x: x if x > 0 else 0.5 * x),
    "elu": activated(A.elu, elu),
    "elu alpha": activated(lambda x: A.elu(x, 2.0), lambda x: elu(x, 2.0)),
    "elu scaled": activated(lambda x: A.elu(x, 2.0, 3.0, 0.5), lambda x: 3 * (x if x > 0 else 2 * (math.exp(x / 2) - 1))),
    "silu": activated(A.silu, lambda x: x * sigmoid(x)),
    "mish": activated(A.mish, lambda x: x * math.tanh(math.log(1 + math.exp(x)))),
    "softplus": activated(A.softplus, lambda x: math.log(1 + math.exp(x))),
    "softplus beta": activated(
        lambda x: A.softplus(x, 2.0, 3.0), lambda x: x if 2 * x > 3 else math.log(1 + math.exp(2 * x)) / 2
    ),
    "logsigmoid": activated(A.logsigmoid, lambda x: math.log(sigmoid(x))),
    "hardtanh": activated(A.hardtanh, lambda x: min(max(x, -1), 1)),
    "hardsigmoid": activated(A.hardsigmoid, lambda x: min(max(x + 3, 0), 6) / 6),
    "hardswish": activated(A.hardswish, lambda x: x * min(max(x + 3, 0), 6) / 6),
    "hardtanh bounds": activated(lambda x: A.hardtanh(x, 0, 6), lambda x: min(max(x, 0), 6), Domain(-4, 8, shift=1 / 37)),
    "gelu": activated(A.gelu, gelu),
    "gelu tanh": activated(lambda x: A.gelu(x, "tanh"), gelu_tanh),
}


# -- convolution


@st.composite
def convolutions(draw, dtypes, bias=True):
    geometry = draw(mst.conv_geometries(max_out=2))
    dtype = sampled(dtypes, draw)
    shapes = [geometry.input_shape, geometry.weight_shape, (geometry.filters,)]
    if draw(st.booleans()):
        shapes[0] = (1, *shapes[0][1:])
    arrays = tuple(draw(mst.arrays(shape, dtype)) for shape in shapes[: 2 + bias])
    options = {name: getattr(geometry, name) for name in ("stride", "padding", "dilation", "groups")}
    return arrays, options


def convolved(x, w, b=None, *, stride, padding, dilation, groups):
    window = Window(w.shape[2:], stride, padding, padding, dilation)
    return reference.conv2d(x, w, b, window, groups)


# -- pooling


@st.composite
def poolings(draw, dtypes, domain=ANY, dilation=False):
    geometry = draw(mst.pool_geometries(dilation=dilation))
    a = draw(mst.arrays(geometry.input_shape, dtypes, domain))
    options = {"kernel_size": geometry.kernel, "ceil_mode": draw(st.booleans())}
    options |= {
        name: getattr(geometry, name) for name in (("stride", "padding", "dilation") if dilation else ("stride", "padding"))
    }
    if draw(st.booleans()) and a.shape[0]:
        a = a[0]
    return (a,), options


def positions(size, kernel, stride, padding, dilation, ceil_mode):
    """Where a window starts, by PyTorch's formula; with ``ceil_mode`` none may start beyond the right padding."""
    spare = size + 2 * padding - dilation * (kernel - 1) - 1
    n = spare // stride + 1
    if ceil_mode and spare % stride and n * stride < size + padding:
        n += 1
    return [o * stride - padding for o in range(n)]


def pooled(f):
    """A function from the pixels in a window, [(row, column, value), ...], and where it starts, to a number."""

    def oracle(a, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False, **options):
        rows, columns = (
            positions(a.shape[d - 2], kernel_size[d], stride[d], padding[d], dilation[d], ceil_mode) for d in (0, 1)
        )
        out = np.empty((*a.shape[:-2], len(rows), len(columns)), object)
        for place in np.ndindex(*a.shape[:-2]):
            for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
                taps = itertools.product(range(kernel_size[0]), range(kernel_size[1]))
                seen = [(top + k * dilation[0], left + m * dilation[1]) for k, m in taps]
                inside = [(r, c) for r, c in seen if 0 <= r < a.shape[-2] and 0 <= c < a.shape[-1]]
                covered = sum(r < a.shape[-2] + padding[0] and c < a.shape[-1] + padding[1] for r, c in seen)
                out[(*place, i, j)] = f([(a[(*place, r, c)], r * a.shape[-1] + c) for r, c in inside], covered, **options)
        return out

    return oracle


def largest(pixels, covered):
    return max(value for value, _ in pixels)


def mean_with_padding(pixels, covered):
    return sum(value for value, _ in pixels) / covered


def mean_of_pixels(pixels, covered):
    return sum(value for value, _ in pixels) / len(pixels)


def adaptive(a, output_size):
    out = np.empty((*a.shape[:-2], *output_size), object)
    for place in np.ndindex(*out.shape):
        spans = [slice(i * n // k, math.ceil((i + 1) * n / k)) for i, n, k in zip(place[-2:], a.shape[-2:], output_size)]
        out[place] = a[(*place[:-2], *spans)].mean()
    return out


@st.composite
def adaptive_sizes(draw, dtypes):
    shape = draw(mst.shapes(3, 4, 1, 4))
    return (draw(mst.arrays(shape, dtypes)),), {"output_size": (draw(st.integers(1, 4)), draw(st.integers(1, 4)))}


# -- losses


@st.composite
def classified(draw, dtypes, weighted=True):
    """Scores (N, C, ...) or (C,), perhaps weights of the classes; and classes, one of them perhaps ignored."""
    classes, dtype = draw(st.integers(1, 4)), sampled(dtypes, draw)
    rest = draw(mst.shapes(1, 2, 1, 3)) if draw(st.booleans()) else ()
    shape = (rest[0], classes, *rest[1:]) if rest else (classes,)
    arrays = [draw(mst.arrays(shape, dtype))]
    options = {"weight": draw(mst.arrays((classes,), dtype, POSITIVE))} if weighted else {}
    options |= {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    rng = np.random.default_rng(draw(mst.seeds()))
    target = np.array(rng.integers(0, classes, rest))
    if target.size > 1:
        target.reshape(-1)[0] = -100
    options["target"] = target
    return tuple(arrays), options


def reduce_loss(each, shares, reduction):
    if reduction == "none":
        return np.array(each, float)
    return math.fsum(np.ravel(each)) / (math.fsum(np.ravel(shares)) if reduction == "mean" else 1)


def nll(scores, weight=None, *, target, reduction, smoothing=0.0, log_softmax=False):
    """The negative log-likelihood, pixel by pixel."""
    table = np.moveaxis(scores, 1, -1) if scores.ndim > 1 else scores
    weight = np.ones(table.shape[-1]) if weight is None else weight
    each, shares = np.zeros(target.shape), np.zeros(target.shape)
    for place in np.ndindex(*target.shape):
        if target[place] == -100:
            continue
        row = table[place]
        if log_softmax:
            row = row - math.log(math.fsum(map(math.exp, row)))
        shares[place] = weight[target[place]]
        smooth = smoothing / len(row) * math.fsum(w * x for w, x in zip(weight, row))
        each[place] = -(1 - smoothing) * shares[place] * row[target[place]] - smooth
    return reduce_loss(each, shares, reduction)


def entropy(scores, weight=None, **options):
    return nll(scores, weight, log_softmax=True, **options)


def with_target(op, **fixed):
    def call(x, *, target, weight=None, **options):
        if isinstance(x, minidl.Tensor):
            target = minidl.from_numpy(target)
            weight = None if weight is None else minidl.from_numpy(weight).to(x.dtype)  # in gradcheck x becomes float64
        return op(x, target, weight, **options, **fixed)

    return call


@st.composite
def distributions(draw, dtypes):
    dtype = sampled(dtypes, draw)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    options = {"reduction": draw(st.sampled_from(["sum", "none"]))}
    return (
        draw(mst.arrays(shape, dtype)),
        draw(mst.arrays(shape, dtype, POSITIVE)),
        draw(mst.arrays(shape[1:], dtype, POSITIVE)),
    ), options


def soft_entropy(scores, target, weight, *, reduction):
    each = []
    for row, q in zip(scores, target):
        total = math.log(math.fsum(map(math.exp, row)))
        each.append(-math.fsum(w * p * (x - total) for w, p, x in zip(weight, q, row)))
    return reduce_loss(each, np.ones(len(each)), reduction)


@st.composite
def probabilities(draw, dtypes):
    shape, dtype = draw(mst.shapes(max_side=3)), sampled(dtypes, draw)
    return (
        draw(mst.arrays(shape, dtype, Domain(1 / 16, 15 / 16))),
        draw(mst.arrays(shape, dtype, Domain(1 / 16, 15 / 16))),
    ), {}


@st.composite
def pairs(draw, dtypes):
    """Two arrays of shapes that broadcast."""
    dtype = sampled(dtypes, draw)
    shapes = draw(st.sampled_from([((3, 2), (3, 2)), ((3, 1), (2,)), ((), (2, 2)), ((4,), (4,))]))
    return tuple(draw(mst.arrays(shape, dtype, Domain(-4, 4))) for shape in shapes), {}


@st.composite
def tables(draw, dtypes, padding=True):
    """A table of rows, and numbers of rows, some of them twice."""
    n, width, dtype = draw(st.integers(1, 4)), draw(st.integers(0, 3)), sampled(dtypes, draw)
    rng = np.random.default_rng(draw(mst.seeds()))
    index = np.array(rng.integers(0, n, draw(mst.shapes(max_dims=2, max_side=4))))
    options = {"input": index, "padding_idx": draw(st.integers(0, n - 1)) if padding else None}
    return (draw(mst.arrays((n, width), dtype)),), options


def rows_named(table, *, input, padding_idx):
    if isinstance(table, minidl.Tensor):
        input = minidl.from_numpy(input)
    if padding_idx is None:
        return embedding.embedding(table, input)
    return minidl.where(input[..., None] == padding_idx, 0.0, embedding.embedding(table, input, padding_idx))


def named(table, *, input, padding_idx):
    out = np.empty((*input.shape, table.shape[1]))
    for place in np.ndindex(*input.shape):
        out[place] = 0 if input[place] == padding_idx else table[input[place]]
    return out


# -- several ops in one


@st.composite
def blocks(draw, dtypes, pooling=True):
    """A convolution, and (perhaps) a pool that tiles what comes of it."""
    geometry = draw(mst.conv_geometries(max_out=3))
    names = ("kernel", "stride", "padding", "padding", "dilation")
    window = Window(*(getattr(geometry, name) for name in names))
    out = window.out_size(geometry.input_shape[2:])
    tile = tuple(draw(st.sampled_from([k for k in (1, 2, 3) if n % k == 0])) for n in out)
    dtype, rng = sampled(dtypes, draw).dtype, np.random.default_rng(draw(mst.seeds()))  # no two numbers equal
    shapes = [geometry.input_shape, geometry.weight_shape, (geometry.filters,)][: draw(st.integers(2, 3))]
    layouts = [draw(mst.layouts(len(shape))) for shape in shapes]
    arrays = tuple(layout.store(rng.normal(size=shape).astype(dtype)) for shape, layout in zip(shapes, layouts))
    return arrays, {"window": window, "groups": geometry.groups, "pool": Window(tile, tile) if pooling else None}


def block(x, w, b=None, *, window, groups, pool):
    return fused.conv2d_relu_pool(x, w, b, window, groups, pool)


def block_by_parts(x, w, b=None, *, window, groups, pool):
    out = np.maximum(reference.conv2d(x, w, b, window, groups), 0)
    return out if pool is None else reference.max_pool2d(out, pool)


@st.composite
def rows_and_weights(draw, dtypes):
    lead, k, n = draw(mst.shapes(max_dims=2, max_side=3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dtype, rng = sampled(dtypes, draw).dtype, np.random.default_rng(draw(mst.seeds()))
    shapes = [(*lead, k), (n, k), (n,)][: draw(st.integers(2, 3))]
    return tuple(draw(mst.layouts(len(shape))).store(rng.normal(size=shape).astype(dtype)) for shape in shapes), {}


E, At = elementwise, fused.At
CHAINS = {  # as the chain says it, and as NumPy does; inputs 0 and 1
    "a line": (
        ((E.tanh.op, (At(0),)), (E.mul.op, (At(2), At(1))), (E.add.op, (0.5, At(3))), (E.exp.op, (At(4),))),
        lambda a, b: np.exp(0.5 + np.tanh(a) * b),
    ),
    "an input twice": (
        ((E.mul.op, (At(0), At(0))), (E.add.op, (At(2), 1)), (E._true_div.op, (At(1), At(3))), (E.sub.op, (At(4), At(0)))),
        lambda a, b: b / (a * a + 1) - a,
    ),
    "kinks": (
        ((E.relu.op, (At(0),)), (E.maximum.op, (At(2), At(1))), (E.neg.op, (At(3),)), (E.abs.op, (At(4),))),
        lambda a, b: np.abs(np.maximum(np.maximum(a, 0), b)),
    ),
}


def chained(*arrays, chain):
    return fused.elementwise_chain(arrays, CHAINS[chain][0])


@st.composite
def chain_inputs(draw, dtypes):
    shape, dtype = draw(mst.shapes(max_side=3)), sampled(dtypes, draw)
    a, b = (draw(mst.arrays(shape, dtype, Domain(-2, 2, shift=shift))) for shift in (1 / 37, 1 / 41))
    return (a, b), {"chain": draw(st.sampled_from([*CHAINS]))}


ROWS = {
    **ACTIVATIONS,
    "conv2d_relu_pool": Row(block, block_by_parts, blocks, FLOAT),
    "conv2d_relu_pool without pooling": Row(block, block_by_parts, lambda d: blocks(d, False), FLOAT),
    "linear_relu": Row(fused.linear_relu, lambda x, w, b=0: np.maximum(x @ w.T + b, 0), rows_and_weights, FLOAT),
    "elementwise_chain": Row(chained, lambda a, b, chain: CHAINS[chain][1](a, b), chain_inputs, FLOAT),
    "conv2d": Row(conv.conv2d, convolved, convolutions, FLOAT, floating),
    "conv2d without bias": Row(conv.conv2d, convolved, lambda d: convolutions(d, False), FLOAT, floating),
    "max_pool2d": Row(pool.max_pool2d, pooled(largest), lambda d: poolings(d, UNIQUE, True), FLOAT),
    "avg_pool2d": Row(pool.avg_pool2d, pooled(mean_with_padding), poolings, FLOAT),
    "avg_pool2d pixels only": Row(
        lambda x, **o: pool.avg_pool2d(x, count_include_pad=False, **o), pooled(mean_of_pixels), poolings, FLOAT
    ),
    "avg_pool2d divisor": Row(
        lambda x, **o: pool.avg_pool2d(x, divisor_override=3, **o),
        pooled(lambda pixels, covered: sum(value for value, _ in pixels) / 3),
        poolings,
        FLOAT,
    ),
    "adaptive_avg_pool2d": Row(minidl.nn.functional.adaptive_avg_pool2d, adaptive, adaptive_sizes, FLOAT),
    "picked_loss": Row(with_target(F.nll_loss), nll, classified, FLOAT),
    "picked_loss plain": Row(with_target(F.nll_loss), nll, lambda d: classified(d, weighted=False), FLOAT),
    "softmax_loss": Row(with_target(F.cross_entropy), entropy, classified, FLOAT),
    "softmax_loss plain": Row(with_target(F.cross_entropy), entropy, lambda d: classified(d, weighted=False), FLOAT),
    "softmax_loss smooth": Row(
        with_target(F.cross_entropy, label_smoothing=0.25),
        lambda *a, **o: entropy(*a, **o, smoothing=0.25),
        classified,
        FLOAT,
        raw=False,
    ),
    **{
        f"squared_error {reduction}" if reduction != "mean" else "squared_error": Row(
            lambda x, y, reduction=reduction: loss.squared_error(x, y, reduction),
            lambda x, y, reduction=reduction: {"none": lambda e: e, "sum": np.sum, "mean": np.mean}[reduction]((x - y) ** 2),
            pairs,
            FLOAT,
        )
        for reduction in ("none", "sum", "mean")
    },
    "embedding": Row(rows_named, named, tables, FLOAT),
    "embedding without padding": Row(rows_named, named, lambda d: tables(d, False), FLOAT),
    "binary_losses": Row(
        loss.binary_losses,
        lifted(lambda p, t: -t * math.log(p) - (1 - t) * math.log(1 - p)),
        probabilities,
        FLOAT,
        floating,
    ),
    "softmax_loss soft": Row(F.cross_entropy, soft_entropy, distributions, FLOAT),
}


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(st.sampled_from([minidl.float64, minidl.float32])))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


# -- what the table has no place for


@given(poolings(minidl.float64, UNIQUE, True))
def test_max_pooling_tells_which_pixels_it_picked(drawn):
    (a,), options = drawn
    values, places = pool.max_pool2d(minidl.from_numpy(a), return_indices=True, **options)
    same(places.numpy(), pooled(lambda pixels, covered: max(pixels)[1])(a, **options), np.dtype(np.int64))
    for place in np.ndindex(*values.shape):
        assert a[(*place[:-2], *divmod(places[place].item(), a.shape[-1]))] == values[place].item()


@given(st.integers(1, 4), st.integers(1, 2), st.integers(1, 5))
def test_padding_same_keeps_the_size(kernel, dilation, size):
    x, w = minidl.randn(1, 1, size, size, dtype=minidl.float64), minidl.randn(1, 1, kernel, kernel, dtype=minidl.float64)
    out = conv.conv2d(x, w, padding="same", dilation=dilation)
    total = dilation * (kernel - 1)
    wide = np.pad(x.numpy(), [(0, 0), (0, 0)] + [(total // 2, total - total // 2)] * 2)
    np.testing.assert_allclose(
        out, reference.conv2d(wide, w.numpy(), None, Window((kernel,) * 2, dilation=(dilation,) * 2), 1), atol=1e-12
    )


def test_convolutions_are_transposes_of_each_other_at_real_size_in_float32():
    x, w = minidl.randn(4, 16, 17, 17), minidl.randn(24, 8, 3, 3)
    options = {"stride": 2, "padding": 1, "groups": 2}

    def pull(target, func, like):
        def transpose(g):
            z = like.detach().clone().requires_grad_()
            return minidl.autograd.grad(func(z), z, g)[0]

        return adjointcheck(func, transpose, target)

    assert pull(x, lambda x: conv.conv2d(x, w, None, **options), x)
    assert pull(w, lambda w: conv.conv2d(x, w, None, **options), w)


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    x = minidl.ones(100, 100, requires_grad=True)
    out = F.dropout(x, 0.25)
    assert set(out.unique().tolist()) == {0.0, minidl.tensor(4 / 3).item()}
    assert abs((out == 0).double().mean().item() - 0.25) < 5 * (0.1875 / 10000) ** 0.5
    out.sum().backward()
    assert minidl.equal(x.grad, out.detach())
    assert F.dropout(x, 0.25, training=False) is x and F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).sum().item() == 0
    with pytest.raises(ValueError, match="p must lie"):
        F.dropout(x, 1.5)
    with pytest.raises(TypeError, match="dropout: wants a floating dtype, got int64"):
        F.dropout(minidl.arange(3))


def test_the_gradient_of_dropout_for_a_fixed_mask():
    def dropped(x):
        minidl.manual_seed(3)
        return F.dropout(x, 0.5)

    check_gradients(Row(dropped, None, None), (np.random.default_rng(0).normal(size=(3, 4)),), {})


def test_what_is_ignored_may_be_infinite():
    scores = minidl.tensor([[0.0, -math.inf], [-1.0, -2.0]], requires_grad=True)
    out = F.nll_loss(scores, minidl.tensor([-100, 0]))
    out.backward()
    assert out.item() == 1 and scores.grad.tolist() == [[0, 0], [-1, 0]]


def test_class_weights_that_want_a_gradient_are_refused():
    weight = minidl.ones(2, requires_grad=True)
    with pytest.raises(NotImplementedError, match="weight"):
        F.cross_entropy(minidl.zeros(1, 2), minidl.tensor([0]), weight)


def test_label_smoothing_takes_arrays_too():
    x, target = np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([0, -100])
    got = F.cross_entropy(x, target, label_smoothing=0.1)
    np.testing.assert_allclose(got, F.cross_entropy(minidl.tensor(x), minidl.tensor(target), label_smoothing=0.1).item())
