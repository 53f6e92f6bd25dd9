"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..backend import xp
from .optimizer import FusedOptimizer, decayed


class Adam(FusedOptimizer):
    """Steps of about ``lr`` in each coordinate, whatever the size of the gradients::

        g = gradient + weight_decay * param                # minus the gradient, if maximize
        m = beta1 * m + (1 - beta1) * g                    # running means, of the gradient
        v = beta2 * v + (1 - beta2) * g**2                 # ... and of its square, both from 0
        param = param - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)      # t counts the steps

    With ``amsgrad`` the largest ``v`` so far takes the place of ``v`` in the last line.

    Sources: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015; Reddi et al., On the Convergence of Adam and
    Beyond, ICLR 2018 (amsgrad).

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr, betas, eps, weight_decay, amsgrad
        As above.
    maximize : bool
        Climb instead of descending.
    decoupled_weight_decay : bool
        Be `AdamW`.
    foreach, capturable, differentiable, fused
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        self._check(betas, lr=lr, eps=eps, weight_decay=weight_decay)
        self._refuse(foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The number of the step, and the means."""
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")
        t = self._count(param, state, *names)
        return t, param, grad, *(state[name]._array for name in names)

    @staticmethod
    def formulas(group: dict[str, Any], t: float, param: Any, grad: Any, mean: Any, square: Any, largest: Any = None) -> None:
        """As above, on a block of each array."""
        beta1, beta2 = update_means(group, decayed(group, param, grad), mean, square)
        if largest is not None:
            square = xp(square).maximum(largest, square, out=largest)
        rate = float(group["lr"]) / (1 - beta1**t)
        param -= rate * mean / (xp(square).sqrt(square) / math.sqrt(1 - beta2**t) + float(group["eps"]))


def update_means(group: dict[str, Any], grad: Any, mean: Any, square: Any) -> tuple[float, float]:
    """Update the running means of the gradient and of its square; returns the betas."""
    beta1, beta2 = map(float, group["betas"])
    mean += (1 - beta1) * (grad - mean)
    square *= beta2
    square += (1 - beta2) * grad * grad
    return beta1, beta2


class AdamW(Adam):
    """`Adam` with the weight decay apart from the gradient: each step first does ``param *= 1 - lr * weight_decay``.

    The parameters are `Adam`'s, with another default. Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization,
    ICLR 2019.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
