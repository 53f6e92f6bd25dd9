"""The tables of docs/gpu-results.md, from what `gpu_check.py` has written.

    python benchmarks/gpu_table.py docs/gpu-results.json

They go into a file of the same name beside it, with the ending md.
"""

import argparse
import json
from pathlib import Path

from environment import head, row
from sides.gpu_kernels import CAPTURED

WAYS = ["minidl", "minidl captured", "minidl captured, bf16", "PyTorch", "PyTorch bf16, channels last"]
RESULTS = Path(__file__).resolve().parent.parent / "docs" / "gpu-results.json"
LONGEST = 8  # kernels of a step that are shown
COMPILED = ", torch.compile"  # ends the title of the row in which it is timed


def number(milliseconds):
    return "-" if milliseconds is None else f"{milliseconds:.3f}"


def ratio(a, b):
    return "-" if a is None or b is None else f"{a / b:.2f}"


def steps(rows):
    timed = {r["name"]: r["ms"] for r in rows if r["stage"] == "steps" and "ms" in r}
    beside = ["captured : PyTorch", "captured : torch.compile", "not captured : PyTorch"]
    yield from head("training step", *(f"{name}, ms" for name in [*WAYS, "torch.compile"]), *beside)
    for title, ms in timed.items():
        if not title.endswith(COMPILED):
            compiled = timed.get(title + COMPILED, {})
            best, captured, theirs = compiled.get("PyTorch reduce-overhead"), ms.get("minidl captured"), ms.get("PyTorch")
            ratios = ratio(captured, theirs), ratio(compiled.get("minidl captured"), best), ratio(ms.get("minidl"), theirs)
            yield row(title, *(number(ms.get(name)) for name in WAYS), number(best), *ratios)


def parity(rows):
    yield from head("layer, against PyTorch in float64", "minidl in float32", "PyTorch in float32")
    for r in rows:
        if "PyTorch's own" in r and r["name"].endswith(", float32"):
            away = r["largest difference"], r["PyTorch's own"]
            yield row(r["name"].removesuffix(", float32"), *(f"{x:.1e}" for x in away))


def precision(rows):
    found = [r for r in rows if "relative norm" in r]
    if found:
        columns = ["minidl", "PyTorch", "minidl, nothing to round", "PyTorch, nothing to round"]
        yield from head("product and its gradients, by norm", "bar", *columns)
    for r in found:
        both = r["of result and gradients"], r["of numbers that need no rounding"]
        worst = [max(away[side]) if side in away else None for away in both for side in ("minidl", "PyTorch")]
        cells = ["-" if x is None else f"{x:.1e}" for x in (r["bar"], *worst)]
        yield row(r["name"].replace(", by norm", ""), *cells)


def kernels(rows):
    found = {r["name"]: r for r in rows if r["stage"] == "kernel_times" and "kernels" in r}
    if found:
        yield from head("training step, and its longest kernels", "launches", "each, us", "share")
    for name, r in found.items():
        if name + CAPTURED in found:  # which tells more
            continue
        yield row(f"**{name}**", "", f"{r['us of a step']:.0f} in all", "")
        for kernel in r["kernels"][:LONGEST]:
            yield row(f"`{kernel['name']}`", f"{kernel['launches']:g}", f"{kernel['us']:.1f}", f"{kernel['share']:.2f}")


def layers(rows):
    timed = {r["name"]: r["ms"] for r in rows if r["stage"] == "times" and "ms" in r}
    yield from head(
        "layer",
        *(f"{what}{side}" for what in ("forward, ", "with backward, ") for side in ("minidl, ms", "PyTorch, ms", "ratio")),
    )
    for title, ms in timed.items():
        if title.endswith(", forward"):
            cells = []
            for t in (ms, timed.get(title + " and backward", {})):
                ours, theirs = t.get("minidl"), t.get("PyTorch")
                cells += [number(ours), number(theirs), ratio(ours, theirs)]
            yield row(title.removesuffix(", forward"), *cells)


def tables(found):
    """What is in such a file, as text."""
    rows = found["rows"]
    blocks = [
        [*steps(rows)],
        [
            "Data on the device, the optimiser a part of the step; sides in turns, medians. Float32 without TF32, but for the",
            'rows that say so. `torch.compile(mode="reduce-overhead")` was timed beside the captured step in a row of its own.',
        ],
        [*parity(rows)],
        ["The largest difference of the result and the gradients, in units of the largest number."],
        [*precision(rows)],
        [*kernels(rows)],
        [*layers(rows)],
        [f"* {name}: {value}" for name, value in found["machine"].items()],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=RESULTS, help="what gpu_check.py has written")
    parser.add_argument("--smoke", action="store_true", help="show the tables and write nothing")
    args = parser.parse_args()
    text = tables(json.loads(args.file.read_text(encoding="utf-8")))
    if args.smoke:
        print(text)
    else:
        args.file.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
