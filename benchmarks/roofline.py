"""Where a training step's time goes: each part of the CIFAR network's step at batch 100, beside the least it could take.

    python benchmarks/roofline.py            # half a minute; writes docs/roofline-results.md
    python benchmarks/roofline.py --smoke    # only to see that it runs

Two numbers of the machine are measured first, with as many threads as minidl uses: how many float32 operations a second the
matrix product does (the peak, in products of 1024 x 1024 matrices), and how many bytes a second a copy between arrays beyond
all caches moves, read and written. A part's floor is the larger of its operations over the one and its bytes over the other,
each input read once and each output written once. (A part whose arrays are still in a cache may take less than that.) The
parts are minidl's kernels, called one by one, on arrays in the order of memory in which a step has them: the batch innermost,
but for the pictures themselves.
"""

import argparse
import statistics
import time
from typing import Any, NamedTuple

import environment
import numpy as np
from environment import head, row
from sides.torchlike import Case

import minidl
from minidl.backend import kernels
from minidl.kernels import threads
from minidl.shapes import Window

RNG = np.random.default_rng(0)
CONV, POOL = Window((3, 3), before=(1, 1), after=(1, 1)), Window((2, 2), stride=(2, 2))


def seconds(function, limit):
    """The times of single calls, for ``limit`` seconds and at least three times, after one to warm up."""
    function()
    times, end = [], time.perf_counter() + limit
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def gemm_peak(limit, n=1024):
    """Float32 operations a second of all threads, each with matrices of its own."""
    count = minidl.get_num_threads()
    work = [[RNG.random((n, n), np.float32) for _ in range(3)] for _ in range(count)]

    def multiply(matrices):
        a, b, out = matrices
        np.matmul(a, b, out=out)

    return 2 * n**3 * count / min(seconds(lambda: threads.run(multiply, work), limit))


