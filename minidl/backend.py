"""Which array library an array belongs to. The array decides: one look-up on its type, no global switch."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .kernels import cpu as cpu_kernels


class Backend(NamedTuple):
    """An array library and the loops that go with it."""

    name: str
    xp: ModuleType
    kernels: ModuleType


cpu = Backend("cpu", np, cpu_kernels)
types: dict[type, Backend] = dict.fromkeys((np.ndarray, bool, int, float), cpu)
types |= dict.fromkeys((np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64), cpu)
types |= dict.fromkeys({np.intc, np.longlong, np.intp}, cpu)  # further names of the same sizes on some platforms


def of(x: Any) -> Backend:
    """The backend of an array or a number.

    Raises
    ------
    TypeError
        If ``x`` is neither.
    """
    found = types.get(type(x))
    if found is None:
        if isinstance(x, np.ndarray):
            return cpu
        raise TypeError(f"expected a tensor, an array or a number, got {type(x).__name__}")
    return found


def xp(x: Any) -> Any:
    """The namespace with ``x``'s functions: ``numpy`` for NumPy's arrays."""
    return (types.get(type(x)) or of(x)).xp


def kernels(x: Any) -> Any:
    """The kernels that run on ``x``: see `minidl.kernels`."""
    return (types.get(type(x)) or of(x)).kernels


class device:
    """Where a tensor's memory is: ``device("cpu")``, ``device("cuda")``, ``device("cuda", 1)``.

    Raises
    ------
    RuntimeError
        For a device string that names neither.
    """

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name, _, number = str(type).partition(":")  # another device says of itself what it is
        if name not in ("cpu", "cuda") or (number and not number.isdigit()) or (number and index is not None):
            raise RuntimeError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {type!r}")
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        other = device(other) if isinstance(other, str) else other
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


def check_device(where: Any, op: str) -> device:
    """``where`` as a device whose memory can be used here."""
    wanted = device("cpu" if where is None else where)
    if wanted.type != "cpu":
        raise RuntimeError(f"{op}: device {str(wanted)!r} was asked for, but this version of minidl runs on 'cpu' only")
    return wanted
