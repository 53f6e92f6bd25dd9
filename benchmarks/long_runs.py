"""Ten thousand steps of training: memory, threads, open files and objects on the way.

    python benchmarks/long_runs.py            # some minutes; writes docs/long-runs-results.md and docs/_static/long-runs.svg
    python benchmarks/long_runs.py --smoke    # only to see that it runs

Three small networks, each in a process of its own: a convolutional one whose pictures come from a loader with two threads, an
LSTM and a GPT. Looked at after every hundred steps, when the garbage collector has run:

resident
    The resident size, in megabytes of 10^6 bytes. "After a tenth" is when a tenth of the steps are done, which is when all has
    been made that is kept.
threads, files, objects
    Of the process: its threads, its open file descriptors, and the objects that Python's garbage collector knows.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "examples")]

import environment
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from environment import head, row
from gpt import GPT, loss_of

import minidl
import minidl.nn.functional as F
from minidl import nn, optim
from minidl.utils.data import DataLoader
from minidl.vision import datasets, transforms


def cnn():
    """Steps of a convolutional network, for ever: each gives the loss. Its parameters come first."""
    pictures = datasets.Shapes(size=64, transform=transforms.Compose([transforms.RandomCrop(32, 4), transforms.ToTensor()]))
    loader = DataLoader(pictures, 8, shuffle=True, num_workers=2, generator=minidl.Generator().manual_seed(1))
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()),
        nn.Linear(128, 10),
    )
    optimizer = optim.SGD(net.parameters(), 0.01, momentum=0.9)
    yield net
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            yield loss.item()


def lstm():
    """The same of an LSTM, which adds up what it reads; with Adam and clipped gradients."""
    net = nn.ModuleList([nn.LSTM(2, 16, 2, batch_first=True), nn.Linear(16, 1)])
    optimizer = optim.Adam(net.parameters(), 1e-3)
    numbers = minidl.Generator().manual_seed(1)
    yield net
    while True:
        x = minidl.randn(8, 12, 2, generator=numbers)
        optimizer.zero_grad()
        loss = F.mse_loss(net[1](net[0](x)[0][:, -1]), x.sum((1, 2))[:, None] / 5)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def gpt():
    """The same of the GPT of the examples, with a schedule."""
    net = GPT(20, 16, width=16, heads=2, layers=2)
    optimizer = optim.AdamW(net.parameters(), 1e-3)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9999)
    numbers = minidl.Generator().manual_seed(1)
    yield net
    while True:
        tokens = minidl.randint(0, 20, (4, 1), generator=numbers) + minidl.arange(17)
        optimizer.zero_grad()
        loss = loss_of(net, tokens[:, :-1] % 20, tokens[:, 1:] % 20)
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()


NETWORKS = {"CNN": cnn, "LSTM": lstm, "GPT": gpt}


def look():
    """What the process has: bytes, threads, open files, objects; None where the system does not tell."""
    gc.collect()
    statm, files = Path("/proc/self/statm"), Path("/proc/self/fd")
    resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None
    return resident, threading.active_count(), len(os.listdir(files)) if files.exists() else None, len(gc.get_objects())


def run(name, steps, every):
    """What was seen on the way, every so many steps."""
    minidl.manual_seed(0)
    taken, seen = NETWORKS[name](), []
    next(taken)
    for done in range(1, steps + 1):
        next(taken)
        if done % every == 0:
            seen.append((done, *look()))
    return seen


def draw(found, path):
    """Resident size against steps."""
    figure, axis = plt.subplots(figsize=(7, 3.5))
    for name, seen in found.items():
        axis.plot([s[0] for s in seen], [s[1] / 1e6 for s in seen], label=name)
    axis.set(xlabel="step", ylabel="resident, MB", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--only", choices=NETWORKS, help="this network, in this process; says all that was seen, as JSON")
    parser.add_argument("--output", help="file for the table (default: docs/long-runs-results.md)")
    parser.add_argument("--smoke", action="store_true", help="twenty steps of the LSTM")
    args = parser.parse_args()
    steps, every = (20, 2) if args.smoke else (args.steps, 100)
    if args.only:
        print(json.dumps(run(args.only, steps, every)))
        return
    lines = head("network", "steps", "resident after a tenth, MB", "at the end, MB", "threads", "files", "objects")
    found = {}
    for name in ["LSTM"] if args.smoke else NETWORKS:
        command = [sys.executable, __file__, "--only", name, "--steps", str(steps), *(["--smoke"] if args.smoke else [])]
        found[name] = seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        early, late = seen[len(seen) // 10 - 1], seen[-1]
        size = ["-" if s[1] is None else f"{s[1] / 1e6:.1f}" for s in (early, late)]
        rest = [f"{early[i]} then {late[i]}" for i in (2, 3, 4)]
        lines.append(row(name, late[0], *size, *rest))
        print(lines[-1], flush=True)
    if args.output or not args.smoke:
        environment.write(args.output or environment.DOCS / "long-runs-results.md", lines)
        draw(found, environment.DOCS / "_static" / "long-runs.svg")


if __name__ == "__main__":
    main()
