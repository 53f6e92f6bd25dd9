"""The last few checkpoints of a run: where the newest is damaged, or the run has gone wrong, there is one before it."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from typing import Any

from .serialization import flush_folder, load, save
from .shapes import as_index


class Checkpoints:
    """The file ``path`` for the newest checkpoint of a run, and ``path.1``, ``path.2`` ... for those before it.

    Each is written whole or not at all, by `minidl.save`. The new one is written before an old one is touched, so a full disk
    costs none of them. Between the renames that follow there is a moment when ``path.1`` is the newest; `load` looks there too.

    Parameters
    ----------
    path : path
        Where to. One run at a time writes there; a second one is told so by an `OSError`, as soon as it is noticed.
    keep : int
        How many to keep, with the newest.

    Raises
    ------
    ValueError
        If ``keep`` is less than 1.
    """

    def __init__(self, path: str | bytes | os.PathLike[str], keep: int = 2) -> None:
        self.path = os.path.realpath(os.fsdecode(path))  # where a link leads; it goes on leading there
        self.keep = as_index(keep, "Checkpoints: keep")
        if self.keep < 1:
            raise ValueError(f"Checkpoints: keep must be at least 1, got {keep}")

    def save(self, obj: Any) -> None:
        """Save ``obj`` as the newest; what is older goes one number up, and the oldest is lost."""
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise OSError(f"Checkpoints: {self.path} exists and is no ordinary file")
        new = f"{self.path}.new"
        try:
            for left in glob.glob(f"{glob.escape(new)}.*.tmp"):  # by a run that was killed while it wrote
                os.remove(left)
            save(obj, new)
            for number in range(self.keep - 1, 0, -1):
                if os.path.exists(self._name(number - 1)):
                    os.replace(self._name(number - 1), self._name(number))
            os.replace(new, self.path)
        except FileNotFoundError as error:
            if not os.path.isdir(os.path.dirname(self.path)):
                raise
            raise OSError(
                f"Checkpoints: a file beside {self.path} went away while it was saved: another run seems to save there too; "
                "give each a path of its own"
            ) from error
        flush_folder(os.path.dirname(self.path))

    def load(self, map_location: Any = None) -> Any:
        """The newest that is whole and can be read; if that is not the newest of all, with a warning.

        Raises
        ------
        FileNotFoundError
            If there is none.
        RuntimeError, OSError
            If none of them can be read; the error is that of the newest.
        """
        first = None
        for name in self._there():
            try:
                found = load(name, map_location)
            except (OSError, RuntimeError) as error:  # a bad sector is an OSError; and another process may save just now
                first = first or error
            else:
                if first is not None:
                    warnings.warn(f"{first}; going on from the checkpoint before it, {name}", stacklevel=2)
                return found
        raise first or FileNotFoundError(f"Checkpoints: there is none at {self.path}")

    def _name(self, number: int) -> str:
        return f"{self.path}.{number}" if number else self.path

    def _there(self) -> Iterator[str]:
        """The names of those that exist, newest first; older ones than are kept now, too."""
        numbers = [name.rpartition(".")[2] for name in glob.glob(f"{glob.escape(self.path)}.*")]
        for number in [0, *sorted(int(n) for n in numbers if n.isascii() and n.isdigit())]:
            if os.path.exists(self._name(number)):
                yield self._name(number)
