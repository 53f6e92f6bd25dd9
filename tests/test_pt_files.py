"""Files of torch.save: what is read, and that damaged and hostile ones are refused, with their name, and run nothing.

Most files here are put together by hand, instruction by instruction, and need no PyTorch.
"""

import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl

# -- a small writer of such files


class Raw:
    """Instructions of a pickle as they are."""

    def __init__(self, code):
        self.code = code


def encode(obj):
    """An object as the instructions that make it."""
    kind = type(obj)
    if kind is Raw:
        return obj.code
    if obj is None or kind is bool:
        return {None: b"N", True: b"\x88", False: b"\x89"}[obj]
    if kind is int:
        if -(2**31) <= obj < 2**31:
            return b"J" + struct.pack("<i", obj)
        data = obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if kind is float:
        return b"G" + struct.pack(">d", obj)
    if kind is str:
        data = obj.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    inside = b"".join(map(encode, obj if kind is not dict else [x for pair in obj.items() for x in pair]))
    return {tuple: b"(" + inside + b"t", list: b"](" + inside + b"e", dict: b"}(" + inside + b"u"}[kind]


def named(module, name):
    return Raw(f"c{module}\n{name}\n".encode())


def called(module, name, *args):
    return Raw(named(module, name).code + encode(args) + b"R")


def tensor(key="0", size=(2, 3), stride=(3, 1), offset=0, kind="FloatStorage", elements=6, location="cpu", **changed):
    """The instructions that make a tensor."""
    storage = Raw(encode(("storage", named("torch", kind), key, location, elements)) + b"Q")
    args = {"storage": storage, "offset": offset, "size": size, "stride": stride, "wanted": False}
    args |= {"hooks": called("collections", "OrderedDict")} | changed
    return called("torch._utils", "_rebuild_tensor_v2", *args.values())


SIX = np.arange(6, dtype=np.float32)


def archive(obj, storages=None, folder="archive", replaced=None, compression=zipfile.ZIP_STORED):
    """The file: ``obj`` as its pickle, the storages beside it; ``replaced``: members by name, None for one left out."""
    members = {"data.pkl": b"\x80\x02" + encode(obj) + b".", "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": data.tobytes() for key, data in (storages or {"0": SIX}).items()}
    members |= replaced or {}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in members.items():
            if data is not None:
                made.writestr(name.removeprefix("/") if name.startswith("/") else f"{folder}/{name}", data)
    return file.getvalue()


def load(data, **options):
    file = io.BytesIO(data)
    file.name = "net.pt"
    return minidl.load(file, **options)


def refused(data, said="", **options):
    with pytest.raises(RuntimeError, match=f"(?s)load: net.pt.*{said}"):
        load(data, **options)


# -- what is read


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("ByteStorage", np.uint8),
        ("CharStorage", np.int8),
        ("ShortStorage", np.int16),
        ("IntStorage", np.int32),
        ("LongStorage", np.int64),
        ("HalfStorage", np.float16),
        ("FloatStorage", np.float32),
        ("DoubleStorage", np.float64),
        ("BoolStorage", np.bool_),
    ],
)
def test_dtypes(kind, dtype):
    numbers = np.array([0, 1, 2, 100, 0, 7]).astype(dtype)
    found = load(archive({"x": tensor(kind=kind)}, {"0": numbers}))["x"]
    assert type(found) is minidl.Tensor and found.dtype == dtype and not found.requires_grad
    assert found.tolist() == numbers.reshape(2, 3).tolist()
    found.zero_()  # it can be written to


def test_bfloat16_is_widened_exactly():
    every = np.arange(2**16, dtype=np.uint16)
    found = load(archive(tensor(kind="BFloat16Storage", size=(2**16,), stride=(1,), elements=2**16), {"0": every})).numpy()
    assert found.dtype == np.float32
    sign, exponent, fraction = every >> 15, (every >> 7) & 255, every & 127  # the definition
    e, f = exponent.astype(float), fraction / 128
    with np.errstate(over="ignore"):
        wanted = np.where(exponent == 0, f * 2.0**-126, (1 + f) * 2.0 ** (e - 127))
    wanted = np.where(exponent == 255, np.where(fraction == 0, np.inf, np.nan), wanted) * np.where(sign, -1.0, 1.0)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert (np.signbit(found) == sign).all()


