"""Training steps and forward passes, minidl beside PyTorch, in turns on one machine.

    python benchmarks/training.py            # some ten minutes; writes docs/training-results.md
    python benchmarks/training.py --smoke    # only to see that it runs

Each side is a process of its own, so that neither's threads, allocator or BLAS settings touch the other's. The sides take
turns, a few steps at a time; quoted is the median over the turns. Before anything is timed every side computes the same losses
from the same weights and the same batch, or the case is an error. PyTorch runs with its default memory order and with
``channels_last``; ratios are against the better of the two.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import environment
import numpy as np

HERE = Path(__file__).resolve().parent
SIDES = ("minidl", "PyTorch", "PyTorch channels_last")


def library(side):
    """The side's library; PyTorch's and minidl's have the same names."""
    if side == "minidl":
        import minidl

        return minidl
    import torch

    return torch


def cifar_network(lib):
    """Two convolutions and two linear layers: the network of the CIFAR-10 example."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
            self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
            self.fc1 = nn.Linear(4096, 512)
            self.fc2 = nn.Linear(512, 10)

        def forward(self, x):
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv2(x)), 2)
            x = nn.functional.relu(self.fc1(lib.flatten(x, 1)))
            return self.fc2(x)

    return Net()


def resnet20(lib):
    """He et al., Deep Residual Learning, 2016, for 32 x 32 pictures: three stages of three blocks, 16, 32 and 64 channels."""
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self, c_in, c_out, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(c_out)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(c_out)
            self.short = nn.Identity()
            if stride != 1 or c_in != c_out:
                self.short = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

        def forward(self, x):
            out = nn.functional.relu(self.norm1(self.conv1(x)))
            return nn.functional.relu(self.norm2(self.conv2(out)) + self.short(x))

    blocks = [Block(16, 16, 1) for _ in range(3)]
    for c in (32, 64):
        blocks += [Block(c // 2, c, 2), Block(c, c, 1), Block(c, c, 1)]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def tiny_mlp(lib):
    """2-16-16-1 with tanh: nothing but overhead."""
    nn = lib.nn
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


class Case:
    """A network with its batch and its weights, the same on every side."""

    def __init__(self, lib, model, batch, train, channels_last):
        rng = np.random.default_rng(0)
        self.lib, self.train = lib, train
        self.net = {"cifar": cifar_network, "resnet20": resnet20, "mlp": tiny_mlp}[model](lib)
        for name, p in sorted(self.net.named_parameters()):
            fan_in = max(1, int(np.prod(p.shape[1:])))
            p.data = lib.from_numpy((rng.normal(size=tuple(p.shape)) / np.sqrt(fan_in)).astype(np.float32))
            if name.endswith("bias"):
                p.data = lib.from_numpy(np.zeros(tuple(p.shape), np.float32))
        shape = (batch, 2) if model == "mlp" else (batch, 3, 32, 32)
        self.x = lib.from_numpy(rng.normal(size=shape).astype(np.float32))
        if model == "mlp":
            self.y, self.criterion = lib.from_numpy(rng.normal(size=(batch, 1)).astype(np.float32)), lib.nn.MSELoss()
        else:
            self.y, self.criterion = lib.from_numpy(rng.integers(0, 10, batch)), lib.nn.CrossEntropyLoss()
        if channels_last and model != "mlp":
            self.net, self.x = self.net.to(memory_format=lib.channels_last), self.x.to(memory_format=lib.channels_last)
        self.optimizer = lib.optim.SGD(self.net.parameters(), lr=0.001, momentum=0.9)

    def step(self):
        """A training step, or a forward pass; the loss."""
        if self.train:
            self.optimizer.zero_grad()
            loss = self.criterion(self.net(self.x), self.y)
            loss.backward()
            self.optimizer.step()
        else:
            with self.lib.no_grad():
                loss = self.criterion(self.net(self.x), self.y)
        return loss


def serve(side):
    """Obey commands from standard input, a line each: make a case, or take so many steps of it."""
    lib, case = library(side), None
    for line in sys.stdin:
        order = json.loads(line)
        if "model" in order:
            case = Case(lib, order["model"], order["batch"], order["train"], side.endswith("channels_last"))
            answer = [case.step().item() for _ in range(4)]
        else:
            start = time.perf_counter()
            for _ in range(order["steps"]):
                case.step()
            answer = (time.perf_counter() - start) / order["steps"]
        print(json.dumps(answer), flush=True)


class Side:
    """A process that serves one side."""

    def __init__(self, name):
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("a side ended early; what it said stands above")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(sides, model, batch, train, seconds):
    """The median seconds of a step on each side."""
    losses = {name: side.ask(model=model, batch=batch, train=train) for name, side in sides.items()}
    first = next(iter(losses.values()))
    for name, found in losses.items():
        np.testing.assert_allclose(found, first, rtol=1e-3, err_msg=f"{name} computes something else: {model}, batch {batch}")
    steps = {name: max(1, int(0.1 / side.ask(steps=2))) for name, side in sides.items()}
    times = {name: [] for name in sides}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["minidl"]) < 3:
        for name, side in sides.items():
            side.ask(steps=1)  # wake up, after the others' turn
            times[name].append(side.ask(steps=steps[name]))
    return {name: statistics.median(t) for name, t in times.items()}


CASES = [
    *[("CIFAR network, training step", "cifar", batch, True) for batch in (1, 32, 100, 256, 1000)],
    *[("CIFAR network, forward pass", "cifar", batch, False) for batch in (1, 32, 100, 256, 1000)],
    ("ResNet-20, training step", "resnet20", 128, True),
    ("MLP 2-16-16-1, training step", "mlp", 16, True),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="for each case")
    parser.add_argument("--only", default="", help="only cases whose title holds this")
    parser.add_argument("--output", help="file for the table (default: docs/training-results.md if all cases were run)")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    with_torch = environment.torch_version() != "not installed"
    sides = {name: Side(name) for name in (SIDES if with_torch else SIDES[:1])}
    cases = [c for c in CASES if args.only in c[0]]
    if args.smoke:
        args.seconds, cases = (
            0,
            [("MLP 2-16-16-1, training step", "mlp", 16, True), ("CIFAR network, training step", "cifar", 2, True)],
        )
    rows = [
        "| case | batch | " + " | ".join(f"{name}, ms" for name in sides) + " | ratio |",
        "| --- |" + " ---: |" * (len(sides) + 2),
    ]
    print("\n".join(rows), flush=True)
    for title, model, batch, train in cases:
        found = compare(sides, model, batch, train, args.seconds)
        theirs = [t for name, t in found.items() if name != "minidl"]
        ratio = f"{found['minidl'] / min(theirs):.2f}" if theirs else "-"
        rows.append(f"| {title} | {batch} | " + " | ".join(f"{t * 1e3:.3f}" for t in found.values()) + f" | {ratio} |")
        print(rows[-1], flush=True)
    for side in sides.values():
        side.close()
    output = args.output or (None if args.smoke or args.only else HERE.parent / "docs" / "training-results.md")
    if output:
        Path(output).write_text("\n".join([*rows, "", environment.describe(), ""]))


if __name__ == "__main__":
    main()
