"""What all schedules have in common."""

from __future__ import annotations

import types
import warnings
from collections.abc import Sequence
from typing import Any

from ...autograd.mode import mode
from ..optimizer import Optimizer

FOREIGN = {"mode_worse", "base_momentums", "max_momentums"}  # which of PyTorch's states and ours only one may have


class LRScheduler:
    """The base of all schedules.

    Parameters
    ----------
    optimizer : Optimizer
        Whose groups' ``"lr"`` it sets; what they start from is kept there as ``"initial_lr"``.
    last_epoch : int
        -1 to start; or the number of an epoch, to go on from there with groups that have an ``"initial_lr"``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: with last_epoch={last_epoch}, group {i} must have an 'initial_lr'")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._start()

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """``value`` for each group, unless it is a list of one for each already."""
        n = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * n
        if len(values) != n:
            raise ValueError(f"{type(self).__name__}: wants one {name} for each of the {n} groups, got {len(values)}")
        return values

    def _start(self) -> None:
        self._step_count = 1
        self.last_epoch += 1
        self._set(self._first())

    def _begin(self) -> None:
        """Take over from another schedule: this is epoch 0, from the initial rates."""
        self.last_epoch = 0
        self._set(self.base_lrs)
        self._set(self._first())

    def _first(self) -> list[float]:
        """The rates of the epoch that the schedule is made in."""
        return self.get_lr()

    def _rates(self, factor: float = 1.0) -> list[float]:
        """The present rates times ``factor``."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _set(self, rates: Sequence[float]) -> None:
        if mode.watcher is not None:
            mode.watcher.seen(None, "a schedule sets the learning rate")
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = self._rates()

    def get_last_lr(self) -> list[float]:
        """The rates set last, one for each group."""
        return self._last_lr

    def get_lr(self) -> list[float]:
        """The rates of epoch ``last_epoch``, from those of the epoch before."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def step(self) -> None:
        """Go on to the next epoch."""
        if self._step_count == 1 and not self.optimizer.steps_taken:
            warnings.warn(
                "lr_scheduler.step() was called before optimizer.step(); so the first learning rate is skipped. Call it after",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self.last_epoch += 1
        self._set(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    _apart: tuple[str, ...] = ()  # what of a state a subclass loads by itself

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``. The rates themselves are in the optimiser's state.

        Raises
        ------
        TypeError, ValueError
            If it is no state, or that of another kind of schedule, or for other groups; nothing is changed.
        """
        self._check_state(state_dict)
        self.__dict__.update({name: value for name, value in state_dict.items() if name not in self._apart})

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        """Refuse what is no state of such a schedule. (PyTorch's have more names that begin with an underscore.)"""
        said, own = f"{type(self).__name__}.load_state_dict", self.state_dict()
        if not isinstance(state_dict, dict):
            raise TypeError(f"{said}: wants what {type(self).__name__}.state_dict() returned, got {type(state_dict).__name__}")
        lacking = sorted(own.keys() - state_dict.keys() - FOREIGN)
        others = sorted(name for name in state_dict.keys() - own.keys() - FOREIGN if not str(name).startswith("_"))
        if lacking or others:
            raise ValueError(f"{said}: the state is of another kind of schedule: it lacks {lacking}, and has {others}")
        for name in ("_last_lr", *self._apart):  # lists of one for each group, or each schedule
            if isinstance(own[name], list) and len(own[name]) != len(state_dict[name]):
                raise ValueError(f"{said}: {name} of the state is of {len(state_dict[name])}, here of {len(own[name])}")


def state_of(function: Any) -> dict[str, Any] | None:
    """What is saved of a function that a schedule was given: the ``__dict__`` of a callable object, nothing of others."""
    return None if function is None or isinstance(function, types.FunctionType) else function.__dict__.copy()