@pytest.mark.parametrize(
    ("size", "stride", "offset", "wanted"),
    [
        ((), (), 4, 4),
        ((0,), (1,), 0, []),
        ((0,), (1,), 6, []),
        ((2, 0, 3), (3, 3, 1), 0, [[], []]),
        ((3, 2), (1, 3), 0, [[0, 3], [1, 4], [2, 5]]),
        ((2,), (3,), 2, [2, 5]),
        ((1, 2, 1), (999, 2, 999), 1, None),
        ((2, 3), (0, 1), 3, [[3, 4, 5], [3, 4, 5]]),
        ((3, 2), (1, 1), 2, [[2, 3], [3, 4], [4, 5]]),
    ],
)
def test_sizes_and_strides(size, stride, offset, wanted):
    data = archive([tensor(size=size, stride=stride, offset=offset)])
    if wanted is None:  # NumPy counts the stride of a dimension of size 1; so do we
        assert load(data)[0].tolist() == [[[1], [3]]]
        return
    found = load(data)[0]
    assert found.shape == size and found.tolist() == wanted
    assert minidl.tensor(found).tolist() == wanted


def test_memory_is_shared_as_it_was():
    first, row, other = load(
        archive([tensor(), tensor(size=(3,), stride=(1,), offset=3), tensor(key="1")], {"0": SIX, "1": SIX})
    )
    row.fill_(9)
    assert first.tolist() == [[0, 1, 2], [9, 9, 9]] and other.tolist() == [[0, 1, 2], [3, 4, 5]]
    first.requires_grad_()
    square = first * first
    with minidl.no_grad():
        row.add_(1)  # which the graph must notice
    with pytest.raises(RuntimeError, match="changed in place"):
        square.sum().backward()
    with pytest.raises(RuntimeError, match="cannot be written to: it is expanded"):
        load(archive(tensor(stride=(0, 1)))).add_(1)


def test_everything_else_in_a_checkpoint():
    parameter = called("torch._utils", "_rebuild_parameter", tensor(), True, called("collections", "OrderedDict"))
    ordered = Raw(called("collections", "OrderedDict").code + b"(" + encode("w") + tensor().code + b"u")
    noted = Raw(ordered.code + encode({"_metadata": {"": {"version": 1}}}) + b"b")
    found = load(
        archive(
            {
                "p": parameter,
                "state": noted,
                "plain": [1, -7, 2**40, -(2**100), 2.5, "ä", None, True, (1, (2,)), [], {}, ()],
                3: {"size": called("torch", "Size", (2, 3)), "dtype": named("torch", "float16")},
                "device": called("torch", "device", "cuda", 1),
                "bytes": called("_codecs", "encode", "\x00ÿ", "latin1"),
                "counter": called("collections", "Counter", {30: 1}),
                "sets": (called("__builtin__", "set", [1, 2]), called("__builtin__", "frozenset", [3])),
            }
        )
    )
    assert type(found["p"]) is minidl.Tensor and found["p"].is_leaf and not found["p"].requires_grad
    assert type(found["state"]) is OrderedDict and found["state"]._metadata == {"": {"version": 1}}
    assert found["state"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["plain"] == [1, -7, 2**40, -(2**100), 2.5, "ä", None, True, (1, (2,)), [], {}, ()]
    assert found[3] == {"size": minidl.Size((2, 3)), "dtype": minidl.float16} and found["device"] == minidl.device("cuda:1")
    assert found["bytes"] == b"\x00\xff" and found["counter"] == Counter({30: 1}) and found["sets"] == ({1, 2}, frozenset([3]))


def test_the_content_tells_and_not_the_name(tmp_path):
    for name in ("net.pt", "net.pth", "net.safetensors", "net"):
        (tmp_path / name).write_bytes(archive({"x": tensor()}, folder="net"))
        assert minidl.load(tmp_path / name)["x"].shape == (2, 3)
        minidl.save({"x": minidl.ones(1)}, tmp_path / name)
        assert minidl.load(tmp_path / name)["x"].shape == (1,)
    (tmp_path / "net.pt").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=rf"load: {tmp_path / 'net.pt'} is"):
        minidl.load(tmp_path / "net.pt")


