"""Pages as Jupyter notebooks: the same cells, and the text between them. The build makes them, and what they install.

A first cell installs minidl where it is missing: from the wheel that the build puts beside the notebooks, or from the address
at which the site will be (``html_baseurl``).
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cells
import jupytext
from nbformat.v4 import new_code_cell, new_markdown_cell
from sphinx.directives.code import LiteralIncludeReader

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r"^```\{literalinclude\} (\S+)\n((?:^:.*\n)*)```$", re.MULTILINE)
OPTION = re.compile(r"^:([a-z-]+): \"?(.*?)\"?$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:)([^)\s]+)\)")
FIRST = """\
# Installs minidl where it is missing
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("minidl") is None:
    wheel = {wheel}
    wanted = [f"minidl[{extras}] @ {{wheel}}", "hypothesis"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)"""


def is_chapter(text):
    """Whether a page has enough cells to be worth a notebook."""
    return sum(cells.is_cell(language, code) for language, code, _ in cells.blocks(text)) >= 3


def notebook(page, config, wheel):
    """A page as a notebook; ``wheel`` is the name of a file beside it, or an address."""
    text = page.read_text(encoding="utf-8")
    made = jupytext.reads(text, fmt="md")
    for i, cell in enumerate(made.cells):
        if cell.cell_type == "markdown":
            cell.source = for_reading(cell.source, page, config)
        elif not cells.is_cell("python", cell.source):
            made.cells[i] = new_markdown_cell(f"```python\n{cell.source}\n```")
    where = repr(wheel) if "://" in wheel else f"Path({wheel!r}).absolute().as_uri()"
    extras = "examples,onnx" if "import onnxruntime" in text else "examples"
    made.cells.insert(0, new_code_cell(FIRST.format(wheel=where, extras=extras)))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def for_reading(text, page, config):
    """Text without what only Sphinx understands: quoted files in full, of links the words, of pictures the title."""

    def quoted(found):
        options = dict(OPTION.findall(found[2]))
        if "dedent" in options:
            options["dedent"] = int(options["dedent"])
        code, _ = LiteralIncludeReader(str((page.parent / found[1]).resolve()), options, config).read()
        return f"```python\n{code}```"

    text = re.sub(r"<iframe.*</iframe>", "", text)
    text = LINK.sub(lambda found: f"*({found[2]})*" if found[1] else found[2], text)
    return DIRECTIVE.sub(quoted, text)


def file_of(page):
    """The notebook's name for a page like ``derivations/conv``."""
    return f"{page.replace('/', '-')}.ipynb"


def build(folder, out, config):
    """Notebooks of all chapters in ``folder``, and the wheel, in the new folder ``out``; and that folder as a zip file."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as copy:  # building leaves files behind
        shutil.copytree(ROOT / "minidl", Path(copy) / "minidl", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, copy]
        subprocess.run(command, check=True)
    [wheel] = (file.name for file in out.glob("*.whl"))
    if config.html_baseurl:
        wheel = f"{config.html_baseurl.rstrip('/')}/{out.name}/{wheel}"
    for page in folder.rglob("*.md"):
        if is_chapter(page.read_text(encoding="utf-8")):
            name = page.relative_to(folder).with_suffix("").as_posix()
            jupytext.write(notebook(page, config, wheel), out / file_of(name))
    shutil.make_archive(str(out), "zip", out.parent, out.name)
