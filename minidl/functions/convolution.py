"""Convolution of sequences and pictures, and its transpose, under PyTorch's names.

A sequence is a picture of one row. The transpose of a convolution takes the shape of its output to that of its input: it is the
convolution's input gradient, so its gradients are convolutions again (see `ops.conv`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dtypes import as_dtype, bool_
from ..ops.conv import _conv2d, _input_grad
from ..ops.layout import constant_pad, reshape
from ..shapes import Shape, ShapeError, Window, as_index, per_dim

if TYPE_CHECKING:
    from .._tensor import Tensor

_SHAPES = {1: "(N, {0}, W) or ({0}, W)", 2: "(N, {0}, H, W) or ({0}, H, W)"}


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Slide every filter over every sequence: `conv2d` of pictures with one row.

    Shapes: (N, C, W) or (C, W), weight (F, C / groups, L), bias (F,) -> (N, F, J) or (F, J), with
    ``J = floor((W + 2 * padding - dilation * (L - 1) - 1) / stride) + 1``.

    Raises
    ------
    ShapeError
        If sizes do not fit each other.
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """Slide every filter over every picture: ``out[n, f, i, j] = bias[f] + sum over c, k, l of
    input[n, c, i * stride - padding + k * dilation, ...] * weight[f, c, k, l]``.

    Shapes: (N, C, H, W) or (C, H, W), weight (F, C / groups, K, L), bias (F,) -> (N, F, I, J) or (F, I, J), with
    ``I = floor((H + 2 * padding - dilation * (K - 1) - 1) / stride) + 1``. Filters of group number q see only the channels of
    group q.

    Parameters
    ----------
    stride, padding, dilation : int or pair of ints
        Vertical and horizontal. ``padding`` may also be ``"valid"`` (none) or ``"same"`` (the size stays; stride 1 only).

    Raises
    ------
    ShapeError
        If sizes do not fit each other.
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of `conv1d`: `conv_transpose2d` of pictures with one row.

    Shapes: (N, F, J) or (F, J), weight (F, C / groups, L), bias (C,) -> (N, C, W) or (C, W).
    """
    return _transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of `conv2d`: every element of the input adds its multiple of the filter to the output,
    ``out[n, c, i * stride - padding + k * dilation, ...] += input[n, f, i, j] * weight[f, c, k, l]``.

    Shapes: (N, F, I, J) or (F, I, J), weight (F, C / groups, K, L), bias (C,) -> (N, C, H, W) or (C, H, W), with
    ``H = (I - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1``. A convolution with a stride takes several
    sizes to one; ``output_padding`` says which of them is meant.

    Raises
    ------
    ShapeError
        If sizes do not fit each other, or ``output_padding`` is neither smaller than ``stride`` nor than ``dilation``.

    Source: Zeiler et al., Deconvolutional networks, CVPR 2010.
    """
    return _transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve(dims: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    op, batched = f"conv{dims}d", len(input.shape) == dims + 2
    groups = as_index(groups, f"{op}: groups")
    _check(op, dims, input, weight, bias, groups, False)
    filters, channels = weight.shape[:2]
    if filters % groups or input.shape[-dims - 1] != channels * groups:
        raise ShapeError(
            f"{op}: weight of shape {tuple(weight.shape)} with groups={groups} wants {channels * groups} input "
            f"channels and a number of filters that groups divides, got input of shape {tuple(input.shape)}"
        )
    kernel = tuple(weight.shape[2:])
    stride, dilation = per_dim(stride, dims, f"{op}: stride"), per_dim(dilation, dims, f"{op}: dilation")
    if padding == "same":
        if max(stride) > 1:
            raise ShapeError(f"{op}: padding='same' keeps the size only with stride 1, got stride {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        before = tuple(n // 2 for n in total)
        after = tuple(n - b for n, b in zip(total, before))
    elif isinstance(padding, str) and padding != "valid":
        raise ShapeError(f"{op}: padding must be 'same', 'valid' or integers, got {padding!r}")
    else:
        before = after = (0,) * dims if padding == "valid" else per_dim(padding, dims, f"{op}: padding")
    x, w = _as_pictures(input, dims, batched), _as_pictures(weight, dims)
    window = _window(kernel, stride, before, after, dilation).check(x.shape[2:], op)
    return _as_before(_conv2d(x, w, bias, window, groups), dims, batched)


def _transpose(
    dims: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any
) -> Any:
    op, batched = f"conv_transpose{dims}d", len(input.shape) == dims + 2
    groups = as_index(groups, f"{op}: groups")
    _check(op, dims, input, weight, bias, groups, True)
    if weight.shape[0] % groups or input.shape[-dims - 1] != weight.shape[0]:
        raise ShapeError(
            f"{op}: weight of shape {tuple(weight.shape)} wants {weight.shape[0]} input channels, a number that "
            f"groups={groups} divides, got input of shape {tuple(input.shape)}"
        )
    stride, padding = per_dim(stride, dims, f"{op}: stride"), per_dim(padding, dims, f"{op}: padding")
    extra, dilation = per_dim(output_padding, dims, f"{op}: output_padding"), per_dim(dilation, dims, f"{op}: dilation")
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ShapeError(f"{op}: output_padding {extra} must not be negative, and smaller than stride {stride} or {dilation=}")
    x, w = _as_pictures(input, dims, batched), _as_pictures(weight, dims)
    # where the stride alone does not leave room for them, the extra pixels are padding not cut off, and beyond it zeros
    cut = tuple(max(p - e, 0) if e >= s else p for p, e, s in zip(padding, extra, stride))
    beyond = tuple(max(e - p, 0) if e >= s else 0 for p, e, s in zip(padding, extra, stride))
    window = _window(tuple(weight.shape[2:]), stride, padding, cut, dilation).check_numbers(op)
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1 - b
        for n, s, p, d, k, e, b in zip(input.shape[-dims:], stride, padding, dilation, weight.shape[2:], extra, beyond)
    )
    if min(size) < 0:
        raise ShapeError(f"{op}: padding {padding} leaves nothing of the output for input of shape {tuple(input.shape)}")
    if not any(beyond):
        return _as_before(_input_grad(x, w, window, groups, _both(1, size), bias), dims, batched)
    out = constant_pad(_input_grad(x, w, window, groups, _both(1, size)), (0,) * 4, (*(0,) * (4 - dims), *beyond), 0.0)
    return _as_before(out if bias is None else out + reshape(bias, (-1, 1, 1)), dims, batched)


def _check(op: str, dims: int, input: Any, weight: Any, bias: Any, groups: int, transposed: bool) -> None:
    """What convolutions and their transposes want alike."""
    if len(weight.shape) != dims + 2 or len(input.shape) not in (dims + 1, dims + 2):
        channels, kernel = ("F" if transposed else "C"), ("L" if dims == 1 else "K, L")
        raise ShapeError(
            f"{op}: wants input {_SHAPES[dims].format(channels)} and weight (F, C / groups, {kernel}), "
            f"got shapes {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    if groups < 1:
        raise ShapeError(f"{op}: groups must be at least 1, got {groups}")
    if 0 in input.shape[-dims:] or weight.shape[0] == 0 or (transposed and weight.shape[1] == 0):
        raise ShapeError(
            f"{op}: only the batch{'' if transposed else ', and the channels,'} may be empty, "
            f"got shapes {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    wanted = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and tuple(bias.shape) != (wanted,):
        raise ShapeError(f"{op}: bias must have shape ({wanted},), one number for each filter, got {tuple(bias.shape)}")
    if as_dtype(input.dtype) == bool_:
        raise NotImplementedError(f"{op}: not for bools; use .to(dtype)")
    dtypes = [x.dtype for x in (input, weight, bias) if x is not None]
    if dtypes.count(dtypes[0]) < len(dtypes):
        raise RuntimeError(f"{op}: wants one dtype for all, got {', '.join(map(str, dtypes))}; use .to(dtype)")


def _both(vertical: int, values: Shape) -> tuple[int, int]:
    """Numbers for two dimensions; the ``vertical`` one is for a picture of one row."""
    first, second = (vertical, *values)[-2:]
    return first, second


def _window(kernel: Shape, stride: Shape, before: Shape, after: Shape, dilation: Shape) -> Window:
    """The window, a single row high where there is one dimension."""
    return Window(_both(1, kernel), _both(1, stride), _both(0, before), _both(0, after), _both(1, dilation))


def _as_pictures(x: Any, dims: int, batched: bool = True) -> Any:
    """(N, C, H, W), with one image or one row where there is no such dimension."""
    shape = tuple(x.shape) if batched else (1, *x.shape)
    shape = (*shape[:2], *_both(1, shape[2:]))
    return x if shape == tuple(x.shape) else reshape(x, shape)


def _as_before(out: Any, dims: int, batched: bool) -> Any:
    """Without the dimensions that `_as_pictures` added."""
    if dims == 2 and batched:
        return out
    return reshape(out, (*out.shape[not batched : 2], *out.shape[-dims:]))
