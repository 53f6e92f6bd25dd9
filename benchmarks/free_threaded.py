"""Python threads with and without Python's lock: two networks trained at once, and one on minidl's own threads.

    python benchmarks/free_threaded.py python3.14 python3.14t    # two minutes; writes docs/free-threaded-results.md
    python benchmarks/free_threaded.py --smoke                   # only to see that it runs, with this Python

Given are the Pythons, a normal and a free-threaded one of the same version, each with NumPy and threadpoolctl; minidl itself
they take from this folder. They take turns, several times. Of the turns the quickest counts for each time, since what else the
machine does can only add to it. BLAS has one thread, so that all threads are Python's, and the loops are NumPy's.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import environment
from environment import head, row

import minidl
from minidl import bench, optim


def training(case):
    """A function that takes so many steps with a network of its own."""
    net = case.network()
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    x, y = case.batch()

    def steps(n):
        for _ in range(n):
            optimizer.zero_grad()
            case.loss(net(x), y).backward()
            optimizer.step()

    return steps


def timed(function):
    """How many seconds it takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def at_once(functions):
    """Call each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(case, seconds):
    """Seconds of a step of two networks, in turn and at once, and of one network, on one thread and on all."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    minidl.set_num_threads(1)
    one, other = training(case), training(case)
    one(2), other(2)  # the memory is fetched
    n = max(1, int(seconds / 4 / max(timed(lambda: one(1)), 1e-6)))
    found = {
        "in turn": timed(lambda: (one(n), other(n))) / n,
        "at once": timed(lambda: at_once([lambda: one(n), lambda: other(n)])) / n,
        "one thread": timed(lambda: one(n)) / n,
    }
    minidl.set_num_threads(cores)
    one(1)
    return {**found, "all threads": timed(lambda: one(n)) / n}


def turn(seconds):
    """What one Python does in its turn: measure all cases (in no time, only the smallest), and print them."""
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(
        json.dumps(
            {
                "python": f"{platform.python_version()}, {'with its lock' if locked else 'free-threaded'}",
                "times": {case.name: measure(case, seconds) for case in bench.CASES[0 if seconds else -1 :]},
            }
        )
    )


def run(python, seconds):
    """The turn of a Python, in a process of its own."""
    paths = os.pathsep.join(filter(None, (str(environment.DOCS.parent), os.environ.get("PYTHONPATH"))))
    inside = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MINIDL_COMPILED": "0"}
    command = [python, __file__, "--turn", str(seconds)]
    return json.loads(subprocess.run(command, env=inside, stdout=subprocess.PIPE, check=True, text=True).stdout)


def report(turns):
    """The quickest of the turns of each Python, case by case."""
    lines = head("milliseconds of a step", "two in turn", "two at once", "quicker", "one thread", "all threads", "quicker")
    for python in dict.fromkeys(found["python"] for found in turns):
        mine = [found["times"] for found in turns if found["python"] == python]
        for name in mine[0]:
            ms = {what: 1e3 * min(times[name][what] for times in mine) for what in mine[0][name]}
            ratios = ms["in turn"] / ms["at once"], ms["one thread"] / ms["all threads"]
            times = [f"{t:.2f}" for t in ms.values()]
            lines.append(row(f"Python {python}: {name}", *times[:2], f"{ratios[0]:.2f}", *times[2:], f"{ratios[1]:.2f}"))
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=[sys.executable], help="what to start (this one)")
    parser.add_argument("--turns", type=int, default=5, help="of each Python (5)")
    parser.add_argument("--seconds", type=float, default=4, help="for each case in a turn (4)")
    parser.add_argument("--output", type=Path, help="where to write the table (docs/free-threaded-results.md)")
    parser.add_argument("--smoke", action="store_true", help="one short turn")
    parser.add_argument("--turn", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn is not None:
        turn(args.turn)
    else:
        if args.smoke:
            args.turns, args.seconds = 1, 0
        lines = report([run(python, args.seconds) for _ in range(args.turns) for python in args.pythons])
        print("\n".join(lines))
        output = args.output or (None if args.smoke else environment.DOCS / "free-threaded-results.md")
        if output is not None:
            environment.write(output, lines)
