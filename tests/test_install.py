"""What is installed: light, whole, typed, and for the Pythons that it says."""

import ast
import configparser
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

import minidl

ROOT = Path(__file__).resolve().parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
FOLDERS = ("minidl", "tests", "examples", "benchmarks", "docs")
SOURCES = [ROOT / "minidl_doctor.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]


def words(section, option):
    return SETUP.get(section, option).split()


def test_installing_pulls_nothing_heavy():
    assert words("options", "install_requires") == ["numpy>=2.0", "safetensors>=0.4", "threadpoolctl>=3"]


def test_all_files_are_in_the_wheel():
    """What is no module has a pattern in package_data, and what is one lies in a package."""
    patterns = {name: value.replace(",", " ").split() for name, value in SETUP.items("options.package_data")}
    missing = []
    for path in (ROOT / "minidl").rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        name, inside = ".".join(package.relative_to(ROOT).parts), path.relative_to(package).as_posix()
        is_module = path.suffix == ".py" and package == path.parent
        if not is_module and not any(fnmatch(inside, p) for p in patterns.get("*", []) + patterns.get(name, [])):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing
    assert (ROOT / "minidl" / "py.typed").exists() and "py.typed" in patterns["*"]
    assert words("options", "py_modules") == ["minidl_doctor"]


def test_the_oldest_python_can_read_it():
    oldest = words("options", "python_requires")[0].removeprefix(">=")
    assert oldest == "3.10"
    for path in SOURCES:
        if "steps" not in path.parts:
            ast.parse(path.read_text(encoding="utf-8"), feature_version=tuple(map(int, oldest.split("."))))


def test_the_workflow_tests_what_is_said():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    [pythons] = re.findall(r"^ +python: \[(.*)\]$", workflow, re.MULTILINE)
    assert re.findall(r"3\.\d+", pythons) == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert re.search(r"os: \[ubuntu-latest, macos-latest, windows-latest\]", workflow)
    assert "numpy=2.0.0" in workflow  # as in install_requires


@pytest.mark.filterwarnings("error")
def test_the_program_that_types_are_checked_with(tmp_path, monkeypatch, capsys):
    """It runs; mypy in strict mode looks at it with the package (see setup.cfg)."""
    assert "tests/typed_program.py" in SETUP.get("mypy", "files")
    monkeypatch.chdir(tmp_path)
    import typed_program

    typed_program.main()
    assert "(2, 10)" in capsys.readouterr().out
    assert minidl.load("net.safetensors").keys() == typed_program.Net().state_dict().keys()
