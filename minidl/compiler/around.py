"""What a function finds by name outside itself, and a program keeps: modules, optimisers, tensors, and other functions."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from ..autograd.tape import TensorBase
from ..nn.module import Module

Found: TypeAlias = tuple[Callable[[], Any], Any]  # how it is looked up, and what was there
FUNCTIONS = types.FunctionType, types.MethodType


def around(function: Any, constants: set[int]) -> list[Found]:
    """What ``function`` and the functions that it finds find; of tensors only those with one of these ids."""
    home = getattr(inspect.unwrap(function), "__globals__", None)
    found: list[Found] = []
    todo, seen = [function], set()
    while todo:
        for read in _places(todo.pop(), home):
            value = read()
            if isinstance(value, FUNCTIONS):
                if value not in seen:
                    seen.add(value)
                    todo.append(value)
            elif not _counts(value, constants):
                continue
            found.append((read, value))
    return found


def is_there(found: list[Found]) -> bool:
    """Whether all of it is still where it was."""
    return all([read() is value for read, value in found])


def _counts(value: Any, constants: set[int]) -> bool:
    if isinstance(value, TensorBase):
        return id(value) in constants
    return isinstance(value, Module) or "param_groups" in getattr(value, "__dict__", ())


def _places(function: Any, home: Any) -> Iterator[Callable[[], Any]]:
    """Where it may find something: attributes of its ``self``, variables of the functions around it, and those of its file, if
    that is the one with these global variables.
    """
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, (Module, type)) and hasattr(owner, "__dict__"):
        for name in vars(owner):
            yield partial(vars(owner).get, name)
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        return
    for cell in function.__closure__ or ():
        yield partial(_contents, cell)
    if function.__globals__ is home:
        for name in _names(function.__code__):
            yield partial(home.get, name)
    if hasattr(function, "__wrapped__"):
        yield partial(getattr, function, "__wrapped__")


def _names(code: types.CodeType) -> set[str]:
    """The names of globals in a function and in those inside it; those of attributes are among them."""
    return {*code.co_names}.union(*[_names(inner) for inner in code.co_consts if isinstance(inner, types.CodeType)])


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty, yet or again
        return None
