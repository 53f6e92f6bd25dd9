"""Saving and loading: one safetensors file, written whole or not at all, and nothing in it that could run.

The tensors lie in the file under readable names (``model.conv1.weight``), so other programs can read them. How they are nested,
and everything that is no tensor, is one line of JSON beside them, with a checksum over all of it. What ``torch.save`` wrote is
read as well (see `pt_files`), and not written.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import uuid
import zlib
from collections import Counter, OrderedDict
from typing import Any

import numpy as np

from . import dtypes
from .autograd.tape import TensorBase, wrap
from .devices import check_device, device, device_of, moved, on_host
from .pt_files import read_pt, widen_bfloat16

VERSION = 1
# Of the metadata, where our JSON is. The JSON begins with the same word again, so that one damaged byte cannot hide it.
KEY = "minidl"
MAPPINGS: dict[str, Any] = {cls.__name__: cls for cls in (dict, OrderedDict, Counter)}
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": np.uint16,  # its bits; NumPy has no such type
    "F32": np.float32,
    "F64": np.float64,
}
NONSENSE = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError)  # what content without sense raises
FOREIGN = {
    b"\x80": "a pickle, as torch.save before PyTorch 1.6 wrote it; torch.save(torch.load(file), new_file), there, makes a file "
    "to load here",
    b"\x93NUMPY": "a file of numpy.save; numpy.load reads it",
    b"\x89HDF": "an HDF5 file",
}


def _format() -> Any:
    """The package that knows the format. It is imported only for a file: not every Python has a build of it."""
    try:
        import safetensors.numpy
    except ImportError as error:
        said = "save and load want the package safetensors; docs/install.md says what to do where it does not install"
        raise ImportError(f"{said}: {error}") from error
    return safetensors


# -- saving


def save(obj: Any, f: Any) -> None:
    """Save ``obj`` to the file ``f``.

    The file is written under another name, flushed to the disk and then renamed, so ``f`` holds either all of the new content
    or, whatever happens, what it held before. Tensors that share memory are stored once each, and do not share it when loaded.

    Parameters
    ----------
    obj : object
        Tensors, NumPy arrays and scalars, numbers, text, bytes, None; and dict, OrderedDict, Counter (with keys that are text
        or integers), list and tuple of such, nested as you like. Tensors are stored without history, gradient or wish for one.
        Of a tensor on a GPU the file says which.
    f : path or binary file
        Where to. A flat dict of tensors, such as a module's ``state_dict()``, keeps its names:
        ``safetensors.torch.load_file`` reads it in PyTorch. That is so whatever the file is called: one named ``net.pt`` is
        a safetensors file too, and nothing for ``torch.load``.

    Raises
    ------
    TypeError
        If ``obj`` holds something else; the error names the place.
    OSError
        If the file cannot be written.
    """
    arrays: dict[str, Any] = {}
    try:
        content = _encode(obj, (), arrays)
        document = {KEY: VERSION, "crc32": _checksum(content, arrays), "content": content}
        data = _format().numpy.save(arrays, {KEY: json.dumps(document, allow_nan=False)})
    except RecursionError:
        raise ValueError("save: the object is nested too deeply, or holds itself") from None
    if hasattr(f, "write"):
        f.write(data)
    elif not isinstance(f, (str, bytes, os.PathLike)):
        raise TypeError(f"save: f must be a path or a binary file, got {type(f).__name__}; the object comes first")
    else:
        write_whole(data, f, "save")


def write_whole(data: bytes, f: Any, op: str) -> None:
    """Write a file so that nobody ever finds half of it, not even after a crash; ``op`` is who says what went wrong."""
    path = os.path.realpath(os.fsdecode(f))
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{op}: {path} exists and is no ordinary file")
    if not os.path.isdir(os.path.dirname(path)):
        raise FileNotFoundError(f"{op}: there is no folder {os.path.dirname(path)}")
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"  # in the same folder: a rename across disks would be a copy
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C too
        if os.path.exists(temporary):
            os.remove(temporary)
        if isinstance(error, OSError):
            said = f"{op}: {path} could not be written, and is as it was before: {error.strerror or error}"
            raise OSError(error.errno, said) from error
        raise
    flush_folder(os.path.dirname(path))


def flush_folder(folder: str) -> None:
    """See to it that a new name in a folder outlasts a power cut too, where the system lets a folder be flushed."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _encode(obj: Any, path: tuple[Any, ...], arrays: dict[str, Any]) -> Any:
    """``obj`` as JSON: lists, text and numbers as they are, all else as ``{kind: content}``; arrays are put aside by name."""
    kind: Any = type(obj)
    if obj is None or kind in (bool, int, str):
        return obj
    if kind is float:
        return obj if math.isfinite(obj) else {"float": repr(obj)}
    if kind is bytes:
        return {"bytes": base64.b64encode(obj).decode()}
    if kind is list:
        return [_encode(item, (*path, i), arrays) for i, item in enumerate(obj)]
    if kind is tuple:
        return {"tuple": [_encode(item, (*path, i), arrays) for i, item in enumerate(obj)]}
    if kind in MAPPINGS.values():
        for key in obj:
            if type(key) not in (str, int, bool):
                raise TypeError(f"save: {_place(path)}: the key {key!r} is neither text nor an integer")
        return {kind.__name__: [[key, _encode(value, (*path, key), arrays)] for key, value in obj.items()]}
    if isinstance(obj, TensorBase):
        name, place = _put_aside(on_host(obj._array), path, arrays), device_of(obj._array)
        return {"tensor": name} if place.type == "cpu" else {"cuda": [name, place.index]}
    if isinstance(obj, np.ndarray):
        return {"array": _put_aside(obj, path, arrays)}
    if isinstance(obj, np.generic):
        return {"scalar": _put_aside(np.asarray(obj), path, arrays)}
    advice = (
        "save its state_dict()"
        if hasattr(obj, "state_dict")
        else "save tensors, arrays, numbers, text and dicts, lists, tuples of them"
    )
    raise TypeError(f"save: {_place(path)}: got {kind.__name__}; {advice}")


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path)) or "the object"


