"""Schedules made of others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler
from .plateau import ReduceLROnPlateau


class _Several(LRScheduler):
    """Several schedules of one optimiser."""

    _schedulers: list[LRScheduler]
    _apart = ("_schedulers",)
    _cannot_hold: tuple[type, ...] = (ReduceLROnPlateau,)  # whose steps want to know something, or start in another way

    def _attach_all(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name}: wants at least one scheduler, got none")
        for scheduler in schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"{name}: wants schedulers, got {type(scheduler).__name__}")
            if isinstance(scheduler, self._cannot_hold):
                raise ValueError(f"{name}: cannot hold a {type(scheduler).__name__}")
            if scheduler.optimizer is not (optimizer or schedulers[0].optimizer):
                raise ValueError(f"{name}: all schedulers must belong to the same optimizer")
        self._attach(optimizer or schedulers[0].optimizer)
        self._schedulers = list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, with the states of the schedules."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        super().load_state_dict(state_dict)
        for own, saved in zip(self._schedulers, state_dict["_schedulers"]):
            own.load_state_dict(saved)

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        super()._check_state(state_dict)
        for own, saved in zip(self._schedulers, state_dict["_schedulers"]):
            own._check_state(saved)


class ChainedScheduler(_Several):
    """Several schedules at once: each step, each of them does its own to the rate that the one before left."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self._attach_all(optimizer, schedulers)
        self._last_lr = self._rates()

    def step(self) -> None:
        """Go on to the next epoch."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._rates()


class SequentialLR(_Several):
    """Several schedules one after another; the next takes over at each of the epochs ``milestones``, from its own epoch 0."""

    _cannot_hold = ReduceLROnPlateau, _Several

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._attach_all(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            counts = f"{len(schedulers)} and {len(milestones)}"
            raise ValueError(f"SequentialLR: wants a milestone between each two schedulers, got {counts} of them")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:  # undo what each did when it was made
            scheduler.last_epoch -= 1
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._start()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Go on to the next epoch."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i and self._milestones[i - 1] == self.last_epoch:
            scheduler._begin()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()
