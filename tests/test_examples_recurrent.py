"""The examples with recurrent networks: broken off and taken up again; what they write; the same networks in PyTorch."""

import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("matplotlib", "tqdm"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import char_rnn
import digits_rnn

import minidl

ALPHABET = len(char_rnn.text.ALPHABET)


@pytest.fixture
def args(tmp_path):
    """A command line for a few small steps."""
    book = tmp_path / "book.txt"
    book.write_text("The quick brown fox jumps over the lazy dog. " * 100)
    said = f"--text {book} --steps 6 --every 2 --batch-size 3 --length 12 --width 8 --layers 2 --checkpoint {tmp_path}/c"
    return char_rnn.command_line().parse_args([*said.split(), "--output", str(tmp_path)])


def learner(args):
    minidl.manual_seed(args.seed)
    return char_rnn.Learner(args, char_rnn.CharRNN(ALPHABET, args.width, args.layers))


def saved(learner, path):
    learner.steps.seconds = 0.0  # the only thing that may differ
    learner.steps.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_resumed_equals_unbroken(args, tmp_path, steps):
    unbroken = learner(args)
    assert unbroken.steps.run(lambda: False)

    broken, left = learner(args), iter(range(steps))
    assert not broken.steps.run(lambda: next(left, None) is None)
    resumed = learner(args)
    minidl.manual_seed(99)  # what it draws comes from the checkpoint
    resumed.steps.load(args.checkpoint)
    assert resumed.steps.done == steps
    assert resumed.steps.run(lambda: False)
    assert saved(resumed, tmp_path / "resumed") == saved(unbroken, tmp_path / "unbroken")


def test_resume_refuses_other_settings(args, tmp_path):
    saved(learner(args), tmp_path / "c")
    args.width = 9
    with pytest.raises(SystemExit, match="was trained with"):
        learner(args).steps.load(args.checkpoint)


def test_resume_refuses_another_text(args, tmp_path):
    saved(learner(args), tmp_path / "c")
    Path(args.text).write_text("Pack my box with five dozen liquor jugs. " * 100)
    with pytest.raises(SystemExit, match="was trained with checksum of the text"):
        learner(args).steps.load(args.checkpoint)


def test_checkpoints_of_another_example_are_refused(args, tmp_path):
    saved(learner(args), tmp_path / "c")
    with pytest.raises(SystemExit, match="of another example, char_rnn"):
        char_rnn.load_checkpoint(args.checkpoint, "gpt")


@pytest.mark.parametrize(
    "said, wanted",
    [
        ("--temperature -1", "at least 0, got -1"),
        ("--temperature nan", "at least 0, got nan"),
        ("--count -1", "at least 0"),
        ("--length 0", "at least 1"),
        ("--width 0", "at least 1"),
        ("--layers 0", "at least 1"),
        ("--lr -1", "at least 0"),
        ("--steps 0", "at least 1"),
        ("--every 0", "at least 1"),
        ("--batch-size x", "invalid int value: 'x'"),
    ],
)
def test_numbers_without_meaning_are_refused(said, wanted, capsys):
    with pytest.raises(SystemExit):
        char_rnn.command_line().parse_args(said.split())
    error = capsys.readouterr().err
    assert said.split()[0] in error and wanted in error


def test_it_learns_and_writes(args):
    args.steps, args.every, args.lr, args.width, args.layers, args.batch_size = 80, 10, 0.03, 32, 1, 8
    one = learner(args)
    assert one.steps.run(lambda: False)
    assert one.steps.history[-1]["bits per character"] < 0.5 < 1 < one.steps.history[0]["bits per character"]
    prompt = minidl.tensor(char_rnn.text.encode("The qu"))[None]
    found = char_rnn.write(one.net, prompt, 10, 0)
    assert found.shape == (1, 16) and char_rnn.text.decode(found[0].tolist()).startswith("The qu")
    # a character at a time with the state is the same as all of them anew
    tokens = prompt
    for _ in range(10):
        tokens = minidl.cat([tokens, one.net(tokens)[0][:, -1].argmax(-1, keepdim=True)], 1)
    assert found.tolist() == tokens.tolist() == char_rnn.write(one.net, prompt, 10, 1e-40).tolist()
    minidl.manual_seed(5)
    drawn = char_rnn.write(one.net, prompt, 40, 2.0)
    minidl.manual_seed(5)
    assert char_rnn.write(one.net, prompt, 40, 2.0).tolist() == drawn.tolist() and one.net.training


def test_text(tmp_path, capsys):
    text = char_rnn.text
    assert text.decode(text.encode("ab\n~é€")) == "ab\n~??"
    with pytest.raises(SystemExit, match="--text: .*missing"):
        text.load(tmp_path / "missing")
    with pytest.raises(SystemExit, match="too few"):
        text.Text("short", 12)
    assert len(text.load()) > 300_000


@pytest.mark.parametrize("example, name, sizes", [(char_rnn, "CharRNN", (9, 8, 2)), (digits_rnn, "RowReader", (8,))])
def test_the_same_network_in_pytorch(example, name, sizes):
    """The class as it is written, with the word torch for minidl."""
    torch = pytest.importorskip("torch")
    source = inspect.getsource(getattr(example, name)).replace("minidl", "torch")
    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    exec(source, names)
    theirs, ours = names[name](*sizes), getattr(example, name)(*sizes)
    ours.load_state_dict({key: minidl.from_numpy(value.numpy()) for key, value in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (2, 7)) if name == "CharRNN" else rng.normal(size=(2, 8, 8)).astype("f")
    a, b = theirs(torch.from_numpy(x)), ours(minidl.from_numpy(x))
    a, b = (side[0] if isinstance(side, tuple) else side for side in (a, b))
    np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), 1e-5, 1e-6)


def test_digits_want_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit, match=r'pip install "minidl\[digits\]"'):
        digits_rnn.load()


def test_digits(tmp_path):
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    pictures, labels, unseen, answers = digits_rnn.load()
    assert pictures.shape == (1437, 8, 8) and unseen.shape == (360, 8, 8) and pictures.max() == 1
    assert len(labels) == 1437 and set(answers.tolist()) == set(range(10))
    assert not {p.tobytes() for p in pictures} & {p.tobytes() for p in unseen}
    digits_rnn.draw_confusion(answers, answers, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
