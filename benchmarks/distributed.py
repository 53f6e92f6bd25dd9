"""Data parallel training: what exchanging gradients costs, the two bars of it, and a model of what comes with more ranks.

    python benchmarks/distributed.py            # two minutes; writes docs/distributed-results.md and a picture in docs/_static
    python benchmarks/distributed.py --smoke    # only to see that it runs

Needs matplotlib, mpi4py and an MPI (``pip install "minidl[mpi]"``); without an MPI only the assumed machines are computed.
Latency, bandwidth and computing are fitted to what is measured here, and the model is held against a step of two ranks that
it was not fitted to. Of machines that are not here the numbers are assumptions, which stand below. All figures are medians of
turns, which those that are compared take one after the other.
"""

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import environment
import numpy as np
from environment import head, row
from sides import gpt, networks

import minidl
import minidl.nn.functional as F
from minidl import distributed, optim
from minidl.nn.parallel import DistributedDataParallel

SIZES = [2**k for k in range(3, 26, 2)]  # bytes
LARGEST = 2**23  # that is fitted: about the gradients of the CIFAR network, and what a cache holds
RANKS = np.unique(np.logspace(0, 4, 81).round().astype(int))
GREY = "#808080"
BY_TCP = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}  # so MPICH treats ranks on one host as if they were on two


# -- the model


@dataclass(frozen=True)
class Network:
    """What is exchanged, and the examples that a rank has in a step."""

    nbytes: float
    batch: int
    color: str


@dataclass(frozen=True)
class Machine:
    """Latency in seconds, bandwidth of a rank's link in bytes a second; by network, seconds of a step and of each example."""

    latency: float
    bandwidth: float
    compute: dict


NETWORKS = {
    "CIFAR network": Network(8.49e6, 100, "#d9480f"),
    "ResNet-20": Network(1.09e6, 128, "#1c7ed6"),
    "GPT, 0.8 M, 128 tokens": Network(3.28e6, 16, "#f59f00"),
    "ResNet-50, 224 x 224": Network(1.02e8, 64, "#37b24d"),
    "GPT-2, 124 M, 1024 tokens": Network(4.98e8, 8, "#ae3ec9"),
}
# Assumptions: floating-point operations of an example, forward and backward, and what machines do of them in a second.
FLOPS = dict(zip(NETWORKS, (4.45e7, 2.5e8, 7.0e8, 2.45e10, 8.8e11)))


def assumed(speed, latency, bandwidth):
    """A machine that nobody measured: all it does is ``speed`` operations a second."""
    return Machine(latency, bandwidth, {name: (0.0, flops / speed) for name, flops in FLOPS.items()})


ASSUMED = {
    "assumed: 2 cores, 1 Gb/s": assumed(1.5e11, 50e-6, 0.11e9),
    "assumed: 2 cores, 10 Gb/s": assumed(1.5e11, 30e-6, 1.1e9),
    "assumed: GPU, 400 Gb/s": assumed(3e14, 10e-6, 40e9),
}


