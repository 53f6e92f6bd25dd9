"""docs/surface.md says truly what is here of PyTorch."""

import importlib.util
import re
from pathlib import Path

import pytest

import minidl

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_name_that_is_said_to_be_here_is():
    page = (DOCS / "surface.md").read_text(encoding="utf-8")
    found = re.findall(r"^## (\S+)\n\n\*\*Here\*\* \((\d+)\): (.*)$", page, re.MULTILINE)
    assert len(found) == 9
    for space, count, text in found:
        place = minidl
        for part in space.split(".")[1:]:
            place = getattr(place, part)
        names = re.findall(r"`(\w+)`", text)
        assert len(names) == int(count)
        assert [name for name in names if not hasattr(place, name)] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_page_is_what_the_script_writes():
    torch = pytest.importorskip("torch")
    wanted = re.search(r"torch==(\S+)", (DOCS.parent / "setup.cfg").read_text())[1]
    if torch.__version__.split("+")[0] != wanted:
        pytest.skip(f"the page is about PyTorch {wanted}")
    spec = importlib.util.spec_from_file_location("surface", DOCS / "surface.py")
    surface = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(surface)
    assert surface.page() == surface.PAGE.read_text(encoding="utf-8"), "run python docs/surface.py"
    with pytest.raises(LookupError, match="torch.no_such_name"):
        surface.reason("torch", "no_such_name")


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("input, dim=None, *, dtype=None", [("input", None, False), ("dim", "None", False), ("dtype", "None", True)]),
        ("low=0, high, size", [("low", None, False), ("high", None, False), ("size", None, False)]),
        ("input, dims=(0, 1)", [("input", None, False), ("dims", "(0, 1)", False)]),
    ],
)
def test_signatures_in_docstrings_are_read(head, wanted):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("surface", DOCS / "surface.py")
    surface = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(surface)
    assert [tuple(p) for p in surface.parsed(head)] == wanted
