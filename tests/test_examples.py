"""Every example and every benchmark runs: a few steps, from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("benchmarks/*.py")])


def run(path, folder, *options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, str(path), *options]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_runs(path, tmp_path):
    done = run(path, tmp_path, "--smoke")
    assert done.returncode == 0, f"{path.name} --smoke ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip(), "it said nothing"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_says_what_it_takes(path, tmp_path):
    done = run(path, tmp_path, "--help")
    assert done.returncode == 0 and "--smoke" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []
