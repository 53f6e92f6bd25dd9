"""Where things are in the reader's program: source lines, the code of rules, the names of variables."""

from __future__ import annotations

import ast
import functools
import linecache
import os
from collections.abc import Callable, Iterator
from typing import Any

from ..autograd.tape import Node, TensorBase, describe_site
from ..nn.module import Module


def line_of(site: Any) -> dict[str, Any]:
    """A call site as file, number and text of the line."""
    file, _, number = describe_site(site).rpartition(":")
    name = os.path.basename(file)
    if name.isdigit() or file.startswith("<"):  # a cell of a notebook
        name = file if file.startswith("<") else "cell"
    return {"file": name, "line": int(number), "text": linecache.getline(file, int(number)).strip()}


@functools.lru_cache(maxsize=64)
def _functions(file: str) -> dict[int, list[Any]]:
    """The functions and lambdas of a file, by their first line."""
    found: dict[int, list[Any]] = {}
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, (ast.Lambda, ast.FunctionDef)):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            found.setdefault(first, []).append(node)
    return found


def code_of(function: Callable[..., Any]) -> str:
    """The text of a rule as it stands in its file; "" if there is none to be found."""
    code: Any = getattr(function, "__code__", None)
    if code is None:
        return ""
    names = list(code.co_varnames[: code.co_argcount])
    for node in _functions(code.co_filename).get(code.co_firstlineno, []):
        if [a.arg for a in node.args.args] == names:
            if isinstance(node, ast.FunctionDef):
                body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                said = "\n".join(f"    {ast.unparse(s)}".replace("\n", "\n    ") for s in body)
                return f"def {node.name}({', '.join(names)}):\n{said}"
            return ast.unparse(node)
    return ""


def variables(frame: Any) -> Iterator[tuple[str, Any]]:
    """The names of tensors and modules in a frame and its module."""
    for name, value in {**frame.f_globals, **frame.f_locals}.items():
        if not name.startswith("_") and isinstance(value, (TensorBase, Module)):
            yield name, value


def names_of(values: Any) -> dict[int, str]:
    """The names of tensors by ``id``, and of the parameters and buffers of modules, from ``(name, value)``."""
    found: dict[int, str] = {}
    for name, value in values:
        if isinstance(value, Module):
            for more in (value.named_parameters(), value.named_buffers()):
                found.update((id(t), f"{name}.{inside}") for inside, t in more)
        else:
            found.setdefault(id(value), name)
    return found


def targets(node: Any) -> Iterator[tuple[Any, str, int, int]]:
    """Where the gradients of a node go, in the order in which its rules give them: the source, the input's name, its position
    among the op's inputs, and its place in that input where that is a sequence (else -1).
    """
    op = getattr(node, "op", None)
    if op is None:
        for i, parent in enumerate(node.parents):
            if parent is not None:
                yield parent, f"input {i}", i, -1
        return
    for rule, parent in zip(op.rules, node.parents):
        if type(parent) is not tuple:
            if parent is not None:
                yield parent, op.names[rule.inputs], rule.inputs, -1
            continue
        for i, p in enumerate(parent):
            if p is None:
                continue
            if isinstance(rule.inputs, int):
                yield p, f"{op.names[rule.inputs]}[{i}]", rule.inputs, i
            else:
                yield p, op.names[rule.inputs[i]], rule.inputs[i], -1


def remembered(node: Any) -> Iterator[Any]:
    """The arrays that a node keeps for the way back."""
    context = getattr(node, "ctx", None)
    values = (getattr(node, "kept", None) or {}).values() if context is None else [kept for kept, *_ in context._saved or ()]
    for value in values:
        yield from (a for a in (value if isinstance(value, (tuple, list)) else (value,)) if hasattr(a, "nbytes"))


def is_node(x: Any) -> bool:
    """Whether a source is a step on the tape, and no leaf."""
    return isinstance(x, Node)
