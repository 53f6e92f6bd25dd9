"""How Sphinx makes the pages: ``sphinx-build -W docs FOLDER``."""

import shutil
import sys
from pathlib import Path

import matplotlib
from sphinx.util import logging

import minidl

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cells
import complete
import notebooks

FIGURES = HERE / "figures"  # only while pages are made
NOTEBOOKS = "minidl-notebooks"
matplotlib.use("svg")
cells.draw(HERE, FIGURES)

project = "minidl"
author = "the minidl developers"
copyright = f"2026, {author}"
version = release = minidl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # nearly all are Any: the docstrings say more
napoleon_google_docstring = False
exclude_patterns = ["_build", "*-results.md"]  # the second are written by programs, and parts of other pages
suppress_warnings = ["myst.xref_missing"]  # links to files outside docs/: tests/test_docs.py looks after links

html_theme = "furo"
html_static_path = ["_static"]
html_theme_options = {key: {"code-font-size": "75%"} for key in ("light_css_variables", "dark_css_variables")}  # lines are long
html_title = f"minidl {release}"


def check_reference(app, env):
    """Warn of what the reference lacks."""
    for name in complete.missing(env.domains.python_domain.objects):
        logging.getLogger(__name__).warning("the reference does not have %s", name)


def offer_notebook(app, page, template, context, doctree):
    """A link to the notebook at the top of each chapter."""
    source = HERE / f"{page}.md"
    if doctree is not None and notebooks.is_chapter(source.read_text(encoding="utf-8")):
        address = context["pathto"](f"{NOTEBOOKS}/{notebooks.file_of(page)}", 1)
        context["body"] = f'<p><a href="{address}" download>This page as a notebook</a></p>\n{context["body"]}'


def finish(app, error):
    """Make the notebooks, and leave nothing behind in the source."""
    if error is None and app.builder.name == "html":
        shutil.copytree(FIGURES, Path(app.outdir) / "figures", dirs_exist_ok=True)  # for what is no image
        notebooks.build(HERE, Path(app.outdir) / NOTEBOOKS, app.config)
    shutil.rmtree(FIGURES)


def setup(app):
    """Called by Sphinx."""
    app.connect("env-check-consistency", check_reference)
    app.connect("html-page-context", offer_notebook)
    app.connect("build-finished", finish)
