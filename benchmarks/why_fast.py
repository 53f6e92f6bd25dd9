"""Why a training step is fast: a small experiment for each reason that docs/fast.md gives.

    python benchmarks/why_fast.py            # under two minutes; writes docs/why-fast-results.md and pictures
    python benchmarks/why_fast.py --smoke    # only to see that it runs

What is compared takes turns, call by call; quoted is the median. One thread computes, unless it is said how many do. What
would leak from one setting into the next (threads, BLAS's threads, the allocator) has a process of its own.
"""

import argparse
import itertools
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import environment
import numpy as np
from environment import head, row
from numpy.lib.stride_tricks import sliding_window_view
from sides import given
from sides.torchlike import Case
from threadpoolctl import threadpool_limits

import minidl
from minidl.kernels import cpu, memory, reference, threads
from minidl.kernels.cpu import columns, conv, elementwise
from minidl.shapes import Window

try:
    import resource
except ImportError:  # not on Windows
    resource = None

RNG = np.random.default_rng(0)
CONV, POOL = Window((3, 3), before=(1, 1), after=(1, 1)), Window((2, 2), stride=(2, 2))


def drawn(*shape):
    """Random float32 numbers."""
    return RNG.normal(size=shape).astype(np.float32)


def pictures(n, c, size):
    """Random pictures (N, C, H, W), the batch innermost in memory."""
    return drawn(c, size, size, n).transpose(3, 0, 1, 2)


def calls(function, limit):
    """The seconds of single calls, for ``limit`` seconds and at least three times; quick ones are timed many together."""
    function()
    start = time.perf_counter()
    function()
    many = 1 + int(5e-4 / (time.perf_counter() - start))
    times, end = [], time.perf_counter() + limit
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(many):
            function()
        times.append((time.perf_counter() - start) / many)
    return times


def in_turns(functions, limit, n_turns=5):
    """The median of the seconds of a call, by name."""
    times = {name: [] for name in functions}
    for _ in range(n_turns):
        for name, function in functions.items():
            times[name] += calls(function, limit / n_turns / len(functions))
    return {name: statistics.median(t) for name, t in times.items()}


@contextmanager
def using(n_threads):
    """So many threads of minidl's, and one of BLAS's."""
    before = minidl.get_num_threads()
    with threadpool_limits(1, user_api="blas"):
        minidl.set_num_threads(n_threads)
        try:
            yield
        finally:
            minidl.set_num_threads(before)


# ---- What a call costs


def a_call(limit, small):
    """The same addition of 1 to many numbers."""
    lines = head("numbers", "microseconds a call", "nanoseconds a number")
    for n in (1, 100, 10_000, 1_000_000) if small else (1, 100, 10_000, 1_000_000, 10_000_000):
        a, b, out = drawn(n), drawn(n), drawn(n)
        t = in_turns({"": lambda a=a, b=b, out=out: np.add(a, b, out=out)}, limit)[""]
        lines.append(row(f"{n:,}", f"{t * 1e6:.2f}", f"{t / n * 1e9:.3f}"))
    return lines, None


# ---- Layout


