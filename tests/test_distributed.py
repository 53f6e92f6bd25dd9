"""Many ranks: what they do together, training on parts of a batch, what happens when one dies, and how they are started.

What several ranks run is in ranks.py; those tests want mpi4py and an MPI (``pip install "minidl[mpi]"``).
"""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import distributed, nn
from minidl.distributed import launch
from minidl.nn.parallel import DistributedDataParallel
from minidl.utils.data import DataLoader, DistributedSampler

ROOT = Path(__file__).resolve().parent.parent
RANKS = str(ROOT / "tests" / "ranks.py")
needs_mpi = pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py: pip install 'minidl[mpi]'")


def start(*arguments, prefix=(), **environment):
    """Run the launcher; what it prints, and its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    line = [*prefix, sys.executable, "-m", "minidl.distributed.launch", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)
    return done.stdout + done.stderr, done.returncode


@pytest.fixture
def alone():
    """A process group of one."""
    distributed.init_process_group()
    yield
    distributed.destroy_process_group()


# -- one process


def test_a_group_of_one(alone):
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.get_backend()) == (0, 1, "serial")
    t = minidl.tensor([1.0, 2.0])
    for op in distributed.ReduceOp:
        distributed.all_reduce(t, op)
    distributed.broadcast(t, src=0)
    distributed.barrier()
    found, objects = [minidl.zeros(2)], [None]
    distributed.all_gather(found, t)
    distributed.all_gather_object(objects, "here")
    assert t.tolist() == found[0].tolist() == [1, 2] and objects == ["here"]


def test_without_a_group():
    assert not distributed.is_initialized() and distributed.get_node_local_rank(fallback_rank=3) == 3
    for call in (distributed.get_rank, distributed.barrier, lambda: DistributedDataParallel(nn.Linear(1, 1))):
        with pytest.raises(ValueError, match="init_process_group"):
            call()
    distributed.destroy_process_group()  # nothing to do


def test_what_init_refuses():
    with pytest.raises(ValueError, match="'gloo'"):
        distributed.init_process_group("gloo")
    with pytest.raises(ValueError, match="world_size=2.*it is 1"):
        distributed.init_process_group("serial", world_size=2)
    for option in ({"init_method": "tcp://localhost:1"}, {"timeout": 3}, {"store": {}}, {"pg_options": 1}):
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            distributed.init_process_group("serial", **option)
    assert not distributed.is_initialized()


def test_tasks_of_a_scheduler_that_do_not_find_each_other(monkeypatch):
    """Else each would train by itself, and all write the same checkpoint."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "64")
    with pytest.raises(RuntimeError, match="srun started 64 tasks.*--mpi=pmi2"):
        distributed.init_process_group()
    assert not distributed.is_initialized()
    distributed.init_process_group("serial")  # which asks for just that
    distributed.destroy_process_group()


def test_what_calls_refuse(alone):
    t = minidl.zeros(2)
    with pytest.raises(TypeError, match="Tensor"):
        distributed.all_reduce(np.zeros(2))
    with pytest.raises(TypeError, match="ReduceOp"):
        distributed.all_reduce(t, "sum")
    with pytest.raises(NotImplementedError, match="async_op"):
        distributed.all_reduce(t, async_op=True)
    with pytest.raises(NotImplementedError, match="group"):
        distributed.all_reduce(t, group=object())
    with pytest.raises(ValueError, match="must hold 1 tensors"):
        distributed.all_gather([], t)


