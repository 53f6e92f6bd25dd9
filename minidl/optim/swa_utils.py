"""Averages of weights: of several models alike (SWA), or with the recent ones counting most (EMA).

Averages lie nearer the middle of a flat region of the loss than the models on the way, and often generalise better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from .. import dtypes
from ..autograd import no_grad
from ..autograd.mode import effect
from ..functions.creation import tensor
from ..nn.batchnorm import _BatchNorm
from ..nn.module import Module
from .lr_scheduler.base import LRScheduler
from .optimizer import Optimizer


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """For `AveragedModel`, the exponential moving average: ``decay * averaged + (1 - decay) * current``.

    Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    """
    _check_decay("get_ema_avg_fn", decay)

    @no_grad()
    def ema_update(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """As `get_ema_avg_fn`, for lists of tensors, of which the first is changed."""
    _check_decay("get_ema_multi_avg_fn", decay)

    @no_grad()
    def ema_update(ema_param_list: Any, current_param_list: Any, _: Any) -> None:
        for ema, current in zip(ema_param_list, current_param_list):
            if ema.is_floating_point():
                ema.lerp_(current, 1 - decay)
            else:
                ema.copy_(decay * ema + (1 - decay) * current)

    return ema_update


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """For `AveragedModel`, the mean of all models: ``averaged + (current - averaged) / (num_averaged + 1)``.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018.
    """

    @no_grad()
    def swa_update(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """As `get_swa_avg_fn`, for lists of tensors, of which the first is changed."""

    @no_grad()
    def swa_update(averaged_param_list: Any, current_param_list: Any, num_averaged: Any) -> None:
        for averaged, current in zip(averaged_param_list, current_param_list):
            if averaged.is_floating_point():
                averaged.lerp_(current, 1 / (num_averaged + 1))
            else:
                averaged.copy_(averaged + (current - averaged) / (num_averaged + 1))

    return swa_update


def _check_decay(name: str, decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"{name}: decay must lie between 0 and 1, got {decay}")


class AveragedModel(Module):
    """A copy of ``model`` whose parameters are averages of what `update_parameters` is given, beginning with the first.

    In a ``state_dict`` the names begin with ``module.``, and there is the count ``n_averaged``; the functions are not in it.

    Parameters
    ----------
    model : Module
        What is copied.
    device : minidl.device, optional
        Where the copy goes.
    avg_fn : function, optional
        ``avg_fn(averaged, current, num_averaged)`` is the new average of one parameter. The default is `get_swa_avg_fn`'s.
    multi_avg_fn : function, optional
        The same for lists of tensors of one dtype: it changes those of the first list.
    use_buffers : bool
        Whether buffers, such as running statistics, are averaged too. If not, they are copied each time.

    Raises
    ------
    ValueError
        If there are both ``avg_fn`` and ``multi_avg_fn``.
    """

    n_averaged: Any

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: wants avg_fn or multi_avg_fn, not both")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=dtypes.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module with the averages computes."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the parameters of ``model`` into the averages. In a compiled step this is one change, as an optimiser's step is.

        Raises
        ------
        ValueError
            If they do not fit; nothing is changed then.
        """
        self._update(model)

    @effect
    @no_grad()
    def _update(self, model: Module) -> None:
        kinds = [(list(m.parameters()), list(m.buffers())) for m in (self.module, model)]
        if len({tuple(t.shape for t in [*p, *b]) for p, b in kinds}) > 1:
            raise ValueError("AveragedModel.update_parameters: the model has other parameters or buffers than the one copied")
        params, buffers = ([(a.detach(), b.detach()) for a, b in zip(*tensors)] for tensors in zip(*kinds))
        averaged, copied = (params + buffers, []) if self.use_buffers else (params, buffers)
        if self.n_averaged == 0:
            averaged, copied = [], params + buffers
        self._average(averaged)
        for own, current in copied:
            own.copy_(current)
        self.n_averaged.add_(1)

    def _average(self, pairs: list[tuple[Any, Any]]) -> None:
        if self.multi_avg_fn is None:
            average = self.avg_fn or get_swa_avg_fn()
            for own, current in pairs:
                own.copy_(average(own, current, self.n_averaged))
            return
        for dtype in dict.fromkeys(own.dtype for own, _ in pairs):
            own, current = zip(*(pair for pair in pairs if pair[0].dtype == dtype))
            self.multi_avg_fn(list(own), list(current), self.n_averaged)


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of all batch normalisations of ``model`` anew, as means over the batches of ``loader``.

    Those of a model with averaged parameters are not the averages of the models' statistics. A batch is a tensor, or a list
    or tuple whose first element goes through the model.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    training, momenta = model.training, [norm.momentum for norm in norms]
    try:
        model.train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all batches
        for batch in loader:
            inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(inputs if device is None else inputs.to(device))
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """From the rate where it takes over to ``swa_lr`` in ``anneal_epochs`` epochs; then it stays there.

    Parameters
    ----------
    swa_lr : float or list of one for each group
        The rate in the end.
    anneal_epochs : int
        How long it takes.
    anneal_strategy : {'cos', 'linear'}
        Along half a cosine wave, or straight.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs must be an integer that is not negative, got {anneal_epochs!r}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        for group, lr in zip(optimizer.param_groups, self._per_group("swa_lr", swa_lr)):
            group["swa_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def _begin(self) -> None:
        self.last_epoch = 0
        self._set(self.get_lr())

    def _part(self, step: int) -> float:
        """How much of the way is gone after ``step`` steps."""
        part = max(0, min(1, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        step = self._step_count - 1 if self.anneal_epochs else max(1, self._step_count - 1)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group, lr in zip(self.optimizer.param_groups, self._rates()):
            end = group["swa_lr"]
            start = end if before == 1 else (lr - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
