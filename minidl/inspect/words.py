"""What a tensor is, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ..autograd.function import OutputNode
from ..autograd.mode import mode
from ..autograd.sweep import reachable
from ..autograd.tape import Node, TensorBase, describe_site, flat_parents, source
from .pictures import in_words
from .places import line_of, names_of, remembered, variables


class Text(str):
    """Text that shows itself as it is."""

    def __repr__(self) -> str:
        return str(self)


def explain(tensor: Any) -> Text:
    """Say in words what ``tensor`` is: its numbers, where it comes from, where its gradient goes, and whose memory it looks at.

    Raises
    ------
    TypeError
        If it is no tensor.

    Examples
    --------
    >>> x = minidl.tensor([1.0, -2.0], requires_grad=True)
    >>> minidl.inspect.explain(x)
    A tensor of shape (2,) and float32: from -2 to 1, mean -0.5.
    A leaf: nothing in this program computed it.
    It wants a gradient, and its .grad is None: no backward() has reached it yet.
    """
    if not isinstance(tensor, TensorBase):
        raise TypeError(f"explain: takes a Tensor, got {type(tensor).__name__}")
    return Text("\n".join(_sentences(tensor, names_of(variables(sys._getframe(1))))))


def _sentences(t: Any, names: dict[int, str]) -> Iterator[str]:
    array, node = t._array, source(t)
    said = in_words(array).partition(": ")[2]
    yield f"A tensor of shape {tuple(array.shape)} and {array.dtype}: {said}."
    if isinstance(node, Node):
        yield from _history(node, names)
        if node.retained is not None and node.retained() is t:
            yield "Its gradient is kept in .grad, as retain_grad() asked."
        else:
            yield "No leaf: backward() carries its gradient on and leaves no .grad, unless retain_grad() is called first."
    else:
        yield "A leaf: nothing in this program computed it." if t._requires_grad or node is None else "A leaf."
        yield from _leaf(t)
    if t._base is not None:
        yield f"A view: it looks at the memory of one of shape {tuple(t._base._array.shape)}, and changes are seen in both."
    if t._counter is not None and t._counter.changes:
        times = "once" if t._counter.changes == 1 else f"{t._counter.changes} times"
        yield f"Its memory was changed in place {times}, last by {t._counter.place()}."
    if not array.flags.c_contiguous:
        yield "Its elements do not lie one after the other in memory (a transposed or strided view, or the batch innermost)."


def _history(node: Any, names: dict[int, str]) -> Iterator[str]:
    line = line_of(node.site)
    yield f"Made by {node.name()}, at {describe_site(node.site)}" + (f": {line['text']}" if line["text"] else "")
    node = node.parents[0] if isinstance(node, OutputNode) else node  # which stands for a Function's node
    parents = [p.name() if isinstance(p, Node) else names.get(id(p), "a leaf") for p in flat_parents(node)]
    nodes = [n for n in reachable([node]) if not isinstance(n, OutputNode)]
    leaves = {id(p): p for n in nodes for p in flat_parents(n) if not isinstance(p, Node)}
    listed = sorted(names.get(key, f"one of shape {tuple(p._array.shape)}") for key, p in leaves.items())
    shown = ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
    yield f"Its gradient goes to {', '.join(parents)}; {len(nodes)} steps back in all, to the leaves {shown}."
    if any(getattr(n, "kept", {}) is None or (hasattr(n, "ctx") and n.ctx._saved is None) for n in nodes):
        yield "A backward pass has been through here, and what it remembered is freed."
    else:
        kept = {id(a): a.nbytes for n in nodes for a in remembered(n)}
        yield f"For that, {sum(kept.values()):,} bytes are remembered."


def _leaf(t: Any) -> Iterator[str]:
    if not t._requires_grad:
        off = "" if mode.recording else ", and recording is switched off here"
        yield f"It wants no gradient: no input of what made it had requires_grad=True, or that ran under no_grad(){off}."
    elif t._grad is None:
        yield "It wants a gradient, and its .grad is None: no backward() has reached it yet."
    else:
        yield f"It wants a gradient, and has one: {in_words(t._grad._array).partition(': ')[2]}. Another backward() adds to it."
