"""A recording in a terminal: a list of its steps, one step in words, and a walk through them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import formulas
from .pictures import SHADES, short


def _written(template: str, shapes: Any, options: Any) -> str:
    parts = formulas.tokens(template, shapes, options)
    return "".join(part if isinstance(part, str) else f"{part[0]}[{part[1]}]" for part in parts)


def _shapes(recording: Any, row: Any) -> dict[str, Any]:
    shapes = {name.partition("[")[0]: recording.rows[i].shape for name, i in row.inputs}
    return {**shapes, "out": row.shape, "g": row.shape}


def place(recording: Any, number: int) -> str:
    """A row by the module and op that made it, or by its name."""
    row = recording.rows[number]
    path = recording.path(number)
    made = row.op if row.op in ("", row.name) else f"{row.name} = {row.op}"
    return row.name if not row.op else f"{path}: {made}" if path else made


def listing(recording: Any) -> str:
    """One line for each step."""
    lines, phase = [], ""
    for i, step in enumerate(recording.steps):
        row = recording.rows[step.row]
        if step.phase != phase:
            phase = step.phase
            lines.append(phase)
        if phase == "backward":
            what = " ".join(f"-> {p.input} {tuple(p_shape(recording, p))}{_tick(p.check)}" for p in step.products)
        elif phase == "forward":
            what = f"{tuple(row.shape)}"
        else:
            what = step.by or "by hand"
        site = f"{row.site['file']}:{row.site['line']}" if row.site else ""
        lines.append(f"{i:4}  {place(recording, step.row):36} {what:44} {site}".rstrip())
    return "\n".join(lines) or "nothing was recorded"


def p_shape(recording: Any, product: Any) -> Any:
    """The shape in which a product arrives."""
    return recording.values[product.summed if product.summed >= 0 else product.value]["shape"]


def _tick(check: str) -> str:
    return {"": "", "right": " ✓"}.get(check, " ✗" if check.startswith("wrong") else " –")


def _line(value: dict[str, Any]) -> str:
    """A value in one line: shape, range, and the sizes of its elements as blocks."""
    shape = tuple(value["shape"])
    numbers = value.get("numbers", [])
    if len(numbers) == 1:
        return f"{shape} {numbers[0]}"
    if value["min"] is None:
        said = "no finite number"
    else:
        said = f"{short(value['min'])} .. {short(value['max'])}, mean {short(value['mean'])}, {value['zeros']:.0%} zeros"
    bad = "".join(f", {value[what]} {name}" for what, name in (("nan", "NaN"), ("inf", "infinite")) if value[what])
    return f"{shape} {said}{bad}  {_blocks(value)}"


def _blocks(value: dict[str, Any]) -> str:
    """Where in the array, from its first element to its last, the large ones are: zero is a dot."""
    edges = value["strip"]
    return "".join(SHADES[min(7, level)] if level >= 0 else "·" for level in edges)


def _card(recording: Any, number: int) -> Iterator[str]:
    step = recording.steps[number]
    row = recording.rows[step.row]
    yield f"[{number + 1}/{len(recording.steps)}] {step.phase}: {place(recording, step.row)}"
    if row.site:
        yield f"    {row.site['file']}:{row.site['line']}    {row.site['text']}"
    values, shapes = recording.values, _shapes(recording, row)
    if step.phase == "update":
        yield f"    {step.by} moves it against its gradient" if step.by else "    changed by hand"
        yield from (f"    {name:12} {_line(values[v])}" for name, v in (*step.values, ("after", step.out)))
        return
    formula = _written(formulas.forward(row.op), shapes, row.options)
    yield f"    out = {formula or row.op + '(' + ', '.join(name for name, _ in row.inputs) + ')'}"
    if step.phase == "forward":
        yield from (f"    {name:12} {_line(values[v])}" for name, v in (*step.values, ("out", step.out)))
        return
    yield f"    {'∂L/∂out':12} {_line(values[step.out])}"
    for p in step.products:
        rule = _written(formulas.rule(row.op, p.input.partition("[")[0]), shapes, row.options)
        yield f"  ∂L/∂{p.input} = {rule or p.code}"
        yield f"    {'product':12} {_line(values[p.value])}"
        if p.summed >= 0:
            yield f"    {'un-broadcast':12} {_line(values[p.summed])}"
        if p.total >= 0:
            yield f"    {'added up':12} {_line(values[p.total])}"
        meets = f", gradient {p.arrival} of {p.expected} that meet there" if p.expected > 1 else ""
        again = ", added to the .grad that was there before" if p.before else ""
        yield f"    goes to      {place(recording, p.row)}{meets}{again}"
        if p.check:
            yield f"   {_tick(p.check)} finite differences: {p.check}"


def card(recording: Any, number: int) -> str:
    """One step in words.

    Raises
    ------
    IndexError
        If there is no such step.
    """
    if not 0 <= number < len(recording.steps):
        raise IndexError(f"text: there is no step {number}; the recording has {len(recording.steps)}, counted from 0")
    return "\n".join(_card(recording, number))


def play(recording: Any) -> None:
    """Show step after step: Enter goes on, b back, a number there, l lists them, q ends."""
    number = 0
    while recording.steps:
        print(card(recording, number))
        said = input("[Enter] on  [b]ack  [l]ist  a number  [q]uit > ").strip()
        if said == "q" or (said == "" and number == len(recording.steps) - 1):
            return
        if said == "l":
            print(listing(recording))
        elif said.isdigit():
            number = min(int(said), len(recording.steps) - 1)
        else:
            number = max(0, number - 1) if said == "b" else min(number + 1, len(recording.steps) - 1)
