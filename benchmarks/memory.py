"""Peak memory of a training step, minidl beside PyTorch.

    python benchmarks/memory.py            # half a minute; writes docs/memory-results.md
    python benchmarks/memory.py --smoke    # only to see that it runs

Two numbers, each from a fresh process for each network and side, in megabytes of 10^6 bytes:

resident
    The largest resident size (Linux's VmHWM) within three steps, less the resident size before the network was made. Before
    that the same was done with a batch of one and given back, so that the library's code, threads and tables do not count;
    and the mark is set back after four steps of warming up, so that what only building or tracing needs does not. Parameters,
    gradients, momentum, activations, scratch memory and what the allocator keeps do. Where the mark cannot be set back the
    size is sampled each millisecond.
allocated
    The largest sum of blocks that NumPy and Python hold (tracemalloc) within three steps, less that before anything was made:
    what the arrays need, whatever the allocator keeps. PyTorch's blocks cannot be seen so.
"""

import argparse

import environment
from environment import head, row
from sides import MINIDL, TORCH, Process, SideError

CASES = [("CIFAR network", "cifar", 100), ("ResNet-20", "resnet20", 128)]


def ask(name, order, **case):
    """Bytes, from a fresh process; None, with a word, where there is none to be had."""
    with Process(name) as process:
        try:
            return process.ask(order, steps=3, **case)
        except SideError as error:
            print(f"{name}: {error}")
            return None


def megabytes(nbytes):
    return "-" if nbytes is None else f"{nbytes / 1e6:.1f}"


def ratio(found, name):
    best = min((nbytes for other, nbytes in found.items() if other in TORCH and nbytes), default=None)
    return f"{found[name] / best:.2f}" if best and found[name] else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="file for the table (default: docs/memory-results.md)")
    parser.add_argument("--smoke", action="store_true", help="one small batch")
    args = parser.parse_args()
    cases = [("CIFAR network", "cifar", 4)] if args.smoke else CASES
    lines = head("network, training step", "batch", "side", "resident, MB", "over PyTorch's best", "allocated, MB")
    print("\n".join(lines), flush=True)
    for title, model, batch in cases:
        case = {"model": model, "batch": batch}
        names = [*MINIDL, "PyTorch", "PyTorch channels_last"]
        resident = {name: ask(name, "peak_resident", **case) for name in names}
        for name in names:
            allocated = ask(name, "peak_allocated", **case) if name in MINIDL and resident[name] else None
            lines.append(row(title, batch, name, megabytes(resident[name]), ratio(resident, name), megabytes(allocated)))
            print(lines[-1], flush=True)
    output = args.output or (None if args.smoke else environment.DOCS / "memory-results.md")
    if output:
        environment.write(output, lines)


if __name__ == "__main__":
    main()
