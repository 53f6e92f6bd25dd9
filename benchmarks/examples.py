"""What the examples on sequences reach, and in what time: minidl beside PyTorch, on the same data, split in the same way.

    python benchmarks/examples.py                  # half an hour; writes docs/examples-results.md
    python benchmarks/examples.py --only digits    # one of them
    python benchmarks/examples.py --smoke          # only to see that it runs

PyTorch runs the very same programs: a copy of them in which the word ``minidl`` is replaced by ``torch``. Each draws its first
weights and its batches itself, so the two runs are as alike as two seeds. Both run at the same time, each with one thread; the
minutes are those of the processor, for the whole program (it asks the operating system for them, which Windows does not tell).
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import environment
from environment import head, row

import minidl

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# the example: what it measures on data that it has not learnt from, and how to write that
MEASURED = {
    "char_rnn": ("bits per character", "{:.3f}"),
    "gpt": ("bits per character", "{:.3f}"),
    "digits_rnn": ("test accuracy", "{:.1%}"),
    "translate": ("test accuracy", "{:.1f} %"),
}
SIDES = {"minidl": "minidl", "PyTorch": "torch"}  # the second where it is installed


def copied(folder, library):
    """The examples in a new folder, with ``library`` in the place of minidl."""
    target = Path(folder, library)
    shutil.copytree(EXAMPLES, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in target.rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8").replace("minidl", library), encoding="utf-8")
    return target


def begun(example, library, folder, args):
    """The example, running in ``folder`` with one thread; what it prints goes into a file there."""
    here = Path(__file__).resolve().parent
    paths = [str(Path(minidl.__file__).resolve().parent.parent), str(here), os.environ.get("PYTHONPATH", "")]
    program = f"import runpy, {library}; {library}.set_num_threads(1); runpy.run_path('{example}.py', run_name='__main__')"
    if library == "torch":
        program = f"import torch, sides.checkpoints; torch.Checkpoints = sides.checkpoints.Checkpoints; {program}"
    command = [sys.executable, "-c", program, f"--seed={args.seed}", *(["--smoke"] if args.smoke else [])]
    blas = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # `set_num_threads(1)` leaves NumPy's as it is
    with open(folder / f"{example}.log", "w") as log:
        where = {**os.environ, **blas, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return subprocess.Popen(command, cwd=folder, env=where, stdout=log, stderr=subprocess.STDOUT)


def reached(example, folder):
    """The last measurement and how many steps there were, as its last checkpoint has them.

    What an example does after its training, writing and drawing, needs things that PyTorch does not have, and does not count.
    """
    checkpoint, log = folder / "runs" / f"{example}.safetensors", (folder / f"{example}.log").read_text()
    state = minidl.load(checkpoint) if checkpoint.exists() else None
    if state is None or state["done"] < state["settings"]["steps"]:
        sys.exit(f"{example} did not come to the end of its training:\n{log}")
    return state["history"][-1][MEASURED[example][0]], state["done"]


def compare(example, args):
    """A line of the table, once both sides have ended."""
    with tempfile.TemporaryDirectory() as folder:
        there = {name: library for name, library in SIDES.items() if importlib.util.find_spec(library)}
        folders = {name: copied(folder, library) for name, library in there.items()}
        running = {name: begun(example, SIDES[name], at, args) for name, at in folders.items()}
        times = [processor_minutes(process) for process in running.values()]
        found = [reached(example, at) for at in folders.values()]
    what, form = MEASURED[example]
    cells = [f"{found[0][1]:,}", what, *(form.format(measured) for measured, _ in found), *(f"{t:.1f}" for t in times)]
    if len(found) < len(SIDES):
        return row(f"`{example}.py`", *cells[:3], "-", cells[3], "-", "-")
    return row(f"`{example}.py`", *cells, f"{times[0] / times[1]:.2f}")


def processor_minutes(process):
    """How long a process has kept the processor busy, once it has ended."""
    _, process.returncode, used = os.wait4(process.pid, 0)
    return (used.ru_utime + used.ru_stime) / 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only examples whose name holds this")
    parser.add_argument("--output", help="file for the table (default: docs/examples-results.md if all was run)")
    parser.add_argument("--smoke", action="store_true", help="a few steps of one example, written nowhere")
    args = parser.parse_args()
    print(environment.describe(), flush=True)
    lines = head("example", "steps", "on the test data", *SIDES, *(f"{name}, min" for name in SIDES), "ratio")
    for example in [name for name in MEASURED if args.only in name][: 1 if args.smoke else None]:
        lines.append(compare(example, args))
        print(lines[-1], flush=True)
    output = args.output or (None if args.smoke or args.only else environment.DOCS / "examples-results.md")
    if output:
        environment.write(output, lines, [f"Seed {args.seed}; one thread on each side."])


if __name__ == "__main__":
    main()
