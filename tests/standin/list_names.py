"""Write down what CuPy has: `python list_names.py > cupy_names.txt`, in an environment with CuPy (no GPU is needed).

A line is a dotted name, and of a function whose arguments can be told their names behind it.
"""

import inspect
import re

import cupy
import cupyx
import cupyx.scipy.special


def arguments(f):
    try:
        parameters = inspect.signature(f).parameters.values()
        names = ["*" * (1 if p.kind is p.VAR_POSITIONAL else 2 if p.kind is p.VAR_KEYWORD else 0) + p.name for p in parameters]
    except (TypeError, ValueError):
        line = (getattr(f, "__doc__", None) or "").strip().partition("\n")[0]
        found = re.match(r"(?:\w+\.)*\w+\((.*?)\)(?: ->.*)?$", line)
        if not found:
            return None
        text = re.sub(r"=\([^)]*\)", "", found[1])
        names = [re.split(r"[=:]", part)[0].split()[-1] for part in text.split(",") if part.strip()]
    return " ".join(name for name in names if name not in ("self", "/", "*"))


def write(prefix, place):
    for name in sorted(dir(place)):
        if not name.startswith("_"):
            thing = getattr(place, name)
            known = arguments(thing) if callable(thing) and not isinstance(thing, (type, cupy.ufunc)) else None
            print(prefix + name + ("" if known is None else f"({known})"))


print(f"# CuPy {cupy.__version__}")
write("cupy.", cupy)
write("ndarray.", cupy.ndarray)
write("linalg.", cupy.linalg)
write("random.", cupy.random)
write("cuda.", cupy.cuda)
write("cupyx.", cupyx)
write("special.", cupyx.scipy.special)
