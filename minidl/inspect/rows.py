"""What a recording is made of: calls of modules, values, steps, and what rules made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..autograd.sweep import sum_to
from ..autograd.tape import TensorBase
from ..devices import on_host


@dataclass
class Group:
    """A call of a module."""

    name: str  #: as the module around it calls it
    type: str
    outer: int  #: the call that this one was made in, or -1


@dataclass
class Row:
    """A value: what an op made, or (with no op) a leaf or a constant."""

    op: str
    name: str
    shape: tuple[int, ...]
    group: int = -1  #: the innermost call of a module it was made in
    site: Any = None
    inputs: list[tuple[str, int]] = field(default_factory=list)  #: the input's name, and the row it comes from
    options: dict[str, str] = field(default_factory=dict)
    wants_grad: bool = False
    birth: int = 0
    convolution: dict[str, Any] | None = None  #: what the player draws a window from


@dataclass
class Product:
    """What a rule made of the gradient that came in, and what became of it."""

    input: str
    row: int  #: where it goes
    value: int
    code: str
    reads: list[tuple[str, int]]  #: what the rule looked at, as values
    summed: int = -1  #: the value after un-broadcasting, -1 where nothing was stretched
    arrival: int = 1  #: which of the gradients that meet there ...
    expected: int = 1  #: ... of how many
    total: int = -1  #: the value of their sum so far
    before: bool = False  #: the leaf had a ``.grad`` from an earlier backward pass, to which this is added
    check: str = ""  #: what finite differences say: "right", "wrong ...", or why they say nothing


@dataclass
class Step:
    """One step of the forward pass, of the backward pass, or of an optimiser."""

    phase: str
    row: int
    values: list[tuple[str, int]] = field(default_factory=list)  #: forward: the inputs; update: gradient and change
    out: int = -1  #: forward: the output; backward: the gradient that came in
    products: list[Product] = field(default_factory=list)
    by: str = ""  #: the optimiser's name; "" for an update by hand


def as_array(g: Any) -> Any:
    """A gradient as one of NumPy's arrays; of a function with several outputs it is a bundle, and stays one."""
    return g if hasattr(g, "parts") else on_host(getattr(g, "_array", g))


def fitted(g: Any, parent: Any) -> Any:
    """A gradient in the shape of what it is for."""
    like = parent._array if isinstance(parent, TensorBase) else parent
    return g if g.shape == like.shape or hasattr(g, "parts") else sum_to(g, like.shape)


def brief(value: Any) -> str:
    """An option in a few words."""
    if hasattr(value, "kernel"):
        padding = value.before if value.before == value.after else (value.before, value.after)
        said = f"kernel {value.kernel}, stride {value.stride}, padding {padding}"
        return said if set(value.dilation) == {1} else f"{said}, dilation {value.dilation}"
    said = f"array{value.shape}" if hasattr(value, "strides") and math.prod(value.shape) > 1 else str(value)
    return said if len(said) <= 40 else said[:37] + "..."
