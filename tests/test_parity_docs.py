"""What the docs call PyTorch's conventions are PyTorch's: the page runs with PyTorch in minidl's place."""

from pathlib import Path

import pytest
from test_docs import run_page

pytest.importorskip("torch")


def test_conventions():
    page = Path(__file__).resolve().parent.parent / "docs" / "conventions.md"
    run_page(page.read_text(encoding="utf-8").replace("minidl.nn", "torch.nn").replace("minidl", "torch"), page.name)
