"""`autocast`: products on a GPU with operands of 16 bits."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

from .. import cuda
from ..autograd.mode import effect
from ..dtypes import bfloat16, float16
from ..kernels.precision import here

CORES = (8, 0)  # the first compute capability whose tensor cores know bfloat16


@effect
def switch(operands: str | None) -> None:
    """From now on operands of products are rounded to ``operands``, or not."""
    here.autocast = operands


class autocast:
    """On a GPU, products inside are made by its tensor cores, of operands rounded to 16 bits: ``with autocast("cuda"):``, or a
    decorator, ``@autocast("cuda")``.

    Products are those of matrices (also in linear layers, recurrent ones and attention) and convolutions. Their sums, their
    results and everything else stay in float32; in float64 nothing changes. The gradients of a product are made in the
    precision in which it was made, wherever ``backward()`` is called.

    PyTorch's results of products have the 16 bits too, and so has what is computed from them, up to the next op that wants
    float32. Here they are float32: more precise, and they take as much memory as they do without `autocast`.

    Parameters
    ----------
    device_type : str
        ``"cuda"``. On ``"cpu"`` products are in float32 only: ``enabled`` must be False there.
    dtype : minidl.float16 or minidl.bfloat16, optional
        What operands are rounded to; float16 if left out, which wants a `GradScaler`.
    enabled : bool
        With False, products inside are float32's.
    cache_enabled : bool, optional
        PyTorch's: whether weights that were rounded are kept for their next use. Here operands are rounded while they are
        read, so there is nothing to keep; it has no effect.

    Raises
    ------
    ValueError
        If ``device_type`` is no string.
    RuntimeError
        For another device; on a GPU without such tensor cores (those before Ampere, of compute capability 8.0).
    TypeError
        For another dtype.
    NotImplementedError
        For the CPU.

    Warns
    -----
    UserWarning
        For ``"cuda"`` where there is no GPU: it is then not enabled, as in PyTorch.

    Notes
    -----
    Source: Micikevicius et al., Mixed precision training, ICLR 2018.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: device_type must be a str such as 'cuda', got {type(device_type).__name__}")
        if not is_autocast_available(device_type):
            raise RuntimeError(f"autocast: device_type must be 'cuda' or 'cpu', got {device_type!r}")
        wanted = get_autocast_dtype(device_type) if dtype is None else dtype
        self.device, self.fast_dtype = device_type, bfloat16 if wanted is bfloat16 else float16
        if self.fast_dtype != wanted:
            raise TypeError(f"autocast: dtype must be minidl.float16 or minidl.bfloat16, got {dtype!r}")
        if enabled and device_type == "cpu":
            raise NotImplementedError(
                "autocast: on the CPU products are in float32 only, since NumPy has no quick ones of 16 bits; "
                'leave it out there: autocast(device.type, enabled=device.type == "cuda")'
            )
        if enabled and not cuda.is_available():
            warnings.warn("autocast: there is no GPU, so it is not enabled", stacklevel=2)
            enabled = False
        if enabled:
            _check_cores()
        self._enabled = enabled
        self._before: list[str | None] = []  # a list, so that it can be entered again inside itself

    def __enter__(self) -> autocast:
        self._before.append(here.autocast)
        if self.device == "cuda":
            switch(self.fast_dtype.name if self._enabled else None)
        return self

    def __exit__(self, *_: object) -> None:
        before = self._before.pop()
        if self.device == "cuda":
            switch(before)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """``func``, with every call of it inside."""
        if not callable(func):
            raise TypeError(f"autocast: decorates a function, got {type(func).__name__}; or write with autocast(...):")

        @functools.wraps(func)
        def decorated(*args: Any, **options: Any) -> Any:
            own = copy.copy(self)  # one for each call: calls may overlap in several threads
            own._before = []
            with own:
                return func(*args, **options)

        return decorated


def _check_cores() -> None:
    found = cuda.get_device_capability()
    if found < CORES:
        wanted, there = (".".join(map(str, pair)) for pair in (CORES, found))
        raise RuntimeError(f"autocast: wants a GPU of compute capability {wanted} or more, this one has {there}")


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` takes this type of device: "cuda" and, to switch it off, "cpu"."""
    return device_type in ("cuda", "cpu")


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether `autocast` is on in this thread."""
    return device_type == "cuda" and here.autocast is not None


def get_autocast_dtype(device_type: str) -> Any:
    """What operands are rounded to inside `autocast`; outside it, what it takes by default: float16, for the CPU bfloat16."""
    if device_type == "cpu":
        return bfloat16
    return bfloat16 if here.autocast == "bfloat16" else float16
