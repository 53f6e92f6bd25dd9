"""`compile`: run a module or a function as a list of fused ops, learned for each kind of input."""

from __future__ import annotations

import functools
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import backend
from ..kernels.memory import give_back
from ..nn.module import Module, structure
from ..nn.parameter import Parameter
from .around import around
from .graph import Captured
from .program import Program
from .rewrite import rewrite
from .signature import Untraceable, describe, flatten, makeup, same_makeup, unflatten
from .trace import Tracer, compare, watched

LIMIT = 64  # kinds of arguments; and how often modules may change between two calls that should become a program
PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


class CompileWarning(UserWarning):
    """Something was to be compiled and runs as it is written."""


class Compiled:
    """A function, and a program for each kind of arguments that it was called with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.programs: dict[Any, Any] = {}  # a `Tracer` after the first call; then the program, or None: as it is written
        self.notes: dict[Any, list[str]] = {}
        self.modules: list[Module] = []  # that take part, as far as is known,
        self.edits, self.makeup = -1, list[Any]()  # and what they are made of
        self.loose = False  # whether a parameter is part of a program but of none of the modules
        self.in_vain = self.changes_inside = 0
        self.hopeless = False
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()  # whose steps are part of a watched call
        if isinstance(function, Module):
            self._know([function])

    def __reduce__(self) -> Any:
        return Compiled, (self.function,)  # a copy learns its own programs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program for these arguments, or learn it."""
        if self.hopeless or watched():  # whoever watches takes the ops as they come
            return self.function(*args, **kwargs)
        inputs: list[Any] = []
        try:
            kind = describe(flatten((args, kwargs), inputs, "an argument"), inputs)
            hash(kind)
        except (Untraceable, TypeError) as error:
            self._give_up(str(error), str(error))
            return self.function(*args, **kwargs)
        if self.edits != structure.edits:
            self._look_at_modules()
        key = kind, self._training()
        found = self.programs.get(key, self)
        if found is self and len(self.programs) >= LIMIT:
            why, found = f"it was called with more than {LIMIT} kinds of arguments", None
            self._give_up(why, why)
        if found is None:
            return self.function(*args, **kwargs)
        if type(found) is Program and found.fits(inputs):
            if not found.has_run:  # the watched calls needed more memory than the program will
                give_back()
                found.has_run = True
            return unflatten(found.layout, self._run(key, found, inputs))
        return self._watch(kind, args, kwargs, inputs)

    def _run(self, key: Any, program: Program, inputs: list[Any]) -> list[Any]:
        """The outputs of a program, which on a GPU is captured."""
        if program.captured is None:
            return program.run(inputs)
        values: list[Any]
        values, news = program.captured.run(inputs)
        if news and program.captured.in_vain:
            self._warn(key, news)
        elif news:
            self.notes[key].append(news)
        return values

    # -- what the modules are

    def _training(self) -> tuple[bool, ...]:
        return tuple([module.training for module in self.modules])

    def _know(self, modules: Iterable[Module]) -> None:
        found = dict.fromkeys(self.modules)
        for module in modules:
            found |= dict.fromkeys(module.modules())
        self.modules = [*found]
        self.edits, self.makeup = structure.edits, makeup(self.modules)

    def _look_at_modules(self) -> bool:
        """Forget the programs if something was changed that they may depend on; and say whether."""
        before = self.makeup
        self._know(self.modules)
        if same_makeup(before, self.makeup) and not self.loose:
            return False
        made = any(type(found) is Program for found in self.programs.values())
        self.in_vain = 0 if made else self.in_vain + 1
        self.programs, self.notes, self.loose = {}, {}, False
        if self.in_vain > LIMIT:
            self._give_up_for_good("attributes of its modules are other ones at every call")
        return True

    # -- learning

    def _watch(self, kind: Any, args: Any, kwargs: Any, inputs: list[Any]) -> Any:
        """Run the function as it is written, and learn from it."""
        tracer, options = Tracer(inputs), [(optimizer, _options(optimizer)) for optimizer in self.optimizers]
        with tracer:
            out = self.function(*args, **kwargs)
        if any(_options(optimizer) != before for optimizer, before in options):
            tracer.refuse("it changes the options of an optimiser")
        self.optimizers.update(tracer.optimizers)
        changed = self.edits != structure.edits and self._look_at_modules()
        if any(module not in self.modules for module in tracer.modules):
            self._know(tracer.modules)
        if changed:  # as a module may, the first time
            self.changes_inside += 1
            if self.changes_inside > 2:
                self._give_up_for_good("it changes attributes of its modules")
            return out
        key = kind, self._training()
        try:
            again: list[Any] = []
            if flatten((args, kwargs), again, "an argument") != kind[0] or any(a is not b for a, b in zip(again, inputs)):
                tracer.refuse("it changes a list or dict that it is given")
            tracer.finish(out)
            self.programs[key] = self._learn(key, tracer)
        except Untraceable as error:
            self.programs[key] = None
            self.notes.pop(key, None)  # of the program that was too sure
            self._give_up(key, str(error))
        tracer.forget()
        return out

    def _learn(self, key: Any, tracer: Tracer) -> Any:
        """The trace, if it is the first of its kind; else the program that it and the one before agree on."""
        before = self.programs.get(key)
        if before is None or (type(before) is Program and before.is_stale()):
            return tracer
        compare(before.trace if type(before) is Program else before, tracer)
        steps, notes = rewrite(tracer.steps, tracer.values, tracer.outputs)
        self.notes[key] = [*notes, f"{len(tracer.steps)} steps became {len(steps)}"]
        members = {*map(id, self.makeup)}
        self.loose |= any(isinstance(t, Parameter) and id(t) not in members for t in tracer.constants.values())
        program = Program(steps, tracer, [(i, t) for i, t in before.same if t() is tracer.values[i]])
        program.around = around(self.function, set(map(id, tracer.constants.values())))
        program.captured = None if backend.gpu is None else Captured(program, steps)
        return program

    # -- as it is written

    def _give_up(self, key: Any, why: str) -> None:
        if key not in self.notes:
            self.notes[key] = []
            self._warn(key, f"runs as it is written: {why}")

    def _warn(self, key: Any, what: str) -> None:
        self.notes[key].append(what)
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        warnings.warn(f"compile: {name} {what}", CompileWarning, stacklevel=_depth_of_caller())

    def _give_up_for_good(self, why: str) -> None:
        self.hopeless, self.notes = True, {}
        self._give_up(None, why)


