"""How a tensor prints: PyTorch's layout, number for number."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import dtypes
from .devices import on_host


@dataclass(frozen=True)
class Options:
    """Places after the point, the size from which only ends are shown, how many at each end, the line's length, and whether to
    write ``1.0000e+00`` (None: where numbers differ much in size).
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_current = [Options()]


def set_printoptions(**options: Any) -> None:
    """Change how tensors print: ``precision``, ``threshold``, ``edgeitems``, ``linewidth``, ``sci_mode``.

    Raises
    ------
    TypeError
        For an option that there is not.
    """
    _current[0] = replace(_current[0], **options)


class _Writer:
    """Writes the numbers of one array, all in one style and width."""

    def __init__(self, array: Any, options: Options) -> None:
        self.options = options
        shown = _ends(array, options.edgeitems) if array.size > options.threshold else array
        numbers = shown.astype(np.float64).ravel() if array.dtype.kind == "f" else shown.ravel()
        if array.dtype.kind == "f":
            numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
        self.style = self._style(numbers) if array.dtype.kind == "f" else ""
        self.width = max((len(self.number(x)) for x in numbers.tolist()), default=1)

    def _style(self, numbers: Any) -> str:
        """``whole`` for ``2.``, else a format specification; ``numbers`` are finite and not 0."""
        if not numbers.size:
            return "whole"
        sizes, precision = np.abs(numbers), self.options.precision
        whole = bool((numbers == np.ceil(numbers)).all())
        far = sizes.max() > 1000.0 * sizes.min() or sizes.max() > 1e8 or (not whole and sizes.min() < 1e-4)
        if far if self.options.sci_mode is None else self.options.sci_mode:
            return f".{precision}e"
        return "whole" if whole else f".{precision}f"

    def number(self, x: Any) -> str:
        if self.style == "whole":
            return f"{x:.0f}." if math.isfinite(x) else str(x)
        return format(x, self.style) if self.style else str(x)

    def text(self, array: Any, indent: int, short: bool) -> str:
        """``array`` in brackets, its later lines indented."""
        if not array.ndim:
            return self.number(array.item()).rjust(self.width)
        edge = self.options.edgeitems
        parts: list[Any] = list(array)
        cut = short and len(parts) > 2 * edge
        if cut:
            parts = parts[:edge] + parts[-edge:]
        texts: list[str] = [self.text(np.asarray(part), indent + 1, short) for part in parts]
        if cut:
            texts.insert(edge, " ..." if array.ndim == 1 else "...")
        if array.ndim > 1:
            between: str = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
            return f"[{between.join(texts)}]"
        n = max(1, (self.options.linewidth - indent) // (self.width + 2))
        lines = [", ".join(texts[i : i + n]) for i in range(0, len(texts), n)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _ends(array: Any, edge: int) -> Any:
    """The elements that are shown of a long array."""
    for dim in range(array.ndim):
        if array.shape[dim] > 2 * edge:
            array = array.take([*range(edge), *range(-edge, 0)], dim)
    return array


def tensor_text(t: Any) -> str:
    """The tensor's numbers, then what is not plain about it."""
    array, options = on_host(t._array), _current[0]
    start = "tensor("
    notes = [f"size={t.shape}"] if not array.size and array.ndim != 1 else []
    plain = (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_) if array.size else (dtypes.get_default_dtype(),)
    if t.is_cuda:
        notes.append(f"device='{t.device}'")
    if t.dtype not in plain:
        notes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    text = start + (_Writer(array, options).text(array, len(start), array.size > options.threshold) if array.size else "[]")
    column = len(text) - text.rfind("\n") + 1
    for note in notes:
        if column + len(note) + 2 > options.linewidth:
            text, column = f"{text},\n{' ' * len(start)}{note}", len(start) + len(note)
        else:
            text, column = f"{text}, {note}", column + len(note) + 2
    return f"{'Parameter containing:' + chr(10) if type(t).__name__ == 'Parameter' else ''}{text})"
