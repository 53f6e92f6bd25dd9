"""Layers by themselves, at the sizes they have in a ResNet: minidl beside PyTorch, forward and forward with backward.

    python benchmarks/layers.py            # some ten minutes; writes docs/layers-results.md
    python benchmarks/layers.py --smoke    # only to see that it runs

Each side is a process of its own; they take turns, and quoted is the median over the turns. Before anything is timed every side
shows that it computes the same output and gradients. Pictures come in the memory order that each library's own layers leave
them in: minidl's with the batch innermost, PyTorch's plain and ``channels_last``. The ratio is against the better of PyTorch's
two; the last column has it against the better of all four, two of them with the C library told to keep freed memory, as
minidl does by itself.
"""

import argparse
import math

import environment
from environment import head, row
from sides.layers import LAYERS
from sides.turns import prove, started, take_turns

PLAIN = ["PyTorch", "PyTorch channels_last"]
KEPT = [f"{name} (kept)" for name in PLAIN]


def measure(names, layer, train, seconds, small):
    """Median seconds by side; and what each of the others had to say."""
    if len(LAYERS[layer][0]) != 4:
        names = [name for name in names if "channels_last" not in name]
    with started(names) as processes:
        right, failed = prove(processes, "make_layer", model=layer, train=train, small=small)
        return take_turns(right, seconds), failed


def ratio(found, names):
    """Our time over the best of theirs."""
    best = min((found[name] for name in names if name in found), default=None)
    return f"{found['minidl'] / best:.2f}" if best else "-"


def run(args, layers):
    """Measure, print the lines as they come; the blocks to write."""
    names = ["minidl", *PLAIN, *([] if args.smoke else KEPT)]
    columns = [f"{name}, ms" for name in ("minidl", *PLAIN)]
    lines, said, ratios = head("layer", "input", "pass", *columns, "ratio", "ratio, (kept)"), [], []
    for layer in layers:
        for train in (False, True):
            title = "forward, backward" if train else "forward"
            found, failed = measure(names, layer, train, args.seconds, args.smoke)
            cells = [f"{found[name] * 1e3:.2f}" if name in found else "-" for name in ("minidl", *PLAIN)]
            shape = " x ".join(map(str, LAYERS[layer][0]))
            lines.append(row(layer, shape, title, *cells, ratio(found, PLAIN), ratio(found, PLAIN + KEPT)))
            said += [f"* {layer}, {title}: {name}: {reason}" for name, reason in failed.items()]
            print(lines[-1], *said[len(said) - len(failed) :], sep="\n", flush=True)
            if ratio(found, PLAIN) != "-":
                ratios.append(float(ratio(found, PLAIN)))
    how = f"{args.seconds:g} s for each line."
    if ratios:
        middle, above = math.exp(sum(map(math.log, ratios)) / len(ratios)), sum(r > 1.5 for r in ratios)
        how += f" The geometric mean of the ratios is {middle:.2f}; {above} of {len(ratios)} are above 1.5."
    return lines, [how], said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="for each line")
    parser.add_argument("--only", default="", help="only layers whose name holds this")
    parser.add_argument("--output", help="file for the table (default: docs/layers-results.md if all was run)")
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
