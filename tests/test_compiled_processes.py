"""Compiled loops where a process is not like most: forked, without a place to write to, with other threads, without Numba."""

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minidl

pytest.importorskip("numba")


def run(code, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=120, cwd=cwd
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_runs_numpys_loops():
    code = """if True:
        import os, minidl, minidl.nn.functional as F
        minidl.set_num_threads(2)
        x = minidl.ones(1000, 1000)
        F.softmax(x, -1)
        with minidl.rung("fast"):
            child = os.fork()
        if not child:
            assert abs(F.softmax(x, -1).sum().item() - 1000) < 1
            assert minidl.backend.cpu.kernels is minidl.kernels.cpu  # what runs on a memory map, for one
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_what_is_kept_depends_on_whether_there_are_threads():
    """Else the loops for several threads would be taken from the disk where only one may run at a time."""
    code = """if True:
        import threading, minidl, minidl.nn.functional as F
        minidl.set_num_threads(2)
        x = minidl.ones(2000, 500)
        F.softmax(x, -1)
        threads = [threading.Thread(target=lambda: [F.softmax(x, -1) for _ in range(20)]) for _ in range(3)]
        [t.start() for t in threads], [t.join() for t in threads]
        print(minidl.kernels.compiled.compile.PARALLEL)
    """
    assert run(code).returncode == 0
    done = run(code, NUMBA_THREADING_LAYER="workqueue")
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_loops_that_two_processes_have_kept_are_told_apart(tmp_path):
    """Each was the first that its process made, of what another had made before; a last one takes both from the disk."""
    code = """if True:
        import numpy as np
        from minidl.kernels import compiled
        def first(out, x): out[...] = np.exp(x)
        def twice_and_3(out, x): out[...] = np.exp(x) * 2.0 + 3.0
        def and_2_thrice(out, x): out[...] = (np.exp(x) + 2.0) * 3.0
        for function in ({names},):
            found, wanted, x = np.zeros((3, 5000), np.float32)
            x += np.linspace(-1, 1, 5000)
            compiled.blockwise(function, found, x)
            function(wanted, x)
            np.testing.assert_allclose(found, wanted, 1e-6)
    """
    for names in ("first", "twice_and_3", "and_2_thrice", "twice_and_3, and_2_thrice"):
        done = run(code.format(names=names), NUMBA_CACHE_DIR=str(tmp_path))
        assert done.returncode == 0, done.stderr


def test_a_library_of_threads_that_is_not_here_is_done_without():
    with contextlib.suppress(ImportError):
        importlib.import_module("numba.np.ufunc.tbbpool")
        pytest.skip("it is here")
    done = run(
        "import minidl, minidl.nn.functional as F; print(F.softmax(minidl.ones(4), 0).sum().item())",
        NUMBA_THREADING_LAYER="tbb",
    )
    assert done.stdout.strip() == "1.0", done.stderr


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path):
    """A package that may not be written to, and no home."""
    package = tmp_path / "minidl"
    shutil.copytree(Path(minidl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (package / "kernels" / "compiled" / "__pycache__", tmp_path / "home"):
        path.write_text("a file where a folder is wanted")
    home = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path / "home"))
    code = "import minidl; print(minidl.__file__, (minidl.ones(2**16).sigmoid() * 2).mean().item())"
    done = run(code, tmp_path, PYTHONPATH=str(tmp_path), **home)
    assert done.stdout.split()[0] == str(package / "__init__.py"), done.stderr


def test_it_can_be_left_out_and_may_be_broken(tmp_path):
    told = "from minidl import backend; print(backend.cpu.kernels.__name__)"
    assert run(told).stdout.strip() == "minidl.kernels.compiled"
    assert run(told, MINIDL_COMPILED="0").stdout.strip() == "minidl.kernels.cpu"
    (tmp_path / "numba.py").write_text("raise ImportError('needs another NumPy')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    broken = run(told, PYTHONPATH=path)
    assert broken.stdout.strip() == "minidl.kernels.cpu"
    assert "needs another NumPy" in broken.stderr
