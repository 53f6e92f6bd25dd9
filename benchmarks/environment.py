"""The machine and the libraries that a figure was measured with, to be written beside it; and how it is written.

python benchmarks/environment.py
"""

import argparse
import importlib.metadata
from pathlib import Path

from minidl.bench import machine
from minidl_doctor import cores, processor

__all__ = ["DOCS", "cores", "describe", "head", "processor", "row", "write"]

DOCS = Path(__file__).resolve().parent.parent / "docs"


def version(package):
    """The version of a package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe():
    """All of it, a line each."""
    lines = machine()
    outside = lines.pop("Set from outside")
    lines |= {"Numba": version("numba"), "PyTorch": version("torch"), "Set from outside": outside}
    return "\n".join(f"* {name}: {value}" for name, value in lines.items())


def head(*columns):
    """The first two lines of a table: the first column holds words, the others numbers."""
    return [row(*columns), "| --- |" + " ---: |" * (len(columns) - 1)]


def row(*cells):
    """A line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def write(path, *blocks):
    """Blocks of lines, and below them the machine, into a file."""
    blocks = ["\n".join(block) for block in (*blocks, [describe()]) if block]
    Path(path).write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="the same: it takes no time")
    parser.parse_args()
    print(describe())
