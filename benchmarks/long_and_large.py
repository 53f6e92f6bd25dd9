"""Training what is larger than the memory: what accumulation, checkpoints and half precision cost, and what they save.

    python benchmarks/long_and_large.py            # a minute; writes docs/long-and-large-results.md
    python benchmarks/long_and_large.py --smoke    # only to see that it runs

A step of a deep network of convolutions. The memory is the peak of what NumPy holds beyond parameters and batch; the
time is the median of turns, which the ways take one after the other.
"""

import argparse
import functools
import importlib.util
import os
import statistics
import time
import tracemalloc
from pathlib import Path

import environment
import numpy as np
from environment import head, row

import minidl
import minidl.nn.functional as F
from minidl import nn
from minidl.profiler import memory_report
from minidl.utils.checkpoint import checkpoint_sequential


def network(depth):
    """Convolutions with batch normalisation, and a linear layer on the mean."""
    minidl.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def ways(net, x, y):
    """The ways to compute the gradients of a batch, by name."""

    def accumulated(parts):
        for some, answers in zip(x.chunk(parts), y.chunk(parts)):
            (F.cross_entropy(net(some), answers) / parts).backward()

    def again(segments):
        F.cross_entropy(checkpoint_sequential(net, segments, x, use_reentrant=False), y).backward()

    return {
        "all at once": lambda: F.cross_entropy(net(x), y).backward(),
        "accumulated from 2 parts": lambda: accumulated(2),
        "accumulated from 4 parts": lambda: accumulated(4),
        "checkpoints, 2 segments": lambda: again(2),
        "checkpoints, 4 segments": lambda: again(4),
        "4 parts and 4 segments": lambda: [
            (F.cross_entropy(checkpoint_sequential(net, 4, some), answers) / 4).backward()
            for some, answers in zip(x.chunk(4), y.chunk(4))
        ],
    }


def times(functions, turns):
    """Median seconds of each of the functions, which take turns; one more at the start is a warm-up."""
    found = {name: [] for name in functions}
    for _ in range(turns + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


def afresh(net, way):
    """Compute gradients in this way, adding them to none."""
    net.zero_grad()
    way()


def peak(function):
    """Bytes that are held at most during a call."""
    tracemalloc.start()
    function()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def products(n):
    """A product of two matrices in each precision, in NumPy and, if it is installed, in PyTorch, which has bfloat16."""
    found = {}
    for name in ("float64", "float32", "float16"):
        found[f"NumPy, {name}"] = functools.partial(np.matmul, *2 * [np.ones((n, n), name)])
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(minidl.get_num_threads())
        for dtype in (torch.float32, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            found[f"PyTorch, {name}"] = functools.partial(torch.matmul, *2 * [torch.ones(n, n, dtype=dtype)])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", default=str(environment.DOCS), help="folder for the tables")
    parser.add_argument("--smoke", action="store_true", help="a small batch and one turn, written nowhere")
    args = parser.parse_args()
    batch, depth, turns = (4, 4, 1) if args.smoke else (32, 12, args.turns)
    net, x, y = network(depth), minidl.randn(batch, 3, 16, 16), minidl.randint(10, (batch,))
    report = memory_report(net, x, optimizer=minidl.optim.SGD(net.parameters(), momentum=0.9))
    functions = {name: functools.partial(afresh, net, way) for name, way in ways(net, x, y).items()}
    seconds, peaks = times(functions, turns), {name: peak(function) for name, function in functions.items()}
    first, most = seconds["all at once"], peaks["all at once"]
    lines = head("gradients of a batch", "ms", "of the first", "peak, MiB", "of the first")
    for name, t in seconds.items():
        lines.append(row(name, f"{t * 1e3:.1f}", f"{t / first:.2f}", f"{peaks[name] / 2**20:.1f}", f"{peaks[name] / most:.2f}"))
    more = head("product of matrices, 512 x 512", "ms")
    more += [row(name, f"{t * 1e3:.2f}") for name, t in times(products(32 if args.smoke else 512), turns).items()]
    told = ["What `memory_report` says before the first step:", "", "```text", *str(report).splitlines(), "```"]
    waiting = os.getloadavg()[1]
    told += [
        "",
        f"Processes that wanted a core meanwhile: {waiting:.1f}; if more than there are cores, times are rough.",
    ]
    print("\n".join([*lines, "", *more, "", *told]))
    if not args.smoke:
        environment.write(Path(args.output, "long-and-large-results.md"), lines, more, told)


if __name__ == "__main__":
    main()