def test_options():
    data = archive(tensor())
    for options in ({"weights_only": True}, {"map_location": "cpu"}, {"map_location": minidl.device("cpu")}):
        assert load(data, **options).shape == (2, 3)
    with pytest.raises(ValueError, match=r"load: weights_only=False for net\.pt"):
        load(data, weights_only=False)
    with pytest.raises(TypeError, match="mmap"):
        load(data, mmap=True)
    with pytest.raises(RuntimeError, match="'cuda'"):
        load(data, map_location="cuda")
    with pytest.raises(TypeError, match="map_location"):
        load(data, map_location={"cuda:0": "cpu"})
    from_gpu = archive({"w": tensor(location="cuda:0")})
    refused(from_gpu, "'w' was on the device 'cuda:0'; load it with map_location='cpu'")
    assert load(from_gpu, map_location="cpu")["w"].shape == (2, 3)


# -- what is refused by name

REFUSED = {
    "complex": (tensor(kind="ComplexFloatStorage"), "'model.w' is a complex tensor"),
    "quantised": (called("torch._utils", "_rebuild_qtensor"), "'model.w' is a quantised tensor"),
    "sparse": (called("torch._utils", "_rebuild_sparse_tensor"), "'model.w' is a sparse tensor"),
    "uint16": (called("torch._utils", "_rebuild_tensor_v3"), "'model.w' is a tensor of a dtype such as uint16"),
    "module": (called("torch.nn.modules.linear", "Linear"), r"'model.w' is no plain tensor \(torch.nn.modules.linear.Linear\)"),
    "system": (called("os", "system", "false"), "at 'model.w' it asks for os.system.*refused"),
    "eval": (called("builtins", "eval", "1"), "builtins.eval.*refused"),
    "getattr": (called("__builtin__", "getattr", 1, "x"), "builtins.getattr.*refused"),
    "dotted": (called("torch", "_utils.os.system"), "no plain tensor"),
    "near": (called("collections", "OrderedDict.fromkeys", []), "refused"),
    "call of a tensor": (Raw(tensor().code + encode(()) + b"R"), "calls a Tensor"),
    "call of a storage": (called("torch", "FloatStorage", 10**9), "calls a Name"),
    "call of a dtype": (called("torch", "float32", 10**9), "calls a dtype"),
    "arguments in a list": (Raw(named("torch", "Size").code + encode([1]) + b"R"), "calls a Name"),
    "attribute": (Raw(called("collections", "OrderedDict").code + encode({"items": 1}) + b"b"), "sets attributes"),
    "attribute of a dict": (Raw(encode({}) + encode({"_metadata": 1}) + b"b"), "sets attributes of a dict"),
    "attribute of a tensor": (Raw(tensor().code + encode({"_array": 1}) + b"b"), "sets attributes of a Tensor"),
    "append to a tuple": (Raw(b"(t" + encode(1) + b"a"), "appends to a tuple"),
    "append to a tensor": (Raw(tensor().code + encode(1) + b"a"), "appends to a Tensor"),
    "item of a list": (Raw(b"]" + encode(1) + encode(1) + b"s"), "sets items of a list"),
    "item of a tensor": (Raw(tensor().code + encode(0) + encode(0) + b"s"), "sets items of a Tensor"),
    "a key without value": (Raw(b"}(" + encode(1) + b"u"), "damaged"),
    "key": ({"x": Raw(b"}" + encode((1, 2)) + b"Ns")}, "a key of a dict or member of a set is a tuple"),
    "member": (called("builtins", "set", [(1,)]), "a key of a dict or member of a set is a tuple"),
    "bare storage": (Raw(encode(("storage", named("torch", "FloatStorage"), "0", "cpu", 6)) + b"Q"), "a storage outside"),
    "bare function": (named("torch", "Size"), "a function outside"),
    "module by id": (Raw(encode(("module", named("torch", "FloatStorage"), "0", "cpu", 6)) + b"Q"), "another way"),
    "short id": (Raw(encode(("storage",)) + b"Q"), "damaged"),
    "kind in the id": (Raw(encode(("storage", "FloatStorage", "0", "cpu", 6)) + b"Q"), "another way"),
    "negative element count": (tensor(elements=-6), "a FloatStorage of -6 elements, but data/0 is a FloatStorage of 6"),
    "element count": (tensor(elements=2**60), "'model.w' should have a FloatStorage of"),
    "other kind": (tensor(kind="LongStorage"), "should have a LongStorage of 6 elements, but data/0 is a LongStorage of 3"),
    "bytes": (tensor(kind="DoubleStorage"), "should have a DoubleStorage of 6 elements, but data/0 is a DoubleStorage of 3"),
    "seen as another dtype": ((tensor(), tensor(kind="IntStorage")), "IntStorage of 6 elements, but data/0 is a FloatStorage"),
    "missing storage": (tensor(key="7"), "without the member 'archive/data/7'"),
    "outside": (tensor(key="../version"), "without the member"),
    "too large": (tensor(size=(2, 4)), r"'model.w' \(size \(2, 4\), strides \(3, 1\), offset 0\) does not fit its storage"),
    "offset": (tensor(offset=1), "does not fit"),
    "far offset": (tensor(offset=2**62), "does not fit"),
    "farther offset": (tensor(offset=2**100), "does not fit"),
    "stride": (tensor(stride=(4, 1)), "does not fit"),
    "huge stride": (tensor(stride=(2**61, 1)), "does not fit"),
    "wrapping stride": (tensor(stride=(2**62 + 3, 1)), "does not fit"),
    "huge size": (tensor(size=(2**62, 4)), "does not fit"),
    "huge size of nothing": (tensor(size=(0, 2**62), stride=(1, 1)), "does not fit"),
    "expanded beyond all bounds": (tensor(size=(2**62, 2**62), stride=(0, 0)), "does not fit"),
    "empty beyond the end": (tensor(size=(0,), stride=(1,), offset=7), "does not fit"),
    "negative size": (tensor(size=(-2, 3)), "negative"),
    "negative stride": (tensor(stride=(-3, 1), offset=3), "negative"),
    "negative offset": (tensor(offset=-1), "negative"),
    "a size of floats": (tensor(size=(2.0, 3.0)), "no integers"),
    "a size of bools": (tensor(size=(True, True)), "no integers"),
    "more strides": (tensor(stride=(3, 1, 1)), "without a proper size"),
    "no size": (tensor(size=None), "without a proper size"),
    "dimensions": (tensor(size=(1,) * 65, stride=(1,) * 65), "without a proper size"),
    "no storage": (tensor(storage=SIX.tolist()), "without a storage"),
    "hooks": (tensor(hooks={"a": 1}), "with hooks"),
    "conjugate": (tensor(metadata={"neg": True}), "the conjugate or negative"),
    "device": (called("torch", "device", ("cpu",)), "names a device in another way"),
    "unknown device": (called("torch", "device", "tpu"), "damaged: .*'tpu'"),
    "reserved memory": (called("builtins", "bytearray", 2**40), "refused"),
    "a size of a number": (called("torch", "Size", 2**40), "container of a int, not of a tuple"),
    "empty stack": (Raw(b"a"), "damaged"),
    "no mark": (Raw(b"tttt"), "damaged"),
    "forgotten": (Raw(b"h\x05"), "damaged: KeyError"),
    "newer protocol": (Raw(b"\x8c\x01a"), "the instruction SHORT_BINUNICODE"),
    "extension": (Raw(b"\x82\x01"), "the instruction EXT1"),
    "instance": (Raw(b"(ios\nsystem\n"), "the instruction INST"),
    "object": (Raw(b"(cos\nsystem\no"), "os.system.*refused"),
    "new object": (Raw(named("torch", "Size").code + b")\x81"), "the instruction NEWOBJ"),
    "unknown instruction": (Raw(b"\xff"), "damaged"),
    "long integer": (Raw(b"\x8b\xff\xff\xff\x7f"), "damaged"),
    "long text": (Raw(b"X\xff\xff\xff\x7fabc"), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    obj, said = REFUSED[name]
    refused(archive({"model": {"w": obj}}), said)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch bombed",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    refused(archive(None, replaced={"data.pkl": pickle.dumps({"w": Bomb()}, protocol)}))
    assert list(tmp_path.iterdir()) == []


# -- archives


def test_archives_that_are_none_of_pytorch():
    refused(archive(None, replaced={"data.pkl": None}), "not one that torch.save wrote")
    refused(archive(None, replaced={"/other/data.pkl": b"N."}), "not one that torch.save wrote")
    refused(archive(None, replaced={"constants.pkl": b""}), "TorchScript archive")
    refused(archive(None, replaced={"../../evil": b""}), r"the member 'archive/../../evil', outside")
    refused(archive(None, replaced={"/evil": b""}), "the member 'evil', outside")
    refused(archive(tensor(), replaced={"byteorder": b"big"}), "big-endian")
    assert load(archive(tensor(), replaced={"byteorder": None})).shape == (2, 3)  # older files do not say it
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive(None, replaced={"/archive/data/0": b""})
    refused(twice, "'archive/data/0' twice")
    compressed = archive(tensor(size=(10**6,), stride=(1,), elements=10**6), {"0": np.zeros(10**6, np.float32)}, compression=8)
    assert len(compressed) < 10**5
    refused(compressed, "compressed member")
    file = io.BytesIO()
    np.savez(file, a=SIX)
    refused(file.getvalue(), "numpy.load reads it")
    with pytest.raises(RuntimeError, match=r"net.pt is neither .* but a pickle, as torch.save before PyTorch 1.6"):
        load(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")


def test_members_that_lie_over_each_other():
    """Many entries of the directory that point to the same bytes: small to send, large to unpack."""
    data = archive(None, {str(i): np.zeros(1000, np.float32) for i in range(50)})
    start = data.index(b"PK\x01\x02")
    place = struct.unpack("<I", data[start + 42 : start + 46])[0]
    lying = bytearray(data[:place] + data[place:])
    for i in range(50):
        name = f"archive/data/{i}".encode()
        entry = data.rindex(name) - 46
        lying[entry + 20 : entry + 28] = struct.pack("<II", 10**9, 10**9)
    refused(bytes(lying), "larger than that")


def test_memory_and_time_are_bounded():
    """By the length of the file, whatever its pickle does over and over."""
    doubled = Raw(b"N" + b"q\x01h\x01\x86" * 60)  # a pair of a pair of ... the same: no time to look at all of it
    hostile = [
        Raw(encode([None] * 20_000) + b"q\x00" + b"c__builtin__\nset\nh\x00\x85R" * 2000),
        Raw(encode("a" * 20_000) + b"q\x00" + b"c_codecs\nencode\nh\x00N\x86R" * 2000),
        called("torch", "device", doubled),
        tensor(size=doubled),
        tensor(size=(doubled, 1)),
        tensor(location=doubled),
        tensor(elements=doubled),
        {"x": Raw(b"}" + doubled.code + b"Ns")},
        called("__builtin__", "set", [doubled]),
        Raw(b"Nr\xff\xff\xff\xffa"),  # a number in the memory like this makes Python's own unpickler ask for 64 GB
    ]
    tracemalloc.start()
    start = time.perf_counter()
    try:
        for obj in hostile:
            refused(archive(obj))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 20


def test_deep_nesting_is_harmless():
    depth = 50_000
    found = load(archive(Raw(b"]" * depth + b"a" * (depth - 1))))
    for _ in range(depth - 1):
        [found] = found
    assert found == []
    found = load(archive(Raw(b")" + b"\x85" * depth)))
    assert type(found) is tuple
    del found  # which must not overflow the stack either
    load(archive(Raw(b"(" * depth + b"N" + b"t" * depth)))
    refused(archive(Raw(b"}" + b")" + b"\x85" * depth + b"Ns")), "a key of a dict")
    itself = load(archive(Raw(b"]q\x00h\x00a")))
    assert itself[0] is itself


# -- damage

GOOD = archive(
    {
        "model": Raw(called("collections", "OrderedDict").code + b"(" + encode("w") + tensor().code + b"u"),
        "optimizer": {"state": {0: {"m": tensor(key="1", kind="HalfStorage", size=(3, 2), stride=(1, 3))}}, "lr": 0.1},
        "p": called("torch._utils", "_rebuild_parameter", tensor(), True, called("collections", "OrderedDict")),
        "other": (called("torch", "Size", (2, 3)), called("__builtin__", "set", [1]), called("torch", "device", "cpu")),
    },
    {"0": SIX, "1": np.arange(6, dtype=np.float16)},
)
with zipfile.ZipFile(io.BytesIO(GOOD)) as _zip:
    PROGRAM = _zip.read("archive/data.pkl")


def only_clean_errors(data):
    try:
        load(data)
    except RuntimeError as error:
        assert str(error).startswith("load: net.pt")
        return True
    return False


def test_a_damaged_byte():
    noticed = sum(
        only_clean_errors(GOOD[:i] + bytes([GOOD[i] ^ flip]) + GOOD[i + 1 :]) for i in range(len(GOOD)) for flip in (1, 255)
    )
    assert noticed > len(GOOD)


def test_a_file_cut_short():
    for n in range(len(GOOD)):
        refused(GOOD[:n])


def with_program(program):
    return archive(None, {"0": SIX, "1": SIX.astype(np.float16)}, replaced={"data.pkl": program})


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(PROGRAM) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_pickle(changes):
    program = bytearray(PROGRAM)
    for place, value in changes:
        program[place] = value
    only_clean_errors(with_program(bytes(program)))


NAMES = [("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"), ("torch", "FloatStorage")]
NAMES += [("torch", "Size"), ("torch", "device"), ("torch", "int64"), ("collections", "OrderedDict"), ("_codecs", "encode")]
INSTRUCTIONS = [bytes([byte]) for byte in b"(t]})Naesub\x85\x86\x87\x88RQ"] + [b"q\x00", b"h\x00", tensor().code]
INSTRUCTIONS += [encode(x) for x in (2, -1, "a", "storage", "0", "cpu", (2, 3), (3, 1))] + [named(*x).code for x in NAMES]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=30))
def test_instructions_at_random(instructions):
    only_clean_errors(with_program(b"\x80\x02" + b"".join(instructions) + b"."))


@given(st.binary(max_size=200))
def test_bytes_at_random(data):
    assert only_clean_errors(b"PK\x03\x04" + data)
    only_clean_errors(with_program(data))


# -- files that PyTorch itself wrote


def saved(torch, obj, **options):
    file = io.BytesIO()
    torch.save(obj, file, **options)
    return file.getvalue()


def same(ours, theirs):
    """Equal in types, dtypes, shapes and bits, in nested objects."""
    if hasattr(theirs, "untyped_storage"):
        wanted = (theirs.float() if theirs.dtype.itemsize == 2 and "bfloat" in str(theirs.dtype) else theirs).detach().numpy()
        array = ours.numpy()
        return array.dtype == wanted.dtype and array.shape == wanted.shape and array.tobytes() == wanted.tobytes()
    if isinstance(theirs, dict):
        return type(ours) is type(theirs) and list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, (list, tuple)):  # or torch.Size
        return isinstance(ours, type(theirs).__mro__[-2]) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if type(ours) is minidl.device:
        return str(ours) == str(theirs)
    return ours == theirs


