"""What the benchmarks compare is the same: a side that computes anything else is found out, and the engines do not."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = str(Path(__file__).resolve().parent.parent / "benchmarks")


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


class Fake:
    """A side whose losses are given, and whose steps take the given seconds."""

    def __init__(self, losses=None, seconds=0.5, error=None):
        self.losses, self.seconds, self.error, self.n_timed = losses, seconds, error, 0

    def ask(self, order, **options):
        if self.error:
            from sides import SideError

            raise SideError(self.error)
        if order == "make":
            return self.losses
        self.n_timed += 1
        return self.seconds


def test_only_sides_with_the_same_losses_are_timed():
    from sides.turns import prove

    sides = {
        "minidl": Fake([2.0, 1.5]),
        "rounds": Fake([2.0001, 1.5001]),
        "wrong": Fake([2.0, 1.6]),
        "nan": Fake([2.0, float("nan")]),
        "broken": Fake(error="no convolution"),
    }
    right, failed = prove(sides, model="cifar", batch=1)
    assert list(right) == ["minidl", "rounds"]
    assert failed.keys() == {"wrong", "nan", "broken"}
    assert failed["broken"] == "no convolution" and "1.6" in failed["wrong"]


def test_without_the_first_there_is_nothing_to_compare():
    from sides import SideError
    from sides.turns import prove

    with pytest.raises(SideError, match="gone"):
        prove({"minidl": Fake(error="gone"), "PyTorch": Fake([1.0])}, model="cifar", batch=1)


def test_turns_are_at_least_three_and_medians_are_taken():
    from sides.turns import take_turns

    sides = {"quick": Fake(seconds=0.05), "slow": Fake(seconds=2.0)}
    assert take_turns(sides, 0) == {"quick": 0.05, "slow": 2.0}
    assert sides["quick"].n_timed == 1 + 2 * 3  # to find how many steps a turn takes; a step to wake up and a turn, thrice
    assert sides["slow"].n_timed == 1 + 3


def test_the_ratio_is_against_the_best_of_torch():
    import training

    found = {"minidl": 3.0, "PyTorch": 4.0, "PyTorch channels_last": 2.0, "JAX": 1.0}
    assert training.ratio(found, "minidl") == "1.50"
    assert training.ratio({"minidl": 3.0}, "minidl") == "-"
    assert training.ratio(found, "minidl.compile") == "-"


def test_weights_with_channels_innermost_are_the_same_network():
    from sides import given

    weights, (x, _) = given.weights(given.SHAPES["cifar"]), given.batch("cifar", 2)
    turned, x_turned = given.channels_innermost(weights, x)
    assert np.array_equal(x_turned[1, 2, 3], x[1, :, 2, 3])
    assert np.array_equal(turned["conv2.weight"][0, 1, :, 5], weights["conv2.weight"][5, :, 0, 1])
    features = np.random.default_rng(0).normal(size=(2, 64, 8, 8))
    flat, flat_turned = features.reshape(2, -1), features.transpose(0, 2, 3, 1).reshape(2, -1)
    np.testing.assert_allclose(flat_turned @ turned["fc1.weight"].T, flat @ weights["fc1.weight"].T, rtol=1e-6)


def test_peak_of_resident_memory_is_that_of_the_block():
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not tell")
    from sides import resident

    resident.give_back()  # what earlier tests left, and the allocator keeps
    before = resident.now()
    with resident.peak() as found:
        block = np.ones(1 << 23)  # 64 MiB
        del block
    assert 60 << 20 < found[0] - before < 80 << 20
    resident.give_back()  # the block, which the allocator may keep
    with resident.peak() as found:
        pass
    assert found[0] - before < 16 << 20


def test_a_side_that_fails_says_why_and_goes_on():
    from sides import Process, SideError

    with Process("minidl") as side:
        with pytest.raises(SideError, match="KeyError: 'no such network'"):
            side.ask("make", model="no such network", batch=1)
        losses = side.ask("make", model="mlp", batch=4)
        assert len(losses) == 4 and losses[3] < losses[0]
    with Process("minidl", sys.executable) as side:
        side.process.kill()
        side.process.wait()
        with pytest.raises(SideError, match="ended early"):
            side.ask("versions")


@pytest.mark.parametrize("model", ["mlp", "cifar"])
@pytest.mark.parametrize("name", ["JAX", "numpygrad", "DeZero", "Chainer", "MyGrad", "pydynet", "autograd", "SmallPebble"])
def test_engines_compute_the_same_losses(name, model):
    from sides import ENGINES
    from sides.turns import prove, started

    if importlib.util.find_spec(ENGINES[name].package) is None:
        pytest.skip(f"{name} is not installed")
    with started(["minidl", name]) as processes:
        _, failed = prove(processes, model=model, batch=3)
    assert failed == {}


@pytest.mark.parametrize("name, batch", [("Training", 1), ("Writing", 2)])
def test_the_sides_of_gpt_compute_the_same(name, batch, monkeypatch):
    pytest.importorskip("torch")
    from sides import gpt

    monkeypatch.setattr(gpt, "WRITTEN", 12)
    found = []
    for library in ("torch", "minidl"):
        case = getattr(gpt, name)(library, batch)
        found.append([float(case.step()) for _ in range(3)])
    np.testing.assert_allclose(found[0], found[1], 1e-4)


def test_the_model_of_many_ranks_finds_the_machine_again():
    """Times made with known latency, bandwidth and computing: the fit gives those back, and predicts what it has not seen."""
    import distributed as benchmark

    exchange = {n: benchmark.all_reduce_seconds(n, 2, 20e-6, 1e9) for n in benchmark.SIZES}
    compute = {"CIFAR network": {100: 3e-3 + 100 * 3e-4, 25: 3e-3 + 25 * 3e-4, 1: 3e-3 + 3e-4}}
    machine = benchmark.fitted(exchange, compute)
    np.testing.assert_allclose((machine.latency, machine.bandwidth), (20e-6, 1e9))
    np.testing.assert_allclose(machine.compute["CIFAR network"], (3e-3, 3e-4))
    nbytes, one, eight = benchmark.NETWORKS["CIFAR network"].nbytes, 33e-3, 33e-3 + 6 * 20e-6
    eight += 14 / 8 * nbytes / 1e9  # three rounds there and back; each rank sends 7/8 of the bytes twice
    np.testing.assert_allclose(benchmark.weak("CIFAR network", machine, 8), one / eight)
    shared = 3e-3 + 6400 / 8 * 3e-4 + eight - one
    np.testing.assert_allclose(benchmark.strong("CIFAR network", machine, 8), (3e-3 + 6400 * 3e-4) / shared)


def test_a_fit_is_of_relative_errors_and_has_no_negative_parts():
    import distributed as benchmark

    assert benchmark.line([1, 2], [1, 3]) == pytest.approx((0, (1 + 2 / 3) / (1 + 4 / 9)))  # a line would begin at -1
    assert benchmark.line([1, 2], [2, 1]) == pytest.approx(((1 / 2 + 1) / (1 / 4 + 1), 0))  # and would fall
    a, b = benchmark.line([1, 2, 1000], [2, 3, 2002])
    assert abs(a + 2 * b - 3) < 0.6, "a large time does not outweigh the small ones"


def test_the_first_turn_of_each_run_is_a_warm_up():
    import distributed as benchmark

    runs = [{"net": {"step": [9, 1, 2]}}, {"net": {"step": [8, 3, 4, 5]}}]
    assert benchmark.pooled(runs) == {"net": {"step": 3.0}}


def test_the_check_of_a_gpu_wants_little(tmp_path):
    """It starts where there is NumPy, and where neither minidl nor what else that wants is installed."""
    for name in ("numpy", "numpy.libs"):
        found = Path(np.__file__).resolve().parent.parent / name
        if found.exists():
            (tmp_path / name).symlink_to(found)
    command = [sys.executable, "-S", f"{BENCHMARKS}/gpu_check.py", "--help"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and "--smoke" in done.stdout, done.stderr


@pytest.mark.parametrize("lacking", ["numpy", "pytest", "hypothesis", "cupy"])
def test_the_check_of_a_gpu_says_what_is_missing(lacking, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\nfind = importlib.util.find_spec\n"
        f"sys.modules['cupy'] = sys.modules[{lacking!r}] = None\n"
        f"importlib.util.find_spec = lambda name, *more: None if name == {lacking!r} else find(name, *more)\n"
    )
    command, env = [sys.executable, f"{BENCHMARKS}/gpu_check.py"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    wanted = (
        "CuPy is not installed; pip install 'minidl[cuda13]'" if lacking == "cupy" else f"not installed; pip install {lacking}"
    )
    assert wanted in done.stderr


@pytest.mark.parametrize("half", [False, True])
def test_what_ran_before_the_time_was_over_is_counted(half, monkeypatch, tmp_path):
    """Also where the file of results was being written just then."""
    from sides import gpu_processes

    output = "tests/test_a.py::one PASSED [ 1%]\n[gw1] [ 2%] FAILED tests/test_a.py::two\ntests/test_a.py::three SKIPPED\n"
    if half:
        (tmp_path / f"gpu-check-{os.getpid()}.xml").write_text("<testsuites><testsuite><testcase")
    monkeypatch.setattr(gpu_processes.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpu_processes, "limited", lambda command, seconds: (output, None))
    row = gpu_processes.run_tests("a", ["test_a.py"], [], 5)
    assert (row["passed"], row["failed"], row["skipped"], row["ok"], row["stopped"]) == (1, 1, 1, False, "after 0 s")
    assert "test_a.py::two" in row["failures"][0]["test"] and not [*tmp_path.iterdir()]


def rows_of(program, tmp_path, limit=20):
    """What is kept of a stage that is this program; it may use ``report``, and ``tried`` on a GPU that may be ``broken``."""
    from sides import gpu_processes

    (tmp_path / "stage.py").write_text(
        "import json, os, subprocess, sys, time\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from sides import gpu_processes\n"
        "from sides.gpu_processes import report, tried\n"
        "broken = False\n"
        "gpu_processes.spoiled = lambda: broken\n"
        "gpu_processes.done.update(json.loads(sys.argv[-1]))\n" + program
    )
    found = []
    gpu_processes.clock.begin(100)
    gpu_processes.run_stage("a", [sys.executable, str(tmp_path / "stage.py")], limit, found.append)
    return {row["name"]: row for row in found}


def test_rows_of_a_stage_that_hangs_are_kept(tmp_path):
    """What it had begun to say is no row; a grandchild that goes on by itself is not waited for."""
    program = """