def _put_aside(array: Any, path: tuple[Any, ...], arrays: dict[str, Any]) -> str:
    """Enter ``array`` under the name of its place (numbered where that is taken); returns the name."""
    try:
        dtypes.as_dtype(array.dtype)
    except TypeError as error:
        raise TypeError(f"save: {_place(path)}: {error}") from None
    place = name = ".".join(map(str, path)).encode("utf-8", "backslashreplace").decode() or "tensor"
    n = 1
    while name in arrays or name == "__metadata__":  # the format's own name
        n += 1
        name = f"{place}~{n}"
    arrays[name] = np.asarray(array, order="C")
    return name


def _checksum(content: Any, arrays: dict[str, Any]) -> str:
    crc = zlib.crc32(json.dumps(content).encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(array, zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc))
    return f"{crc:08x}"


# -- loading


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None) -> Any:
    """Load what `save` or PyTorch's ``torch.save`` wrote to ``f``; from a safetensors file of another program, its tensors.

    What kind of file it is, its content tells, not its name. Nothing in a file is ever run.

    PyTorch's files may hold what ``torch.load(f, weights_only=True)`` reads: a ``state_dict`` of a module or an optimiser, or a
    checkpoint of such with numbers, text, bytes and None in dict, OrderedDict, Counter, list, tuple and set. Parameters become
    plain tensors, and none wants a gradient. Tensors that shared memory there share it here. In files of either kind, bfloat16
    becomes float32, which holds the same numbers.

    Parameters
    ----------
    f : path or binary file
        Where from.
    map_location : str or device, optional
        Where to put the tensors. Without it they come where they were; a file with tensors of a GPU that is not here is then
        refused.
    weights_only : bool, optional
        False, which in PyTorch allows a file to run code, is refused for files that could hold any.

    Raises
    ------
    RuntimeError
        If the file is damaged, or of another kind, or holds something else; the error names the file and says what it is.
    OSError
        If it cannot be read.
    """
    if map_location is not None and not isinstance(map_location, (str, device)):
        raise TypeError(f"load: map_location must be a device or its name, got {type(map_location).__name__}")
    where = None if map_location is None else check_device(map_location, "load")
    if hasattr(f, "read"):
        data, name = f.read(), str(getattr(f, "name", "the file"))
    else:
        name = os.fspath(f)
        if os.path.exists(name) and not os.path.isfile(name):  # some devices never end
            raise OSError(f"load: {name} is no ordinary file")
        with open(name, "rb") as file:
            data = file.read()
    if data.startswith(b"PK\x03\x04") and data[8:9] != b"{":  # there, safetensors' JSON begins
        if weights_only is False:
            raise ValueError(f"load: weights_only=False for {name}, a file of PyTorch: nothing in it is ever run; leave it out")
        return read_pt(data, name, where)
    arrays, metadata = _parse(data, name)
    ours = [value for key, value in metadata.items() if key == KEY or value.startswith(f'{{"{KEY}": ')]
    if not ours:
        return {key: wrap(array if where is None else moved(array, where)) for key, array in arrays.items()}
    try:
        document = json.loads(ours[0])
        if document[KEY] != VERSION:
            raise ValueError(f"its format is of version {document[KEY]!r}, this minidl reads version {VERSION}")
        if document["crc32"] != _checksum(document["content"], arrays):
            raise ValueError("its checksum is not that of its content")
        content, lost = document["content"], _elsewhere(document["content"])
    except NONSENSE as error:
        raise RuntimeError(f"load: {name} is damaged: {type(error).__name__}: {error}") from None
    if where is None and lost is not None:
        check_device(lost, f"load: {name} has tensors of a GPU; pass map_location='cpu'")
    try:
        return _decode(content, arrays, where)
    except NONSENSE as error:
        raise RuntimeError(f"load: {name} is damaged: {type(error).__name__}: {error}") from None


