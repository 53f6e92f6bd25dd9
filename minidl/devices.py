"""Where the memory of arrays is: devices, and arrays that go from one to another.

CuPy is imported when a GPU is first asked for. What is said here about where it works counts for the thread that says it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend
from .kernels import precision


class device:
    """Where a tensor's memory is: ``device("cpu")``, ``device("cuda")``, ``device("cuda", 1)``, ``device("cuda:1")``.

    ``with device("cuda"):`` new tensors are made there.

    Raises
    ------
    RuntimeError
        For a device string that names neither.
    """

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        given = f"cuda:{type}" if isinstance(type, int) else str(type)  # another device says of itself what it is
        if index is not None:
            given += f":{index}"
        found = re.fullmatch("(cpu|cuda)(?::(0|[1-9][0-9]*))?", given)
        if found is None:
            raise RuntimeError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {given!r}")
        self.type = found[1]
        self.index = None if found[2] is None else int(found[2])

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        other = device(other) if isinstance(other, str) else other
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        defaults.append(check_device(self, "device"))
        return self

    def __exit__(self, *_: object) -> None:
        defaults.pop()


CPU = device("cpu")
defaults = [CPU]  # where new tensors are made, the innermost last


def check_device(where: Any, op: str) -> device:
    """``where`` (None: the default device) as a device that can be used, with its number.

    Raises
    ------
    RuntimeError
        If it cannot be used, saying why and what to install.
    """
    wanted = defaults[-1] if where is None else where if isinstance(where, device) else device(where)
    if wanted.type == "cpu":
        return CPU  # whatever its number: there is one
    found = backend.gpu or _load_gpu(f"{op}: device {str(wanted)!r} cannot be used")
    if wanted.index is None:
        return numbered(found.xp.cuda.runtime.getDevice())
    count = found.xp.cuda.runtime.getDeviceCount()
    if wanted.index >= count:
        raise RuntimeError(f"{op}: there is no device {str(wanted)!r}; there are {count}, from 'cuda:0' on")
    return wanted


WHEELS = "cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0"


def _load_gpu(failing: str) -> Any:
    """Import CuPy and make its arrays known; ``failing`` begins the message of the error if that does not go."""
    installed = []
    for name in WHEELS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed.append(f"{name} {importlib.metadata.version(name)}")
    if len(installed) > 1:
        raise RuntimeError(
            f"{failing}: {' and '.join(installed)} are installed, which overwrite each other; "
            f"pip uninstall {' '.join(name.split()[0] for name in installed)}, then install one of them again"
        )
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise RuntimeError(f"{failing}: CuPy is there but wants {error.name}; pip install {error.name}") from None
        raise RuntimeError(
            f"{failing}: CuPy is not installed; pip install 'minidl[cuda13]' for an NVIDIA driver from 580 on, "
            "'minidl[cuda12]' for one from 525 on (nvidia-smi says which it is)"
        ) from None
    except ImportError as error:
        raise RuntimeError(f"{failing}: CuPy is installed but cannot be imported: {error}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        if "NoDevice" not in str(error):
            raise RuntimeError(
                f"{failing}: CuPy finds no NVIDIA driver, or one too old for it ({error}); install or update the driver"
            ) from None
        count = 0
    if not count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if visible is None else f"; CUDA_VISIBLE_DEVICES is {visible!r}"
        raise RuntimeError(f"{failing}: there is a driver, but no NVIDIA GPU to be seen{hint}")
    backend.gpu = backend.Backend("cuda", cupy, importlib.import_module("minidl.kernels.cuda"))
    backend.types[cupy.ndarray] = backend.gpu
    backend.gpu_types.add(cupy.ndarray)
    backend.several = count > 1
    return backend.gpu


@functools.cache
def numbered(index: int) -> device:
    """The GPU of a number."""
    return device("cuda", index)


def device_of(array: Any) -> device:
    """Where the memory of an array is."""
    return numbered(array.data.device_id) if type(array) in backend.gpu_types else CPU


def current(where: device) -> Any:
    """Inside a ``with`` block of this, ``where`` is the GPU that CuPy works on; of the CPU nothing happens."""
    return contextlib.nullcontext() if where.type == "cpu" else backend.gpu.xp.cuda.Device(where.index)


def made(where: device, make: Callable[[Any], Any]) -> Any:
    """The array that ``make(xp)`` gives on ``where``."""
    with current(where):
        return make(np if where.type == "cpu" else backend.gpu.xp)


def ones_like(array: Any) -> Any:
    """Ones of the shape and dtype of an array, where that is."""
    if type(array) not in backend.gpu_types:
        return np.ones(array.shape, array.dtype)
    with current(device_of(array)):
        out = backend.gpu.xp.empty(array.shape, array.dtype)
        backend.gpu.kernels.blockwise(_ones, out)  # as other launches are given, and CuPy's are not
    return out


def _fill_with_ones(out: Any) -> None:
    out[...] = 1.0


_ones = functools.partial(_fill_with_ones)  # for which it is known that it does the same at each call


def assign(array: Any, key: Any, value: Any) -> None:
    """``array[key] = value``, done by the GPU that has the array, if one has."""
    if type(array) in backend.gpu_types:
        with current(device_of(array)):
            array[key] = value
    else:
        array[key] = value


def moved(array: Any, where: device, non_blocking: bool = False) -> Any:
    """``array`` itself if it is on ``where``, else a copy there, in row-major order.

    What comes from memory that is not pinned has been read when this returns; pinned memory too, unless ``non_blocking``.
    """
    here = device_of(array)
    if here == where:
        return array
    if where.type == "cpu":
        settle()
        with current(here):
            return array.get()
    with current(where):
        if here.type == "cuda":
            return array.copy()
        return backend.gpu.xp.asarray(array, order="C", blocking=is_pinned(array) and not non_blocking)


def on_host(array: Any) -> Any:
    """``array`` as one of NumPy's."""
    return moved(array, CPU)


