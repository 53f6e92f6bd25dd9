"""CIFAR-10: 60,000 photographs, 32 x 32, of ten kinds of things.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...pickles import Refused
from ...serialization import write_whole
from .batches import read_batch
from .images import ImageSet

FOLDER, TARBALL = "cifar-10-batches-py", "cifar-10-python.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{TARBALL}"
MOST_BYTES, MOST_MEMBERS = 1 << 28, 100  # the published archive holds 186 million bytes and eight files
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
        If there is neither folder nor archive, download the archive, 170 MB, from the site of its authors.

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
        planes, labels = zip(*(read_batch(folder / name) for name in names))
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
    digest = hashlib.md5(usedforsecurity=False)
    with open(tarball, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    _check_published(digest, tarball)
    content = read_archive(tarball)
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}.", dir=tarball.parent) as made:
        for name, data in content.items():
            Path(made, name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(data, Path(made, name), "CIFAR10")
        try:
            os.rename(Path(made, FOLDER), tarball.parent / FOLDER)
        except OSError:
            if not (tarball.parent / FOLDER).is_dir():  # else another process was quicker
                raise


def _check_published(digest: Any, what: Any) -> None:
    if digest.hexdigest() != MD5:
        raise RuntimeError(
            f"CIFAR10: {what} is damaged or not the published archive: its MD5 is {digest.hexdigest()}, not {MD5}; "
            "download it again"
        )


def read_archive(tarball: Path) -> dict[str, bytes]:
    """The files in an archive by name; one that holds too much, or anything but plain files in the data's folder, is refused.

    Raises
    ------
    RuntimeError
        If it is refused or damaged; the error names it, and the member.
    """
    try:
        with gzip.open(tarball) as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise Refused(f"it is larger than {MOST_BYTES:,} bytes when unpacked")
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for number, member in enumerate(archive):
                parts = member.name.split("/")
                outside = parts[0] != FOLDER or ".." in parts or "\\" in member.name or ":" in member.name
                if outside or not (member.isdir() or (member.isfile() and not member.issparse())):
                    raise Refused(f"it holds {member.name!r}, which is no plain file inside {FOLDER}/")
                if number >= MOST_MEMBERS:
                    raise Refused(f"it has more than {MOST_MEMBERS} members")
                if member.isfile():
                    found[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
        return found
    except Exception as error:  # bytes at random make gzip and tarfile raise almost anything
        said = f"{error}" if isinstance(error, Refused) else f"it is damaged: {type(error).__name__}: {error}"
        raise RuntimeError(f"CIFAR10: {tarball} was not unpacked: {said}") from error


def _download(root: Path) -> None:
    """Download the archive into ``root``, wholly or not at all, and unpack it there."""
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            data = answer.read(MOST_BYTES)
        _check_published(hashlib.md5(data, usedforsecurity=False), URL)
    except Exception as error:  # a network fails in many ways
        raise RuntimeError(
            f"CIFAR10: the archive could not be downloaded; is the network down? ({error}) "
            f"Put {TARBALL} from the CIFAR-10 site (https://www.cs.toronto.edu/~kriz/cifar.html) into {root.resolve()}, "
            "or use minidl.vision.datasets.Shapes, which needs no download."
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    write_whole(data, root / TARBALL, "CIFAR10")
    _unpack(root / TARBALL)
