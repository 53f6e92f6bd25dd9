"""Reading ``.pt`` files, as ``torch.save`` writes them, without PyTorch and without running anything in them.

Such a file is a zip archive. Its member ``data.pkl`` is a pickle, a program for a small machine that puts objects together; the
numbers of each tensor lie beside it, in ``data/0``, ``data/1`` and so on. Python's own unpickler would call whatever function a
pickle names. The machine here knows no function but those in the tables below, and stops at everything else.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import devices, dtypes
from .autograd.tape import Counter as Changes
from .autograd.tape import wrap
from .devices import device

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


class Refused(Exception):
    """Something in a file that is not read; says what, and where."""


def widen_bfloat16(bits: Any) -> Any:
    """Numbers from their bfloat16 bits (uint16), as float32: these are the upper half of its bits, so nothing is rounded."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Name(NamedTuple):
    """A function or a kind of storage that a pickle names."""

    module: str
    name: str


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


class Machine:
    """Runs a pickle: a stack of what is being put together, and a memory of what was, by number.

    A mark sets the stack aside for a new one, whose items a later instruction takes all at once.
    """

    def __init__(self, archive: Archive, where: device | None) -> None:
        self.archive, self.where = archive, where
        self.program = archive.read("data.pkl")
        self.stack: list[Any] = []
        self.set_aside: list[list[Any]] = []
        self.memory: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def run(self) -> Any:
        """What the pickle makes."""
        for instruction, arg, _ in pickletools.genops(self.program):
            step = STEPS.get(instruction.name)
            if step is None:
                raise Refused(f"a pickle with the instruction {instruction.name}; torch.save writes simpler ones (protocol 2)")
            step(self, arg)
        [result] = check_values(self.stack)
        return result

    def place(self) -> str:
        """Where in the result that will be kept which is being put together, as far as it is known yet."""
        names = []
        for items in [*self.set_aside, self.stack]:
            key = next((item for item in reversed(items) if type(item) in (str, int)), None)
            names += [] if key is None else [str(key)]
            if items and type(items[-1]) is Name:  # what is above are its arguments
                break
        return repr(".".join(names)) if names else "the object"

    # -- the instructions

    def push(self, item: Any) -> None:
        """Put something on the stack."""
        self.stack.append(item)

    def mark(self, _: Any) -> None:
        """Set the stack aside."""
        self.set_aside.append(self.stack)
        self.stack = []

    def take(self, n: int | None = None) -> list[Any]:
        """The last ``n`` items, or all since the last mark."""
        if n is None:
            items, self.stack = self.stack, self.set_aside.pop()
            return items
        return [self.stack.pop() for _ in range(n)][::-1]

    def remember(self, number: int) -> None:
        """Keep the last item under a number."""
        self.memory[number] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        """Put items into the list below them."""
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused(f"a pickle that appends to a {type(target).__name__}")
        target.extend(check_values(items))

    def enter(self, items: list[Any]) -> None:
        """Put keys and values into the dict below them."""
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise Refused(f"a pickle that sets items of a {type(target).__name__}")
        for key, value in zip(check_keys(items[::2]), check_values(items[1::2]), strict=True):
            target[key] = value

    def build(self, _: Any) -> None:
        """Set the attribute in which a ``state_dict`` keeps the versions of its modules."""
        target, state = self.take(2)
        if type(target) is not OrderedDict or type(state) is not dict or set(state) != {"_metadata"}:
            raise Refused(f"a pickle that sets attributes of a {type(target).__name__}: {self.place()}")
        vars(target).update(state)
        self.push(target)

    def find(self, arg: str) -> None:
        """A name that the pickle asks for: one in the tables, and no other."""
        module, _, name = arg.replace("__builtin__ ", "builtins ").partition(" ")
        if module == "torch" and name in DTYPES:
            self.push(dtypes.as_dtype(name))
        elif (module, name) in FUNCTIONS or (module == "torch" and name in STORAGES):
            self.push(Name(module, name))
        elif module.partition(".")[0] == "torch":
            what = UNKNOWN.get(name, "no plain tensor")
            raise Refused(f"{self.place()} is {what} ({module}.{name}), which cannot be read here")
        else:
            raise Refused(
                f"at {self.place()} it asks for {module}.{name}, which no file of tensors needs and which may run code: refused"
            )

    def call(self, _: Any) -> None:
        """Call a function of the table."""
        function, args = self.take(2)
        if type(function) is not Name or function not in FUNCTIONS or type(args) is not tuple:
            raise Refused(f"a pickle that calls a {type(function).__name__}")
        self.push(FUNCTIONS[function](self, *args))

    def storage(self, _: Any) -> None:
        """The memory that ``("storage", kind, key, device, number of elements)`` stands for."""
        word, kind, key, location, size = self.stack.pop()
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

    # -- the functions

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

    def copy(self, make: Callable[[Any], Any], kind: Any, content: Any) -> Any:
        """A new container of ``content``, which is a ``kind``. All of them together are no larger than the program itself."""
        if type(content) is not kind:
            raise Refused(f"a pickle that makes a container of a {type(content).__name__}, not of a {kind.__name__}")
        self.copied += len(content)
        if self.copied > len(self.program):
            raise Refused("a pickle that copies what it holds over and over")
        return make(content)


