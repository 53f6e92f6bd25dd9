"""The steps of optimisers: many parameters in a launch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .capture import each_time, refuse, told
from .loader import BLOCK, launch, plain

MOST = 80  # parameters in a launch, as in optim.cu
PARAMETERS = np.dtype(
    [("arrays", np.uint64, (5, MOST)), ("sizes", np.int32, MOST), ("first", np.int32, MOST), ("count", np.int32)], align=True
)


def sgd(group: dict[str, Any], dampening: float, n_arrays: int) -> tuple[float, ...]:
    """The kernel's numbers for a step of `minidl.optim.SGD`; the third array, if there is one, is the velocity."""
    lr, momentum, decay = (float(group[name]) for name in ("lr", "momentum", "weight_decay"))
    flags = n_arrays > 2, group["nesterov"], group["maximize"]
    return lr, momentum, 1 - dampening, decay, *(float(bool(f)) for f in flags)


def adam(group: dict[str, Any], t: float, n_arrays: int) -> tuple[float, ...]:
    """The kernel's numbers for the ``t``-th step of `minidl.optim.Adam` or ``AdamW``; a fifth array is amsgrad's."""
    lr, eps, decay, (beta1, beta2) = float(group["lr"]), float(group["eps"]), float(group["weight_decay"]), group["betas"]
    rates = lr / (1 - beta1**t), 1 - float(beta1), float(beta2), 1 - float(beta2), math.sqrt(1 - beta2**t), eps
    decays = (0.0, 1 - lr * decay) if group.get("decoupled_weight_decay") else (decay, 1.0)
    return *rates, *decays, float(n_arrays > 4), float(bool(group["maximize"]))


NUMBERS: dict[str, Any] = {"sgd": (sgd, 7), "adam": (adam, 10)}  # and how many there are


def fused(name: str, group: dict[str, Any], steps: list[Any], again: Callable[[], list[float]] | None = None) -> list[Any]:
    """Do the steps of a group that a kernel can do, and return the others: of float16, huge, or with gaps in what is kept.

    If the launches are captured, ``again()`` counts the steps at each repetition, and tells the number of each.
    """
    alike: dict[Any, list[Any]] = {}
    others, times = [], Counter[int]()
    counted = [step[0] for step in steps]
    for i, step in enumerate(steps):
        number, *arrays = step
        param, dtype = arrays[0], arrays[0].dtype
        whole = all(a.flags.c_contiguous and a.dtype == dtype for a in (param, *arrays[2:]))
        if not whole or dtype not in (np.float32, np.float64) or arrays[1].dtype != dtype or param.size >= 2**31:
            others.append(step)
            continue
        arrays[1] = plain(arrays[1])
        times[param.data.ptr] += 1  # one that is given twice takes two steps, the second in another launch
        alike.setdefault((times[param.data.ptr], number, len(arrays), dtype), []).append((i, arrays))
    if others:
        refuse(f"a step of {name} for parameters that are of float16, huge or with gaps")
    if again is not None:
        each_time(lambda: counted.__setitem__(slice(None), again()))
    for (_, _, n_arrays, dtype), rows in alike.items():
        numbers = told(_reader(name, group, counted, rows[0][0], n_arrays), dtype, NUMBERS[name][1])
        for start in range(0, len(rows), MOST):
            parameters, blocks = _parameters([arrays for _, arrays in rows[start : start + MOST]])
            launch("optim", name, (blocks,), parameters, numbers, real=dtype)
    return others


def _reader(name: str, group: dict[str, Any], counted: list[float], which: int, n_arrays: int) -> Callable[[], Any]:
    """What tells the numbers of a launch, by the options of the group and the count of one of its steps as they are then."""
    return lambda: NUMBERS[name][0](group, counted[which], n_arrays)


def _parameters(rows: list[Any]) -> tuple[Any, int]:
    """Up to ``MOST`` parameters, as the kernels take them, and the number of blocks for them."""
    made, n = np.zeros(1, PARAMETERS), len(rows)
    sizes = np.array([row[0].size for row in rows])
    ends = np.cumsum(-(-sizes // BLOCK))
    made["arrays"][0, : len(rows[0]), :n] = np.array([[a.data.ptr for a in row] for row in rows], np.uint64).T
    made["sizes"][0, :n], made["first"][0, 1:n], made["count"] = sizes, ends[:-1], n
    return made, int(ends[-1])
