"""`profile`: a watcher that counts and times what it sees, and shows it as a table."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from ..autograd.function import OutputNode
from ..autograd.tape import _births
from ..autograd.watch import Watcher
from ..serialization import write_whole
from . import costs

OUTSIDE = "(no module)"


@dataclass
class Record:
    """One line of a table."""

    name: str
    phase: str  #: forward, backward or optimiser
    calls: int = 0
    seconds: float = 0.0  #: spent here, without what was called from here and has a line of its own
    total_seconds: float = 0.0  #: with it
    bytes: int = 0  #: read and written
    flops: int = 0

    def add(self, flops: int, moved: int) -> None:
        """Count what a call cost."""
        self.flops += flops
        self.bytes += moved


class _Frame:
    """A call in progress: where it counts, and the time spent in itself and in what it called."""

    __slots__ = ("inner", "module", "own", "path", "phase", "record", "start")

    def __init__(self, record: Record, phase: str, path: str, module: Any = None) -> None:
        self.record, self.phase, self.path, self.module = record, phase, path, module
        self.start, self.own, self.inner = perf_counter(), 0.0, 0.0


class profile(Watcher):
    """Counts and times what is computed inside ``with profile() as p:``; ``print(p)`` shows it.

    Every op on tensors, the rules of every node in a backward sweep, every ``forward`` of a module and every step of an
    optimiser. Entering again adds up. Only the thread that enters is seen, not the workers of a loader; and one profile belongs
    to one thread at a time. On a GPU, where a call returns before the work is done, the times are those of the calls.
    Every call is remembered for `export_chrome_trace`: profile some steps, not a whole training.

    Examples
    --------
    >>> with minidl.profiler.profile() as p:
    ...     y = minidl.ones(2, 3) @ minidl.ones(3, 4)
    >>> [(r.name, r.calls, r.flops, r.bytes) for r in p.key_averages()]
    [('matmul', 1, 48, 104)]
    """

    def __init__(self) -> None:
        self._ops: dict[tuple[str, str, str], Record] = {}  # by name, phase and path of the module
        self._modules: dict[tuple[str, str, str], Record] = {}  # by path, phase and path
        self._stack = [_Frame(Record("", ""), "forward", "")]
        self._events: list[tuple[str, str, str, float, float]] = []
        self._births, self._paths = [-1], [""]  # of the nodes from which on a module was at work; and which
        self._depth, self._last, self._entered, self._before = 0, 0.0, 0.0, 0.0

    def __enter__(self) -> Any:
        self._depth += 1
        if self._depth == 1:  # entered again inside itself, it is at work already
            super().__enter__()
            self._last = self._entered = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        if self._depth == 1:
            self._credit()
            self._before += self._last - self._entered
            super().__exit__(*error)
        self._depth -= 1

    @property
    def total_time(self) -> float:
        """The seconds spent inside the ``with`` blocks."""
        return self._before + (perf_counter() - self._entered if self._depth else 0.0)

    # -- the clock: time goes to the innermost call, and the profiler's own to none

    def _credit(self) -> None:
        now = perf_counter()
        if self._depth:
            self._stack[-1].own += now - self._last
        self._last = now

    def _enter(self, records: dict[Any, Record], name: str, phase: str, path: str, module: Any = None) -> Record:
        self._credit()
        record = records.setdefault((name, phase, path), Record(name, phase))
        self._at(path)
        self._stack.append(_Frame(record, phase, path, module))
        self._last = perf_counter()
        return record

    def _leave(self) -> _Frame:
        self._credit()
        frame = self._stack.pop()
        record, total = frame.record, frame.own + frame.inner
        record.seconds += frame.own
        if all(outer.record is not record for outer in self._stack):  # else the outermost counts it
            record.total_seconds += total
        self._stack[-1].inner += total
        self._events.append((record.name, frame.phase, frame.path, frame.start, self._last - frame.start))
        self._at(self._stack[-1].path)
        self._last = perf_counter()
        return frame

    def _at(self, path: str) -> None:
        """Nodes born from now on are made in the module at ``path``."""
        if path != self._paths[-1]:
            self._births.append(next(_births))
            self._paths.append(path)

    # -- what is watched

    def run(self, op: Any, values: Any) -> Any:
        """Count and time an op."""
        top = self._stack[-1]
        record = self._enter(self._ops, op.name, top.phase, top.path)
        record.calls += 1
        try:
            result = super().run(op, values)
        finally:
            frame = self._leave()
        if not frame.inner:
            record.add(*costs.of_op(op, values, result))
        self._last = perf_counter()
        return result

    def pull(self, node: Any, g: Any, graph: bool, needed: Any) -> Iterator[tuple[Any, Any, bool]]:
        """Count and time the rules of a node; a recorded one computes by ops, which count for themselves."""
        if isinstance(node, OutputNode):  # only hands on what a Function's node then takes
            yield from super().pull(node, g, graph, needed)
            return
        path = self._paths[bisect_right(self._births, node.birth) - 1]
        kept = getattr(node, "kept", None) or {}
        rules, pulled = costs.rules_of(node), super().pull(node, g, graph, needed)
        calls, recorded = 1, False
        while True:
            record = self._enter(self._ops, node.name(), "backward", path)
            record.calls, calls = record.calls + calls, 0
            try:
                found = next(pulled, None)
            finally:
                recorded = bool(self._leave().inner) or recorded
            if found is None:
                self._events.pop()  # in which nothing was computed any more
                return
            _, name, reads = next((rule for rule in rules if rule[0] is found[0]), (None, "", ("g",)))
            if not recorded:
                record.add(*costs.of_rule(name, kept, reads, g, found[1]))
            self._last = perf_counter()
            yield found

    def module(self, module: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Time the ``forward`` of a module, and count what is computed in it as its."""
        self._credit()
        path = self._path(module)
        self._last = perf_counter()
        self._enter(self._modules, path, self._stack[-1].phase, path, module).calls += 1
        try:
            return super().module(module, forward, args, kwargs)
        finally:
            self._leave()

    def _path(self, module: Any) -> str:
        """The name of ``module`` as seen from the innermost module at work that holds it: ``Net.features.0``."""
        frames = [frame for frame in reversed(self._stack) if frame.module is not None]
        for frame in frames:
            for name, inside in frame.module.named_modules(remove_duplicate=False):
                if inside is module:
                    return f"{frame.path}.{name}" if name else frame.path
        return ".".join([*(frame.path for frame in frames[:1]), type(module).__name__])

    def optimizer(self, optimizer: Any, step: Callable[[], Any]) -> Any:
        """Count and time the updates of an optimiser."""
        name = f"{type(optimizer).__name__}.step"
        record = self._enter(self._ops, name, "optimiser", self._stack[-1].path)
        record.calls += 1
        try:
            return super().optimizer(optimizer, step)
        finally:
            self._leave()
            record.add(*costs.of_step(name, optimizer))
            self._last = perf_counter()

    # -- what came of it

    def key_averages(self, by: str = "op") -> list[Record]:
        """The records summed up, in the order in which they first occurred.

        Parameters
        ----------
        by : {"op", "module", "phase"}
            What they are summed up by, beside the phase. Of a module, seconds, bytes and flops leave out the modules inside it
            and ``total_seconds`` has them in; gradients are counted with the module in whose ``forward`` their node was made.
        """
        if by not in ("op", "module", "phase"):
            raise ValueError(f"key_averages: by must be 'op', 'module' or 'phase', got {by!r}")
        sums: dict[tuple[str, str], Record] = {}
        if by == "module":
            for (path, phase, _), record in self._modules.items():
                sums[path, phase] = replace(record)
        for (op, phase, path), record in self._ops.items():
            name = {"op": op, "phase": phase, "module": path or OUTSIDE}[by]
            into = sums.setdefault((name, phase), Record(name, phase))
            measured = (path, phase, path) in self._modules and by == "module"
            into.calls += 0 if measured else record.calls
            into.seconds += record.seconds
            into.total_seconds += 0 if measured else record.total_seconds if by == "op" else record.seconds
            into.bytes += record.bytes
            into.flops += record.flops
            if by == "module" and not measured:
                for above in self._above(path):
                    sums.setdefault((above, phase), Record(above, phase)).total_seconds += record.seconds
        return list(sums.values())

    def _above(self, path: str) -> Iterator[str]:
        """The modules that hold the one at ``path``."""
        while path := path.rpartition(".")[0]:
            if any(path == known for known, _, _ in self._modules):
                yield path

    def table(self, by: str = "op", sort_by: str = "time", row_limit: int | None = None) -> str:
        """`key_averages` as text.

        Parameters
        ----------
        by : {"op", "module", "phase"}
            See `key_averages`.
        sort_by : {"time", "calls", "bytes", "flops", "name"}
            What comes first: the most, but for names. Time is that of the line itself.
        row_limit : int, optional
            How many lines to show; all if None or negative.
        """
        keys: dict[str, Callable[[Record], Any]] = {
            "time": lambda r: -r.seconds,
            "calls": lambda r: -r.calls,
            "bytes": lambda r: -r.bytes,
            "flops": lambda r: -r.flops,
            "name": lambda r: r.name,
        }
        if sort_by not in keys:
            raise ValueError(f"table: sort_by must be one of {', '.join(map(repr, keys))}, got {sort_by!r}")
        records = sorted(self.key_averages(by), key=keys[sort_by])
        counted, whole = sum(record.seconds for record in records), self.total_time
        shown = records if row_limit is None or row_limit < 0 else records[:row_limit]
        width = max(len(by), *(len(record.name) for record in shown)) if shown else len(by)
        lines = [f"{by:{width}}  phase         calls    self ms     self %   total ms         MB     MFLOP    GFLOP/s"]
        for r in shown:
            share, rate = 100 * r.seconds / max(whole, 1e-9), r.flops / max(r.seconds, 1e-9) / 1e9
            lines.append(
                f"{r.name:{width}}  {r.phase:9}{r.calls:10}{r.seconds * 1e3:11.3f}{share:11.1f}{r.total_seconds * 1e3:11.3f}"
                f"{r.bytes / 1e6:11.3f}{r.flops / 1e6:10.3f}{rate:11.2f}"
            )
        hidden = f", {len(records) - len(shown)} lines not shown" if len(shown) < len(records) else ""
        return "\n".join([*lines, f"{counted * 1e3:.3f} ms of {whole * 1e3:.3f} ms{hidden}"])

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: Any) -> None:
        """Write every call as JSON that chrome://tracing and https://ui.perfetto.dev show on a line of time."""
        start = min((event[3] for event in self._events), default=0.0)
        events = [
            {
                "name": name,
                "cat": phase,
                "ph": "X",  # with a duration
                "ts": (begin - start) * 1e6,
                "dur": seconds * 1e6,
                "pid": os.getpid(),
                "tid": 0,
                "args": {"module": module or OUTSIDE},
            }
            for name, phase, module, begin, seconds in self._events
        ]
        write_whole(json.dumps({"traceEvents": events}).encode(), path, "export_chrome_trace")
