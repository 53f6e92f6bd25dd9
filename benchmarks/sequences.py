"""Networks on sequences: minidl beside PyTorch, training steps and passes without gradients.

    python benchmarks/sequences.py            # some minutes; writes docs/sequences-results.md
    python benchmarks/sequences.py --smoke    # only to see that it runs

Each side is a process of its own; they take turns, and quoted is the median over the turns. Before anything is timed every side
shows that it computes the same numbers, four steps long. The ratio is against PyTorch as it is, in the last column against the
better of that and of PyTorch with the C library told to keep freed memory, as minidl does by itself. With Numba installed there
are two of minidl, one with its loops compiled and one with NumPy's.
"""

import argparse
import os

import environment
from environment import head, row
from layers import OURS, ratios, titles
from sides.sequences import CASES
from sides.turns import prove, started, take_turns

PYTORCH = ["PyTorch"]
KEPT = ["PyTorch (kept)"]


def measure(names, case, seconds, small, threads):
    """Median seconds by side; and what each of the others had to say."""
    with started(names) as processes:
        right, failed = prove(processes, "make_sequence", model=case, small=small, threads=threads)
        return take_turns(right, seconds), failed


def run(args, cases):
    """Measure, print the lines as they come; the blocks to write."""
    kept = [] if args.smoke else KEPT
    names = [*OURS, *PYTORCH, *kept]
    lines, said = head("network", *(f"{name}, ms" for name in (*OURS, *PYTORCH)), *titles(OURS, kept)), []
    for case in cases:
        found, failed = measure(names, case, args.seconds, args.smoke, args.threads)
        cells = [f"{found[name] * 1e3:.2f}" if name in found else "-" for name in (*OURS, *PYTORCH)]
        lines.append(row(case, *cells, *ratios(found, OURS, PYTORCH, kept)))
        said += [f"* {case}: {name}: {reason}" for name, reason in failed.items()]
        print(lines[-1], *said[len(said) - len(failed) :], sep="\n", flush=True)
    return lines, [f"{args.seconds:g} s for each line."], said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="for each line")
    parser.add_argument("--only", default="", help="only networks whose title holds this")
    parser.add_argument("--threads", type=int, help="for each side (all cores)")
    parser.add_argument("--output", help="file for the table (default: docs/sequences-results.md if all was run)")
    parser.add_argument("--smoke", action="store_true", help="a few networks, two examples, three turns")
    args = parser.parse_args()
    cases = [case for case in CASES if args.only in case]
    if args.smoke:
        args.seconds, args.threads, cases = 0, 1, [*cases[:2], *cases[-1:]]
    if args.threads:  # NumPy's BLAS too, which `set_num_threads(1)` leaves as it is
        os.environ |= {f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "OPENBLAS", "MKL")}
    print(environment.describe(), flush=True)
    blocks = run(args, cases)
    output = args.output or (None if args.smoke or args.only or args.threads else environment.DOCS / "sequences-results.md")
    if output:
        environment.write(output, *blocks)


if __name__ == "__main__":
    main()
