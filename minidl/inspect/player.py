"""The player: a recording as one page of HTML that needs nothing else."""

from __future__ import annotations

import html
import json
import math
import sys
import tempfile
import webbrowser
from importlib import resources
from pathlib import Path
from typing import Any

from ..serialization import write_whole
from . import formulas
from .pictures import exact

INPUT, WEIGHT, FILTERS = 40_000, 6_000, 8  # elements of a picture and of its filters that are kept to draw windows from


def convolution(values: Any, out: Any) -> dict[str, Any] | None:
    """What is needed to draw any window of the first picture: its pixels, and some filters; None if that is too much."""
    x, w, bias, window, groups = (getattr(v, "_array", v) for v in values)
    size = w[0].size
    if not len(x) or x[0].size > INPUT or size > WEIGHT or not out.size:
        return None
    n = max(1, min(len(w), FILTERS, WEIGHT // size))
    return {
        "x": exact(x[0]),
        "size": list(x.shape[1:]),
        "w": exact(w[:n]),
        "filters": [n, *w.shape[1:]],
        "bias": None if bias is None else exact(bias[:n]),
        "of": len(w),
        "groups": groups,
        "stride": list(window.stride),
        "before": list(window.before),
        "dilation": list(window.dilation),
        "out": list(out.shape[2:]),
    }


def _rounded(x: Any) -> Any:
    """Numbers to six digits, which is what anyone can read; JSON has no others than finite ones."""
    if isinstance(x, float):
        return float(f"{x:.6g}") if math.isfinite(x) else None
    if isinstance(x, dict):
        return {key: _rounded(each) for key, each in x.items()}
    return [_rounded(each) for each in x] if isinstance(x, (list, tuple)) else x


def data(recording: Any) -> dict[str, Any]:
    """The recording as plain lists and dicts; formulas are lists of text and ``[name, shape]``."""
    rows = recording.rows

    def shapes(row: Any) -> dict[str, Any]:
        return {**{name.partition("[")[0]: rows[i].shape for name, i in row.inputs}, "out": row.shape, "g": row.shape}

    def rule(row: Any, name: str) -> list[Any]:
        template = formulas.rule(row.op, name.partition("[")[0])
        return list(formulas.tokens(template, shapes(row), row.options))

    return {
        "title": recording.title,
        "groups": [vars(group) for group in recording.groups],
        "rows": [
            {**vars(row), "formula": list(formulas.tokens(formulas.forward(row.op), shapes(row), row.options))} for row in rows
        ],
        "steps": [
            {**vars(step), "products": [{**vars(p), "formula": rule(rows[step.row], p.input)} for p in step.products]}
            for step in recording.steps
        ],
        "values": recording.values,
    }


def page(recording: Any) -> str:
    """The page: a frame, the style, the program, and the recording as JSON."""
    files = resources.files(__package__)
    read = {name: (files / f"player.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    text = json.dumps(_rounded(data(recording)), separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c")  # what it quotes may not end the script, nor begin a comment in it
    out = read["html"].replace("{{title}}", html.escape(recording.title))
    return out.replace("{{css}}", read["css"]).replace("{{js}}", read["js"]).replace("{{data}}", text)


def save(recording: Any, path: Any) -> None:
    """Write the page, whole or not at all."""
    write_whole(page(recording).encode(), path, "save")


def frame(recording: Any, height: int) -> str:
    """The page inside another one, as notebooks want it."""
    inside = html.escape(page(recording), quote=True)
    return f'<iframe srcdoc="{inside}" style="width:100%;height:{height}px;border:1px solid #8888" allowfullscreen></iframe>'


class _Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "<the player>"


def show(recording: Any, height: int) -> None:
    """Show the page in the notebook this runs in, or else in the browser."""
    notebook: Any = sys.modules.get("IPython")
    if notebook is not None and notebook.get_ipython() is not None:
        notebook.display.display(_Shown(frame(recording, height)))
        return
    path = Path(tempfile.mkdtemp(prefix="minidl-")) / "step.html"
    save(recording, path)
    webbrowser.open(path.as_uri())
