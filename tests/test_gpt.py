"""The small GPT: which tokens can be drawn; writing with the caches, also past the context; broken off and taken up again."""

import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("matplotlib", "tqdm"):
    pytest.importorskip(needed)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import gpt

import minidl

PROBABLE = [0.05, 0.4, 0.25, 0.2, 0.1]  # of the tokens 0 to 4


def drawn(count=2000, **how):
    """Of so many tokens the share of each."""
    minidl.manual_seed(0)
    scores = minidl.tensor(PROBABLE).log().expand(count, -1)
    return np.bincount(gpt.pick(scores, **how)[:, 0].numpy(), minlength=5) / count


@pytest.mark.parametrize(
    "how, left",
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [1, 2]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.3}, [1]),
        ({"top_p": 0.5}, [1, 2]),
        ({"top_p": 0.9}, [1, 2, 3, 4]),
        ({"top_p": 0.0}, [1]),
        ({"top_p": 0.9, "top_k": 3}, [1, 2, 3]),
        ({"temperature": 0}, [1]),
        ({"temperature": 1e-4}, [1]),
        ({"temperature": 1e-40}, [1]),
    ],
    ids=str,
)
def test_what_can_be_drawn(how, left):
    wanted = np.zeros(5)
    wanted[left] = np.array(PROBABLE)[left]
    np.testing.assert_allclose(drawn(**how), wanted / wanted.sum(), atol=0.04)  # three times its standard deviation, and more


def test_temperature_divides_the_scores():
    wanted = np.sqrt(PROBABLE)
    np.testing.assert_allclose(drawn(temperature=2.0), wanted / wanted.sum(), atol=0.04)


@pytest.mark.parametrize("length, prompt", [(8, 3), (8, 20), (1, 1), (1, 4), (3, 2)])
def test_the_caches_change_nothing(length, prompt, monkeypatch):
    """The scores are those that the same network gives the same tokens without any cache."""
    minidl.manual_seed(0)
    net, seen, pick = gpt.GPT(20, length, 16, 2, 2), [], gpt.pick
    monkeypatch.setattr(gpt, "pick", lambda scores, **how: seen.append(scores) or pick(scores, **how))
    for p in net.parameters():
        p.data.mul_(10)  # so that the blocks say something
    found, half = gpt.write(net, minidl.randint(0, 20, (2, prompt)), 15, temperature=9.0), max(length // 2, 1)
    assert found.shape == (2, prompt + 15) and net.training
    begun = max(prompt - half, 0)  # what is read begins here
    for at, scores in zip(range(prompt, prompt + 15), seen, strict=True):
        if at - begun > length:
            begun = at - half
        np.testing.assert_allclose(scores.numpy(), net(found[:, begun:at])[:, -1].detach().numpy(), 1e-4, 1e-4)


@pytest.mark.parametrize("said", ["--top-p -0.1", "--top-p 1.5", "--top-p nan", "--top-k -1", "--temperature -1", "--heads 0"])
def test_numbers_without_meaning_are_refused(said, capsys):
    with pytest.raises(SystemExit):
        gpt.command_line().parse_args(said.split())
    assert said.split()[0] in capsys.readouterr().err


def test_heads_share_the_width():
    with pytest.raises(SystemExit, match="--heads 3 must divide --width 128"):
        gpt.prepare(gpt.command_line().parse_args(["--heads", "3"]))


def test_resumed_equals_unbroken(tmp_path, monkeypatch, capsys):
    book = tmp_path / "book.txt"
    book.write_text("The quick brown fox jumps over the lazy dog. " * 100)
    device = minidl.get_default_device().type
    common = f"gpt.py --device {device} --text {book} "
    common += "--steps 4 --every 4 --batch-size 2 --length 8 --width 8 --heads 2 --layers 1 --count 12"

    def run(name, *more, steps=None):
        """The program; broken off after so many steps."""
        where = ["--checkpoint", str(tmp_path / name), "--output", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*common.split(), *where, *more])
        with monkeypatch.context() as patch:
            if steps is not None:
                patch.setattr(gpt.Steps, "run", lambda self, _, run=gpt.Steps.run: run(self, lambda: self.done == steps))
            gpt.main()
        return capsys.readouterr().out

    text = run("unbroken").splitlines()[-1]
    assert "Stopped after 2 steps" in run("broken", steps=2)
    assert run("broken", "--resume").splitlines()[-1] == text
    one, two = (minidl.load(tmp_path / name) for name in ("unbroken", "broken"))
    for name, value in one["model"].items():
        np.testing.assert_array_equal(two["model"][name].numpy(), value.numpy())
    assert one["history"] == two["history"] and (tmp_path / "gpt.png").stat().st_size > 1000
    assert "The " in run("broken", "--only-write", "--prompt", "The ", "--temperature", "0")
