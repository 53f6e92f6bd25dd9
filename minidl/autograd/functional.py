"""Derivatives of functions: products with the Jacobian and the Hessian, and those matrices themselves.

Every function here takes ``func`` and its ``inputs`` (a tensor, or a tuple of them) and gives back what PyTorch's of the same
name does: a tensor where one was given, tuples where tuples were. The results have no history unless ``create_graph``. An
output that does not depend on an input has the derivative 0, or is an error with ``strict``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..functions.creation import ones_like, zeros_like
from ..functions.joining import stack
from ..ops.layout import reshape
from ..shapes import ShapeError
from .mode import enable_grad
from .sweep import grad
from .tape import TensorBase


class _Call:
    """One evaluation of ``func``: its inputs and outputs as tuples, and the way back to the nesting they came in."""

    def __init__(self, op: str, func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> None:
        self.op, self.create_graph, self.strict = op, create_graph, strict
        self.one_input, given = self.tensors(inputs, "inputs")
        with enable_grad():
            self.inputs = tuple(
                t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in given
            )
            self.one_output, self.outputs = self.tensors(func(*self.inputs), "the result of func")

    def tensors(self, x: Any, what: str) -> tuple[bool, tuple[Any, ...]]:
        """Whether ``x`` is a single tensor, and ``x`` as a tuple."""
        found = tuple(x) if isinstance(x, (tuple, list)) else (x,)
        for t in found:
            if not isinstance(t, TensorBase):
                raise TypeError(f"{self.op}: {what} must be a tensor or a tuple of tensors, got {type(t).__name__}")
        return isinstance(x, TensorBase), found

    def vectors(self, v: Any, like: Sequence[Any], what: str) -> tuple[Any, ...]:
        """``v`` as a tuple of tensors of the shapes of ``like``; it may be left out where that is one number."""
        if v is None:
            if len(like) != 1 or like[0].numel() != 1:
                raise RuntimeError(f"{self.op}: v may be left out only if {what} is one number")
            return (ones_like(like[0]),)
        _, found = self.tensors(v, "v")
        if [t.shape for t in found] != [t.shape for t in like]:
            raise ShapeError(f"{self.op}: v has shapes {[t.shape for t in found]}, {what} has {[t.shape for t in like]}")
        return found

    def gradients(self, outputs: Sequence[Any], inputs: Sequence[Any], v: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
        """The gradients of ``outputs`` weighted by ``v``, zeros where there are none."""
        pairs = [(out, weight) for out, weight in zip(outputs, v) if out.requires_grad]
        found: tuple[Any, ...] = (None,) * len(inputs)
        if pairs:
            outs, weights = zip(*pairs)
            found = grad(outs, inputs, weights, retain_graph=True, create_graph=create_graph, allow_unused=True)
        for i, g in enumerate(found):
            if self.strict and (g is None or (create_graph and not g.requires_grad)):
                part = "derivative of func" if create_graph and g is not None else "result of func"
                raise RuntimeError(f"{self.op}: with strict=True the {part} must depend on every input, but not on input {i}")
        return tuple(zeros_like(t) if g is None else g for t, g in zip(inputs, found))

    def scalar(self) -> Any:
        """The output, which must be one number."""
        if len(self.outputs) != 1 or self.outputs[0].numel() != 1:
            raise RuntimeError(f"{self.op}: func must return one number, got shapes {[t.shape for t in self.outputs]}")
        return self.outputs[0]

    def result(self, found: Sequence[Any], like_inputs: bool) -> Any:
        """``found`` nested as the inputs or the outputs were, without history unless that was asked for."""
        found = tuple(t if self.create_graph else t.detach() for t in found)
        return found[0] if (self.one_input if like_inputs else self.one_output) else found


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``func(*inputs)`` and ``v`` (shaped as the outputs) times the Jacobian: one backward sweep."""
    call = _Call("vjp", func, inputs, create_graph, strict)
    v = call.vectors(v, call.outputs, "the result of func")
    found = call.gradients(call.outputs, call.inputs, v, create_graph)
    return call.result(call.outputs, False), call.result(found, True)


