"""A training run that was broken off and taken up again equals an unbroken one, bit for bit."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

for needed in ("matplotlib", "tqdm"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import cifar10
import resnet_cifar10
from shared import steps

import minidl
from minidl import distributed
from minidl.vision import datasets, transforms

SETTINGS = {"seed": 3, "batch_size": 32, "lr": 0.01, "momentum": 0.9, "epochs": 2, "weight_decay": 5e-4, "decay": 0.9}
ARGS = argparse.Namespace(
    device="cpu", compile=False, accumulate=1, workers=2, keep=2, save_every=0, checkpoint=None, **SETTINGS
)


class Bar:
    """Takes the place of the progress bar."""

    def update(self, n):
        pass

    def set_postfix(self, **numbers):
        pass


class After:
    """An interrupt that comes after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    @property
    def wanted(self):
        self.steps -= 1
        return self.steps < 0


@pytest.fixture
def one_group():
    if distributed.is_initialized():  # by another file's tests, in this process
        distributed.destroy_process_group()
    yield
    distributed.destroy_process_group()


def pictures():
    flip = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomCrop(32, 4), cifar10.TO_INPUT])
    return datasets.Shapes(size=200, transform=flip)


def train(training, epochs, interrupt):
    """True if the epochs were all finished."""
    while training.epoch < epochs:
        if not training.run_epoch(interrupt, Bar()):
            return False
        training.history.append({"epoch": training.epoch, "loss": training.running[0]})
        training.running = [0.0, 0, 0]
    return True


@pytest.mark.parametrize("example, steps", [*((cifar10, n) for n in (0, 3, 6, 7, 9)), (resnet_cifar10, 3), (resnet_cifar10, 9)])
def test_resumed_equals_unbroken(tmp_path, example, steps):
    unbroken = example.Training(ARGS, pictures())
    assert train(unbroken, 2, After(10**6))
    unbroken.save(tmp_path / "unbroken")

    broken = example.Training(ARGS, pictures())
    assert not train(broken, 2, After(steps))
    broken.save(tmp_path / "broken")
    resumed = example.Training(ARGS, pictures())
    resumed.load(tmp_path / "broken")
    assert train(resumed, 2, After(10**6))
    resumed.save(tmp_path / "resumed")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "unbroken").read_bytes()


def test_a_run_saves_within_its_epochs_as_well(tmp_path):
    saving = argparse.Namespace(**{**vars(ARGS), "save_every": 2, "checkpoint": tmp_path / "saved"})
    unbroken = cifar10.Training(saving, pictures())
    assert train(unbroken, 1, After(10**6))
    unbroken.save(tmp_path / "unbroken")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved", "saved.1", "unbroken"]
    for number, name in ((6, "saved"), (4, "saved.1")):
        resumed = cifar10.Training(ARGS, pictures())
        resumed.load(tmp_path / name)
        assert (resumed.epoch, resumed.running[2]) == (0, 32 * number)
        assert train(resumed, 1, After(10**6))
        resumed.save(tmp_path / "resumed")
        assert (tmp_path / "resumed").read_bytes() == (tmp_path / "unbroken").read_bytes()


def test_a_damaged_checkpoint_costs_only_what_came_after_the_one_before(tmp_path):
    training = cifar10.Training(ARGS, pictures())
    training.save(tmp_path / "saved")
    assert train(training, 1, After(10**6))
    training.save(tmp_path / "saved")
    (tmp_path / "saved").write_bytes((tmp_path / "saved").read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"saved is damaged.*going on from the checkpoint before it, .*saved\.1"):
        cifar10.Training(ARGS, pictures()).load(tmp_path / "saved")


def test_resume_refuses_other_settings(tmp_path):
    cifar10.Training(ARGS, pictures()).save(tmp_path / "saved")
    other = cifar10.Training(argparse.Namespace(**{**vars(ARGS), "lr": 0.1}), pictures())
    with pytest.raises(SystemExit, match="was trained with"):
        other.load(tmp_path / "saved")


def test_a_checkpoint_that_cannot_be_written_ends_the_program_with_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="no ordinary file"):
        cifar10.Training(ARGS, pictures()).save(tmp_path)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--seed", str(2**64)], f"seed must be an integer of 64 bits, got {2**64}$"),
        (["--checkpoint", "."], "--checkpoint . is a folder; give the name of a file$"),
    ],
)
def test_options_that_cannot_work_are_named_before_the_training(options, said, tmp_path, monkeypatch, one_group):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=said):
        cifar10.run(cifar10.options().parse_args(options), cifar10.Training, cifar10.TO_TRAIN)
    with pytest.raises(SystemExit, match=said):
        steps.prepare(steps.options("", 1, 1, 1, 1, "test").parse_args(options))


def test_going_on_within_an_epoch_says_so(tmp_path, monkeypatch, one_group):
    monkeypatch.chdir(tmp_path)
    said, args = [], cifar10.options().parse_args("--resume --checkpoint c --seed 3 --batch-size 32 --lr 0.01".split())
    training = cifar10.Training(ARGS, pictures())
    assert not train(training, 1, After(2))
    training.save(tmp_path / "c")
    monkeypatch.setattr(cifar10, "find_data", lambda *_: (pictures(), pictures()))
    monkeypatch.setattr(cifar10, "Interrupt", lambda: After(0))
    monkeypatch.setattr(cifar10, "tell", said.append)
    cifar10.run(args, cifar10.Training, cifar10.TO_TRAIN)
    assert said[0] == "Going on from c: 0 epochs and 96 pictures of the next done." and "Stopped in epoch 1" in said[-1]


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    command = [
        sys.executable,
        str(EXAMPLES / "cifar10.py"),
        "--data",
        "embedded",
        "--epochs",
        "1",
        "--checkpoint",
        "c",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    while "parameters" not in printed:  # then it trains
        line = process.stdout.readline()
        assert line, printed
        printed += line
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    printed += process.communicate(timeout=60)[0]
    assert process.returncode == 0, printed
    assert "saved to c. Go on: the same command and --resume." in printed
    assert (tmp_path / "c").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_what_is_no_checkpoint_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "c"
    if content is None:
        minidl.save({"model": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match="checkpoint: "):
        cifar10.load_checkpoint(path)
    with pytest.raises(SystemExit, match="checkpoint: "):
        cifar10.load_checkpoint(tmp_path / "missing")
