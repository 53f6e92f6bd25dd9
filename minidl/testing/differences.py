"""Derivatives by differences: what a gradient is compared with.

The derivative of a function of one number is taken from its values at five points, ``-h, -h/2, 0, h/2, h``. The central
differences over ``h`` and ``h/2`` have errors that shrink as ``h**2``, so that ``(4 * narrow - wide) / 3`` has none of that
order (Richardson's extrapolation) and is good to ten digits in float64.

The same five values tell whether there is a derivative at all. Where the function is smooth the two central differences agree,
and the slopes to the right and to the left differ by ``h`` times the second derivative, which extrapolates to 0. At a kink the
slopes keep their distance however small ``h`` is; near one the differences change with ``h``. So ``h`` is made smaller until
all agree, and if they never do the place is called a kink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .engine import Engine


class Precision(NamedTuple):
    """How differences are taken in a dtype."""

    step: float  # the widest step, for numbers around 1
    agreement: float  # to which share of the slope differences must agree; a kink bends the slope by more
    tries: int  # how many steps are tried, each an eighth of the one before
    rounding: float  # the relative error of one operation


PRECISIONS = {
    "float64": Precision(3e-4, 1e-5, 4, 2.0**-52),
    "float32": Precision(3e-2, 1e-2, 2, 2.0**-23),
    "float16": Precision(0.25, 1e-1, 1, 2.0**-10),
}


def derivative(phi: Callable[[float], Any], precision: Precision, floor: float, size: Any = 0.0) -> tuple[Any, Any]:
    """The derivative at 0 of ``phi``, a function of one number with numbers as value, and where it has a kink.

    Parameters
    ----------
    phi : function
        From a float to a NumPy array or scalar.
    precision : Precision
        How to take the differences; scale ``step`` to the size of what ``phi`` varies.
    floor : float
        Slopes below this count as 0.
    size : array
        The size of the numbers that ``phi`` adds up, from which its rounding error is guessed.

    Returns
    -------
    (array, array of bool)
        The derivative (of no use where there is a kink), and where there is a kink.
    """
    with np.errstate(all="ignore"):
        middle = np.asarray(phi(0.0))
        size = np.maximum(np.abs(middle), size)
        value, kink = np.full(middle.shape, np.nan), np.full(middle.shape, True)
        for attempt in range(precision.tries):
            h = precision.step / 8**attempt
            left, near_left, near_right, right = (np.asarray(phi(t)) for t in (-h, -h / 2, h / 2, h))
            wide, narrow = (right - left) / (2 * h), (near_right - near_left) / h
            bend, near_bend = (right - 2 * middle + left) / h, (near_right - 2 * middle + near_left) / (h / 2)
            steepest = np.maximum(np.abs(right - middle), np.abs(left - middle)) / h
            limit = floor + precision.agreement * steepest + 16 * precision.rounding * size / h
            smooth = (np.abs(wide - narrow) <= limit) & (np.abs(2 * near_bend - bend) <= limit)
            value = np.where(kink & smooth, (4 * narrow - wide) / 3, value)
            kink = kink & ~smooth
            if not kink.any():
                break
    return value, kink


def numerical_jacobian(
    func: Callable[..., Any], inputs: Any, *, eps: float | None = None, engine: Any = None
) -> tuple[Any, ...]:
    """The Jacobian of ``func``, a function of tensors with a tensor as value, by differences in float64.

    Parameters
    ----------
    func : function
        Of tensors; must work in float64.
    inputs : Tensor or tuple
        Where. Those with ``requires_grad`` are varied.
    eps : float, optional
        The widest step, for numbers around 1.

    Returns
    -------
    tuple of arrays
        For each input with ``requires_grad`` an array of shape ``(*output.shape, *input.shape)``; NaN at kinks.
    """
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    engine = engine or Engine(inputs)
    precision = PRECISIONS["float64"] if eps is None else PRECISIONS["float64"]._replace(step=eps)
    point = as_float64(inputs, engine)
    jacobians = []
    for place, x in enumerate(inputs):
        if engine.is_tensor(x) and engine.wants_grad(x):
            columns = [
                _column(func, inputs, engine, point, place, index, precision) for index in np.ndindex(point[place].shape)
            ]
            shape = np.shape(engine.array(func(*with_arrays(inputs, engine, point))))
            flat = np.stack(columns, -1) if columns else np.zeros((*shape, 0))
            jacobians.append(flat.reshape(shape + point[place].shape))
    return tuple(jacobians)


def _column(func: Any, inputs: Any, engine: Any, point: Any, place: int, index: Any, precision: Precision) -> Any:
    """The derivative of every output with respect to one element of one input."""

    def phi(t: float) -> Any:
        moved = point[place].copy()
        moved[index] += t
        return np.array(engine.array(func(*with_arrays(inputs, engine, {**point, place: moved}))), np.float64)

    value, kink = derivative(phi, precision._replace(step=precision.step * max(1.0, abs(point[place][index]))), 1e-9)
    return np.where(kink, np.nan, value)


def as_float64(inputs: tuple[Any, ...], engine: Any) -> dict[int, Any]:
    """The arrays of those inputs that are tensors, by place; floating ones as copies in float64."""
    arrays = {i: engine.array(x) for i, x in enumerate(inputs) if engine.is_tensor(x)}
    return {i: np.array(a, np.float64) if a.dtype.kind == "f" else a for i, a in arrays.items()}


def with_arrays(inputs: tuple[Any, ...], engine: Any, arrays: dict[int, Any]) -> list[Any]:
    """``inputs`` with fresh tensors around ``arrays`` in their places."""
    return [engine.tensor(arrays[i]) if i in arrays else x for i, x in enumerate(inputs)]