def all_reduce_seconds(nbytes, ranks, latency, bandwidth):
    """To add up ``nbytes`` over the ranks: 2 log2(p) messages one after the other, and (p-1)/p of the bytes twice.

    So do the best algorithms. A ring sends the same bytes, but in 2 (p-1) messages.
    """
    return 2 * np.ceil(np.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * nbytes / bandwidth


def step_seconds(network, machine, ranks, batch):
    """A step of so many ranks with ``batch`` examples each: first they compute, then they exchange."""
    each_step, each_example = machine.compute[network]
    exchange = all_reduce_seconds(NETWORKS[network].nbytes, ranks, machine.latency, machine.bandwidth)
    return each_step + batch * each_example + exchange


def weak(network, machine, ranks):
    """Efficiency if every rank has a batch of its own: the time of one rank over that of many, which do as many times more."""
    batch = NETWORKS[network].batch
    return step_seconds(network, machine, 1, batch) / step_seconds(network, machine, ranks, batch)


def strong(network, machine, ranks):
    """How many times quicker if the ranks share 64 batches out among themselves, as far as there are examples for each."""
    batch = 64 * NETWORKS[network].batch
    return step_seconds(network, machine, 1, batch) / step_seconds(network, machine, ranks, np.ceil(batch / ranks))


def line(x, y):
    """``a`` and ``b`` of y = a + b x, neither of them negative, with the errors taken relative to y."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    a, b = np.linalg.lstsq(np.stack([1 / y, x / y], 1), np.ones(len(y)), rcond=None)[0]
    if a < 0:
        return 0.0, (x / y).sum() / (x**2 / y**2).sum()
    return (a, b) if b >= 0 else ((1 / y).sum() / (1 / y**2).sum(), 0.0)


def fitted(exchange, compute):
    """The machine that was measured: seconds of two ranks' all-reduce, by bytes; and of each network's step, by examples."""
    twice, pace = line([*exchange], [*exchange.values()])  # two ranks: two messages one after the other, half the bytes twice
    return Machine(twice / 2, 1 / pace, {name: line([*found], [*found.values()]) for name, found in compute.items()})


def predictions(machines):
    """A line for each network on each machine."""
    titles = "batch of a rank", "efficiency on 2", "on 8", "on 100", "on 10,000", "64 batches shared: best on", "times"
    lines = head("network", "machine", *titles)
    for name, machine in machines.items():
        for network in machine.compute:
            gain = strong(network, machine, RANKS)
            shares = (f"{weak(network, machine, ranks):.0%}" for ranks in (2, 8, 100, 10000))
            lines.append(
                row(network, name, NETWORKS[network].batch, *shares, f"{RANKS[gain.argmax()]:,}", f"{gain.max():,.0f}")
            )
    return lines


def draw(path, machines):
    """Weak and strong scaling of all networks on the machines, to 10,000 ranks."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(machines), figsize=(2.6 * len(machines), 5.5), sharex=True, sharey="row", squeeze=False)
    for column, (name, machine) in zip(axes.T, machines.items()):
        for network in machine.compute:
            color = NETWORKS[network].color
            column[0].plot(RANKS, weak(network, machine, RANKS), color=color)
            column[1].plot(RANKS, strong(network, machine, RANKS), color=color)
        column[1].plot(RANKS[RANKS < 300], RANKS[RANKS < 300], ":", color=GREY)
        column[0].set_title(name, color=GREY, fontsize=9)
        column[1].set(xlabel="ranks")
    axes[0, 0].set(ylabel="weak: efficiency", ylim=(0, 1.05))
    axes[1, 0].set(ylabel="strong: times quicker", xscale="log", yscale="log")
    lines = [plt.Line2D([], [], color=network.color, label=name) for name, network in NETWORKS.items()]
    figure.legend(handles=lines, ncols=len(lines), loc="lower center", frameon=False, labelcolor=GREY, fontsize=8)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.tick_params(colors=GREY, which="both", labelsize=8)
        for part in (axis.xaxis.label, axis.yaxis.label, *axis.spines.values()):
            part.set_color(GREY)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})


# -- the measurements, each a program of some ranks


def turns(functions, seconds):
    """Seconds of each call: the functions take turns, at least three times, for so long in all; those of the slowest rank."""
    found, spent, n_turns = {name: [] for name in functions}, 0.0, 0
    while n_turns < 3 or spent < seconds:
        for name, function in functions.items():
            distributed.barrier()
            start = time.perf_counter()
            function()
            taken = minidl.tensor(time.perf_counter() - start, dtype=minidl.float64)
            distributed.all_reduce(taken, distributed.ReduceOp.MAX)  # so that all ranks stop after the same turn
            found[name].append(taken.item())
            spent += taken.item()
        n_turns += 1
    return found


