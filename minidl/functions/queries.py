"""Small questions about tensors, and the device where new ones are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import devices
from ..autograd.tape import wrap
from ..devices import check_device, device
from ..dtypes import as_dtype, bool_, uint8

if TYPE_CHECKING:
    from .._tensor import Tensor


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
    """Where new tensors are made: on the CPU, until `set_default_device` or a ``with device(...)`` block says otherwise."""
    return devices.defaults[-1]


def set_default_device(device: Any) -> None:
    """Make new tensors on ``device``, those of modules' parameters too; None stands for the CPU."""
    devices.defaults[-1] = check_device("cpu" if device is None else device, "set_default_device")


def pin_memory(input: Any, device: Any = None) -> Tensor:
    """A copy in memory of the CPU that a GPU reads by itself, so that ``to("cuda", non_blocking=True)`` need not wait.

    Raises
    ------
    RuntimeError
        If it is on a GPU, or there is none that could read it.
    """
    if input.is_cuda:
        raise RuntimeError(f"pin_memory: only tensors of the CPU can be pinned, this one is on {input.device}")
    check_device("cuda" if device is None else device, "pin_memory")
    return input if input.is_pinned() else wrap(devices.pinned(input._array))
