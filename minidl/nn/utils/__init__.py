"""What one does to all gradients or parameters of a network at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from ..._tensor import Tensor
from ...autograd import no_grad
from ...autograd.mode import effect
from ...autograd.tape import mark_changed, wrap
from ...backend import xp
from ...devices import device_of, moved
from ...functions.creation import as_tensor
from ...ops.layout import cat, reshape
from ...shapes import ShapeError
from . import rnn

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]


def _each(parameters: Any) -> Iterable[Any]:
    return [parameters] if isinstance(parameters, Tensor) else parameters


def _refuse(name: str, foreach: bool | None) -> None:
    if foreach:
        raise NotImplementedError(f"{name}: foreach={foreach!r} is not supported; leave it out")


def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None) -> Any:
    """The norm of all tensors as one vector, ``sum(abs(x) ** p) ** (1 / p)``; for ``p = inf``, the largest ``abs(x)``.

    Raises
    ------
    RuntimeError
        If it is NaN or infinite and ``error_if_nonfinite``.
    NotImplementedError
        If ``foreach`` is set, which is PyTorch's.
    """
    _refuse("get_total_norm", foreach)
    return _total_norm("get_total_norm", [*_each(tensors)], float(norm_type), error_if_nonfinite)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Multiply all gradients, in place, by ``min(1, max_norm / (total_norm + 1e-6))``: see `clip_grad_norm_`."""
    _refuse("clip_grads_with_norm_", foreach)
    _scale("clip_grads_with_norm_", [*_each(parameters)], float(max_norm), total_norm)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
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
    NotImplementedError
        If ``foreach`` is set, which is PyTorch's.
    """
    _refuse("clip_grad_norm_", foreach)
    each = [*_each(parameters)]
    if not each and isinstance(parameters, Iterator):
        warnings.warn("clip_grad_norm_: parameters is an iterator that has nothing left, so nothing is clipped", stacklevel=2)
    return _clip_norm(each, float(max_norm), float(norm_type), error_if_nonfinite)


@effect
def _clip_norm(parameters: list[Any], max_norm: float, norm_type: float, error_if_nonfinite: bool) -> Any:
    grads = [p.grad for p in parameters if p.grad is not None]
    total = _total_norm("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _scale("clip_grad_norm_", parameters, max_norm, total)
    return total


@effect
def _total_norm(name: str, tensors: list[Any], norm_type: float, error_if_nonfinite: bool) -> Any:
    if not tensors:
        return wrap(xp(0.0).zeros((), "float32"))
    arrays = [t._array for t in tensors]
    m, dtype = xp(arrays[0]), xp(arrays[0]).result_type(*arrays)
    wide = m.promote_types(dtype, "float32")  # squares of half precision overflow
    norms = m.zeros(len(arrays), wide)
    for i, a in enumerate(arrays):  # each to its place: to stack them, CuPy would send it where they are
        if a.size:
            norms[i] = m.linalg.norm(a.ravel("K").astype(wide, copy=False), norm_type)
    total = m.asarray(m.linalg.norm(norms, norm_type), dtype)
    if error_if_nonfinite and not m.isfinite(total):
        raise RuntimeError(
            f"{name}: the norm is {float(total)}; with error_if_nonfinite=False gradients are scaled by it all the same"
        )
    return wrap(total)


@effect
def _scale(name: str, parameters: list[Any], max_norm: float, total_norm: Any) -> None:
    total = as_tensor(total_norm)._array
    scale = xp(total).minimum(max_norm / (total + 1e-6), 1)
    for g in [p.grad for p in parameters if p.grad is not None]:
        array = g._array
        array *= moved(scale, device_of(array))
        mark_changed(g, name)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Hold every element of every gradient between ``-clip_value`` and ``clip_value``, in place."""
    _refuse("clip_grad_value_", foreach)
    _clip_values([*_each(parameters)], float(clip_value))


@effect
def _clip_values(parameters: list[Any], clip_value: float) -> None:
    for g in [p.grad for p in parameters if p.grad is not None]:
        xp(g._array).clip(g._array, -clip_value, clip_value, out=g._array)
        mark_changed(g, "clip_grad_value_")


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, flattened and joined; gradients flow back to them."""
    return cat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Copy the parts of ``vec`` into the parameters: the inverse of `parameters_to_vector`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: vec must be a Tensor, got {type(vec).__name__}")
    parameters = list(parameters)
    wanted = sum(p.numel() for p in parameters)
    if tuple(vec.shape) != (wanted,):
        raise ShapeError(f"vector_to_parameters: vec must have shape ({wanted},) for these parameters, got {tuple(vec.shape)}")
    start = 0
    with no_grad():
        for p in parameters:
            p.copy_(reshape(vec[start : start + p.numel()], p.shape))
            start += p.numel()
