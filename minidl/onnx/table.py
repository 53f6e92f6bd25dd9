"""The table: for each op a function that adds its ONNX nodes to a `Graph`. It is filled by the files beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.op import Op, promote
from .graph import Graph, Tensor
from .sizes import Size

ENTRIES: dict[Op, Callable[..., Any]] = {}


def entry(*functions: Any) -> Callable[[Any], Any]:
    """Decorate the entry of these ops: it takes the graph and the op's arguments, and returns the name of the result.

    Tensors among the arguments are `Tensor`. Where the op brings its inputs to one dtype that has been done, also to numbers.
    """

    def enter(function: Any) -> Any:
        ENTRIES.update({f.op: function for f in functions})
        return function

    return enter


def entries(kinds: dict[Any, Any]) -> Callable[[Any], Any]:
    """The same for ops that differ in one word, which the entry takes after the graph."""

    def enter(function: Any) -> Any:
        ENTRIES.update({f.op: lambda g, *args, kind=kind: function(g, kind, *args) for f, kind in kinds.items()})
        return function

    return enter


def promoted(g: Graph, op: Op, args: list[Any]) -> list[Any]:
    """Arguments brought to one dtype, as the op itself does it."""
    if op.promotes is None:
        return args
    places = [i for i in (op.inputs or range(len(args))) if args[i] is not None]
    stand_ins = [np.empty((1,) * x.ndim, x.dtype) if isinstance(x, Tensor) else 2 if isinstance(x, Size) else x for x in args]
    wanted = promote(op, list(stand_ins))
    common = next((wanted[i].dtype for i in places if hasattr(wanted[i], "dtype")), None)
    out = list(args)
    for i in places:
        x = args[i]
        if not isinstance(x, Tensor):
            out[i] = g.scalar(x, common)
        elif x.dtype != wanted[i].dtype:
            out[i] = Tensor(g.cast(x, wanted[i].dtype), x.shape, wanted[i].dtype)
    return out
