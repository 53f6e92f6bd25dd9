"""How long the loader takes for a batch, by itself: CIFAR-shaped pictures, 100 a batch, with 0, 1 and 2 workers.

    python benchmarks/loader.py            # some ten seconds
    python benchmarks/loader.py --smoke    # only to see that it runs

Each figure is the time of an epoch over its number of batches: the median of the epochs, and the quickest and slowest.
"""

import argparse
import platform
import statistics
import time

import numpy as np

import minidl
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50_000, help="pictures in an epoch")
    parser.add_argument("--repeats", type=int, default=7, help="epochs to take the median of")
    parser.add_argument("--smoke", action="store_true", help="300 pictures, one epoch")
    args = parser.parse_args()
    if args.smoke:
        args.size, args.repeats = 300, 1
    print(
        f"{platform.platform()}, {minidl.get_num_threads()} threads, Python {platform.python_version()}, NumPy {np.__version__}"
    )
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


if __name__ == "__main__":
    main()
