"""Files at random for everything that reads files: a coverage-guided fuzzer, and what it found, replayed.

    python tests/fuzz.py replay                      # what is in tests/corpus, in a process without much memory; any Python
    python tests/fuzz.py pickle -max_total_time=60   # look for more, with Atheris (the extra "fuzz") and libFuzzer's options

A reader may read a file or refuse it with a RuntimeError. Whatever else it does is a find: another error, code that is run,
a module that is imported, a file opened to be written, more memory than the file is large. Atheris keeps the file then, and
what reaches new lines goes into ``tests/corpus/TARGET``.
"""

import gzip
import io
import json
import os
import resource
import struct
import sys
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz"))
SPARE = 900 << 20  # bytes that a reader may have beside what the process has: three times the largest archive of CIFAR-10


# The modules whose lines Atheris watches.
READERS = [
    f"minidl.{name}" for name in ("pickles", "pt_files", "serialization", "vision.datasets.batches", "vision.datasets.cifar")
]
READERS += ["pickletools"]


def imported():
    """What is tested; when it is imported, Atheris marks its lines."""
    global cifar, minidl, np, read_batch, safetensors, _checksum
    import numpy as np
    import safetensors.numpy

    import minidl
    from minidl.serialization import _checksum
    from minidl.vision.datasets import cifar
    from minidl.vision.datasets.batches import read_batch

    for encoding in ("cp437", "latin1", "ascii", "raw-unicode-escape", "utf-8"):  # which are modules too
        "".encode(encoding)


# -- what a reader must not do


class Tripped(BaseException):
    """Something that a reader of files must not do; no ``except Exception`` stops it."""


RUNS = ("exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.")
armed, reads = False, [0]


def watch(event, args):
    """An audit hook: Python calls it before it does such things."""
    if not armed:
        return
    if event in RUNS or event.startswith((*CHANGES, "ctypes.")) or event == "import":
        raise Tripped(f"{event} {args}"[:200])
    if event == "open" and (set(args[1] or "") & set("wax+") or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        raise Tripped(f"open {args}"[:200])


@contextmanager
def watched():
    global armed
    armed = True
    try:
        yield
        reads[0] += 1
    except RuntimeError as error:
        armed = False
        while error is not None:
            if isinstance(error, MemoryError) or "MemoryError" in str(error):
                raise Tripped("it wanted more memory than there was") from error
            error = error.__cause__ or error.__context__
    finally:
        armed = False


# -- the targets: from bytes to a file of some kind, which is read


def of_file(data):
    """Any file at all, for `minidl.load`."""
    with watched():
        minidl.load(io.BytesIO(data), map_location="cpu")


def of_content(data):
    """JSON as the content of a checkpoint whose checksum is right."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True])}
    document = {"minidl": 1, "crc32": _checksum(content, arrays), "content": content}
    of_file(safetensors.numpy.save(arrays, {"minidl": json.dumps(document)}))


def of_pickle(data):
    """A program as the pickle in a file of ``torch.save``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("data.pkl", data), ("data/0", bytes(24)), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"a/{name}"), content)
    of_file(file.getvalue())


def of_batch(data):
    """A batch of CIFAR-10."""
    path = FOLDER / "batch"
    path.write_bytes(data)
    with watched():
        read_batch(path)


def of_tar(data):
    """The archive of CIFAR-10, unpacked in memory; its MD5 would not be right."""
    path = FOLDER / "archive"
    path.write_bytes(gzip.compress(data, 1))
    with watched():
        cifar.read_archive(path)


def of_gzip(data):
    """The same, where the compression is damaged too."""
    path = FOLDER / "archive"
    path.write_bytes(data)
    with watched():
        cifar.read_archive(path)


TARGETS = {
    "file": of_file,
    "content": of_content,
    "pickle": of_pickle,
    "batch": of_batch,
    "tar": of_tar,
    "gzip": of_gzip,
}


# -- where to start from, and what somebody would try


