"""The program ``minidl``: ``minidl doctor`` looks at all that minidl needs and says what would mend it.

It stands beside the package and imports nothing but the standard library, so that it answers also where the package cannot be
imported. Each library is looked at in a process of its own, which may crash or hang.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

OLDEST_PYTHON = (3, 10)
NEEDED = {"numpy": (2, 0), "safetensors": (0, 4), "threadpoolctl": (3,)}
PATIENCE = 60  # seconds for a library to answer
CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
GIB = 1 << 30


class Finding(NamedTuple):
    """What was found: ``state`` is ``ok``, ``hint`` (it works, and could do better), ``none`` (not there) or ``bad``."""

    what: str
    state: str
    said: str
    mend: tuple[str, ...] = ()  # commands


MARKS = {"ok": "ok", "hint": " i", "none": " -", "bad": "!!"}


def command(*words: object) -> str:
    """A line for the shell; what it would take apart or understand stands in quotes."""
    return " ".join(f'"{word}"' if re.search(r"[^\w./:\\=+-]", str(word)) else str(word) for word in words)


def pip(*arguments: str) -> str:
    """A command for the pip of this Python."""
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    return command(python, "-m", "pip", *arguments)


def unset(name: str) -> str:
    """A command that takes a variable out of the environment."""
    return f"set {name}=" if os.name == "nt" else f"unset {name}"


def pip_own(extra: str = "") -> str:
    """The command that installs minidl, with an extra: from its sources, if they are here."""
    folder = Path(__file__).resolve().parent
    extra = f"[{extra}]" if extra else ""
    return pip("install", "-e", f"{folder}{extra}") if (folder / "setup.cfg").exists() else pip("install", f"minidl{extra}")


# -- asking a library, in a process of its own


class Answer(NamedTuple):
    """What a library told, or what went wrong."""

    told: dict[str, Any]
    wrong: str = ""


def ask(code: str, patience: float = PATIENCE, **environment: str) -> Answer:
    """Run ``code``, which calls ``tell(name=value, ...)`` with what it has found."""
    begin = 'import json\ndef tell(**told):\n    print("\\ntold:" + json.dumps(told), flush=True)\n'
    try:
        ran = subprocess.run(
            [sys.executable, "-c", begin + textwrap.dedent(code)],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=patience,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        return Answer({}, f"gave no answer in {patience:g} s")
    except OSError as error:
        return Answer({}, str(error))
    told: dict[str, Any] = {}
    for line in ran.stdout.splitlines():
        if line.startswith("told:"):
            with contextlib.suppress(ValueError):
                told.update(json.loads(line.removeprefix("told:")))
    if ran.returncode == 0:
        return Answer(told, "" if told else "ended without an answer")
    if ran.returncode < 0:
        with contextlib.suppress(ValueError):
            return Answer(told, f"crashed: {signal.Signals(-ran.returncode).name}")
    last = [line.strip() for line in ran.stderr.splitlines() if line.strip()][-1:]
    return Answer(told, last[0] if last else f"ended with status {ran.returncode}")


def versions(name: str) -> list[str]:
    """The versions of a distribution that are installed: one, if all is well."""
    found = {}
    for d in importlib.metadata.distributions(name=name):
        with contextlib.suppress(Exception):  # a damaged one
            found[str(getattr(d, "_path", d.version))] = d.version
    return list(found.values())


def numbers(version: str) -> tuple[int, ...]:
    """``2.4.6rc1`` as ``(2, 4, 6)``."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


# -- the machine


def processor() -> str:
    """The processor's name, as far as the platform tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> tuple[int, int]:
    """Bytes of memory in all, and of those that are free; 0 where the platform does not tell."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
        return tuple(int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]
    if hasattr(ctypes, "windll"):
        fields: list[tuple[str, Any]] = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)]
        names = "total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "more"
        fields += [(name, ctypes.c_ulonglong) for name in names]
        status = type("MemoryStatus", (ctypes.Structure,), {"_fields_": fields})()
        status.length = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return status.total, status.free
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0
    return 0, 0


