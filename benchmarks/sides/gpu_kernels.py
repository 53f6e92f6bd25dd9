"""What a GPU's time goes to in a training step, kernel by kernel: a stage of gpu_check.py.

minidl's own launches are timed in the step as it is written, each between two events. The GPU is kept busy with something else
first, so that a launch waits for no host. A kernel then looks one or two microseconds longer than it is, and what CuPy launches
by itself is not seen. Where PyTorch is, its profiler also has NVIDIA's recorder (CUPTI) write down whatever this process has
the GPU do: so captured steps are repeated and seen as they are, with what CuPy and cublasLt launch.
"""

import contextlib
import os
import statistics
import sys

from . import gpu_precision, gpu_steps

FOR_PICTURES = ("float32", "TF32", "bfloat16")
CAPTURED = ", captured"  # ends the name of a row by the recorder
STEPS = 20  # that are looked at
LAUNCHES = 3000  # in all, if there are so many in a step that these are fewer steps


@contextlib.contextmanager
def launches(around):
    """Inside, ``around(name, run)`` is called for each launch of minidl's: its kernels by file and name, and products."""
    from minidl.kernels.cuda import cublaslt, loader

    launch, product = loader.launch, cublaslt.Plan.run
    users = [m for name, m in sys.modules.items() if name.startswith("minidl.kernels.cuda.") and hasattr(m, "launch")]

    def logged(file, name, *args, **options):
        return around(f"{file}.{name}", lambda: launch(file, name, *args, **options))

    try:
        for module in users:
            module.launch = logged
        cublaslt.Plan.run = lambda plan, *places: around("cublasLt", lambda: product(plan, *places))
        yield
    finally:
        for module in users:
            module.launch = launch
        cublaslt.Plan.run = product


def names_of(step):
    """The launches of one step."""
    found = []
    with launches(lambda name, run: (found.append(name), run())[1]):
        step()
    return found


def between_events(step, small):
    """(name, microseconds) of minidl's launches in some steps."""
    import cupy

    marks = []

    def timed(name, run):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        out = run()
        end.record()
        marks.append((name, start, end))
        return out

    block = cupy.ones(16 if small else 1 << 26, "float32")  # 256 MiB, read and written in a tenth of a millisecond or more ...
    busy = 3 * len(names_of(step))  # ... which is about what the host takes for a launch
    n = 1 if small else max(1, min(STEPS, 3 * LAUNCHES // busy))
    for _ in range(n):
        for _ in range(busy):
            block *= 1
        with launches(timed):
            step()
    cupy.cuda.Device().synchronize()
    return [(name, 1e3 * cupy.cuda.get_elapsed_time(start, end)) for name, start, end in marks], n


def by_recorder(step):
    """(name, microseconds) of all that the GPU does in some steps, as PyTorch's profiler tells."""
    import torch

    os.environ |= {"TEARDOWN_CUPTI": "0", "DISABLE_CUPTI_LAZY_REINIT": "1"}  # or graphs break its second recording
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    return [(e.name, e.time_range.elapsed_us()) for e in seen.events() if e.device_type.name == "CUDA"], STEPS


def told_apart(name, launched):
    """A recorder's name of a kernel with its file, where minidl launches one so called; else so much of it as fits."""
    own = sorted({full for full in launched if full.split(".")[-1] == name})
    return " or ".join(own) or name[:60]


def table(found, n_steps):
    """By name, the longest in a step first: launches in a step, median microseconds of one, and the share of all."""
    times = {}
    for name, us in found:
        times.setdefault(name, []).append(us)
    whole = sum(map(sum, times.values()))
    rows = [
        {
            "name": name,
            "launches": round(len(us) / n_steps, 2),
            "us": round(statistics.median(us), 2),
            "share": round(sum(us) / max(whole, 1e-9), 4),
        }
        for name, us in times.items()
    ]
    return {"us of a step": round(whole / n_steps, 1), "kernels": sorted(rows, key=lambda row: -row["share"])}


def measure(sides, title, precision, small, captured):
    """A row."""
    device, half = sides["minidl"][2], precision == "bfloat16"
    with gpu_precision.products_in(sides["minidl"][0], device, "TF32" if precision == "TF32" else "float32"):
        step = gpu_steps.Step("minidl", device, title, small, "as written", half)
        for _ in range(1 if small else 3):
            step()
        launched = names_of(step)
        if captured:
            step = gpu_steps.Step("minidl", device, title, small, "captured", half)
            step.losses()
        found, n = by_recorder(step) if captured else between_events(step, small)
    if not found:
        return {"ok": True, "skipped": "nothing was written down"}
    return {"ok": True, **table([(told_apart(name, launched), us) for name, us in found], n)}


def run(sides, small, tried):
    """All rows: the CIFAR network in each precision, and two networks that are not quick yet. The recorder comes last, since
    what it does in a process cannot be undone.
    """
    cases = [(title, precision) for title in gpu_steps.PICTURES for precision in FOR_PICTURES]
    cases += [(title, "float32") for title in ("ResNet-20, batch 128", "LSTM on characters, 32 x 128")]
    for captured in (False, True) if "PyTorch" in sides and sides["PyTorch"][2] == "cuda" else (False,):
        for title, precision in cases[:1] if small else cases:
            name = f"{title}, {precision}" + CAPTURED * captured
            tried("kernel_times", name, lambda: measure(sides, title, precision, small, captured))  # noqa: B023