def good():
    """Files that are read, for each target."""
    file = io.BytesIO()
    minidl.save({"net": {"w": minidl.ones(2, 3)}, "n": (1, 2.5, None, b"x"), 3: np.float64(1)}, file)
    yield "file", file.getvalue()
    yield "file", safetensors.numpy.save({"w": np.ones(2, np.float32), "b": np.ones((1, 0), np.int8)})
    yield (
        "content",
        b'{"dict": [["a", {"tensor": "a"}], ["b", {"tuple": [1, {"float": "inf"}, {"bytes": "eA=="}, {"scalar": "b"}]}]]}',
    )
    yield "content", b'[{"OrderedDict": [[1, {"array": "a"}]]}, {"Counter": [["x", 2]]}]'
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89" + hooks + b"tR"
    yield "pickle", b"\x80\x02}q\x00(X\x01\0\0\0w" + tensor + b"X\x01\0\0\0s" + hooks + b"}X\x09\0\0\0_metadata}sbu."
    yield (
        "pickle",
        b"\x80\x02](ctorch\nSize\nK\x01\x85\x85Rctorch\ndevice\nX\x03\0\0\0cpu\x85Rc__builtin__\nset\n]K\x01a\x85Re.",
    )
    yield from good_cifar()


def good_cifar():
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    array += b"(K\x01K\x01M\x00\x0c\x86" + dtype + b"\x89T\x00\x0c\x00\x00" + bytes(3072) + b"tb"
    batch = b"\x80\x02}(U\x06labels](K\x03eU\x04data" + array + b"u."
    yield "batch", batch
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("data_batch_1", "test_batch"):
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = 5
            archive.addfile(member, io.BytesIO(b"01234"))
    yield "tar", file.getvalue()
    yield "gzip", gzip.compress(file.getvalue(), mtime=0)


def hostile():
    """What somebody would try: each is refused."""
    yield "file", struct.pack("<Q", 2**60) + b"{}"  # a header that is said to be large
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    yield "file", struct.pack("<Q", len(header)) + header
    yield "content", b"[" * 3000 + b"]" * 3000
    for name in ("pickle", "batch"):
        yield name, b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR."
        yield name, b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x."  # bytes that are not there
    for kind, name, link in (
        *((tarfile.SYMTYPE, f"{cifar.FOLDER}/l", "/etc/passwd"), (tarfile.LNKTYPE, f"{cifar.FOLDER}/l", "../x")),
        *((tarfile.CHRTYPE, f"{cifar.FOLDER}/d", ""), (tarfile.REGTYPE, "../x", ""), (tarfile.REGTYPE, "/x", "")),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        yield "tar", member.tobuf() + bytes(1024)
    huge = tarfile.TarInfo(f"{cifar.FOLDER}/x")
    huge.size = 2**50
    yield "tar", huge.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    huge.type = tarfile.XHDTYPE  # a header of its own that is said to be large
    yield "tar", huge.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    yield "gzip", gzip.compress(bytes(1 << 24)) * 20  # 320 MB out of 320 kB


def large():
    """What would want much memory of another reader, and may be read."""
    yield "pickle", b"\x80\x02Nr\xff\xff\xff\x7f."  # a memory of two thousand million places
    yield "batch", b"\x80\x02Nr\xff\xff\xff\x7f."
    yield "pickle", b"\x80\x02]q\x00" + b"(h\x00h\x00tq\x00" * 64 + b"."  # doubled again and again


def refused(target, data):
    """Whether a reader refuses a file."""
    before = reads[0]
    TARGETS[target](data)
    return reads[0] == before


def limited():
    """From here on this process is watched, and has not much memory."""
    sys.addaudithook(watch)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 1 << 19
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE, resource.RLIM_INFINITY))


def replay():
    """All that is known; ends with an error at the first find."""
    limited()
    cases = [(path.parent.name, path.read_bytes()) for path in sorted(CORPUS.glob("*/*"))]
    for target, data in [*cases, *large()]:
        TARGETS[target](data)
    for target, data in good():
        assert not refused(target, data), f"{target}: a good file is refused: {data[:80]}"
    for target, data in hostile():
        assert refused(target, data), f"{target}: a hostile file is read: {data[:80]}"
    print(f"{len(cases)} files of the corpus")


def fuzz(target, options):
    """Look for more until a find, or until libFuzzer's options say to stop."""
    import atheris

    with atheris.instrument_imports(include=READERS):
        imported()
    sys.addaudithook(watch)
    kept = CORPUS / target
    kept.mkdir(parents=True, exist_ok=True)
    start = Path(tempfile.mkdtemp(prefix="seeds"))
    for number, (name, data) in enumerate([*good(), *hostile(), *large()]):
        if name == target and len(data) < 10_000:
            (start / str(number)).write_bytes(data)
    atheris.Setup(
        ["fuzz", str(kept), str(start), "-max_len=6000", "-rss_limit_mb=2000", "-timeout=20", *options], TARGETS[target]
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "replay":
        imported()
        replay()
    else:
        fuzz(sys.argv[1], sys.argv[2:])
