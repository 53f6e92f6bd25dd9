"""Adagrad and what came of it: steps divided by the size of past gradients, of all of them or of the recent ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..autograd.tape import wrap
from ..backend import xp
from .optimizer import FusedOptimizer, decayed, step_dtype


class Adagrad(FusedOptimizer):
    """Steps that become smaller, in each coordinate by the gradients that it has seen::

        g = gradient + weight_decay * param                        # minus the gradient, if maximize
        s = s + g**2                                               # from initial_accumulator_value
        param = param - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)                   # t counts the steps

    Source: Duchi et al., Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, JMLR 2011.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, lr_decay, weight_decay, initial_accumulator_value, eps : float
        As above.
    maximize : bool
        Climb instead of descending.
    foreach, differentiable, fused
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        numbers = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }  # fmt: skip
        self._check(**numbers)
        self._refuse(foreach=foreach, differentiable=differentiable, fused=fused)
        others = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "fused": fused}
        super().__init__(params, {**numbers, **others})
        for p in self._all():
            self._start(p._array, self.state[p])

    def _start(self, param: Any, state: dict[str, Any]) -> None:
        state["step"] = wrap(np.zeros((), step_dtype()))
        state["sum"] = wrap(xp(param).full_like(param, self.defaults["initial_accumulator_value"]))

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, and the sum."""
        if not state:  # of a group that was added later
            self._start(param, state)
        return self._count(param, state), param, grad, state["sum"]._array

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, total: Any) -> None:
        """As above, on a block of each array."""
        grad = decayed(group, param, grad)
        total += grad * grad
        rate = float(group["lr"]) / (1 + (t - 1) * float(group["lr_decay"]))
        param -= rate * grad / (xp(total).sqrt(total) + float(group["eps"]))


class RMSprop(FusedOptimizer):
    """Steps divided by the root of the running mean of the squared gradients::

        g = gradient + weight_decay * param                        # minus the gradient, if maximize
        v = alpha * v + (1 - alpha) * g**2                         # running means, of the square
        m = alpha * m + (1 - alpha) * g                            # ... and of the gradient, both from 0
        d = g / (sqrt(v) + eps)                                    # g / (sqrt(v - m**2) + eps), if centered
        b = momentum * b + d                                       # from 0
        param = param - lr * b

    Sources: Tieleman and Hinton, Lecture 6.5 of Neural Networks for Machine Learning, 2012; Graves, Generating Sequences With
    Recurrent Neural Networks, 2013 (centered).

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, alpha, eps, weight_decay, momentum : float
        As above.
    centered : bool
        Divide by the standard deviation of the gradients instead.
    maximize : bool
        Climb instead of descending.
    capturable, foreach, differentiable
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        numbers = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        theirs = {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        self._check(**numbers)
        self._refuse(**theirs)
        super().__init__(params, {**numbers, **theirs, "centered": centered, "maximize": maximize})

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, and the means."""
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return self._count(param, state, *names), param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, square: Any, *others: Any) -> None:
        """As above, on a block of each array; ``others`` are, if there are any, the buffer and the mean."""
        alpha, momentum = float(group["alpha"]), float(group["momentum"])
        grad = decayed(group, param, grad)
        square *= alpha
        square += (1 - alpha) * grad * grad
        if group["centered"]:
            mean = others[-1]
            mean += (1 - alpha) * (grad - mean)
            square = square - mean * mean
        step = grad / (xp(square).sqrt(square) + float(group["eps"]))
        if momentum > 0:
            buffer = others[0]
            buffer *= momentum
            buffer += step
            step = buffer
        param -= float(group["lr"]) * step


class Adadelta(FusedOptimizer):
    """Steps as large as the recent ones, as the gradient compares to the recent ones; no learning rate has to be found::

        g = gradient + weight_decay * param                        # minus the gradient, if maximize
        v = rho * v + (1 - rho) * g**2                             # running means of squares, of the gradient
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d**2                             # ... and of the steps, both from 0
        param = param - lr * d

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, rho, eps, weight_decay : float
        As above.
    maximize : bool
        Climb instead of descending.
    foreach, capturable, differentiable
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        numbers = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        theirs = {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        self._check(**numbers)
        if rho > 1:
            raise ValueError(f"Adadelta: rho must lie between 0 and 1, got {rho}")
        self._refuse(**theirs)
        super().__init__(params, {**numbers, **theirs, "maximize": maximize})

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, and the means."""
        names = "square_avg", "acc_delta"
        return self._count(param, state, *names), param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, square: Any, steps: Any) -> None:
        """As above, on a block of each array."""
        rho, eps = float(group["rho"]), float(group["eps"])
        grad = decayed(group, param, grad)
        square *= rho
        square += (1 - rho) * grad * grad
        step = xp(steps).sqrt(steps + eps) / xp(square).sqrt(square + eps) * grad
        steps *= rho
        steps += (1 - rho) * step * step
        param -= float(group["lr"]) * step
