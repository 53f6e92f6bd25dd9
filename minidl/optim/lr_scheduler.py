"""Schedules: how the learning rate of an optimiser changes from epoch to epoch.

Each schedule works out the next rate from the one before (`LRScheduler.get_lr`), so that several can act on one optimiser.
Call ``scheduler.step()`` after the steps of an epoch.
"""

from __future__ import annotations

import math
import types
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import mode
from .optimizer import Optimizer


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
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: with last_epoch={last_epoch}, group {i} must have an 'initial_lr'")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._start()

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``. The rates themselves are in the optimiser's state."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """``initial_lr * lr_lambda(epoch)``; ``lr_lambda`` is a function, or a list of one for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        n = len(optimizer.param_groups)
        several = isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas: list[Callable[[int], float]] = list(lr_lambda) if several else [lr_lambda] * n
        if len(self.lr_lambdas) != n:
            raise ValueError(f"LambdaLR: wants one function for each of the {n} groups, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The initial rates times what the functions say."""
        return [base * factor(self.last_epoch) for base, factor in zip(self.base_lrs, self.lr_lambdas)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, and functions; of callable objects their ``__dict__``."""
        saved = [None if isinstance(f, types.FunctionType) else f.__dict__.copy() for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "lr_lambdas"})
        for own, saved in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if saved is not None:
                own.__dict__.update(saved)


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        return self._rates(self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else 1.0)


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the epochs ``milestones``."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        return self._rates(self.gamma ** self.milestones[self.last_epoch])


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _first(self) -> list[float]:
        return self._rates()

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        return self._rates(self.gamma)


class ConstantLR(LRScheduler):
    """The rate times ``factor`` for the first ``total_iters`` epochs."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor must lie between 0 and 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        if self.last_epoch == 0:
            return self._rates(self.factor)
        return self._rates(1 / self.factor if self.last_epoch == self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """The rate times a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` equal steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: factors must lie between 0 and 1, the first not 0, got {start_factor=}, {end_factor=}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _first(self) -> list[float]:
        return self.get_lr() if self.last_epoch == 0 else self._rates()

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        if self.last_epoch == 0:
            return self._rates(self.start_factor)
        if self.last_epoch > self.total_iters:
            return self._rates()
        rise = self.end_factor - self.start_factor
        return self._rates(1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))


class CosineAnnealingLR(LRScheduler):
    """``eta_min + (initial_lr - eta_min) * (1 + cos(pi * epoch / T_max)) / 2``: down along half a wave, and up again after.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _first(self) -> list[float]:
        return self._rates()

    def _height(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the bottom, where a ratio says nothing
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [lr + (base - self.eta_min) * rise for lr, base in zip(self._rates(), self.base_lrs)]
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._rates()]


class SequentialLR(LRScheduler):
    """Several schedules one after another; the next takes over at each of the epochs ``milestones``, from its own epoch 0."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            counts = f"{len(schedulers)}, {len(milestones)}"
            raise ValueError(f"SequentialLR: wants schedulers, and a milestone between each two; got {counts}")
        for scheduler in schedulers:
            if isinstance(scheduler, (ReduceLROnPlateau, SequentialLR)):
                raise ValueError(f"SequentialLR: cannot hold a {type(scheduler).__name__}")
            if scheduler.optimizer is not optimizer:
                raise ValueError("SequentialLR: all schedulers must belong to the same optimizer")
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
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

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, with the states of the schedules."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})
        for own, saved in zip(self._schedulers, state_dict["_schedulers"]):
            own.load_state_dict(saved)


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a measurement has not improved for more than ``patience`` epochs; ``step(loss)``.

    Parameters
    ----------
    mode : {'min', 'max'}
        Whether a smaller or a larger measurement is better.
    threshold, threshold_mode : float, {'rel', 'abs'}
        By how much it must be better to count: as a part of the best so far, or as it is.
    cooldown : int
        Epochs after a change of rate that are not counted.
    min_lr : float or list of one for each group
        Below this the rate does not go.
    eps : float
        Smaller changes of rate are left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        n = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * n
        if len(self.min_lrs) != n:
            raise ValueError(f"ReduceLROnPlateau: wants one min_lr for each of the {n} groups, got {len(self.min_lrs)}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take note of an epoch's measurement."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            lower = [max(lr * self.factor, least) for lr, least in zip(self._rates(), self.min_lrs, strict=True)]
            self._set([new if old - new > self.eps else old for old, new in zip(self._rates(), lower)])
        self._last_lr = self._rates()

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        margin = sign * self.threshold
        bound = self.best * (1 - margin) if self.threshold_mode == "rel" else self.best - margin
        return current < bound if self.mode == "min" else current > bound