@pytest.mark.filterwarnings("ignore::minidl.CompileWarning")
def test_a_model_alone(alone):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    ddp = DistributedDataParallel(net)
    x = minidl.randn(5, 3)
    expected = minidl.autograd.grad(net(x).square().sum(), [*net.parameters()])
    ddp(x).square().sum().backward()
    for p, g in zip(net.parameters(), expected):
        assert np.array_equal(p.grad.numpy(), g.numpy())
    assert net[0].weight.grad.numpy().base is net[2].bias.grad.numpy().base, "views of one flat array"
    compiled = minidl.compile(ddp)  # which would not see the exchange, and says so
    for _ in range(3):
        compiled(x)
    assert "gradients are exchanged" in compiled.explain()
    with pytest.raises(ValueError, match=r"output_device=1 is not that of device_ids=\[0\]"):
        DistributedDataParallel(net, device_ids=[0], output_device=1)
    for option in ({"dim": 1}, {"skip_all_reduce_unused_params": True}, {"device_mesh": 1}, {"mixed_precision": 1}):
        with pytest.raises(NotImplementedError, match=next(iter(option))):
            DistributedDataParallel(net, **option)
    with pytest.raises(RuntimeError, match="no parameter"):
        DistributedDataParallel(nn.ReLU())


def test_sync_batch_norm_alone():
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Sequential(nn.BatchNorm1d(2, affine=False)), nn.ReLU())
    made = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert made is net and type(net[0]) is type(net[1][0]) is nn.SyncBatchNorm
    assert net[0].momentum == 0.3 and net[1][0].weight is None and next(iter(net.state_dict())) == "0.weight"
    x = minidl.randn(4, 3, 2, 2)
    assert np.array_equal(net[0](x).detach().numpy(), nn.BatchNorm2d(3)(x).detach().numpy())


def test_sampler():
    visited = [[*DistributedSampler(range(10), 4, rank, shuffle=False)] for rank in range(4)]
    assert visited == [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]
    visited = [[*DistributedSampler(range(10), 4, rank, drop_last=True, seed=3)] for rank in range(4)]
    assert [len(v) for v in visited] == [2] * 4 and len({i for v in visited for i in v}) == 8
    one, many = DistributedSampler(range(12), 1, 0), [DistributedSampler(range(12), 3, rank) for rank in range(3)]
    for epoch in range(2):
        for sampler in (one, *many):
            sampler.set_epoch(epoch)
        whole, parts = [*DataLoader(range(12), 6, sampler=one)], [[*DataLoader(range(12), 2, sampler=s)] for s in many]
        for batch, *shares in zip(whole, *parts):  # the ranks' batches together are the one batch
            assert sorted(batch.tolist()) == sorted(i for share in shares for i in share.tolist())
    assert [*one] != [*DistributedSampler(range(12), 1, 0)], "another epoch, another order"
    with pytest.raises(ValueError, match="Invalid rank 4"):
        DistributedSampler(range(10), 4, 4)
    assert [*DistributedSampler(range(1), 3, 2)] == [0]