def copy_bandwidth(limit, nbytes=1 << 28):
    """Bytes a second, read and written, of a copy by all threads."""
    a, b = np.ones(nbytes // 4, np.float32), np.zeros(nbytes // 4, np.float32)
    work = threads.parts(len(a), 2 * nbytes)
    return 2 * nbytes / min(seconds(lambda: threads.run(lambda part: np.copyto(b[part], a[part]), work), limit))


def drawn(*shape):
    """Random numbers of a shape (N, ...), the batch innermost in memory."""
    return np.moveaxis(RNG.normal(size=(*shape[1:], shape[0])).astype(np.float32), -1, 0)


class Part(NamedTuple):
    """A piece of the step: what it does, how many operations that are, and the arrays it reads and writes."""

    name: str
    run: Any
    flops: float
    arrays: tuple


def convolution(name, n, c, f, size, first=False):
    """The parts of a convolution with 3 x 3 taps; the first has the pictures as they come, and no gradient for them."""
    x, g = drawn(n, c, size, size), drawn(n, f, size, size)
    if first:
        x = np.ascontiguousarray(x)
    w, bias = RNG.normal(size=(f, c, 3, 3)).astype(np.float32), np.zeros(f, np.float32)
    k, flops = kernels(x), 2 * 9 * c * f * n * size**2
    yield Part(f"{name}, forward", lambda: k.conv2d(x, w, bias, CONV, 1), flops, (x, w, g))
    yield Part(f"{name}, weight gradient", lambda: k.conv2d_weight_grad(x, g, CONV, 1), flops, (x, w, g))
    yield Part(f"{name}, bias gradient", lambda: k.sum(g, (0, 2, 3), False), g.size, (g,))
    if not first:
        yield Part(f"{name}, input gradient", lambda: k.conv2d_input_grad(g, w, CONV, 1, (size, size)), flops, (x, w, g))


def after_convolution(name, n, c, size):
    """The parts of the ReLU and the pooling that follow."""
    x, g = drawn(n, c, size, size), drawn(n, c, size // 2, size // 2)
    k = kernels(x)
    out = k.max_pool2d(x, POOL)
    taps = k.max_pool2d_taps(x, out, POOL)
    yield Part(f"ReLU {name}, forward", lambda: k.relu(x), x.size, (x, x))
    yield Part(f"ReLU {name}, gradient", lambda: k.relu_grad(x, x), x.size, (x, x, x))
    yield Part(f"pooling {name}, forward", lambda: k.max_pool2d(x, POOL), x.size, (x, out))
    yield Part(f"pooling {name}, which tap", lambda: k.max_pool2d_taps(x, out, POOL), x.size, (x, out, taps))
    yield Part(f"pooling {name}, gradient", lambda: k.max_pool2d_place(g, taps, POOL, (size, size)), x.size, (x, g, taps))


def linear(name, n, c_in, c_out):
    """The three products of a linear layer."""
    x, g, w = drawn(n, c_in), drawn(n, c_out), RNG.normal(size=(c_out, c_in)).astype(np.float32)
    bias = np.zeros(c_out, np.float32)
    k, flops = kernels(x), 2 * n * c_in * c_out
    yield Part(f"{name}, forward", lambda: k.linear(x, w, bias), flops, (x, w, g))
    yield Part(f"{name}, weight gradient", lambda: k.matmul(g.T, x), flops, (x, w, g))
    yield Part(f"{name}, input gradient", lambda: k.matmul(g, w), flops, (x, w, g))


def optimiser(case):
    """SGD with momentum on all parameters: it reads parameter, velocity and gradient and writes the first two."""
    case.step()
    arrays = [p.detach().numpy() for group in case.optimizer.param_groups for p in group["params"]]
    yield Part(
        "SGD with momentum", case.optimizer.step, 4 * sum(a.size for a in arrays), (*arrays, *arrays, *arrays, *arrays, *arrays)
    )


def parts(case, n):
    """All of them, in the order of the step."""
    yield from convolution("conv1", n, 3, 32, 32, first=True)
    yield from after_convolution("1", n, 32, 32)
    yield from convolution("conv2", n, 32, 64, 16)
    yield from after_convolution("2", n, 64, 16)
    yield from linear("fc1", n, 4096, 512)
    yield from linear("fc2", n, 512, 10)
    yield from optimiser(case)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1, help="for each part")
    parser.add_argument("--output", help="file for the table (default: docs/roofline-results.md)")
    parser.add_argument("--smoke", action="store_true", help="a small batch, three calls of each part")
    args = parser.parse_args()
    if args.smoke:
        args.batch, args.seconds = 4, 0
    peak, bandwidth = gemm_peak(args.seconds), copy_bandwidth(args.seconds, 1 << (22 if args.smoke else 28))
    said = f"Matrix product {peak / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} GB/s, {minidl.get_num_threads()} threads."
    print(said)
    lines = head("part", "ms", "GFLOP", "MB", "floor, ms", "time / floor")
    print("\n".join(lines))
    case = Case("cifar", args.batch, library="minidl")

    def add(name, taken, flops, nbytes, floor):
        cells = f"{taken * 1e3:.3f}", f"{flops / 1e9:.3f}", f"{nbytes / 1e6:.1f}", f"{floor * 1e3:.3f}", f"{taken / floor:.1f}"
        lines.append(row(name, *cells))
        print(lines[-1], flush=True)

    sums = np.zeros(4)
    for part in parts(case, args.batch):
        taken, nbytes = statistics.median(seconds(part.run, args.seconds)), sum(a.nbytes for a in part.arrays)
        figures = taken, part.flops, nbytes, max(part.flops / peak, nbytes / bandwidth)
        sums += figures
        add(part.name, *figures)
    add("these together", *sums)
    step = statistics.median(seconds(case.step, 3 * args.seconds))
    add("the training step as a whole", step, *sums[1:])
    output = args.output or (None if args.smoke else environment.DOCS / "roofline-results.md")
    if output:
        environment.write(output, [said], lines)


if __name__ == "__main__":
    main()
