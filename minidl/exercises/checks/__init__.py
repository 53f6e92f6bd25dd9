"""What must hold of a solution, step by step: values from another source, and gradients against differences."""

from types import FunctionType

from . import bugs, engine, layers, rules, training

CHECKS: dict[str, FunctionType] = {
    name: function
    for module in (rules, engine, layers, training, bugs)
    for name, function in vars(module).items()
    if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
}
"""By the name of the step; each is called with a `Trial` and the learner's module."""
