"""How Sphinx makes the pages: ``sphinx-build -W docs FOLDER``."""

import minidl

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
html_title = f"minidl {release}"
