"""`strict`: a watcher that stops at the first thing that is seldom meant, and explains it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..autograd.tape import TensorBase, call_site, describe_site
from ..autograd.watch import Watcher
from ..devices import on_host
from ..shapes import ShapeError
from .pictures import in_words
from .places import line_of, targets

# What a loss is made of, between a difference that broadcasts and the number at its end.
TOWARDS_A_LOSS = set(
    "mean sum pow mul abs square sqrt div neg add where maximum minimum norm clamp relu squeeze reshape".split()
)


class StrictError(FloatingPointError, RuntimeError):
    """A NaN or an infinity was made, or something was changed that a gradient needs."""


class StrictShapeError(StrictError, ShapeError):
    """A loss compares each prediction with targets that are not its own."""


def _place(site: Any) -> str:
    """``train.py:12: loss = ...``, the whole path and the text of the line."""
    text = line_of(site)["text"]
    return f"{describe_site(site)}" + (f"\n        {text}" if text else "")


def _arrays(names: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The arrays among the values of an op, with names."""
    for name, value in zip(names, values):
        if isinstance(value, TensorBase):
            yield name, value._array
        elif isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
            yield from _arrays([f"{name}[{i}]" for i in range(len(value))], value)
        elif isinstance(value, float):
            yield name, np.asarray(value)
        elif hasattr(value, "strides"):
            yield name, value


def _listed(arrays: Any) -> str:
    return "".join(f"\n    {name}: {in_words(a)}" for name, a in arrays)


def _bad(array: Any) -> str:
    """What is wrong with ``array``: "NaN", "Inf", or "" for nothing."""
    if array.dtype.kind != "f":
        return ""
    array = on_host(array)
    total = array.sum(dtype=array.dtype if array.dtype == np.float64 else np.float64)
    if np.isfinite(total):  # quick, and never wrong that way round
        return ""
    return "NaN" if np.isnan(array).any() else "Inf" if np.isinf(array).any() else ""


def _sum_of(array: Any) -> int:
    """A checksum of an array's numbers."""
    array = on_host(array)
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) if array.size else 0