def in_order(x, order):
    """The same array, its dimensions in this order in memory."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def seen(x):
    """What a 3 x 3 window sees in pictures (N, C, H, W): a view (N, C, 3, 3, I, J), where most pixels are nine times."""
    return sliding_window_view(x, (3, 3), (2, 3)).transpose(0, 1, 4, 5, 2, 3)


ORDERS = {  # of the pictures N, C, H, W and of their columns N, C, K, L, I, J
    "NCHW, a row for each position": ((0, 1, 2, 3), (0, 4, 5, 1, 2, 3)),
    "NCHW, a column for each position": ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5)),
    "batch innermost": ((1, 2, 3, 0), (1, 2, 3, 4, 5, 0)),
}


def gathering(n):
    """Functions that gather the columns at two rows of 16 positions, 16 channels, for each order of memory."""
    found = {}
    for name, (order, columns_order) in ORDERS.items():
        view = seen(in_order(drawn(n, 16, 4, 18), order))
        out = in_order(np.zeros(view.shape, np.float32), columns_order)
        found[name] = lambda out=out, view=view: np.copyto(out, view)
    a, b = np.zeros(out.size, np.float32), np.zeros(out.size, np.float32)
    found["a plain copy"] = lambda: np.copyto(a, b)
    return found, out.size


def layout(limit, small):
    """Nanoseconds to gather a number."""
    found = {}
    for n in (1, 10, 100):
        functions, size = gathering(n)
        found[n] = {name: t / size * 1e9 for name, t in in_turns(functions, limit).items()}
    lines = head("order of memory", *(f"batch {n}, ns a number" for n in found))
    lines += [row(name, *(f"{t[name]:.3f}" for t in found.values())) for name in found[1]]
    return lines, found


# ---- From columns to a convolution


def by_loop(padded, w):
    """A product for each position: (F, C * 9) @ (C * 9, N)."""
    (f, c), (_, height, width, n) = w.shape[:2], padded.shape
    out, kernel = np.empty((f, height - 2, width - 2, n), padded.dtype), w.reshape(f, c * 9)
    for i in range(height - 2):
        for j in range(width - 2):
            out[:, i, j] = kernel @ padded[:, i : i + 3, j : j + 3].reshape(c * 9, n)
    return out


def by_taps(padded, w):
    """A product for each tap of the kernel, with all the pixels that it meets: (F, C) @ (C, I * J * N)."""
    (f, c), (_, height, width, n) = w.shape[:2], padded.shape
    out = np.zeros((f, height - 2, width - 2, n), padded.dtype)
    for k in range(3):
        for l in range(3):
            pixels = padded[:, k : k + height - 2, l : l + width - 2]
            out += (w[:, :, k, l] @ pixels.reshape(c, -1)).reshape(out.shape)
    return out


def by_minidl(padded, w, by_rows):
    """The same by each of the two ways in minidl/kernels/cpu/conv.py, in strips."""
    f, (_, height, width, n) = len(w), padded.shape
    out = np.empty((f, height - 2, width - 2, n), padded.dtype)
    part = slice(0, height - 2), slice(0, width - 2)
    if by_rows:
        kernel = w.transpose(2, 0, 1, 3).reshape(3 * f, -1)
        conv._fill_by_rows(out, padded[:, 1:-1], kernel, None, CONV, part)
    else:
        conv._fill_by_positions(out, padded, w.reshape(f, -1), None, CONV, part)
    return out


def by_columns(padded, w):
    """All columns first, then one product: (F, C * 9) @ (C * 9, I * J * N)."""
    f, n = len(w), padded.shape[3]
    gathered = np.ascontiguousarray(seen(padded.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 4, 5, 0))
    return (w.reshape(f, -1) @ gathered.reshape(w[0].size, -1)).reshape(f, *gathered.shape[3:5], n)


WAYS = {
    "a product for each position": by_loop,
    "a product for each tap": by_taps,
    "all columns, then one product": by_columns,
    "minidl, by positions": partial(by_minidl, by_rows=False),
    "minidl, by rows of pixels": partial(by_minidl, by_rows=True),
}


def convolutions(limit, small):
    """GFLOP/s of each way to convolve: more filters than channels and the reverse, a single picture and many."""
    found = {}
    for c, f in ((32, 64), (64, 32)):
        loops = partial(reference.conv2d, drawn(1, c, 3, 3), drawn(2, c, 3, 3), None, CONV, 1)
        slow = 2 * 9 * c * 2 * 9 / in_turns({"": loops}, limit / 4, 1)[""] / 1e9
        for n in (1, 4 if small else 100):
            padded, w = np.pad(drawn(c, 16, 16, n), ((0, 0), (1, 1), (1, 1), (0, 0))), drawn(f, c, 3, 3)
            times = in_turns({name: partial(way, padded, w) for name, way in WAYS.items()}, limit)
            speeds = {name: 2 * 9 * c * f * 256 * n / t / 1e9 for name, t in times.items()}
            found[c, f, n] = {"nested loops in Python (few pixels and filters)": slow, **speeds}
    lines = head("GFLOP/s", *(f"{c} to {f} channels, batch {n}" for c, f, n in found))
    lines += [row(name, *(f"{speed[name]:.3g}" for speed in found.values())) for name in found[32, 64, 1]]
    return lines, None


# ---- Strips


@contextmanager
def setting(module, name, value):
    """A module's constant, changed for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def with_setting(function, *where):
    """The function, called with the constant changed."""

    def call():
        with setting(*where):
            function()

    return call


