"""The code in the README, the docs and the docstrings runs, and says what it is written to say.

In a Markdown file every block of ``python`` runs, in order, in one namespace (``docs/cells.py``). A block of ``text`` right
after it is what it prints; a block of ``pycon`` is a doctest.
"""

import doctest
import importlib
import io
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import cells

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def without_addresses(text):
    """What is printed, without what differs from run to run."""
    return re.sub(r"0x[0-9a-f]+", "0x...", "\n".join(line.rstrip() for line in text.strip().splitlines()))


def run_page(text, name):
    namespace = {"__name__": "__main__"}
    printed = None  # by the last block
    for language, code, line in cells.blocks(text):
        if cells.is_cell(language, code):
            printed = cells.run(code, line, name, namespace)
        elif language == "text" and printed is not None:
            assert without_addresses(printed) == without_addresses(code), f"{name}:{line}: it prints\n{printed}"
            printed = None
        elif language == "pycon":
            check_examples(doctest.DocTestParser().get_doctest(code, namespace, name, name, line - 1))
        else:
            printed = None


def check_examples(test):
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(test, out=report.write, clear_globs=False)
    assert not runner.failures, report.getvalue()


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix().removeprefix("docs/"))
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = page.read_text(encoding="utf-8")
    for name in ("matplotlib", "onnxruntime"):
        if f"import {name}" in text:
            pytest.importorskip(name, reason=f"{name}, which this page uses, is not installed")
    run_page(text, page.name)
    for figure in re.findall(r"\bfigures/([\w.-]+)", text):
        assert (tmp_path / figure).exists(), f"{page.name} shows {figure}, which its cells do not save"


def test_wrong_pages_are_found():
    run_page("```python\nprint(1)\n```\n\n```text\n1\n```\n", "right")
    for wrong in (
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nassert False\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
    ):
        with pytest.raises(AssertionError):
            run_page(wrong, "wrong")


def test_links_between_pages():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"(\.\./)?figures/", target):  # those are made by the build; test_page looks after them
                assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"


DIFFERENCE = re.compile(r"^\|[^|]*\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)


def differences():
    """What the tables of differences say: an expression, what PyTorch and what minidl makes of it."""
    return DIFFERENCE.findall((ROOT / "docs" / "migration.md").read_text(encoding="utf-8"))


def outcome(expression, library):
    """What an expression of that page gives in a library, or the name of the exception."""
    torch, data = importlib.import_module(library), importlib.import_module(f"{library}.utils.data")
    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "optim": torch.optim, "np": np, "io": io}
    names |= {"DataLoader": data.DataLoader, "x": torch.arange(6.0).reshape(2, 3), "w": torch.ones(2, requires_grad=True)}
    try:
        return repr(eval(expression, names))
    except Exception as error:
        return type(error).__name__


def test_differences_from_pytorch():
    assert len(differences()) > 20
    for expression, theirs, ours in differences():
        assert outcome(expression, "minidl") == ours != theirs, expression


@pytest.mark.parametrize("name", ["start", "one-number"])
def test_notebook(name, tmp_path, monkeypatch):
    pytest.importorskip("jupytext")
    from sphinx.config import Config  # it comes with the same extra, as does the next

    notebooks = importlib.import_module("notebooks")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / f"{name}.md"
    made = notebooks.notebook(page, Config(), "minidl.whl")
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code[1:] == [c.rstrip("\n") for language, c, _ in cells.blocks(page.read_text()) if cells.is_cell(language, c)]
    text = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert "{literalinclude}" not in text and ".md)" not in text
    assert ("def reachable(" in text) == (name == "one-number")  # what the page quotes from minidl's files
    namespace = {"__name__": "__main__"}
    for source in code:
        cells.run(source, 1, name, namespace)
    assert (tmp_path / {"start": "spirals.safetensors", "one-number": "one-number.svg"}[name]).exists()


MODULES = ["minidl", *sorted(m.name for m in pkgutil.walk_packages(minidl.__path__, "minidl."))]
MODULES = [name for name in MODULES if not name.startswith("minidl.kernels.cuda")]  # that wants CuPy, and holds no examples


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    if name.startswith("minidl.kernels.cuda"):
        pytest.importorskip("cupy", reason="CuPy, with which these kernels begin, is not installed")
    if name.startswith("minidl.kernels.compiled"):
        pytest.importorskip("numba", reason="Numba, with which these kernels begin, is not installed")
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder().find(module, extraglobs={"minidl": minidl, "np": np}):
        if test.examples:
            check_examples(test)
