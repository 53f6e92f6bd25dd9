"""The machine and the libraries that a figure was measured with, to be written beside it; and how it is written.

python benchmarks/environment.py
"""

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path

import numpy as np
import threadpoolctl

import minidl

DOCS = Path(__file__).resolve().parent.parent / "docs"


def processor():
    """The processor's name, as far as the platform tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def blas():
    """Name, version, kernels and threads of NumPy's BLAS."""
    for i in threadpoolctl.threadpool_info():
        if i["user_api"] == "blas" and "numpy" in i["filepath"]:
            return f"{i['internal_api']} {i['version']}, {i.get('architecture', 'unknown')} kernels, {i['num_threads']} threads"
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # one that threadpoolctl does not know
    return f"{built['name']} {built.get('version', '')}, kernels and threads unknown"


def torch_version():
    """PyTorch's version, without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe():
    """All of it, a line each."""
    held = {name: os.environ[name] for name in os.environ if name.startswith(("OPENBLAS_", "OMP_", "MKL_", "MALLOC_"))}
    lines = {
        "Processor": f"{processor()}, {cores()} cores",
        "System": platform.platform(terse=True),
        "Python": platform.python_version(),
        "minidl": f"{minidl.__version__}, {minidl.get_num_threads()} threads",
        "NumPy": np.__version__,
        "BLAS": blas(),
        "PyTorch": torch_version(),
        "Set from outside": ", ".join(f"{name}={value}" for name, value in sorted(held.items())) or "nothing",
    }
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
