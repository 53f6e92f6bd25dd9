"""The shape of the house: imports go one way, files and functions stay small, and importing minidl is light."""

import ast
import io
import os
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import minidl

ROOT = Path(minidl.__file__).resolve().parent
FILES = sorted(ROOT.rglob("*.py"))

# From the ground up. What stands on one line knows nothing of its neighbours, nor of what is below it here.
HOUSE = [
    {"shapes", "dtypes", "pickles"},
    {"kernels"},
    {"backend"},
    {"devices"},
    {"autograd"},
    {"random"},
    {"ops"},
    {"functions"},
    {"sequences"},
    {"printing", "pt_files"},
    {"_methods"},
    {"_tensor"},
    {"distributed"},
    {
        "nn",
        "utils",
        "testing",
        "serialization",
        "cuda",
        "autograd.functional",
    },  # the last is written with ops, and only named as in PyTorch
    {"optim", "vision", "vision.models", "compiler", "profiler", "checkpoints", "amp", "backends"},
    {"inspect", "onnx"},
    {"__init__"},
    {"exercises", "bench", "__main__"},
]
APART = [({"nn", "optim"}, {"utils", "vision"}), ({"utils", "vision"}, {"nn", "optim"})]
BASE = {"numpy", "threadpoolctl", "minidl_doctor"}  # the last stands beside the house, and knows nothing of it
OPTIONAL = {"cupy", "mygrad", "torch", "torchvision", "matplotlib", "PIL", "hypothesis", "mpi4py", "llvmlite", "numba", "tqdm"}
OPTIONAL |= {"onnx", "onnxruntime", "safetensors"}  # the last is installed, but not every Python has a build of it
OPTIONAL |= {"cuda"}  # `cuda.pathfinder` comes with CuPy
# where all of it is about that
AT_THE_TOP = {"testing.strategies": {"hypothesis"}, "kernels.cuda": {"cupy"}, "kernels.compiled": {"llvmlite", "numba"}}
AT_THE_TOP["utils.data"] = {"typing_extensions"}  # for type checkers alone, which bring it
MAX_FILE, MAX_FUNCTION = 400, 60


def name_of(path):
    """``minidl/ops/conv.py`` as ``ops.conv``, ``minidl/ops/__init__.py`` as ``ops``, and minidl's own as ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def place_of(module):
    """Where in the house a module is: the layer, and the name it goes by there."""
    parts = module.split(".")
    for name in (".".join(parts[:n]) for n in range(len(parts), 0, -1)):  # the longest name that has a place
        for layer, names in enumerate(HOUSE):
            if name in names:
                return layer, name
    raise AssertionError(f"minidl.{module} has no place in the house; give it one in HOUSE")


def own_imports(path):
    """The modules of minidl that a file imports, with the lines."""
    package = ["minidl", *path.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(path.read_text())
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unseen = {
        id(node) for block in typing for node in ast.walk(block)
    }  # by the interpreter: names of types may come from above
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            found = [base if f"{base}.{a.name}".partition(".")[2] not in MODULES else f"{base}.{a.name}" for a in node.names]
        else:
            continue
        for name in found:
            if name.partition(".")[0] == "minidl":
                yield name.partition(".")[2] or "__init__", node.lineno


GRAPH = {module: dict(own_imports(path)) for module, path in MODULES.items()}


def test_imports_go_down():
    wrong = []
    for module, imports in GRAPH.items():
        layer, place = place_of(module)
        for other, line in imports.items():
            other_layer, other_place = place_of(other)
            apart = any(place in ones and other_place in others for ones, others in APART)
            if apart or (other_layer >= layer and other_place != place):
                wrong.append(f"minidl.{module}:{line} imports minidl.{other}")
    assert not wrong, "\n".join(wrong)


def test_no_cycles():
    done, path = set(), []

    def visit(module):
        assert module not in path, "a cycle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in GRAPH[module]:
                visit(other)
            done.add(path.pop())

    for module in GRAPH:
        visit(module)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_of_others(path):
    """At the top of a file only the standard library and the base dependencies; in functions only optional packages."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {"minidl"} if node.level else {node.module.partition(".")[0]}
        elif isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        else:
            continue
        if id(node) in inside:
            allowed = OPTIONAL
        else:
            allowed = BASE | {"minidl"} | set(sys.stdlib_module_names)
            name = name_of(path)
            allowed |= AT_THE_TOP.get(".".join(name.split(".")[:2]), set())
        assert names <= allowed, f"line {node.lineno}: imports {sorted(names - allowed)}"


def code_lines(source):
    """The numbers of the lines that hold code: no docstring, no comment, not blank, nor the list of a package's names."""
    lines = set()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if docstring or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return lines


def test_code_lines():
    source = '"""Doc\n\nstring."""\n\nx = 1  # one\n# none\ny = (\n    """four\n    """,\n)\n\n\n'
    source += 'def f():\n    """None."""\n    return x\n__all__ = [\n    "f",\n]\n'
    assert code_lines(source) == {5, 7, 8, 9, 10, 13, 15}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sizes(path):
    source = path.read_text()
    lines = code_lines(source)
    assert len(lines) <= MAX_FILE, f"{len(lines)} lines of code"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n = len(lines & set(range(node.lineno, node.end_lineno + 1)))
            assert n <= MAX_FUNCTION, f"{node.name}: {n} lines of code"


CORE = ("shapes", "backend", "autograd", "_tensor", "_methods", "ops", "kernels.cpu", "kernels.reference")
ABOVE = {"autograd.functional"}  # made of ops and sweeps, and beside the tape only for PyTorch's name
CORE_FILES = [
    path
    for module, path in MODULES.items()
    if any(f"{module}.".startswith(f"{name}.") for name in CORE) and module not in ABOVE
]
MAX_CORE = 4499


def test_the_core_stays_small():
    """In all, too: what is new there takes the place of something old, or belongs elsewhere."""
    sizes = {path.relative_to(ROOT).as_posix(): len(code_lines(path.read_text())) for path in CORE_FILES}
    listed = "\n".join(f"{n:5} {name}" for name, n in sorted(sizes.items(), key=lambda item: -item[1]))
    assert sum(sizes.values()) <= MAX_CORE, f"{sum(sizes.values())} lines of code in the core:\n{listed}"


def test_every_file_of_the_core_is_explained():
    page = (ROOT.parent / "docs" / "house.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `minidl/")]
    files = {f"minidl/{path.relative_to(ROOT).as_posix()}" for path in CORE_FILES}
    assert len(rows) == len(set(rows)), "docs/house.md has a file twice"
    assert files - set(rows) == set(), "docs/house.md wants a row for each"
    assert set(rows) - files == set(), "docs/house.md names files that are not there"


def test_importing_is_light():
    """No optional package comes along, and it takes less than a second of the processor's time."""
    program = "import sys, minidl; print(*sys.modules)"
    seconds, loaded = [], set()
    for _ in range(3):  # the machine may be busy: the quickest counts
        start = os.times()
        loaded = set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())
        end = os.times()
        seconds.append(end.children_user + end.children_system - start.children_user - start.children_system)
    assert "minidl" in loaded
    assert not loaded & {"torch", "torchvision", "cupy", "hypothesis", "matplotlib", "PIL", "pytest", "safetensors", "onnx"}
    assert min(seconds) < 1, seconds
