"""The processes of gpu_check.py: how a stage tells what it has found out, and how the program that starts it keeps that.

A stage's rows are lines of JSON, which are read as they come. So none is lost when the stage breaks, hangs or has no more time.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from importlib.util import find_spec
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent
MISSING = [name for name in ("safetensors", "threadpoolctl") if not find_spec(name)]
PATHS = [str(ROOT), *([str(BENCHMARKS / "bare")] if MISSING else [])]  # for this process and those of the stages
SPOILED = 75  # the exit status of a stage whose process can do no more on the GPU
PATIENCE = 120  # seconds that a row may take, with the kernels and PyTorch's graphs that it has translated
MOST_TESTS_AT_ONCE = 8

# -- in a stage

done = set()  # the rows that a process before this one has reported


def report(**row):
    """A row for the parent process, on a line of its own whatever was printed before."""
    print("\nROW " + json.dumps(row), flush=True)


def tried(stage, name, function):
    """Report what ``function()`` finds out, or how it failed."""
    if name in done:
        return
    print("\nTRIES " + name, flush=True)
    start = time.perf_counter()
    try:
        found = function()
    except Exception as error:
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:600]}
    report(stage=stage, name=name, seconds=round(time.perf_counter() - start, 2), **found)
    if not found["ok"] and spoiled():
        os._exit(SPOILED)  # what is done at an ordinary exit may wait for the GPU


def spoiled():
    """Whether there was an error, such as a wrong address, after which CUDA refuses all that this process asks for."""
    import cupy

    try:
        cupy.cuda.Device().synchronize()
    except Exception:
        return True
    return False


# -- beside it


class Clock:
    """What is left of the time: nothing, once somebody has interrupted."""

    def begin(self, seconds):
        self.start = time.perf_counter()
        self.end = self.start + seconds

    def left(self):
        return self.end - time.perf_counter()

    def passed(self):
        return round(time.perf_counter() - self.start, 1)

    def stop(self):
        self.end = time.perf_counter()


clock = Clock()


def limited(command, seconds, heard=lambda line: None, patience=float("inf")):
    """What a command prints, each line also to ``heard`` at once, and its exit status: None if it had to be stopped, after
    so many ``seconds``, or since it printed nothing for longer than ``patience``.
    """
    inside = {**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    lines, end = [], time.perf_counter() + max(seconds, 1)
    last = time.perf_counter()

    def read():
        nonlocal last
        with process.stdout as said:
            for line in said:
                last = time.perf_counter()
                lines.append(line)
                heard(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code = None
    try:
        while code is None and (left := min(end, last + patience) - time.perf_counter()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(left)
    except KeyboardInterrupt:
        clock.stop()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its children, too
    reader.join(2)  # and not until all is read: a child with a session of its own may keep the pipe open
    process.wait()
    return "".join(lines), code


def run_stage(stage, command, limit, add):
    """Run a stage that is no tests, ``add`` its rows as they come: in a process and, if that is spoiled or hangs, in others."""
    start, found, now = time.perf_counter(), set(), None

    def left():
        return min(limit - (time.perf_counter() - start), clock.left())

    def heard(line):
        nonlocal now
        if line.startswith("TRIES "):
            now = line[6:].rstrip("\n")
        if line.startswith("ROW "):
            with contextlib.suppress(ValueError):  # of a line that was cut off
                row = json.loads(line[4:])
                found.add(row["name"])
                add(row)

    code, before = SPOILED, -1
    while code == SPOILED and len(found) > before:
        before = len(found)
        output, code = limited([*command, "--done", json.dumps([*found])], left(), heard, PATIENCE)
        if code is None and left() > 1 and now not in found | {None}:  # it hangs
            code = SPOILED
            found.add(now)
            add({"stage": stage, "name": now, "ok": False, "error": f"nothing was heard of it for {PATIENCE} s"})
    rest = {"stage": stage, "name": "the rest", "seconds": round(time.perf_counter() - start, 2)}
    if code is None:
        add({**rest, "ok": True, "stopped": f"after {rest['seconds']:.0f} s"})
    elif code:
        add({**rest, "ok": False, "error": output[-1500:]})


def run_tests(name, files, options, limit):
    """A row with how many tests passed and which failed, also of those that ran before the time was over."""
    counts, failed = {"passed": 0, "failed": 0, "skipped": 0}, []
    result = Path(tempfile.gettempdir()) / f"gpu-check-{os.getpid()}.xml"
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={result}", *options]
    command += ["-W", "default"]  # of libraries in versions that nobody has tried yet, a warning is no failure
    if find_spec("xdist") and "-k" not in options:
        command += ["-n", str(min(MOST_TESTS_AT_ONCE, len(os.sched_getaffinity(0))))]
    files = [file for file in files if not (MISSING and file == "test_serialization.py")]
    start = time.perf_counter()
    output, code = limited([*command, *(f"tests/{file}" for file in files)], limit)
    seconds = round(time.perf_counter() - start, 1)
    row = {"stage": "suite" if "--device" in options else "kernels", "name": name, "seconds": seconds}
    try:
        for case in xml.parse(result).iter("testcase"):
            kinds = {child.tag for child in case}
            kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            counts[kind] += 1
            if kind == "failed":
                failed.append({"test": f"{case.get('classname')}.{case.get('name')}", "said": said(case)})
    except (OSError, xml.ParseError):  # it was stopped, or broke, before all of this was written: what was printed is left
        for word, kind in (("PASSED", "passed"), ("SKIPPED", "skipped")):
            counts[kind] = len(re.findall(rf"\b{word}\b", output))
        lines = [line for line in output.splitlines() if re.search(r"\b(FAILED|ERROR)\b", line)]
        counts["failed"], failed = len(lines), [{"test": line[:200], "said": "how is not known"} for line in lines]
        if code is not None:
            failed.append({"test": "pytest", "said": output[-1500:]})
    result.unlink(missing_ok=True)
    if code is None:
        row["stopped"] = f"after {seconds:.0f} s"
    return {**row, **counts, "ok": not failed, "failures": failed[:40]}


def said(case):
    texts = [child.get("message") or child.text or "" for child in case if child.tag in ("failure", "error")]
    return " ".join(texts)[:400]
