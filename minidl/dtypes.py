"""Element types and how they combine: PyTorch's names, PyTorch's promotion.

NumPy and PyTorch agree about most pairs of types and differ about two things that matter here.
Mixing an integer with a float gives *that* float in PyTorch (``int64 + float32 -> float32``), and a
tensor without dimensions, like a Python number, may raise the *category* of a result (bool < integer
< float) but not its width.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class dtype:
    """The type of a tensor's elements, such as ``minidl.float32``.

    Compares equal to the NumPy dtype it stands for, and NumPy accepts it where a dtype is wanted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dtype = np.dtype(name)
        self.itemsize = self.dtype.itemsize
        self.is_floating_point = self.dtype.kind == "f"
        self.category = "biuf".index(self.dtype.kind)  # bool < integer < float; b, i, u, f
        self.category -= self.category > 1

    def __repr__(self) -> str:
        return f"minidl.{self.name}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, dtype):
            return self is other or self.dtype == other.dtype
        try:
            return other is not None and self.dtype == np.dtype(other)  # type: ignore[call-overload]
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


bool_ = dtype("bool")
uint8 = dtype("uint8")
int8 = dtype("int8")
int16 = short = dtype("int16")
int32 = int_ = dtype("int32")
int64 = long = dtype("int64")
float16 = half = dtype("float16")
float32 = float_ = dtype("float32")
float64 = double = dtype("float64")


class Narrow:
    """A type of numbers that products take on a GPU (see `minidl.autocast`), and no tensor holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"minidl.{self.name}"

    def __reduce__(self) -> str:
        return self.name


bfloat16 = Narrow("bfloat16")  # float32 cut to 16 bits: as large, with 8 bits of precision

_of: dict[Any, dtype] = {d.dtype: d for d in (bool_, uint8, int8, int16, int32, int64, float16, float32, float64)}
_of |= {bool: bool_, int: int64, float: float32}  # float: see set_default_dtype


def as_dtype(spec: Any) -> dtype:
    """The minidl dtype for ``spec``: one of ours, a NumPy dtype or its name, ``bool``, ``int``, ``float``.

    Raises
    ------
    TypeError
        For a type that tensors do not hold (complex, unsigned above 8 bits, object, text ...).
    """
    if type(spec) is dtype:
        return spec
    found = _of.get(spec) if spec.__hash__ else None
    if found is None:
        try:
            found = _of[np.dtype(spec)]
        except (KeyError, TypeError):
            held = ", ".join(dict.fromkeys(d.name for d in _of.values()))
            named = " (devices are 'cpu', 'cuda' and 'cuda:N')" if isinstance(spec, str) else ""
            raise TypeError(f"dtype {spec!r} is not one that tensors hold; they hold {held}{named}") from None
    return found


def check_tensors(op: str, tensors: Any) -> None:
    """Refuse what is no list of tensors, or of arrays: what has no dtype; and a list of none."""
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{op}: wants a list of tensors, got {type(tensors).__name__}")
    for i, x in enumerate(tensors):
        if not hasattr(x, "dtype"):
            raise TypeError(f"{op}: wants tensors, but number {i} is {type(x).__name__}; make it one with tensor(...)")
    if not tensors:
        raise RuntimeError(f"{op}: wants at least one tensor")


def check_tensor(op: str, name: str, x: Any) -> None:
    """Refuse what is no tensor, and no array."""
    if not hasattr(x, "shape"):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(x).__name__}")


def get_default_dtype() -> dtype:
    """The floating type given to tensors made from Python floats; ``float32`` until changed."""
    return _of[float]


def set_default_dtype(d: Any) -> None:
    """Change the floating type given to tensors made from Python floats.

    Raises
    ------
    TypeError
        If ``d`` is not a floating type.
    """
    d = as_dtype(d)
    if not d.is_floating_point:
        raise TypeError(f"set_default_dtype: wants a floating dtype, got {d}")
    _of[float] = d


def finfo(type: Any = None) -> Any:
    """The limits of a floating dtype (the default one): ``max``, ``min``, ``eps``, ``tiny``, ``bits``; NumPy's object."""
    return np.finfo(as_dtype(float if type is None else type).dtype)


def iinfo(type: Any) -> Any:
    """The limits of an integer dtype: ``max``, ``min``, ``bits``; NumPy's object."""
    return np.iinfo(as_dtype(type).dtype)


def promote_types(a: dtype | Any, b: dtype | Any) -> dtype:
    """The smallest dtype that holds both, PyTorch's way: an integer beside a float takes the float.

    >>> promote_types(int64, float16)
    minidl.float16
    """
    a, b = as_dtype(a), as_dtype(b)
    if a.is_floating_point != b.is_floating_point:
        return a if a.is_floating_point else b
    return _of[np.promote_types(a.dtype, b.dtype)]


def result_type(*operands: Any) -> dtype:
    """The dtype in which an operation on ``operands`` (tensors, arrays, numbers) is computed.

    Those with dimensions decide among themselves. Those without, and then Python numbers, count only
    where their category is higher.
    """
    ranks: list[dtype | None] = [None, None, None]  # with dimensions, without, Python numbers
    for x in operands:
        if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic):
            rank, d = 2, _of[type(x)] if type(x) in _of else _of[float]
        else:
            rank, d = (0 if x.ndim else 1), as_dtype(x.dtype)
        seen = ranks[rank]
        ranks[rank] = d if seen is None else promote_types(seen, d)
    result: dtype | None = None
    for d_ in reversed(ranks):
        if d_ is not None and (result is None or d_.category >= result.category):
            result = d_
    if result is None:
        raise TypeError("result_type: wants at least one operand")
    return result


def check_floating(op: str, *operands: Any) -> None:
    """Refuse bools and integers for an op on floating numbers; beside a floating operand they will do."""
    kind = getattr(operands[0], "dtype", None)
    if getattr(kind, "kind", "") == "f" or (type(kind) is dtype and kind.is_floating_point):  # the usual case, quickly
        return
    found = [result_type(x) for x in operands]
    if not any(d.is_floating_point for d in found):
        raise TypeError(f"{op}: wants a floating dtype, got {' and '.join(d.name for d in found)}; write .float()")
