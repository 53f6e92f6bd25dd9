"""The graph behind a tensor as a drawing (SVG) and as text, laid out here: no Graphviz."""

from __future__ import annotations

import html
import sys
from collections import defaultdict
from typing import Any

from ..autograd.function import OutputNode
from ..autograd.sweep import reachable
from ..autograd.tape import Node, TensorBase, flat_parents, source
from ..nn.module import Module
from ..serialization import write_whole
from .places import line_of, names_of, variables

ROW, GAP, HEIGHT, LETTER = 62.0, 18.0, 38.0, 7.4  # pixels: between rows, between boxes, of a box, of a letter
SWEEPS = 12


def _named(params: Any, frame: Any) -> dict[int, str]:
    """Names for leaves: those given, and those of the caller's variables."""
    if params is not None and not isinstance(params, (dict, Module)):
        raise TypeError(f"graph: params must be a Module, a dict of names and tensors, or None, got {type(params).__name__}")
    found = list(variables(frame))
    given = params.named_parameters() if isinstance(params, Module) else (params or {}).items()
    return {**names_of(found), **{id(t): name for name, t in given}}


def _steps(loss: Any, op: str) -> tuple[list[Any], dict[Any, list[Any]]]:
    """Everything that ``loss`` was made of, oldest first, and from what each was made."""
    if not isinstance(loss, TensorBase):
        raise TypeError(f"{op}: takes a Tensor, got {type(loss).__name__}")
    root = source(loss)
    if root is None:
        raise RuntimeError(
            f"{op}: the tensor has no history: no input of the computation had requires_grad=True, "
            "or it was computed under no_grad()"
        )
    parents: dict[Any, list[Any]] = {}
    for node in reversed(reachable([root])):
        if not isinstance(node, OutputNode):
            parents[node] = [p.parents[0] if isinstance(p, OutputNode) else p for p in flat_parents(node)]
    if not parents:
        parents[root] = []
    leaves = dict.fromkeys(p for ps in parents.values() for p in ps if not isinstance(p, Node))
    return [*leaves, *parents], {**parents, **{leaf: [] for leaf in leaves}}


def _text(x: Any, names: dict[int, str]) -> tuple[str, str]:
    """What stands in a box: a name, and a shape."""
    shape = x.shape if isinstance(x, Node) else x._array.shape
    return x.name() if isinstance(x, Node) else names.get(id(x), "leaf"), str(tuple(shape))


# -- the layout: rows by the longest way from the leaves, little crossing, then little bending


def _ranks(order: list[Any], parents: dict[Any, list[Any]]) -> dict[Any, int]:
    """A row for each: below all that it is made of; leaves stand right above what first uses them."""
    rank: dict[Any, int] = {}
    for x in order:
        if isinstance(x, Node):
            rank[x] = 1 + max((rank[p] for p in parents[x] if p in rank), default=0)
    for x in list(rank):  # by now these are the nodes
        for leaf in parents[x]:
            if not isinstance(leaf, Node):
                rank[leaf] = min(rank[x] - 1, rank.get(leaf, rank[x] - 1))
    rank.setdefault(order[0], 0)
    return rank


def _rows(order: list[Any], parents: dict[Any, list[Any]]) -> tuple[list[list[Any]], list[list[Any]]]:
    """What stands in each row, with a stop in each row that a longer edge passes; and the edges, as chains of those."""
    rank = _ranks(order, parents)
    rows: list[list[Any]] = [[] for _ in range(max(rank.values()) + 1)]
    chains = []
    for x in order:
        rows[rank[x]].append(x)
    for x in order:
        for n, p in enumerate(parents[x]):
            chain = [p, *((id(x), n, r) for r in range(rank[p] + 1, rank[x])), x]
            for r, stop in enumerate(chain[1:-1], rank[p] + 1):
                rows[r].append(stop)
            chains.append(chain)
    return rows, chains


def _spread(wanted: list[float], widths: list[float]) -> list[float]:
    """Places near the wanted ones, in this order and apart: the middle between pushing to the right and to the left."""
    right = list(wanted)
    for i in range(1, len(right)):
        right[i] = max(right[i], right[i - 1] + (widths[i - 1] + widths[i]) / 2 + GAP)
    left = list(wanted)
    for i in range(len(left) - 2, -1, -1):
        left[i] = min(left[i], left[i + 1] - (widths[i] + widths[i + 1]) / 2 - GAP)
    return [(a + b) / 2 for a, b in zip(left, right)]


def _layout(rows: list[list[Any]], chains: list[list[Any]], width: dict[Any, float]) -> dict[Any, float]:
    """The middle of everything, from left to right: each drawn towards the mean of what it is tied to, row after row."""
    up: dict[Any, list[Any]] = defaultdict(list)
    down: dict[Any, list[Any]] = defaultdict(list)
    for chain in chains:
        for a, b in zip(chain, chain[1:]):
            down[a].append(b)
            up[b].append(a)
    x: dict[Any, float] = {}
    for row in rows:
        x.update(zip(row, _spread([0.0] * len(row), [width.get(item, 2.0) for item in row])))
    for sweep in range(2 * SWEEPS):  # first to order the rows, looking up and down in turn; then to straighten the edges
        ordering, downwards = sweep < SWEEPS, sweep % 2 == 0
        for row in rows if downwards else reversed(rows):
            tied = {item: ((up if downwards else down)[item] if ordering else up[item] + down[item]) or [item] for item in row}
            wanted = {item: sum(x[other] for other in tied[item]) / len(tied[item]) for item in row}
            if ordering:
                row.sort(key=lambda item: wanted[item])
            x.update(zip(row, _spread([wanted[item] for item in row], [width.get(item, 2.0) for item in row])))
    return x