def check_python() -> Iterator[Finding]:
    """The interpreter."""
    said = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        mend = f"python{wanted} -m venv minidl-env", 'minidl-env/bin/python -m pip install "minidl"'
        yield Finding("Python", "bad", f"{said}: minidl wants {wanted} or later", mend)
    else:
        free = not getattr(sys, "_is_gil_enabled", lambda: True)()
        yield Finding("Python", "ok", said + (", free-threaded" if free else ""))


def check_machine() -> Iterator[Finding]:
    """Cores and memory."""
    yield Finding("System", "ok", platform.platform(terse=True))
    most = os.cpu_count() or 1
    said = f"{processor()}, {cores()} cores" + (f" of {most} for this process" if cores() < most else "")
    yield Finding("Processor", "ok", said)
    total, free = memory()
    if not total:
        yield Finding("Memory", "none", "the system does not say how much there is")
        return
    said = f"{total / GIB:.1f} GiB" + (f", {free / GIB:.1f} GiB of them free" if free else "")
    if 0 < free < GIB:
        mend = ("python examples/cifar10.py --batch-size 32",)
        yield Finding("Memory", "hint", f"{said}: little for training; close other programs, or take smaller batches", mend)
    else:
        yield Finding("Memory", "ok", said)


# -- what minidl cannot do without


def belongs(file: Path, name: str) -> bool:
    """Whether a file lies where a distribution of that name was installed."""
    folders = {Path(str(d.locate_file(""))).resolve() for d in importlib.metadata.distributions(name=name)}
    return not folders.isdisjoint(file.resolve().parents)


def check_needed() -> Iterator[Finding]:
    """NumPy and the two small packages: there, once, new enough, and not hidden by a file of the same name."""
    for name, oldest in NEEDED.items():
        wanted = f"{name}>={'.'.join(map(str, oldest))}"
        again = pip("install", "--force-reinstall", wanted)
        answer = ask(f"""
            import importlib.util
            tell(file=getattr(importlib.util.find_spec("{name}"), "origin", None) or "")
            import {name}
            tell(version=str({name}.__version__))
        """)
        file, found = Path(answer.told.get("file", "")), versions(name)
        own = file.parent if file.name == "__init__.py" else file
        stray = own.is_absolute() and answer.told.get("version") not in found and not belongs(own, name)
        if "version" not in answer.told and not found:
            yield Finding(name, "bad", "not installed", (pip("install", wanted),))
        elif own.parent == Path.cwd() or stray:
            said = f"{own} stands in the way of the package of that name; give it another name"
            move = command("move" if os.name == "nt" else "mv", own, own.with_name(f"my_{own.name}"))
            yield Finding(name, "bad", said, (move,))
        elif "version" not in answer.told:
            yield Finding(name, "bad", f"{found[0]} is installed but cannot be imported: {answer.wrong}", (again,))
        elif len(found) > 1:
            said = f"installed more than once, as {' and '.join(found)}"
            yield Finding(name, "bad", said, (pip("uninstall", "-y", name), again))
        elif numbers(answer.told["version"]) < oldest:
            said = f"{answer.told['version']} is too old"
            yield Finding(name, "bad", said, (pip("install", "--upgrade", wanted),))
        else:
            yield Finding(name, "ok", answer.told["version"])


def check_minidl() -> Iterator[Finding]:
    """The package itself, in a process of its own."""
    code = "import minidl\ntell(version=minidl.__version__, file=minidl.__file__, threads=minidl.get_num_threads())"
    answer = ask(code, MINIDL_COMPILED="0")  # Numba is looked at by itself
    installed = versions("minidl")
    if "version" not in answer.told:
        where = "cannot be imported" if installed else "not found"
        yield Finding("minidl", "bad", f"{where}: {answer.wrong}", (pip_own(),))
        return
    said = f"{answer.told['version']}, {answer.told['threads']} threads, {Path(answer.told['file']).parent}"
    if len(installed) > 1 or (installed and installed[0] != answer.told["version"]):
        said += f"; {' and '.join(installed)} installed besides"
        yield Finding("minidl", "hint", said, (pip("uninstall", "-y", "minidl"), pip_own()))
    else:
        yield Finding("minidl", "ok", said)


