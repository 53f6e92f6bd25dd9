"""The pool of threads under the kernels: errors, nesting, several callers, forks, and BLAS as it was."""

import os
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import minidl
from minidl.kernels import cpu, threads
from minidl.shapes import Window


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    before = threads.get_num_threads()
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    minidl.set_num_threads(3)
    yield
    minidl.set_num_threads(before)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas" and "numpy" in pool["filepath"]]


def test_parts_are_even_and_never_more_than_the_work():
    assert [s.stop - s.start for s in threads.parts(7, 100)] == [2, 2, 3]
    assert [s.stop - s.start for s in threads.parts(2, 100)] == [1, 1]
    assert threads.parts(0, 100) == []
    assert len(threads.parts(7, 0)) == 1  # too little work to share


def test_every_part_runs_once_each_in_a_thread_of_its_own():
    seen, everybody = [], threading.Barrier(3, timeout=10)

    def work(part):
        everybody.wait()  # only passes if all three run at the same time
        seen.append((part, threading.get_ident()))

    threads.run(work, [0, 1, 2])
    assert sorted(part for part, _ in seen) == [0, 1, 2]
    assert len({ident for _, ident in seen}) == 3


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_in_any_part_is_raised_when_all_have_ended(bad):
    ended = []

    def work(part):
        if part == bad:
            raise ArithmeticError(f"part {part}")
        ended.append(part)

    with pytest.raises(ArithmeticError, match=f"part {bad}"):
        threads.run(work, [0, 1, 2])
    assert len(ended) == 2
    threads.run(ended.append, [7, 8, 9])  # and the pool goes on
    assert sorted(ended[2:]) == [7, 8, 9]


def test_a_part_may_call_kernels_which_then_run_whole():
    found = [0, 0, 0]

    def work(part):
        found[part] = len(threads.parts(10, 10**9))

    threads.run(work, [0, 1, 2])
    assert found == [1, 1, 1]


def test_several_callers_at_once_get_their_own_results():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3, 9, 9)).astype("f"), rng.normal(size=(5, 3, 3, 3)).astype("f")
    wanted = [minidl.nn.functional.conv2d(minidl.from_numpy(x * i), minidl.from_numpy(w)).numpy() for i in range(4)]
    wrong = []

    def call(i):
        for _ in range(50):
            got = minidl.nn.functional.conv2d(minidl.from_numpy(x * i), minidl.from_numpy(w)).numpy()
            if not np.array_equal(got, wanted[i]):
                wrong.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_blas_has_one_thread_while_the_pool_lives_and_its_own_again_after():
    minidl.set_num_threads(1)
    before = blas_threads()
    minidl.set_num_threads(3)
    threads.run(lambda part: None, [0, 1, 2])
    assert set(blas_threads()) == {1}
    minidl.set_num_threads(1)
    assert blas_threads() == before


def test_no_thread_is_left_when_the_pool_is_closed():
    threads.run(lambda part: None, [0, 1, 2])
    workers = [t for t in threading.enumerate() if t.name.startswith("minidl-")]
    minidl.set_num_threads(1)
    for t in workers:
        t.join(10)
    assert not any(t.is_alive() for t in workers)


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_thread_is_refused(n):
    with pytest.raises(ValueError, match="set_num_threads: wants at least 1"):
        minidl.set_num_threads(n)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own():
    minidl.set_num_threads(1)
    with threadpool_limits(limits=2, user_api="blas"):
        minidl.set_num_threads(3)
        threads.run(lambda part: None, [0, 1, 2])
        child = os.fork()
        if child == 0:
            done = []
            threads.run(done.append, [0, 1, 2])
            minidl.set_num_threads(1)  # gives back what BLAS had before the parent's pool
            os._exit(0 if sorted(done) == [0, 1, 2] and set(blas_threads()) == {2} else 1)
        minidl.set_num_threads(1)
    for _ in range(1000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        threading.Event().wait(0.01)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_fewer_threads_than_when_the_work_was_cut():
    work, seen = threads.parts(6, 100), []
    minidl.set_num_threads(1)
    threads.run(seen.append, work)  # once this waited for workers that there were not
    assert seen == work
    minidl.set_num_threads(2)
    threads.run(seen.append, work)
    assert sorted(seen[3:], key=str) == sorted(work, key=str)


def test_the_default_heeds_a_quota(tmp_path):
    quota = tmp_path / "cpu.max"
    cores = threads._usable_cores(quota)  # there is no such file
    for text, wanted in (("max 100000", cores), ("100000 100000", 1), ("50000 100000", 1), ("900000000 100000", cores)):
        quota.write_text(text + "\n")
        assert threads._usable_cores(quota) == wanted


def test_work_on_a_batch_of_one_is_shared(monkeypatch):
    """Along another dimension than the batch, whose stride may be the largest."""
    seen, run = [], threads.run
    monkeypatch.setattr(threads, "run", lambda function, work: (seen.append(len(work)), run(function, work)))
    for shape, axes in (((1, 6, 8, 8), (0, 1, 2, 3)), ((6, 8, 8, 1), (3, 0, 1, 2))):
        x = np.random.default_rng(0).normal(size=shape).transpose(axes)
        pooled = cpu.max_pool2d(cpu.relu(x), Window((2, 2), (2, 2)))
        cpu.max_pool2d_taps(x, pooled, Window((2, 2), (2, 2)))
        cpu.sum(x, (0, 2, 3), False)
    assert len(seen) == 10 and set(seen) == {3}


@pytest.mark.parametrize("n", ["2", None, 1.5, float("nan")])
def test_the_number_of_threads_is_a_whole_number(n):
    with pytest.raises(TypeError, match="set_num_threads: wants a whole number"):
        minidl.set_num_threads(n)
    assert minidl.get_num_threads() == 3
