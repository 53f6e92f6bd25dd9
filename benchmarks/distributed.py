"""Data parallel training: what exchanging gradients costs, the two bars of it, and a model of what comes with more ranks.

    python benchmarks/distributed.py            # a minute or two; writes docs/distributed-results.md and two pictures
    python benchmarks/distributed.py --smoke    # only to see that it runs

Needs mpi4py and an MPI (``pip install "minidl[mpi]"``); without them only the model is computed, from the constants below. The
quickest of many turns is quoted, since whatever else the machine does can only make it slower.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment
import numpy as np
from environment import head, row

import minidl
import minidl.nn.functional as F
from minidl import distributed, nn, optim
from minidl.nn.parallel import DistributedDataParallel

SIZES = [2**k for k in range(3, 26, 2)]  # bytes
RANKS = np.unique(np.logspace(0, 4, 81).round().astype(int))
GREY = "#808080"
COLOURS = ["#d9480f", "#1c7ed6", "#37b24d", "#ae3ec9"]

# Networks: bytes of gradients, and floating-point operations of a step for each example, forward and backward.
NETWORKS = {
    "CIFAR network": (8.49e6, 4.45e7),
    "ResNet-20": (1.09e6, 2.5e8),
    "ResNet-50, 224 x 224": (1.02e8, 2.45e10),
    "GPT-2, 124 M, 1024 tokens": (4.98e8, 8.8e11),
}
# Machines, as assumptions: operations a second of a rank while training, seconds to send nothing, bytes a second of its link.
MACHINES = {
    "CPU of 2 cores, 1 Gb/s": (1.5e11, 50e-6, 0.11e9),
    "CPU of 2 cores, 10 Gb/s": (1.5e11, 30e-6, 1.1e9),
    "GPU, 400 Gb/s": (3e14, 10e-6, 40e9),
}
BATCHES = {"CIFAR network": 100, "ResNet-20": 128, "ResNet-50, 224 x 224": 64, "GPT-2, 124 M, 1024 tokens": 8}


# -- the model


def all_reduce_seconds(nbytes, ranks, latency, bandwidth):
    """To add up ``nbytes`` over the ranks: 2 log2(p) messages one after the other, and (p-1)/p of the bytes twice.

    So do the best algorithms. A ring sends the same bytes, but in 2 (p-1) messages.
    """
    return 2 * np.ceil(np.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * nbytes / bandwidth


def weak(network, machine, ranks, batch):
    """Efficiency if every rank has ``batch`` examples: the time of one rank over that of many, which do as many times more."""
    (nbytes, flops), (speed, latency, bandwidth) = NETWORKS[network], MACHINES[machine]
    compute = batch * flops / speed
    return compute / (compute + all_reduce_seconds(nbytes, ranks, latency, bandwidth))


def strong(network, machine, ranks, batch):
    """How many times quicker if the ranks share ``batch`` examples out among themselves (as far as there are some for each)."""
    (nbytes, flops), (speed, latency, bandwidth) = NETWORKS[network], MACHINES[machine]
    compute = batch * flops / speed
    return compute / (compute * np.ceil(batch / ranks) / batch + all_reduce_seconds(nbytes, ranks, latency, bandwidth))


def limits(network, machine, batch):
    """From how many ranks on, with a batch each, exchange takes a tenth of the time; and how many share 64 batches best."""
    below = RANKS[weak(network, machine, RANKS, batch) < 0.9]
    gain = strong(network, machine, RANKS, 64 * batch)
    return below[0] if len(below) else None, RANKS[gain.argmax()], gain.max()


def predictions():
    """A line for each network on each machine."""
    lines = head(
        "network", "machine", "batch of a rank", "efficiency on 8", "on 100", "on 10,000", "64 batches shared: best on", "times"
    )
    for network, batch in BATCHES.items():
        for machine in MACHINES:
            _, best, gain = limits(network, machine, batch)
            shares = (f"{weak(network, machine, ranks, batch):.0%}" for ranks in (8, 100, 10000))
            lines.append(row(network, machine, batch, *shares, f"{best:,}", f"{gain:,.0f}"))
    print("\n".join(lines), flush=True)
    return lines


def draw(path):
    """Weak and strong scaling of all networks on the machines, to 10,000 ranks."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(MACHINES), figsize=(10, 6), sharex=True, sharey="row")
    for column, machine in zip(axes.T, MACHINES):
        for (network, batch), colour in zip(BATCHES.items(), COLOURS):
            column[0].plot(RANKS, weak(network, machine, RANKS, batch), color=colour, label=network)
            column[1].plot(RANKS, strong(network, machine, RANKS, 64 * batch), color=colour)
        column[1].plot(RANKS[RANKS < 300], RANKS[RANKS < 300], ":", color=GREY)
        column[0].set_title(machine, color=GREY, fontsize=9)
        column[1].set(xlabel="ranks")
    axes[0, 0].set(ylabel="weak: efficiency", ylim=(0, 1.05))
    axes[1, 0].set(ylabel="strong: times quicker", xscale="log", yscale="log")
    axes[0, 0].legend(frameon=False, labelcolor=GREY, fontsize=7)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.tick_params(colors=GREY, which="both", labelsize=8)
        for part in (axis.xaxis.label, axis.yaxis.label, *axis.spines.values()):
            part.set_color(GREY) if hasattr(part, "set_color") else None
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})


# -- the measurements, each a program of some ranks


def quickest(function, turns):
    """Seconds of the quickest of so many calls, which all ranks begin together; that of the slowest rank."""
    best = np.inf
    for _ in range(turns):
        distributed.barrier()
        start = time.perf_counter()
        function()
        seconds = minidl.tensor(time.perf_counter() - start, dtype=minidl.float64)
        distributed.all_reduce(seconds, distributed.ReduceOp.MAX)
        best = min(best, seconds.item())
    return best


