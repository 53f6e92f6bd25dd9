"""Convolution in one and two dimensions and its transposes, against loops over single numbers; and the modules."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optable import Row, check_gradients, check_values

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.functions import convolution
from minidl.shapes import ShapeError
from minidl.testing import adjointcheck
from minidl.testing import strategies as mst

DTYPES = [minidl.float64, minidl.float32, minidl.int64]


# -- loops, written from the formulas in the docstrings, for any number of dimensions


def places(shape):
    return itertools.product(*map(range, shape))


def links(n_out, weight, groups):
    """Every (filter, its channel, the channel of the picture): a filter sees only the channels of its group."""
    per_group = n_out // groups
    for f, c in itertools.product(range(n_out), range(weight.shape[1])):
        yield f, c, f // per_group * weight.shape[1] + c


def convolved(x, w, b=None, *, stride, padding, dilation, groups):
    unbatched = x.ndim < w.ndim
    x = x[None] if unbatched else x
    size, kernel = x.shape[2:], w.shape[2:]
    out_size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(size, padding, dilation, kernel, stride)]
    out = np.zeros((len(x), len(w), *out_size))
    for n, (f, c, seen), o, k in itertools.product(range(len(x)), links(len(w), w, groups), places(out_size), places(kernel)):
        pixel = tuple(a * s - p + t * d for a, s, p, t, d in zip(o, stride, padding, k, dilation))
        if all(0 <= a < m for a, m in zip(pixel, size)):
            out[(n, f, *o)] += x[(n, seen, *pixel)] * w[(f, c, *k)]
    if b is not None:
        out += b.reshape(-1, *[1] * len(kernel))
    return out[0] if unbatched else out


def transposed(x, w, b=None, *, stride, padding, output_padding, dilation, groups):
    unbatched = x.ndim < w.ndim
    x = x[None] if unbatched else x
    kernel, options = w.shape[2:], zip(x.shape[2:], stride, padding, dilation, w.shape[2:], output_padding)
    size = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in options]
    out = np.zeros((len(x), w.shape[1] * groups, *size))
    for n, (f, c, to), o, k in itertools.product(range(len(x)), links(len(w), w, groups), places(x.shape[2:]), places(kernel)):
        pixel = tuple(a * s - p + t * d for a, s, p, t, d in zip(o, stride, padding, k, dilation))
        if all(0 <= a < m for a, m in zip(pixel, size)):
            out[(n, to, *pixel)] += x[(n, f, *o)] * w[(f, c, *k)]
    if b is not None:
        out += b.reshape(-1, *[1] * len(kernel))
    return out[0] if unbatched else out


# -- geometries


@st.composite
def geometries(draw, dims, transposed=False):
    """The shapes of a batch, of weights and of the bias, and options."""
    groups = draw(st.integers(1, 4 - dims))
    c, f = draw(st.integers(0 if not transposed else 1, 2)), draw(st.integers(1, 2))
    each = [draw(lines(transposed, 3 if dims == 1 else 1)) for _ in range(dims)]
    size, kernel, stride, padding, dilation, extra = zip(*each)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    lead = draw(st.sampled_from([(), (0,), (1,), (2,)]))
    if transposed:
        options["output_padding"] = extra
        return [(*lead, groups * f, *size), (groups * f, c, *kernel), (groups * c,)], options
    return [(*lead, groups * c, *size), (groups * f, c, *kernel), (groups * f,)], options


@st.composite
def lines(draw, transposed, room):
    """Along one dimension: size (up to ``room`` more than it must be), kernel, stride, padding, dilation, output padding."""
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    reach = dilation * (kernel - 1) + 1
    if transposed:
        size, extra = draw(st.integers(1, 1 + room)), draw(st.integers(0, max(stride, dilation) - 1))
        most = ((size - 1) * stride + reach + extra - 1) // 2  # one pixel is left
        return size, kernel, stride, draw(st.integers(0, min(most, 4))), dilation, extra
    padding = draw(st.integers(0, 3))
    return draw(st.integers(max(1, reach - 2 * padding), reach + room)), kernel, stride, padding, dilation, 0


def drawn(dims, transposed=False):
    @st.composite
    def draw_all(draw, dtypes):
        shapes, options = draw(geometries(dims, transposed))
        dtype = draw(dtypes) if isinstance(dtypes, st.SearchStrategy) else dtypes
        n_arrays = draw(st.sampled_from([2, 3]))  # without a bias or with one
        return tuple(draw(mst.arrays(shape, dtype)) for shape in shapes[:n_arrays]), options

    return draw_all


KINDS = ("float", "integer")
ROWS = {
    "conv1d": Row(convolution.conv1d, convolved, drawn(1), KINDS),
    "conv2d in groups": Row(convolution.conv2d, convolved, drawn(2), KINDS),
    "conv_transpose1d": Row(convolution.conv_transpose1d, transposed, drawn(1, True), KINDS),
    "conv_transpose2d": Row(convolution.conv_transpose2d, transposed, drawn(2, True), KINDS),
}


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_values(name, data):
    arrays, options = data.draw(ROWS[name].draw(st.sampled_from(DTYPES)))
    check_values(ROWS[name], arrays, options)


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
def test_gradients(name, data):
    arrays, options = data.draw(ROWS[name].draw(minidl.float64))
    check_gradients(ROWS[name], arrays, options)


@pytest.mark.parametrize("dims", [1, 2])
@given(st.data())
def test_the_transpose_is_the_adjoint(dims, data):
    """<conv(x), g> = <x, transpose(g)>, with the output padding that leads back to the size of x."""
    (shape, w_shape, _), options = data.draw(geometries(dims))
    convolve, transpose = ((F.conv1d, F.conv_transpose1d), (F.conv2d, F.conv_transpose2d))[dims - 1]
    if 0 in shape:
        shape = (2, 2 * options["groups"], *shape[-dims:])
        w_shape = (w_shape[0], 2, *w_shape[2:])
    x, w = minidl.randn(*shape, dtype=minidl.float64), minidl.randn(*w_shape, dtype=minidl.float64)
    out = convolve(x, w, **options)
    numbers = zip(shape[-dims:], out.shape[-dims:], *(options[name] for name in ("stride", "padding", "dilation")), w_shape[2:])
    extra = tuple(n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, s, p, d, k in numbers)
    assert adjointcheck(lambda x: convolve(x, w, **options), lambda g: transpose(g, w, output_padding=extra, **options), x)


@pytest.mark.parametrize("dims", [1, 2])
@given(st.integers(1, 4), st.integers(1, 2), st.integers(1, 5))
def test_same_keeps_the_size_and_valid_adds_nothing(dims, kernel, dilation, size):
    convolve = F.conv1d if dims == 1 else F.conv2d
    x = minidl.randn(2, 2, *[size] * dims, dtype=minidl.float64)
    w = minidl.randn(3, 2, *[kernel] * dims, dtype=minidl.float64)
    total = dilation * (kernel - 1)
    wide = np.pad(x.numpy(), [(0, 0)] * 2 + [(total // 2, total - total // 2)] * dims)
    options = {"stride": (1,) * dims, "padding": (0,) * dims, "dilation": (dilation,) * dims, "groups": 1}
    same = convolve(x, w, padding="same", dilation=dilation)
    np.testing.assert_allclose(same, convolved(wide, w.numpy(), **options), rtol=1e-12, atol=1e-12)
    if size > total:
        valid = convolve(x, w, padding="valid", dilation=dilation)
        np.testing.assert_allclose(valid, convolved(x.numpy(), w.numpy(), **options), rtol=1e-12, atol=1e-12)


def z(*shape, dtype=minidl.float32):
    return minidl.zeros(*shape, dtype=dtype)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: F.conv1d(z(5), z(4, 3, 2)), "conv1d: wants input .N, C, W. or .C, W. and weight"),
        (lambda: F.conv1d(z(2, 2, 4, 5), z(4, 3, 2)), "conv1d: wants input"),
        (lambda: F.conv1d(z(2, 3, 5), z(4, 3, 2, 2)), "conv1d: wants input"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 3, 2)), "wants 3 input channels"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 7)), r"reaches over \(7,\) pixels"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), padding="same", stride=2), "padding='same'"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), padding="full"), "padding must be 'same'"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), padding=(1, 1)), "conv1d: padding wants one integer"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), stride=0), "conv1d: stride"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), dilation=0), "conv1d: dilation"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), padding=-1), "conv1d: padding"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 0)), "conv1d: kernel_size"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), groups=0), "groups must be at least 1"),
        (lambda: F.conv1d(z(2, 2, 5), z(4, 2, 2), z(2)), r"bias must have shape \(4,\)"),
        (lambda: F.conv1d(z(2, 2, 5), z(0, 2, 2)), "may be empty"),
        (lambda: F.conv2d(z(2, 2, 0, 5), z(4, 2, 2, 2), padding=1), "may be empty"),
        (lambda: F.conv2d(z(2, 2, 5, 5), z(4, 2, 2, 2), z(4, dtype=minidl.float64)), "one dtype"),
        (lambda: F.conv2d(z(1, 1, 2, 2, dtype=bool), z(1, 1, 1, 1, dtype=bool)), "conv2d: not for bools"),
        (lambda: F.conv_transpose1d(z(5), z(4, 3, 2)), "conv_transpose1d: wants input .N, F, W. or .F, W. and weight"),
        (lambda: F.conv_transpose1d(z(2, 5, 5), z(4, 3, 2)), "wants 4 input channels"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), groups=2), "groups=2 divides"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), groups=0), "groups must be at least 1"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), z(3)), r"bias must have shape \(4,\)"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), output_padding=1), "output_padding .1,. must"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), output_padding=2, stride=2), "output_padding .2,. must"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), output_padding=-1, stride=2), "output_padding"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), padding=-1), "padding"),
        (lambda: F.conv_transpose1d(z(2, 3, 5), z(3, 4, 2), stride=0), "stride"),
        (lambda: F.conv_transpose1d(z(2, 3, 1), z(3, 4, 1), padding=1), "leaves nothing"),
        (lambda: F.conv_transpose2d(z(2, 3, 0, 5), z(3, 4, 2, 2)), "may be empty"),
        (lambda: F.conv_transpose2d(z(2, 3, 5, 5), z(3, 0, 2, 2)), "may be empty"),
        (lambda: F.conv_transpose2d(z(2, 0, 5, 5), z(0, 4, 2, 2)), "may be empty"),
        (lambda: F.conv_transpose2d(z(2, 3, 5, 5), z(3, 4, 2, 2, dtype=minidl.float64)), "one dtype"),
        (lambda: F.conv_transpose2d(z(1, 1, 2, 2, dtype=bool), z(1, 1, 1, 1, dtype=bool)), "not for bools"),
    ],
)
def test_refusals_say_what_and_why(call, says):
    with pytest.raises(RuntimeError, match=says):
        call()


def test_a_word_is_no_padding_of_a_transpose():
    with pytest.raises(TypeError, match="conv_transpose1d: padding wants an integer"):
        F.conv_transpose1d(z(2, 2, 5), z(2, 4, 2), padding="same")
    with pytest.raises(TypeError, match="ConvTranspose2d: padding wants an integer"):
        nn.ConvTranspose2d(1, 1, 2, padding="same")


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_memory_order_and_nan_stay_where_they_belong(groups):
    """NaN and infinity reach the positions whose window they are in, and no other; what is convolved stays batch-innermost."""
    x, w = np.ones((3, 4, 6, 5)), np.ones((4, 4 // groups, 3, 3))
    x[1, 2, 0, 4], x[2, 0, 5, 0] = math.nan, math.inf
    x = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": groups}
    out = F.conv2d(minidl.from_numpy(x), minidl.from_numpy(w), **options).numpy()
    np.testing.assert_array_equal(out, convolved(x, w, **options))
    assert out.strides[0] == out.itemsize
    grads = []
    for a in (x, np.where(np.isfinite(x), x, 1)):
        leaf = minidl.ones(4, 4 // groups, 3, 3, dtype=minidl.float64, requires_grad=True)
        F.conv2d(minidl.from_numpy(a), leaf, **options).sum().backward()
        grads.append(leaf.grad.numpy())
    seen = np.zeros((4, 4 // groups, 3, 3), bool)
    for (c, taps), f in itertools.product([(2, (slice(0, 2), slice(1, 3))), (0, (slice(1, 3), slice(0, 2)))], range(4)):
        if f // (4 // groups) == c // (4 // groups):
            seen[(f, c % (4 // groups), *taps)] = True
    assert not np.isfinite(grads[0][seen]).any()
    np.testing.assert_array_equal(grads[0][~seen], grads[1][~seen])


# -- modules


MAKERS = {
    "Conv1d": lambda **o: nn.Conv1d(2, 4, 3, **o),
    "Conv2d": lambda **o: nn.Conv2d(2, 4, (3, 2), **o),
    "ConvTranspose1d": lambda **o: nn.ConvTranspose1d(4, 2, 3, **o),
    "ConvTranspose2d": lambda **o: nn.ConvTranspose2d(4, 2, (3, 2), **o),
}


@pytest.mark.parametrize("name", MAKERS)
def test_initial_weights_lie_evenly_within_one_over_the_root_of_the_size_of_a_filter(name):
    minidl.manual_seed(0)
    kernel = (3,) if "1d" in name else (3, 2)
    make = getattr(nn, name)
    module = make(40, 60, kernel, groups=2)
    fan_in = module.weight.numel() // module.weight.shape[0]  # of a transpose too, whose weight[0] is what an input reaches
    bound = fan_in**-0.5
    for p in module.parameters():
        assert abs(p).max().item() <= bound
        assert abs(p).max().item() > 0.95 * bound
    assert abs(module.weight.mean().item()) < 0.1 * bound


@pytest.mark.parametrize("name", MAKERS)
def test_modules_refuse(name):
    make = MAKERS[name]
    with pytest.raises(ValueError, match=f"{name}: in_channels=. and out_channels=. must be multiples of groups=3"):
        make(groups=3)
    with pytest.raises(ValueError, match="groups=0"):
        make(groups=0)
    with pytest.raises(ValueError, match="padding_mode must be one of .*'mirror'"):
        make(padding_mode="mirror")
    with pytest.raises(ShapeError, match=f"{name}: stride wants one integer"):
        make(stride=(1, 1, 1))
    if "Transpose" in name:
        with pytest.raises(ValueError, match=r"padding_mode must be one of \('zeros',\)"):
            make(padding_mode="reflect")
    else:
        with pytest.raises(ValueError, match="padding must be 'same', 'valid' or integers, got 'full'"):
            make(padding="full")
        with pytest.raises(ValueError, match="stride 1"):
            make(padding="same", stride=2)


def test_a_sequence_is_no_picture():
    assert not isinstance(nn.Conv1d(1, 1, 1), nn.Conv2d)
    assert not isinstance(nn.ConvTranspose1d(1, 1, 1), (nn.ConvTranspose2d, nn.Conv1d))


def test_output_size_takes_the_place_of_output_padding():
    module = nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1).double()
    x = minidl.randn(1, 2, 4, 4, dtype=minidl.float64)
    for size in ((10, 9), (9, 9), [1, 3, 10, 10]):
        out = module(x, output_size=size)
        assert tuple(out.shape[2:]) == tuple(size[-2:])
        np.testing.assert_allclose(out[..., :9, :9].detach(), module(x)[..., :9, :9].detach())
    assert module(x[0], output_size=(3, 10, 9)).shape == (3, 10, 9)
    assert module(x).shape == (1, 3, 10, 10)
    for size in ((11, 9), (8, 9)):
        with pytest.raises(ValueError, match=r"output_size \(.*\) is not between \(9, 9\) and \(10, 10\)"):
            module(x, output_size=size)
    for size in ((9,), (3, 9, 9), 9):
        with pytest.raises(ValueError, match="output_size wants 2 numbers or 4"):
            module(x, output_size=size)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["same", "valid", 2, (1, 0)])
def test_padding_modes_continue_the_picture(mode, padding):
    module = nn.Conv2d(2, 3, (4, 3), padding=padding, padding_mode=mode).double()
    x = minidl.randn(2, 2, 6, 5, dtype=minidl.float64)
    rows, columns = {"same": ((1, 2), (1, 1)), "valid": ((0, 0), (0, 0)), 2: ((2, 2), (2, 2)), (1, 0): ((1, 1), (0, 0))}[
        padding
    ]
    wide = np.pad(x.numpy(), ((0, 0), (0, 0), rows, columns), {"replicate": "edge", "circular": "wrap"}.get(mode, mode))
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    wanted = convolved(wide, module.weight.detach().numpy(), module.bias.detach().numpy(), **options)
    np.testing.assert_allclose(module(x).detach(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride, groups", [(1, 1), (2, 1), (3, 4), (1, 4)])
@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
def test_features_can_be_viewed_as_rows(kind, stride, groups):
    """``x.view(len(x), -1)`` after a convolution, as everybody writes it; and of the gradient."""
    x = minidl.randn(3, 4, 7, 6, requires_grad=True)
    out = getattr(minidl.nn, kind)(4, 8, 3, stride=stride, padding=1, groups=groups)(x)
    assert out.view(len(out), -1).shape == (3, out.numel() // 3)
    (g,) = minidl.autograd.grad(out.sum(), x)
    assert g.view(len(g), -1).shape == (3, 4 * 7 * 6)
