"""What came of Adam: Adamax, NAdam and RAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..autograd.tape import wrap
from ..backend import xp
from .adam import update_means
from .optimizer import FusedOptimizer, decayed, step_dtype


class Adamax(FusedOptimizer):
    """`Adam` with the largest gradient, which fades, in the place of the running mean of squares::

        g = gradient + weight_decay * param                        # minus the gradient, if maximize
        m = beta1 * m + (1 - beta1) * g                            # from 0
        u = max(beta2 * u, abs(g) + eps)                           # from 0
        param = param - lr / (1 - beta1**t) * m / u                # t counts the steps

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, section 7.1.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, betas, eps, weight_decay
        As above.
    maximize : bool
        Climb instead of descending.
    foreach, differentiable, capturable
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        numbers = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        theirs = {"foreach": foreach, "differentiable": differentiable, "capturable": capturable}
        self._check(betas, **numbers)
        self._refuse(**theirs)
        super().__init__(params, {**numbers, **theirs, "betas": betas, "maximize": maximize})

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, the mean and the largest."""
        names = "exp_avg", "exp_inf"
        return self._count(param, state, *names), param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, mean: Any, largest: Any) -> None:
        """As above, on a block of each array."""
        beta1, beta2 = map(float, group["betas"])
        grad = decayed(group, param, grad)
        mean += (1 - beta1) * (grad - mean)
        largest *= beta2
        xp(largest).maximum(largest, abs(grad) + float(group["eps"]), out=largest)
        param -= float(group["lr"]) / (1 - beta1**t) * mean / largest


class NAdam(FusedOptimizer):
    """`Adam` that looks ahead along its momentum, as Nesterov's does::

        g, m, v                                                    # as in Adam
        mu[t] = beta1 * (1 - 0.96**(t * momentum_decay) / 2)       # t counts the steps
        p[t] = mu[1] * ... * mu[t]
        d = (1 - mu[t]) / (1 - p[t]) * g + mu[t + 1] / (1 - p[t + 1]) * m
        param = param - lr * d / (sqrt(v / (1 - beta2**t)) + eps)

    Source: Dozat, Incorporating Nesterov Momentum into Adam, ICLR workshop 2016.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, betas, eps, weight_decay, momentum_decay
        As above.
    decoupled_weight_decay : bool
        Take the weight decay as in `AdamW`.
    maximize : bool
        Climb instead of descending.
    foreach, capturable, differentiable
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        numbers = {"lr": lr, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        theirs = {"foreach": foreach, "capturable": capturable, "differentiable": differentiable}
        self._check(betas, **numbers)
        self._refuse(**theirs)
        ours = {"betas": betas, "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**numbers, **theirs, **ours})

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, the parts of the gradient and of its mean in it, and the means."""
        names = "exp_avg", "exp_avg_sq"
        if not state:
            state["mu_product"] = wrap(np.ones((), step_dtype()))
        t = self._count(param, state, *names)
        beta1, decay = float(group["betas"][0]), float(group["momentum_decay"])
        now, ahead = (beta1 * (1 - 0.5 * 0.96 ** (n * decay)) for n in (t, t + 1))
        product = state["mu_product"]._array
        product *= now
        parts = (1 - now) / (1 - float(product)), ahead / (1 - float(product) * ahead)
        return (t, *parts), param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(
        group: dict[str, Any], number: tuple[float, float, float], param: Any, grad: Any, mean: Any, square: Any
    ) -> None:
        """As above, on a block of each array."""
        t, part, part_of_mean = number
        grad = decayed(group, param, grad)
        _, beta2 = update_means(group, grad, mean, square)
        step = (part * grad + part_of_mean * mean) / (xp(square).sqrt(square / (1 - beta2**t)) + float(group["eps"]))
        param -= float(group["lr"]) * step


class RAdam(FusedOptimizer):
    """`Adam` that takes plain steps along the mean as long as little is known of the squares, then small ones for a while::

        g, m, v                                                    # as in Adam
        rho = 2 / (1 - beta2) - 1
        rho[t] = rho - 2 * t * beta2**t / (1 - beta2**t)           # t counts the steps
        r = sqrt((rho[t] - 4) * (rho[t] - 2) * rho / ((rho - 4) * (rho - 2) * rho[t]))
        d = r * sqrt(1 - beta2**t) / (sqrt(v) + eps)               # 1, unless rho[t] > 5
        param = param - lr * d * m / (1 - beta1**t)

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR 2020.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, betas, eps, weight_decay
        As above.
    decoupled_weight_decay : bool
        Take the weight decay as in `AdamW`.
    maximize : bool
        Climb instead of descending.
    foreach, capturable, differentiable
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        numbers = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        theirs = {"foreach": foreach, "capturable": capturable, "differentiable": differentiable}
        self._check(betas, **numbers)
        self._refuse(**theirs)
        ours = {"betas": betas, "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**numbers, **theirs, **ours})

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, and the means."""
        names = "exp_avg", "exp_avg_sq"
        return self._count(param, state, *names), param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, mean: Any, square: Any) -> None:
        """As above, on a block of each array."""
        beta1, beta2 = update_means(group, decayed(group, param, grad), mean, square)
        rho = 2 / (1 - beta2) - 1
        now = rho - 2 * t * beta2**t / (1 - beta2**t)
        slope, height = 0.0, 1.0  # of what is divided by, over sqrt(v): without them, plain steps
        if now > 5:
            r = math.sqrt((now - 4) * (now - 2) * rho / ((rho - 4) * (rho - 2) * now)) * math.sqrt(1 - beta2**t)
            slope, height = 1 / r, float(group["eps"]) / r
        param -= float(group["lr"]) / (1 - beta1**t) * mean / (slope * xp(square).sqrt(square) + height)