def test_what_torch_saves():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    held = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
    layer = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    obj = {
        "dtypes": {name: (torch.randn(3, 2) * 50).to(getattr(torch, name)) for name in held},
        "views": [
            base,
            base.T,
            base[1:3, ::2],
            base[0, 0],
            base.expand(2, 4, 6),
            base[4:],
            torch.empty(0, 3),
            base.unfold(1, 3, 1),
        ],
        "nothing": torch.empty(0),
        "parameter": torch.nn.Parameter(base),
        "wants a gradient": torch.ones(2, requires_grad=True),
        "state": layer.state_dict(),
        "kept": layer.state_dict(keep_vars=True),
        "others": (1, 2.5, None, True, "text", b"bytes", 2**70, {1, 2}, frozenset([3]), Counter("aab"), OrderedDict(a=[])),
    }
    found = load(saved(torch, obj))
    assert same(found, obj)
    assert np.shares_memory(found["views"][0].numpy(), found["views"][1].numpy())
    other = load(saved(torch, {"size": base.shape, "dtype": torch.int16, "device": torch.device("cuda:2")}))
    assert other == {"size": (4, 6), "dtype": minidl.int16, "device": minidl.device("cuda:2")}


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_checkpoint_goes_on_here(kind):
    """Half of a training in PyTorch, the other half from its file in minidl: the same as all of it in PyTorch."""
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.9} if kind == "SGD" else {}

    def step(lib, net, optimizer, x):
        optimizer.zero_grad()
        net(lib.tensor(x)).square().mean().backward()
        optimizer.step()

    def made(lib):
        nn = lib.nn
        net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
        return net, getattr(lib.optim, kind)(net.parameters(), lr=0.1, **options)

    batches = np.random.default_rng(0).normal(size=(6, 5, 3))
    theirs, their_optimizer = made(torch)
    for x in batches[:3]:
        step(torch, theirs, their_optimizer, x)
    checkpoint = load(saved(torch, {"net": theirs.state_dict(), "optimizer": their_optimizer.state_dict(), "epoch": 3}))
    ours, our_optimizer = made(minidl)
    ours.load_state_dict(checkpoint["net"])
    our_optimizer.load_state_dict(checkpoint["optimizer"])
    for x in batches[checkpoint["epoch"] :]:
        step(torch, theirs, their_optimizer, x)
        step(minidl, ours, our_optimizer, x)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_what_torch_saves_and_is_not_read():
    torch = pytest.importorskip("torch")
    for obj, said in (
        (torch.ones(2, dtype=torch.complex64), "'w' is a complex tensor"),
        (torch.ones(2, dtype=torch.complex64).conj(), "'w' is a complex tensor"),
        (torch.ones(2, dtype=torch.complex64).conj().imag, "negative"),
        (torch.eye(2).to_sparse(), "'w' is a sparse tensor"),
        (torch.ones(2, dtype=torch.uint16), "'w' is a tensor of a dtype such as uint16"),
        (torch.ones(2, device="meta"), "'w' is a tensor on the device 'meta'"),
        (torch.ones(2).untyped_storage(), "no plain tensor"),
        (torch.nn.Linear(1, 1), r"'w' is no plain tensor \(torch.nn.modules.linear.Linear\)"),
        (np.float64(1), "numpy.* refused"),
    ):
        refused(saved(torch, {"w": obj}), said)
    refused(saved(torch, {"w": torch.ones(1)}, pickle_protocol=4), "protocol 2")
    with pytest.raises(RuntimeError, match="before PyTorch 1.6"):
        load(saved(torch, {"w": torch.ones(1)}, _use_new_zipfile_serialization=False))
    file = io.BytesIO()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    refused(file.getvalue(), "TorchScript")


def test_torch_and_the_writer_here_agree():
    """What these tests write by hand is what PyTorch reads, so they test the format and not a private notion of it."""
    torch = pytest.importorskip("torch")
    for data in (GOOD, archive(tensor(stride=(0, 1), offset=3)), archive([tensor(kind="BFloat16Storage", elements=12)])):
        assert same(load(data), torch.load(io.BytesIO(data), weights_only=True))
