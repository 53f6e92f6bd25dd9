"""Train an example's network on CIFAR-10 with minidl and, where it is installed, with PyTorch; write the curve into the docs.

    python benchmarks/cifar10_curve.py --data FOLDER
    python benchmarks/cifar10_curve.py --data FOLDER --example resnet_cifar10

Both start from the same weights and see the same batches; they take turns, an epoch each. Writes ``docs/cifar10-results.md``
and ``docs/_static/cifar10-curve.png``, or those of the other example.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples")]

import cifar10
import environment
import matplotlib.pyplot as plt
import resnet_cifar10
from environment import head, row
from sides.networks import cifar_network, resnet20

import minidl
from minidl.utils.data import Subset
from minidl.vision import datasets

try:
    import torch
except ImportError:
    torch = None


EXAMPLES = {"cifar10": (cifar10, cifar_network), "resnet_cifar10": (resnet_cifar10, resnet20)}


class Ours:
    def __init__(self, training):
        self.training = training

    def step(self, x, y):
        return self.training.step(minidl.from_numpy(x), minidl.from_numpy(y))[0]

    def scores(self, x):
        judged = self.training.judged.eval()
        with minidl.no_grad():
            scores = judged(minidl.from_numpy(x)).numpy()
        judged.train()
        return scores


class Theirs:
    """The same network in PyTorch, with the same weights, and what the example puts beside it."""

    def __init__(self, training, args):
        self.net = EXAMPLES[args.example][1](torch)
        with torch.no_grad():
            for theirs, ours in zip(self.net.parameters(), training.net.parameters()):
                theirs.copy_(torch.from_numpy(ours.detach().numpy()))
        self.judged, self.schedule = self.net, None
        if args.example == "cifar10":
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=args.lr, momentum=args.momentum)
            return
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), args.lr, args.momentum, weight_decay=args.weight_decay, nesterov=True
        )
        schedules, averages, n = torch.optim.lr_scheduler, torch.optim.swa_utils, len(training.loader)
        up = schedules.LinearLR(self.optimizer, 0.1, total_iters=n)
        down = schedules.CosineAnnealingLR(self.optimizer, max((args.epochs - 1) * n, 1))
        self.schedule = schedules.SequentialLR(self.optimizer, [up, down], [n])
        self.judged = averages.AveragedModel(self.net, multi_avg_fn=averages.get_ema_multi_avg_fn(args.decay), use_buffers=True)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.net(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
            self.judged.update_parameters(self.net)
        return loss.item()

    def scores(self, x):
        self.judged.eval()
        with torch.no_grad():
            scores = self.judged(torch.from_numpy(x)).numpy()
        self.judged.train()
        return scores


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
    columns = ["training loss", "test accuracy", *([] if args.untimed else ["s"])]
    rows = head("epoch", *(f"{name}: {column}" for name in names for column in columns))
    for epoch in range(args.epochs):
        cells = []
        for c in (curves[name][epoch] for name in names):
            cells += [f"{c['loss']:.3f}", f"{c['accuracy']:.1%}", *([] if args.untimed else [f"{c['seconds']:.1f}"])]
        rows.append(row(epoch + 1, *cells))
    said = f"Batch {args.batch_size}, SGD lr {args.lr} momentum {args.momentum}, seed {args.seed}, data: {where}."
    kind = args.example.removesuffix("_cifar10")
    Path(args.output, f"{kind}-results.md").write_text("\n".join([*rows, "", said, "", environment.describe(), ""]))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, what in zip(axes, ("loss", "accuracy")):
        for name, style in zip(names, ("o-", "x--")):
            axis.plot(range(1, args.epochs + 1), [c[what] for c in curves[name]], style, label=name)
        axis.set(xlabel="epoch", ylabel={"loss": "training loss", "accuracy": "test accuracy"}[what])
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    Path(args.output, "_static").mkdir(exist_ok=True)
    figure.savefig(Path(args.output, "_static", f"{kind}-curve.png"), dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", choices=EXAMPLES, default="cifar10", help="which (cifar10)")
    parser.add_argument("--data", default="data")
    parser.add_argument("--epochs", type=int, help="(the example's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default=str(HERE.parent / "docs"))
    parser.add_argument("--untimed", action="store_true", help="leave out the seconds: other programs run meanwhile")
    parser.add_argument("--smoke", action="store_true", help="a few steps on the embedded pictures, written nowhere")
    args = parser.parse_args()
    example = EXAMPLES[args.example][0]
    settings = example.options().parse_args(["--workers=0", f"--seed={args.seed}"])
    args = argparse.Namespace(**{**vars(settings), **{name: value for name, value in vars(args).items() if value is not None}})
    if args.smoke:
        make, args.epochs, where = datasets.Shapes, 1, "a few embedded pictures"
    else:
        make, where = partial(datasets.CIFAR10, args.data), "CIFAR-10"
    train, test = make(train=True, transform=example.TO_TRAIN), make(train=False, transform=cifar10.TO_INPUT)
    if args.smoke:
        train, test = Subset(train, range(200)), Subset(test, range(200))
    training = example.Training(args, train)
    sides = {"minidl": Ours(training)}
    if torch is not None:
        sides["PyTorch"] = Theirs(training, args)
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
