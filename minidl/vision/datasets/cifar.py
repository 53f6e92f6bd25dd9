"""CIFAR-10: 60,000 photographs, 32 x 32, of ten kinds of things.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .images import ImageSet

FOLDER, TARBALL = "cifar-10-batches-py", "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"


class CIFAR10(ImageSet):
    """The CIFAR-10 data set: ``cifar-10-batches-py/`` in the folder ``root``, or the archive ``cifar-10-python.tar.gz`` there.

    A sample is a picture, a uint8 array of shape (32, 32, 3), and its class, an integer. (torchvision gives a Pillow image;
    Pillow is not needed here, and minidl's transforms take the array.)

    Parameters
    ----------
    root
        The folder to look in.
    train
        Whether to read the 50,000 pictures for training or the 10,000 for testing.
    transform, target_transform
        Called with a picture and with a class; what they return takes the place of these.
    download
        If there is neither folder nor archive, let torchvision, which must be installed, download the archive.

    Raises
    ------
    RuntimeError
        If the data is not there, or damaged, or cannot be downloaded; the message names the file, or says what to do.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = Path(root), train
        folder = _find(self.root, download)
        names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
        planes, labels = zip(*(_read_batch(folder / name) for name in names))
        super().__init__(
            np.concatenate(planes).transpose(0, 2, 3, 1),
            [label for part in labels for label in part],
            transform,
            target_transform,
        )


def _find(root: Path, download: bool) -> Path:
    """The folder of the batch files, unpacked or downloaded if need be."""
    folder, tarball = root / FOLDER, root / TARBALL
    if not folder.is_dir() and tarball.is_file():
        _unpack(tarball)
    if not folder.is_dir() and download:
        _download(root)
    if not folder.is_dir():
        raise RuntimeError(
            f"CIFAR10: there is neither {folder} nor {tarball} (looked in {root.resolve()}). Put one of them there, "
            "or use download=True. minidl.vision.datasets.Shapes, pictures of the same shape, needs no files."
        )
    return folder


# -- the archive


def _unpack(tarball: Path) -> None:
    """Unpack the archive beside itself: wholly or not at all, and nothing anywhere else."""
    digest = hashlib.md5(tarball.read_bytes(), usedforsecurity=False).hexdigest()
    if digest != MD5:
        raise RuntimeError(
            f"CIFAR10: {tarball} is damaged or not the published archive: its MD5 is {digest}, not {MD5}; download it again"
        )
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}.", dir=tarball.parent) as made, tarfile.open(tarball) as archive:
        for member in archive:
            place = _safe_place(member, tarball)
            if member.isfile():
                target = Path(made, place)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(archive.extractfile(member), file)  # type: ignore[arg-type]
        try:
            os.rename(Path(made, FOLDER), tarball.parent / FOLDER)
        except OSError:
            if not (tarball.parent / FOLDER).is_dir():  # else another process was quicker
                raise


def _safe_place(member: tarfile.TarInfo, tarball: Path) -> str:
    """The path of a member that is a file or a folder inside the data's folder; anything else is refused."""
    parts = member.name.split("/")
    outside = parts[0] != FOLDER or ".." in parts or "\\" in member.name or ":" in member.name
    if outside or not (member.isfile() or member.isdir()):
        raise RuntimeError(
            f"CIFAR10: {tarball} holds {member.name!r}, which is no plain file inside {FOLDER}/; nothing was unpacked"
        )
    return member.name


def _download(root: Path) -> None:
    """Let torchvision download and unpack the archive into ``root``."""
    instead = (
        f"Put {TARBALL} from the CIFAR-10 site (https://www.cs.toronto.edu/~kriz/cifar.html) into {root.resolve()}, "
        "or use minidl.vision.datasets.Shapes, which needs no download."
    )
    try:
        theirs = importlib.import_module("torchvision.datasets")
    except Exception as error:  # a torchvision that does not fit the installed PyTorch fails in many ways
        missing = isinstance(error, ModuleNotFoundError) and str(error.name).startswith("torchvision")
        how = "not installed" if missing else "installed but broken"
        raise RuntimeError(f"CIFAR10: download=True needs torchvision, which is {how} ({error}). {instead}") from error
    try:
        theirs.CIFAR10(root=str(root), download=True)
    except Exception as error:
        raise RuntimeError(
            f"CIFAR10: torchvision could not download the archive; is the network down? ({error}) {instead}"
        ) from error


# -- the batch files: pickles, written by Python 2


def _empty_array(kind: Any, shape: Any, typecode: Any) -> Any:
    return np.empty(0, np.uint8)


def _byte_dtype(code: Any, *options: Any) -> Any:
    if code not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"it holds an array of {code!r}, not of bytes")
    return np.dtype("u1", False, True)  # a copy, since the pickle sets its state


def _latin_bytes(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


# All that such a pickle may call, and what is called in its place. Python 3 writes byte strings as _codecs.encode(text, ...).
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _byte_dtype,
    ("_codecs", "encode"): _latin_bytes,
}


class _Unpickler(pickle.Unpickler):
    """Reads lists, dictionaries, numbers, texts and byte arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no CIFAR-10 file needs and which may run code: refused"
            )
        return ALLOWED[module, name]


def _read_batch(path: Path) -> tuple[Any, list[int]]:
    """The pictures of one file, uint8 (N, 3, 32, 32), and their classes."""
    if not path.is_file():
        raise RuntimeError(f"CIFAR10: {path} is missing; delete the folder {path.parent} and unpack the archive again")
    try:
        with open(path, "rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        data, labels = batch[b"data"], batch[b"labels"]
    except Exception as error:  # bytes at random make the unpickler raise almost anything
        raise RuntimeError(
            f"CIFAR10: cannot read {path}: {type(error).__name__}: {error}. Delete it and unpack the archive again"
        ) from error
    n = len(labels) if isinstance(labels, list) else -1
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (n, 3072):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise RuntimeError(
            f"CIFAR10: {path} is misshapen: wants uint8 data of shape (N, 3072) and a list of N labels, got {found}, N = {n}"
        )
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise RuntimeError(f"CIFAR10: {path} is misshapen: its labels must be integers from 0 to 9")
    return data.reshape(n, 3, 32, 32), labels
