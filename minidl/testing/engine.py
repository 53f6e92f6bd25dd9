"""The few things that the checker must be able to do with a library's tensors.

For another library write a class with the same six methods and pass an instance as ``engine=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import grad
from ..autograd.tape import TensorBase
from ..functions.creation import from_numpy


class Engine:
    """minidl's tensors, as the checker uses them; new ones are made where the first tensor among ``inputs`` is."""

    def __init__(self, inputs: Any = ()) -> None:
        self.device = next((x.device for x in inputs if isinstance(x, TensorBase)), "cpu")  # type: ignore[attr-defined]

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
        return from_numpy(array).to(self.device).requires_grad_(requires_grad)

    def grad(
        self, outputs: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Any], create_graph: bool
    ) -> Sequence[Any]:
        """The gradients of ``outputs``, weighted by ``cotangents``; None for inputs that were not used."""
        return grad(outputs, inputs, cotangents, create_graph=create_graph, allow_unused=True)

    def name(self, x: Any) -> str:
        """The op that made the tensor ``x``."""
        return str(x.grad_fn.name()) if x.grad_fn is not None else "no op"
