"""Dimensions made longer or shorter, one after the other: every output is a weighted sum of a few inputs.

The map of one dimension is ``(dim, groups, size)``, its groups ``(to, ((source, weight), ...))``: the outputs at places ``to``
get the sum over the terms of the inputs at ``source`` times ``weight``; what no group names is 0. Places are (start, stop,
step) or an array of integers, all different; a weight is a number, a vector with one for each place, or None for 1. The
transpose of such a map is written in the same way, so one op is its own rule.
"""

from __future__ import annotations

from typing import Any

from ..autograd import differentiable
from ..backend import kernels


@differentiable
def resample(input: Any, maps: Any) -> Any:
    """Each of ``maps`` applied in turn; their dimensions are not negative."""
    return kernels(input).resample(input, maps)


def _transposed(groups: Any) -> Any:
    """The groups of the transposed map: what was read at is written to."""
    found: dict[Any, Any] = {}
    for to, terms in groups:
        for source, weight in terms:
            key = source if isinstance(source, tuple) else source.tobytes()
            found.setdefault(key, (source, []))[1].append((to, weight))
    return [*found.values()]


resample.vjp(
    input=lambda g, maps, input_shape: resample(g, [(d, _transposed(steps), input_shape[d]) for d, steps, _ in reversed(maps)])
)
