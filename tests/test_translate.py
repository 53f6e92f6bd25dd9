"""The example that translates dates: forms and rules, beam search, the network in PyTorch, runs that are taken up again."""

import argparse
import datetime
import itertools
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("matplotlib", "tqdm"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import translate

import minidl

SHAPE = {"width": 16, "heads": 2, "layers": 1}


# -- dates


def read(text):
    """The date that a text means, by the rules in the example's first lines and nothing else."""
    text = (
        re.sub(r"^[a-z]+,? ", "", text.lower())
        if re.match(r"(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? ", text.lower())
        else text.lower()
    )
    months = [i for i, name in enumerate(translate.MONTHS, 1) if re.search(rf"\b{name[:3].lower()}", text)]
    numbers = [(int(n), len(n)) for n in re.findall(r"\d+", text)]
    if numbers[0][1] == 4:
        (year, _), *rest = numbers
        month, day = (months[0], rest[0][0]) if months else (rest[0][0], rest[1][0])
    else:
        year, length = numbers[-1]
        year += 0 if length == 4 else 1900 if year > 68 else 2000
        first, second = (numbers[0][0], months[0]) if months else (numbers[0][0], numbers[1][0])
        day, month = (second, first) if "/" in text else (first, second)
    return str(datetime.date(year, month, day))


def test_every_form_means_its_date():
    rng = np.random.default_rng(0)
    days = [translate.FIRST, translate.LAST, datetime.date(2000, 2, 29), datetime.date(2021, 3, 12)]
    seen = set()
    for pattern, date in itertools.product(range(len(translate.PATTERNS)), days):
        for _ in range(30):
            text = translate.written(date, [pattern, *rng.integers(0, 2**30, translate.DRAWN - 1).tolist()])
            assert read(text) == str(date), text
            assert len(text) <= translate.LONGEST and set(text) <= set(translate.ALPHABET)
            seen.add(text)
    assert len(seen) > 1000


def test_the_longest_text_fits():
    longest = max(
        len(translate.written(datetime.date(2021, 9, 22), [p, 1, 1, 1, weekday, 0]))
        for p, weekday in itertools.product(range(len(translate.PATTERNS)), range(0, 32, 4))
    )
    assert longest <= translate.LONGEST


def test_no_date_of_the_test_is_learnt():
    dates = translate.Dates()
    assert not set(dates.train) & set(dates.test)
    assert len(dates.train) + len(dates.test) == (translate.LAST - translate.FIRST).days + 1
    assert translate.Dates().test == dates.test
    source, given, wanted = dates.batch(50)
    answers = [translate.decode(row) for row in wanted.tolist()]
    assert set(answers) <= set(map(str, dates.train))
    assert [translate.decode(row[1:]) for row in given.tolist()] == answers
    assert [read(translate.decode(row)) for row in source.tolist()] == answers
    assert (given[:, 0] == translate.START).all() and (wanted[:, -1] == translate.END).all()


# -- writing


class Told:
    """Takes the network's place: after each beginning, the probabilities that a table says."""

    def __init__(self, table):
        self.table = table

    def encode(self, source):
        return minidl.zeros(1, 1, 1), source == translate.PAD

    def decode(self, answer, memory, nothing):
        scores = np.full((*answer.shape, 3 + len(translate.ALPHABET)), -30.0, np.float32)
        for n, row in enumerate(answer.tolist()):
            told = self.table.get(translate.decode(row[1:]), {"": 1.0})
            for text, p in told.items():
                scores[n, -1, translate.END if text == "" else 3 + translate.ALPHABET.index(text)] = math.log(p)
        return minidl.from_numpy(scores)


def test_beam_search_finds_what_the_greedy_miss():
    table = {"": {"1": 0.6, "2": 0.4}, "1": {"3": 0.5, "4": 0.5}, "2": {"5": 0.9, "": 0.1}}
    source = translate.encode(["x"], 1)
    assert translate.greedy(Told(table), source)[0][0] == "1"
    (best, p), (second, q) = translate.beam_search(Told(table), source, 2)
    assert best == "25" and p == pytest.approx(0.36, rel=1e-4)
    assert second in ("13", "14") and q == pytest.approx(0.3, rel=1e-4)
    found = dict(translate.beam_search(Told(table), source, 4))
    assert {text: round(p, 3) for text, p in found.items()} == {"25": 0.36, "13": 0.3, "14": 0.3, "2": 0.04}
    assert translate.beam_search(Told(table), source, 1)[0][0][0] == "1"  # is greedy
    assert translate.beam_search(Told(table), source, 100)[0] == ("25", p)  # more than there are characters


def test_what_cannot_be_read_is_left_out(capsys):
    parse = translate.command_line().parse_args
    assert parse(["--date", "März 3, 2021!", "--date", "3" * 50]).date == ["Mrz 3, 2021", "3" * translate.LONGEST]
    for said in (["--date", ""], ["--date", "日本"], ["--beam", "0"], ["--dropout", "2"], ["--heads", "0"]):
        with pytest.raises(SystemExit):
            parse(said)
        assert f"argument {said[0]}" in capsys.readouterr().err


def network():
    minidl.manual_seed(4)
    return translate.Translator(3 + len(translate.ALPHABET), translate.LONGEST, **SHAPE).eval()


def test_it_looks_at_what_is_there():
    net = network()
    source = translate.encode(["3.3.21", "March 3, 2021"], 20)
    answer = translate.encode(["2021", "2021"], 4)
    weights = translate.looked_at(net, source, answer).numpy()
    assert weights.shape == (2, 4, 20)
    np.testing.assert_allclose(weights.sum(-1), 1, 1e-5)
    assert not weights[0, :, 6:].any() and not weights[1, :, 13:].any() and (weights[0, :, :6] > 0).all()


def test_padding_and_company_change_nothing():
    net, texts = network(), ["3.3.21", "Wed, March 3, 2021"]
    together = net(translate.encode(texts, 30), translate.encode(["20", "20"], 2)).detach().numpy()
    for i, text in enumerate(texts):
        alone = net(translate.encode([text], len(text)), translate.encode(["20"], 2)).detach().numpy()
        np.testing.assert_allclose(together[i], alone[0], 1e-4, 1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_network_runs_in_pytorch():
    """With the word minidl replaced, and then computes the same."""
    torch = pytest.importorskip("torch")
    source = (EXAMPLES / "translate.py").read_text(encoding="utf-8")
    source = source[source.index("class Translator") : source.index("# -- writing")].replace("minidl", "torch")
    names = {"math": math, "torch": torch, "nn": torch.nn, "PAD": translate.PAD}
    exec(source, names)
    ours, theirs = network(), names["Translator"](3 + len(translate.ALPHABET), translate.LONGEST, **SHAPE).eval()
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    theirs.load_state_dict({name: torch.from_numpy(t.numpy().copy()) for name, t in ours.state_dict().items()})
    pair = translate.encode(["3.3.21", "Wed, March 3, 2021"], 20), translate.encode(["2021", "19"], 4)
    wanted = theirs(*(torch.from_numpy(t.numpy()) for t in pair)).detach().numpy()
    np.testing.assert_allclose(ours(*pair).detach().numpy(), wanted, 1e-4, 1e-5)


# -- runs


class After:
    """An interrupt after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self):
        self.steps -= 1
        return self.steps < 0


def start(path):
    """The same run from its beginning."""
    minidl.manual_seed(3)
    args = argparse.Namespace(
        steps=6,
        every=3,
        batch_size=8,
        lr=1e-3,
        seed=3,
        checkpoint=str(path),
        smoke=True,
        dropout=0.1,
        example="translate",
        keep=2,
    )
    net = translate.Translator(3 + len(translate.ALPHABET), translate.LONGEST, **SHAPE, dropout=0.1)
    return translate.training(net, args, SHAPE, translate.Dates())


@pytest.mark.parametrize("steps", [0, 2, 3, 5])
def test_resumed_equals_unbroken(tmp_path, steps):
    unbroken = start(tmp_path / "unbroken")
    assert unbroken.run(After(10**6))
    broken = start(tmp_path / "broken")
    assert not broken.run(After(steps))
    resumed = start(tmp_path / "resumed")
    resumed.load(tmp_path / "broken")
    assert resumed.done == steps
    assert resumed.run(After(10**6))
    unbroken.seconds = resumed.seconds = 0.0  # all else is the same
    unbroken.save(tmp_path / "a")
    resumed.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_it_learns():
    """In a hundred steps it knows that an answer is four digits, two and two."""
    minidl.manual_seed(0)
    dates = translate.Dates()
    args = argparse.Namespace(
        steps=100, every=100, batch_size=32, lr=3e-3, seed=0, smoke=True, dropout=0.0, example="translate"
    )
    net = translate.Translator(3 + len(translate.ALPHABET), translate.LONGEST, 32, 4, 1)
    run = translate.training(net, args, SHAPE, dates)
    losses = [run.step() for _ in range(100)]
    assert losses[-1] < losses[0] / 2.5
    net.eval()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", text) for text in translate.greedy(net, translate.encode(["3.3.21"], 6)))
