"""What the loader costs: by itself, and as a share of training. CIFAR-shaped pictures, 100 a batch, with 0, 1 and 2 workers.

    python benchmarks/loader.py            # about three minutes
    python benchmarks/loader.py --smoke    # only to see that it runs

By itself: the time of an epoch over its number of batches, the median of the epochs and the quickest and slowest. In training:
the time of the example network's steps on batches from the loader over that on batches made before, in turns; the median.
"""

import argparse
import itertools
import statistics
import time

import environment
import numpy as np
from training import cifar_network

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


def share_of_training(data, num_workers, n_steps, n_turns):
    """The time of training steps fed by the loader, over that of as many on batches that are ready; one ratio for each turn."""
    net = cifar_network(minidl)
    optimizer, criterion = optim.SGD(net.parameters(), lr=0.001, momentum=0.9), nn.CrossEntropyLoss()
    loader = DataLoader(data, 100, shuffle=True, num_workers=num_workers)
    ready = list(itertools.islice(loader, n_steps))

    def seconds(batches):
        start = time.perf_counter()
        for images, labels in itertools.islice(batches, n_steps):
            optimizer.zero_grad()
            criterion(net(images), labels).backward()
            optimizer.step()
        return time.perf_counter() - start

    seconds(ready)
    ratios = []
    for turn in range(n_turns):
        if turn % 2:
            own = seconds(ready)
            ratios.append(seconds(loader) / own)
        else:
            fed = seconds(loader)
            ratios.append(fed / seconds(ready))
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50_000, help="pictures in an epoch")
    parser.add_argument("--repeats", type=int, default=7, help="epochs to take the median of")
    parser.add_argument("--smoke", action="store_true", help="300 pictures, one epoch")
    args = parser.parse_args()
    if args.smoke:
        args.size, args.repeats = 300, 1
    print(environment.describe())
    planes = np.random.default_rng(0).integers(0, 256, (args.size, 3, 32, 32), dtype=np.uint8)
    for name, steps in CASES.items():
        whole = not any(isinstance(step, transforms.Lambda) for step in steps)
        size = args.size if whole else args.size // 10
        data = ImageSet(planes[:size].transpose(0, 2, 3, 1), [0] * size, transforms.Compose(steps))
        print(name)
        for num_workers in (0, 1, 2):
            loader = DataLoader(data, 100, shuffle=True, num_workers=num_workers)
            times = [milliseconds(loader) for _ in range(args.repeats)]
            print(
                f"  {num_workers} workers  {statistics.median(times):7.3f} ms a batch  ({min(times):.3f} to {max(times):.3f})"
            )
    data = ImageSet(planes.transpose(0, 2, 3, 1), [0] * args.size, transforms.Compose(SCALED))
    print("Training from the loader, over training from batches made before")
    for num_workers in (0, 1, 2):
        ratios = share_of_training(data, num_workers, min(args.size // 100, 100), args.repeats)
        print(f"  {num_workers} workers  {statistics.median(ratios):7.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
