"""``minidl bench``: training steps on this machine beside recorded ones, in less than a minute."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from minidl_doctor import cores, processor

from .. import __version__, backend, compile, get_num_threads, randint, randn, set_num_threads
from ..kernels import cpu as cpu_kernels
from ..nn import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, Tanh
from ..nn.functional import cross_entropy, mse_loss
from ..nn.pooling import AdaptiveAvgPool2d
from ..optim import SGD
from ..vision.models.resnet import BasicBlock, conv1x1, conv3x3

RECORDED = Path(__file__).with_name("recorded.json")  # benchmarks/recorded.py writes it

# -- the networks of benchmarks/training.py


def cifar_network() -> Module:
    """Two convolutions and two linear layers: the network of the CIFAR-10 example."""
    first = Conv2d(3, 32, 3, padding=1), ReLU(), MaxPool2d(2)
    second = Conv2d(32, 64, 3, padding=1), ReLU(), MaxPool2d(2)
    return Sequential(*first, *second, Flatten(), Linear(4096, 512), ReLU(), Linear(512, 10))


def resnet20() -> Module:
    """He et al., 2016, for 32 x 32 pictures: three stages of three blocks, with 16, 32 and 64 channels."""
    blocks = [BasicBlock(16, 16) for _ in range(3)]
    for c in (32, 64):
        shortcut = Sequential(conv1x1(c // 2, c, 2), BatchNorm2d(c))
        blocks += [BasicBlock(c // 2, c, 2, shortcut), BasicBlock(c, c), BasicBlock(c, c)]
    return Sequential(conv3x3(3, 16), BatchNorm2d(16), ReLU(), *blocks, AdaptiveAvgPool2d(1), Flatten(), Linear(64, 10))


def tiny_mlp() -> Module:
    """2-16-16-1 with tanh: nothing but overhead."""
    return Sequential(Linear(2, 16), Tanh(), Linear(16, 16), Tanh(), Linear(16, 1))


class Case(NamedTuple):
    """A training step, by the name that the recorded ones go by."""

    name: str
    network: Callable[[], Module]
    loss: Callable[..., Any]
    batch: Callable[[], tuple[Any, Any]]


CASES = [
    Case(
        "CIFAR network, training step, batch 100",
        cifar_network,
        cross_entropy,
        lambda: (randn(100, 3, 32, 32), randint(0, 10, (100,))),
    ),
    Case(
        "ResNet-20, training step, batch 128", resnet20, cross_entropy, lambda: (randn(128, 3, 32, 32), randint(0, 10, (128,)))
    ),
    Case("MLP 2-16-16-1, training step, batch 16", tiny_mlp, mse_loss, lambda: (randn(16, 2), randn(16, 1))),
]


def measure(case: Case, compiled: bool, seconds: float) -> float:
    """The median of a step's time, in milliseconds."""
    net = case.network()
    optimizer = SGD(net.parameters(), lr=0.001, momentum=0.9)
    x, y = case.batch()
    forward = compile(net) if compiled else net

    def step() -> None:
        optimizer.zero_grad()
        case.loss(forward(x), y).backward()
        optimizer.step()

    for _ in range(3):  # the memory is fetched, and the program learned
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


# -- the machine, to be written beside a figure


def blas() -> str:
    """Name, version, kernels and threads of NumPy's BLAS."""
    for i in threadpoolctl.threadpool_info():
        if i["user_api"] == "blas" and "numpy" in i["filepath"]:
            return f"{i['internal_api']} {i['version']}, {i.get('architecture', 'unknown')} kernels, {i['num_threads']} threads"
    built: Any = np.show_config(mode="dicts")  # of one that threadpoolctl does not know
    found = built["Build Dependencies"]["blas"]
    return f"{found['name']} {found.get('version', '')}, kernels and threads unknown"


def machine() -> dict[str, str]:
    """The machine and the libraries that a figure is measured with."""
    held = {name: os.environ[name] for name in os.environ if name.startswith(("OPENBLAS_", "OMP_", "MKL_", "MALLOC_"))}
    return {
        "Processor": f"{processor()}, {cores()} cores",
        "System": platform.platform(terse=True),
        "Python": platform.python_version(),
        "minidl": f"{__version__}, {get_num_threads()} threads",
        "Loops": "NumPy's" if backend.cpu.kernels is cpu_kernels else "compiled by Numba",
        "NumPy": np.__version__,
        "BLAS": blas(),
        "Set from outside": ", ".join(f"{name}={value}" for name, value in sorted(held.items())) or "nothing",
    }


# -- the program


def line(name: str, figures: list[float], recorded: dict[str, float]) -> str:
    """A case: here, recorded, and how many times as long it takes here."""
    beside = [recorded.get("minidl"), recorded.get("minidl.compile"), recorded.get("PyTorch")]
    numbers = [f"{t:9.2f}" for t in figures] + [f"{'-':>9}" if t is None else f"{t:9.2f}" for t in beside]
    ratio = f"{figures[0] / beside[0]:7.2f}" if beside[0] else f"{'-':>7}"
    return f"{name:42}" + "".join(numbers) + ratio


def run(seconds: float, threads: int | None = None) -> int:
    """Measure and print all cases; 0."""
    if threads is not None:
        set_num_threads(threads)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(f"\n{'milliseconds':42}{'here':>18}{'recorded':>27}{'here /':>7}")
    names = "minidl", "compile", "minidl", "compile", "PyTorch"
    print(f"{'':42}" + "".join(f"{name:>9}" for name in names) + f"{'rec.':>7}")
    for case in CASES:
        figures = [measure(case, compiled, seconds) for compiled in (False, True)]
        print(line(case.name, figures, recorded["cases"].get(case.name, {})), flush=True)
    print("\nRecorded, PyTorch in its quickest form, on:\n" + "\n".join(f"  {k}: {v}" for k, v in recorded["machine"].items()))
    return 0
