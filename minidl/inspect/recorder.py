"""`record`: a watcher that keeps what a training step does, for the views to show."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..autograd.function import OutputNode
from ..autograd.op import OpNode
from ..autograd.sweep import reachable
from ..autograd.tape import Node, TensorBase, _births, call_site, counter, flat_parents, source
from ..autograd.watch import Watcher
from . import player, terminal
from .differences import Judge
from .pictures import picture
from .places import code_of, line_of, names_of, targets, variables
from .rows import Group, Product, Row, Step, as_array, brief, fitted

CHANGES = {"_change", "change_part"}  # of `autograd.inplace`


def _younger(node: Any, born: int) -> Iterator[Any]:
    """The nodes behind ``node`` that were made after ``born``, and itself."""
    stack, found = [node], set()
    while stack:
        top = stack.pop()
        if isinstance(top, Node) and top.birth > born and top not in found:
            found.add(top)
            yield top
            stack.extend(flat_parents(top))


class record(Watcher):
    """Keeps everything that is computed inside ``with record() as r:``: each op, each rule, each update.

    ``r.show()`` plays it in a notebook or a browser, ``r.save("step.html")`` writes the player as one file, ``print(r)`` lists
    the steps and ``r.play()`` walks through them in a terminal. Only this thread is seen. Pictures of all arrays are made
    on the spot: record one step with a few examples, not a training.

    Parameters
    ----------
    check : bool
        Also judge every gradient by finite differences of its own op, in float64.
    title : str, optional
        What stands above the player.

    Examples
    --------
    >>> w = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> with minidl.inspect.record(check=True) as r:
    ...     (w * w).sum().backward()
    >>> [(step.phase, r.rows[step.row].op) for step in r.steps]
    [('forward', 'mul'), ('forward', 'sum'), ('backward', 'sum'), ('backward', 'mul')]
    >>> [product.check for product in r.steps[-1].products]
    ['right', 'right']
    """

    def __init__(self, check: bool = False, title: str | None = None) -> None:
        self.title = str(title or "A step of training")
        self.judge = Judge() if check else None
        self.groups: list[Group] = []
        self.rows: list[Row] = []
        self.steps: list[Step] = []
        self.values: list[dict[str, Any]] = []
        self._modules: list[tuple[int, Any]] = []  # at work, with their groups
        self._row_of: dict[int, int] = {}  # by the id of a node, leaf or array, all of which are kept alive
        self._alive: list[Any] = []
        self._value_of: dict[int, tuple[int, int]] = {}  # by the id of an array: how often it had been changed, and the picture
        self._names: dict[int, str] = {}
        self._calls: list[tuple[Any, int]] = []  # modules that no other one called
        self._busy = False  # inside a rule or an optimiser, whose ops are not the program's
        self._born, self._arrived, self._expected = -1, Counter[int](), Counter[int]()
        self._sums: dict[int, Any] = {}

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        found = list(variables(sys._getframe(1)))
        names = {id(value): name for name, value in found}
        self._names.update(names_of([*found, *((type(m).__name__, m) for m, _ in self._calls if id(m) not in names)]))
        for module, group in self._calls:
            self.groups[group].name = names.get(id(module), self.groups[group].type)
        for thing in self._alive:
            row = self._row_of.get(id(thing))
            if row is not None and not self.rows[row].op:
                self.rows[row].name = self._names.get(id(thing), self.rows[row].name)
        for name, value in found:  # what an op made has the name of the variable that holds it
            row = self._row_of.get(id(getattr(value, "_node", None)))
            if row is not None:
                self.rows[row].name = name
        self._finish()

    def _finish(self) -> None:
        """Drop what led to nothing that has a gradient, unless nothing has one; and let go of all arrays."""
        wanted = {i for i, row in enumerate(self.rows) if row.op and row.wants_grad}
        stack = list(wanted)
        while stack:
            for _, i in self.rows[stack.pop()].inputs:
                if i not in wanted:
                    wanted.add(i)
                    stack.append(i)
        if wanted:
            self.steps = [step for step in self.steps if step.row in wanted or step.phase == "update"]
        self._alive, self._row_of, self._value_of, self._sums = [], {}, {}, {}

    # -- what is seen, as rows and values

    def _value(self, array: Any, changes: int | None = None) -> int:
        """The number of an array's picture; a new one if it was changed since the last."""
        before, number = self._value_of.get(id(array), (-1, -1))
        if number < 0 or changes not in (None, before):
            self._alive.append(array)
            number = self._fresh(array)
            self._value_of[id(array)] = before if changes is None else changes, number
        return number

    def _fresh(self, array: Any) -> int:
        """The picture of an array that may be changed later."""
        self.values.append(picture(array))
        return len(self.values) - 1

    def _new_row(self, thing: Any, row: Row) -> int:
        self._alive.append(thing)
        self._row_of[id(thing)] = len(self.rows)
        self.rows.append(row)
        return len(self.rows) - 1

    def _row(self, origin: Any) -> int:
        """The row of a source, or of a tensor that has none."""
        while isinstance(origin, OutputNode):
            origin = origin.parents[0]
        stack = [origin]  # no recursion: what was made before the recording may be long
        while stack:
            top = stack[-1]
            if id(top) in self._row_of or not isinstance(top, Node):
                if id(top) not in self._row_of:
                    self._leaf(top)
                stack.pop()
                continue
            parents = [p.parents[0] if isinstance(p, OutputNode) else p for p in flat_parents(top)]
            missing = [p for p in parents if id(p) not in self._row_of]
            if missing:
                stack.extend(missing)
                continue
            inputs = [(name, self._row_of[id(p)]) for (_, name, _, _), p in zip(targets(top), parents)]
            group = self._modules[-1][0] if self._modules else -1
            shape = getattr(top, "shape", ())
            self._new_row(
                top, Row(top.name(), top.name(), shape, group, line_of(top.site), inputs, wants_grad=True, birth=top.birth)
            )
            stack.pop()
        return self._row_of[id(origin)]

    def _leaf(self, t: Any) -> int:
        name = "a leaf" if t._requires_grad else "data"
        return self._new_row(t, Row("", self._names.get(id(t), name), t._array.shape, wants_grad=t._requires_grad))

    def _origin(self, t: Any) -> int:
        """The row that the tensor ``t`` comes from."""
        origin = source(t)
        if origin is None:
            origin = t._array if id(t._array) in self._row_of else t
        return self._row(origin)

    def run(self, op: Any, values: Any) -> Any:
        """Keep an op: its inputs, its output, where it was called."""
        if self._busy:
            return super().run(op, values)
        inputs: list[tuple[str, Any]] = []
        options: dict[str, str] = {}
        for i, (name, value) in enumerate(zip(op.names, values)):
            if isinstance(value, TensorBase):
                inputs.append((name, value))
            elif isinstance(value, (tuple, list)) and any(isinstance(v, TensorBase) for v in value):
                inputs += [(f"{name}[{j}]", v) for j, v in enumerate(value) if isinstance(v, TensorBase)]
            elif value is not op.defaults[i] and value != op.defaults[i]:
                options[name] = brief(value)
        taken = [(name, self._origin(t), self._value(t._array, counter(t).changes)) for name, t in inputs]
        if self.judge is not None:
            self.judge.before(op, values)
        out = super().run(op, values)
        node = out._node
        row = self._made(op.name, node, out._array, taken, options)
        if op.name == "conv2d":
            row.convolution = player.convolution(values, out._array)
        if self.judge is not None:
            self.judge.after(node, out._array)
        return out

    def _made(self, name: str, node: Any, out: Any, taken: list[tuple[str, int, int]], options: dict[str, str]) -> Row:
        """The row and the step of what was made just now."""
        row = Row(
            name,
            name,
            out.shape,
            self._modules[-1][0] if self._modules else -1,
            line_of(node.site if node is not None else call_site()),
            [(name, i) for name, i, _ in taken],
            options,
            node is not None,
            next(_births) if node is None else node.birth,
        )
        number = self._new_row(out if node is None else node, row)
        self.steps.append(Step("forward", number, [(name, value) for name, _, value in taken], self._value(out)))
        return row

    def function(self, function: Any, args: Any) -> Any:
        """Keep a `Function` as one step, whatever its ``forward`` is made of."""
        if self._busy:
            return super().function(function, args)
        inputs = [(f"input {i}", t) for i, t in enumerate(args) if isinstance(t, TensorBase)]
        options = {f"input {i}": brief(value) for i, value in enumerate(args) if not isinstance(value, TensorBase)}
        taken = [(name, self._origin(t), self._value(t._array, counter(t).changes)) for name, t in inputs]
        if self.judge is not None:
            self.judge.before_function(function, args)
        self._busy = True
        try:
            result = super().function(function, args)
        finally:
            self._busy = False
        outs = result if isinstance(result, tuple) else (result,)
        nodes = [t._node.parents[0] for t in outs if isinstance(t._node, OutputNode)]
        node = nodes[0] if nodes and id(nodes[0]) not in self._row_of else None  # under no_grad an input may be handed through
        self._made(function.__name__, node, outs[0]._array, taken, options)
        if node is None:
            self._row_of.update((id(t._array), len(self.rows) - 1) for t in outs)
            self._alive += [t._array for t in outs]
        if self.judge is not None:
            self.judge.after(node, outs[0]._array, len(outs))
        return result

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Keep what is computed in a module together."""
        outer = self._modules[-1] if self._modules else (-1, None)
        name = type(module).__name__
        if outer[1] is not None:
            name = next((n for n, m in outer[1].named_modules(remove_duplicate=False) if m is module and n), name)
        else:
            self._calls.append((module, len(self.groups)))
        self._modules.append((len(self.groups), module))
        self.groups.append(Group(name, type(module).__name__, outer[0]))
        try:
            return super().module(module, forward, args, kwargs)
        finally:
            self._modules.pop()

    def effect(self, function: Callable[..., Any], args: Any) -> Any:
        """Keep what changes a tensor in place and is no op: ``y[0] = 0``, and a parameter's update that is written by hand."""
        if self._busy or function.__name__ not in CHANGES:
            return super().effect(function, args)
        t = args[0]
        if source(t) is t:  # a leaf, under no_grad
            if t._grad is None:  # its first numbers
                return super().effect(function, args)
            old = t._array.copy()
            result = super().effect(function, args)
            self._updated(t, old, line_of(call_site()), "")
            return result
        held, born = t if t._base is None else t._base, next(_births)
        old, all_old = (self._value(x._array, counter(x).changes) for x in (t, held))
        if self.judge is not None and function.__name__ == "change_part":
            self.judge.before(args[1], (t, args[3], args[2]))
        result = super().effect(function, args)
        for node in sorted(_younger(held._node, born), key=lambda node: node.birth):
            if id(node) in self._row_of:
                continue
            whole = node.name() == "placed"
            row = self.rows[self._row(node)]
            given = {"input": all_old if whole else old, "part": self._fresh(t._array) if whole else -1}
            if not whole:
                if isinstance(args[3], TensorBase):
                    given["values"] = self._value(args[3]._array, counter(args[3]).changes)
                else:
                    row.options["values"] = brief(args[3])
                if self.judge is not None:
                    self.judge.after(node, t._array)
            values = [(name, given[name]) for name, _ in row.inputs if name in given]
            self.steps.append(Step("forward", self._row(node), values, self._fresh((held if whole else t)._array)))
        return result

    # -- the way back

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """Keep what the rules of a node make of the gradient that came in."""
        if isinstance(node, OutputNode):  # only hands on what a Function's node then takes
            yield from super().pull(node, g, graph, needed)
            return
        self._begin(node)
        gs = next(iter(g.parts.values())) if hasattr(g, "parts") else g
        step = Step("backward", self._row(node), out=self._fresh(as_array(gs)))
        self.steps.append(step)
        rules = targets(node)
        pulled = super().pull(node, g, graph, needed)
        while True:
            self._busy = True
            found = next(pulled, None)
            self._busy = False
            if found is None:
                return
            parent, gp, _ = found
            _, name, i, place = next(rule for rule in rules if rule[0] is parent)
            if gp is not None:
                step.products.append(self._product(node, parent, name, gp))
                if self.judge is not None:
                    shaped = fitted(as_array(gp), parent)
                    step.products[-1].check = self.judge.verdict(node, i, place, as_array(gs), shaped)
            yield found

    def _begin(self, node: Any) -> None:
        """A sweep goes from the youngest node to the oldest: a younger one than the last begins a new sweep."""
        if self._born == -1 or node.birth >= self._born:
            self._arrived, self._sums = Counter(), {}
            self._expected = Counter(id(p) for n in reachable([node]) for p in flat_parents(n))
        self._born = node.birth

    def _product(self, node: Any, parent: Any, name: str, gp: Any) -> Product:
        array = as_array(gp)
        rule, reads = self._rule(node, name)
        product = Product(name, self._row(parent), self._fresh(array), rule, reads)
        shaped = fitted(array, parent)
        if shaped.shape != array.shape:
            product.summed = self._fresh(shaped)
        self._arrived[id(parent)] += 1
        product.arrival, product.expected = self._arrived[id(parent)], self._expected[id(parent)]
        if product.expected > 1:
            before = self._sums.get(id(parent))
            self._sums[id(parent)] = shaped.copy() if before is None else before + shaped
            if before is not None:
                product.total = self._fresh(self._sums[id(parent)])
        product.before = isinstance(parent, TensorBase) and parent._grad is not None
        return product

    def _rule(self, node: Any, name: str) -> tuple[str, list[tuple[str, int]]]:
        """The code of the rule for the input called ``name``, and the arrays it reads."""
        if not isinstance(node, OpNode):
            return code_of(node.function.backward) if hasattr(node, "function") else "", []
        i = node.op.names.index(name.partition("[")[0])
        rule = next(r for r in node.op.rules if r.inputs == i or (isinstance(r.inputs, tuple) and i in r.inputs))
        kept = node.kept or {}
        reads = [(n, self._value(kept[n])) for n in rule.names if hasattr(kept.get(n), "strides")]
        return code_of(rule.pull), reads

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Keep what an optimiser changes."""
        params = [p for group in optimizer.param_groups for p in group["params"] if p._grad is not None]
        before = [p._array.copy() for p in params]
        self._busy = True
        try:
            result = super().optimizer(optimizer, step)
        finally:
            self._busy = False
        site, optimizer_name = line_of(call_site()), type(optimizer).__name__
        for p, old in zip(params, before):
            self._updated(p, old, site, optimizer_name)
        return result

    def _updated(self, p: Any, old: Any, site: Any, by: str) -> None:
        row = self._row(p)
        self.rows[row].site = site
        grad = [("grad", self._fresh(p._grad._array))] if p._grad is not None else []
        values = [("before", self._fresh(old)), *grad, ("change", self._fresh(p._array - old))]
        self.steps.append(Step("update", row, values, self._fresh(p._array), [], by))

    # -- the views

    def path(self, row: int) -> str:
        """The calls of modules that a row was made in: ``model.layer1.0``."""
        parts, group = [], self.rows[row].group
        while group >= 0:
            parts.append(self.groups[group].name)
            group = self.groups[group].outer
        return ".".join(reversed(parts))

    def html(self) -> str:
        """The player: one page that needs nothing else."""
        return player.page(self)

    def save(self, path: Any) -> None:
        """Write the player to a file."""
        player.save(self, path)

    def show(self, height: int = 720) -> None:
        """Play it here, if this is a notebook, or else in the browser."""
        player.show(self, height)

    def _repr_html_(self) -> str:
        return player.frame(self, 720)

    def __str__(self) -> str:
        return terminal.listing(self)

    def text(self, number: int) -> str:
        """Step ``number``, in words and numbers."""
        return terminal.card(self, number)

    def play(self) -> None:
        """Walk through the steps in a terminal."""
        terminal.play(self)
