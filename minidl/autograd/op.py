"""Ops: functions with the rules of their gradients, which record themselves on the tape.

Two ideas carry all of it.

*An op* is a function over arrays with one rule for each input that can have a gradient::

    @differentiable
    def mul(input, other):
        return input * other
    mul.vjp(input=lambda g, other: g * other,
            other=lambda g, input: g * input)

A rule takes ``g``, the gradient of the loss with respect to the op's output, to the gradient with respect
to that input; the other names in its parameter list say what it has to remember: inputs, ``out``, options, ``NAME_shape``,
and what the op ``keeps`` besides. Nothing else is remembered, and nothing at all for inputs that want no gradient.

*Arrays in, array out; any tensor in, tensor out.* So a rule serves every order: the first-order sweep runs it on bare
arrays, and with ``create_graph=True`` the very same rule runs on tensors and is itself recorded.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from .. import backend, devices, dtypes
from ..shapes import ShapeError, broadcast_shapes
from .mode import T, mode
from .tape import Counter, Node, TensorBase, counter, describe_site, source, wrap

if TYPE_CHECKING:
    from .._tensor import Tensor

_REQUIRED = inspect.Parameter.empty
_NUMBERS = (int, float, bool)
_LISTS = {tuple, list}
_ALIASES = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's spellings, which PyTorch takes as well


class Rule:
    """One pullback: what it computes, what it reads, and for which inputs."""

    __slots__ = ("inputs", "names", "pull", "reads")

    def __init__(self, inputs: int | tuple[int, ...], pull: Callable[..., Any], reads: tuple[tuple[str, int], ...]) -> None:
        self.inputs, self.pull, self.reads = inputs, pull, reads
        self.names = tuple(name for name, _ in reads)

    def parent(self, values: Sequence[Any]) -> Any:
        """Where this rule's gradient goes: one source, a tuple for several inputs, or None if none is wanted."""
        if type(self.inputs) is int:
            value = values[self.inputs]
            if isinstance(value, TensorBase):
                return source(value)
            if not isinstance(value, (tuple, list)):
                return None
        else:
            value = [values[i] for i in self.inputs]  # type: ignore[union-attr]
        parents = tuple(source(v) if isinstance(v, TensorBase) else None for v in value)
        return parents if any(p is not None for p in parents) else None


