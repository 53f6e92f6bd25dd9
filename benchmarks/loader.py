"""What the loader costs: by itself, and as a share of training. CIFAR-shaped pictures, 100 a batch, with 0, 1 and 2 workers.

    python benchmarks/loader.py            # a quarter of an hour; writes docs/loader-results.md
    python benchmarks/loader.py --smoke    # only to see that it runs

By itself: the time of an epoch over its number of batches, the median of the epochs and the quickest and slowest. In training:
the time of an epoch of the example network's steps on batches from the loader over that of as many steps on batches made before
(the first hundred, over and over), in turns; the median.
"""

import argparse
import itertools
import statistics
import time

import environment
import numpy as np
from environment import head, row
from sides.networks import cifar_network

import minidl
from minidl import nn, optim
from minidl.utils.data import DataLoader
from minidl.vision import transforms
from minidl.vision.datasets import ImageSet

SCALED = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
CASES = {
    "ToTensor, Normalize": SCALED,
    "RandomCrop, RandomHorizontalFlip, ToTensor, Normalize": [
        transforms.RandomCrop(32, 4),
        transforms.RandomHorizontalFlip(),
        *SCALED,
    ],
    "the same, picture by picture (ends with a Lambda)": [
        transforms.RandomCrop(32, 4),
        transforms.RandomHorizontalFlip(),
        *SCALED,
        transforms.Lambda(lambda image: image),
    ],
}


def milliseconds(loader):
    """Time of a batch, over one epoch."""
    start = time.perf_counter()
    n = sum(1 for _ in loader)
    return (time.perf_counter() - start) / n * 1000


def spread(values, digits):
    """The median, and the least and the largest."""
    return [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]


def share_of_training(data, num_workers, n_turns):
    """The time of an epoch of training fed by the loader, over that of as many steps on ready batches; one ratio a turn."""
    net = cifar_network(minidl)
    optimizer, criterion = optim.SGD(net.parameters(), lr=0.001, momentum=0.9), nn.CrossEntropyLoss()
    loader = DataLoader(data, 100, shuffle=True, num_workers=num_workers)
    first = list(itertools.islice(loader, 100))
    ready = list(itertools.islice(itertools.cycle(first), len(loader)))

    def seconds(batches):
        start = time.perf_counter()
        for images, labels in batches:
            optimizer.zero_grad()
            criterion(net(images), labels).backward()
            optimizer.step()
        return time.perf_counter() - start

    seconds(first)
    ratios = []
    for turn in range(n_turns):
        if turn % 2:
            own = seconds(ready)
            ratios.append(seconds(loader) / own)
        else:
            fed = seconds(loader)
            ratios.append(fed / seconds(ready))
    return ratios


def by_itself(args, planes):
    """Table: milliseconds of a batch."""
    lines = head("transforms", "workers", "ms a batch, median", "least", "most")
    print("\n".join(lines))
    for name, steps in CASES.items():
        whole = not any(isinstance(step, transforms.Lambda) for step in steps)
        size = args.size if whole else args.size // 10
        data = ImageSet(planes[:size].transpose(0, 2, 3, 1), [0] * size, transforms.Compose(steps))
        for num_workers in (0, 1, 2):
            loader = DataLoader(data, 100, shuffle=True, num_workers=num_workers)
            times = [milliseconds(loader) for _ in range(args.repeats)]
            lines.append(row(name, num_workers, *spread(times, 3)))
            print(lines[-1], flush=True)
    return lines


def in_training(args, planes):
    """Table: an epoch fed by the loader over its steps alone."""
    lines = head("transforms", "workers", "epoch over its steps alone, median", "least", "most")
    print("\n".join(lines))
    for name, steps in itertools.islice(CASES.items(), 2):
        data = ImageSet(planes.transpose(0, 2, 3, 1), [0] * args.size, transforms.Compose(steps))
        for num_workers in (0, 1, 2):
            lines.append(row(name, num_workers, *spread(share_of_training(data, num_workers, args.turns), 3)))
            print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50_000, help="pictures in an epoch")
    parser.add_argument("--repeats", type=int, default=7, help="epochs to take the median of, by itself")
    parser.add_argument("--turns", type=int, default=4, help="pairs of epochs to take the median of, in training")
    parser.add_argument("--output", help="file for the tables (default: docs/loader-results.md)")
    parser.add_argument("--smoke", action="store_true", help="300 pictures, one epoch")
    args = parser.parse_args()
    if args.smoke:
        args.size, args.repeats, args.turns = 300, 1, 1
    planes = np.random.default_rng(0).integers(0, 256, (args.size, 3, 32, 32), dtype=np.uint8)
    blocks = by_itself(args, planes), in_training(args, planes)
    output = args.output or (None if args.smoke else environment.DOCS / "loader-results.md")
    if output:
        environment.write(output, *blocks, [f"{args.size} pictures in an epoch."])


if __name__ == "__main__":
    main()
