"""Layers by themselves, at the sizes they have in a ResNet: minidl beside PyTorch, forward and forward with backward.

    python benchmarks/layers.py            # some ten minutes; writes docs/layers-results.md
    python benchmarks/layers.py --smoke    # only to see that it runs

Each side is a process of its own; they take turns, and quoted is the median over the turns. Before anything is timed every side
shows that it computes the same output and gradients. Pictures come in the memory order that each library's own layers leave
them in: minidl's with the batch innermost, PyTorch's plain and ``channels_last``. The ratio is against the better of PyTorch's
two; unless ``--few`` is given, another is against the better of all four, two of them with the C library told to keep freed
memory, as minidl does by itself; and with Numba installed there are two of minidl, one with its loops compiled and one with
NumPy's.
"""

import argparse
import importlib.util
import math

import environment
from environment import head, row
from sides.layers import LAYERS
from sides.turns import prove, started, take_turns

OURS = ["minidl", "minidl (NumPy)"] if importlib.util.find_spec("numba") else ["minidl"]
PLAIN = ["PyTorch", "PyTorch channels_last"]
KEPT = [f"{name} (kept)" for name in PLAIN]


def measure(names, layer, train, seconds, small):
    """Median seconds by side; and what each of the others had to say."""
    if len(LAYERS[layer][0]) != 4:
        names = [name for name in names if "channels_last" not in name]
    with started(names) as processes:
        right, failed = prove(processes, "make_layer", model=layer, train=train, small=small)
        return take_turns(right, seconds), failed


def ratio(found, names, ours="minidl"):
    """Our time over the best of theirs."""
    best = min((found[name] for name in names if name in found), default=None)
    return f"{found[ours] / best:.2f}" if best else "-"


def ratios(found, ours, plain, kept):
    """Against the better of the plain ones, against all, and that of NumPy's loops against the plain ones."""
    against_all = [ratio(found, plain + kept)] if kept else []
    return [ratio(found, plain), *against_all, *(ratio(found, plain, name) for name in ours[1:])]


def titles(ours, kept):
    """What they are called."""
    return ["ratio", *(["ratio, (kept)"] if kept else []), *(f"ratio of {name}" for name in ours[1:])]


def run(args, layers):
    """Measure, print the lines as they come; the blocks to write."""
    ours, kept = (OURS[:1], []) if args.few else (OURS, [] if args.smoke else KEPT)
    names = [*ours, *PLAIN, *kept]
    columns = [f"{name}, ms" for name in (*ours, *PLAIN)]
    lines, said, all_ratios = head("layer", "input", "pass", *columns, *titles(ours, kept)), [], []
    for layer in layers:
        for train in (False, True):
            title = "forward, backward" if train else "forward"
            found, failed = measure(names, layer, train, args.seconds, args.smoke)
            cells = [f"{found[name] * 1e3:.2f}" if name in found else "-" for name in (*ours, *PLAIN)]
            shape = " x ".join(map(str, LAYERS[layer][0]))
            lines.append(row(layer, shape, title, *cells, *ratios(found, ours, PLAIN, kept)))
            said += [f"* {layer}, {title}: {name}: {reason}" for name, reason in failed.items()]
            print(lines[-1], *said[len(said) - len(failed) :], sep="\n", flush=True)
            if ratio(found, PLAIN) != "-":
                all_ratios.append(float(ratio(found, PLAIN)))
    how = f"{args.seconds:g} s for each line."
    if all_ratios:
        middle, above = math.exp(sum(map(math.log, all_ratios)) / len(all_ratios)), sum(r > 1.5 for r in all_ratios)
        how += f" The geometric mean of the ratios is {middle:.2f}; {above} of {len(all_ratios)} are above 1.5."
    return lines, [how], said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="for each line")
    parser.add_argument("--only", default="", help="only layers whose name holds this")
    parser.add_argument("--output", help="file for the table (default: docs/layers-results.md if all was run)")
    parser.add_argument("--few", action="store_true", help="minidl and PyTorch alone: no NumPy's loops, no freed memory kept")
    parser.add_argument("--smoke", action="store_true", help="a few layers, two examples, three turns")
    args = parser.parse_args()
    layers = [name for name in LAYERS if args.only in name]
    if args.smoke:
        args.seconds, layers = 0, layers[:2]
    print(environment.describe(), flush=True)
    blocks = run(args, layers)
    output = args.output or (None if args.smoke or args.only else environment.DOCS / "layers-results.md")
    if output:
        environment.write(output, *blocks)


if __name__ == "__main__":
    main()