class Op:
    """A function over arrays, the rules of its gradient, and how calls of it are recorded."""

    def __init__(self, forward: Callable[..., Any], keeps: tuple[str, ...], promotes: str | None, view: bool) -> None:
        self.forward, self.keeps, self.promotes, self.view = forward, keeps, promotes, view
        self.name = forward.__name__.strip("_")
        parameters = inspect.signature(forward).parameters
        self.names = tuple(parameters)
        self.defaults = tuple(p.default for p in parameters.values())
        self.n_required = self.defaults.count(_REQUIRED)
        self.slots = (*self.names, "out", *keeps, "wanted", *(f"{name}_shape" for name in self.names))
        self.rules: list[Rule] = []
        self.inputs: tuple[int, ...] = ()  # the differentiable ones
        self.into: Callable[..., None] | None = None  # see `OpNode.add_into`
        self.call: Callable[..., Any] = forward

    def vjp(self, joint: Callable[..., Any] | None = None, **rules: Callable[..., Any]) -> None:
        """Give the rules, one for each input by name; or one ``joint`` rule that returns a tuple for all of them."""
        new = [self._rule(self._index(name), pull) for name, pull in rules.items() if joint is None]
        if joint is not None:
            new = [self._rule(tuple(map(self._index, rules or self.names)), joint)]
        again = {rule.inputs for rule in new}
        self.rules = [rule for rule in self.rules if rule.inputs not in again] + new  # a second one replaces the first

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise TypeError(f"{self.name}: there is no input {name!r} to give a rule for; it takes {self.names}")
        return self.names.index(name)

    def _rule(self, inputs: int | tuple[int, ...], pull: Callable[..., Any]) -> Rule:
        first, *reads = tuple(inspect.signature(pull).parameters) or (None,)
        if first != "g" or any(name not in self.slots for name in reads):
            raise TypeError(f"{self.name}: a rule takes g and then names from {self.slots}; got {(first, *reads)}")
        self.inputs += tuple(i for i in (inputs if isinstance(inputs, tuple) else (inputs,)) if i not in self.inputs)
        return Rule(inputs, pull, tuple((name, self.slots.index(name)) for name in reads))

    def bind(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """The values of all parameters, in order."""
        if not options and len(args) >= self.n_required and len(args) <= len(self.names):
            return (*args, *self.defaults[len(args) :])
        values = list(args)
        for alias, name in _ALIASES.items():
            if alias in options and name in self.names:
                options[name] = options.pop(alias)
        for name, default in zip(self.names[len(args) :], self.defaults[len(args) :]):
            value = options.pop(name, default)
            if value is _REQUIRED:
                raise TypeError(f"{self.name}: the argument {name!r} is missing")
            values.append(value)
        if options:
            raise TypeError(f"{self.name}: got an unexpected argument {next(iter(options))!r}; it takes {self.names}")
        if len(values) > len(self.names):
            raise TypeError(f"{self.name}: takes {len(self.names)} arguments {self.names}, got {len(values)}")
        return tuple(values)

    def refuse(self, i: int, value: Any) -> None:
        """Say that argument ``i`` is nothing to compute with."""
        wanted = "a Tensor, an array or a number"
        raise TypeError(f"{self.name}: the argument {self.names[i]!r} must be {wanted}, got {type(value).__name__}")

    def run(self, values: Sequence[Any]) -> Any:
        """The op on tensors: unwrap, compute, wrap, and record if some input wants a gradient."""
        arrays: Any = [v._array if isinstance(v, TensorBase) else v for v in values]
        if backend.gpu is not None and (backend.several or type(arrays[0]) in _LISTS or np.ndarray in map(type, arrays)):
            gathered, place = _gathered(self, values)
            if gathered is not values or place.index not in (None, backend.gpu.xp.cuda.runtime.getDevice()):
                with devices.current(place):
                    return self.run(gathered)
        if type(arrays[0]) in _LISTS:
            arrays[0] = _unwrap(arrays[0])
        if self.promotes is not None:
            arrays = promote(self, arrays)
        try:
            result = self.forward(*arrays)
        except ValueError as error:
            if self.promotes is not None and not isinstance(error, ShapeError):  # say it with names, if it is broadcasting
                broadcast_shapes(*(a.shape for a in arrays if hasattr(a, "shape")), op=self.name)
            raise
        except MemoryError as error:
            raise devices.out_of_memory(self.name, error) from error
        out, extras = (result[0], result[1:]) if self.keeps else (result, ())
        if isinstance(out, np.generic):
            out = np.asarray(out)
        t = wrap(out)
        if self.view:
            self._mark_view(t, values, arrays[0])
        if mode.recording and out.dtype.kind == "f":
            self.record(t, values, (*arrays, out, *extras))
        return t

    def _mark_view(self, t: TensorBase, values: Sequence[Any], array: Any) -> None:
        """Note on ``t`` that it looks at the first input's memory, if it does (a reshape may have had to copy)."""
        first, owner = values[0], t._array.base
        if owner is None or not isinstance(first, TensorBase):  # a copy has its memory for itself
            return
        if owner is array or owner is array.base or backend.xp(array).may_share_memory(t._array, array):
            base = first if first._base is None else first._base
            t._counter = base._counter or counter(base)
            t._base, t._path, t._epoch = base, (*first._path, (self.call, tuple(values[1:]))), base._epoch

    def record(self, t: TensorBase, values: Sequence[Any], slots: Sequence[Any]) -> None:
        """Note on the tape that this op made ``t``: its parents, and what its rules must remember."""
        parents = [rule.parent(values) for rule in self.rules]
        if parents.count(None) == len(parents):
            return
        n_inputs, n_slots = len(self.names), len(slots)
        kept: dict[str, Any] = {}
        guards: list[tuple[str, Counter, int]] = []
        for rule, parent in zip(self.rules, parents):
            if parent is None:
                continue
            for name, i in rule.reads:
                if name in kept:
                    continue
                if i < n_slots:
                    kept[name] = slots[i]
                    if i <= n_inputs:
                        _guard(guards, name, values[i] if i < n_inputs else t)
                elif i == n_slots:
                    kept[name] = tuple(p is not None for p in parent)
                else:
                    kept[name] = slots[i - n_slots - 1].shape
        t._node = OpNode(self, parents, kept, guards, t._array)


def _guard(guards: list[tuple[str, Counter, int]], name: str, value: Any) -> None:
    """Note how often ``value``, which a rule will read, has been changed so far."""
    if isinstance(value, TensorBase):
        seen = counter(value)
        guards.append((name, seen, seen.changes))
    elif type(value) in (tuple, list):
        for v in value:
            _guard(guards, name, v)


class Differentiable(Protocol):
    """What `differentiable` makes, as its callers see it."""

    op: Op
    vjp: Callable[..., None]

    def __call__(self, *args: Any, **options: Any) -> Tensor: ...


@overload
def differentiable(forward: Callable[..., Any]) -> Differentiable: ...
@overload
def differentiable(*, keeps: str = ..., promotes: str | None = ..., view: bool = ...) -> Callable[..., Differentiable]: ...
def differentiable(forward: Any = None, *, keeps: str = "", promotes: str | None = None, view: bool = False) -> Any:
    """Make a function over arrays an op: polymorphic over arrays and tensors, with rules for its gradient.

    Parameters
    ----------
    forward : function
        Takes arrays and options, returns an array; its parameter names are the op's.
    keeps : str
        Names of further values that ``forward`` returns after its output, for the rules to read.
    promotes : {None, "common", "float", "same"}
        How tensors of different dtypes are brought together before ``forward`` sees them: not at all, to their common
        type, to a common floating type, or by an error unless they are the same.
    view : bool
        Whether the output may look at the first input's memory.

    Returns
    -------
    function
        With an attribute ``vjp(**rules)`` that takes one rule for each differentiable input, or ``vjp(rule, a=..., b=...)``
        joint rules (see `Op.vjp`). A rule returns ``g`` itself, a view of it, or a new array: the engine adds into new
        arrays in place. Broadcasting is undone by the engine.

    Examples
    --------
    >>> import numpy as np
    >>> @differentiable
    ... def cube(input):
    ...     return input**3
    >>> cube.vjp(input=lambda g, input: g * 3 * input**2)
    >>> cube(np.array(2.0))
    np.float64(8.0)
    """
    if forward is None:
        return functools.partial(differentiable, keeps=keeps, promotes=promotes, view=view)
    op = Op(forward, tuple(keeps.split()), promotes, view)
    run, bind, n_names, keeps_more = op.run, op.bind, len(op.names), bool(op.keeps)

    @functools.wraps(forward)
    def call(*args: Any, **options: Any) -> Any:
        if options or len(args) != n_names:
            args = bind(args, options)
        for value in args:
            if isinstance(value, TensorBase):
                return run(args) if mode.watcher is None else mode.watcher.run(op, args)
        if args and type(args[0]) in (tuple, list) and any(isinstance(v, TensorBase) for v in args[0]):
            return run(args) if mode.watcher is None else mode.watcher.run(op, args)
        if args and type(args[0]) not in backend.types and (op.promotes or not isinstance(args[0], (tuple, list))):
            op.refuse(0, args[0])
        result = forward(*args)
        return result[0] if keeps_more else result

    call.op = op  # type: ignore[attr-defined]
    call.vjp = op.vjp  # type: ignore[attr-defined]
    op.call = call
    return call


def _gathered(op: Op, values: Sequence[Any]) -> tuple[Sequence[Any], devices.device]:
    """``values`` on one device, and which one: what has no dimensions comes along, and everything else must be there."""
    listed = (*values[0], *values[1:]) if type(values[0]) in (tuple, list) else values
    arrays = [a for a in [v._array if isinstance(v, TensorBase) else v for v in listed] if hasattr(a, "strides")]
    places = [devices.device_of(a) for a in arrays] or [devices.CPU]
    if places.count(places[0]) == len(places):
        return values, places[0]
    wide = {place: a.shape for place, a in zip(places, arrays) if a.ndim}
    if len(wide) > 1:
        said = " and ".join(f"{str(place)!r} (shape {shape})" for place, shape in wide.items())
        raise RuntimeError(f"{op.name}: the operands are on different devices, {said}; bring them to one with .to(device)")
    [place] = wide or [p for p in places if p.type == "cuda"][:1]

    def along(value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value)(map(along, value))
        return move(value, place) if isinstance(value, TensorBase) or hasattr(value, "strides") else value

    return [along(v) for v in values], place


def numpy_names(function: Callable[..., T]) -> Callable[..., T]:
    """Let ``axis`` and ``keepdims`` be said for ``dim`` and ``keepdim``, as an op does, to a function composed of ops."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if options:
            for alias, name in _ALIASES.items():
                if alias in options and name not in options:
                    options[name] = options.pop(alias)
        return function(*args, **options)

    return call


def _unwrap(value: Any) -> Any:
    if type(value) in _LISTS:
        return type(value)(map(_unwrap, value))
    return getattr(value, "_array", value)


def promote(op: Op, arrays: list[Any]) -> list[Any]:
    """Bring the differentiable inputs of ``op`` to one dtype, PyTorch's (see `minidl.dtypes`).

    Python numbers stay as they are: they take the dtype of the array they meet.
    """
    first = arrays[0]
    kind = type(first)
    if (kind is np.ndarray or kind in backend.gpu_types) and (dtype := first.dtype).kind == "f":  # the usual case, quickly
        for i in op.inputs or range(len(arrays)):
            x = arrays[i]
            if not (x is first or (type(x) is kind and x.dtype is dtype) or type(x) is float or x is op.defaults[i] is None):
                break
        else:
            return arrays
    places, found = [], set()
    for i in op.inputs or range(len(arrays)):
        x = arrays[i]
        if type(x) not in backend.types:
            if x is None and op.defaults[i] is None:
                continue
            op.refuse(i, x)
        if type(x) not in _NUMBERS:
            found.add(x.dtype)
        places.append(i)
    common = found.pop() if found else None
    if found and op.promotes == "same":
        raise RuntimeError(
            f"{op.name}: wants one dtype for all, got {', '.join(str(arrays[i].dtype) for i in places)}; use .to(dtype)"
        )
    if common is None or found or common.kind != "f":
        common = dtypes.result_type(*(arrays[i] for i in places)).dtype
        if common.kind != "f" and op.promotes == "float":
            common = dtypes.get_default_dtype().dtype
        only_numbers = all(type(arrays[i]) in _NUMBERS for i in places)
        for i in places:
            if type(arrays[i]) not in _NUMBERS:
                arrays[i] = arrays[i].astype(common, copy=False)
            elif only_numbers:
                arrays[i] = common.type(arrays[i])
    return arrays


# -- the node of an op


class OpNode(Node):
    """A recorded call of an op."""

    __slots__ = ("guards", "kept", "op")

    def __init__(self, op: Op, parents: Sequence[Any], kept: dict[str, Any], guards: list[Any], out: Any) -> None:
        super().__init__(parents, out)
        self.op, self.guards = op, guards
        self.kept: dict[str, Any] | None = kept

    def name(self) -> str:
        return self.op.name

    def pull(self, g: Any, graph: bool, needed: set[Any] | None) -> Iterator[tuple[Any, Any, bool]]:
        kept = self._recall(graph)
        seen = {id(_owner(x)) for x in (g, *kept.values())}
        for rule, parent in zip(self.op.rules, self.parents):
            if parent is None:
                continue
            joint = type(parent) is tuple
            if needed is not None and not (any(p in needed for p in parent) if joint else parent in needed):
                continue
            try:
                out = rule.pull(g, *[kept[name] for name in rule.names])
            except MemoryError as error:
                raise devices.out_of_memory(f"backward through {self.name()}", error) from error
            if not joint:
                yield parent, out, not graph and _is_new(out, seen)
                continue
            for p, gp in zip(parent, out):
                if p is not None:
                    yield p, gp, not graph and _is_new(gp, seen)
                    seen.add(id(_owner(gp)))  # a rule may give one array to several inputs

    @property
    def adds_into(self) -> bool:
        return self.op.into is not None

    def add_into(self, before: Any, g: Any) -> None:
        """Add to the array ``before``, in place, what `pull` would give for the only parent.

        For an op that reads a part of its input, whose ``into(before, g, kept)`` touches that part alone: the gradient of
        ``n`` parts of a tensor costs as much as that of the whole, and not ``n`` times as much.
        """
        self.op.into(before, g, self._recall(False))  # type: ignore[misc]

    def _recall(self, graph: bool) -> dict[str, Any]:
        """What the rules read: arrays, or for a recorded sweep tensors that know where they came from."""
        kept = self.kept
        if kept is None:
            raise RuntimeError(
                f"backward: the graph through {self.name()} ({describe_site(self.site)}) was already swept and what it "
                "remembered is freed; pass retain_graph=True to the first backward, or run the forward pass again"
            )
        for name, seen, changes in self.guards:
            if seen.changes != changes:
                raise RuntimeError(
                    f"backward: {self.name()} ({describe_site(self.site)}) needs its {name!r} of shape "
                    f"{_shape_of(kept[name])} as it was, but it was changed in place by {seen.place()}; "
                    "write the change as a new tensor (x = x + y instead of x += y), or change a clone()"
                )
        if not graph:
            return kept
        kept = dict(kept)
        for rule, parent in zip(self.op.rules, self.parents):
            if parent is not None:
                inputs = (rule.inputs,) if type(rule.inputs) is int else rule.inputs
                parents = parent if type(parent) is tuple and type(rule.inputs) is tuple else (parent,)
                for i, p in zip(inputs, parents):  # type: ignore[arg-type]
                    name = self.op.names[i]
                    if name in kept:
                        kept[name] = _as_it_was(kept[name], p)
        if "out" in kept:
            kept["out"] = wrap(kept["out"], self)
        return kept

    def release(self) -> None:
        if self.guards or self.op.keeps or any(hasattr(value, "nbytes") for value in (self.kept or {}).values()):
            self.kept = None


def _is_new(array: Any, seen: set[int]) -> bool:
    """Whether ``array`` is all of some memory that belongs to none of what was ``seen`` or remembered."""
    owner = _owner(array)
    if owner is None or id(owner) in seen or getattr(owner, "size", None) != array.size or owner.base is not None:
        return False
    return type(array) in backend.gpu_types or array.flags.writeable  # not if spread over a shape; CuPy's have no such flag


def _owner(array: Any) -> Any:
    """The array whose memory this one is a view of; itself if it is none."""
    base = getattr(array, "base", None)
    return array if base is None else base


def _as_it_was(array: Any, parent: Any) -> Any:
    """The input that a node remembers only as an array, as the tensor it was."""
    if type(parent) is tuple:
        return tuple(map(_as_it_was, array, parent))
    if isinstance(array, TensorBase):  # one input under two rules
        return array
    if isinstance(parent, TensorBase) and parent._array is array:
        return parent
    if isinstance(parent, TensorBase):  # the op saw a copy of another dtype
        return cast(parent, array.dtype)
    return array if parent is None else wrap(array, parent)


def _shape_of(x: Any) -> Any:
    return tuple(map(_shape_of, x)) if isinstance(x, (tuple, list)) else x.shape


@differentiable
def cast(input: Any, dtype: Any) -> Any:
    """``input`` in another NumPy dtype. The engine casts the gradient back."""
    return input.astype(dtype)


cast.vjp(input=lambda g: g)


@differentiable(keeps="origin")
def move(input: Any, where: Any, non_blocking: bool = False) -> Any:
    """``input`` in the memory of the device ``where``."""
    return devices.moved(input, where, non_blocking), devices.device_of(input)


move.op.name = "to"
move.vjp(input=lambda g, origin: move(g, origin))