def use(array: Any, node: Any = None) -> None:
    """From now on CuPy works on the GPU of ``array``, and products are as precise as when ``node`` was recorded; see `kept`."""
    if node is not None:
        precision.here.autocast = node.precision
    if backend.several and type(array) in backend.gpu_types and array.data.device_id != backend.gpu.xp.cuda.runtime.getDevice():
        backend.gpu.xp.cuda.Device(array.data.device_id).use()


def kept() -> Any:
    """After a ``with`` block of this, CuPy works on the GPU that it worked on before, and as precisely."""
    return contextlib.nullcontext() if backend.gpu is None else _Kept()


class _Kept:
    def __enter__(self) -> None:
        self.autocast, self.number = precision.here.autocast, backend.gpu.xp.cuda.runtime.getDevice()

    def __exit__(self, *_: object) -> None:
        precision.here.autocast = self.autocast
        if backend.gpu.xp.cuda.runtime.getDevice() != self.number:
            backend.gpu.xp.cuda.Device(self.number).use()


def is_pinned(array: Any) -> bool:
    """Whether an array of NumPy's is in memory that a GPU reads by itself."""
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return type(array).__name__ == "PinnedMemoryPointer"


def pinned(array: Any) -> Any:
    """A copy of an array of NumPy's in such memory."""
    memory = backend.gpu.xp.cuda.alloc_pinned_memory(max(array.nbytes, array.itemsize))
    out: Any = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    out[...] = array
    return out


def gpu_is_available() -> bool:
    """Whether there is a GPU, and CuPy."""
    try:
        check_device("cuda", "is_available")
    except RuntimeError:
        return False
    return True


def waits(array: Any) -> bool:
    """Whether the host would have to wait for a number of this array."""
    return type(array) in backend.gpu_types


_noted: list[tuple[Any, type, str]] = []  # what may turn out to be wrong


def check(wrong: Any, error: type, said: Callable[[], str], later: str) -> None:
    """Raise ``error`` if ``wrong``, an array without dimensions, is true, with what ``said()`` says.

    To know it of an array on a GPU would be to wait for the GPU. So it is noted, and raised with the words ``later`` when
    somebody waits anyway: see `settle`.
    """
    if type(wrong) not in backend.gpu_types:
        if wrong:
            raise error(said())
        return
    _noted.append((wrong, error, later))
    if len(_noted) > 1000:
        settle()


def settle() -> None:
    """Wait for what `check` has noted, and raise the first error in it."""
    while _noted:
        try:
            wrong, error, later = _noted.pop(0)
        except IndexError:  # another thread has just taken the last
            return
        if wrong:
            _noted.clear()
            raise error(f"{later} (found on the GPU, some time after it happened)")


def allow_writing(view: Any, allow: bool) -> None:
    """Say whether a view may be changed in place; CuPy's arrays say it by themselves: see `may_write`."""
    if type(view) is np.ndarray:
        view.flags.writeable = allow


def may_write(array: Any) -> bool:
    """Whether an array can be changed in place: not if it is read-only, nor if its elements share memory."""
    if type(array) is np.ndarray:
        return bool(array.flags.writeable)
    if not array.size:
        return True
    reach = array.itemsize  # how far the dimensions so far, the narrowest first, reach
    for step, size in sorted((abs(step), size) for step, size in zip(array.strides, array.shape) if size > 1):
        if step < reach:
            return False
        reach += step * (size - 1)
    return True


def out_of_memory(what: str, error: MemoryError) -> MemoryError:
    """An error that says in what the memory ran out, what was asked for, and what would need less."""
    asked = str(error) or "there is no memory left"
    return MemoryError(
        f"{what}: {asked}. What needs less: smaller batches (with the gradients of several added up before a step), "
        "minidl.utils.checkpoint around parts of the network, and no_grad() where nothing is trained"
    )
