"""Changes in place: when they are allowed, how they are noticed, and what they mean for the tape.

The memory is changed at once. For the tape a change makes a new value: ``x *= y`` gives ``x`` the history of ``x * y``.
If ``x`` is a view, its base gets the history "the old base with this part replaced", and every other view of that memory
works out its history again from the base when it is next used.

What is allowed is what PyTorch allows, and a few things more: a change in place whose rule needs its own result
(``x.exp_()``) remembers a copy, so ``x`` may be changed again; source and destination may overlap (``x[1:] += x[:-1]``
reads all old values first); the views that `unbind`, `split`, `chunk` and iteration give, or that were made under
`no_grad` (and so require no gradient, where PyTorch's do), may be changed like any other; assignment converts dtypes
also at index tensors. One thing less: nothing expanded can be written to, nor what is sliced from it, even where
PyTorch can (``fill_``; slices without repetition).
"""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..devices import assign, device_of, may_write, moved
from ..shapes import ShapeError
from .mode import effect, mode
from .op import differentiable, move
from .tape import TensorBase, give_history, look_again, mark_changed, source, wrap


def prepare(t: Any, op: str) -> None:
    """Refuse to change in place what must not change, before anything is changed."""
    for leaf in (t, t._base):
        if mode.recording and leaf is not None and leaf._requires_grad and leaf._node is None:
            raise RuntimeError(
                f"{op}: a leaf that requires a gradient{'' if leaf is t else ' (or a view of one)'} cannot be changed in place "
                "while recording; do it under no_grad(), or on a clone()"
            )
    if not may_write(t._array):
        raise RuntimeError(f"{op}: this tensor cannot be written to: it is expanded, or looks at a read-only array; clone() it")
    if mode.recording and t._base is not None and source(t) is None and source(t._base) is not None:
        look_again(t)  # a view made under no_grad: from now on it has a part in its base's history


def rewrite(t: Any, changed: Any) -> None:
    """Give ``t``, whose memory has just been changed, the history of ``changed``; views of the memory follow."""
    if t._base is None:
        give_history(t, changed._node)
        t._epoch += 1
        return
    base, whole = t._base, wrap(t._base._array)
    order = _memory_order(base._array)
    placed.op.record(whole, (base, changed, t._path, order), (base._array, changed._array, t._path, order, whole._array))
    give_history(base, whole._node)
    base._epoch += 1


def _memory_order(array: Any) -> tuple[int, ...]:
    """The dimensions of ``array`` from the widest stride to the narrowest."""
    return tuple(sorted(range(array.ndim), key=lambda dim: -abs(array.strides[dim])))


@differentiable
def placed(input: Any, part: Any, path: Any, order: Any) -> Any:
    """``input`` with the view that ``path`` leads to replaced by ``part``: what a change through a view means.

    The copy has its memory in the ``order`` of the changed tensor's, so that what was a view there is one here.
    """
    out = input.transpose(order).copy().transpose(tuple(order.index(dim) for dim in range(len(order))))
    _follow(out, path)[...] = part
    return out


def _follow(x: Any, path: Any) -> Any:
    for op, options in path:
        x = op(x, *options)
    return x


placed.vjp(input=lambda g, path, order: placed(g, 0.0, path, order), part=lambda g, path: _follow(g, path))


# -- the ways to change a tensor


def change(t: Any, op: Any, args: tuple[Any, ...], options: dict[str, Any], name: str) -> Any:
    """Put the value and the history of ``op(t, ...)`` in the place of ``t``'s; returns ``t``."""
    _change(t, op, args, options, name)
    return t


@effect
def _change(t: Any, op: Any, args: tuple[Any, ...], options: dict[str, Any], name: str) -> None:
    prepare(t, name)
    given = [x for x in (t, *args, *options.values()) if isinstance(x, TensorBase)]
    recorded = mode.recording and any(source(x) is not None for x in given)
    old = wrap(t._array.copy(), source(t)) if recorded else t  # a rule may have to remember the old value
    new = op(old, *args, **options)
    if new._array.shape != t._array.shape:
        raise ShapeError(f"{name}: the result has shape {new._array.shape}, which does not fit in place of {t._array.shape}")
    if dtypes.as_dtype(new._array.dtype).category > dtypes.as_dtype(t._array.dtype).category:
        raise RuntimeError(f"{name}: the result is {new._array.dtype} and cannot be put in place of {t._array.dtype}")
    assign(t._array, ..., new._array)
    mark_changed(t, name)
    if recorded:
        rewrite(t, new)


@effect
def change_part(t: Any, op: Any, key: Any, value: Any, name: str) -> None:
    """``t[key] = value``, recorded as ``op(t, value, key)``."""
    prepare(t, name)
    array = getattr(value, "_array", value)
    place = device_of(t._array)
    if isinstance(value, TensorBase) and device_of(array) != place:
        if array.ndim and name != "copy_":
            raise RuntimeError(
                f"{name}: the value is on {str(device_of(array))!r}, the tensor on {str(place)!r}; use .to(device)"
            )
        value = move(value, place)
        array = value._array
    elif not isinstance(value, TensorBase) and hasattr(array, "strides"):
        array = moved(array, place)
    try:
        assign(t._array, key, array)
    except ValueError as error:
        raise ShapeError(f"{name}: a value of shape {getattr(array, 'shape', ())} does not fit: {error}") from None
    except IndexError as error:
        raise IndexError(f"{name}: shape {t._array.shape}: {error}") from None
    mark_changed(t, name)
    if mode.recording and t._array.dtype.kind == "f":
        whole = wrap(t._array)
        op.record(whole, (t, value, key), (t._array, array, key, t._array))
        if whole._node is not None:
            rewrite(t, whole)
