"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from .._tensor import Tensor
from ..shapes import as_index
from .module import Module, layout_repr
from .parameter import Parameter


class _Row(Module):
    """Modules in an order, found by their position; what `Sequential` and `ModuleList` share."""

    def _key(self, index: Any) -> str:
        keys: list[str] = list(self._modules)
        place: int = as_index(index, type(self).__name__)
        if not -len(keys) <= place < len(keys):
            raise IndexError(f"{type(self).__name__}: index {place} is out of range for {len(keys)} modules")
        return keys[place]

    def _number(self, modules: Iterable[Any]) -> None:
        """Hold these modules instead, named by their positions."""
        self._modules.clear()
        for module in modules:
            self.append(module)

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        rest = list(self)
        del rest[index if isinstance(index, slice) else list(self._modules).index(self._key(index))]
        self._number(rest)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def append(self, module: Module) -> Any:
        """Put a module at the end; returns itself."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Put modules at the end; returns itself."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module in before position ``index``; returns itself."""
        row = list(self)
        row.insert(as_index(index, f"{type(self).__name__}.insert"), module)
        self._number(row)
        return self

    def pop(self, key: int) -> Any:
        """Take the module at position ``key`` out, and return it."""
        module = self._modules[self._key(key)]
        del self[key]
        return module


class Sequential(_Row):
    """Modules one after another: each gets what the one before returned.

    Parameters
    ----------
    *args : Module
        The modules in order; or one mapping (``OrderedDict``) of names to modules.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):  # the names stay
            return type(self)(dict(list(self._modules.items())[index]))
        return self._modules[self._key(index)]

    def __add__(self, other: Sequential) -> Any:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential: only another Sequential can be added to it, got {type(other).__name__}")
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Any:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential: only another Sequential can be added to it, got {type(other).__name__}")
        return self.extend(other)

    def __mul__(self, other: int) -> Any:
        return Sequential(*self).__imul__(other)

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Any:
        """The same modules, with the same parameters, ``other`` times in a row."""
        if not isinstance(other, int):
            raise TypeError(f"Sequential: can only be repeated a whole number of times, got {type(other).__name__}")
        if other < 1:
            raise ValueError(f"Sequential: can be repeated once or more often, got {other}")
        return self.extend(list(self) * (other - 1))

    def forward(self, input: Any) -> Any:
        """Through all modules in order."""
        for module in self:
            input = module(input)
        return input


class ModuleList(_Row):
    """A list of modules that registers them. It computes nothing by itself."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._modules[self._key(index)]

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> Any:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Equal neighbours are written once: ``(0-2): 3 x Linear(...)``."""
        parts, first = [], 0
        for text, same in groupby(map(repr, self)):
            n = len(list(same))
            parts.append(f"({first}): {text}" if n == 1 else f"({first}-{first + n - 1}): {n} x {text}")
            first += n
        return layout_repr(self._get_name(), [], parts)


class ModuleDict(Module):
    """A dictionary of modules, by names, that registers them. It computes nothing by itself."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take a module out, and return it."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """The names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Put modules in: a mapping, or pairs of names and modules."""
        for key, module in dict(modules).items():
            self[key] = module


class ParameterList(Module):
    """A list of parameters that registers them; tensors put in become parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def __getitem__(self, index: int | slice) -> Any:
        found = list(self)[index]
        return type(self)(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, value: Any) -> None:
        name = list(self._parameters)[index]
        self.register_parameter(name, value if isinstance(value, Parameter) else Parameter(value))

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def append(self, value: Any) -> Any:
        """Put a parameter at the end; returns itself."""
        self.register_parameter(str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Put parameters at the end; returns itself."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def extra_repr(self) -> str:
        """One line for each parameter, with its type and size."""
        sizes = ("x".join(map(str, p.shape)) for p in self)
        return "\n".join(f"  ({i}): Parameter containing: [{p.dtype} of size {n}]" for i, (p, n) in enumerate(zip(self, sizes)))


class ParameterDict(Module):
    """A dictionary of parameters, by names, that registers them; tensors put in become parameters.

    Anything else can be put in as well, and is kept as an attribute. A plain dict is put in in the order of its sorted names,
    as in PyTorch.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        self.update({} if parameters is None else parameters)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, _text(key))

    def __setitem__(self, key: str, value: Any) -> None:
        if _text(key) not in self._keys and hasattr(self, key):
            raise KeyError(f"ParameterDict already has an attribute {key!r}")
        setattr(self, key, Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value)
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterDict: it computes nothing, and cannot be called")

    def __or__(self, other: Any) -> Any:
        return self.copy().__ior__(other)

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def copy(self) -> Any:
        """Another dictionary of the same parameters."""
        return ParameterDict(self.items())

    def clear(self) -> None:
        """Take all parameters out."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take a parameter out, and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last parameter out, and return its name and it."""
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of that name, or ``default`` if there is none."""
        return self[key] if key in self else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of that name; if there is none, ``default`` is put in first."""
        if key not in self:
            self[key] = default
        return self[key]

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> Any:
        """A new dictionary with these names and ``default`` under each."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> Any:
        """The names."""
        return self._keys.keys()

    def items(self) -> Any:
        """The names and parameters."""
        return ((key, self[key]) for key in self)

    def values(self) -> Any:
        """The parameters."""
        return (self[key] for key in self)

    def update(self, parameters: Any) -> None:
        """Put parameters in: a mapping, or pairs of names and parameters."""
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            parameters = parameters.items()
        elif isinstance(parameters, Mapping):
            parameters = sorted(parameters.items())
        for key, value in list(parameters):
            self[key] = value

    def extra_repr(self) -> str:
        """One line for each parameter, with its type and size."""
        return "\n".join(
            f"  ({key}): Parameter containing: [{p.dtype} of size {'x'.join(map(str, p.shape))}]"
            if isinstance(p, Parameter)
            else f"  ({key}): Object of type: {type(p).__name__}"
            for key, p in self.items()
        )


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"ParameterDict: the names must be strings, got {type(key).__name__}")
    return key