report(stage="a", name="one", ok=True)
print("a warning without an end", end="")
report(stage="a", name="two", ok=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(8)"], start_new_session=True)
print('ROW {"stage": "a", "na', end="", flush=True)
time.sleep(60)
"""
    start = time.perf_counter()
    found = rows_of(program, tmp_path, 1)
    assert [*found] == ["one", "two", "the rest"] and found["the rest"]["stopped"] == "after 3 s"
    assert time.perf_counter() - start < 7


def test_a_stage_that_breaks_says_how(tmp_path):
    found = rows_of("report(stage='a', name='one', ok=True)\nraise ValueError('of the stage')", tmp_path)
    assert [*found] == ["one", "the rest"] and not found["the rest"]["ok"] and "of the stage" in found["the rest"]["error"]


def test_a_process_that_can_do_no_more_is_followed_by_another(tmp_path):
    program = """
def breaks():
    global broken
    broken = True
    raise RuntimeError("illegal address")

for name in "abc":
    tried("a", name, breaks if name == "b" else lambda: {"ok": not broken})
"""
    found = rows_of(program, tmp_path)
    assert {name: row["ok"] for name, row in found.items()} == {"a": True, "b": False, "c": True}
    assert "illegal address" in found["b"]["error"]
    found = rows_of("os._exit(gpu_processes.SPOILED)", tmp_path)  # before there is any row
    assert not found["the rest"]["ok"]


def test_a_row_that_hangs_is_followed_by_the_others(tmp_path, monkeypatch):
    from sides import gpu_processes

    monkeypatch.setattr(gpu_processes, "PATIENCE", 1.5)
    program = """
for name in "abc":
    tried("a", name, lambda: {"ok": True} if name != "b" else time.sleep(60))
"""
    found = rows_of(program, tmp_path)
    assert {name: row["ok"] for name, row in found.items()} == {"a": True, "b": False, "c": True}
    assert "nothing was heard of it for 1.5 s" in found["b"]["error"]


def test_an_interruption_ends_the_time_and_keeps_the_rows(tmp_path):
    program = "report(stage='a', name='one', ok=True)\nos.kill(os.getppid(), 2)\ntime.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts behind its back ignore it
    try:
        found = rows_of(program, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    from sides.gpu_processes import clock

    assert [*found] == ["one", "the rest"] and "stopped" in found["the rest"] and clock.left() <= 0 < clock.passed()


@pytest.mark.parametrize(("which", "ok"), [("torch", True), ("minidl", False)])
def test_a_way_that_is_broken_leaves_the_times_of_the_others(which, ok, monkeypatch):
    import gpu_check
    import gpu_table
    from sides import gpu_steps

    def step(library, device, title, small, way, half):
        def losses():
            if library == which and way != "as written":
                raise RuntimeError("no compiler is there")
            return [2.0, 1.0]

        return types.SimpleNamespace(lib=library, losses=losses)

    monkeypatch.setattr(gpu_steps, "Step", step)
    sides = {"minidl": (None, None, "cuda"), "PyTorch": (None, None, "cuda")}
    found = {
        "minidl captured": ("minidl", "captured", False),
        "minidl": ("minidl", "as written", False),
        "PyTorch": ("torch", "as written", False),
        "PyTorch reduce-overhead": ("torch", "reduce-overhead", False),
    }
    row = gpu_steps.measure(sides, found, "a", True, lambda libraries, makers, *_: {name: 2.0 for name in makers})
    broken = {"torch": "PyTorch reduce-overhead", "minidl": "minidl captured"}[which]
    assert row["ok"] == ok and {*row["ms"]} == {*found} - {broken} and "no compiler" in row["broken"][broken]
    row |= {"stage": "steps", "name": "a"}
    assert f"{broken} is broken: RuntimeError: no compiler is there" in gpu_check.in_words(row)
    assert "| a | " in gpu_table.tables({"rows": [row], "machine": {}})
    monkeypatch.setattr(gpu_steps, "Step", lambda *_: 1 / 0)
    assert not gpu_steps.measure(sides, found, "a", True, lambda *_: {})["ok"]


@pytest.mark.parametrize(
    ("options", "said"),
    [("--only bars,nonsense", "wants some of bars, kernels,"), ("--output {}/no/such.json", "the results cannot be written")],
)
def test_the_check_of_a_gpu_refuses_at_once(options, said, tmp_path):
    command = [sys.executable, f"{BENCHMARKS}/gpu_check.py", "--smoke", *options.format(tmp_path).split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert said in done.stderr or "no g++" in done.stdout


def test_the_kernels_of_a_step_are_listed_by_their_share():
    from sides import gpu_kernels

    found = gpu_kernels.table([("a", 1.0), ("b", 20.0), ("a", 3.0), ("a", 2.5), ("b", 30.0), ("a", 3.5)], 2)
    (b, a), whole = found["kernels"], found["us of a step"]
    assert whole == 30 and a == {"name": "a", "launches": 2, "us": 2.75, "share": 0.1667}
    assert b == {"name": "b", "launches": 1, "us": 25, "share": 0.8333}
    launched = ["conv.forward", "conv_pool.forward", "conv.input_grad", "conv.forward"]
    told = [gpu_kernels.told_apart(name, launched) for name in ("forward", "input_grad", "x" * 99, "cublasLt")]
    assert told == ["conv.forward or conv_pool.forward", "conv.input_grad", "x" * 60, "cublasLt"]


def test_numbers_that_need_no_rounding():
    from sides import gpu_precision

    wide, half, brief = (gpu_precision.drawn(np.random.default_rng(0), 9999, bits) for bits in (24, 11, 8))
    large = abs(half) > 1e-4  # where float16 has all its bits
    np.testing.assert_array_equal(half[large], wide.astype(np.float16)[large])
    assert not (brief.view(np.uint32) & 0xFFFF).any() and (wide.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(brief, wide, rtol=2**-8)


def test_precisions_and_kernels_have_tables_where_they_were_measured():
    import gpu_table

    away, held = {"minidl": [1e-4, 3e-4], "PyTorch": [2e-4, 1e-4]}, {"minidl": [1e-7]}
    rows = [
        {"stage": "parity", "name": "linear, by norm, TF32", "ok": True, "relative norm": 3e-4, "bar": 5e-4}
        | {"of result and gradients": away, "of numbers that need no rounding": held},
        *(
            {"stage": "kernel_times", "name": name, "ok": True, "us of a step": us}
            | {"kernels": [{"name": "gemm", "launches": 2.0, "us": us / 2, "share": 1.0}]}
            for name, us in (("net, TF32", 60.0), ("net, TF32, captured", 50.0), ("other", 40.0))
        ),
    ]
    found = gpu_table.tables({"rows": rows, "machine": {}})
    assert "| linear, TF32 | 5.0e-04 | 3.0e-04 | 2.0e-04 | 1.0e-07 | - |" in found
    assert "| **net, TF32, captured** |  | 50 in all |  |\n| `gemm` | 2 | 25.0 | 1.00 |\n| **other** |  | 40 in all |" in found
    assert "60 in all" not in found


def test_the_tables_of_a_gpu_are_those_of_what_was_measured():
    import gpu_table

    docs = Path(BENCHMARKS).parent / "docs"
    found = json.loads((docs / "gpu-results.json").read_text(encoding="utf-8"))
    assert gpu_table.tables(found) == (docs / "gpu-results.md").read_text(encoding="utf-8")