def descend(param, grad, velocity):
    """SGD with momentum."""
    velocity *= 0.9
    velocity += grad
    param -= 0.001 * velocity


def strips(limit, small):
    """Milliseconds against the size of a strip (a convolution) and of a block (an SGD step over two million parameters)."""
    x, w = pictures(4 if small else 100, 32, 16), drawn(64, 32, 3, 3)
    params = itertools.cycle([[drawn(20_000 if small else 2_000_000) for _ in range(3)] for _ in range(4)])  # none is cached
    sizes = [1 << i for i in range(16, 27)]
    found = {}
    for n in sorted({1, environment.cores()}):
        with using(n):
            convolve = {s: with_setting(lambda: cpu.conv2d(x, w, None, CONV, 1), columns, "STRIP_BYTES", s) for s in sizes}
            found["convolution", n] = in_turns(convolve, 4 * limit)
            descent = {
                s: with_setting(lambda: cpu.blockwise(descend, *next(params)), elementwise, "BLOCK", s // 4) for s in sizes
            }
            found["SGD", n] = in_turns(descent, 4 * limit)
    lines = head("KiB at a time", *(f"{what}, {n} thread{'s' * (n > 1)}, ms" for what, n in found))
    lines += [row(f"{s >> 10:,}", *(f"{t[s] * 1e3:.2f}" for t in found.values())) for s in sizes]
    return lines, found


# ---- Processes with settings of their own


def nchw(function):
    """The kernel, its result turned to the order N, C, H, W."""
    return lambda *args: np.ascontiguousarray(function(*args))


def start(job, batch, n_threads=None, blas=False, strip=None, keep=True, turn=False, **options):
    """In a new process: the settings, and the function that is timed there."""
    global timed
    if not keep:
        threads.keep_freed = lambda: False  # the pool calls it
    if strip:
        columns.STRIP_BYTES = strip
    if turn:
        cpu.conv2d, cpu.conv2d_input_grad = nchw(cpu.conv2d), nchw(cpu.conv2d_input_grad)
    if n_threads:
        minidl.set_num_threads(n_threads)
        memory.keep_freed()  # with one thread there is no pool to do it
    timed = job(batch, **options)
    timed()  # now there is a pool, and BLAS is at one thread
    threadpool_limits(environment.cores() if blas else 1, user_api="blas")


def page_faults():
    """How many times this process was given a new page of memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


def timed_there(limit):
    """Seconds of each call, and page faults of one, in the process that `start` prepared."""
    before = page_faults()
    times = calls(timed, limit)
    return times, (page_faults() - before) / (len(times) + 2)


def apart(job, batch, settings, limit, n_turns=4):
    """For each of the settings, by name: the median of a call's seconds, and its page faults in the last turn."""
    found = {name: [] for name in settings}
    with ExitStack() as stack:
        spawn, workers = multiprocessing.get_context("spawn"), {}
        for name, options in settings.items():
            begin = partial(start, job, batch, **options)
            workers[name] = stack.enter_context(ProcessPoolExecutor(1, spawn, begin))
        for _ in range(n_turns):
            for name, worker in workers.items():
                found[name].append(worker.submit(timed_there, limit / n_turns).result())
    return {name: (statistics.median(t for times, _ in turns for t in times), turns[-1][1]) for name, turns in found.items()}


def step(batch, compiled=False):
    """A training step of the CIFAR network."""
    return Case("cifar", batch, library="minidl", compiled=compiled).step


def product(batch, split, then_relu):
    """A product as in the first linear layer, shared out by our pool or left to BLAS, and if wanted ReLUs of pictures."""
    w, x, many = drawn(512, 4096), drawn(4096, batch), pictures(batch, 32, 32)
    multiply = (lambda: cpu.matmul(w, x)) if split else (lambda: w @ x)
    return (lambda: (multiply(), [cpu.relu(many) for _ in range(3)])) if then_relu else multiply


OWNERS = {
    "one thread": {"n_threads": 1, "split": False},
    "our pool for both, BLAS at one thread": {"split": True},
    "BLAS's threads for the product, one for the ReLUs": {"n_threads": 1, "blas": True, "split": False},
    "BLAS's threads for the product, our pool for the ReLUs": {"blas": True, "split": False},
    "our pool for both, BLAS's threads below it": {"blas": True, "split": True},
}


def owners(limit, small):
    """Milliseconds of a product, and of a product and three ReLUs, by who shares out the work."""
    batch = 4 if small else 100
    found = {}
    for then_relu in (False, True):
        settings = {name: {**options, "then_relu": then_relu} for name, options in OWNERS.items()}
        found[then_relu] = apart(product, batch, dict(list(settings.items())[-1:]) if small else settings, limit)
    lines = head("who shares out the work", "product, ms", "product, then three ReLUs, ms")
    lines += [row(name, *(f"{found[r][name][0] * 1e3:.2f}" for r in found)) for name in found[True]]
    return lines, {name: t for name, (t, _) in found[True].items()}


SHARES = {
    "as it is": {},
    "through minidl.compile: fused passes": {"compiled": True},
    "one thread": {"n_threads": 1},
    "BLAS's own threads as well": {"blas": True},
    "pictures handed on in NCHW order": {"turn": True},
    "strips of 64 KiB": {"strip": 1 << 16},
    "no strips": {"strip": 1 << 40},
    "freed memory given back": {"keep": False},
}


def shares(limit, small):
    """A whole training step without each of the reasons in turn."""
    settings = {name: SHARES[name] for name in ("as it is", "no strips")} if small else SHARES
    found = apart(step, 4 if small else 100, settings, 2 * limit)
    usual = found["as it is"][0]
    lines = head("training step, batch 100", "ms", "times as long", "page faults")
    for name, (t, faults) in found.items():
        lines.append(row(name, f"{t * 1e3:.1f}", f"{t / usual:.2f}", f"{faults:,.0f}" if resource else "-"))
    return lines, {name: t for name, (t, _) in found.items()}


# ---- Which way round


def ways_round(limit, small):
    """GFLOP/s of products of the same numbers, one or the other factor first, in one or the other order of memory."""
    n = 4 if small else 100
    strip, gradient = drawn(288, 16 * n), drawn(64, 16 * n)
    x, w = drawn(n, 4096), drawn(512, 4096)
    turned = np.ascontiguousarray(x.T)
    weights = {
        "columns @ gradient.T": lambda: strip @ gradient.T,
        "gradient @ columns.T": lambda: gradient @ strip.T,
    }
    layer = {
        "w @ x.T, batch innermost": lambda: w @ turned,
        "x @ w.T, batch innermost": lambda: turned.T @ w.T,
        "x @ w.T, batch outermost": lambda: x @ w.T,
    }
    lines = head("product", "GFLOP/s")
    for functions, flops in ((weights, 2 * 288 * 64 * 16 * n), (layer, 2 * n * 4096 * 512)):
        for name, t in in_turns(functions, limit).items():
            lines.append(row(f"`{name}`", f"{flops / t / 1e9:.0f}"))
    return lines, None


# ---- Fused passes


def normalised(x):
    """Batch normalisation as the formula has it: each operation passes over all of the memory."""
    return (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)


def passes(limit, small):
    """Milliseconds one pass after the other, and fused."""
    n = 4 if small else 100
    x, w, bias, many = pictures(n, 32, 16), drawn(64, 32, 3, 3), drawn(64), pictures(n, 16, 32)

    def one_by_one():
        y = cpu.relu(cpu.conv2d(x, w, bias, CONV, 1))
        out = cpu.max_pool2d(y, POOL)
        return out, cpu.max_pool2d_taps(y, out, POOL)

    pairs = {
        "convolution, ReLU, max-pooling": (one_by_one, lambda: cpu.conv2d_relu_pool(x, w, bias, CONV, 1, POOL, True)),
        "batch normalisation": (lambda: normalised(many), lambda: cpu.normalise(many, None, None, (0, 2, 3), 1e-5)),
    }
    lines = head("what", "threads", "one pass after the other, ms", "fused, ms")
    for name, pair in pairs.items():
        for n_threads in sorted({1, environment.cores()}):
            with using(n_threads):
                t = in_turns(dict(zip(("apart", "fused"), pair)), limit)
            lines.append(row(name, n_threads, f"{t['apart'] * 1e3:.2f}", f"{t['fused'] * 1e3:.2f}"))
    return lines, None


# ---- Small tensors


class BareMLP:
    """The step of the network 2-16-16-1 in NumPy, by hand: what an engine cannot do without."""

    def __init__(self):
        w = given.weights(given.SHAPES["mlp"])
        self.params = [w[f"{i}.{part}"] for i in (0, 2, 4) for part in ("weight", "bias")]
        self.velocities = [np.zeros_like(p) for p in self.params]
        self.x, self.y = given.batch("mlp", 16)

    def forward(self):
        w1, b1, w2, b2, w3, b3 = self.params
        a = np.tanh(self.x @ w1.T + b1)
        b = np.tanh(a @ w2.T + b2)
        error = b @ w3.T + b3 - self.y
        return a, b, error, (error * error).mean()

    def backward(self):
        (a, b, error, _), (w2, w3) = self.forward(), self.params[2::2]
        g3 = error * np.float32(2 / error.size)
        g2 = g3 @ w3 * (1 - b * b)
        g1 = g2 @ w2 * (1 - a * a)
        return g1.T @ self.x, g1.sum(0), g2.T @ a, g2.sum(0), g3.T @ b, g3.sum(0)

    def step(self):
        for arrays in zip(self.params, self.backward(), self.velocities):
            descend(*arrays)


def small_tensors(limit, small):
    """Microseconds of the parts of a step of the network 2-16-16-1, in bare NumPy and in minidl."""
    bare, case, compiled = BareMLP(), Case("mlp", 16, library="minidl"), Case("mlp", 16, library="minidl", compiled=True)

    def backward():
        case.criterion(case.net(case.x), case.y).backward()

    def forward():
        with minidl.no_grad():
            case.criterion(case.net(case.x), case.y)

    functions = {
        "bare forward": bare.forward,
        "bare backward": bare.backward,
        "bare step": bare.step,
        "forward": forward,
        "recorded": lambda: case.criterion(case.net(case.x), case.y),
        "backward": backward,
        "step": case.step,
        "compiled": compiled.step,
    }
    t = {name: seconds * 1e6 for name, seconds in in_turns(functions, 4 * limit).items()}
    parts = [
        ("forward", t["bare forward"], t["forward"]),
        ("recording", 0, t["recorded"] - t["forward"]),
        ("backward", t["bare backward"] - t["bare forward"], t["backward"] - t["recorded"]),
        ("zero_grad and update", t["bare step"] - t["bare backward"], t["step"] - t["backward"]),
        ("the step", t["bare step"], t["step"]),
        ("the step through minidl.compile", t["bare step"], t["compiled"]),
    ]
    lines = head("part", "bare NumPy, us", "minidl, us", "minidl's own, us")
    lines += [row(name, f"{a:.1f}", f"{b:.1f}", f"{b - a:.1f}") for name, a, b in parts]
    return lines, None


# ---- The report

EXPERIMENTS = {
    "calls": a_call,
    "layout": layout,
    "convolutions": convolutions,
    "strips": strips,
    "owners": owners,
    "ways round": ways_round,
    "passes": passes,
    "small tensors": small_tensors,
    "shares": shares,
}
GREY = "#808080"  # seen on white and on black
COLOURS = ["#d9480f", "#f59f00", "#1c7ed6", "#37b24d"]


@contextmanager
def figure(path, size, n_panels=1):
    """Axes to draw on, saved without a background when done; text stays text."""
    import matplotlib.pyplot as plt

    grey = dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor", "text.color"), GREY)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "minidl", "axes.grid": True, "grid.alpha": 0.3, **grey}):
        drawn_on, axes = plt.subplots(1, n_panels, figsize=size, squeeze=False)
        yield axes[0]
        drawn_on.tight_layout()
        path.parent.mkdir(exist_ok=True)
        drawn_on.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(drawn_on)


def plain(*scales):
    """Numbers without powers of ten."""
    for scale in scales:
        scale.set_major_formatter("{x:g}")


def draw_bars(path, seconds):
    """A bar for each name."""
    with figure(path, (8, 0.4 * len(seconds) + 0.8)) as (axis,):
        axis.barh(list(seconds), [t * 1e3 for t in seconds.values()], color=COLOURS[0])
        axis.invert_yaxis()
        axis.set(xlabel="ms")


def draw(found, folder):
    """The four pictures."""
    with figure(folder / "why-fast-layout.svg", (8, 3.5)) as (axis,):
        for name, colour in zip(found["layout"][1], COLOURS):
            axis.plot(*zip(*((n, t[name]) for n, t in found["layout"].items())), "o-", color=colour, label=name)
        axis.set(xscale="log", yscale="log", xlabel="batch", ylabel="ns a number")
        plain(axis.xaxis, axis.yaxis)
        axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    with figure(folder / "why-fast-strips.svg", (9, 3.5), 2) as axes:
        for (what, n), times in found["strips"].items():
            axis, colour = axes[int(what == "SGD")], COLOURS[0 if n == 1 else 2]
            axis.plot([s >> 10 for s in times], [t * 1e3 for t in times.values()], "o-", color=colour, label=f"threads: {n}")
            axis.set(xscale="log", xlabel="KiB at a time", ylabel=f"{what}, ms", ylim=(0, None))
            plain(axis.xaxis)
            axis.legend(frameon=False)
    draw_bars(folder / "why-fast-threads.svg", found["owners"])
    draw_bars(folder / "why-fast-shares.svg", found["shares"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment, written nowhere")
    parser.add_argument("--seconds", type=float, default=1, help="for each comparison; some take a few times as long")
    parser.add_argument(
        "--output", default=str(environment.DOCS), help="folder for the tables, and for the plots in its _static"
    )
    parser.add_argument("--smoke", action="store_true", help="small batches, few calls, written nowhere")
    args = parser.parse_args()
    blocks, found = [], {}
    memory.keep_freed()  # as minidl's pool does
    with using(1):
        for name in [args.only] if args.only else EXPERIMENTS:
            lines, found[name] = EXPERIMENTS[name](0 if args.smoke else args.seconds, args.smoke)
            print("\n".join([f"{name}:", *lines, ""]), flush=True)
            blocks += [[f"<!-- {name} -->"], lines]
    if not (args.smoke or args.only):
        environment.write(Path(args.output, "why-fast-results.md"), *blocks, ["<!-- machine -->"])
        draw(found, Path(args.output, "_static"))


if __name__ == "__main__":
    main()
