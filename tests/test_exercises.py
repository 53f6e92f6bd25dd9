"""Every exercise: the file as it is given fails, the solution passes, and each mistake is recognised, however it is written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minidl.exercises import cli, course
from minidl.exercises.checks import CHECKS
from minidl.exercises.course import check
from minidl.exercises.step import find, steps

ROOT = Path(__file__).resolve().parent.parent
STEPS = pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)


def test_there_are_many_and_each_has_a_check():
    assert len(steps()) >= 25
    assert [step.number for step in steps()] == list(range(1, len(steps()) + 1))
    assert set(CHECKS) == {step.name for step in steps()}
    assert sum(step.name.startswith("bug_") for step in steps()) >= 5


@STEPS
def test_the_solution_passes(step):
    assert check(step, step.solution) == (True, "", "")


@STEPS
def test_what_is_given_and_every_mistake_fails_with_the_words_meant_for_it(step):
    assert len(step.mistakes) >= 3
    for said, text in step.mistakes:
        report = check(step, text)
        assert not report.passed and report.problem, said
        assert report.hint == said


@STEPS
def test_the_words(step):
    assert step.title and step.said("hint") and step.said("solved") and step.said("start")
    for text in (step.start, *(text for _, text in step.mistakes), step.solution):
        compile(text, step.filename, "exec")
        assert "# [" not in text and "# |" not in text
    for place in re.findall(r"\b(?:minidl|docs|examples)/[\w/]+\.\w+", step.said("solved")):
        assert (ROOT / place).exists(), place


# The same mistakes in other words, as people write them: step, what to replace in the solution, by what, part of the hint
OTHER_WORDS = [
    ("multiply", "return g * b, g * a", "return a * g, b * g", "exchanged"),
    ("twice", "return g * np.sin(x) + g * x * np.cos(x)", "s = np.sin(x)\n    return (s * g).copy()", "Only one way"),
    (
        "rows",
        "np.add.at(out, index, g)",
        "for i, row in enumerate(index):\n        out[row] = g[i]",
        "only one gradient is left",
    ),
    ("matmul", "return g @ b.T, a.T @ g", "import numpy\n    return numpy.dot(g, b), numpy.dot(a, g)", "transpose is missing"),
    ("linear", "g.sum(0)", "sum(g) / len(g)", "mean of the rows"),
    ("sweep", "grads[parent] + g if parent in grads else g", "g + 0", "forgets what came"),
    ("sweep", "grads[parent] = grads[parent] + g if parent in grads else g", "grads[parent] = g + grads[parent]", "put there"),
    ("relu", "g * (x > 0)", "0 if x <= 0 else g", "is an array"),
    ("softmax", "keepdims=True", "keepdims=False", "One sum for each row is right"),
    ("cross_entropy", "grad = p.copy()", "grad = p - target", "Nor can target"),
    ("conv", "grad_x[k : k + n] += ", "grad_x[k : n + k] = 1 * ", "windows overlap"),
    ("cross_entropy", "x - x.max(1, keepdims=True)", "1.0 * x", "overflows"),
    ("softmax", "(g * out).sum(-1, keepdims=True)", "np.sum(out * g)", "NameError"),  # no known mistake: the line is named
    ("batch_norm", "- g.mean(0) ", "", "through the mean"),
    ("momentum", "mu * v + grad", "grad + v - (1 - mu) * v - mu * grad", "running mean"),
    ("adam", "(1 - beta2**t)", "1.0", "Only m is corrected"),
    ("attention", "(grad_p - (grad_p * p).sum(1, keepdims=True))", "np.multiply(1, grad_p)", "sum over the row"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), OTHER_WORDS, ids=[row[0] for row in OTHER_WORDS])
def test_a_mistake_is_recognised_by_what_it_computes(name, old, new, said):
    step = find(name)
    assert old in step.solution
    report = check(step, step.solution.replace(old, new))
    assert not report.passed
    assert said in (report.hint or report.problem)


def test_the_message_says_what_was_found_and_the_hint_why():
    step = find("unbroadcast")
    report = check(step, "def unbroadcast(g, shape):\n    return g\n")
    assert "your gradient of b has shape (3, 4), b itself (4,)" in report.problem
    assert "forgot to sum over what broadcasting stretched" in report.hint


def test_a_right_answer_in_other_words_passes():
    text = "def unbroadcast(g, shape):\n    while g.ndim > len(shape):\n        g = g.sum(0)\n"
    text += "    for d, n in enumerate(shape):\n        if n == 1:\n            g = g.sum(d, keepdims=True)\n    return g\n"
    assert check(find("unbroadcast"), text).passed
    assert check(find("bug_columns"), find("bug_columns").start.replace("weight.ravel()", "weight.T.ravel()")).passed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def multiply_pullback(g, a, b):\n    return g * b,, g * a\n", "line 2: invalid syntax"),
        ("def multiply_pullback(g, a, b):\n\n    return g * c, g * a\n", "NameError: name 'c' is not defined (line 3)"),
        ("def multiply_pullback(g, a, b):\n    g * b, g * a\n", "is a `return` missing?"),
        ("def multiply_pullback(g, a, b):\n    return g * b, ...\n", "still dots"),
        ("def multiply_pullback(g, a, b):\n    return g * ..., g * a\n", "still dots (...) to be filled in (line 2)"),
        ("def multiply_pullback(g, a, b):\n    return g * b\n", "2 results are wanted, 1 came"),
        ("def multiply_pullback(g, a, b):\n    g *= b\n    return g, g / b * a\n", "was changed in place"),
        ("1 / 0\n", "ZeroDivisionError: division by zero (line 1)"),
        ("", "no attribute 'multiply_pullback'"),
    ],
)
def test_what_goes_wrong_is_explained(text, said):
    assert said in check(find("multiply"), text).problem


def test_a_step_is_found_by_number_name_and_file():
    for name in ("5", "05", "unbroadcast", "05_unbroadcast.py", "somewhere/05_unbroadcast.py"):
        assert find(name).name == "unbroadcast"
    with pytest.raises(LookupError, match="no step '99'"):
        find("99")


# -- the program


@pytest.fixture
def few(monkeypatch, tmp_path):
    """The course with its first two steps only, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for module in (cli, course):
        monkeypatch.setattr(module, "steps", lambda: steps()[:2])
    return tmp_path / "minidl-exercises"