class strict(Watcher):
    """Stop and explain, inside ``with minidl.strict():``, at what is legal and hardly ever meant.

    * The first op, in the forward or the backward pass, that makes a NaN, or an infinity out of finite numbers; or that is
      handed a NaN from outside. An optimiser's step that leaves one in a parameter.
    * A loss that compares by broadcasting, as a prediction (N, 1) with targets (N,) does: every prediction with every target.
    * An array that a gradient needs and that was changed after the forward pass: also through NumPy, unseen by the engine.

    Each error names the op, the line of the program, shapes and ranges. Every array is looked at twice, so this is for
    finding a mistake and not for training. An infinity that is put in as a number, as in ``masked_fill(mask, -inf)``, may be.

    Raises
    ------
    StrictError
        Which is a FloatingPointError and a RuntimeError; for a loss that broadcasts also a ShapeError.

    Examples
    --------
    >>> with minidl.strict():
    ...     minidl.tensor([1.0, 0.0]).log()
    Traceback (most recent call last):
    minidl.inspect.strict.StrictError: log made Inf ...
    """

    def __init__(self) -> None:
        self.sums: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()  # by node, of what its rules will read
        self.broadcast: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()  # by node of a difference, the shapes
        self.left: dict[int, tuple[Any, Any]] = {}  # by the id of an array: itself, and where it left for NumPy
        self.loss: set[Any] = set()  # the nodes between the loss and the predictions
        self.born = -1

    # -- forward

    def run(self, op: Any, values: Any) -> Any:
        """An op: what it made."""
        with np.errstate(all="ignore"):  # what NumPy would warn of is said better here
            out = super().run(op, values)
        node = out._node
        made = _bad(out._array)
        if made:
            self.judge(op, values, out, made)
        if node is not None:
            self.sums[node] = {name: _sum_of(a) for name, a in node.kept.items() if hasattr(a, "strides")}
            if op.name == "sub":
                shapes = [tuple(getattr(v, "shape", ())) for v in values[:2]]
                if shapes[0] != shapes[1] and all(out._array.size > np.prod(s, dtype=int) for s in shapes):
                    self.broadcast[node] = shapes[0], shapes[1]
        return out

    def function(self, function: Any, args: Any) -> Any:
        """A `Function`: what it made by other means than ops, say with NumPy."""
        with np.errstate(all="ignore"):
            result = super().function(function, args)
        for out in result if isinstance(result, tuple) else (result,):
            made = _bad(out._array)
            if made:
                self.judge(
                    SimpleNamespace(name=function.__name__, names=[f"input {i}" for i in range(len(args))]), args, out, made
                )
        return result

    def loss_of(self, op: str, input: Any, target: Any) -> None:
        """A loss: both of one shape."""
        super().loss_of(op, input, target)
        if tuple(input.shape) != tuple(target.shape):
            raise _broadcasts(op, call_site(), ("input", "target"), tuple(input.shape), tuple(target.shape))

    def judge(self, op: Any, values: Any, out: Any, made: str) -> None:
        """Raise if ``out`` of ``op`` is not what it should be, considering what went in."""
        site = out._node.site if out._node is not None else call_site()
        given = list(_arrays(op.names, values))
        already = {_bad(a) for _, a in given if a.dtype.kind == "f"}
        if made == "Inf" and "Inf" in already:
            return
        if made in already:
            raise StrictError(
                f"{op.name} was given NaN, at {_place(site)}\n    No op in this block made it: it was in the data or a "
                f"parameter before.{_listed(given)}"
            )
        raise StrictError(
            f"{op.name} made {made} out of {'finite numbers' if not already - {''} else 'infinite ones'}, at {_place(site)}"
            f"{_listed([*given, ('out', out._array)])}{HINTS.get(op.name, '')}"
        )

    def seen(self, t: Any, how: str) -> None:
        """Remember where an array left for NumPy, which may change it."""
        super().seen(t, how)
        if t is not None and how.startswith(("numpy()", "dlpack")):
            self.left[id(_owner(t._array))] = t._array, call_site()

    # -- backward

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """The rules of a node: the arrays they read, and what they make."""
        array = getattr(g, "_array", g)
        self.follow(node)
        self.unchanged(node)
        if hasattr(array, "strides") and _bad(array):
            raise StrictError(
                f"backward: the gradient that reaches {node.name()} is not finite: {in_words(array)}; its forward was at "
                f"{_place(node.site)}\n    It came in from outside, or several finite gradients added up to it."
            )
        with np.errstate(all="ignore"):
            found = list(super().pull(node, g, graph, needed))
        rules = targets(node)
        for parent, gp, is_new in found:
            name = next(name for to, name, *_ in rules if to is parent)
            made = _bad(getattr(gp, "_array", gp)) if gp is not None and not hasattr(gp, "parts") else ""
            if made:
                came = [("what came in", a) for a in getattr(array, "parts", {0: array}).values()]
                kept = [(n, a) for n, a in (getattr(node, "kept", None) or {}).items() if hasattr(a, "strides")]
                raise StrictError(
                    f"backward: {node.name()} made {made} in the gradient of {name!r}; its forward was at {_place(node.site)}"
                    f"{_listed([*came, *kept, ('what it made', getattr(gp, '_array', gp))])}"
                    f"{HINTS.get(node.name(), '')}"
                )
            yield parent, gp, is_new

    def follow(self, node: Any) -> None:
        """Notice a broadcast difference on the way from the loss."""
        if self.born < 0 or node.birth >= self.born:  # the youngest node of a sweep is its loss
            self.loss = {node}
        self.born = node.birth
        if node not in self.loss:
            return
        if node in self.broadcast:
            raise _broadcasts("the loss", node.site, ("left", "right"), *self.broadcast[node])
        if node.name() in TOWARDS_A_LOSS:
            self.loss.update(p for p in node.parents if p is not None and type(p) is not tuple)

    def unchanged(self, node: Any) -> None:
        """Raise if something that the rules will read is not what it was."""
        kept = getattr(node, "kept", None) or {}
        for name, before in self.sums.get(node, {}).items():
            if name not in kept or _sum_of(kept[name]) == before:
                continue
            if any(seen.changes != n for _, seen, n in node.guards):
                return  # the engine knows of it, and says where
            _, site = self.left.get(id(_owner(kept[name])), (None, None))
            where = (
                f"Its memory was handed to NumPy at {_place(site)}"
                if site
                else "No op of minidl did it: a NumPy array that shares the memory was written to"
            )
            raise StrictError(
                f"backward: {node.name()}, at {_place(node.site)}\n    needs its {name!r} of shape {kept[name].shape} as it "
                f"was, but the numbers have changed since.\n    {where}. Give the network a copy: tensor(array), or x.clone()."
            )

    # -- update

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """An optimiser's step must leave finite parameters."""
        with np.errstate(all="ignore"):
            result = super().optimizer(optimizer, step)
        for n, group in enumerate(optimizer.param_groups):
            for i, p in enumerate(group["params"]):
                if _bad(p._array):
                    name = f"{type(optimizer).__name__}.step"
                    raise StrictError(
                        f"{name} made {_bad(p._array)} in parameter {i} of group {n}, at {_place(call_site())}"
                        f"{_listed([('parameter', p._array), ('its gradient', p._grad._array)])}\n    lr is {group.get('lr')}"
                    )
        return result


HINTS = {
    "log": "\n    log(0) is -Inf, and log of less is NaN: add a small number, or take log_softmax or logsumexp: they are safe.",
    "div": "\n    Something is divided by 0: add a small number below.",
    "exp": "\n    exp overflows float32 above 88: take the largest out first, as softmax and logsumexp do.",
    "sqrt": "\n    The slope of sqrt is infinite at 0 and below there is none: add a small number inside.",
    "pow": "\n    A power below 1 has an infinite slope at 0, and of a number below 0 it is NaN.",
    "norm": "\n    Squares overflow float32 above 1.8e19.",
}


def _owner(array: Any) -> Any:
    """The array whose memory this one looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _broadcasts(what: str, site: Any, names: Sequence[str], first: Any, second: Any) -> StrictShapeError:
    """The error for a loss of two shapes that differ."""
    ndim = max(len(first), len(second))
    padded = [(1,) * (ndim - len(s)) + s for s in (first, second)]
    axes = [
        f"axis {d}: {a} in {names[0]}, {b} in {names[1]}"
        + (" (added in front)" if d < ndim - min(len(first), len(second)) else "")
        for d, (a, b) in enumerate(zip(*padded))
        if a != b
    ]
    return StrictShapeError(
        f"{what}: {names[0]} has shape {first} and {names[1]} {second}, at {_place(site)}\n    They broadcast to "
        f"{np.broadcast_shapes(first, second)}, and compare what does not belong together:\n    "
        + "\n    ".join(axes)
        + "\n    Give both one shape, for example by squeeze(1) or unsqueeze(1)."
    )
