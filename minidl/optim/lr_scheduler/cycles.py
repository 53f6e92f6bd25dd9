"""Schedules that take the rate up and down within a training run, and the momentum the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, state_of


class _Cycle(LRScheduler):
    """A schedule that may also set the momentum, or the first of the betas."""

    def _cycle_momentum(self, wanted: bool, base_momentum: Any, max_momentum: Any, last_epoch: int) -> None:
        """Find out what the optimiser has, and start from the largest momentum."""
        self.cycle_momentum = wanted
        if not wanted:
            return
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(
                f"{type(self).__name__}: cycle_momentum wants an optimizer with momentum or betas, "
                f"which {type(self.optimizer).__name__} has not; write cycle_momentum=False"
            )
        self.use_beta1 = "betas" in defaults
        self.base_momentums = self._per_group("base_momentum", base_momentum)
        self.max_momentums = self._per_group("max_momentum", max_momentum)
        if last_epoch == -1:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class OneCycleLR(_Cycle):
    """One cycle for a whole training run, a step for each batch: up to ``max_lr``, down, and down to almost nothing.

    The rates are ``max_lr / div_factor``, ``max_lr`` and ``max_lr / div_factor / final_div_factor``; the first phase takes the
    part ``pct_start`` of all steps. With ``three_phase`` the second one goes back to where the first began and takes as long.

    Source: Smith and Topin, Super-Convergence, 2018.

    Parameters
    ----------
    max_lr : float or list of one for each group
        The largest rate.
    total_steps, epochs, steps_per_epoch : int
        How many steps there will be: as a number, or in so many epochs.
    pct_start : float
        As above.
    anneal_strategy : {'cos', 'linear'}
        Along half a cosine wave, or straight.
    cycle_momentum : bool
        Whether the momentum (or the first of the betas) goes the other way, between ``max_momentum`` and ``base_momentum``.
    base_momentum, max_momentum : float or list of one for each group
        As above.
    div_factor, final_div_factor, three_phase
        As above.

    Raises
    ------
    ValueError
        If the number of steps is not given, or not positive; and by `step`, if there are more.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        counts = {"epochs": epochs, "steps_per_epoch": steps_per_epoch} if total_steps is None else {"total_steps": total_steps}
        if None in counts.values():
            raise ValueError("OneCycleLR: wants total_steps, or both epochs and steps_per_epoch")
        for name, n in counts.items():
            if not isinstance(n, int) or n <= 0:
                raise ValueError(f"OneCycleLR: {name} must be a positive integer, got {n!r}")
        self.total_steps = math.prod(counts.values())  # type: ignore[arg-type]
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be a float between 0 and 1, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        max_lrs = self._per_group("max_lr", max_lr)
        self._cycle_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, max_lrs):
                group["initial_lr"], group["max_lr"] = high / div_factor, high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float]:
        """The rates of this step; the momentum is set."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: step {step} was asked for, but total_steps is {self.total_steps}")
        begin, phase = 0.0, self._schedule_phases[0]
        for after in self._schedule_phases[1:]:
            if step > phase["end_step"]:
                begin, phase = phase["end_step"], after
        part = (step - begin) / (phase["end_step"] - begin)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                start, end = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._set_momentum(group, self._between(start, end, part))
        return [self._between(group[phase["start_lr"]], group[phase["end_lr"]], part) for group in self.optimizer.param_groups]


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and between which options of the groups it goes."""
    low, high, last = ("initial_lr", "max_momentum"), ("max_lr", "base_momentum"), ("min_lr", "max_momentum")
    corners = [low, high, low, last] if three_phase else [low, high, last]
    ends = [n * pct_start * total_steps - n for n in range(1, len(corners) - 1)] + [total_steps - 1]
    return [
        {"end_step": end, "start_lr": a[0], "end_lr": b[0], "start_momentum": a[1], "end_momentum": b[1]}
        for end, a, b in zip(ends, corners, corners[1:])
    ]


class CyclicLR(_Cycle):
    """Up from ``base_lr`` to ``max_lr`` and back, again and again, a step for each batch.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017.

    Parameters
    ----------
    base_lr, max_lr : float or list of one for each group
        The bounds.
    step_size_up, step_size_down : int
        Steps on the way up and on the way down (as many).
    mode : {'triangular', 'triangular2', 'exp_range'}
        What the height is scaled by: nothing; a half more in each cycle; ``gamma ** step``.
    gamma : float
        As above.
    scale_fn, scale_mode : function, {'cycle', 'iterations'}
        Instead of ``mode``: by this function of the number of the cycle (from 1), or of the step.
    cycle_momentum : bool
        Whether the momentum (or the first of the betas) goes the other way, between ``max_momentum`` and ``base_momentum``.
    base_momentum, max_momentum : float or list of one for each group
        As above.
    """

    _apart = ("_scale_fn_custom",)

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        modes = {"triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations"}
        if scale_fn is None and mode not in modes:
            raise ValueError(f"CyclicLR: mode must be 'triangular', 'triangular2' or 'exp_range', got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f"CyclicLR: scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}")
        base_lrs, self.max_lrs = self._per_group("base_lr", base_lr), self._per_group("max_lr", max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = modes[mode] if scale_fn is None else scale_mode
        self._cycle_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs):
                group["lr"] = lr
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """By what the height is scaled in cycle, or step, ``x``."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return float(1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x)

    def get_lr(self) -> list[float]:
        """The rates of this step; the momentum is set."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        part = 1.0 + self.last_epoch / self.total_size - cycle
        height = part / self.step_ratio if part <= self.step_ratio else (part - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                self._set_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, and functions; of a callable object its ``__dict__``."""
        return {**super().state_dict(), "_scale_fn_custom": state_of(self._scale_fn_custom)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        super().load_state_dict(state_dict)
        if state_dict["_scale_fn_custom"] is not None:
            self._scale_fn_custom.__dict__.update(state_dict["_scale_fn_custom"])
