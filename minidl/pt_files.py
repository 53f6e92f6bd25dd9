"""Reading ``.pt`` files, as ``torch.save`` writes them, without PyTorch and without running anything in them.

Such a file is a zip archive. Its member ``data.pkl`` is a pickle, a program for a small machine that puts objects together; the
numbers of each tensor lie beside it, in ``data/0``, ``data/1`` and so on. What the machine may call is in the table below.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter, OrderedDict
from typing import Any, ClassVar

import numpy as np

from . import devices, dtypes
from .autograd.tape import Counter as Changes
from .autograd.tape import wrap
from .devices import device
from .pickles import COMMON, Machine, Name, Refused, check_keys

# A storage is memory of one dtype; tensors look at it. PyTorch's names for them, and the NumPy dtype in the file.
STORAGES = {
    "BoolStorage": "uint8",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "uint16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
}
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
UNKNOWN = {
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_tensor_v3": "a tensor of a dtype such as uint16 or float8_e5m2",
    "_rebuild_meta_tensor_no_storage": "a tensor on the device 'meta', which has no numbers",
    "ComplexFloatStorage": "a complex tensor",
    "ComplexDoubleStorage": "a complex tensor",
}
MAX_DIMS = 64


def widen_bfloat16(bits: Any) -> Any:
    """Numbers from their bfloat16 bits (uint16), as float32: these are the upper half of its bits, so nothing is rounded."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Storage:
    """Memory of one dtype at which tensors look: its numbers, and the counter of changes that all of them share."""

    def __init__(self, kind: str, data: bytes) -> None:
        array: Any = np.frombuffer(data, STORAGES[kind])
        if kind == "BFloat16Storage":
            array = widen_bfloat16(array)
        self.array = array != 0 if kind == "BoolStorage" else array.copy()
        self.kind, self.changes = kind, Changes()
        self.place = devices.CPU
        self.on_gpu: dict[device, Any] = {}  # copies, made when they are first looked at