def _push(call: _Call, outputs: Sequence[Any], v: Sequence[Any]) -> tuple[Any, ...]:
    """The Jacobian J of ``outputs`` times ``v``: ``u @ J`` is linear in ``u`` and has the transpose of J as its Jacobian."""
    with enable_grad():
        u = tuple(zeros_like(t).requires_grad_() for t in outputs)
        pulled = call.gradients(outputs, call.inputs, u, True)
    return call.gradients(pulled, u, v, call.create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``func(*inputs)`` and the Jacobian times ``v`` (shaped as the inputs)."""
    call = _Call("jvp", func, inputs, create_graph, strict)
    v = call.vectors(v, call.inputs, "inputs")
    return call.result(call.outputs, False), call.result(_push(call, call.outputs, v), False)


def _check_default(op: str, name: str, vectorize: bool, strategy: str) -> None:
    if vectorize or strategy != "reverse-mode":
        raise NotImplementedError(f"{op}: only vectorize=False and {name}='reverse-mode' are supported")


def _jacobian(call: _Call, create_graph: bool) -> tuple[tuple[Any, ...], ...]:
    """For each output, for each input: one sweep for every element of the output."""
    rows = []
    for out in call.outputs:
        swept = [call.gradients([x], call.inputs, [ones_like(x)], create_graph) for x in reshape(out, (-1,))]
        rows.append(
            tuple(_joined(column, out, t) for column, t in zip(zip(*swept) if swept else [()] * len(call.inputs), call.inputs))
        )
    return tuple(rows)


def _joined(gradients: Sequence[Any], out: Any, t: Any) -> Any:
    """Gradients of the elements of ``out`` as one tensor of shape ``out.shape + t.shape``."""
    flat = stack(gradients) if gradients else t.new_zeros(0, *t.shape)
    return reshape(flat, (*out.shape, *t.shape))


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All derivatives of the outputs with respect to the inputs.

    For one output of shape O and one input of shape I a tensor of shape O + I; else a tuple of those over the outputs, the
    inputs, or the outputs and in each the inputs. ``vectorize`` and other strategies are not supported.
    """
    _check_default("jacobian", "strategy", vectorize, strategy)
    call = _Call("jacobian", func, inputs, create_graph, strict)
    with enable_grad():
        rows = tuple(call.result(row, True) for row in _jacobian(call, create_graph))
    return rows[0] if call.one_output else rows


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """All second derivatives of a function that returns one number.

    For one input of shape I a tensor of shape I + I; for several a tuple of tuples of those.
    ``vectorize`` and other strategies are not supported.
    """
    _check_default("hessian", "outer_jacobian_strategy", vectorize, outer_jacobian_strategy)
    one_input = isinstance(inputs, TensorBase)

    def gradient(*xs: Any) -> Any:
        call = _Call("hessian", func, xs, True, strict)
        found = call.gradients([call.scalar()], call.inputs, [ones_like(call.scalar())], True)
        return found[0] if one_input else found

    return jacobian(gradient, inputs, create_graph, strict)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``func(*inputs)``, one number, and ``v`` (shaped as the inputs) times its Hessian: a sweep of a sweep."""
    call = _Call("vhp", func, inputs, create_graph, strict)
    v = call.vectors(v, call.inputs, "inputs")
    slopes = call.gradients([call.scalar()], call.inputs, [ones_like(call.scalar())], True)
    found = call.gradients(slopes, call.inputs, v, create_graph)
    return call.result(call.outputs, False), call.result(found, True)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """``func(*inputs)``, one number, and its Hessian times ``v`` (shaped as the inputs).

    The Hessian is symmetric where the second derivatives are continuous; then this is `vhp`, which takes one sweep less.
    """
    call = _Call("hvp", func, inputs, create_graph, strict)
    v = call.vectors(v, call.inputs, "inputs")
    slopes = call.gradients([call.scalar()], call.inputs, [ones_like(call.scalar())], True)
    return call.result(call.outputs, False), call.result(_push(call, slopes, v), True)
