"""What fuzzing found, and what somebody would try, is replayed in a process that may neither run, change nor want anything."""

import subprocess
import sys
from pathlib import Path

import pytest

import minidl

pytest.importorskip("resource")
FUZZ = Path(__file__).with_name("fuzz.py")


def test_no_file_does_anything_but_be_read_or_refused():
    done = subprocess.run([sys.executable, str(FUZZ), "replay"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) == len(list(FUZZ.parent.glob("corpus/*/*"))) > 50


# What a reader must not do is put into one, so that the replay is known to see it.
WRONG = """
import io, os, sys
sys.path.insert(0, sys.argv[1])
import fuzz
fuzz.imported()
fuzz.limited()
def large():
    try:
        bytearray(1 << 31)
    except MemoryError as error:
        raise RuntimeError("refused") from error
for wrong in (
    lambda: os.system("true"), lambda: eval("1"), lambda: open(os.devnull, "w"), lambda: __import__("this"),
    lambda: os.remove("nothing"), lambda: [][0], large,
):
    fuzz.minidl.load = lambda *args, **options: wrong()
    try:
        fuzz.TARGETS["file"](b"")
    except BaseException as error:
        print(type(error).__name__, error)
    else:
        print("not seen")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a limit of address space may not be kept")
def test_the_replay_sees_what_a_reader_must_not_do():
    done = subprocess.run([sys.executable, "-c", WRONG, str(FUZZ.parent)], capture_output=True, text=True)
    seen = [
        "Tripped os.system",
        "Tripped compile",
        "Tripped open",
        "Tripped import",
        "Tripped os.remove",
        "IndexError list index",
        "Tripped it wanted more memory",
    ]
    said = done.stdout.splitlines()
    assert len(said) == len(seen) and all(map(str.startswith, said, seen)), done.stdout + done.stderr


def test_a_device_is_not_read():
    for path in ("/dev/zero", "/dev/null"):
        if Path(path).exists():
            with pytest.raises(OSError, match=f"load: {path} is no ordinary file"):
                minidl.load(path)
