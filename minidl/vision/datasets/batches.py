"""The batch files of CIFAR-10: pickles of Python 2 of a dict, with the pictures in an array and their classes in a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...pickles import COMMON, Machine, Refused


class ByteType:
    """Stands for the dtype of bytes, the only one that these files need."""


class ByteArray:
    """An array that gets its shape and content later, as pickles have it."""

    content: Any = None


class BatchMachine(Machine):
    """Runs the pickle of a batch, written by Python 2 or, again, by Python 3."""

    parts: ClassVar = {**Machine.parts, ByteType: "dtype"}

    def build(self, target: Any, state: Any) -> Any:
        """Give an array its shape and content, and a dtype what it has already."""
        if type(target) is ByteArray and type(state) is tuple and len(state) == 5:
            _, shape, dtype, columns_first, content = state
            if type(dtype) is not ByteType or type(content) is not bytes or columns_first:
                raise Refused(f"an array that is not one of bytes, row by row: {self.place()}")
            target.content = np.frombuffer(content, np.uint8).reshape(shape)
            return target
        if type(target) is ByteType and type(state) is tuple and state[2:4] == (None, None):
            return target
        return super().build(target, state)

    def find(self, module: str, name: str) -> Any:
        """What NumPy has moved since, where it was."""
        return super().find(module.replace("numpy._core.", "numpy.core."), name)

    def empty(self, container: Any) -> None:
        """Put an empty container on the stack, of what has come since the last mark: nothing."""
        if self.take():
            raise Refused("a pickle that fills a container in another way than Python 3")
        self.push(container)

    def array(self, kind: Any, shape: Any, typecode: Any) -> ByteArray:
        """``numpy.core.multiarray._reconstruct``."""
        return ByteArray()

    def dtype(self, code: Any, *options: Any) -> ByteType:
        """``numpy.dtype``."""
        if code not in ("u1", b"u1"):
            raise Refused(f"it holds an array of {code!r}, not of bytes")
        return ByteType()

    def kind(self, *args: Any) -> Any:
        """``numpy.ndarray``, which is named and never called."""
        raise Refused("a pickle that makes an array in another way than NumPy")

    def encoded(self, text: Any, encoding: Any) -> Any:
        """``_codecs.encode(text, "latin1")``, as which Python 3 writes bytes for Python 2."""
        return self.copy(lambda x: x.encode("latin1"), str, text)

    functions: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): array,
        ("numpy", "dtype"): dtype,
        ("_codecs", "encode"): encoded,
        ("numpy", "ndarray"): kind,
    }
    instructions: ClassVar = {
        **COMMON,
        # text of Python 2
        **{name: lambda m, arg: m.push(arg.encode("latin1")) for name in ("SHORT_BINSTRING", "BINSTRING")},
        # protocol 0
        **{name: lambda m, arg: m.push(arg) for name in ("INT", "LONG", "UNICODE")},
        **{"GET": COMMON["BINGET"], "PUT": COMMON["BINPUT"]},
        "LIST": lambda m, arg: m.empty([]),
        "DICT": lambda m, arg: m.empty({}),
        # protocols 3 and 4
        **{name: lambda m, arg: m.push(arg) for name in ("SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES")},
        "FRAME": lambda m, arg: None,
        "MEMOIZE": lambda m, arg: m.remember(len(m.memory)),
        "STACK_GLOBAL": lambda m, arg: m.push(m.find(*m.take(2))),
    }


def read_batch(path: Path) -> tuple[Any, list[int]]:
    """The pictures of one file, uint8 (N, 3, 32, 32), and their classes.

    Raises
    ------
    RuntimeError
        If the file is missing, damaged or something else; the error names it.
    """
    if not path.is_file():
        raise RuntimeError(f"CIFAR10: {path} is missing; delete the folder {path.parent} and unpack the archive again")
    try:
        batch = BatchMachine(path.read_bytes()).run()
        data, labels = batch[b"data"], batch[b"labels"]
    except Exception as error:  # bytes at random make the machine raise almost anything
        said = f"{error}" if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        raise RuntimeError(f"CIFAR10: cannot read {path}: {said}. Delete it and unpack the archive again") from error
    pictures = getattr(data, "content", None)
    n = len(labels) if type(labels) is list else -1
    if pictures is None or pictures.shape != (n, 3072):
        found = type(data).__name__ if pictures is None else f"an array {pictures.shape}"
        raise RuntimeError(
            f"CIFAR10: {path} is misshapen: wants uint8 data of shape (N, 3072) and a list of N labels, got {found}, N = {n}"
        )
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise RuntimeError(f"CIFAR10: {path} is misshapen: its labels must be integers from 0 to 9")
    return pictures.reshape(n, 3, 32, 32), labels