def check_blas() -> Iterator[Finding]:
    """NumPy's BLAS: which, with what kernels, how many threads, and whether its products are right."""
    answer = ask("""
        import numpy, threadpoolctl
        draw = numpy.random.default_rng(0).normal
        a, b = draw(size=(97, 131)).astype("f4"), draw(size=(131, 61)).astype("f4")
        right = (a[:, :, None].astype("f8") * b).sum(1)
        tell(off=float(abs(a @ b - right).max()))
        tell(found=[i for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"])
    """)
    told, forced = answer.told, os.environ.get("OPENBLAS_CORETYPE")
    if "found" not in told:
        mend = unset("OPENBLAS_CORETYPE") if forced else pip("install", "--force-reinstall", "numpy>=2.0")
        yield Finding("BLAS", "bad", f"a product of two matrices fails: {answer.wrong}", (mend,))
        return
    about = "{internal_api} {version}, {architecture} kernels, {num_threads} threads"
    words = [about.format_map({"architecture": "unknown", **found}) for found in told["found"]]
    said = "; ".join(words) or "one that does not tell its name"
    if not told["off"] < 1e-3:  # NaN too
        keep = f"{'set' if os.name == 'nt' else 'export'} OPENBLAS_CORETYPE=Haswell"
        first = unset("OPENBLAS_CORETYPE") if forced else keep
        said += f": its products are wrong (by {told['off']:g})"
        yield Finding("BLAS", "bad", said, (first, pip("install", "--upgrade", "numpy")))
    elif forced:
        said += f", as OPENBLAS_CORETYPE={forced} wants it; others may be quicker"
        yield Finding("BLAS", "hint", said, (unset("OPENBLAS_CORETYPE"),))
    else:
        yield Finding("BLAS", "ok", said)


def check_loops() -> Iterator[Finding]:
    """Numba, of the extra ``fast``: there, used, and whether a loop that it compiles is right."""
    found, install = versions("numba"), pip_own("fast")
    if not found:
        yield Finding("Numba", "none", "not installed: NumPy's loops run, not compiled ones", (install,))
        return
    if os.environ.get("MINIDL_COMPILED") == "0":
        said = f"{found[0]}, which is not used, as MINIDL_COMPILED=0 wants it"
        yield Finding("Numba", "hint", said, (unset("MINIDL_COMPILED"),))
        return
    answer = ask("""
        import numpy
        from minidl.kernels import compiled
        x = numpy.linspace(-9, 9, 600, dtype="f4").reshape(6, 100)
        right = numpy.exp(x.astype("f8"))
        right /= right.sum(1, keepdims=True)
        tell(off=float(abs(compiled.softmax(x, 1) - right).max()))
    """)
    mend = pip("uninstall", "-y", "numba"), install
    if "off" not in answer.told:
        yield Finding("Numba", "bad", f"{found[0]} is installed but compiles no loop: {answer.wrong}", mend)
    elif not answer.told["off"] < 1e-5:  # NaN too
        yield Finding("Numba", "bad", f"{found[0]}: a loop that it compiled is wrong (by {answer.told['off']:g})", mend)
    else:
        yield Finding("Numba", "ok", f"{found[0]}, compiled loops are used")


# -- GPUs


