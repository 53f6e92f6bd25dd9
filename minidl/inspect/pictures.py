"""Arrays as a reader sees them: their statistics, and a small picture."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from ..devices import on_host

PIXELS, TILE, COLUMNS = 4096, 32, 8  # of a picture; of a side of one of its tiles; tiles beside each other
NUMBERS = 256  # so many elements or fewer are written as numbers too


def statistics(array: Any) -> dict[str, Any]:
    """Range, mean, share of zeros, and how many elements are NaN or infinite."""
    finite = np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, bool)
    some = array[finite].astype(np.float64)
    n = max(array.size, 1)
    return {
        "min": float(some.min()) if some.size else None,
        "max": float(some.max()) if some.size else None,
        "mean": _mean(some) if some.size else None,
        "zeros": float((array == 0).sum() / n),
        "nan": int(np.isnan(array).sum()) if array.dtype.kind == "f" else 0,
        "inf": int(np.isinf(array).sum()) if array.dtype.kind == "f" else 0,
    }


def _mean(some: Any) -> float:
    """The mean of finite numbers, also where their sum overflows."""
    with np.errstate(over="ignore"):
        mean = float(some.mean())
    return mean if math.isfinite(mean) else float((some / some.size).sum())


def short(x: float | None) -> str:
    """A number in few characters: ``0.1235``, ``1.2e-07``."""
    return "none" if x is None else f"{x:.4g}"


def in_words(array: Any) -> str:
    """Shape, dtype and statistics in one line."""
    array = on_host(array)
    s = statistics(array)
    if array.size == 1:
        return f"{tuple(array.shape)} {array.dtype}: {short(float(array.reshape(-1)[0]))}"
    said = [f"from {short(s['min'])} to {short(s['max'])}", f"mean {short(s['mean'])}"] if s["min"] is not None else []
    said = [f"all {short(s['min'])}"] if s["min"] == s["max"] and not s["nan"] + s["inf"] and said else said
    said += [f"{s['zeros']:.0%} zeros"] if 0 < s["zeros"] < 1 else []
    said += [f"{s[what]} {name}" for what, name in (("nan", "NaN"), ("inf", "infinite")) if s[what]]
    return f"{tuple(array.shape)} {array.dtype}: {', '.join(said) or 'nothing in it'}"


def _step(n: int, most: int) -> int:
    return max(1, math.ceil(n / most))


def tiles(array: Any) -> tuple[Any, tuple[int, int]]:
    """``array`` as (rows, columns, height, width) of a picture of pictures, thinned out and cut to `PIXELS`.

    The last two dimensions are one tile. Of four dimensions the first is the rows of tiles and the second the columns: images
    and channels, or filters and channels. What comes before counts with the rows; three dimensions go on in the next row.

    Returns
    -------
    (array, (int, int))
        And every how many-th element of the last two dimensions is shown.
    """
    if array.ndim < 2:
        array = array.reshape(1, -1)
    alone = array.ndim == 2
    most = 64 if alone else TILE
    steps = _step(array.shape[-2], most), _step(array.shape[-1], most)
    array = array[..., :: steps[0], :: steps[1]]
    height, width = array.shape[-2:]
    room = max(1, PIXELS // max(height * width, 1))
    if array.ndim <= 3:
        array = array.reshape(math.prod(array.shape[:-2]), height, width)[: min(room, COLUMNS * COLUMNS)]
        columns = max(1, min(len(array), COLUMNS))
        array = array[: max(1, len(array) // columns) * columns]
        return array.reshape(len(array) // columns, columns, height, width), steps
    array = array.reshape(math.prod(array.shape[:-3]), *array.shape[-3:])[:, :COLUMNS]
    columns = max(1, min(array.shape[1], room))
    return array[: max(1, min(COLUMNS, room // columns)), :columns], steps


def picture(array: Any) -> dict[str, Any]:
    """Statistics and a picture for the player: signed bytes around 0 in base64, -128 for NaN."""
    array = on_host(array)
    shown, steps = tiles(array)
    numbers = shown.astype(np.float64)
    finite = np.where(np.isfinite(numbers), numbers, 0)
    top = float(np.abs(finite).max()) if finite.size else 0.0
    levels = np.where(np.isinf(numbers), np.sign(numbers) * 127, np.rint(finite / (top or 1) * 127))
    levels = np.where(np.isnan(numbers), -128, levels).astype(np.int8)
    found = {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        **statistics(array),
        "tiles": list(shown.shape),
        "steps": list(steps),
        "top": top,
        "strip": strip(array),
        "levels": base64.b64encode(levels.tobytes()).decode(),
    }
    if array.size == shown.size <= NUMBERS:
        found["numbers"] = [short(float(x)) for x in shown.reshape(-1)]
    return found


def exact(array: Any) -> str:
    """The numbers of ``array`` as 32-bit floats in base64."""
    return base64.b64encode(np.ascontiguousarray(on_host(array), "<f4").tobytes()).decode()


SHADES = "▁▂▃▄▅▆▇█"


def strip(array: Any, width: int = 24) -> list[int]:
    """How large the elements are from first to last, in levels 0 to 7, each the largest of some; -1 where all are 0."""
    flat = np.abs(np.nan_to_num(array.reshape(-1).astype(np.float64), posinf=0, neginf=0))
    if not flat.size:
        return []
    parts = [float(part.max()) for part in np.array_split(flat, min(width, flat.size))]
    top = max(parts) or 1.0
    return [min(7, int(8 * (part / top))) if part else -1 for part in parts]
