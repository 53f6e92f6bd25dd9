"""What a program depends on besides the numbers in tensors: its arguments, and what modules are made of."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from ..autograd.mode import mode
from ..autograd.tape import TensorBase, source
from ..devices import device_of
from ..dtypes import get_default_dtype
from ..kernels import precision
from ..nn.module import Module
from .program import Ref


class Untraceable(Exception):
    """Why a function has to be run as it is written."""


class Group(NamedTuple):
    """A tuple, list or dict by its parts."""

    kind: type
    keys: tuple[Any, ...] | None
    parts: tuple[Any, ...]


class Leaf(NamedTuple):
    """Anything else. Its type counts too, for ``1 == True``, and its sign, for ``0.0 == -0.0``."""

    kind: type
    value: Any
    sign: float = 0.0


def flatten(x: Any, into: list[Any], what: str) -> Any:
    """``x`` in a form that can be compared, with `Ref` in the place of its tensors, which go ``into`` the list.

    Raises
    ------
    Untraceable
        If something in it may hold tensors, or change, unseen; it is called ``what``.
    """
    if isinstance(x, TensorBase):
        into.append(x)
        return Ref(len(into) - 1)
    kind = type(x)
    if kind is tuple or kind is list or (isinstance(x, tuple) and hasattr(kind, "_fields")):
        return Group(kind, None, tuple([flatten(each, into, what) for each in x]))
    if kind is dict or kind is OrderedDict:
        return Group(kind, tuple(x), tuple([flatten(each, into, what) for each in x.values()]))
    if isinstance(x, (float, np.floating)):
        return Leaf(kind, x, math.copysign(1, x))
    if isinstance(x, np.ndarray):
        raise Untraceable(f"{what} is a NumPy array; a tensor would do")
    by_value = any("__eq__" in vars(base) for base in kind.__mro__[:-1]) and kind.__hash__ is not None
    if x is None or by_value or callable(x) or isinstance(x, enum.Enum) or hasattr(x, "param_groups"):
        return Leaf(kind, x)
    raise Untraceable(f"{what} is a {kind.__name__}")


def unflatten(x: Any, values: list[Any]) -> Any:
    """The opposite of `flatten`."""
    if type(x) is Ref:
        return values[x.number]
    if type(x) is Leaf:
        return x.value
    parts = [unflatten(each, values) for each in x.parts]
    if x.keys is not None:
        return x.kind(zip(x.keys, parts))
    return x.kind(*parts) if hasattr(x.kind, "_fields") else x.kind(parts)


def describe(layout: Any, inputs: list[Any]) -> tuple[Any, ...]:
    """Arguments, given as `flatten` does, without the numbers in tensors, and under which switches they are worked on."""
    kinds = []
    for t in inputs:
        array = t._array
        kinds.append((array.shape, array.dtype, array.flags.c_contiguous, source(t) is not None, device_of(array).index))
    places = list(map(id, inputs))
    same = () if len(set(places)) == len(places) else tuple(map(places.index, places))  # one tensor as two arguments
    switches = mode.recording, get_default_dtype(), precision.here.autocast, *precision.allowed.values()
    return layout, tuple(kinds), same, *switches


def makeup(modules: list[Module]) -> list[Any]:
    """Everything that the attributes of ``modules`` are, parameters and hooks too, one after the other."""
    found: list[Any] = []
    for module in modules:
        found.append(module)
        for name, value in module.__dict__.items():
            if type(value) is dict:
                found += [name, *value, *value.values()]
            elif name != "training":  # has its own place in the key of a program
                found += [name, value]
    return found


def same_makeup(a: list[Any], b: list[Any]) -> bool:
    """Whether nothing is another object, or for numbers and strings another value."""
    return len(a) == len(b) and all(
        x is y or (type(x) is type(y) and type(x) in (int, float, str, bool) and x == y) for x, y in zip(a, b)
    )