def test_the_ring_that_is_drawn(monkeypatch):
    """After p - 1 rounds every rank has one whole piece, each another; after p - 1 more all have all."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from ring_picture import RANKS, states

    whole = [[[len(piece) == RANKS for piece in pieces] for pieces in held] for held, _ in states()]
    assert len(whole) == 2 * (RANKS - 1) + 1
    assert np.sum(whole, (1, 2)).tolist() == [0] * (RANKS - 1) + [RANKS * n for n in range(1, RANKS + 1)]
    assert np.all(np.sum(whole[RANKS - 1], 0) == 1) and np.all(np.sum(whole[RANKS - 1], 1) == 1)


# -- the launcher


def test_where_ranks_go():
    assert launch.ranks_by_host(None, None, 4) == {"": 4} and launch.ranks_by_host(None, 7, 4) == {"": 7}
    assert launch.ranks_by_host("a,b", None, 4) == {"a": 1, "b": 1}
    assert launch.ranks_by_host("a,b", 5, 4) == {"a": 3, "b": 2}
    assert launch.ranks_by_host("a:2,b:2", 3, 4) == {"a": 2, "b": 1} and launch.ranks_by_host("a:2,b:2", 2, 4) == {"a": 2}
    assert launch.ranks_by_host("a,b,a", None, 4) == {"a": 2, "b": 1}
    for hosts in ("", "a,,b", "a:0", "a:-1,b:2", "a:many", "a:", ":2"):
        with pytest.raises(ValueError, match="--hosts wants.*got " + repr(hosts)):
            launch.ranks_by_host(hosts, None, 4)
    with pytest.raises(ValueError, match="more than the 4 ranks"):
        launch.ranks_by_host("a:2,b:2", 5, 4)
    with pytest.raises(ValueError, match="at least 1"):
        launch.ranks_by_host(None, 0, 4)


def test_command_lines():
    line = launch.command("mpiexec", {"a": 2, "b": 1}, False, ["p.py"])
    assert line == ["mpiexec", "-n", "3", "-hosts", "a:2,b:1", sys.executable, "-c", launch.RANK, "p.py"]
    line = launch.command("mpiexec", {"a": 2}, True, ["-m", "p"])
    assert line[:5] == ["mpiexec", "-n", "2", "--host", "a:2"] and line[-3:] == [launch.RANK, "-m", "p"]
    assert "-hosts" not in launch.command("mpiexec", {"": 2}, False, ["p.py"])


def test_without_mpiexec(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match=r"no nowhere on the PATH.*minidl\[mpi\]"):
        launch.find_mpiexec("nowhere")
    with pytest.raises(SystemExit):
        launch.main(["--mpiexec", "nowhere", "program.py"])
    assert "minidl[mpi]" in capsys.readouterr().err


def test_threads_of_the_command_line(capsys):
    for n in ("0", "-2"):
        with pytest.raises(SystemExit):
            launch.main(["--threads", n, "program.py"])
        assert f"--threads must be at least 1, got {n}" in capsys.readouterr().err


# -- several ranks


@needs_mpi
def test_two_ranks():
    out, status = start("-n", 2, RANKS, "threads,collectives,data_parallel,sync_batch_norm,logs,nccl")
    assert status == 0, out
    assert all(f"done {name}" in out for name in ("threads", "collectives", "data_parallel", "sync_batch_norm", "logs", "nccl"))
    lines = sorted(line for line in out.splitlines() if line.startswith("[rank"))
    assert lines == [f"[rank {rank}] {words}" for rank in (0, 1) for words in ("all of us", "careful")]
    assert out.splitlines().count("hello") == 1


@needs_mpi
def test_three_ranks():
    """A number that is no power of two, on what may be fewer cores."""
    out, status = start("-n", 3, RANKS, "collectives,data_parallel,sync_batch_norm")
    assert status == 0 and "done" in out, out


def weights(path):
    return {name: t.numpy() for name, t in minidl.load(path)["net"].items()}


@needs_mpi
def test_two_halves_make_a_whole(tmp_path):
    """2 ranks x 50 is 1 rank x 100; the same from run to run; a rank that is killed ends all, and the rest makes it whole."""
    for n, name in ((1, "one"), (2, "two")):
        out, status = start("-n", n, RANKS, "train", 50, tmp_path / name)
        assert status == 0 and "trained 50" in out, out
    out, status = start("-n", 2, RANKS, "train", 50, tmp_path / "again", 100, 33)
    assert status != 0 and "trained" not in out
    assert time.time() - float(re.search(r"died at ([\d.]+)", out)[1]) < 20
    assert minidl.load(tmp_path / "again")["step"] == 30
    out, status = start("-n", 2, RANKS, "train", 50, tmp_path / "again")
    assert status == 0, out
    one, two, again = (weights(tmp_path / name) for name in ("one", "two", "again"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-9)
        assert np.array_equal(two[name], again[name])


@needs_mpi
def test_an_error_of_one_ends_all():
    out, status = start("-n", 2, RANKS, "fail")  # which waits for ever if the others are not ended: too long for start()
    assert status != 0 and "KeyError: 'what went wrong'" in out and "Traceback" in out


@needs_mpi
def test_an_error_before_the_group_ends_all(tmp_path):
    """As when a package is missing on one host: that rank has not yet met the others, who wait for it."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, minidl\n"
        "if int(os.environ.get('PMI_RANK', os.environ.get('OMPI_COMM_WORLD_RANK'))) == 1:\n"
        "    import missing_on_this_host\n"
        "minidl.distributed.init_process_group()\n"
    )
    out, status = start("-n", 2, program)
    assert status != 0 and "No module named 'missing_on_this_host'" in out


