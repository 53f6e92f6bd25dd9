"""ONNX nodes for functions of numbers, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.op import cast
from ..ops import activation, compare, elementwise, layout, reduce
from .graph import Graph, Tensor
from .table import ENTRIES, entry

# what ONNX has under another name
SAME = {
    elementwise.abs: "Abs",
    elementwise.acos: "Acos",
    elementwise.acosh: "Acosh",
    elementwise.add: "Add",
    elementwise.asin: "Asin",
    elementwise.asinh: "Asinh",
    elementwise.atan: "Atan",
    elementwise.atanh: "Atanh",
    elementwise.ceil: "Ceil",
    elementwise.cos: "Cos",
    elementwise.cosh: "Cosh",
    elementwise._true_div: "Div",
    elementwise.erf: "Erf",
    elementwise.exp: "Exp",
    elementwise.floor: "Floor",
    elementwise.log: "Log",
    elementwise.maximum: "Max",
    elementwise.minimum: "Min",
    elementwise.mul: "Mul",
    elementwise.neg: "Neg",
    elementwise.pow: "Pow",
    elementwise.reciprocal: "Reciprocal",
    elementwise.relu: "Relu",
    elementwise.sigmoid: "Sigmoid",
    elementwise.sign: "Sign",
    elementwise.sin: "Sin",
    elementwise.sinh: "Sinh",
    elementwise.sqrt: "Sqrt",
    elementwise.sub: "Sub",
    elementwise.tan: "Tan",
    elementwise.tanh: "Tanh",
    elementwise._where: "Where",
    activation.hardswish: "HardSwish",
    compare.eq: "Equal",
    compare.ge: "GreaterOrEqual",
    compare.gt: "Greater",
    compare.isinf: "IsInf",
    compare.isnan: "IsNaN",
    compare.le: "LessOrEqual",
    compare.lt: "Less",
    layout._row_major: "Identity",
    layout.copy: "Identity",
    reduce._root: "Sqrt",
}
LOGICAL = {
    compare.logical_and: "And",
    compare.logical_not: "Not",
    compare.logical_or: "Or",
    compare.logical_xor: "Xor",
    compare.bitwise_and: "And",
    compare.bitwise_not: "Not",
    compare.bitwise_or: "Or",
    compare.bitwise_xor: "Xor",
}


def _same(kind: str) -> Any:
    return lambda g, *args: g.add(kind, *args)


def _logical(kind: str, bits: bool) -> Any:
    def add(g: Graph, *args: Any) -> Any:
        if bits and g.out.dtype != bool:
            return g.add(f"Bitwise{kind}", *args)
        return g.add(kind, *(g.as_dtype(x, np.bool_) for x in args))

    return add


ENTRIES.update({f.op: _same(kind) for f, kind in SAME.items()})
ENTRIES.update({f.op: _logical(kind, f.op.name.startswith("bitwise")) for f, kind in LOGICAL.items()})


@entry(cast)
def _cast(g: Graph, input: Any, dtype: Any) -> Any:
    return g.cast(input, dtype)


@entry(compare.ne)
def _ne(g: Graph, input: Any, other: Any) -> Any:
    return g.add("Not", g.add("Equal", input, other))


@entry(compare.isfinite)
def _isfinite(g: Graph, input: Any) -> Any:
    return g.add("Not", g.add("Or", g.add("IsInf", input), g.add("IsNaN", input)))


# -- one number


@entry(elementwise.rsqrt)
def _rsqrt(g: Graph, input: Any) -> Any:
    return g.add("Reciprocal", g.add("Sqrt", input))


@entry(elementwise.exp2)
def _exp2(g: Graph, input: Any) -> Any:
    return g.add("Pow", g.like(2, input), input)


@entry(elementwise.expm1)
def _expm1(g: Graph, input: Any) -> Any:
    return g.add("Sub", g.add("Exp", input), g.like(1, input))


@entry(elementwise.log1p)
def _log1p(g: Graph, input: Any) -> Any:
    return g.add("Log", g.add("Add", input, g.like(1, input)))


@entry(elementwise.log2)
def _log2(g: Graph, input: Any) -> Any:
    return g.add("Div", g.add("Log", input), g.like(math.log(2), input))


@entry(elementwise.log10)
def _log10(g: Graph, input: Any) -> Any:
    return g.add("Div", g.add("Log", input), g.like(math.log(10), input))


@entry(elementwise.trunc)
def _trunc(g: Graph, input: Any) -> Any:
    return g.add("Mul", g.add("Sign", input), g.add("Floor", g.add("Abs", input)))


@entry(elementwise.round)
def _round(g: Graph, input: Any, decimals: int = 0) -> Any:
    if decimals:
        raise NotImplementedError(f"decimals must be 0, got {decimals}")
    return g.add("Round", input)


@entry(elementwise._clamp, activation.hardtanh)
def _clamp(g: Graph, input: Any, low: Any, high: Any) -> Any:
    return g.add("Clip", input, *(None if x is None else g.like(x, input) for x in (low, high)))


# -- two numbers


@entry(elementwise.fmod)
def _fmod(g: Graph, input: Any, other: Any) -> Any:
    return g.add("Mod", input, other, fmod=1)


@entry(elementwise.remainder)
def _remainder(g: Graph, input: Any, other: Any) -> Any:
    if g.out.dtype.kind != "f":
        return g.add("Mod", input, other)
    return g.add("Sub", input, g.add("Mul", other, g.add("Floor", g.add("Div", input, other))))


@entry(elementwise.floor_divide)
def _floor_divide(g: Graph, input: Any, other: Any) -> Any:
    if g.out.dtype.kind == "f":
        return g.add("Floor", g.add("Div", input, other))
    return g.add("Div", g.add("Sub", input, g.add("Mod", input, other)), other)  # ONNX divides integers towards zero


@entry(elementwise._trunc_divide)
def _trunc_divide(g: Graph, input: Any, other: Any) -> Any:
    out = g.add("Div", input, other)
    return _trunc(g, out) if g.out.dtype.kind == "f" else out


@entry(elementwise.logaddexp)
def _logaddexp(g: Graph, input: Any, other: Any) -> Any:
    apart = g.add("Exp", g.add("Neg", g.add("Abs", g.add("Sub", input, other))))
    return g.add("Add", g.add("Max", input, other), _log1p(g, Tensor(apart, (), g.out.dtype)))


# -- activations


@entry(activation._gelu)
def _gelu(g: Graph, input: Any) -> Any:
    share = g.add("Add", g.add("Erf", g.add("Mul", input, g.like(math.sqrt(0.5), input))), g.like(1, input))
    return g.add("Mul", g.add("Mul", input, g.like(0.5, input)), share)


@entry(activation._gelu_tanh)
def _gelu_tanh(g: Graph, input: Any) -> Any:
    cube = g.add("Mul", g.add("Mul", g.add("Mul", input, input), input), g.like(0.044715, input))
    inner = g.add("Mul", g.add("Add", input, cube), g.like(math.sqrt(2 / math.pi), input))
    return g.add("Mul", g.add("Mul", input, g.like(0.5, input)), g.add("Add", g.add("Tanh", inner), g.like(1, input)))


@entry(activation.elu)
def _elu(g: Graph, input: Any, alpha: float, scale: float, rate: float) -> Any:
    if (scale, rate) == (1, 1):
        return g.add("Elu", input, alpha=float(alpha))
    zero = g.like(0, input)
    below = Tensor(g.add("Mul", g.add("Min", input, zero), g.like(rate, input)), (), input.dtype)
    low = g.add("Mul", _expm1(g, below), g.like(scale * alpha, input))
    return g.add("Add", g.add("Mul", g.add("Max", input, zero), g.like(scale, input)), low)


@entry(activation.hardsigmoid)
def _hardsigmoid(g: Graph, input: Any) -> Any:
    return g.add("HardSigmoid", input, alpha=1 / 6, beta=0.5)


@entry(activation.leaky_relu)
def _leaky_relu(g: Graph, input: Any, negative_slope: float) -> Any:
    return g.add("LeakyRelu", input, alpha=float(negative_slope))


@entry(activation.logsigmoid)
def _logsigmoid(g: Graph, input: Any) -> Any:
    return g.add("Neg", g.add("Softplus", g.add("Neg", input)))


@entry(activation.mish)
def _mish(g: Graph, input: Any) -> Any:
    return g.add("Mul", input, g.add("Tanh", g.add("Softplus", input)))


@entry(activation.silu)
def _silu(g: Graph, input: Any) -> Any:
    return g.add("Mul", input, g.add("Sigmoid", input))


@entry(activation.softplus)
def _softplus(g: Graph, input: Any, beta: float, threshold: float) -> Any:
    scaled = g.add("Mul", input, g.like(beta, input))
    bent = g.add("Div", g.add("Softplus", scaled), g.like(beta, input))
    return g.add("Where", g.add("Greater", scaled, g.like(threshold, input)), input, bent)
