"""The few things that the checker must be able to do with a library's tensors.

For another library write a class with the same six methods and pass an instance as ``engine=``. The seventh, `Engine.op`, is
wanted only by `minidl.testing.zoo`. For PyTorch and MyGrad such classes are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import Function, grad
from ..autograd.tape import TensorBase, wrap
from ..backend import xp
from ..devices import check_device, current, device, moved
from ..functions.creation import from_numpy


class Engine:
    """minidl's tensors, as the checker uses them; new ones are made on the device of the first tensor among ``inputs``."""

    def __init__(self, inputs: Any = ()) -> None:
        where = next((x.device for x in inputs if isinstance(x, TensorBase)), None)  # type: ignore[attr-defined]
        self.device = check_device(where, "Engine")

    def is_tensor(self, x: Any) -> bool:
        """Whether ``x`` is a tensor."""
        return isinstance(x, TensorBase)

    def wants_grad(self, x: Any) -> bool:
        """Whether a gradient with respect to the tensor ``x`` can be computed."""
        return bool(x.requires_grad)

    def array(self, x: Any) -> Any:
        """The NumPy array behind the tensor ``x``, sharing memory if it can."""
        return x.detach().cpu().numpy()

    def tensor(self, array: Any, requires_grad: bool = False) -> Any:
        """A tensor around a NumPy array, sharing memory and memory order if it can."""
        made = from_numpy(array) if self.device == "cpu" else wrap(as_it_lies(array, self.device))
        return made.requires_grad_(requires_grad)

    def grad(
        self, outputs: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Any], create_graph: bool
    ) -> Sequence[Any]:
        """The gradients of ``outputs``, weighted by ``cotangents``; None for inputs that were not used."""
        return grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)

    def name(self, x: Any) -> str:
        """The op that made the tensor ``x``."""
        return str(x.grad_fn.name()) if x.grad_fn is not None else "no op"

    def op(self, forward: Callable[..., Any], pullback: Callable[..., Any], again: Callable[..., Any] | None = None) -> Any:
        """A function of tensors, made of functions over NumPy arrays.

        Parameters
        ----------
        forward : function
            From the inputs to the output, or a tuple of outputs.
        pullback : function
            ``pullback(*cotangents, *inputs)``: the gradient of the input, or a tuple with one for each; None for no gradient.
        again : function, optional
            The pullback's pullback, for second derivatives: ``again(*cotangents of its results, *cotangents, *inputs)``.
            Without it gradients of the op are constants.
        """
        return _made(Function, self, forward, pullback, again)


def as_it_lies(array: Any, where: device) -> Any:
    """A NumPy array brought to a GPU with the same gaps and order in memory: what is awkward here is so there."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    start = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    if not whole.flags.forc or whole.dtype != array.dtype or not array.size or start % array.itemsize:
        return moved(array, where)
    flat = moved(whole.ravel("K"), where)
    with current(where):
        return xp(flat).lib.stride_tricks.as_strided(flat[start // array.itemsize :], array.shape, array.strides)


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _made(base: Any, engine: Any, forward: Any, pullback: Any, again: Any) -> Any:
    """The op, as a class derived from ``base``: minidl's `Function` or PyTorch's."""
    second = None if again is None else _made(base, engine, pullback, again, None)

    class Op(base):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            ctx.save_for_backward(*inputs)
            results = forward(*(engine.array(x) for x in inputs))
            outputs = tuple(engine.tensor(np.array(y)) for y in _as_tuple(results))  # copies: memory of their own
            return outputs if isinstance(results, tuple) else outputs[0]

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            everything = (*cotangents, *ctx.saved_tensors)
            if second is not None:
                return second(*everything)
            found = _as_tuple(pullback(*(engine.array(x) for x in everything)))
            return tuple(None if g is None else engine.tensor(np.asarray(g)) for g in found)

    Op.__name__ = getattr(forward, "__name__", "op").strip("<>")
    return Op.apply


class TorchEngine(Engine):
    """PyTorch's tensors, on the CPU."""

    def __init__(self) -> None:
        import torch

        self.torch = torch

    def is_tensor(self, x: Any) -> bool:
        """Whether ``x`` is a tensor."""
        return isinstance(x, self.torch.Tensor)

    def tensor(self, array: Any, requires_grad: bool = False) -> Any:
        """A tensor around a NumPy array, or, as PyTorch has no negative strides, around a copy."""
        if any(step < 0 for step in array.strides) or not array.flags.writeable:
            array = array.copy()
        return self.torch.from_numpy(array).requires_grad_(requires_grad)

    def grad(
        self, outputs: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Any], create_graph: bool
    ) -> Sequence[Any]:
        """The gradients of ``outputs``, weighted by ``cotangents``; None for inputs that were not used."""
        found = self.torch.autograd.grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)
        return tuple(found)

    def op(self, forward: Callable[..., Any], pullback: Callable[..., Any], again: Callable[..., Any] | None = None) -> Any:
        """A function of tensors, made of functions over NumPy arrays; see `Engine.op`."""
        return _made(self.torch.autograd.Function, self, forward, pullback, again)


class MyGradEngine(Engine):
    """MyGrad's tensors. It has first derivatives only."""

    def __init__(self) -> None:
        import mygrad

        self.mygrad = mygrad

    def is_tensor(self, x: Any) -> bool:
        """Whether ``x`` is a tensor."""
        return isinstance(x, self.mygrad.Tensor)

    def wants_grad(self, x: Any) -> bool:
        """Whether a gradient with respect to the tensor ``x`` can be computed."""
        return not x.constant

    def array(self, x: Any) -> Any:
        """The NumPy array behind the tensor ``x``."""
        return x.data

    def tensor(self, array: Any, requires_grad: bool = False) -> Any:
        """A tensor around a copy of a NumPy array: MyGrad locks the memory that it computes with."""
        return self.mygrad.tensor(array, constant=not requires_grad)

    def grad(
        self, outputs: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Any], create_graph: bool
    ) -> Sequence[Any]:
        """The gradients of ``outputs``, weighted by ``cotangents``; None for inputs that were not used."""
        if create_graph:
            raise NotImplementedError("MyGrad has no second derivatives")
        for x in inputs:
            x.null_grad()
        sum((y * v).sum() for y, v in zip(outputs, cotangents)).backward()
        return tuple(None if x.grad is None else self.mygrad.tensor(x.grad.copy(), constant=True) for x in inputs)

    def name(self, x: Any) -> str:
        """The op that made the tensor ``x``."""
        return "no op" if x.creator is None else type(x.creator).__name__

    def op(self, forward: Callable[..., Any], pullback: Callable[..., Any], again: Callable[..., Any] | None = None) -> Any:
        """Not available: MyGrad's ops have one output, and no second derivatives."""
        raise NotImplementedError("MyGradEngine.op")
