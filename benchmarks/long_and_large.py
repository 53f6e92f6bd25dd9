"""Training what is larger than the memory: what accumulation, checkpoints and half precision cost, and what they save.

    python benchmarks/long_and_large.py            # a minute; writes docs/long-and-large-results.md
    python benchmarks/long_and_large.py --smoke    # only to see that it runs

A step of a deep network of convolutions. The memory is the peak of what NumPy holds beyond parameters and batch; the
time is the quickest of the turns.
"""

import argparse
import os
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


def cost(net, way, turns):
    """Seconds of the quickest turn, and bytes of the highest peak."""
    seconds, peak = np.inf, 0
    for _ in range(turns):
        net.zero_grad()
        start = time.perf_counter()
        way()
        seconds = min(seconds, time.perf_counter() - start)
    net.zero_grad()
    tracemalloc.start()
    way()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def precisions(n, turns):
    """Milliseconds of a product of two matrices in each precision."""
    found = {}
    for dtype in (np.float64, np.float32, np.float16):
        a, best = np.ones((n, n), dtype), np.inf
        for _ in range(turns):
            start = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - start)
        found[np.dtype(dtype).name] = best * 1e3
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
    costs = {name: cost(net, way, turns) for name, way in ways(net, x, y).items()}
    (first, most), *_ = costs.values()
    lines = head("gradients of a batch", "ms", "of the first", "peak, MiB", "of the first")
    for name, (seconds, peak) in costs.items():
        lines.append(row(name, f"{seconds * 1e3:.1f}", f"{seconds / first:.2f}", f"{peak / 2**20:.1f}", f"{peak / most:.2f}"))
    more = head("product of matrices, 512 x 512", "ms")
    more += [row(name, f"{ms:.2f}") for name, ms in precisions(32 if args.smoke else 512, 1).items()]
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