def check_keys(keys: list[Any]) -> list[Any]:
    """Refuse keys of other types than those of a ``state_dict``: tuples in tuples could take for ever to hash."""
    for key in keys:
        if type(key) not in (str, int, float, bool, bytes, type(None)):
            raise Refused(f"a key of a dict or member of a set is a {type(key).__name__}, which is not read here")
    return keys


def check_values(values: list[Any]) -> list[Any]:
    """Refuse what is only there to make tensors of."""
    for value in values:
        if type(value) in (Storage, Name):
            raise Refused("it holds a storage or a function outside of a tensor, which is not read here")
    return values


# What each instruction does with the stack.
STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": lambda m, arg: None,
    "STOP": lambda m, arg: None,
    **{name: lambda m, arg: m.push(arg) for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")},
    "NONE": lambda m, arg: m.push(None),
    "NEWTRUE": lambda m, arg: m.push(True),
    "NEWFALSE": lambda m, arg: m.push(False),
    "EMPTY_TUPLE": lambda m, arg: m.push(()),
    "EMPTY_LIST": lambda m, arg: m.push([]),
    "EMPTY_DICT": lambda m, arg: m.push({}),
    "MARK": Machine.mark,
    "TUPLE": lambda m, arg: m.push(tuple(m.take())),
    "TUPLE1": lambda m, arg: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, arg: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, arg: m.push(tuple(m.take(3))),
    "APPEND": lambda m, arg: m.append(m.take(1)),
    "APPENDS": lambda m, arg: m.append(m.take()),
    "SETITEM": lambda m, arg: m.enter(m.take(2)),
    "SETITEMS": lambda m, arg: m.enter(m.take()),
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "BINGET": lambda m, arg: m.push(m.memory[arg]),
    "LONG_BINGET": lambda m, arg: m.push(m.memory[arg]),
    "GLOBAL": Machine.find,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
    "BINPERSID": Machine.storage,
}
# All that can be called.
FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): Machine.tensor,
    ("torch._utils", "_rebuild_parameter"): Machine.parameter,
    ("torch", "Size"): lambda m, sizes: m.copy(tuple, tuple, sizes),
    ("torch", "device"): Machine.device,
    ("collections", "OrderedDict"): lambda m: OrderedDict(),
    ("collections", "Counter"): lambda m, counts: m.copy(Counter, dict, counts),
    ("builtins", "set"): lambda m, items: m.copy(lambda x: set(check_keys(x)), list, items),
    ("builtins", "frozenset"): lambda m, items: m.copy(lambda x: frozenset(check_keys(x)), list, items),
    ("_codecs", "encode"): lambda m, text, encoding: m.copy(lambda x: x.encode("latin1"), str, text),  # bytes are written so
}


def read_pt(data: bytes, name: str, where: device | None) -> Any:
    """What ``torch.save`` wrote, from the bytes of the file ``name``; ``where`` its tensors come, None: where they were.

    Raises
    ------
    RuntimeError
        If the file is damaged, or holds something that is not read; the error names the file and what it is.
    """
    try:
        return Machine(Archive(data), where).run()
    except Refused as error:
        raise RuntimeError(f"load: {name}: {error}") from None
    except Exception as error:  # bytes at random make zipfile and pickletools raise almost anything
        raise RuntimeError(f"load: {name} is damaged: {type(error).__name__}: {error}") from None
