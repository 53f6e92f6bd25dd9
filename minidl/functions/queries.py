"""Small questions about tensors, and the device where new ones are made."""

from __future__ import annotations

from typing import Any

from ..backend import check_device, device
from ..dtypes import as_dtype, bool_, uint8


def is_complex(input: Any) -> bool:
    """Whether the dtype is a complex one: there is none."""
    return False


def is_signed(input: Any) -> bool:
    """Whether the dtype holds numbers below 0."""
    return as_dtype(input.dtype) not in (bool_, uint8)


def is_nonzero(input: Any) -> bool:
    """Whether the one element of a tensor is not 0."""
    return bool(input)


def is_same_size(input: Any, other: Any) -> bool:
    """Whether both have the same shape."""
    return tuple(input.shape) == tuple(other.shape)


def get_default_device() -> device:
    """Where new tensors are made: on the CPU."""
    return device("cpu")


def set_default_device(device: Any) -> None:
    """Make new tensors on ``device``, which can only be the CPU; any other is refused."""
    check_device(device, "set_default_device")


def pin_memory(input: Any, device: Any = None) -> Any:
    """Refused, as in PyTorch without a GPU: there is none that could read pinned memory."""
    raise RuntimeError("pin_memory: is not supported, for there is no GPU to read pinned memory")