def drivers() -> list[str]:
    """The NVIDIA GPUs: name, driver and memory, as ``nvidia-smi`` says."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return []
    command = [found, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
        if ran.returncode == 0:
            return [line.strip() for line in ran.stdout.splitlines() if line.count(",") == 2]
    return []


def extra_for(gpus: Iterable[str]) -> str | None:
    """The extra whose CuPy fits the driver; None if the driver is too old."""
    major = min((numbers(gpu.split(",")[1])[0] for gpu in gpus), default=0)
    return "cuda13" if major >= 580 else "cuda12" if major >= 525 else None


WHEELS = "cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0"
NEW_DRIVER = "https://www.nvidia.com/drivers"


def check_gpu() -> Iterator[Finding]:
    """NVIDIA's driver and CuPy: there, once, of one kind, and able to compute."""
    gpus = drivers()
    fits = extra_for(gpus)
    if gpus and fits is None:
        yield Finding("GPU", "bad", f"{gpus[0]}: the driver is too old, 525 is wanted", (NEW_DRIVER,))
    else:
        yield Finding("GPU", "ok" if gpus else "none", "; ".join(gpus) or "no NVIDIA GPU (nvidia-smi finds none)")
    installed = [(name, version) for name in WHEELS for version in versions(name)[:1]]
    said = " and ".join(f"{name} {version}" for name, version in installed)
    again = pip_own(fits or "cuda13")
    if not installed:
        wanted = (again,) if fits else ()
        yield Finding("CuPy", "hint" if fits else "none", "not installed" + (": the GPU is not used" if fits else ""), wanted)
        return
    mend = pip("uninstall", "-y", *(name for name, _ in installed)), again
    if len(installed) > 1:
        yield Finding("CuPy", "bad", f"{said} are installed, which overwrite each other", mend)
        return
    answer = ask("""
        import cupy
        runtime = cupy.cuda.runtime
        tell(version=cupy.__version__, cuda=runtime.runtimeGetVersion())
        tell(count=runtime.getDeviceCount())
        tell(sum=int((cupy.arange(5) ** 2).sum()))
    """)
    told = answer.told
    if "version" not in told:
        yield Finding("CuPy", "bad", f"{said} cannot be imported: {answer.wrong}", mend)
    elif not told.get("count"):
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        said += f" finds no GPU ({answer.wrong or 'none is there'})"
        if gpus and hidden is not None:
            yield Finding("CuPy", "bad", f"{said}: CUDA_VISIBLE_DEVICES is {hidden!r}", (unset("CUDA_VISIBLE_DEVICES"),))
        else:
            yield Finding("CuPy", "bad" if gpus else "hint", said, mend if gpus else (pip("uninstall", "-y", installed[0][0]),))
    elif told.get("sum") != 30:
        yield Finding("CuPy", "bad", f"{said} sees {told['count']} GPUs but cannot compute: {answer.wrong or told}", mend)
    else:
        yield Finding("CuPy", "ok", f"{said}, CUDA {told['cuda'] // 1000}.{told['cuda'] % 1000 // 10}, {told['count']} GPUs")


# -- many machines


def check_mpi() -> Iterator[Finding]:
    """mpi4py, the MPI library that it finds, and an ``mpiexec`` of the same kind."""
    install = pip_own("mpi")
    if not versions("mpi4py"):
        yield Finding("mpi4py", "none", "not installed: one process only, however many cores and GPUs", (install,))
        return
    answer = ask("""
        import mpi4py
        mpi4py.rc.initialize = False
        from mpi4py import MPI
        tell(version=mpi4py.__version__, library=MPI.Get_library_version())
    """)
    if "library" not in answer.told:
        said = f"{versions('mpi4py')[0]} finds no MPI library: {answer.wrong}"
        yield Finding("mpi4py", "bad", said, (install,))
        return
    library = " ".join(answer.told["library"].split())[:60]
    said = f"{answer.told['version']}, {library}"
    beside = str(Path(sys.executable).parent)
    starter = next((f for f in (shutil.which("mpiexec"), shutil.which("mpiexec", path=beside)) if f), None)
    if starter is None:
        yield Finding("mpi4py", "bad", f"{said}; but there is no mpiexec to start ranks with", (install,))
        return
    version = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        version = subprocess.run(
            [starter, "--version"], capture_output=True, text=True, errors="replace", timeout=PATIENCE
        ).stdout
    open_mpi = "Open MPI" in library
    if version and open_mpi != ("open" in version.lower().split("\n")[0] and "mpi" in version.lower()):
        mend = "sudo apt-get install openmpi-bin" if open_mpi else install
        said = f"{said}; but {starter} is of another MPI: each rank would think that it is alone"
        yield Finding("mpi4py", "bad", said, (mend,))
    else:
        yield Finding("mpi4py", "ok", f"{said}; {starter}")


# -- what is optional, and data


