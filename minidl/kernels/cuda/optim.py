"""The steps of optimisers, in one launch a parameter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .loader import launch, plain


def _numbers(dtype: Any, *values: float) -> list[Any]:
    return [dtype.type(v) for v in values]


def sgd(group: dict[str, Any], dampening: float, param: Any, grad: Any, velocity: Any = None) -> None:
    """One step of `minidl.optim.SGD`, in place; ``velocity`` is None without momentum."""
    lr, momentum, decay = (float(group[name]) for name in ("lr", "momentum", "weight_decay"))
    flags = [int(bool(f)) for f in (velocity is not None, group["nesterov"], group["maximize"])]
    numbers = _numbers(param.dtype, lr, momentum, 1 - dampening, decay)
    arrays = param, plain(grad), param if velocity is None else velocity
    launch("optim", "sgd", param.size, *arrays, param.size, *numbers, *flags, real=param.dtype)


def adam(group: dict[str, Any], t: float, param: Any, grad: Any, mean: Any, square: Any, largest: Any = None) -> None:
    """One step of `minidl.optim.Adam` or ``AdamW``, the ``t``-th, in place; ``largest`` is None without amsgrad."""
    lr, eps, decay, (beta1, beta2) = float(group["lr"]), float(group["eps"]), float(group["weight_decay"]), group["betas"]
    decoupled = bool(group.get("decoupled_weight_decay"))
    rates = lr / (1 - beta1**t), 1 - float(beta1), float(beta2), 1 - float(beta2), math.sqrt(1 - beta2**t), eps
    decays = (0.0, 1 - lr * decay) if decoupled else (decay, 1.0)
    flags = [int(largest is not None), int(bool(group["maximize"]))]
    arrays = param, plain(grad), mean, square, mean if largest is None else largest
    launch("optim", "adam", param.size, *arrays, param.size, *_numbers(param.dtype, *rates, *decays), *flags, real=param.dtype)


STEPS = {"sgd": sgd, "adam": adam}


def fused(name: str, *arrays: Any) -> Any:
    """The step of this name, if a kernel can take these arrays: of one dtype, and what it changes without gaps."""
    alike = len({a.dtype for a in arrays}) == 1 and arrays[0].dtype in (np.float32, np.float64)
    whole = all(a.flags.c_contiguous for a in (arrays[0], *arrays[2:]))
    return STEPS.get(name) if alike and whole else None
