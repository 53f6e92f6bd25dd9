"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..autograd.tape import wrap
from ..backend import kernels, xp
from .optimizer import Optimizer


class Adam(Optimizer):
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
        self._check(lr=lr, eps=eps, weight_decay=weight_decay)
        self._refuse(foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers from 0 up to but without 1, got {betas}")
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step for one parameter, on arrays."""
        if not state:
            state["step"] = wrap(xp(param).zeros((), "float32"))
            for name in ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])):
                state[name] = wrap(xp(param).zeros_like(param))
        state["step"]._array += 1
        arrays = [param, grad, *(kept._array for name, kept in state.items() if name != "step")]
        options: dict[str, Any] = {name: float(group[name]) for name in ("lr", "eps", "weight_decay")}
        options |= {name: group[name] for name in ("betas", "maximize", "decoupled_weight_decay")}
        kernels(param).blockwise(partial(_adapt, t=state["step"].item(), **options), *arrays)


def _adapt(
    param: Any,
    grad: Any,
    mean: Any,
    square: Any,
    largest: Any = None,
    *,
    t: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    """The formulas of `Adam` and `AdamW`, on a block of each array."""
    beta1, beta2 = map(float, betas)
    if maximize:
        grad = -grad
    if decoupled_weight_decay:
        param *= 1 - lr * weight_decay
    elif weight_decay:
        grad = grad + weight_decay * param
    mean += (1 - beta1) * (grad - mean)
    square *= beta2
    square += (1 - beta2) * grad * grad
    if largest is not None:
        square = xp(square).maximum(largest, square, out=largest)
    param -= lr / (1 - beta1**t) * mean / (xp(square).sqrt(square) / math.sqrt(1 - beta2**t) + eps)


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
