"""English text that every Python carries, or a file of one's own, as numbers: one for each character."""

import sys
import zlib
from pathlib import Path

import numpy as np

import minidl

# line break and the printable characters of ASCII; everything else becomes "?"
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))


def load(path=None):
    """The text of a file, or without one of Python's own help on the language."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics[name] for name in sorted(topics))
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        sys.exit(f"--text: {error}")


def encode(text):
    """The characters' numbers, an array of integers."""
    table = np.full(256, ALPHABET.index("?"), np.int64)
    table[[ord(c) for c in ALPHABET]] = range(len(ALPHABET))
    codes = np.frombuffer(text.encode("latin-1", errors="replace"), np.uint8)
    return table[codes]


def decode(numbers):
    """The text again."""
    return "".join(ALPHABET[i] for i in numbers)


class Text:
    """A text in two parts: nine tenths to learn from, the last tenth to be tested with."""

    def __init__(self, text, length):
        numbers = encode(text)
        cut = len(numbers) * 9 // 10
        self.train, self.test, self.length = numbers[:cut], numbers[cut:], length
        self.checksum = zlib.crc32(numbers)  # by it a run that goes on knows its text
        if len(self.test) <= length:
            sys.exit(f"--text: {len(numbers)} characters are too few for sequences of {length}")

    def batch(self, size):
        """Pieces of the training text from anywhere, and the same one character further: twice (size, length)."""
        starts = minidl.randint(0, len(self.train) - self.length, (size, 1), device="cpu").numpy()
        pieces = self.train[starts + np.arange(self.length + 1)]
        return minidl.as_tensor(pieces[:, :-1].copy()), minidl.as_tensor(pieces[:, 1:].copy())

    def test_batches(self, size, most):
        """At most so many batches that cover the test text from its beginning."""
        n = min((len(self.test) - 1) // self.length, size * most)
        inputs = self.test[: n * self.length].reshape(n, self.length)
        targets = self.test[1 : n * self.length + 1].reshape(n, self.length)
        for i in range(0, n, size):
            yield minidl.as_tensor(inputs[i : i + size].copy()), minidl.as_tensor(targets[i : i + size].copy())