def _parse(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays and the metadata of a safetensors file."""
    for start, what in FOREIGN.items():
        if data.startswith(start) and data[8:9] != b"{":
            raise RuntimeError(f"load: {name} is neither a safetensors file nor a zip archive of torch.save, but {what}")
    try:
        found = dict(_format().deserialize(data))
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (_format().SafetensorError, ValueError, RecursionError) as error:
        raise RuntimeError(f"load: {name} is damaged, cut short or no safetensors file ({len(data)} bytes: {error})") from None
    metadata = header.pop("__metadata__", {})
    arrays: dict[str, Any] = {}
    for key in header:  # in the file's order
        entry = found[key]
        if entry["dtype"] not in DTYPES:
            raise RuntimeError(
                f"load: {name}: {key!r} is of dtype {entry['dtype']}, which tensors here do not hold; convert it to F32 first"
            )
        array = np.frombuffer(entry["data"], np.uint8 if entry["dtype"] == "BOOL" else DTYPES[entry["dtype"]])
        try:
            array = array.reshape(entry["shape"])
        except ValueError as error:  # too many dimensions, or a size beyond all measure beside one of 0
            raise RuntimeError(f"load: {name}: {key!r} has a shape that no array can have: {error}") from None
        # a copy, which can be written to
        arrays[key] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array.astype(DTYPES[entry["dtype"]])
    return arrays, metadata


def _elsewhere(node: Any) -> Any:
    """A GPU that tensors are to be put on; None if there is none."""
    if isinstance(node, dict) and "cuda" in node:
        return device("cuda", node["cuda"][1])
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return max((found for found in map(_elsewhere, parts) if found is not None), key=lambda d: d.index, default=None)


def _decode(node: Any, arrays: dict[str, Any], where: Any) -> Any:
    """The inverse of `_encode`."""
    if isinstance(node, list):
        return [_decode(item, arrays, where) for item in node]
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    if kind in MAPPINGS:
        return MAPPINGS[kind]({key: _decode(value, arrays, where) for key, value in content})
    if kind == "tuple":
        return tuple(_decode(item, arrays, where) for item in content)
    if kind == "float":
        return float(content)
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "tensor":
        return wrap(arrays[content] if where is None else moved(arrays[content], where))
    if kind == "cuda":
        return wrap(moved(arrays[content[0]], device("cuda", content[1]) if where is None else where))
    if kind in ("array", "scalar"):
        return arrays[content] if kind == "array" else arrays[content][()]
    raise ValueError(f"unknown kind {kind!r}")
