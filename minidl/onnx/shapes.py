"""ONNX nodes for other shapes and orders of the same numbers, for parts of them, and for many numbers made few."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import broadcast_to
from ..functions import counting
from ..ops import embedding, index, layout, reduce, scan
from ..sequences import recurrent
from ..shapes import wrap_dims
from .graph import Graph, Tensor
from .sizes import Size
from .table import entries, entry

# -- the same numbers


@entry(layout.reshape)
def _reshape(g: Graph, input: Any, shape: Any) -> Any:
    return g.reshape(input, shape if isinstance(shape, (tuple, list)) and not isinstance(shape, Size) else (shape,))


@entry(broadcast_to)
def _broadcast_to(g: Graph, input: Any, shape: Any) -> Any:
    if 0 in shape:  # onnxruntime makes 1 of 1 and 0
        return g.add("ConstantOfShape", g.sizes(shape), value=g.proto(np.zeros(1, input.dtype)))
    return g.add("Expand", input, g.sizes(shape))


@entry(layout._permute)
def _permute(g: Graph, input: Any, dims: Any) -> Any:
    return g.add("Transpose", input, perm=list(dims))


@entry(layout.cat)
def _cat(g: Graph, tensors: Any, dim: int) -> Any:
    solid = [x for x in tensors if x.shape != (0,) and x.shape[dim] != 0] or tensors[:1]
    return g.add("Concat", *(g.as_dtype(x, g.out.dtype) for x in solid), axis=dim)


@entry(layout.constant_pad)
def _constant_pad(g: Graph, input: Any, before: Any, after: Any, value: Any) -> Any:
    return g.add("Pad", input, g.sizes((*before, *after)), g.like(value, input))


@entry(layout.flip)
def _flip(g: Graph, input: Any, dims: Any) -> Any:
    axes = wrap_dims(dims, input.ndim, "flip")
    n, last = len(axes), np.iinfo(np.int64)
    return g.add("Slice", input, np.full(n, -1), np.full(n, last.min), np.array(axes, np.int64), np.full(n, -1))


@entry(layout.roll)
def _roll(g: Graph, input: Any, shifts: Any, dims: Any) -> Any:
    x = g.reshape(input, (-1,)) if dims is None else input.name
    pairs = [(shifts, 0 if dims is None else dims)] if isinstance(shifts, int) else list(zip(shifts, dims or (0,)))
    fixed = all(isinstance(n, int) for n in input.shape)
    whole: Any = input.shape if dims is not None else (math.prod(input.shape) if fixed else None,)
    for shift, dim in pairs:
        if not isinstance(whole[dim], int):
            raise NotImplementedError(f"the size of dimension {dim} must be the same always")
        cut = -shift % whole[dim] if whole[dim] else 0
        x = g.add("Concat", g.slice(x, dim, cut, None), g.slice(x, dim, 0, cut), axis=dim)
    return g.reshape(x, input.shape) if dims is None else x


@entries({layout.tril: 0, layout.triu: 1})
def _triangle(g: Graph, upper: int, input: Any, diagonal: int) -> Any:
    x = g.cast(input, np.int64) if input.dtype == bool else input  # onnxruntime has it for few dtypes
    out = g.add("Trilu", x, np.asarray(diagonal, np.int64), upper=upper)
    return g.cast(out, bool) if input.dtype == bool else out


# -- parts


def _expanded(index: Any, ndim: int) -> list[Any]:
    """``index`` with ``:`` for ``...``, and for what it does not say."""
    places = [i for i, part in enumerate(index) if part is ...]
    parts = list(index)
    missing = ndim - sum(part is not None and part is not ... for part in parts)
    at = places[0] if places else len(parts)
    return [*parts[:at], *[slice(None)] * missing, *parts[at + bool(places) :]]


@entry(index._getitem)
def _getitem(g: Graph, input: Any, index: Any) -> Any:
    if sum(hasattr(part, "ndim") for part in index) > 1 or any(getattr(part, "ndim", 1) != 1 for part in index):
        raise NotImplementedError("of an index with arrays only one list of places or a mask of one dimension is supported")
    parts = _expanded(index, input.ndim)
    kept = [part for part in parts if part is not None]
    cut = [(axis, p) for axis, p in enumerate(kept) if isinstance(p, slice) and p not in (slice(None), slice(0, None))]
    x = input
    if cut:
        most = np.iinfo(np.int64).max
        starts, stops = (
            [0 if p.start is None else p.start for _, p in cut],
            [most if p.stop is None else p.stop for _, p in cut],
        )
        steps = g.sizes([p.step or 1 for _, p in cut])
        x = g.add("Slice", x, g.sizes(starts), g.sizes(stops), np.array([axis for axis, _ in cut]), steps)
    for axis, part in reversed([*enumerate(kept)]):
        if hasattr(part, "ndim"):
            x = g.add("Gather", x, np.flatnonzero(part) if part.dtype == bool else part.astype(np.int64), axis=axis)
        elif not isinstance(part, slice):
            x = g.add("Gather", x, g.scalar(part, np.int64), axis=axis)
    left = [part for part in parts if part is None or isinstance(part, slice) or hasattr(part, "ndim")]
    new = [i for i, part in enumerate(left) if part is None]
    if new:
        return g.add("Unsqueeze", x, np.array(new))
    return g.add("Identity", x) if x is input else x


@entry(recurrent._part)
def _part(g: Graph, input: Any, start: Any, shape: Any) -> Any:
    count = g.add("ReduceProd", g.sizes(shape), keepdims=1)
    first = g.size(start)
    return g.reshape(g.add("Slice", input, first, g.add("Add", first, count), np.array([0])), shape)


@entry(index.gather)
def _gather(g: Graph, input: Any, dim: int, index: Any) -> Any:
    return g.add("GatherElements", input, index, axis=dim)


@entry(index._scatter)
def _scatter(g: Graph, input: Any, dim: int, index: Any, src: Any) -> Any:
    shape = g.add("Shape", index)
    if isinstance(src, Tensor):  # of which index may cover only a part
        src = g.add("Slice", src, np.zeros(index.ndim, np.int64), shape)
    else:
        src = g.add("Expand", g.like(src, input), shape)
    return g.add("ScatterElements", input, index, src, axis=dim)


@entry(embedding.embedding)
def _embedding(g: Graph, weight: Any, input: Any, padding_idx: Any, scale_grad_by_freq: Any) -> Any:
    return g.add("Gather", weight, input)


@entry(counting.one_hot)
def _one_hot(g: Graph, input: Any, num_classes: int) -> Any:
    if num_classes == -1:
        raise NotImplementedError("num_classes must be given")
    return g.add("OneHot", input, np.asarray(num_classes, np.int64), np.array([0, 1], np.int64), axis=-1)


@entry(scan.argsort)
def _argsort(g: Graph, input: Any, dim: int, descending: bool, stable: bool) -> Any:
    count = g.size(input.shape[dim])
    return g.add("TopK", input, count, axis=dim, largest=int(descending), outputs=2)[1]


# -- many numbers to few


def _axes(dim: Any, ndim: int) -> Any:
    return np.array(wrap_dims(None if dim in ((), []) else dim, ndim, "onnx.export"), np.int64)


def _reduced(g: Graph, kind: str, input: Any, dim: Any, keepdim: bool) -> Any:
    return g.add(kind, input, _axes(dim, input.ndim), keepdims=int(keepdim)) if input.ndim else g.add("Identity", input)


@entries({reduce.sum: "ReduceSum", reduce.mean: "ReduceMean", scan.prod: "ReduceProd"})
def _total(g: Graph, kind: str, input: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
    x = Tensor(g.cast(input, g.out.dtype), input.shape, g.out.dtype) if input.dtype != g.out.dtype else input
    return _reduced(g, kind, x, dim, keepdim)


@entries({reduce.amax: "ReduceMax", reduce.amin: "ReduceMin", reduce.logsumexp: "ReduceLogSumExp", reduce._norm2: "ReduceL2"})
def _plain(g: Graph, kind: str, input: Any, dim: Any, keepdim: bool) -> Any:
    return _reduced(g, kind, input, dim, keepdim)


@entries({reduce.all: "ReduceMin", reduce.any: "ReduceMax"})
def _truth(g: Graph, kind: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = Tensor(g.cast(g.as_dtype(input, np.bool_), np.int32), input.shape, np.int32)
    return g.cast(_reduced(g, kind, x, dim, keepdim), bool)


@entries({reduce.argmax: "ArgMax", reduce.argmin: "ArgMin"})
def _place(g: Graph, kind: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = g.cast(input, np.int32) if input.dtype == bool else input
    if dim is not None and input.ndim:
        return g.add(kind, x, axis=dim, keepdims=int(keepdim))
    return g.reshape(g.add(kind, g.reshape(x, (-1,)), axis=0, keepdims=0), (1,) * input.ndim if keepdim else ())


@entry(reduce._norm_p)
def _norm_p(g: Graph, input: Any, p: float, dim: Any, keepdim: bool) -> Any:
    size = Tensor(g.add("Abs", input), input.shape, input.dtype)
    if math.isinf(p):
        return _reduced(g, "ReduceMax" if p > 0 else "ReduceMin", size, dim, keepdim)
    if p == 0:
        raise NotImplementedError("p must not be 0")
    powers = Tensor(g.add("Pow", size, g.like(p, input)), input.shape, input.dtype)
    return g.add("Pow", _reduced(g, "ReduceSum", powers, dim, keepdim), g.like(1 / p, input))


@entries({reduce.softmax: "Softmax", reduce.log_softmax: "LogSoftmax"})
def _softmax(g: Graph, kind: str, input: Any, dim: int, dtype: Any) -> Any:
    return g.add(kind, g.as_dtype(input, g.out.dtype), axis=dim)


@entry(scan.cumsum)
def _cumsum(g: Graph, input: Any, dim: int, dtype: Any) -> Any:
    return g.add("CumSum", g.as_dtype(input, g.out.dtype), np.asarray(dim, np.int64))
