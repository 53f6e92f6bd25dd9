"""A step: a file of ``steps/``, and the files that are made of it.

The file is Python, and is the solution. Comments mark what else is in it::

    def double(x):
        # [solution]
        return 2 * x
        # [start] Said as long as nothing was written.
        # return ...
        # [mistake] Said to who wrote this, or anything that computes the same.
        # | A second line of what is said.
        # return x**2
        # [end]


    # [hint] Said when asked for.
    # [solved] Said at the end: where in minidl this is found.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "steps"
MARK = re.compile(r"( *)# \[(solution|start|mistake|end|hint|solved)\] ?(.*)")


class Part(NamedTuple):
    """The lines between two marks."""

    mark: str  # "" for what belongs to every file
    gap: int  # how many gaps end before it
    said: str
    lines: tuple[str, ...]


class Step(NamedTuple):
    """One exercise."""

    number: int
    name: str
    parts: tuple[Part, ...]

    @property
    def filename(self) -> str:
        """Of the learner's file."""
        return f"{self.number:02}_{self.name}.py"

    def said(self, mark: str) -> str:
        """The words behind a mark that occurs once."""
        return next((p.said for p in self.parts if p.mark == mark), "")

    @property
    def docstring(self) -> str:
        """The text that the file begins with."""
        return ast.get_docstring(ast.parse(self.solution)) or ""

    @property
    def title(self) -> str:
        """The text's first line."""
        return self.docstring.partition("\n")[0].rstrip(".")

    @property
    def solution(self) -> str:
        """The file, solved."""
        return self._file("solution")

    @property
    def start(self) -> str:
        """The file as the learner gets it."""
        return self._file("start")

    @property
    def mistakes(self) -> list[tuple[str, str]]:
        """What to say, and the file that it is said of; the file as it was given is the first."""
        wrong = [(part.said, self._file("solution", part)) for part in self.parts if part.mark == "mistake"]
        return [(self.said("start"), self.start), *wrong]

    def _file(self, mark: str, instead: Part | None = None) -> str:
        """What has this mark in every gap, but in one gap something else ``instead``."""
        lines: list[str] = []
        for part in self.parts:
            chosen = part is instead if instead and part.gap == instead.gap else part.mark == mark
            if chosen or part.mark in ("", "end"):
                lines.extend(part.lines)
        return "\n".join(lines).rstrip() + "\n"


def read(path: Path) -> Step:
    """The step that a file holds."""
    number, _, name = path.stem.partition("_")
    parts: list[tuple[str, list[str], list[str]]] = [("", [], [])]
    for line in path.read_text(encoding="utf-8").splitlines():
        mark = MARK.fullmatch(line)
        if mark:
            parts.append((mark[2], [mark[3]], []))
            continue
        kind, said, lines = parts[-1]
        comment = line.lstrip()
        if kind in ("", "end", "solution"):
            lines.append(line)
        elif comment.startswith("# | "):
            said.append(comment[4:])
        elif comment:
            lines.append(line[: len(line) - len(comment)] + comment[2:])
    gaps = accumulate(int(kind == "end") for kind, _, _ in parts)
    made = (Part(kind, gap, " ".join(said), tuple(lines)) for gap, (kind, said, lines) in zip(gaps, parts))
    return Step(int(number), name, tuple(made))


@cache
def steps() -> tuple[Step, ...]:
    """All of them, in order."""
    return tuple(read(path) for path in sorted(FOLDER.glob("*.py")))


def find(name: str) -> Step:
    """The step with this number or name; a file's name will do too.

    Raises
    ------
    LookupError
        If there is none.
    """
    wanted = Path(name).stem
    for step in steps():
        if wanted in (step.name, str(step.number), f"{step.number:02}", Path(step.filename).stem):
            return step
    raise LookupError(f"there is no step {name!r}; the steps are 1 to {len(steps())}, and `list` shows their names")
