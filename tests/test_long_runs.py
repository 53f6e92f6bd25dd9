"""Training for long, twice, in two threads, and with too little memory: nothing grows, and nothing changes the numbers."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

for needed in ("matplotlib", "tqdm"):  # of the examples, where one of the networks is
    pytest.importorskip(needed)

import minidl
import minidl.nn.functional as F
from minidl import nn

BENCHMARKS = str(Path(__file__).resolve().parent.parent / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import long_runs

NETWORKS = list(long_runs.NETWORKS)


def trained(name, steps):
    """The losses of so many steps, and then the parameters, from seed 0."""
    minidl.manual_seed(0)
    running = long_runs.NETWORKS[name]()
    net = next(running)
    losses = [next(running) for _ in range(steps)]
    running.close()
    return losses, [p.detach().numpy().copy() for p in net.parameters()]


def same(a, b):
    return a[0] == b[0] and all(x.tobytes() == y.tobytes() for x, y in zip(a[1], b[1], strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_grows(name):
    """Memory that Python and NumPy hold, threads, open files, objects: after 45 steps as after 15."""
    minidl.manual_seed(0)
    running, seen = long_runs.NETWORKS[name](), []
    tracemalloc.start()
    try:
        for steps in (15, 30):
            for _ in range(steps):
                next(running)
            _, *counts = long_runs.look()
            seen.append((tracemalloc.get_traced_memory()[0], *counts))
    finally:
        tracemalloc.stop()
    (memory, threads, files, objects), (later, *others) = seen
    ready = 12 * 49_152 if name == "CNN" else 0  # its loader may have so many more batches ready
    assert later - memory < ready + 30_000, "bytes; a step's graph has more"
    assert others[0] <= threads + 2 and (files is None or others[1] <= files)  # the loader's threads come and go
    assert others[2] - objects < 100


def nodes():
    """How many recorded ops there are."""
    return sum(isinstance(o, minidl.autograd.tape.Node) for o in gc.get_objects())


def test_no_graph_is_left_of_a_step():
    running = long_runs.NETWORKS["GPT"]()
    for _ in range(4):
        next(running)
    gc.disable()  # what is in no cycle is gone without it
    try:
        before = nodes()
        next(running)
        assert 0 < nodes() <= before  # those of the loss that the loop still holds
        running.close()
        assert nodes() == 0 or nodes() <= before // 2
    finally:
        gc.enable()


# -- the same again


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_bits(name):
    assert same(trained(name, 12), trained(name, 12))


DIGEST = """
import hashlib, json, sys
sys.path[:0] = sys.argv[1:3]
import minidl
from test_long_runs import NETWORKS, trained
minidl.set_num_threads(int(sys.argv[3]))
found = {}
for name in NETWORKS:
    losses, parameters = trained(name, 12)
    found[name] = [losses, hashlib.sha256(b"".join(p.tobytes() for p in parameters)).hexdigest()]
print(json.dumps(found))
"""


def digests(threads):
    """Losses and a sum over all parameters of each network, from a process of its own."""
    command = [sys.executable, "-c", DIGEST, str(Path(__file__).parent), BENCHMARKS, str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_same_seed_gives_the_same_bits_in_another_process():
    here = {}
    before = minidl.get_num_threads()
    minidl.set_num_threads(2)
    try:
        for name in NETWORKS:
            losses, parameters = trained(name, 12)
            here[name] = [losses, hashlib.sha256(b"".join(p.tobytes() for p in parameters)).hexdigest()]
    finally:
        minidl.set_num_threads(before)
    assert digests(2) == here


def wide(threads):
    """Two steps of a network that is large enough to be shared out: the loss of each, and the gradients."""
    minidl.manual_seed(0)
    minidl.set_num_threads(threads)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(2048, 64)
    )
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(net(minidl.randn(64, 3, 32, 32)), minidl.arange(64))
        loss.backward()
        losses.append(loss.item())
    return losses, [p.grad.numpy().copy() for p in net.parameters()]


def test_other_numbers_of_threads_differ_by_rounding_only():
    """A millionth of the largest gradient: sums of float32 in another order."""
    before = minidl.get_num_threads()
    try:
        one, again, *more = (wide(n) for n in (1, 1, 2, 3))
    finally:
        minidl.set_num_threads(before)
    assert same(one, again)
    largest = max(np.abs(gradient).max() for gradient in one[1])
    for other in more:
        np.testing.assert_allclose(other[0], one[0], rtol=1e-6)
        for a, b in zip(other[1], one[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * largest)


def test_two_threads_get_what_two_separate_runs_get():
    """Each with a generator of its own for what the loader and the loss draw; weights are made before."""
    alone = [trained("CNN", 16), trained("LSTM", 30)]
    both, made = [None, None], []
    for name in ("CNN", "LSTM"):
        minidl.manual_seed(0)
        running = long_runs.NETWORKS[name]()
        made.append((next(running), running))

    def work(i, steps):
        net, running = made[i]
        losses = [next(running) for _ in range(steps)]
        both[i] = losses, [p.detach().numpy().copy() for p in net.parameters()]

    workers = [threading.Thread(target=work, args=(i, n)) for i, n in ((0, 16), (1, 30))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert same(both[0], alone[0]) and same(both[1], alone[1])


# -- too little memory

SQUEEZED = """
import resource, sys, minidl
from minidl import nn
minidl.set_num_threads(2)
net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())
def step(n):
    net(minidl.randn(n, 3, 32, 32)).sum().backward()
step(16)
pages = int(open("/proc/self/statm").read().split()[0])
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for spare in (5, 40, 75, 105, 115):
    resource.setrlimit(resource.RLIMIT_AS, ((pages << 12) + (spare << 20), hard))
    try:
        step(256)
    except MemoryError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    step(16)
print("and it goes on")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="wants Linux, to know how much memory there is")
def test_too_little_memory_is_a_sentence():
    done = subprocess.run([sys.executable, "-c", SQUEEZED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *errors, last = done.stdout.splitlines()
    assert last == "and it goes on" and len(errors) >= 4
    for error in errors:
        assert (
            "Unable to allocate" in error and "for an array with shape" in error and "What needs less: smaller batches" in error
        )
    assert {error.partition(":")[0] for error in errors} >= {"conv2d", "backward through relu"}
