"""`compile`: run a module or a function as a list of fused ops, traced once for each kind of input."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ..autograd.mode import mode
from ..nn.module import Module, structure
from .rewrite import rewrite
from .trace import Program, Tracer, Untraceable, compare, flatten, signature, unflatten


class CompileWarning(UserWarning):
    """Something was to be compiled and runs as it is written."""


class Compiled:
    """A function, and a program for each signature of its arguments that it was called with."""

    def __init__(self, function: Callable[..., Any], module: Module | None) -> None:
        self.function, self.module = function, module
        self.programs: dict[Any, Any] = {}  # a `Tracer` after the first call; then a `Program`, or None: as it is written
        self.notes: dict[Any, list[str]] = {}
        self.made_of: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program for these arguments, or learn it."""
        try:
            key = self._key(args, kwargs)
            found = self.programs.get(key, self)
        except (Untraceable, TypeError) as error:
            self._give_up(None, str(error))
            return self.function(*args, **kwargs)
        if found is None:
            return self.function(*args, **kwargs)
        inputs: list[Any] = []
        flatten((args, kwargs), inputs)
        if type(found) is tuple:
            program, shape = found
            return unflatten(shape, program.run(inputs))
        tracer = Tracer(inputs)
        with tracer:
            out = self.function(*args, **kwargs)
        try:
            self._learn(key, found, tracer, out)
        except Untraceable as error:
            self.programs[key] = None
            self._give_up(key, str(error))
        return out

    def _key(self, args: Any, kwargs: Any) -> Any:
        """The arguments but for their numbers, and the state of the program that decides which ops are run."""
        if self.module is None:
            return signature(args), signature(kwargs), mode.recording
        if self.made_of is None or self.made_of[0] != structure.edits:
            parts = [(m, [*m._parameters.values(), *m._buffers.values()]) for m in self.module.modules()]
            if self.made_of is None or self.made_of[1] != [(id(m), [*map(id, p)]) for m, p in parts]:
                self.programs.clear()
            self.made_of = structure.edits, [(id(m), [*map(id, p)]) for m, p in parts], [m for m, _ in parts]
        return signature(args), signature(kwargs), mode.recording, tuple([m.training for m in self.made_of[2]])

    def _learn(self, key: Any, found: Any, tracer: Tracer, out: Any) -> None:
        """Keep the first trace; make a program of the second."""
        results: list[Any] = []
        shape = flatten(out, results)
        if found is self:
            if tracer.problem:
                raise Untraceable(tracer.problem)
            tracer.forget_values()
            self.programs[key] = tracer
            return
        compare(found, tracer)
        numbers = [tracer._note(t).number for t in results]
        steps, notes = rewrite(tracer.steps, tracer.values, numbers)
        self.programs[key] = Program(steps, tracer.constants, tracer.n_inputs, numbers), shape
        self.notes[key] = [*notes, f"{len(tracer.steps)} ops became {len(steps)}"]

    def _give_up(self, key: Any, why: str) -> None:
        name = type(self.module).__name__ if self.module is not None else getattr(self.function, "__qualname__", "a function")
        self.notes[key] = [f"runs as it is written: {why}"]
        warnings.warn(f"compile: {name} runs as it is written, since {why}", CompileWarning, stacklevel=4)


class OptimizedModule(Module):
    """A module that runs another one as compiled; its parameters are those of the other, under ``_orig_mod``."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        self._compiled = Compiled(module, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        return self._compiled(*args, **kwargs)

    def explain(self) -> str:
        """See `explain`."""
        return explain(self)


def compile(model: Any = None, *, backend: Any = None, mode: Any = None, **options: Any) -> Any:
    """Run a module or a function as a list of fused ops.

    The first two calls with a kind of input (shapes, dtypes, which of them require a gradient, values of other arguments,
    whether gradients are recorded, and which modules are training) run as written and are watched; what was the same in both
    becomes the program that later calls run, without the module's own Python. Numbers and gradients are the same, to rounding.

    A function may hold a whole training step: ``zero_grad``, ``backward`` and an optimiser's ``step`` are part of the program.

    What it cannot know is found out and runs as written, with a `CompileWarning` that says why: numbers that leave for Python
    (``item()``, ``if tensor:``), hooks, calls of `grad`, random numbers drawn outside an op, anything that
    differed between the two calls. Only other doings of Python, such as printing, counting or a scheduler's ``step``, pass
    unseen: they happen in the first two calls and then no more.

    Parameters
    ----------
    model : Module or function
        A module comes back as an `OptimizedModule`; left out, `compile` is a decorator.
    backend, mode, **options
        PyTorch's; not supported.

    Raises
    ------
    TypeError
        If ``model`` cannot be called.
    NotImplementedError
        For PyTorch's options.
    """
    for name, value in {"backend": backend, "mode": mode, **options}.items():
        if value not in (None, False):
            raise NotImplementedError(f"compile: {name}={value!r} is not supported; leave it out")
    if model is None:
        return compile
    if isinstance(model, Module):
        return OptimizedModule(model)
    if not callable(model):
        raise TypeError(f"compile: wants a Module or a function, got {type(model).__name__}")
    compiled = Compiled(model, None)

    @functools.wraps(model)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs)

    call._compiled = compiled  # type: ignore[attr-defined]
    return call


def explain(compiled: Any) -> str:
    """What became of each kind of input that a compiled module or function was called with: a line for each fused op, or why
    it runs as written.
    """
    found: Compiled = compiled._compiled
    if not found.notes:
        return "not compiled yet: it takes two calls"
    return "\n".join(f"program {i}: " + "; ".join(lines) for i, lines in enumerate(found.notes.values()))
