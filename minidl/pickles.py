"""Reading pickles without running anything in them.

A pickle is a program for a small machine that puts objects together. Python's own unpickler calls whatever function such a
program names, and makes its memory as large as the program says. The machine here knows no function but those that it is given,
stops at everything else, and makes nothing that is larger than the program.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple


class Refused(Exception):
    """Something in a file that is not read; says what, and where."""


class Name(NamedTuple):
    """A function, or a kind of something, that a pickle names."""

    module: str
    name: str


class Machine:
    """Runs a pickle: a stack of what is being put together, and a memory of what was, by number.

    A mark sets the stack aside for a new one, whose items a later instruction takes all at once. For files of one kind, a
    subclass says what can be called in them, and what more their instructions do.
    """

    functions: ClassVar[Mapping[tuple[str, str], Callable[..., Any]]] = {}  # all that can be called, by module and name
    instructions: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {}  # what each does with the stack; see `COMMON`
    parts: ClassVar[Mapping[type, str]] = {Name: "function"}  # what is only there to make something of

    def __init__(self, program: bytes) -> None:
        self.program = program
        self.stack: list[Any] = []
        self.set_aside: list[list[Any]] = []
        self.memory: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        """What the pickle makes."""
        for instruction, arg, _ in pickletools.genops(self.program):
            step = self.instructions.get(instruction.name)
            if step is None:
                raise Refused(
                    f"a pickle with the instruction {instruction.name}, which is not read here; protocol 2 has simpler ones"
                )
            step(self, arg)
        [result] = self.check_values(self.stack)
        return result

    def place(self) -> str:
        """Where in the result that will be kept which is being put together, as far as it is known yet."""
        names = []
        for items in [*self.set_aside, self.stack]:
            key = next((item for item in reversed(items) if type(item) in (str, int)), None)
            names += [] if key is None else [str(key)]
            if items and type(items[-1]) is Name:  # what is above are its arguments
                break
        return repr(".".join(names)) if names else "the object"

    # -- the instructions

    def push(self, item: Any) -> None:
        """Put something on the stack."""
        self.stack.append(item)

    def mark(self, _: Any) -> None:
        """Set the stack aside."""
        self.set_aside.append(self.stack)
        self.stack = []

    def take(self, n: int | None = None) -> list[Any]:
        """The last ``n`` items, or all since the last mark."""
        if n is None:
            items, self.stack = self.stack, self.set_aside.pop()
            return items
        return [self.stack.pop() for _ in range(n)][::-1]

    def remember(self, number: int) -> None:
        """Keep the last item under a number."""
        self.memory[number] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        """Put items into the list below them."""
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused(f"a pickle that appends to a {type(target).__name__}")
        target.extend(self.check_values(items))

    def enter(self, items: list[Any]) -> None:
        """Put keys and values into the dict below them."""
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise Refused(f"a pickle that sets items of a {type(target).__name__}")
        for key, value in zip(check_keys(items[::2]), self.check_values(items[1::2]), strict=True):
            target[key] = value

    def build(self, target: Any, state: Any) -> Any:
        """Give an object its state; returns the object."""
        raise Refused(f"a pickle that sets attributes of a {type(target).__name__}: {self.place()}")

    def find(self, module: str, name: str) -> Any:
        """What a pickle asks for by name: something in the table, and nothing else."""
        if (module, name) in self.functions:
            return Name(module, name)
        raise Refused(
            f"at {self.place()} it asks for {module}.{name}, which no such file needs and which may run code: refused"
        )

    def call(self, _: Any) -> None:
        """Call a function of the table."""
        function, args = self.take(2)
        if type(function) is not Name or function not in self.functions or type(args) is not tuple:
            raise Refused(f"a pickle that calls a {type(function).__name__}")
        self.push(self.functions[function](self, *args))

    # -- for the functions

    def copy(self, make: Callable[[Any], Any], kind: Any, content: Any) -> Any:
        """A new container of ``content``, which is a ``kind``. All of them together are no larger than the program itself."""
        if type(content) is not kind:
            raise Refused(f"a pickle that makes a container of a {type(content).__name__}, not of a {kind.__name__}")
        self.copied += len(content)
        if self.copied > len(self.program):
            raise Refused("a pickle that copies what it holds over and over")
        return make(content)

    def check_values(self, values: list[Any]) -> list[Any]:
        """Refuse what is only there to make something of."""
        for value in values:
            if type(value) in self.parts:
                raise Refused(f"it holds a {self.parts[type(value)]} outside of what is made of it, which is not read here")
        return values


def check_keys(keys: list[Any]) -> list[Any]:
    """Refuse keys of other types than those of a ``state_dict``: tuples in tuples could take for ever to hash."""
    for key in keys:
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise Refused(f"a key of a dict or member of a set is a {type(key).__name__}, which is not read here")
    return keys


# What the instructions do that pickles of protocol 2 have in common.
COMMON: dict[str, Callable[[Any, Any], None]] = {
    "PROTO": lambda m, arg: None,
    "STOP": lambda m, arg: None,
    **{name: lambda m, arg: m.push(arg) for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")},
    "NONE": lambda m, arg: m.push(None),
    "NEWTRUE": lambda m, arg: m.push(True),
    "NEWFALSE": lambda m, arg: m.push(False),
    "EMPTY_TUPLE": lambda m, arg: m.push(()),
    "EMPTY_LIST": lambda m, arg: m.push([]),
    "EMPTY_DICT": lambda m, arg: m.push({}),
    "MARK": Machine.mark,
    "TUPLE": lambda m, arg: m.push(tuple(m.take())),
    "TUPLE1": lambda m, arg: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, arg: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, arg: m.push(tuple(m.take(3))),
    "APPEND": lambda m, arg: m.append(m.take(1)),
    "APPENDS": lambda m, arg: m.append(m.take()),
    "SETITEM": lambda m, arg: m.enter(m.take(2)),
    "SETITEMS": lambda m, arg: m.enter(m.take()),
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "BINGET": lambda m, arg: m.push(m.memory[arg]),
    "LONG_BINGET": lambda m, arg: m.push(m.memory[arg]),
    "GLOBAL": lambda m, arg: m.push(m.find(*arg.replace("__builtin__ ", "builtins ").split(" ", 1))),
    "REDUCE": Machine.call,
    "BUILD": lambda m, arg: m.push(m.build(*m.take(2))),
}
