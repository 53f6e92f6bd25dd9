"""What a call costs: the bytes it reads and writes, and its arithmetic, by formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .. import backend
from ..autograd.op import OpNode
from ..autograd.tape import TensorBase


def _arrays(values: Iterable[Any]) -> Iterator[Any]:
    """The arrays among ``values``, out of tensors and sequences."""
    for value in values:
        array = value._array if isinstance(value, TensorBase) else value
        if hasattr(array, "strides"):
            yield array
        elif isinstance(value, (tuple, list)):
            yield from _arrays(value)


def _size(array: Any) -> int:
    """How many elements lie in memory: what is expanded counts once."""
    return int(min(array.size, math.prod(n for n, stride in zip(array.shape, array.strides) if stride)))


def _bytes(*values: Any) -> int:
    return sum(_size(array) * int(array.itemsize) for array in _arrays(values))


def _letters(operands: Any, equation: str) -> int:
    """The products of an einsum, one for each value of all its letters."""
    terms = equation.partition("->")[0].split(",")
    sizes = {letter: n for term, x in zip(terms, operands) for letter, n in zip(term, x.shape)}
    return int(math.prod(sizes.values())) * (2 * len(operands) - 2 or 1)


def _tile(pool: Any) -> int:
    """How many pixels go into one, by pooling that may be left out."""
    return math.prod(pool.kernel) if pool else 1


def _recurrent(input: Any, w_hh: Any, b_ih: Any, w_hr: Any, kind: str, **_: Any) -> int:
    """The products with input and state; per gate a sum, the bias and its function; per unit what a cell makes of the gates."""
    (rows, d), (gates, p) = input.shape, w_hh.shape
    units = gates // {"lstm": 4, "gru": 3}.get(kind, 1)
    projected = 0 if w_hr is None else 2 * w_hr.size
    return int(rows * (gates * (2 * (d + p) + 2 + (b_ih is not None)) + (5 * units if gates > units else 0) + projected))


def _recurrent_rule(input: Any, w_hh: Any, w_hr: Any, kind: str, wanted: Any, **_: Any) -> int:
    """The product back to the state, those that are wanted, and per gate four operations."""
    (rows, d), (gates, p) = input.shape, w_hh.shape
    weights = wanted[3] * d + wanted[4] * p + (wanted[5] + wanted[6]) / 2
    projected = 0 if w_hr is None else 2 * w_hr.size * (1 + wanted[7])
    return int(rows * (2 * gates * (2 + p + wanted[0] * d + weights) + projected))


def _looks(query: Any, key: Any, causal: bool) -> int:
    """Pairs of a query and a key that it may see."""
    rows, n = query.shape[2], key.shape[2]
    seen = min(rows, n) * (min(rows, n) + 1) // 2 + max(rows - n, 0) * n if causal else rows * n
    return int(query.shape[0] * query.shape[1] * seen)


MOVERS = (
    "cast clone constant_pad contiguous diagonal diagonal_scatter flip permute placed put reshape roll scatter tril triu cat"
)

# Floating-point operations of an op, and as "op.input" of the rule for that input (a joint rule goes by its first). They depend
# on the arguments and out; those of a rule on what it may read, g, and grad, its result. A multiplication with an addition
# is two, a comparison or exp() one; pooling and reductions count one for each element that they look at. What is not here
# counts one for each element that it computes.
FLOPS: dict[str, Callable[..., int]] = {
    "matmul": lambda input, out, **_: 2 * out.size * input.shape[-1],
    "matmul.input": lambda g, other, **_: 2 * g.size * other.shape[-2],
    "matmul.other": lambda g, input, **_: 2 * g.size * input.shape[-1],
    "linear": lambda input, bias, out, **_: out.size * (2 * input.shape[-1] + (bias is not None)),
    "linear.input": lambda g, weight, **_: 2 * g.size * weight.shape[1],
    "linear.weight": lambda g, input, wanted, **_: g.size * (2 * input.shape[-1] * wanted[0] + wanted[1]),  # and of the bias
    "einsum": lambda operands, equation, **_: _letters(operands, equation),
    "einsum.operands": lambda operands, equation, **_: len(operands) * _letters(operands, equation),
    "conv2d": lambda weight, bias, out, **_: out.size * (2 * math.prod(weight.shape[1:]) + (bias is not None)),
    "conv2d.input": lambda g, weight, **_: 2 * g.size * math.prod(weight.shape[1:]),
    "conv2d.weight": lambda g, input, window, groups, wanted, **_: (  # and of the bias
        g.size * (2 * input.shape[1] // groups * math.prod(window.kernel) * wanted[0] + wanted[1])
    ),
    "conv2d_input_grad": lambda g_out, weight, **_: 2 * g_out.size * math.prod(weight.shape[1:]),
    "conv2d_input_grad.g_out": lambda grad, weight, **_: 2 * grad.size * math.prod(weight.shape[1:]),
    "conv2d_input_grad.weight": lambda g_out, grad, **_: 2 * g_out.size * math.prod(grad.shape[1:]),
    "conv2d_weight_grad": lambda g_out, out, **_: 2 * g_out.size * math.prod(out.shape[1:]),
    "conv2d_weight_grad.input": lambda g, g_out, **_: 2 * g_out.size * math.prod(g.shape[1:]),
    "conv2d_weight_grad.g_out": lambda g, grad, **_: 2 * grad.size * math.prod(g.shape[1:]),
    "conv2d_relu_pool": lambda weight, bias, out, pool, **_: (
        out.size * _tile(pool) * (2 * math.prod(weight.shape[1:]) + (pool is not None)) + out.size * (1 + (bias is not None))
    ),
    "conv2d_relu_pool.input": lambda g, weight, pool, wanted, **_: (
        g.size * (_tile(pool) * 2 * math.prod(weight.shape[1:]) * (wanted[0] + wanted[1]) + 1 + wanted[2] + (pool is not None))
    ),
    "linear_relu": lambda input, bias, out, **_: out.size * (2 * input.shape[-1] + (bias is not None) + 1),
    "linear_relu.input": lambda g, weight, wanted, **_: (
        g.size * (2 * weight.shape[1] * (wanted[0] + wanted[1]) + 1 + wanted[2])
    ),
    "elementwise_chain": lambda steps, out, **_: out.size * len(steps),
    "elementwise_chain.inputs": lambda g, steps, **_: g.size * (len(steps) + sum(len(args) for _, args in steps)),
    "max_pool2d": lambda out, window, **_: out.size * math.prod(window.kernel),
    "max_pool2d.input": lambda g, window, **_: g.size * (math.prod(window.kernel) + 1),  # looks for the largest, and adds
    "which": lambda pooled, window, **_: pooled.size * math.prod(window.kernel),
    "max_pool2d_place": lambda g_out, **_: _size(g_out),
    "sum_pool2d": lambda out, window, **_: out.size * math.prod(window.kernel),
    "sum_pool2d.input": lambda g, window, **_: g.size * math.prod(window.kernel),
    "sum_pool2d_spread": lambda g_out, window, **_: g_out.size * math.prod(window.kernel),
    "normalise": lambda input, weight, bias, own, **_: (
        input.size * (3 + 2 * own[0] + (weight is not None) + (bias is not None) if own[1] else 2)
    ),
    "normalise.input": lambda g, weight, own, **_: g.size * (6 + 3 * own[0] + (weight is not None) if own[1] else 5),
    # products with the keys and the values; max, subtract, exp, sum, divide
    "scaled_dot_product_attention": lambda query, key, value, causal, **_: (
        _looks(query, key, causal) * (2 * query.shape[3] + 2 * value.shape[3] + 5)
    ),  # the scores once more; two products for each of the others; exp, and subtract, multiply
    "scaled_dot_product_attention.query": lambda query, key, value, causal, **_: (
        _looks(query, key, causal) * (6 * query.shape[3] + 4 * value.shape[3] + 3)
    ),
    "softmax": lambda out, **_: 5 * out.size,  # max, subtract, exp, sum, divide
    "softmax.input": lambda g, **_: 4 * g.size,  # multiply, sum, subtract, multiply
    "log_softmax": lambda out, **_: 5 * out.size,  # max, subtract, exp, sum, subtract
    "log_softmax.input": lambda g, **_: 4 * g.size,  # exp, sum, multiply, subtract
    "logsumexp": lambda input, **_: 4 * _size(input),
    "nll_loss": lambda target, **_: 3 * target.size,  # negate, weigh, sum
    "nll_loss.input": lambda slope, **_: 2 * slope.size,
    "cross_entropy": lambda input, target, **_: 5 * input.size + 3 * target.size,  # log_softmax and nll_loss
    "cross_entropy.input": lambda slope, grad, **_: slope.size + 7 * grad.size,  # weigh; softmax, multiply, subtract
    "mse_loss": lambda input, **_: 3 * _size(input),  # subtract, multiply, sum
    "mse_loss.input": lambda grad, **_: 2 * grad.size,
    "mse_loss.target": lambda grad, **_: 3 * grad.size,
    "recurrent": _recurrent,
    "recurrent.input": _recurrent_rule,
    "SGD.step": lambda size, momentum, weight_decay, nesterov, **_: (
        size * (2 + 2 * (momentum != 0) + 2 * (weight_decay != 0) + 2 * bool(nesterov))
    ),
    "Adam.step": lambda size, weight_decay, amsgrad, **_: size * (13 + 2 * (weight_decay != 0) + bool(amsgrad)),
    "AdamW.step": lambda size, weight_decay, amsgrad, **_: size * (13 + 2 * (weight_decay != 0) + bool(amsgrad)),
    **{op: lambda input, **_: _size(input) for op in "sum sum_to mean amax amin argmax argmin all any count_nonzero".split()},
    **dict.fromkeys(("getitem", "gather", "max_pool2d_pick"), lambda **_: 0),  # their rules add
    **{name: lambda **_: 0 for op in MOVERS.split() for name in (op, f"{op}.input")},
}


def _is_ours(function: Any) -> bool:
    """Whether the formulas are about this op or optimiser, and not another one of its name."""
    return str(function.__module__).partition(".")[0] == "minidl"


def _flops(name: str, values: dict[str, Any], result: Any) -> int:
    return FLOPS[name](**values) if name in FLOPS else _size(result)


# -- the costs: floating-point operations, and bytes


def of_op(op: Any, values: Any, result: Any) -> tuple[int, int]:
    """The cost of ``op`` with the arguments ``values``; a view costs nothing."""
    if op.view and result._base is not None:
        return 0, 0
    given = {name: getattr(value, "_array", value) for name, value in zip(op.names, values)}
    name = op.name if _is_ours(op.forward) else ""
    return _flops(name, {**given, "out": result._array}, result._array), _bytes(result, *values)


def rules_of(node: Any) -> Iterator[tuple[Any, str, tuple[str, ...]]]:
    """Where the gradients of a node go, in order: the source, the name of the rule in `FLOPS`, and what it reads (which for
    a joint rule stands by the first).
    """
    if not isinstance(node, OpNode):
        return
    for rule, parent in zip(node.op.rules, node.parents):
        inputs = rule.inputs if isinstance(rule.inputs, tuple) else (rule.inputs,)
        reads: tuple[str, ...] = ("g", *(name for name, _ in rule.reads))
        for source in parent if type(parent) is tuple else (parent,):
            if source is not None:
                yield source, f"{node.name()}.{node.op.names[inputs[0]]}" if _is_ours(node.op.forward) else "", reads
                reads = ()


def of_rule(name: str, kept: dict[str, Any], reads: tuple[str, ...], g: Any, result: Any) -> tuple[int, int]:
    """The cost of the rule called ``name``, which made ``result`` of ``g`` and of what it ``reads`` in ``kept``."""
    g, grad = next(_arrays([g]), None), next(_arrays([result]), None)
    if grad is None or (g is not None and backend.xp(g).may_share_memory(grad, g)):
        return 0, 0
    values = {**kept, "g": g, "grad": grad}
    counted_with_its_first = not reads and name in FLOPS
    flops = 0 if counted_with_its_first else _flops(name, values, grad)
    return flops, _bytes(grad, *(values.get(read) for read in reads))


def of_step(name: str, optimizer: Any) -> tuple[int, int]:
    """The cost of an optimiser's step: gradients are read, parameters and state read and written."""
    flops = moved = 0
    for group in optimizer.param_groups:
        params = [p for p in group["params"] if p.grad is not None]
        size = sum(p._array.size for p in params)
        flops += FLOPS[name](size=size, **group) if name in FLOPS and _is_ours(type(optimizer)) else size
        moved += sum(_bytes(p.grad) + 2 * _bytes(p, *optimizer.state.get(p, {}).values()) for p in params)
    return flops, moved
