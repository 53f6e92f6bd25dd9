"""ONNX nodes for the layers of networks: products, convolution, pooling, resizing, normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..nn.functional import pooling
from ..ops import conv, linear, norm, pool, resize, unfold
from ..shapes import Window
from .graph import Graph, Tensor
from .table import entry


@entry(linear._matmul)
def _matmul(g: Graph, input: Any, other: Any) -> Any:
    return g.add("MatMul", input, other)


@entry(linear.linear)
def _linear(g: Graph, input: Any, weight: Any, bias: Any) -> Any:
    if input.ndim == 2:
        return g.add("Gemm", input, weight, bias, transB=1)
    out = g.add("MatMul", input, g.add("Transpose", weight, perm=[1, 0]))
    return out if bias is None else g.add("Add", out, bias)


@entry(linear.contract)
def _einsum(g: Graph, operands: Any, equation: str) -> Any:
    return g.add("Einsum", *operands, equation=equation)


# -- windows that slide over pictures


def _sliding(window: Window) -> dict[str, Any]:
    """How the window slides, in ONNX's words."""
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": (*window.before, *window.after),
        "dilations": window.dilation,
    }


@entry(conv._conv2d)
def _conv2d(g: Graph, input: Any, weight: Any, bias: Any, window: Window, groups: int) -> Any:
    return g.add("Conv", input, weight, bias, group=groups, **_sliding(window))


@entry(conv._input_grad)
def _conv_transpose2d(g: Graph, input: Any, weight: Any, window: Window, groups: int, size: Any, bias: Any) -> Any:
    if not all(isinstance(n, int) for n in (*size, *input.shape[2:])):
        raise NotImplementedError("the size of the picture must be the same always")
    reach = [
        (i - 1) * s + d * (k - 1) + 1 for i, s, d, k in zip(input.shape[2:], window.stride, window.dilation, window.kernel)
    ]
    more = [n + b + a - r for n, b, a, r in zip(size, window.before, window.after, reach)]
    return g.add("ConvTranspose", input, weight, bias, group=groups, output_padding=more, **_sliding(window))


@entry(pool._max_pool2d)
def _max_pool2d(g: Graph, input: Any, window: Window) -> Any:
    return g.add("MaxPool", input, **_sliding(window))


def _numbers(g: Graph, input: Any, **sliding: Any) -> Any:
    """Where in its picture, row by row, the largest pixel of each window is; ONNX counts through all pictures."""
    h, w = input.shape[2:]
    if not isinstance(h, int) or not isinstance(w, int):
        raise NotImplementedError("the size of the picture must be the same always")
    return g.add("Mod", g.add("MaxPool", input, outputs=2, **sliding)[1], np.asarray(h * w, np.int64))


@entry(pool._pixel_numbers)
def _pixel_numbers(g: Graph, input: Any, pooled: Any, window: Window) -> Any:
    return _numbers(g, input, **_sliding(window))


@entry(pooling._largest)
def _largest(g: Graph, input: Any, size: tuple[int, int]) -> Any:
    if input.ndim != 4 or any(not isinstance(n, int) or n % k for n, k in zip(input.shape[2:], size)):
        raise NotImplementedError(f"windows of one size are wanted: pictures (N, C, H, W) that {size} divides")
    kernel = [n // k for n, k in zip(input.shape[2:], size)]
    return _numbers(g, input, kernel_shape=kernel, strides=kernel)


@entry(pool._sum_pool2d)
def _sum_pool2d(g: Graph, input: Any, window: Window) -> Any:
    how = _sliding(window)
    del how["dilations"]
    mean = g.add("AveragePool", input, count_include_pad=1, **how)
    return g.add("Mul", mean, g.like(window.kernel[0] * window.kernel[1], input))


@entry(resize.resample)
def _resample(g: Graph, input: Any, maps: Any) -> Any:
    """Each map as the matrix that it is."""
    x = input
    for dim, groups, size in maps:
        n = input.shape[dim]
        if not isinstance(n, int):
            raise NotImplementedError(f"the size of dimension {dim} must be the same always")
        matrix = np.zeros((n, size), input.dtype)
        for to, terms in groups:
            for source, weight in terms:
                matrix[_places(source), _places(to)] = 1 if weight is None else weight
        order = [*(d for d in range(input.ndim) if d != dim), dim]
        out = g.add("MatMul", g.add("Transpose", x, perm=order), matrix)
        x = g.add("Transpose", out, perm=list(np.argsort(order)))
    return x


def _places(where: Any) -> Any:
    return np.arange(*where) if isinstance(where, tuple) else where


def _seen_alone(input_dtype: Any, channels: int, window: Window) -> Any:
    """Filters that each see one tap of one channel: with them a convolution lays windows out as columns."""
    taps = window.kernel[0] * window.kernel[1]
    return np.tile(np.eye(taps, dtype=input_dtype).reshape(taps, 1, *window.kernel), (channels, 1, 1, 1))


@entry(unfold.columns)
def _columns(g: Graph, input: Any, window: Window) -> Any:
    n, channels = input.shape[:2]
    out = g.add("Conv", input, _seen_alone(input.dtype, channels, window), group=channels, **_sliding(window))
    return g.reshape(out, (n, channels * window.kernel[0] * window.kernel[1], math.prod(window.out_size(input.shape[2:]))))


@entry(unfold.picture)
def _picture(g: Graph, input: Any, window: Window, size: tuple[int, int]) -> Any:
    n, rows, _ = input.shape
    channels = rows // (window.kernel[0] * window.kernel[1])
    places = Tensor(g.reshape(input, (n, rows, *window.out_size(size))), (n, rows, *window.out_size(size)), input.dtype)
    filters = Tensor(g.constant(_seen_alone(input.dtype, channels, window)), (), input.dtype)
    return _conv_transpose2d(g, places, filters, window, channels, size, None)


# -- normalisation


@entry(norm.normalise)
def _normalise(
    g: Graph,
    input: Any,
    weight: Any,
    bias: Any,
    dims: Any,
    shape: Any,
    eps: float,
    own: tuple[bool, bool],
    running_mean: Any,
    running_var: Any,
    momentum: float,
) -> Any:
    if not any(own):
        ones, zeros = np.ones(running_mean.shape, input.dtype), np.zeros(running_mean.shape, input.dtype)
        scale, shift = ones if weight is None else weight, zeros if bias is None else bias
        return g.add("BatchNormalization", input, scale, shift, running_mean, running_var, epsilon=eps)
    if all(own) and shape is None and weight is not None:
        return g.add("LayerNormalization", input, weight, bias, axis=dims[0], epsilon=eps)
    axes = np.array(dims, np.int64)
    distance = g.add("Sub", input, g.add("ReduceMean", input, axes)) if own[0] else input.name
    variance = g.add("ReduceMean", g.add("Mul", distance, distance), axes)
    x = g.add("Div", distance, g.add("Sqrt", g.add("Add", variance, g.like(eps, input))))
    for kind, factor in (("Mul", weight), ("Add", bias)):
        if factor is not None:
            x = g.add(kind, x, factor if shape is None else g.reshape(factor, shape))
    return x