def check_extras() -> Iterator[Finding]:
    """Which of the extras are complete."""
    try:
        wanted = importlib.metadata.requires("minidl") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("Extras", "hint", "minidl is not installed, only found", (pip_own(),))
        return
    extras: dict[str, list[str]] = {}
    for line in wanted:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w.-]+)['\"]", line)
        if name and extra:
            extras.setdefault(extra[1], []).append(name[0])
    ready = [extra for extra, names in extras.items() if all(map(versions, names))]
    others = [extra for extra in extras if extra not in ready]
    yield Finding("Extras", "ok", f"installed: {', '.join(sorted(ready)) or 'none'}")
    if others:
        yield Finding("Extras", "none", f"not, or not wholly: {', '.join(sorted(others))}", (pip_own("NAME"),))


def check_data() -> Iterator[Finding]:
    """The data sets in the folder ``data``, where the examples look."""
    folder, tarball = Path("data", "cifar-10-batches-py"), Path("data", "cifar-10-python.tar.gz")
    fetch = f"curl --create-dirs -o {tarball.as_posix()} {CIFAR}"
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    missing = [name for name in files if not (folder / name).is_file()]
    if folder.is_dir() and missing:
        remove = f"rmdir /s /q {folder}" if os.name == "nt" else f"rm -r {folder}"
        mend = (remove,) if tarball.is_file() else (remove, fetch)
        yield Finding("CIFAR-10", "bad", f"{folder.resolve()} lacks {', '.join(missing)}", mend)
    elif folder.is_dir() or tarball.is_file():
        yield Finding("CIFAR-10", "ok", str((folder if folder.is_dir() else tarball).resolve()))
    else:
        said = f"not in {Path('data').resolve()}; the examples take pictures that minidl draws itself"
        yield Finding("CIFAR-10", "none", said, (fetch,))
    digits = versions("scikit-learn")
    if digits:
        yield Finding("Digits", "ok", f"with scikit-learn {digits[0]}")
    else:
        said = "wants scikit-learn; examples/digits_rnn.py reads it"
        yield Finding("Digits", "none", said, (pip_own("digits"),))


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    check_python, check_machine, check_needed, check_minidl, check_blas, check_loops, check_gpu, check_mpi, check_extras,
    check_data,
]  # fmt: skip


def safely(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a check finds; if it fails itself, that."""
    found = []
    try:
        for finding in check():
            found.append(finding)
    except Exception as error:
        said = f"could not be looked at: {type(error).__name__}: {error}"
        found.append(Finding(check.__name__.removeprefix("check_"), "hint", said))
    return found


def report(finding: Finding) -> str:
    """A finding as lines of text."""
    gap = " " * 20
    lines = textwrap.wrap(finding.said, 100, break_long_words=False, break_on_hyphens=False) or [""]
    first = f"{MARKS[finding.state]:>4}  {finding.what:13} {lines[0]}"
    return "\n".join([first, *(gap + line for line in lines[1:]), *(f"{gap}  $ {command}" for command in finding.mend)])


def doctor() -> int:
    """Look at everything and print it; 1 if something is bad, else 0."""
    with ThreadPoolExecutor(len(CHECKS)) as threads:
        findings = [finding for found in threads.map(safely, CHECKS) for finding in found]
    print("\n".join(map(report, findings)))
    bad = [finding.what for finding in findings if finding.state == "bad"]
    said = f"{len(bad)} to mend: {', '.join(bad)}. The lines with $ say how." if bad else "All is well."
    print(f"\n{said}")
    return 1 if bad else 0


def main(arguments: list[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser("minidl", description="Look at what minidl needs, or time this machine.")
    commands = parser.add_subparsers(dest="command", metavar="doctor | bench")
    commands.add_parser(
        "doctor", help="NumPy, BLAS, cores, GPU, MPI, data: what is there, and what would mend it (the default)"
    )
    bench = commands.add_parser("bench", help="training steps on this machine, beside recorded ones")
    bench.add_argument("--seconds", type=float, default=3.0, help="for each case (3)")
    bench.add_argument("--threads", type=int, help="how many threads minidl uses; left out: one for each core")
    args = parser.parse_args(arguments)
    if args.command == "bench" and not args.seconds >= 0:
        bench.error(f"--seconds must be at least 0, got {args.seconds}")
    if args.command == "bench" and args.threads is not None and args.threads < 1:
        bench.error(f"--threads must be at least 1, got {args.threads}")
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a path's letters is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if args.command != "bench":
        return doctor()
    try:
        from minidl import bench as measuring
    except Exception as error:
        print(f"bench: minidl cannot be imported: {error}\n", file=sys.stderr)
        return doctor() or 1
    return measuring.run(args.seconds, args.threads)


if __name__ == "__main__":
    sys.exit(main())
