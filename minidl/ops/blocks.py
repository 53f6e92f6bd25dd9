"""Functions of single elements, computed a block at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.tape import TensorBase
from ..backend import gpu_types, kernels, xp

LARGE = 1 << 15  # elements: fewer are in the cache anyway


def blocked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which works element by element, on large arrays a block at a time: what it computes on the way stays in
    the cache. In float16 it computes in float32 and rounds once.

    Its first arguments are arrays of one shape, what follows are options. On tensors it is called as it is, to be recorded.
    """

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        n = len([a for a in args if hasattr(a, "shape")])
        if not n or any([isinstance(a, TensorBase) for a in args]):
            return function(*args)
        like = args[n - 1]
        if like.dtype.itemsize == 2:  # float16
            return call(*(a.astype("float32") for a in args[:n]), *args[n:]).astype("float16")
        whole = kernels(like).in_one(function, like.dtype)
        if whole is not None and (out := whole(n, *args)) is not None:
            return out
        if like.size < LARGE and type(like) not in gpu_types:
            return function(*args)
        out = xp(like).empty_like(like)
        arrays = [a if a.strides == out.strides else _laid_out(a, out) for a in args[:n]]
        kernels(out).blockwise(functools.partial(_store, function, args[n:]), out, *arrays)
        return out

    return call


def _store(function: Callable[..., Any], options: tuple[Any, ...], out: Any, *arrays: Any) -> None:
    out[...] = function(*arrays, *options)


def _laid_out(array: Any, like: Any) -> Any:
    """A copy of ``array`` in the memory order of ``like``."""
    out = xp(like).empty_like(like)
    out[...] = array
    return out
