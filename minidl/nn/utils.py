"""What one does to all gradients or parameters of a network at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd import no_grad
from ..autograd.mode import mode
from ..autograd.tape import TensorBase, mark_changed, wrap
from ..backend import xp
from ..ops.layout import cat, reshape
from ..shapes import ShapeError


def _each(parameters: Any) -> Iterable[Any]:
    return [parameters] if isinstance(parameters, TensorBase) else parameters


def _effect(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args) if mode.watcher is None else mode.watcher.effect(function, args)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Any:
    """Scale all gradients, in place, so that the norm of all of them as one vector is at most ``max_norm``.

    Each is multiplied by ``min(1, max_norm / (norm + 1e-6))``. Source: Pascanu et al., ICML 2013.

    Returns
    -------
    Tensor
        The norm before.

    Raises
    ------
    RuntimeError
        If the norm is NaN or infinite and ``error_if_nonfinite``; nothing is changed then.
    """
    return _effect(_clip_norm, [*_each(parameters)], max_norm, norm_type, error_if_nonfinite)


def _clip_norm(parameters: list[Any], max_norm: float, norm_type: float, error_if_nonfinite: bool) -> Any:
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return wrap(xp(0.0).zeros((), "float32"))
    m = xp(grads[0]._array)
    norms = m.stack([m.linalg.norm(g._array.ravel("K"), norm_type) if g._array.size else g._array.sum() for g in grads])
    total = m.asarray(m.linalg.norm(norms, norm_type), grads[0]._array.dtype)
    if error_if_nonfinite and not m.isfinite(total):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of the gradients is {float(total)}; "
            "with error_if_nonfinite=False they are scaled all the same"
        )
    scale = min(1.0, float(max_norm) / (float(total) + 1e-6)) if not m.isnan(total) else math.nan
    for g in grads:
        array = g._array
        array *= scale
        mark_changed(g, "clip_grad_norm_")
    return wrap(total)


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Hold every element of every gradient between ``-clip_value`` and ``clip_value``, in place."""
    _effect(_clip_values, [*_each(parameters)], float(clip_value))


def _clip_values(parameters: list[Any], clip_value: float) -> None:
    for g in [p.grad for p in parameters if p.grad is not None]:
        xp(g._array).clip(g._array, -clip_value, clip_value, out=g._array)
        mark_changed(g, "clip_grad_value_")


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, flattened and joined; gradients flow back to them."""
    return cat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Copy the parts of ``vec`` into the parameters: the inverse of `parameters_to_vector`."""
    parameters = list(parameters)
    wanted = sum(p.numel() for p in parameters)
    if tuple(vec.shape) != (wanted,):
        raise ShapeError(f"vector_to_parameters: vec must have shape ({wanted},) for these parameters, got {tuple(vec.shape)}")
    start = 0
    with no_grad():
        for p in parameters:
            p.copy_(reshape(vec[start : start + p.numel()], p.shape))
            start += p.numel()
