"""Start a program as several ranks: ``python -m minidl.distributed.launch -n 4 program.py its arguments``.

It finds ``mpiexec``, divides the cores among the ranks of a host, and sees to it that all ranks end when one does: by an error,
whose traceback is shown, or by a signal. The exit status is that of the rank that failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ..kernels.threads import get_num_threads

RANK = "from mpi4py import MPI, run; run.main()"  # `python -m mpi4py`, but with MPI begun before the program
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # which a BLAS reads when it is loaded


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(
        "python -m minidl.distributed.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("-n", "--nproc", type=int, default=None, help="how many ranks; left out: one for each core, or host")
    made.add_argument("--hosts", help="where: host,host or host:ranks,host:ranks; left out: here, or where the scheduler says")
    made.add_argument("--threads", type=int, help="threads for each rank; left out: the cores divided by the ranks of a host")
    made.add_argument("--mpiexec", help="the program that starts them; left out: that on the PATH, or beside this Python")
    made.add_argument("-m", "--module", action="store_true", help="the program is the name of a module")
    made.add_argument("program", help="a Python file, or with -m a module")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="of the program")
    return made


def find_mpiexec(asked: str | None = None) -> str:
    """The path of ``mpiexec``; pip puts it beside Python, which need not be on the PATH.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    beside = str(Path(sys.executable).parent)
    for name in [asked] if asked else ["mpiexec", "mpirun"]:
        found = shutil.which(name) or shutil.which(name, path=beside)
        if found:
            return found
    wanted = asked or "mpiexec"
    raise FileNotFoundError(f'launch: there is no {wanted} on the PATH or in {beside}; pip install "minidl[mpi]"')


def ranks_by_host(hosts: str | None, nproc: int | None, cores: int) -> dict[str, int]:
    """How many ranks go where, in order; ``""`` is this machine."""
    if nproc is not None and nproc < 1:
        raise ValueError(f"launch: -n must be at least 1, got {nproc}")
    if hosts is None:
        return {"": cores if nproc is None else nproc}
    found: dict[str, int] = {}
    given = [entry.partition(":") for entry in hosts.split(",")]
    for host, colon, slots in given:
        if not host or (colon and not (slots.isdecimal() and int(slots))):
            raise ValueError(f"launch: --hosts wants host,host or host:ranks,host:ranks, each 1 or more, got {hosts!r}")
    left = sum(int(slots or 1) for _, _, slots in given) if nproc is None else nproc
    if nproc is not None and not any(slots for _, _, slots in given):  # nobody said how many: evenly
        each, more = divmod(nproc, len(given))
        given = [(host, ":", str(each + (i < more))) for i, (host, _, _) in enumerate(given)]
    for host, _, slots in given:
        here = min(int(slots or 1), left)
        found[host] = found.get(host, 0) + here  # schedulers name a host once for each rank
        left -= here
    if left:
        raise ValueError(f"launch: -n {nproc} is more than the {sum(found.values())} ranks of --hosts {hosts}")
    return {host: n for host, n in found.items() if n}


def command(mpiexec: str, where: dict[str, int], as_open_mpi: bool, program: list[str]) -> list[str]:
    """What to call.

    mpi4py runs the program and ends all ranks when one has an error, but only where MPI has begun. So it begins first: else, if
    one rank failed while it imports, the others would wait for it for ever.
    """
    line = [mpiexec, "-n", str(sum(where.values()))]
    hosts = ",".join(f"{host}:{n}" for host, n in where.items() if host)
    if hosts:
        line += ["--host" if as_open_mpi else "-hosts", hosts]
    if as_open_mpi:
        line += ["--bind-to", "none", "--oversubscribe"]  # as many ranks as asked for, wherever the system puts them
        line += ["-x", "PYTHONPATH", *(word for name in THREADS for word in ("-x", name))]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            line.append("--allow-run-as-root")
    return [*line, sys.executable, "-c", RANK, *program]


def main(argv: list[str] | None = None) -> int:
    """Start the ranks and wait for them."""
    args = parser().parse_args(argv)
    cores = get_num_threads()
    try:
        if args.threads is not None and args.threads < 1:
            raise ValueError(f"launch: --threads must be at least 1, got {args.threads}")
        where = ranks_by_host(args.hosts, args.nproc, cores)
        mpiexec = find_mpiexec(args.mpiexec)
    except (ValueError, FileNotFoundError) as error:
        parser().error(str(error))
    threads = args.threads or max(1, cores // max(where.values()))
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONUNBUFFERED": "1"}
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True).stdout
    as_open_mpi = "Open MPI" in version or "OpenRTE" in version or "PRRTE" in version
    program = [*(["-m"] if args.module else []), args.program, *args.arguments]
    process = subprocess.Popen(command(mpiexec, where, as_open_mpi, program), env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # a scheduler's time is up: mpiexec ends the ranks
    while True:
        try:
            status = process.wait()
            return status if status >= 0 else 128 - status
        except KeyboardInterrupt:  # mpiexec has it too, and tells the ranks
            continue


if __name__ == "__main__":
    sys.exit(main())