def test_a_learner_goes_through(few, capsys):
    def says(*arguments):
        code = cli.main(arguments)
        return code, capsys.readouterr().out

    code, out = says()
    assert code == 0 and "Made the folder minidl-exercises with 2 files" in out and "the first pullback" in out
    assert "0 of 2" in says("list")[1]
    code, out = says("check")
    assert code == 1 and "✗ 1/2 multiply" in out and "two dots" in out and "hint 1" in out
    assert "0.01 * b" in says("hint")[1]
    (few / "01_multiply.py").write_text(says("solution")[1])
    code, out = says("check")
    assert code == 0 and "✓ 1/2 multiply" in out and "2/2 tanh" in out
    assert "✓  1" in says("list")[1]
    assert "2/2 tanh" in says("next")[1]
    (few / "02_tanh.py").write_text(says("solution", "tanh")[1])
    assert "All 2 steps are solved" in says("next")[1]
    assert "All 2 steps are solved" in says("check")[1]
    assert "yours is kept" in says("reset", "1")[1]
    assert (few / "01_multiply.py.old").read_text() == find("1").solution
    assert "already" in says("reset", "1")[1]
    assert says("check", "1")[0] == 1
    assert cli.main(["check", "three"]) == 2
    assert "there is no step 'three'" in capsys.readouterr().err


def test_files_that_are_there_are_left_alone(few, monkeypatch, capsys):
    few.mkdir()
    (few / "02_tanh.py").write_text("# mine\n")
    assert cli.main(["list"]) == 0
    assert (few / "02_tanh.py").read_text() == "# mine\n"
    assert "Made" not in capsys.readouterr().out
    monkeypatch.chdir(few)  # from inside, the folder is this one
    assert cli.main(["list"]) == 0
    assert not (few / "minidl-exercises").exists()
    assert cli.main(["--folder", "other", "list"]) == 0
    assert (few / "other" / "01_multiply.py").exists()


def test_watching(few, monkeypatch, capsys):
    answers = {"01_multiply.py": [find("1").mistakes[1][1], find("1").solution], "02_tanh.py": [find("2").solution]}

    def save(seconds):
        """What the learner does while the program waits."""
        name = next(name for name, left in answers.items() if left)
        (few / name).unlink()  # as editors do that write a new file
        (few / name).write_text(answers[name].pop(0))

    monkeypatch.setattr(cli.time, "sleep", save)
    assert cli.main(["check", "--watch"]) == 0
    out = capsys.readouterr().out
    for said in ("two dots", "The two are exchanged", "✓ 1/2 multiply", "2/2 tanh", "✓ 2/2 tanh", "All 2 steps"):
        assert said in out
        out = out[out.index(said) :]


def test_leaving(few, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", interrupt)
    assert cli.main(["check", "--watch"]) == 0


def test_it_starts_as_a_program(tmp_path):
    run = subprocess.run([sys.executable, "-m", "minidl.exercises", "next"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "the first pullback" in run.stdout
    assert len(list((tmp_path / "minidl-exercises").iterdir())) == len(steps())
    begun = subprocess.Popen(
        [sys.executable, "-m", "minidl.exercises", "next"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun.stdout.close()  # as `| head` does when it has seen enough
    assert begun.stderr.read() == "" and begun.wait() == 1
    begun.stderr.close()
