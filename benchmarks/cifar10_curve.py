"""Train the example's network on CIFAR-10 with minidl and, where it is installed, with PyTorch; write the curve into the docs.

    python benchmarks/cifar10_curve.py --data FOLDER

Both start from the same weights and see the same batches; they take turns, an epoch each. Writes ``docs/cifar10-results.md``
and ``docs/_static/cifar10-curve.png``.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples")]

import cifar10
import environment
import matplotlib.pyplot as plt
from sides.networks import cifar_network

import minidl
from minidl.utils.data import Subset
from minidl.vision import datasets

try:
    import torch
except ImportError:
    torch = None


def torch_twin(net):
    """The same network in PyTorch, with the same weights."""
    twin = cifar_network(torch)
    with torch.no_grad():
        for theirs, ours in zip(twin.parameters(), net.parameters()):
            theirs.copy_(torch.from_numpy(ours.detach().numpy()))
    return twin


class Ours:
    def __init__(self, training):
        self.training = training

    def step(self, x, y):
        return self.training.step(minidl.from_numpy(x), minidl.from_numpy(y))[0]

    def scores(self, x):
        with minidl.no_grad():
            return self.training.net(minidl.from_numpy(x)).numpy()


class Theirs:
    def __init__(self, net, args):
        self.net = torch_twin(net)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=args.lr, momentum=args.momentum)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.net(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def scores(self, x):
        with torch.no_grad():
            return self.net(torch.from_numpy(x)).numpy()


def run_epoch(side, batches, test):
    """Mean training loss, test accuracy, and the seconds the steps took."""
    started = time.perf_counter()
    losses = [side.step(x, y) for x, y in batches]
    seconds = time.perf_counter() - started
    right = sum((side.scores(x).argmax(1) == y).sum() for x, y in test)
    return {"loss": float(np.mean(losses)), "accuracy": right / sum(len(y) for _, y in test), "seconds": seconds}


def write(curves, args, where):
    """The table and the picture."""
    names = list(curves)
    rows = ["| epoch | " + " | ".join(f"{n}: training loss | {n}: test accuracy | {n}: s" for n in names) + " |"]
    rows.append("| --- |" + " ---: | ---: | ---: |" * len(names))
    for epoch in range(args.epochs):
        cells = [f"{c['loss']:.3f} | {c['accuracy']:.1%} | {c['seconds']:.1f}" for c in (curves[n][epoch] for n in names)]
        rows.append(f"| {epoch + 1} | " + " | ".join(cells) + " |")
    said = f"Batch {args.batch_size}, SGD lr {args.lr} momentum {args.momentum}, seed {args.seed}, data: {where}."
    Path(args.output, "cifar10-results.md").write_text("\n".join([*rows, "", said, "", environment.describe(), ""]))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, what in zip(axes, ("loss", "accuracy")):
        for name, style in zip(names, ("o-", "x--")):
            axis.plot(range(1, args.epochs + 1), [c[what] for c in curves[name]], style, label=name)
        axis.set(xlabel="epoch", ylabel={"loss": "training loss", "accuracy": "test accuracy"}[what])
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    Path(args.output, "_static").mkdir(exist_ok=True)
    figure.savefig(Path(args.output, "_static", "cifar10-curve.png"), dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default=str(HERE.parent / "docs"))
    parser.add_argument("--smoke", action="store_true", help="a few steps on the embedded pictures, written nowhere")
    args = parser.parse_args()
    args.compile = False
    args.device, args.workers = "cpu", 0
    if args.smoke:
        train, test = (Subset(datasets.Shapes(train=t, transform=cifar10.TO_INPUT), range(200)) for t in (True, False))
        args.epochs, where = 1, "a few embedded pictures"
    else:
        train, test = (datasets.CIFAR10(args.data, train=t, transform=cifar10.TO_INPUT) for t in (True, False))
        where = "CIFAR-10"
    training = cifar10.Training(args, train)
    sides = {"minidl": Ours(training)}
    if torch is not None:
        sides["PyTorch"] = Theirs(training.net, args)
    test_batches = [(x.numpy(), y.numpy()) for x, y in minidl.utils.data.DataLoader(test, 500)]
    curves = {name: [] for name in sides}
    for epoch in range(args.epochs):
        batches = [(x.numpy(), y.numpy()) for x, y in training.loader]
        for name, side in sides.items():
            curves[name].append(run_epoch(side, batches, test_batches))
            print(epoch + 1, name, curves[name][-1], flush=True)
    if not args.smoke:
        write(curves, args, where)


if __name__ == "__main__":
    main()
