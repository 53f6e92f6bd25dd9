"""Convolution, ReLU and pooling as one kernel, and its gradients, against the same in steps, by loops over single numbers."""

import numpy as np
import pytest
from test_cuda_kernels import DTYPES, close, cupy, hard
from test_kernels import numbers

from minidl.kernels import cuda, precision, reference
from minidl.kernels.cuda import conv_pool
from minidl.kernels.cuda.conv_pool import THREE, TWO
from minidl.shapes import Window


def in_steps(x, w, bias, g):
    """Result, taps, and the gradients of x, w and bias, in float64."""
    x, w, g = (a.astype(np.float64) for a in (x, w, g))
    out, taps = reference.conv2d_relu_pool(x, w, bias, THREE, 1, TWO, True)
    g = reference.relu_grad(g, out)
    wide = reference.max_pool2d_place(g, taps, TWO, x.shape[2:])
    gx = reference.conv2d_input_grad(wide, w, THREE, 1, x.shape[2:])
    return out, taps, gx, reference.conv2d_weight_grad(x, wide, THREE, 1), g.sum((0, 2, 3))


SIZES = [  # N, C, F, H, W
    (2, 3, 9, 4, 6),
    (3, 1, 1, 2, 2),
    (1, 9, 2, 6, 4),
    (5, 2, 8, 2, 8),
    (2, 17, 17, 4, 2),  # more channels than there are weights in shared memory for
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_three_in_steps(size, dtype, monkeypatch):
    monkeypatch.setattr(conv_pool, "BLOCKS", 2)  # so that a few images are a part
    n, c, f, h, w = size
    x, weight = numbers(0, n, c, h, w, dtype=dtype), numbers(1, f, c, 3, 3, dtype=dtype)
    bias, g = numbers(2, 1, 1, 1, f, dtype=dtype).ravel(), numbers(3, n, f, h // 2, w // 2, dtype=dtype)
    for b in (bias, None):
        wanted = in_steps(x, weight, b, g)
        out, taps = hard(cuda.conv2d_relu_pool, x, weight, b, THREE, 1, TWO, True)
        close(out, wanted[0], dtype)
        np.testing.assert_array_equal(taps, wanted[1])
        assert taps.dtype == np.int8
        close(hard(cuda.conv2d_relu_pool, x, weight, b, THREE, 1, TWO, False)[0], wanted[0], dtype)
    for asked in ((True, True, True), (False, True, False), (True, False, False)):
        found = hard(lambda *a, asked=asked: conv_pool.conv2d_relu_pool_grad(*a, THREE, 1, TWO, asked), g, x, weight, out, taps)
        close(found, tuple(part if want else None for part, want in zip(wanted[2:], asked)), dtype)


def test_ties_and_what_is_no_number():
    x = np.zeros((1, 1, 4, 8))
    x[0, 0, 0, 5:7] = np.nan
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 1, 1] = 1
    out, taps = hard(cuda.conv2d_relu_pool, x, weight, np.ones(1), THREE, 1, TWO, True)
    wanted = reference.conv2d_relu_pool(x, weight, np.ones(1), THREE, 1, TWO, True)
    np.testing.assert_array_equal(out, wanted[0])
    np.testing.assert_array_equal(taps, wanted[1])
    assert np.isnan(out).any() and taps[0, 0, 1, 0] == 0 and len(np.unique(taps)) > 1


def test_what_goes_in_steps(monkeypatch):
    """Other windows, groups, odd sizes, numbers of another kind; and gradients of pictures too large for shared memory."""
    x, weight = cupy.ones((1, 2, 4, 4), np.float32), cupy.ones((2, 2, 3, 3), np.float32)
    for win, groups, pool, size, dtype in [
        (THREE, 1, None, (4, 4), "f4"),
        (Window((3, 3)), 1, TWO, (4, 4), "f4"),
        (THREE, 2, TWO, (4, 4), "f4"),
        (THREE, 1, Window((4, 4), (4, 4)), (4, 4), "f4"),
        (THREE, 1, TWO, (4, 4), "f2"),
        (THREE, 1, TWO, (5, 4), "f4"),
    ]:
        picture = cupy.ones((1, 2, *size), dtype)
        assert not conv_pool._fits(picture, win, groups, pool)
    assert conv_pool._fits(x, THREE, 1, TWO)
    with monkeypatch.context() as patch:
        patch.setitem(precision.allowed, "conv", "tf32")
        assert not conv_pool._fits(x, THREE, 1, TWO)
    for channels, side, at_once in [(3, 32, 4), (64, 32, 8), (64, 64, 2), (8, 108, 1), (8, 110, 0)]:
        assert conv_pool._channels(cupy.empty((1, channels, side, side), np.float32)) == at_once
    large = cupy.empty((1, 1, 110, 110), np.float32)
    args = cupy.empty((1, 2, 55, 55), np.float32), large, weight[:, :1], None, None, THREE, 1, TWO
    assert conv_pool.conv2d_relu_pool_grad(*args, (True, True, True)) is None
