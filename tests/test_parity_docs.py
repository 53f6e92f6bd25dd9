"""What the docs say of PyTorch is true: its conventions, by their page with PyTorch in minidl's place, and the differences."""

from pathlib import Path

import pytest
from test_docs import differences, outcome, run_page

pytest.importorskip("torch")


def test_conventions():
    page = Path(__file__).resolve().parent.parent / "docs" / "conventions.md"
    run_page(page.read_text(encoding="utf-8").replace("minidl.nn", "torch.nn").replace("minidl", "torch"), page.name)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_differences():
    for expression, theirs, _ in differences():
        assert outcome(expression, "torch") == theirs, expression