class Archive:
    """The zip archive: its members by name, read only after their sizes are known to be possible."""

    def __init__(self, data: bytes) -> None:
        self.zip = zipfile.ZipFile(io.BytesIO(data))
        members = self.zip.infolist()
        names = [member.filename for member in members]
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if any(name.endswith(".npy") for name in names):
            raise Refused("an archive of numpy.savez; numpy.load reads it")
        if len(pickles) != 1:
            raise Refused("a zip archive, but not one that torch.save wrote: there is not one data.pkl in a folder in it")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}constants.pkl" in names:
            raise Refused("a TorchScript archive, which holds a program; save the state_dict() of the module instead")
        if len(set(names)) < len(names):
            raise Refused(f"an archive that holds {Counter(names).most_common(1)[0][0]!r} twice")
        for member in members:
            if ".." in member.filename.split("/") or not member.filename.startswith(self.folder):
                raise Refused(f"an archive with the member {member.filename!r}, outside of its folder {self.folder!r}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise Refused(f"an archive with a compressed member {member.filename!r}; torch.save does not compress")
        if sum(member.file_size for member in members) > len(data):
            raise Refused(f"an archive of {len(data)} bytes whose members are said to be larger than that")
        if f"{self.folder}byteorder" in names and self.read("byteorder") != b"little":
            raise Refused("written on a machine with the other byte order (big-endian)")

    def read(self, name: str) -> bytes:
        """The content of a member; its checksum is looked at."""
        try:
            return self.zip.read(self.folder + name)
        except KeyError:
            raise Refused(f"an archive without the member {self.folder + name!r}") from None


class TensorMachine(Machine):
    """Runs the pickle of an archive, and puts tensors together on the way."""

    parts: ClassVar = {**Machine.parts, Storage: "storage"}
    instructions: ClassVar = {**COMMON, "BINPERSID": lambda m, arg: m.storage(*m.stack.pop())}

    def __init__(self, archive: Archive, where: device | None) -> None:
        super().__init__(archive.read("data.pkl"))
        self.archive, self.where = archive, where
        self.storages: dict[str, Storage] = {}

    def build(self, target: Any, state: Any) -> Any:
        """Set the attribute in which a ``state_dict`` keeps the versions of its modules."""
        if type(target) is not OrderedDict or type(state) is not dict or set(state) != {"_metadata"}:
            return super().build(target, state)
        vars(target).update(state)
        return target

    def find(self, module: str, name: str) -> Any:
        """A function, or a kind of storage, or a dtype itself."""
        if module == "torch" and name in DTYPES:
            return dtypes.as_dtype(name)
        if module == "torch" and name in STORAGES:
            return Name(module, name)
        if module.partition(".")[0] == "torch" and (module, name) not in self.functions:
            what = UNKNOWN.get(name, "no plain tensor")
            raise Refused(f"{self.place()} is {what} ({module}.{name}), which cannot be read here")
        return super().find(module, name)

    def storage(self, word: Any, kind: Any, key: Any, location: Any, size: Any) -> None:
        """The memory that ``("storage", kind, key, device, number of elements)`` stands for."""
        if word != "storage" or [type(x) for x in (kind, key, location, size)] != [Name, str, str, int]:
            raise Refused(f"a pickle that names the storage of {self.place()} in another way than torch.save")
        place = devices.CPU if self.where is None else self.where
        if location != "cpu" and self.where is None:
            try:
                place = devices.check_device(location, "load")
            except RuntimeError:
                raise Refused(f"{self.place()} was on the device {location!r}; load it with map_location='cpu'") from None
        if key not in self.storages:
            self.storages[key] = Storage(kind.name, self.archive.read(f"data/{key}"))
        found = self.storages[key]
        if (found.kind, found.array.size) != (kind.name, size):
            raise Refused(
                f"{self.place()} should have a {kind.name} of {size} elements, but data/{key} is a {found.kind} "
                f"of {found.array.size}"
            )
        found.place = place
        self.push(found)

    def tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
    ) -> Any:
        """A tensor that looks at a storage."""
        if type(storage) is not Storage or hooks or metadata:
            raise Refused(
                f"{self.place()} is no plain tensor: without a storage, with hooks, or the conjugate or negative of one"
            )
        if not type(size) is type(stride) is tuple or not len(size) == len(stride) <= MAX_DIMS:
            raise Refused(f"{self.place()} is a tensor without a proper size and strides")
        if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
            raise Refused(f"{self.place()} is a tensor whose size, strides or offset are negative, or no integers")
        array = storage.array
        steps = [n * array.itemsize for n in stride]
        try:  # NumPy refuses whatever would reach beyond the end
            view: Any = np.ndarray(size, array.dtype, array, offset * array.itemsize, steps)
        except (ValueError, OverflowError) as error:
            form = f"size {size}, strides {stride}, offset {offset}"
            raise Refused(f"{self.place()} ({form}) does not fit its storage of {array.size} elements: {error}") from None
        view.flags.writeable = not any(n > 1 and step == 0 for n, step in zip(size, steps))  # what is expanded is not
        if storage.place.type == "cuda":
            if storage.place not in storage.on_gpu:
                storage.on_gpu[storage.place] = devices.moved(array, storage.place)
            whole = storage.on_gpu[storage.place]
            view = devices.made(storage.place, lambda m: m.lib.stride_tricks.as_strided(whole[offset:], size, steps))
        made = wrap(view)
        made._counter = storage.changes
        return made

    def parameter(self, data: Any, requires_grad: Any, hooks: Any) -> Any:
        """A parameter, as the tensor that it holds."""
        return data

    def device(self, name: Any, index: Any = None) -> Any:
        """The name of a device; there need not be one here."""
        if type(name) is not str or type(index) not in (int, type(None)):
            raise Refused("a pickle that names a device in another way than torch.save")
        return device(name, index)

    functions: ClassVar = {
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch", "Size"): lambda m, sizes: m.copy(tuple, tuple, sizes),
        ("torch", "device"): device,
        ("collections", "OrderedDict"): lambda m: OrderedDict(),
        ("collections", "Counter"): lambda m, counts: m.copy(Counter, dict, counts),
        ("builtins", "set"): lambda m, items: m.copy(lambda x: set(check_keys(x)), list, items),
        ("builtins", "frozenset"): lambda m, items: m.copy(lambda x: frozenset(check_keys(x)), list, items),
        # bytes are written so
        ("_codecs", "encode"): lambda m, text, encoding: m.copy(lambda x: x.encode("latin1"), str, text),
    }


def read_pt(data: bytes, name: str, where: device | None) -> Any:
    """What ``torch.save`` wrote, from the bytes of the file ``name``; ``where`` its tensors come, None: where they were.

    Raises
    ------
    RuntimeError
        If the file is damaged, or holds something that is not read; the error names the file and what it is.
    """
    try:
        return TensorMachine(Archive(data), where).run()
    except Refused as error:
        raise RuntimeError(f"load: {name}: {error}") from None
    except Exception as error:  # bytes at random make zipfile and pickletools raise almost anything
        raise RuntimeError(f"load: {name} is damaged: {type(error).__name__}: {error}") from None
