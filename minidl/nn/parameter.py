"""`Parameter`: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..autograd.tape import counter, wrap
from ..functions.creation import empty


class Parameter(Tensor):
    """A leaf tensor that registers itself when it is assigned to an attribute of a `Module`.

    It shares the memory of ``data``. What is computed from it is a plain `Tensor`.

    Parameters
    ----------
    data : Tensor, optional
        The numbers to start from.
    requires_grad : bool
        Whether a gradient is wanted for it.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        data = empty(0) if data is None else data
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: data must be a Tensor, got {type(data).__name__}")
        made = wrap(data._array)
        made._counter = counter(data)
        made.__class__ = cls
        return made.requires_grad_(requires_grad)
