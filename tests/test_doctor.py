"""``minidl doctor`` finds what is broken and says what would mend it, whatever is broken; ``minidl bench`` measures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minidl
import minidl_doctor
from minidl.inspect.rungs import RUNGS
from minidl_doctor import Finding, ask

ROOT = Path(minidl.__file__).resolve().parent.parent


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that comes before all others, also in the processes that are asked."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def install(site, name, version, code="", module=None):
    """A package that runs ``code`` when it is imported."""
    about = site / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / f"{module or name}.py").write_text(f"__version__ = {version!r}\n{code}\n")


def only(check):
    """The one finding of a check that is bad."""
    [found] = [finding for finding in minidl_doctor.safely(check) if finding.state == "bad"]
    return found


# -- asking


def test_what_is_told():
    assert ask("tell(a=1); print('noise'); tell(b='x')").told == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    "code, said",
    [
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("tell(a=1); raise ValueError('two\\nlines')", "lines"),
        ("raise SystemExit(3)", "status 3"),
        ("raise SystemExit(0)", "without an answer"),
        ("import os; os.write(1, bytes([255, 254])); raise SystemExit('odd letters')", "odd letters"),
    ],
)
def test_what_goes_wrong(code, said):
    assert said in ask(code).wrong


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_crash_is_told():
    assert ask("import os; tell(a=1); os.abort()") == ({"a": 1}, "crashed: SIGABRT")


def test_nobody_waits_for_ever():
    assert "no answer in 0.5 s" in ask("import time; time.sleep(60)", 0.5).wrong


# -- what may be broken


def test_all_is_well_here():
    for check in (
        minidl_doctor.check_python,
        minidl_doctor.check_machine,
        minidl_doctor.check_needed,
        minidl_doctor.check_blas,
    ):
        found = minidl_doctor.safely(check)
        assert found and all(finding.state in ("ok", "hint") for finding in found), found


@pytest.mark.parametrize(
    "version, code, said, mend",
    [
        ("1.26.4", "", "1.26.4 is too old", 'install --upgrade "numpy>=2.0"'),
        ("2.4.0", "raise ImportError('undefined symbol: dgemm')", "undefined symbol", '--force-reinstall "numpy>=2.0"'),
        ("2.4.0", "import os; os._exit(7)", "status 7", '--force-reinstall "numpy>=2.0"'),
        ("2.4.0", "__version__ = None", "None is too old", 'install --upgrade "numpy>=2.0"'),
    ],
)
def test_a_broken_numpy(site, monkeypatch, version, code, said, mend):
    monkeypatch.setattr(minidl_doctor, "versions", lambda name: [version])  # the true one is installed as well
    install(site, "numpy", version, code)
    monkeypatch.setattr(minidl_doctor, "NEEDED", {"numpy": (2, 0)})
    found = only(minidl_doctor.check_needed)
    assert said in found.said and found.mend[0].endswith(mend)


def test_numpy_twice_and_not_at_all(site, monkeypatch):
    monkeypatch.setattr(minidl_doctor, "NEEDED", {"numpy": (2, 0)})
    (site / "numpy-9.9.dist-info").mkdir()
    (site / "numpy-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9\n")
    found = only(minidl_doctor.check_needed)
    assert "more than once, as 9.9 and" in found.said and found.mend[0].endswith("uninstall -y numpy")
    monkeypatch.setattr(minidl_doctor, "NEEDED", {"no_such_package": (2, 0)})
    found = only(minidl_doctor.check_needed)
    assert found.said == "not installed" and found.mend[0].endswith('pip install "no_such_package>=2.0"')


def test_a_file_that_hides_a_package(site):
    Path("threadpoolctl.py").write_text("")
    found = only(minidl_doctor.check_needed)
    assert found.what == "threadpoolctl" and "stands in the way" in found.said
    here = Path.cwd()
    assert found.mend[0].endswith(f" {here / 'threadpoolctl.py'} {here / 'my_threadpoolctl.py'}")


@pytest.mark.parametrize("code", ["raise ImportError('no such thing')", "raise SystemExit(0)", "__version__ = None"])
def test_a_file_on_the_path_that_hides_a_package(site, code):
    """No other NumPy would mend that, for it would not be found either."""
    (site / "safetensors").mkdir()
    (site / "safetensors" / "__init__.py").write_text(code)
    found = only(minidl_doctor.check_needed)
    assert found.what == "safetensors" and f"{site / 'safetensors'} stands in the way" in found.said
    assert found.mend[0].endswith(f" {site / 'safetensors'} {site / 'my_safetensors'}")


def test_numba(site, monkeypatch):
    """Stand-ins, for the true one need not be there."""
    monkeypatch.setattr(minidl_doctor, "versions", lambda name: [])
    [found] = minidl_doctor.safely(minidl_doctor.check_loops)
    assert found.state == "none" and found.mend[0].endswith('[fast]"')
    monkeypatch.setattr(minidl_doctor, "versions", lambda name: ["0.61.0"])
    for code, wrong in (
        ("raise ImportError('wants NumPy 2.1 or less')", "wants NumPy 2.1"),
        ("import os; os._exit(7)", "status 7"),
    ):
        (site / "numba.py").write_text(code)
        found = only(minidl_doctor.check_loops)
        assert "compiles no loop" in found.said and wrong in found.said and found.mend[1].endswith('[fast]"')
        assert all(finding.state != "bad" for finding in minidl_doctor.safely(minidl_doctor.check_minidl))
    monkeypatch.setenv("MINIDL_COMPILED", "0")
    [found] = minidl_doctor.safely(minidl_doctor.check_loops)
    assert found.state == "hint" and "MINIDL_COMPILED" in found.mend[0]


@pytest.mark.parametrize("off, state", [(0.0, "ok"), (1.0, "bad"), (float("nan"), "bad")])
def test_loops_that_numba_compiles_are_checked(monkeypatch, off, state):
    monkeypatch.setattr(minidl_doctor, "versions", lambda name: ["0.61.0"])
    monkeypatch.setattr(minidl_doctor, "ask", lambda code: minidl_doctor.Answer({"off": off}))
    [found] = minidl_doctor.safely(minidl_doctor.check_loops)
    assert found.state == state and found.said.startswith("0.61.0")


def test_the_compiled_loop_itself():
    pytest.importorskip("numba")
    [found] = minidl_doctor.safely(minidl_doctor.check_loops)
    assert found.state in ("ok", "hint"), found


def test_wrong_products(site):
    code = "import numpy\nnumpy.random.default_rng(0)\nndarray = numpy.ndarray\n"
    (site / "sitecustomize.py").write_text(
        code + "class Wrong(ndarray):\n"
        "    def __matmul__(self, other):\n        return ndarray.__matmul__(self.view(ndarray), other) + 1\n"
        "    def astype(self, *args, **options):\n        return ndarray.astype(self, *args, **options)\n"
        "draw = numpy.random.default_rng\n"
        "class Rng:\n    def normal(self, size):\n        return draw(0).normal(size=size).view(Wrong)\n"
        "numpy.random.default_rng = lambda seed: Rng()\n"
    )
    found = only(minidl_doctor.check_blas)
    assert "products are wrong" in found.said and "OPENBLAS_CORETYPE" in found.mend[0] and "numpy" in found.mend[1]


def test_kernels_that_are_forced_are_told(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    [found] = minidl_doctor.safely(minidl_doctor.check_blas)
    assert found.state == "hint" and "OPENBLAS_CORETYPE" in found.mend[0]


GPU = ["NVIDIA H100, 580.65.06, 81559 MiB"]


@pytest.mark.parametrize("driver, extra", [("580.65", "cuda13"), ("535.1", "cuda12"), ("470.82", None)])
def test_the_extra_for_a_driver(monkeypatch, driver, extra):
    monkeypatch.setattr(minidl_doctor, "versions", lambda name: [])
    monkeypatch.setattr(minidl_doctor, "drivers", lambda: [f"NVIDIA T4, {driver}, 15000 MiB"])
    gpu, cupy = minidl_doctor.safely(minidl_doctor.check_gpu)
    if extra is None:
        assert gpu.state == "bad" and "too old" in gpu.said
    else:
        assert cupy.state == "hint" and cupy.mend[0].endswith(f'[{extra}]"')


def fake_cupy(count="1", total="30"):
    return f"""