@needs_mpi
@pytest.mark.parametrize("how", ["ctrl-c", "terminate"])
def test_a_signal_ends_all(how):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "-m", "minidl.distributed.launch", "-n", "2", RANKS, "sleep"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as process:
        assert process.stdout.readline().startswith("asleep")
        if how == "ctrl-c":  # which all that runs in a terminal get
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        assert process.wait(30) != 0


# -- several hosts: two network namespaces, joined by a cable

HOSTS = "10.77.0.1", "10.77.0.2"
REMOTE_SHELL = """#!/bin/sh
# what MPI calls instead of ssh: the first argument that is a host says where, what follows is the command
while [ "${1#10.77.}" = "$1" ]; do shift; done
host=$1; shift
exec ip netns exec "%s" unshare --uts sh -c "hostname $host; $*"
"""


def namespace(host):
    """Its name, which is of this run: another that tests at the same time has others."""
    return f"minidl-{os.getpid()}-{host}"


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True).stdout


@pytest.fixture
def hosts(tmp_path):
    """Their shell; skipped where namespaces cannot be made, which takes Linux and root."""
    try:
        for host in HOSTS:
            ip("netns", "add", namespace(host))
        one, other = (("name", "minidl1", "netns", namespace(host)) for host in HOSTS)
        ip("link", "add", *one, "type", "veth", "peer", *other)
        for host in HOSTS:
            ip("-n", namespace(host), "addr", "add", f"{host}/24", "dev", "minidl1")
            ip("-n", namespace(host), "link", "set", "minidl1", "up")
            ip("-n", namespace(host), "link", "set", "lo", "up")
        while any(b"state UP" not in ip("-n", namespace(host), "link", "show", "minidl1") for host in HOSTS):
            time.sleep(0.1)  # a cable takes a moment to be there
        shell = tmp_path / "shell"
        shell.write_text(REMOTE_SHELL % namespace("$host"))
        shell.chmod(0o755)
        yield shell
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be made here: {getattr(error, 'stderr', error)}")
    finally:
        for host in HOSTS:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "del", namespace(host))


def received(host):
    """The bytes that a host has received over the cable."""
    counter = "/sys/class/net/minidl1/statistics/rx_bytes"
    line = ["ip", "netns", "exec", namespace(host), "cat", counter]
    return int(subprocess.run(line, check=True, capture_output=True).stdout)


@needs_mpi
@pytest.mark.skipif(shutil.which("ip") is None or shutil.which("unshare") is None, reason="needs Linux's ip and unshare")
def test_two_hosts(hosts, tmp_path):
    if "HYDRA" not in subprocess.run([launch.find_mpiexec(), "--version"], capture_output=True, text=True).stdout:
        pytest.skip("how to replace ssh is known for MPICH")
    named = ["unshare", "--uts", "sh", "-c", f'hostname {HOSTS[0]}; exec "$@"', "sh"]
    options = {"prefix": ["ip", "netns", "exec", namespace(HOSTS[0]), *named], "HYDRA_LAUNCHER_EXEC": str(hosts)}
    # or they would share this machine's memory, which hosts do not, or find each other by what is no cable
    options |= {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "minidl1"}
    out, status = start("--hosts", ",".join(f"{host}:2" for host in HOSTS), RANKS, "where", **options)
    assert status == 0, out
    for rank in range(4):
        assert f"rank {rank} local {rank % 2} on {HOSTS[rank // 2]}" in out
    assert received(HOSTS[1]) > 100000 * 4 / 2
    out, status = start("--hosts", ",".join(HOSTS), "-n", 2, RANKS, "train", 20, tmp_path / "apart", **options)
    assert status == 0, out
    out, status = start("-n", 2, RANKS, "train", 20, tmp_path / "together")
    assert status == 0, out
    apart, together = weights(tmp_path / "apart"), weights(tmp_path / "together")
    assert all(np.array_equal(apart[name], together[name]) for name in apart)
