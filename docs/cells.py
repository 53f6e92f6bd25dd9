"""The code on the pages: ``tests/test_docs.py`` runs it and compares what it prints, the build runs what draws a figure.

In a Markdown file every block of ``python`` is a cell; the cells of a page run in order, in one namespace.
"""

import contextlib
import io
import os
import re

FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "# not run"  # as a cell's first line: for what needs a network or a file that is not there


def blocks(text):
    """The fenced blocks of a page: language, code, and the line on which the code begins."""
    return [(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in FENCE.finditer(text)]


def is_cell(language, code):
    return language == "python" and not code.startswith(NOT_RUN)


def run(code, line, name, namespace):
    """Run a cell, so that errors point to its page; returns what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * (line - 1) + code, name, "exec"), namespace)
    return out.getvalue()


def draw(folder, figures):
    """Run the pages in a folder that show what their cells save, ``![...](figures/...)``, and leave it in ``figures``."""
    figures.mkdir(exist_ok=True)
    before = os.getcwd()
    os.chdir(figures)
    for page in sorted(folder.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        namespace = {"__name__": "__main__"}
        if "figures/" in text:
            for language, code, line in blocks(text):
                if is_cell(language, code):
                    run(code, line, page.name, namespace)
    os.chdir(before)