class runtime:
    runtimeGetVersion = staticmethod(lambda: 13010)
    getDeviceCount = staticmethod(lambda: {count})
class cuda:
    runtime = runtime
def arange(n):
    class Array:
        def __pow__(self, k): return self
        def sum(self): return {total}
    return Array()
def refuse(what): raise RuntimeError(what)
"""


def test_cupy_twice(site, monkeypatch):
    monkeypatch.setattr(minidl_doctor, "drivers", lambda: GPU)
    install(site, "cupy-cuda12x", "14.0.1", module="cupy")
    install(site, "cupy-cuda13x", "14.1.0", module="cupy")
    found = only(minidl_doctor.check_gpu)
    assert "overwrite each other" in found.said
    assert found.mend[0].endswith("uninstall -y cupy-cuda12x cupy-cuda13x") and found.mend[1].endswith('[cuda13]"')


@pytest.mark.parametrize(
    "code, state, said",
    [
        (fake_cupy(), "ok", "CUDA 13.1, 1 GPUs"),
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "bad", "libcudart.so.13"),
        (fake_cupy("refuse('cudaErrorInsufficientDriver')"), "bad", "cudaErrorInsufficientDriver"),
        (fake_cupy("0"), "bad", "finds no GPU"),
        (fake_cupy(total="refuse('nvrtc: cannot find headers')"), "bad", "cannot compute: RuntimeError: nvrtc"),
        (fake_cupy(total="0"), "bad", "cannot compute"),
    ],
)
def test_cupy(site, monkeypatch, code, state, said):
    monkeypatch.setattr(minidl_doctor, "drivers", lambda: GPU)
    install(site, "cupy-cuda13x", "14.1.0", code, module="cupy")
    found = minidl_doctor.safely(minidl_doctor.check_gpu)[-1]
    assert found.state == state and said in found.said
    assert state == "ok" or found.mend[1].endswith('[cuda13]"')


def fake_mpi(site, code):
    install(site, "mpi4py", "4.0.0")
    (site / "mpi4py.py").unlink()
    (site / "mpi4py").mkdir()
    (site / "mpi4py" / "__init__.py").write_text("__version__ = '4.0.0'\nclass rc: pass\n")
    (site / "mpi4py" / "MPI.py").write_text(code)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for mpiexec is a shell script")
def test_mpi(site, monkeypatch):
    fake_mpi(site, "raise RuntimeError('cannot load MPI library')")
    found = only(minidl_doctor.check_mpi)
    assert "cannot load MPI library" in found.said and found.mend[0].endswith('[mpi]"')

    (site / "mpi4py" / "MPI.py").write_text("Get_library_version = lambda: 'MPICH Version: 4.2'\n")
    starter = site / "mpiexec"
    monkeypatch.setenv("PATH", f"{site}{os.pathsep}/usr/bin{os.pathsep}/bin")
    for said, state in (("HYDRA build details:", "ok"), ("mpiexec (OpenRTE) 4.1 Open MPI", "bad")):
        starter.write_text(f"#!/bin/sh\necho '{said}'\n")
        starter.chmod(0o755)
        [found] = minidl_doctor.safely(minidl_doctor.check_mpi)
        assert found.state == state, found
    assert "of another MPI" in found.said


def test_data(site):
    def cifar():
        return next(found for found in minidl_doctor.safely(minidl_doctor.check_data) if found.what == "CIFAR-10")

    assert cifar().state == "none" and cifar().mend[0].startswith("curl ")
    folder = Path("data", "cifar-10-batches-py")
    folder.mkdir(parents=True)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 5))):
        (folder / name).touch()
    assert cifar().state == "bad" and "lacks data_batch_5" in cifar().said and len(cifar().mend) == 2
    (folder / "data_batch_5").touch()
    assert cifar().state == "ok" and str(folder.resolve()) in cifar().said


def test_where_minidl_is_installed_from(monkeypatch, tmp_path):
    assert minidl_doctor.pip_own("mpi").endswith(f'-m pip install -e "{ROOT}[mpi]"')
    monkeypatch.setattr(minidl_doctor, "__file__", str(tmp_path / "minidl_doctor.py"))  # as in site-packages
    assert minidl_doctor.pip_own("mpi").endswith('-m pip install "minidl[mpi]"')
    assert minidl_doctor.pip_own().endswith("-m pip install minidl")


def test_a_check_that_fails_itself(monkeypatch):
    def check_nothing():
        yield Finding("half", "ok", "")
        raise OSError("gone")

    assert [finding.state for finding in minidl_doctor.safely(check_nothing)] == ["ok", "hint"]


# -- the program


def test_without_numpy_the_doctor_still_answers(site):
    """The package cannot be imported then: the program stands beside it."""
    install(site, "numpy", "2.4.0", "raise ImportError('libopenblas: not found')")
    ran = subprocess.run([sys.executable, "-m", "minidl_doctor"], capture_output=True, text=True, cwd=site.parent)
    assert ran.returncode == 1 and not ran.stderr
    assert re.search(r"^  !!  numpy", ran.stdout, re.MULTILINE) and re.search(r"^  !!  minidl", ran.stdout, re.MULTILINE)
    assert "libopenblas: not found" in ran.stdout and "$ " in ran.stdout
    ran = subprocess.run([sys.executable, "-m", "minidl_doctor", "bench"], capture_output=True, text=True, cwd=site.parent)
    assert ran.returncode == 1 and "bench: minidl cannot be imported" in ran.stderr and "Traceback" not in ran.stderr


def test_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(minidl_doctor, "CHECKS", [lambda: iter([Finding("NumPy", "hint", "slow", ("do this",))])])
    assert minidl_doctor.main([]) == 0
    assert "$ do this" in (out := capsys.readouterr().out) and out.endswith("All is well.\n")
    monkeypatch.setattr(minidl_doctor, "CHECKS", [lambda: iter([Finding("NumPy", "bad", "word " * 60)])])
    assert minidl_doctor.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "1 to mend: NumPy" in out and max(map(len, out.splitlines())) <= 120


def test_python_dash_m():
    ran = subprocess.run([sys.executable, "-m", "minidl", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0 and "doctor" in ran.stdout and "bench" in ran.stdout


def test_it_needs_nothing_but_the_standard_library():
    program = "import sys, minidl_doctor; print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    ran = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(ran.stdout.split()) <= {"minidl_doctor", "__main__"}


@pytest.mark.parametrize("option", ["--threads=0", "--threads=-1", "--seconds=-1", "--seconds=nan"])
def test_senseless_options_of_bench(capsys, option):
    with pytest.raises(SystemExit):
        minidl_doctor.main(["bench", option])
    assert f"{option.partition('=')[0]} must be at least" in capsys.readouterr().err


def test_bench(capsys):
    threads = minidl.get_num_threads()
    from minidl import bench

    cases, bench.CASES = bench.CASES, bench.CASES[-1:]
    try:
        assert bench.run(0, 1) == 0
    finally:
        bench.CASES = cases
        minidl.set_num_threads(threads)
    out = capsys.readouterr().out
    assert f"Loops: {'compiled by Numba' if 'compiled' in RUNGS else 'NumPy'}" in out
    assert "1 threads" in out and "MLP 2-16-16-1" in out and "Recorded" in out
    figures = re.search(r"MLP.*batch 16\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)$", out, re.MULTILINE)
    here, _, there, *_, ratio = map(float, figures.groups())
    assert ratio == pytest.approx(here / there, rel=0.1, abs=0.05)


def test_bench_has_the_networks_of_the_benchmarks(monkeypatch):
    from minidl import bench

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from sides import networks

    for ours, theirs in ((bench.cifar_network, "cifar_network"), (bench.resnet20, "resnet20"), (bench.tiny_mlp, "tiny_mlp")):
        shapes = [sorted(tuple(p.shape) for p in net.parameters()) for net in (ours(), getattr(networks, theirs)(minidl))]
        assert shapes[0] == shapes[1]


def test_what_is_recorded_is_on_the_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import recorded

    from minidl.bench import RECORDED

    assert RECORDED.read_text(encoding="utf-8") == recorded.content(), "run python benchmarks/recorded.py"
    assert json.loads(recorded.content())["machine"]["Processor"]
