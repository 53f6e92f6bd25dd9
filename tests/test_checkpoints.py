"""Checkpoints of a run: the last few are kept, and whatever goes wrong while one is written costs none of them."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import minidl
from minidl import Checkpoints, nn, optim


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_few_are_kept(tmp_path):
    for i in range(5):
        Checkpoints(tmp_path / "run", keep=3).save({"i": i})
    assert names(tmp_path) == ["run", "run.1", "run.2"]
    assert [minidl.load(tmp_path / name)["i"] for name in names(tmp_path)] == [4, 3, 2]
    Checkpoints(tmp_path / "one", keep=1).save(1)
    Checkpoints(tmp_path / "one", keep=1).save(2)
    assert names(tmp_path) == ["one", "run", "run.1", "run.2"] and minidl.load(tmp_path / "one") == 2


def test_the_newest_that_is_whole_is_loaded(tmp_path):
    run = Checkpoints(tmp_path / "run", keep=12)
    for i in range(12):
        run.save(i)
    assert run.load() == 11
    for number in ("", *(f".{i}" for i in range(1, 9))):
        (tmp_path / f"run{number}").write_bytes(b"damaged")
    (tmp_path / "run.note").write_text("no checkpoint")
    with pytest.warns(UserWarning, match=r"run is damaged.*going on from the checkpoint before it, .*run\.9$"):
        assert run.load() == 2
    (tmp_path / "run").unlink()  # as between two renames
    for i in range(1, 9):
        (tmp_path / f"run.{i}").unlink()
    assert run.load() == 2  # without a warning


def test_one_that_cannot_be_read_is_passed_over(tmp_path):
    """As on a bad sector; or where another process saves between the look and the reading."""
    run = Checkpoints(os.fsencode(tmp_path / "run"))
    for i in range(2):
        run.save(i)
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    with pytest.warns(UserWarning, match=r"run is no ordinary file; going on from the checkpoint before it, .*run\.1$"):
        assert run.load() == 0
    (tmp_path / "run.1").unlink()
    with pytest.raises(OSError, match="run is no ordinary file"):
        run.load()


def test_when_there_is_none_or_no_whole_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Checkpoints: there is none at {tmp_path / 'run'}"):
        Checkpoints(tmp_path / "run").load()
    (tmp_path / "run").write_bytes(b"newest")
    (tmp_path / "run.1").write_bytes(b"older")
    with pytest.raises(RuntimeError, match=f"load: {tmp_path / 'run'} is damaged"):
        Checkpoints(tmp_path / "run").load()


@pytest.mark.parametrize("keep, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_a_senseless_number_to_keep(keep, error):
    with pytest.raises(error, match="Checkpoints: keep"):
        Checkpoints("run", keep)


def test_folders_are_not_moved_and_links_stay(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="is no ordinary file"):
        Checkpoints(tmp_path / "folder").save(1)
    (tmp_path / "last").symlink_to(tmp_path / "folder" / "run")
    for i in range(2):
        Checkpoints(tmp_path / "last").save(i)
    assert names(tmp_path) == ["folder", "last"] and names(tmp_path / "folder") == ["run", "run.1"]
    assert (tmp_path / "last").is_symlink() and minidl.load(tmp_path / "last") == 1


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    (tmp_path / "run.new.12345678.tmp").write_bytes(b"half")
    (tmp_path / "other.new.12345678.tmp").write_bytes(b"of another run")
    Checkpoints(tmp_path / "run").save(1)
    assert names(tmp_path) == ["other.new.12345678.tmp", "run"]


# -- disks and rights


def test_a_second_writer_is_noticed(tmp_path, monkeypatch):
    """The other one saves while the first is about to rename, and takes its file for that of a killed run."""
    run, flush, others = Checkpoints(tmp_path / "run"), os.fsync, iter([Checkpoints(tmp_path / "run")])

    def flush_while_another_saves(number):
        flush(number)
        for other in others:
            other.save("other")

    run.save("first")
    monkeypatch.setattr(os, "fsync", flush_while_another_saves)
    with pytest.raises(
        OSError, match="run went away while it was saved: another run seems to save there too; give each a path"
    ):
        run.save("second")
    assert run.load() == "other" and minidl.load(tmp_path / "run.1") == "first"


@pytest.fixture
def before(tmp_path):
    """A folder with two checkpoints, which are the same two, and all that there is, after the test."""
    run = Checkpoints(tmp_path / "run")
    for i in range(2):
        run.save({"i": i, "t": minidl.zeros(50_000)})
    yield run
    assert names(tmp_path) == ["run", "run.1"]
    assert [minidl.load(tmp_path / name)["i"] for name in names(tmp_path)] == [1, 0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_of_the_disk_says_which_file_and_costs_no_checkpoint(monkeypatch, before, number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        OSError, match=f"save: {before.path}.new could not be written, and is as .*: {os.strerror(number)}"
    ) as e:
        before.save(2)
    assert e.value.errno == number


def test_a_file_that_may_not_grow_so_large(before):
    """A true error in the middle of writing."""
    resource = pytest.importorskip("resource", reason="sets a limit of POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="run.new could not be written, and is as it was before: File too large"):
            before.save(minidl.zeros(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


AS_NOBODY = """
import os, sys, minidl
folder = sys.argv[1]
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for path in ("locked/run", "open/run"):
    try:
        minidl.Checkpoints(f"{folder}/{path}").save(2)
    except OSError as error:
        print(type(error).__name__, error)
try:
    minidl.Checkpoints(f"{folder}/locked/secret").load()
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def public():
    """A folder that other users may enter; pytest's own they may not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.name != "posix", reason="the rights of POSIX")
def test_without_the_right_to_write_or_read(public):
    """In a process that is not the superuser's."""
    for name, rights in (("locked", 0o555), ("open", 0o777)):
        (public / name).mkdir()
        Checkpoints(public / name / "run").save(1)
        minidl.save(1, public / name / "secret")
        (public / name / "secret").chmod(0)
        (public / name).chmod(rights)
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(public)], capture_output=True, text=True)
    if "No module named" in done.stderr or "can't open" in done.stderr:
        pytest.skip("a process without the superuser's rights cannot read this environment")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    where = public / "locked"
    assert said[0] == (
        f"PermissionError [Errno 13] save: {where}/run.new could not be written, and is as it was before: Permission denied"
    )
    assert said[1].startswith("PermissionError") and "secret" in said[1] and len(said) == 2
    assert minidl.load(where / "run") == 1 and names(where) == ["run", "secret"]
    assert names(public / "open") == ["run", "run.1", "secret"]
    where.chmod(0o755)


# -- another network


def training(width):
    net = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    return net, optim.Adam(net.parameters())


def test_a_checkpoint_of_another_network_changes_nothing(tmp_path):
    net, optimizer = training(4)
    net(minidl.ones(2, 3)).sum().backward()
    optimizer.step()
    Checkpoints(tmp_path / "run").save({"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    state = Checkpoints(tmp_path / "run").load()
    other, _ = training(5)
    was = {name: value.tolist() for name, value in other.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"0\.weight.*\(4, 3\).*\(5, 3\)"):
        other.load_state_dict(state["net"])
    assert {name: value.tolist() for name, value in other.state_dict().items()} == was
    fewer = optim.Adam(list(other.parameters())[:2])
    with pytest.raises(ValueError, match="param"):
        fewer.load_state_dict(state["optimizer"])
    assert not fewer.state
