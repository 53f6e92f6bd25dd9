"""Changes in place: when they are allowed, how they are noticed, and what they mean for the tape.

The memory is changed at once. For the tape a change makes a new value: ``x *= y`` gives ``x`` the history of ``x * y``.
If ``x`` is a view, its base gets the history "the old base with this part replaced", and every other view of that memory
works out its history again from the base when it is next used.
"""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..shapes import ShapeError
from .mode import mode
from .tape import call_site, counter, describe_site, differentiable, wrap


def check_writable(t: Any, op: str) -> None:
    """Refuse to change in place what must not change, before anything is changed."""
    base = t if t._base is None else t._base
    if mode.recording and base._requires_grad and base._node is None:
        raise RuntimeError(
            f"{op}: a leaf that requires a gradient{'' if t is base else ' (or a view of one)'} cannot be changed in place "
            "while recording; do it under no_grad(), or on a clone()"
        )
    if not t._array.flags.writeable:
        raise RuntimeError(f"{op}: this tensor cannot be written to: it is expanded, or looks at a read-only array; clone() it")


def mark_changed(t: Any, op: str) -> None:
    """Count a change in place, and remember where it happened."""
    seen = counter(t)
    seen.changes += 1
    seen.place = f"{op} ({describe_site(call_site())})"


def rewrite(t: Any, changed: Any) -> None:
    """Give ``t``, whose memory has just been changed, the history of ``changed``; views of the memory follow."""
    if t._base is None:
        t._node = changed._node
        t._epoch += 1
        return
    base, whole = t._base, wrap(t._base._array)
    placed.op.record(whole, (base, changed, t._path), (base._array, changed._array, t._path, whole._array))
    base._node = whole._node
    base._epoch += 1


@differentiable
def placed(input: Any, part: Any, path: Any) -> Any:
    """``input`` with the view that ``path`` leads to replaced by ``part``: what a change through a view means."""
    out = input.copy()
    _follow(out, path)[...] = part
    return out


def _follow(x: Any, path: Any) -> Any:
    for op, options in path:
        x = op(x, *options)
    return x


placed.vjp(input=lambda g, path: placed(g, 0.0, path), part=lambda g, path: _follow(g, path))


# -- the ways to change a tensor


@differentiable
def overwritten(input: Any, src: Any) -> Any:
    """``src`` in the place of ``input``, whose old value no longer counts."""
    out = input.copy()
    out[...] = src
    return out


overwritten.vjp(input=lambda g: g * 0, src=lambda g: g)


def change(t: Any, new: Any, op: str) -> Any:
    """Put the value and the history of ``new`` in the place of ``t``'s; returns ``t``."""
    check_writable(t, op)
    if new._array.shape != t._array.shape:
        raise ShapeError(f"{op}: the result has shape {new._array.shape}, which does not fit in place of {t._array.shape}")
    if dtypes.as_dtype(new._array.dtype).category > dtypes.as_dtype(t._array.dtype).category:
        raise RuntimeError(f"{op}: the result is {new._array.dtype} and cannot be put in place of {t._array.dtype}")
    t._array[...] = new._array
    mark_changed(t, op)
    if mode.recording and (new._node is not None or t.requires_grad):
        rewrite(t, new)
    return t


def change_part(t: Any, op: Any, key: Any, value: Any) -> None:
    """``t[key] = value``, recorded as ``op(t, value, key)``."""
    check_writable(t, "setitem")
    array = getattr(value, "_array", value)
    try:
        t._array[key] = array
    except ValueError as error:
        raise ShapeError(f"setitem: a value of shape {getattr(array, 'shape', ())} does not fit: {error}") from None
    mark_changed(t, "setitem")
    if mode.recording and t._array.dtype.kind == "f":
        whole = wrap(t._array)
        op.record(whole, (t, value, key), (t._array, array, key, t._array))
        if whole._node is not None:
            rewrite(t, whole)
