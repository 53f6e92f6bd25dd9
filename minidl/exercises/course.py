"""The learner's folder, and what is said of a file in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from .checks import CHECKS
from .step import Step, steps
from .trial import Finding, Trial


class Report(NamedTuple):
    """What there is to say of a file."""

    passed: bool
    problem: str = ""  # what was found
    hint: str = ""  # what the mistake is, where it is one that people make


def findings(step: Step, text: str, path: str) -> list[Finding]:
    """What the step's check finds in a file with this ``text``."""
    trial = Trial(path)
    module = ModuleType(Path(path).stem)
    try:
        exec(compile(text, path, "exec"), module.__dict__)
        CHECKS[step.name](trial, module)
    except SyntaxError as error:
        return [Finding(error, f"line {error.lineno}: {error.msg}\n{(error.text or '').strip()}")]
    except Exception as error:  # in the file itself, or because a function is not there
        return [*trial.findings, Finding(error, trial.explain(error))]
    return trial.findings


@cache
def known(step: Step) -> list[tuple[str, list[Finding]]]:
    """What to say of each mistake, and what the check finds in a file with it."""
    return [(said, findings(step, text, step.filename)) for said, text in step.mistakes]


def check(step: Step, text: str, path: str = "exercise.py") -> Report:
    """Check a file's ``text``. If something is wrong, see whether it is a known mistake: one with the very same results."""
    found = findings(step, text, path)
    failed = [i for i, f in enumerate(found) if f.problem]
    if not failed:
        return Report(True)
    hints: list[tuple[int, int, str]] = []
    for said, theirs in known(step):
        alike = [i for i in failed if i < len(theirs) and found[i].same(theirs[i])]
        if alike and alike[0] == failed[0]:
            hints.append((len(alike), -sum(bool(f.problem) for f in theirs), said))
    best = max(hints, key=lambda hint: hint[:2])[2] if hints else ""
    return Report(False, found[failed[0]].problem or "", best)


class Course:
    """A folder with a file for each step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: Step) -> Path:
        """The learner's file."""
        return self.folder / step.filename

    def prepare(self) -> bool:
        """Make the files that are not there; whether the folder is new."""
        new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        for step in steps():
            if not self.path(step).exists():
                self.path(step).write_text(step.start, encoding="utf-8")
        return new

    def check(self, step: Step) -> Report:
        """Check the learner's file."""
        path = self.path(step)
        return check(step, path.read_text(encoding="utf-8"), str(path))

    def reset(self, step: Step) -> Path | None:
        """The file as it was at first; what was in it is kept beside it, and where is returned."""
        path = self.path(step)
        if path.exists() and path.read_text(encoding="utf-8") == step.start:
            return None
        kept = path.with_name(path.name + ".old")
        if path.exists():
            path.replace(kept)
        path.write_text(step.start, encoding="utf-8")
        return kept

    def solved(self, step: Step) -> bool:
        """Whether the check finds nothing wrong."""
        path = self.path(step)
        return not any(f.problem for f in findings(step, path.read_text(encoding="utf-8"), str(path)))

    def latest(self) -> Step | None:
        """The step that the learner saved last; the first unsolved one if nothing has been written yet."""
        written = [step for step in steps() if self.path(step).read_text(encoding="utf-8") != step.start]
        return max(written, key=lambda step: self.path(step).stat().st_mtime_ns) if written else self.current()

    def current(self) -> Step | None:
        """The first step that is not solved."""
        return next((step for step in steps() if not self.solved(step)), None)
