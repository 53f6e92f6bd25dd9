"""What ``minidl bench`` sets beside its figures: docs/training-results.md as data.

python benchmarks/recorded.py    # after benchmarks/training.py; writes minidl/bench/recorded.json
"""

import argparse
import json

import environment
from sides import TORCH

from minidl.bench import CASES, RECORDED


def recorded(page):
    """The cases of ``minidl bench`` and the machine, from the tables of benchmarks/training.py."""
    lines = page.splitlines()
    columns = [cell.strip().removesuffix(", ms") for cell in lines[0].strip("|").split("|")]
    cases = {}
    for line in lines[2 : lines.index("")]:
        cells = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|"))))
        times = {name: float(cells[name]) for name in ("minidl", "minidl.compile", *TORCH) if cells.get(name, "-") != "-"}
        best = min(times[name] for name in TORCH if name in times)
        found = {"minidl": times["minidl"], "minidl.compile": times["minidl.compile"], "PyTorch": best}
        cases[f"{cells['case']}, batch {cells['batch']}"] = found
    about = dict(line.removeprefix("* ").split(": ", 1) for line in page.strip().split("\n\n")[-1].splitlines())
    return {"machine": about, "cases": {case.name: cases[case.name] for case in CASES}}


def content():
    """Of the file."""
    page = (environment.DOCS / "training-results.md").read_text(encoding="utf-8")
    return json.dumps(recorded(page), indent=2) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="write nothing, only say what would be written")
    args = parser.parse_args()
    if args.smoke:
        print(content())
    else:
        RECORDED.write_text(content(), encoding="utf-8")


if __name__ == "__main__":
    main()
