"""Cost of the CIFAR network's training step against the size of the batch and against threads, minidl beside PyTorch.

    python benchmarks/scaling.py            # some three minutes; writes docs/scaling-results.md and docs/_static/scaling.svg
    python benchmarks/scaling.py --smoke    # only to see that it runs

The sides take turns and have the names of training.py; quoted is the median. The batch is 100 where threads vary, the threads
are all the cores where the batch varies.
"""

import argparse
from pathlib import Path

import environment
from environment import head, row
from sides import SideError
from sides.turns import prove, started, take_turns

SIDES = ["minidl", "minidl.compile", "PyTorch", "PyTorch channels_last", "PyTorch channels_last (kept)"]
GREY = "#808080"  # seen on white and on black
COLOURS = ["#d9480f", "#f59f00", "#1c7ed6", "#37b24d", "#ae3ec9"]


def measure(processes, batch, threads, seconds):
    """Milliseconds of a step, by side."""
    right, failed = prove(processes, model="cifar", batch=batch, threads=threads)
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    return {name: t * 1e3 for name, t in take_turns(right, seconds).items()}


def table(what, results):
    """A line for each value of what is varied; print them too."""
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    lines = head(what, *(f"{name}, ms" for name in names))
    for value, found in results.items():
        lines.append(row(value, *(f"{found[name]:.2f}" if name in found else "-" for name in names)))
    print("\n".join(lines), flush=True)
    return lines


def draw(by_batch, by_threads, path):
    """The two pictures: cost of a picture against the batch, and how many times quicker than with one thread."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    for name, colour in zip(SIDES, COLOURS):
        points = [(batch, found[name] / batch) for batch, found in by_batch.items() if name in found]
        if not points:
            continue
        left.plot(*zip(*points), "o-", color=colour, label=name)
        points = [(n, by_threads[1][name] / found[name]) for n, found in by_threads.items() if name in found]
        right.plot(*zip(*points), "o-", color=colour)
    left.set(xscale="log", yscale="log", xlabel="batch", ylabel="ms for each picture")
    right.set(xlabel="threads", ylabel="times quicker than one thread", xticks=list(by_threads), ylim=(0, None))
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.tick_params(colors=GREY, which="both")
        for part in (axis.xaxis.label, axis.yaxis.label):
            part.set_color(GREY)
        for spine in axis.spines.values():
            spine.set_color(GREY)
    for scale in (left.xaxis, left.yaxis):
        scale.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    left.legend(frameon=False, labelcolor=GREY)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="for each point")
    parser.add_argument("--output", default=str(environment.DOCS), help="folder for the table, and for the plot in its _static")
    parser.add_argument("--smoke", action="store_true", help="two batches, one thread, written nowhere")
    args = parser.parse_args()
    cores = environment.cores()
    batches = [1, 2, 5, 10, 32, 100, 256, 500, 1000]
    threads = sorted({n for n in (1, 2, 4, 8, 16, 32, 64, cores) if n <= cores})
    if args.smoke:
        args.seconds, batches, threads = 0, [1, 2], [1]
    with started(SIDES) as processes:
        for name in list(processes):
            try:
                processes[name].ask("make", model="mlp", batch=1)
            except SideError as error:
                print(f"{name}: {error}")
                del processes[name]
        by_batch = {batch: measure(processes, batch, cores, args.seconds) for batch in batches}
        lines = table("batch", by_batch)
        by_threads = {n: measure(processes, batches[-1] if args.smoke else 100, n, args.seconds) for n in threads}
        more = table("threads", by_threads)
    if not args.smoke:
        environment.write(Path(args.output, "scaling-results.md"), lines, more, [f"{args.seconds:g} s for each line."])
        draw(by_batch, by_threads, Path(args.output, "_static", "scaling.svg"))


if __name__ == "__main__":
    main()
