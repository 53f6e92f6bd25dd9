"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd.tape import wrap
from ..backend import xp
from .optimizer import FusedOptimizer, decayed


class SGD(FusedOptimizer):
    """Gradient descent, with momentum if wanted::

        g = gradient + weight_decay * param                # minus the gradient, if maximize
        v = momentum * v + (1 - dampening) * g             # v starts as g; without momentum it is g
        param = param - lr * v                             # lr * (g + momentum * v), if nesterov

    Sources: Polyak, Some methods of speeding up the convergence of iteration methods, 1964; Sutskever et al., On the
    importance of initialization and momentum in deep learning, ICML 2013, whose v is this one times ``lr``.

    Parameters
    ----------
    params : iterable
        Tensors, or groups of them: see `Optimizer`.
    lr : float
        The learning rate.
    momentum, dampening, weight_decay : float
        As above.
    nesterov : bool
        Look ahead along the momentum; wants a momentum and no dampening.
    maximize : bool
        Climb instead of descending.
    foreach, differentiable, fused
        PyTorch's; not supported.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        self._check(lr=lr, momentum=momentum, weight_decay=weight_decay)
        self._refuse(foreach=foreach, differentiable=differentiable, fused=fused)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"SGD: nesterov wants a momentum and no dampening, got {momentum} and {dampening}")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def prepare(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, ...]:
        """The dampening, and with a momentum the velocity."""
        dampening = float(group["dampening"])
        if not group["momentum"]:
            return dampening, param, grad
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"], dampening = wrap(xp(param).zeros_like(param)), 0.0
        return dampening, param, grad, state["momentum_buffer"]._array

    @staticmethod
    def formulas(group: dict[str, Any], dampening: float, param: Any, grad: Any, velocity: Any = None) -> None:
        """As above, on a block of each array."""
        grad = decayed(group, param, grad)
        if velocity is not None:
            momentum = float(group["momentum"])
            velocity *= momentum
            velocity += (1 - dampening) * grad if dampening else grad
            grad = grad + momentum * velocity if group["nesterov"] else velocity
        param -= float(group["lr"]) * grad
