"""Recording or not, and who watches: a switch each, per thread."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class _Mode(threading.local):
    recording = True
    watcher: Any = None  # the innermost `Watcher` that is entered
    callbacks: list[Callable[[], None]] | None = None  # what is called when the backward pass under way is over


mode = _Mode()


def effect(function: Callable[..., T]) -> Callable[..., T]:
    """For a function that does something to tensors which outlive the program: a watcher is called around it."""

    @functools.wraps(function)
    def watched(*args: Any) -> T:
        return function(*args) if mode.watcher is None else mode.watcher.effect(function, args)

    return watched


def queue_callback(callback: Callable[[], None]) -> None:
    """From inside a backward pass: call ``callback`` once when all gradients are in place; `grad` has no such end."""
    if mode.callbacks is not None and callback not in mode.callbacks:
        mode.callbacks.append(callback)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require a gradient are being recorded in this thread."""
    return mode.recording


class RecordingSwitch:
    """Sets recording for a ``with`` block or for each call of a decorated function, and restores it after."""

    def __init__(self, recording: bool) -> None:
        self.recording = recording
        self.before: list[bool] = []  # a list, so that one object can be entered again inside itself

    def __enter__(self) -> None:
        self.before.append(mode.recording)
        mode.recording = self.recording

    def __exit__(self, *_: object) -> None:
        mode.recording = self.before.pop()

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(func):
            raise TypeError(f"{type(self).__name__}: cannot decorate the generator {func.__name__}; use a with block inside it")

        @functools.wraps(func)
        def switched(*args: Any, **options: Any) -> Any:
            with RecordingSwitch(self.recording):  # one for each call: calls may overlap in several threads
                return func(*args, **options)

        return switched


class no_grad(RecordingSwitch):
    """Nothing inside is recorded: ``with no_grad():``, ``@no_grad()`` or ``@no_grad``."""

    _recording = False

    def __new__(cls, func: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if func is None else cls()(func)

    def __init__(self) -> None:
        super().__init__(self._recording)


class enable_grad(no_grad):
    """Recording inside, also within `no_grad`: ``with enable_grad():``, ``@enable_grad()`` or ``@enable_grad``."""

    _recording = True


class inference_mode(RecordingSwitch):
    """`no_grad` under PyTorch's name for evaluation, or with ``mode=False`` `enable_grad`; there is no more to switch off."""

    def __new__(cls, mode: Any = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)


class set_grad_enabled(RecordingSwitch):
    """Switch recording on or off in this thread: as a call, a ``with`` block or a decorator."""

    def __init__(self, mode_: bool) -> None:
        super().__init__(bool(mode_))
        self.outside: bool | None = mode.recording
        mode.recording = self.recording  # a plain call is enough

    def _take_back(self) -> None:
        if self.outside is not None:  # it was no plain call after all
            mode.recording, self.outside = self.outside, None

    def __enter__(self) -> None:
        self._take_back()
        super().__enter__()

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        self._take_back()
        return super().__call__(func)
