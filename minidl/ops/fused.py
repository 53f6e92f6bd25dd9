"""Several ops in one, for `minidl.compile`: the same numbers to rounding, with fewer passes over memory.

Each has its composite twin, which a test compares it with, and rules made of the same pieces; so gradients of every order
come out the same too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd import differentiable
from ..autograd.mode import mode
from ..autograd.tape import TensorBase
from ..backend import in_one, kernels, xp
from .conv import _input_grad, _weight_grad
from .elementwise import _relu_grad
from .linear import _input_rule, _parameters_rule
from .pool import _place
from .reduce import sum


@differentiable(keeps="taps", promotes="same")
def conv2d_relu_pool(input: Any, weight: Any, bias: Any = None, window: Any = None, groups: int = 1, pool: Any = None) -> Any:
    """``max_pool2d(relu(conv2d(input, weight, bias)))``, for a ``pool`` whose windows tile the picture, or without pooling.

    Pooling comes first, over a strip that is still in the cache: the largest of four is cut off at 0 as each of the four is.
    """
    return kernels(input).conv2d_relu_pool(input, weight, bias, window, groups, pool, mode.recording)


def _conv_rule(
    g: Any, input: Any, weight: Any, out: Any, taps: Any, window: Any, groups: int, pool: Any, input_shape: Any, wanted: Any
) -> tuple[Any, ...]:
    whole = in_one("conv2d_relu_pool_grad", g)
    grads = whole and whole(g, input, weight, out, taps, window, groups, pool, wanted)
    if grads:
        return tuple(grads)
    g = _relu_grad(g, out)
    placed = g if pool is None else _place(g, taps, pool, window.out_size(input_shape[2:]))
    return (
        _input_grad(placed, weight, window, groups, input_shape[2:]) if wanted[0] else None,
        _weight_grad(input, placed, window, groups) if wanted[1] else None,
        sum(g, (0, 2, 3)) if wanted[2] else None,
    )


conv2d_relu_pool.vjp(_conv_rule, input=None, weight=None, bias=None)


@differentiable(promotes="same")
def linear_relu(input: Any, weight: Any, bias: Any = None) -> Any:
    """``relu(linear(input, weight, bias))``, cut off at 0 in place."""
    return kernels(input).linear(input, weight, bias, True)


def _linear_rule(g: Any, input: Any, weight: Any, out: Any, wanted: Any) -> tuple[Any, ...]:
    g = _relu_grad(g, out)
    return _input_rule(g, weight) if wanted[0] else None, *_parameters_rule(g, input, wanted[1:])


linear_relu.vjp(_linear_rule, input=None, weight=None, bias=None)


# -- chains of functions of one element


class At(NamedTuple):
    """An argument of a step in a chain: the value with this number, inputs first and then the results of the steps."""

    number: int


Steps = tuple[tuple[Any, tuple[Any, ...]], ...]  # an op, and its arguments: an `At`, or a number as it is


@differentiable
def elementwise_chain(inputs: Any, steps: Steps) -> Any:
    """The last result of ``steps``, ops on single elements, a block of elements at a time: what comes between stays in the
    cache, and is not remembered but computed again on the way back.
    """
    out = xp(inputs[0]).empty_like(inputs[0])

    def compute(out: Any, *inputs: Any) -> None:
        out[...] = _values(inputs, steps, False)[-1]

    kernels(out).blockwise(compute, out, *inputs)
    return out


def _values(inputs: Any, steps: Steps, keep: bool) -> list[Any]:
    """The inputs, and the result of each step; unless ``keep``, None for what was needed for the last time."""
    values = list(inputs)
    last = {a.number: i for i, (_, args) in enumerate(steps) for a in args if isinstance(a, At)}
    for i, (op, args) in enumerate(steps):
        values.append(op.call(*(values[a.number] if isinstance(a, At) else a for a in args)))
        for a in args:
            if isinstance(a, At) and last[a.number] == i and not keep:
                values[a.number] = None
    return values


def _sweep(g: Any, inputs: Any, steps: Steps, wanted: tuple[bool, ...]) -> list[Any]:
    """The gradient of each input that is wanted: the rules of the steps, last step first."""
    values, leads = _values(inputs, steps, True), list(wanted)  # which values lead to an input that is wanted
    for _, args in steps:
        leads.append(any(isinstance(a, At) and leads[a.number] for a in args))
    grads: list[Any] = [None] * (len(values) - 1) + [g]
    for number, (op, args) in zip(range(len(values) - 1, len(inputs) - 1, -1), reversed(steps)):
        known = dict(zip(op.names, (values[a.number] if isinstance(a, At) else a for a in args)), out=values[number])
        for rule in op.rules:
            target = args[rule.inputs]
            if isinstance(target, At) and leads[target.number] and grads[number] is not None:
                gradient = rule.pull(grads[number], *(known[name] for name, _ in rule.reads))
                before = grads[target.number]
                grads[target.number] = gradient if before is None else before + gradient
    return grads[: len(inputs)]


def _chain_rule(g: Any, inputs: Any, steps: Steps, wanted: tuple[bool, ...]) -> tuple[Any, ...]:
    if isinstance(g, TensorBase) or any(isinstance(x, TensorBase) for x in inputs):
        return tuple(_sweep(g, inputs, steps, wanted))
    grads = [xp(x).empty_like(x) if want else None for x, want in zip(inputs, wanted)]
    places = [to for to in grads if to is not None]

    def compute(*arrays: Any) -> None:
        found = _sweep(arrays[len(places)], arrays[len(places) + 1 :], steps, wanted)
        for to, gradient in zip(arrays, [gradient for gradient, want in zip(found, wanted) if want]):
            to[...] = gradient

    kernels(g).blockwise(compute, *places, g, *inputs)
    return tuple(grads)


elementwise_chain.vjp(inputs=_chain_rule)
