"""How weights start. Each function fills a tensor in place, unrecorded, and returns it.

``generator`` is a `minidl.Generator`; None stands for the default one, which `minidl.manual_seed` seeds.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..functions.creation import as_tensor, eye
from ..random import Generator, host_rng
from ..shapes import ShapeError


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights must be larger so that the variance survives ``nonlinearity``.

    1 for linear layers, convolutions and sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + slope**2)) for leaky_relu
    (``param`` is its slope, 0.01), 3/4 for selu.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: param must be the slope, a number, got {param!r}")
        return math.sqrt(2 / (1 + slope**2))
    gains = {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    gains |= dict.fromkeys(("linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))), 1.0)
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: no gain is known for {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor: Any) -> tuple[int, int]:
    """How many inputs one output sees, and how many outputs one input reaches, for a weight ``(out, in, *kernel)``."""
    if len(tensor.shape) < 2:
        raise ShapeError(f"init: fan_in and fan_out are known for 2 dimensions and more, got shape {tuple(tensor.shape)}")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Any:
    """Numbers drawn evenly from [a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Any:
    """Numbers drawn from a normal distribution."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Generator | None = None
) -> Any:
    """Numbers drawn from a normal distribution, those outside [a, b] drawn again."""
    if a >= b or std <= 0:
        raise ValueError(f"trunc_normal_: wants a < b and std > 0, got a={a}, b={b}, std={std}")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("trunc_normal_: the mean is more than 2 std from [a, b], so most numbers lie at one end", stacklevel=2)
    source, peak = host_rng(generator), ((min(max(mean, a), b) - mean) / std) ** 2 / 2
    inside = math.erf((b - mean) / std * math.sqrt(0.5)) - math.erf((a - mean) / std * math.sqrt(0.5))
    values = np.empty(math.prod(tensor.shape))
    wanted = np.arange(values.size)
    while wanted.size:
        if inside > 0.6:  # most normal numbers fall inside
            drawn = source.normal(mean, std, wanted.size)
            good = (a <= drawn) & (drawn <= b)
        else:  # even numbers, kept with a chance in proportion to the density
            drawn = source.uniform(a, b, wanted.size)
            good = source.random(wanted.size) < np.exp(peak - ((drawn - mean) / std) ** 2 / 2)
        values[wanted[good]] = drawn[good]
        wanted = wanted[~good]
    return _fill(tensor, values.clip(a, b).reshape(tensor.shape))


def _fill(tensor: Any, values: Any) -> Any:
    with no_grad():
        return tensor.copy_(as_tensor(values, dtype=tensor.dtype, device=tensor.device))


def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Any) -> Any:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Any) -> Any:
    """The identity matrix."""
    if len(tensor.shape) != 2:
        raise ShapeError(f"eye_: wants 2 dimensions, got shape {tuple(tensor.shape)}")
    with no_grad():
        return tensor.copy_(eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution that passes its channels on: in each group, the middle of the kernel from channel i to filter i is 1."""
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4, 5):
        raise ShapeError(f"dirac_: wants 3, 4 or 5 dimensions, got shape {shape}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"dirac_: groups must divide the {shape[0]} filters, got {groups}")
    filters, middle = shape[0] // groups, tuple(size // 2 for size in shape[2:])
    values = np.zeros(shape)
    for first in range(0, shape[0], max(1, filters)):
        for i in range(min(filters, shape[1])):
            values[(first + i, i, *middle)] = 1
    return _fill(tensor, values)


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Evenly between ``±gain * sqrt(6 / (fan_in + fan_out))``. Source: Glorot and Bengio, AISTATS 2010."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Normal with std ``gain * sqrt(2 / (fan_in + fan_out))``. Source: Glorot and Bengio, AISTATS 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Any:
    """Evenly between ``±gain * sqrt(3 / fan)``; ``a`` is the slope of a leaky_relu. Source: He et al., ICCV 2015."""
    if not tensor.numel():
        warnings.warn("kaiming_uniform_: the tensor has no elements to initialise", stacklevel=2)
        return tensor
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Any:
    """Normal with std ``gain / sqrt(fan)``; ``a`` is the slope of a leaky_relu. Source: He et al., ICCV 2015."""
    if not tensor.numel():
        warnings.warn("kaiming_normal_: the tensor has no elements to initialise", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Generator | None = None) -> Any:
    """A matrix (out, in * kernel) whose rows or columns, whichever are fewer, are orthogonal and of length ``gain``.

    Source: Saxe et al., Exact solutions to the nonlinear dynamics of learning, 2014.
    """
    if len(tensor.shape) < 2:
        raise ShapeError(f"orthogonal_: wants 2 dimensions or more, got shape {tuple(tensor.shape)}")
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(host_rng(generator).standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # so that every orthogonal matrix is equally likely
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Any:
    """Normal with std ``std``, but ``ceil(sparsity * rows)`` elements of each column, drawn at random, are 0.

    Source: Martens, Deep learning via Hessian-free optimization, ICML 2010.
    """
    if len(tensor.shape) != 2:
        raise ShapeError(f"sparse_: wants 2 dimensions, got shape {tuple(tensor.shape)}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity must lie between 0 and 1, got {sparsity}")
    source, rows = host_rng(generator), tensor.shape[0]
    values = source.normal(0, std, tensor.shape)
    for column in values.T:
        column[source.permutation(rows)[: math.ceil(sparsity * rows)]] = 0
    return _fill(tensor, values)
