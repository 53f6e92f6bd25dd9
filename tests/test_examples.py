"""Every example and every benchmark runs: a few steps, from an empty folder."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("benchmarks/*.py")])

NEEDS = {"digits_rnn": "sklearn"}  # the data come with it


def run(path, folder, *options):
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg"}
    command = [sys.executable, str(path), *options]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_runs(path, tmp_path):
    if path.stem in NEEDS and importlib.util.find_spec(NEEDS[path.stem]) is None:
        pytest.skip(f"{NEEDS[path.stem]} is not installed")
    done = run(path, tmp_path, "--smoke")
    assert done.returncode == 0, f"{path.name} --smoke ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip(), "it said nothing"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_says_what_it_takes(path, tmp_path):
    done = run(path, tmp_path, "--help")
    assert done.returncode == 0 and "--smoke" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option, least", [("keep", 1), ("save-every", 0)])
def test_cifar10_refuses_what_makes_no_sense_before_it_trains(tmp_path, option, least):
    done = run(ROOT / "examples" / "cifar10.py", tmp_path, "--smoke", "--data", "embedded", f"--{option}", "-1")
    assert done.returncode == 1 and done.stderr == f"--{option} must be at least {least}, got -1\n"


def test_cifar10_compiled_learns_the_same(tmp_path):
    """The program, where the loader's batches are new tensors and the last one is smaller; no warning that it fell back."""
    last = []
    for options in ([], ["--compile"]):
        done = run(ROOT / "examples" / "cifar10.py", tmp_path, "--smoke", "--data", "embedded", *options)
        assert done.returncode == 0 and "CompileWarning" not in done.stderr, done.stderr
        last.append([line.split("%  ")[:2] for line in done.stdout.splitlines() if line.startswith("epoch")])
    assert last[0] and last[0] == last[1]
