"""Weighted sums along some dimensions: each map as a list of entries, sorted by what they are added to."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from .capture import keep
from .loader import empty, launch, plain, single


def _places(places: Any) -> Any:
    return np.arange(*places) if isinstance(places, tuple) else places


def _entries(groups: Any, size: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Where the entries of each output start, their inputs and their weights."""
    to, source, weight = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for targets, terms in groups:
        for sources, w in terms:
            outputs = _places(targets)
            to.append(outputs)
            source.append(_places(sources))
            weight.append(np.broadcast_to(1.0 if w is None else w, len(outputs)))
    outputs = np.concatenate(to)
    order = np.argsort(outputs, kind="stable")
    starts = np.searchsorted(outputs[order], np.arange(size + 1))
    return starts.astype(np.int32), np.concatenate(source)[order].astype(np.int32), np.concatenate(weight)[order].astype(dtype)


@lru_cache(maxsize=256)
def _sent(device: int, dtype: Any, *lists: bytes) -> list[Any]:
    """Such lists on a GPU. A network asks for the same ones at every step; they are sent once, and have come before any stream
    goes on, since another may be the next that reads them.
    """
    return [cupy.asarray(np.frombuffer(a, kind), blocking=True) for a, kind in zip(lists, (np.int32, np.int32, dtype))]


@single
def resample(x: Any, maps: Any) -> Any:
    """One dimension after the other."""
    x = plain(x)
    for dim, groups, size in maps:
        out = empty((*x.shape[:dim], size, *x.shape[dim + 1 :]), x.dtype)
        entries = _sent(cupy.cuda.get_device_id(), x.dtype, *(a.tobytes() for a in _entries(groups, size, x.dtype)))
        keep(entries)  # what is sent may be forgotten, when other sizes come
        numbers = out.size, x.shape[dim], size, math.prod(x.shape[dim + 1 :])
        launch("resample", "resample", out.size, x, out, *entries, *numbers, real=x.dtype)
        x = out
    return x
