"""The program ``python -m minidl.exercises``."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from .course import Course, Report
from .step import Step, find, steps

COMMAND = "python -m minidl.exercises"
DEFAULT = "minidl-exercises"
COLOURS = {"green": "32", "red": "31", "bold": "1"}
POLL = 0.3  # seconds between two looks at a file


def paint(text: str, colour: str) -> str:
    """``text`` in a colour, on a terminal."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if sys.stdout.isatty() else text


def show(text: str) -> None:
    """Print a text, indented and in lines of at most 100 characters."""
    for line in text.splitlines():
        print(textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="  "))


def label(step: Step) -> str:
    """What a step is called in headings."""
    return f"{step.number}/{len(steps())} {step.name}"


def introduce(course: Course, step: Step) -> None:
    """What a step is about, and where its file is."""
    print(paint(f"{label(step)}: {step.title}", "bold"))
    for line in step.docstring.splitlines()[1:]:
        print(f"  {line}".rstrip())
    print(f"\n  Your file: {course.path(step)}")


def tell(course: Course, step: Step, report: Report) -> None:
    """What the check of a step has found."""
    if report.passed:
        print(paint(f"✓ {label(step)}", "green"))
        show(step.said("solved"))
        return
    print(paint(f"✗ {label(step)}", "red") + f"  ({course.path(step)})\n")
    show(report.problem)
    if report.hint:
        print()
        show(report.hint)


def say_next(course: Course) -> Step | None:
    """Introduce the first step that is not solved, or congratulate."""
    step = course.current()
    if step is None:
        print(
            paint(
                f"All {len(steps())} steps are solved: you have written an engine. README.md says how to read ours.",
                "bold",
            )
        )
    else:
        introduce(course, step)
    return step


def list_steps(course: Course) -> int:
    """All steps, with a mark at those that are solved."""
    passed = [course.solved(step) for step in steps()]
    for step, done in zip(steps(), passed):
        print(f"{paint('✓', 'green') if done else '·'} {step.number:2}  {step.name:15} {step.title}")
    share = round(30 * sum(passed) / len(passed))
    print(f"\n[{'#' * share}{'-' * (30 - share)}] {sum(passed)} of {len(passed)}")
    return 0


def watch(course: Course, step: Step | None) -> int:
    """Check whenever the file is saved, and go on to the next step when it is right; Ctrl-C ends it."""
    while step is not None:
        stamp = course.path(step).stat().st_mtime_ns
        report = course.check(step)
        print()
        tell(course, step, report)
        if report.passed:
            print()
            step = say_next(course)
            continue
        print(f"\n  Watching {course.path(step)}; Ctrl-C ends it.", flush=True)
        while not course.path(step).exists() or course.path(step).stat().st_mtime_ns == stamp:
            time.sleep(POLL)  # an editor may replace the file, so for a moment it can be gone
    return 0


def parser() -> argparse.ArgumentParser:
    """What the program understands."""
    top = argparse.ArgumentParser(
        prog=COMMAND, description="Write a deep-learning engine step by step. Fill in a file, save it, check it, read on."
    )
    top.add_argument("--folder", type=Path, help=f"where your files are (default: ./{DEFAULT}, made at the first call)")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, help: str, step: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        if step:
            sub.add_argument("step", nargs=None if step == "required" else "?", help="its number or name; mostly not needed")
        return sub

    add("list", "show all steps and which are solved")
    add("next", "show the first step that is not solved (this is also what happens without a command)")
    add("hint", "say a little more about a step", "optional")
    check = add("check", "check a step (default: the file you saved last), and say what is wrong", "optional")
    check.add_argument(
        "--watch", action="store_true", help="check again whenever the file is saved, and go on when it is right"
    )
    add("solution", "print the solved file of a step", "optional")
    add("reset", "put a step's file back as it was; yours is kept with .old at its end", "required")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; 0 is returned if all is well, 1 if a check failed, 2 if the command makes no sense."""
    args = parser().parse_args(arguments)
    here = Path.cwd()
    inside = (here / steps()[0].filename).exists()
    course = Course(args.folder or (Path() if inside else Path(DEFAULT)))
    if course.prepare():
        print(f"Made the folder {course.folder} with {len(steps())} files for you to fill in.\n")
    try:
        if args.command == "list":
            return list_steps(course)
        if getattr(args, "step", None):
            return act(args, course, find(args.step))
        return act(args, course, course.latest() if args.command == "check" and not args.watch else course.current())
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # how one leaves `watch`, or a loop without end in one's own file
        print()
        return 0 if getattr(args, "watch", False) else 1


def act(args: argparse.Namespace, course: Course, step: Step | None) -> int:
    """Do what is asked about one step; None: all are solved."""
    if step is None or args.command in (None, "next"):
        if say_next(course):
            print(f"\n  Fill it in, save, and then: {COMMAND} check   (or check --watch, or hint)")
    elif args.command == "hint":
        print(f"{label(step)}: {step.title}")
        show(step.said("hint"))
    elif args.command == "solution":
        print(step.solution, end="")
    elif args.command == "reset":
        kept = course.reset(step)
        print(f"{course.path(step)} is as it was" + (f"; yours is kept in {kept}" if kept else " already"))
    elif args.watch:
        return watch(course, step)
    else:
        report = course.check(step)
        tell(course, step, report)
        if not report.passed:
            print(f"\n  More: {COMMAND} hint {step.number}")
            return 1
        print()
        say_next(course)
    return 0