def exchange(turns):
    """All-reduce of arrays of several sizes, in seconds."""
    found = {}
    for nbytes in SIZES:
        t = minidl.zeros(nbytes // 4)
        found[nbytes] = quickest(lambda t=t: distributed.all_reduce(t), turns)
    return found


def overlap(turns):
    """Eight products of matrices with 4 MiB to exchange each: all at the end, or each while the next is computed."""
    if distributed.get_backend() != "mpi":
        return {}
    from mpi4py import MPI

    matrix = np.ones((1024, 1024), np.float32)
    parts = [np.ones(2**20, np.float32) for _ in range(8)]
    flat = np.ones(2**23, np.float32)

    def after():
        for _ in parts:
            matrix @ matrix
        MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, flat)

    def during():
        requests = []
        for part in parts:
            matrix @ matrix
            requests.append(MPI.COMM_WORLD.Iallreduce(MPI.IN_PLACE, part))
        MPI.Request.Waitall(requests)

    return {"after": quickest(after, turns), "during": quickest(during, turns)}


def cifar():
    """The network of examples/cifar10.py."""
    minidl.manual_seed(0)
    conv = [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Linear(512, 10))


def training(turns):
    """A step of the CIFAR network on the ranks' share of a batch of 100, and the averaging of its gradients alone."""
    size = distributed.get_world_size()
    net = cifar()
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    forward = DistributedDataParallel(net) if size > 1 else net
    x, y = minidl.randn(100 // size, 3, 32, 32), minidl.randint(10, (100 // size,))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(forward(x), y).backward()
        optimizer.step()

    step()
    found = {"step": quickest(step, turns)}
    if size > 1:
        found["average"] = quickest(forward._average, turns)
    return found


PROGRAMS = {"exchange": exchange, "overlap": overlap, "training": training}


def run(names, ranks, turns, threads):
    """Start some of the programs on some ranks; what they found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        command = [
            sys.executable,
            "-m",
            "minidl.distributed.launch",
            "-n",
            ranks,
            "--threads",
            threads,
            __file__,
            "--turns",
            turns,
        ]
        subprocess.run([*map(str, command), "--part", ",".join(names), "--found", str(path)], check=True)
        return json.loads(path.read_text())


def measure(turns):
    """Everything, and the tables of it; turns about, so that both ways to train see the same machine."""
    more = run(["exchange", "overlap"], 2, turns, 1)
    one, two = [], []
    for _ in range(3):
        one.append(run(["training"], 1, turns, 2)["training"])
        two.append(run(["training"], 2, turns, 1)["training"])
    single, step, average = (min(f[key] for f in found) for found, key in ((one, "step"), (two, "step"), (two, "average")))
    sizes = {int(n): t for n, t in more["exchange"].items()}
    design = np.array([[2, n] for n in sizes])  # of two ranks: two messages, half the bytes twice
    weights = 1 / np.array([*sizes.values()])  # so that small ones count as much as large ones
    latency, pace = np.linalg.lstsq(design * weights[:, None], np.ones(len(sizes)), rcond=None)[0]
    tables = [
        [*head("all-reduce of 2 ranks on one host", "measured, ms", "model, ms")],
        [*head("CIFAR network, batch 100 in all", "ms")],
    ]
    for n, t in sizes.items():
        tables[0].append(row(f"{n:,} bytes", f"{t * 1e3:.3f}", f"{(2 * latency + n * pace) * 1e3:.3f}"))
    tables[1] += [
        row("a step of 1 rank with 2 threads", f"{single * 1e3:.1f}"),
        row("a step of 2 ranks with 1 thread each", f"{step * 1e3:.1f}"),
        row("throughput of the second, of the first", f"{single / step:.2f}"),
        row("of it, averaging 8.5 MB of gradients", f"{average * 1e3:.1f}"),
        row("8 matrix products, then 32 MiB exchanged at once", f"{more['overlap']['after'] * 1e3:.0f}"),
        row("the same, 4 MiB exchanged during each product", f"{more['overlap']['during'] * 1e3:.0f}"),
    ]
    print("\n".join(line for table in tables for line in table), flush=True)
    told = f"The model: a message takes {latency * 1e6:.0f} microseconds, and {1e-9 / pace:.1f} GB go each way in a second."
    return [*tables, [told]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="of each measurement")
    parser.add_argument("--output", default=str(environment.DOCS), help="folder for the tables; its _static for the plot")
    parser.add_argument("--smoke", action="store_true", help="one turn of each in this process, written nowhere")
    parser.add_argument("--model-only", action="store_true", help="measure nothing")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--found", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part or args.smoke:
        distributed.init_process_group()
        found = {name: PROGRAMS[name](1 if args.smoke else args.turns) for name in (args.part or ",".join(PROGRAMS)).split(",")}
        if args.found and distributed.get_rank() == 0:
            Path(args.found).write_text(json.dumps(found))
    if args.part:
        return
    lines = predictions()
    if args.smoke:
        return
    measured = measure(args.turns) if importlib.util.find_spec("mpi4py") and not args.model_only else []
    if measured:
        waiting = os.getloadavg()[1]
        measured.append(
            [f"Processes that wanted a core meanwhile: {waiting:.1f}; if more than there are cores, times are rough."]
        )
    environment.write(Path(args.output, "distributed-results.md"), *measured, lines)
    draw(Path(args.output, "_static", "distributed-scaling.svg"))


if __name__ == "__main__":
    main()