def exchange(seconds):
    """All-reduce of arrays of several sizes; large ones first, so that small ones do not wait for the cache to be theirs."""
    arrays = {nbytes: minidl.zeros(nbytes // 4) for nbytes in reversed(SIZES)}
    return turns({nbytes: functools.partial(distributed.all_reduce, t) for nbytes, t in arrays.items()}, seconds)


def overlap(seconds):
    """Eight products of matrices with 4 MiB to exchange each: all at the end, or each while the next is computed."""
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

    return turns({"after": after, "during": during}, seconds)


def example(name, batch):
    """A network that can be trained here, its optimiser, and a batch."""
    minidl.manual_seed(0)
    if name.startswith("GPT"):
        net, _ = gpt.network("minidl", gpt.LENGTH)
        tokens = minidl.randint(gpt.VOCABULARY, (batch, gpt.LENGTH))
        return net, optim.AdamW(net.parameters(), lr=1e-4), tokens, tokens
    net = {"CIFAR network": networks.cifar_network, "ResNet-20": networks.resnet20}[name](minidl)
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    return net, optimizer, minidl.randn(batch, 3, 32, 32), minidl.randint(10, (batch,))


HERE = [*NETWORKS][:3]  # what is small enough


def shares(batch):
    """Examples of a rank in a step that only computes, for the fit."""
    return batch, batch // 4, 1


def training(seconds, fit=True):
    """For each network: a step on the ranks' share of a batch; the exchange in it alone; and, for the fit, only computing."""
    size, found = distributed.get_world_size(), {}
    for name in HERE:
        batch = NETWORKS[name].batch
        net, optimizer, x, y = example(name, batch)
        model = DistributedDataParallel(net)
        together, by_itself = model.comm, distributed.Communicator()

        def step(comm, n, model=model, optimizer=optimizer, x=x, y=y):
            model.comm = comm  # with that of one rank gradients are packed as with many, but go nowhere
            optimizer.zero_grad()
            F.cross_entropy(model(x[:n]).flatten(0, -2), y[:n].flatten()).backward()
            optimizer.step()

        functions = {"step": functools.partial(step, together, batch // size)}
        if fit:
            functions["exchange"] = model._average
            functions |= {str(n): functools.partial(step, by_itself, n) for n in shares(batch)}
        step(together, batch // size)  # the first is slower, and there are gradients then
        found[name] = turns(functions, seconds)
        model.comm = together
        if distributed.get_rank() == 0:
            print(f"  {name}: {len(found[name]['step'])} turns", flush=True)
    return found


PROGRAMS = {"exchange": exchange, "overlap": overlap, "training": training, "steps": functools.partial(training, fit=False)}


def run(names, ranks, threads, seconds, by_tcp=False):
    """Start some of the programs on some ranks; medians of what they found, and all turns of ``training``."""
    print(f"{', '.join(names)}: {ranks} ranks, {threads} threads each{', over TCP' if by_tcp else ''}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        command = [sys.executable, "-m", "minidl.distributed.launch", "-n", ranks, "--threads", threads, __file__]
        command += ["--seconds", seconds, "--part", ",".join(names), "--found", path]
        subprocess.run([*map(str, command)], check=True, env={**os.environ, **(BY_TCP if by_tcp else {})})
        return json.loads(path.read_text())


def pooled(runs):
    """Medians over the turns of several runs: the first turn of each is left out, as a warm-up."""
    first = runs[0]
    if isinstance(first, list):
        return float(np.median([t for found in runs for t in found[1:]]))
    return {name: pooled([found[name] for found in runs]) for name in first}


def by_size(found, largest):
    """Seconds by bytes, up to the largest."""
    return {int(n): t for n, t in found.items() if int(n) <= largest}


def can_tcp():
    """Whether this is the MPI that can be told to leave the host's memory aside."""
    version = [sys.executable, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"]
    return "MPICH" in subprocess.run(version, capture_output=True, text=True).stdout


def measure(seconds):
    """Everything: the machine fitted to it, by each way that ranks can speak, and the tables of what was measured."""
    ways = {"measured here, through memory": False} | ({"measured here, through TCP": True} if can_tcp() else {})
    links = {name: pooled([run(["exchange", "overlap"], 2, 1, seconds, by_tcp)]) for name, by_tcp in ways.items()}
    alone, both = [], []
    for _ in range(3):  # turns about, so that both ways to train see the same machine
        alone.append(run(["steps"], 1, 2, seconds)["steps"])
        both.append(run(["training"], 2, 1, seconds)["training"])
    alone, both = pooled(alone), pooled(both)
    compute = {name: {int(n): both[name][n] for n in both[name] if n.isdigit()} for name in HERE}
    machines = {name: fitted(by_size(found["exchange"], LARGEST), compute) for name, found in links.items()}
    return machines, [
        exchanges(links, machines),
        steps(alone, both, next(iter(machines.values()))),
        computing(compute, machines),
        overlaps(links),
        told(machines),
    ]


# -- the tables


def ms(seconds, digits=1):
    """As milliseconds."""
    return f"{seconds * 1e3:.{digits}f}"


def exchanges(links, machines):
    """Arrays of all sizes, beside the model."""
    columns = [column for name in links for column in (f"{name}, ms", "model, ms")]
    lines = head("all-reduce of 2 ranks on one host", *columns)
    for n in SIZES:
        cells = []
        for name, machine in machines.items():
            model = all_reduce_seconds(n, 2, machine.latency, machine.bandwidth)
            cells += [ms(links[name]["exchange"][str(n)], 3), ms(model, 3)]
        lines.append(row(f"{n:,} bytes" + ", not fitted" * (n > LARGEST), *cells))
    return lines


def steps(alone, both, machine):
    """The two bars, and the model beside a step of two ranks, whose share of the batch was not fitted."""
    columns = "batch in all", "1 rank, 2 threads, ms", "2 ranks, 1 thread each, ms", "throughput of the second, of the first"
    lines = head("network", *columns, "MB of gradients", "of the step, averaging them, ms", "model of 2 ranks, ms", "error")
    for name, found in both.items():
        network, two = NETWORKS[name], found["step"]
        model = step_seconds(name, machine, 2, network.batch // 2)
        cells = (
            network.batch,
            ms(alone[name]["step"]),
            ms(two),
            f"{alone[name]['step'] / two:.2f}",
            f"{network.nbytes / 1e6:.1f}",
        )
        lines.append(row(name, *cells, ms(found["exchange"]), ms(model), f"{model / two - 1:+.0%}"))
    return lines


def computing(compute, machines):
    """Steps without an exchange on both ranks at once, beside the model."""
    lines = head("a step of a rank by itself, both ranks at once", "examples", "measured, ms", "model, ms")
    machine = next(iter(machines.values()))
    for name, found in compute.items():
        lines += [row(name, n, ms(t), ms(machine.compute[name][0] + n * machine.compute[name][1])) for n, t in found.items()]
    return lines


def overlaps(links):
    """Whether it pays to exchange the first gradients while the last are computed."""
    lines = head("8 matrix products and 32 MiB to exchange", "exchanged afterwards, ms", "4 MiB during each product, ms")
    return lines + [row(name, ms(t["overlap"]["after"], 0), ms(t["overlap"]["during"], 0)) for name, t in links.items()]


def told(machines):
    """The numbers that were fitted."""
    lines = ["What was fitted:", ""]
    for name, machine in machines.items():
        lines.append(
            f"* {name}: latency {machine.latency * 1e6:.0f} microseconds, {machine.bandwidth / 1e9:.2f} GB/s each way;"
        )
    for name, (each_step, each_example) in machine.compute.items():
        lines.append(f"* {name}: {ms(each_step)} ms a step and {ms(each_example, 2)} ms for each example, on one thread;")
    waiting = os.getloadavg()[1]
    note = f"* processes that wanted a core meanwhile: {waiting:.1f}; if more than there are cores, times are rough."
    return [*lines, note]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--output", default=str(environment.DOCS), help="folder for the tables; its _static for the plot")
    parser.add_argument("--smoke", action="store_true", help="some turns of each in this process, written nowhere")
    parser.add_argument("--model-only", action="store_true", help="measure nothing")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--found", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part or args.smoke:
        distributed.init_process_group()
        parts = args.part.split(",") if args.part else ["exchange", "steps"]
        found = {name: PROGRAMS[name](0 if args.smoke else args.seconds) for name in parts}
        if args.found and distributed.get_rank() == 0:
            Path(args.found).write_text(json.dumps(found))
    if args.part:
        return
    can = importlib.util.find_spec("mpi4py") and not args.model_only and not args.smoke
    machines, tables = measure(args.seconds) if can else ({}, [])
    machines |= ASSUMED
    tables.append(predictions(machines))
    print("\n\n".join("\n".join(table) for table in tables), flush=True)
    if not args.smoke:
        environment.write(Path(args.output, "distributed-results.md"), *tables)
        draw(Path(args.output, "_static", "distributed-scaling.svg"), machines)


if __name__ == "__main__":
    main()