def _options(optimizer: Any) -> list[dict[str, Any]]:
    """What the groups of an optimiser hold beside the parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def _depth_of_caller() -> int:
    """How many calls above the caller of this function a line is that is not minidl's."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        depth, frame = depth + 1, frame.f_back
    return depth


class OptimizedModule(Module):
    """A module that runs another one as compiled. It has the other's attributes; in a `state_dict`, under ``_orig_mod``."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._compiled, self.training = Compiled(module), module.training
        self.add_module("_orig_mod", module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        return self._compiled(*args, **kwargs)

    def explain(self) -> str:
        """See `explain`."""
        return explain(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_orig_mod" not in self.__dict__:  # how to copy or pickle it is not the other's business
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_orig_mod":
            raise AttributeError("_orig_mod cannot be replaced: compile the other module")
        if name in self.__dict__ or "_orig_mod" not in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: Any = None,
    options: Any = None,
    disable: bool = False,
) -> Any:
    """Run a module or a function as a list of fused ops.

    The first two calls with a kind of input (shapes, dtypes, devices, whether memory is in row-major order, which of them
    require a gradient, values of other arguments, whether gradients are recorded, which modules are training) run as written
    and are watched; what was the same in both becomes the program that later calls run, without the module's own Python.
    Numbers and gradients are the same, to rounding. If both calls had the same tensor as an argument, the first call with
    another one is watched too.

    A function may hold a whole training step: ``zero_grad``, ``backward``, clipping and an optimiser's ``step`` are part of
    the program. On a GPU such a program is captured at its second run as a CUDA graph, which later calls launch. Attributes of
    modules may be replaced between calls: what depends on them is learned anew.

    What it cannot know is found out and runs as written, with a `CompileWarning` that says why: numbers that leave for Python
    (``item()``, ``if tensor:``), index tensors, hooks of modules, calls of `grad`, random numbers drawn outside an op, anything
    that differed between the two calls. Other doings of Python, such as printing or counting in a global variable, pass unseen:
    they happen in the calls that are watched, and then no more.

    Parameters
    ----------
    model : Module or function
        A module comes back as an `OptimizedModule`; left out, `compile` is a decorator.
    fullgraph, dynamic, backend, mode, options, disable
        PyTorch's; not supported.

    Raises
    ------
    TypeError
        If ``model`` cannot be called.
    NotImplementedError
        For PyTorch's options.
    """
    theirs = {"fullgraph": fullgraph, "dynamic": dynamic, "backend": backend, "mode": mode, "options": options}
    for name, value in {**theirs, "disable": disable}.items():
        if value not in (None, False):
            raise NotImplementedError(f"compile: {name}={value!r} is not supported; leave it out")
    if model is None:
        return compile
    if isinstance(model, Module):
        return OptimizedModule(model)
    if not callable(model):
        raise TypeError(f"compile: wants a Module or a function, got {type(model).__name__}")
    compiled = Compiled(model)

    @functools.wraps(model)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs)

    call._compiled = compiled  # type: ignore[attr-defined]
    return call


def explain(compiled: Any) -> str:
    """What became of each kind of input that a compiled module or function was called with: a line for each fused op, or why
    it runs as written.
    """
    found: Compiled | None = getattr(compiled, "_compiled", None)
    if found is None:
        raise TypeError(f"explain: wants what compile() returned, got {type(compiled).__name__}")
    if not found.notes:
        return "not compiled yet: it takes two calls"
    return "\n".join(f"program {i}: " + "; ".join(lines) for i, lines in enumerate(found.notes.values()))