class Graph:
    """A drawn graph: a notebook shows it, `save` writes it, ``str`` is the SVG."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def save(self, path: Any) -> None:
        """Write the SVG to a file."""
        write_whole(self.svg.encode(), path, "save")

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Graph: {self.svg.count('<rect') - 1} boxes; save(path) writes it>"


def graph(loss: Any, params: Any = None) -> Graph:
    """Draw what ``loss`` was made of: ops, and the leaves that want a gradient, from top to bottom, with shapes.

    Parameters
    ----------
    loss : Tensor
        Any tensor with a history.
    params : Module or dict, optional
        Names for leaves, as ``model`` or ``dict(model.named_parameters())``; those of the caller's variables are found.

    Raises
    ------
    RuntimeError
        If the tensor has no history.
    """
    names = _named(params, sys._getframe(1))
    order, parents = _steps(loss, "graph")
    texts = {x: _text(x, names) for x in order}
    width = {x: max(len(name) * LETTER * 1.15, len(shape) * LETTER * 0.8) + 22 for x, (name, shape) in texts.items()}
    rows, chains = _rows(order, parents)
    x = _layout(rows, chains, width)
    left = min(x[item] - width.get(item, 2.0) / 2 for item in x) - 14
    whole = max(x[item] + width.get(item, 2.0) / 2 for item in x) + 14 - left
    y = {item: 14 + HEIGHT / 2 + ROW * r for r, row in enumerate(rows) for item in row}
    height = 28 + HEIGHT + ROW * (len(rows) - 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {whole:.0f} {height:.0f}" font-family="system-ui, sans-serif" text-anchor="middle">',
        '<rect width="100%" height="100%" rx="8" fill="#fbfaf7"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0L8,4L0,8z" fill="#8a93a3"/></marker></defs>',
        *(_edge(chain, x, y, left) for chain in chains),
        *(_box(item, texts[item], width[item], x[item] - left, y[item]) for item in order),
        "</svg>",
    ]
    return Graph("\n".join(parts))


def _edge(chain: list[Any], x: dict[Any, float], y: dict[Any, float], left: float) -> str:
    points = [(x[item] - left, y[item]) for item in chain]
    points[0], points[-1] = (points[0][0], points[0][1] + HEIGHT / 2), (points[-1][0], points[-1][1] - HEIGHT / 2)
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (ax, ay), (bx, by) in zip(points, points[1:]):
        middle = (ay + by) / 2
        path += f"C{ax:.1f},{middle:.1f} {bx:.1f},{middle:.1f} {bx:.1f},{by:.1f}"
    return f'<path d="{path}" fill="none" stroke="#8a93a3" stroke-width="1.5" marker-end="url(#tip)"/>'


def _box(item: Any, text: tuple[str, str], width: float, x: float, y: float) -> str:
    fill, line, radius = ("#e6eefc", "#2459c4", 6) if isinstance(item, Node) else ("#fdeee0", "#c2500a", HEIGHT / 2)
    where = line_of(item.site) if isinstance(item, Node) else None
    title = html.escape(f"{where['file']}:{where['line']}  {where['text']}" if where else "wants a gradient")
    name, shape = map(html.escape, text)
    return (
        f'<g><title>{title}</title><rect x="{x - width / 2:.1f}" y="{y - HEIGHT / 2:.1f}" '
        f'width="{width:.1f}" height="{HEIGHT:.0f}" rx="{radius:.0f}" fill="{fill}" stroke="{line}"/>'
        f'<text x="{x:.1f}" y="{y - 2:.1f}" font-size="13" font-weight="600" fill="#1d2430">{name}</text>'
        f'<text x="{x:.1f}" y="{y + 13:.1f}" font-size="10.5" fill="#667080">{shape}</text></g>'
    )


def print_tree(loss: Any, params: Any = None) -> None:
    """Print what ``loss`` was made of, from the last step to the first.

    The way along each op's first input goes straight down; what else an op takes branches off above that. What was shown before
    is named once more and not followed. ``params`` names leaves, as in `graph`.

    Raises
    ------
    RuntimeError
        If the tensor has no history.

    Examples
    --------
    >>> w, b = (minidl.ones(2, requires_grad=True) for _ in range(2))
    >>> minidl.inspect.print_tree((w * w + b).sum())
    sum ()
    add (2,)
    ├─ b (2,)
    mul (2,)
    ├─ w (2,)
    └─ w (2,)
    """
    names = _named(params, sys._getframe(1))
    order, parents = _steps(loss, "print_tree")
    shown: set[Any] = set()
    stack: list[tuple[Any, str, str]] = [(order[-1], "", "")]  # what, and what stands before its first and its other lines
    while stack:
        item, first, rest = stack.pop()
        name, shape = _text(item, names)
        again = " (above)" if item in shown and isinstance(item, Node) else ""
        print(f"{first}{name} {shape}{again}")
        if again:
            continue
        shown.add(item)
        steps = [p for p in parents[item] if isinstance(p, Node)]
        others = list(parents[item])
        if steps:
            del others[next(i for i, p in enumerate(others) if p is steps[0])]
        if steps:
            stack.append((steps[0], rest, rest))
        for n, p in reversed(list(enumerate(others))):
            ends = n == len(others) - 1 and not steps
            stack.append((p, rest + ("└─ " if ends else "├─ "), rest + ("   " if ends else "│  ")))
