"""Training steps and forward passes, minidl beside PyTorch and beside the engines that stand on NumPy, in turns on one machine.

    python benchmarks/training.py            # some fifteen minutes; writes docs/training-results.md
    python benchmarks/training.py --smoke    # only to see that it runs

Each side is a process of its own, a new one for each case; they take turns, a few steps at a time; quoted is the median over
the turns. Before anything is timed every side computes the same four losses from the same weights and the same batch, or it is
left out and the reason is written below the table.

PyTorch runs with its default memory order, with ``channels_last``, and through ``torch.compile``; and all three once more with
the C library told to keep freed memory, "(kept)", which minidl sees to by itself. The ratios are against the best of them all.

The other engines take part in two of the cases. One that wants an interpreter of its own, with other versions in it:

    python benchmarks/training.py --python Chainer,DeZero=/path/to/python
"""

import argparse
import sys
from typing import NamedTuple

import environment
from environment import head, row
from sides import ENGINES, MINIDL, SIDES, TORCH
from sides.turns import prove, started, take_turns


class Case(NamedTuple):
    title: str
    model: str
    batch: int
    train: bool = True
    engines: bool = False  # whether the other engines take part


CASES = [
    *[Case("CIFAR network, training step", "cifar", batch, engines=batch == 100) for batch in (1, 32, 100, 256, 1000)],
    *[Case("CIFAR network, forward pass", "cifar", batch, train=False) for batch in (1, 32, 100, 256, 1000)],
    Case("ResNet-20, training step", "resnet20", 128),
    Case("MLP 2-16-16-1, training step", "mlp", 16, engines=True),
]
SMOKE_CASES = [CASES[-1], Case("CIFAR network, training step", "cifar", 2, engines=True)]


def takes_part(name, case):
    """Whether a side has this case; the order of a picture's memory is nothing to an MLP."""
    return (name not in ENGINES or case.engines) and not ("channels_last" in name and case.model == "mlp")


def measure(names, pythons, case, seconds, failures, versions):
    """Median seconds of a step, by side; what failed is added to ``failures``, by side and reason, what ran to ``versions``."""
    with started([name for name in names if takes_part(name, case)], pythons) as processes:
        right, failed = prove(processes, model=case.model, batch=case.batch, train=case.train)
        versions.update({name: process.ask("versions") for name, process in right.items()})
        for name, reason in failed.items():
            failures.setdefault((name, reason), []).append(f"{case.title}, batch {case.batch}")
        return take_turns(right, seconds)


def ratio(found, name):
    """The time of a side over the best of PyTorch's."""
    best = min((t for other, t in found.items() if other in TORCH), default=None)
    return f"{found[name] / best:.2f}" if best and name in found else "-"


def milliseconds(found, name):
    return f"{found[name] * 1e3:.3f}" if name in found else "-"


def beside_torch(names, results):
    """Table of all cases: minidl and PyTorch."""
    names = [name for name in names if name not in ENGINES]
    lines = head("case", "batch", *(f"{name}, ms" for name in names), *(f"{name}: ratio" for name in names if name in MINIDL))
    for case, found in results.items():
        ratios = (ratio(found, name) for name in names if name in MINIDL)
        lines.append(row(case.title, case.batch, *(milliseconds(found, name) for name in names), *ratios))
    return lines


def beside_engines(results):
    """Table of the cases that all have: a line for each engine, the quickest first."""
    results = {case: found for case, found in results.items() if case.engines}
    names = {name for found in results.values() for name in found}
    if not names & set(ENGINES):
        return []
    first = next(iter(results.values()))
    lines = head("engine", *(f"{case.title}, batch {case.batch}, ms" for case in results))
    for name in sorted(names, key=lambda name: first.get(name, float("inf"))):
        lines.append(row(name, *(milliseconds(found, name) for found in results.values())))
    return lines


def interpreters(texts):
    """From ``NAME,NAME=PATH`` the path by name."""
    pythons = {}
    for text in texts:
        names, _, path = text.partition("=")
        for name in names.split(","):
            if name not in SIDES or not path:
                sys.exit(f"--python {text}: wants NAME=PATH, the name one of {', '.join(SIDES)}")
            pythons[name] = path
    return pythons


def run(args, cases):
    """Measure; print the lines as they come; the blocks to write."""
    names = [name for name in SIDES if not args.sides or name in args.sides.split(",")]
    if args.smoke:
        names = [name for name in names if "(kept)" not in name and name != "torch.compile"]
    results, versions = {}, {}
    failures = {}  # by side and reason: where
    for case in cases:
        results[case] = measure(names, interpreters(args.python), case, args.seconds, failures, versions)
        print(f"{case.title}, batch {case.batch}", flush=True)
        for name, seconds in results[case].items():
            print(f"    {name:30} {seconds * 1e3:10.3f} ms   {ratio(results[case], name)}", flush=True)
    used = [f"* {name}: {what}" for name, what in versions.items()]
    said = [
        f"* {name}: {reason} ({'; '.join(where) if len(where) < 3 else f'{len(where)} cases'})"
        for (name, reason), where in sorted(failures.items())
    ]
    print("\n".join(said))
    how = [
        f'{args.seconds:g} s for each case. "(kept)": the C library keeps freed memory. Ratios: over the best of PyTorch\'s.'
    ]
    return beside_torch(names, results), how, beside_engines(results), used, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="for each case")
    parser.add_argument("--only", default="", help="only cases whose title holds this")
    parser.add_argument("--sides", help=f"only these, with commas between: {', '.join(SIDES)}")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter for a side, or several")
    parser.add_argument("--output", help="file for the tables (default: docs/training-results.md if all was run)")
    parser.add_argument("--smoke", action="store_true", help="two small cases, three turns")
    args = parser.parse_args()
    cases = [case for case in CASES if args.only in case.title]
    if args.smoke:
        args.seconds, cases = 0, SMOKE_CASES
    print(environment.describe(), flush=True)
    blocks = run(args, cases)
    output = args.output or (None if args.smoke or args.only or args.sides else environment.DOCS / "training-results.md")
    if output:
        environment.write(output, *blocks)


if __name__ == "__main__":
    main()
