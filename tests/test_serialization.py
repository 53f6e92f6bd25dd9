"""Saving and loading: what comes back, what is refused, and that a file is written whole or not at all."""

import errno
import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

import minidl
from minidl import nn, optim
from minidl.testing import strategies


def round_trip(obj):
    file = io.BytesIO()
    minidl.save(obj, file)
    file.seek(0)
    return minidl.load(file)


def same(a, b):
    """Equal in every type, dtype, shape and bit, in nested objects."""
    if isinstance(b, minidl.Tensor):
        return type(a) is minidl.Tensor and not a.requires_grad and same(a.detach().numpy(), b.detach().numpy())
    if type(a) is not type(b):
        return False
    if isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(b, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(same(x, y) for x, y in zip(a.values(), b.values()))
    if isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return (a == b and repr(a) == repr(b)) or (a != a and b != b)  # repr: -0.0 and 0.0; True and 1


# -- what comes back

_arrays = strategies.arrays(dtype=strategies.dtypes())
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=9),
    _arrays,
    strategies.tensors(dtype=strategies.dtypes()),
    _arrays.filter(lambda a: a.size).map(lambda a: a.flat[0]),
)
_keys = st.one_of(
    st.text(max_size=5), st.integers(), st.booleans(), st.sampled_from(["tensor", "a.b", "a", "b", "__metadata__"])
)


def _nested(inner):
    dicts = st.dictionaries(_keys, inner, max_size=4)
    lists = st.lists(inner, max_size=4)
    return st.one_of(lists, lists.map(tuple), dicts, dicts.map(OrderedDict))


@given(st.recursive(_leaves, _nested, max_leaves=12))
@example({"a": {"b": minidl.ones(1)}, "a.b": minidl.zeros(2), "a.b~2": minidl.ones(3)})  # names that collide
@example({1: minidl.ones(1), "1": minidl.zeros(1)})
@example({"__metadata__": minidl.ones(1), "": minidl.ones(2), "\ud800": "\ud800"})
@example(Counter({30: 1, 80: 2}))
def test_round_trip(obj):
    assert same(round_trip(obj), obj)


@given(strategies.arrays(dtype=strategies.dtypes()))
def test_any_memory_order(array):
    found = round_trip([minidl.from_numpy(array), array])
    assert same(found, [minidl.from_numpy(array), array])
    for x in found:
        x[...] = 0  # what was loaded can be written to


def test_parameters_and_results_come_back_as_plain_tensors():
    layer = nn.Linear(2, 2)
    found = round_trip([layer.weight, layer.weight * 2])
    assert all(type(t) is minidl.Tensor and t.is_leaf and not t.requires_grad for t in found)


def test_shared_memory_is_stored_once_for_each_name():
    t = minidl.arange(6.0)
    found = round_trip({"whole": t, "again": t, "part": t[1:4]})
    assert same(found, {"whole": t, "again": t, "part": t[1:4]})
    found["whole"].zero_()
    assert found["again"].sum() == 15 and found["part"].sum() == 6


def test_the_same_object_gives_the_same_file(tmp_path):
    obj = {"b": minidl.ones(3), "a": [minidl.zeros(2), {"x": 1, "c": minidl.ones(1, dtype=minidl.int8)}]}
    contents = set()
    for i in range(5):
        minidl.save(obj, tmp_path / f"{i}")
        contents.add((tmp_path / f"{i}").read_bytes())
    assert len(contents) == 1


def test_training_goes_on_after_loading(tmp_path):
    def step(net, optimizer):
        optimizer.zero_grad()
        x = minidl.linspace(-1, 1, 12).reshape(4, 3)
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()

    def made():
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
        return net, optim.Adam(net.parameters(), lr=0.1)

    net, optimizer = made()
    step(net, optimizer)
    minidl.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint")
    step(net, optimizer)
    other, its_optimizer = made()
    found = minidl.load(tmp_path / "checkpoint")
    other.load_state_dict(found["net"])
    its_optimizer.load_state_dict(found["optimizer"])
    step(other, its_optimizer)
    assert same(other.state_dict(), net.state_dict())
    assert same(its_optimizer.state_dict(), optimizer.state_dict())


def test_names_in_the_file_are_those_of_the_places(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4))
    minidl.save(net.state_dict(), tmp_path / "net")
    assert set(safetensors.numpy.load_file(tmp_path / "net")) == {"0.weight", "0.bias"}
    minidl.save({"model": net.state_dict(), "extra": [minidl.ones(1)]}, tmp_path / "net")
    assert set(safetensors.numpy.load_file(tmp_path / "net")) == {"model.0.weight", "model.0.bias", "extra.0"}


def test_a_safetensors_file_of_another_program(tmp_path):
    arrays = {"w": np.ones((2, 3), np.float32), "n": np.array(3), "yes": np.array([True, False])}
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"format": "pt"})
    assert same(
        minidl.load(tmp_path / "theirs"), {k: minidl.from_numpy(arrays[k]) for k in ("n", "w", "yes")}
    )  # in the order of the file


def test_pytorch_reads_and_writes_the_same_files(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors import torch as theirs

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    minidl.save(net.state_dict(), tmp_path / "ours")
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    twin.load_state_dict(theirs.load_file(tmp_path / "ours"))
    with torch.no_grad():
        twin[0].weight += 1
    theirs.save_file(twin.state_dict(), tmp_path / "theirs")
    net.load_state_dict(minidl.load(tmp_path / "theirs"))
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), twin[0].weight.detach().numpy())
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    theirs.save_file({"half": every}, tmp_path / "bf16")
    np.testing.assert_array_equal(minidl.load(tmp_path / "bf16")["half"].numpy(), every.float().numpy())
    theirs.save_file({"odd": torch.ones(2, dtype=torch.uint16)}, tmp_path / "u16")
    with pytest.raises(RuntimeError, match="u16: 'odd' is of dtype U16"):
        minidl.load(tmp_path / "u16")


# -- what is refused

Point = namedtuple("Point", "x y")


class Foo:
    pass


@pytest.mark.parametrize(
    "obj, said",
    [
        ({"model": {"layer3": Foo()}}, r"save: model\.layer3: got Foo; save tensors"),
        ({"model": nn.Linear(1, 1)}, r"save: model: got Linear; save its state_dict\(\)"),
        (Foo(), "save: the object: got Foo"),
        ([1, {2}], "save: 1: got set"),
        ([Point(1, 2)], "save: 0: got Point"),
        ({"a": defaultdict(list)}, "save: a: got defaultdict"),
        ({"a": {(1, 2): 3}}, r"save: a: the key \(1, 2\) is neither text nor an integer"),
        ({"a": {None: 3}}, "save: a: the key None"),
        ({"z": np.zeros(2, complex)}, "save: z: dtype.*complex128.*not one that tensors hold"),
        ({"z": np.array(["text"])}, "save: z: dtype"),
        ({"z": np.zeros(2, ">f4")}, "save: z: dtype"),
        ({"z": np.uint16(3)}, "save: z: dtype"),
        ({"f": print}, "save: f: got builtin_function_or_method"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, obj, said):
    with pytest.raises(TypeError, match=said):
        minidl.save(obj, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_what_holds_itself_is_refused():
    obj = []
    obj.append({"a": obj})
    with pytest.raises(ValueError, match="nested too deeply, or holds itself"):
        minidl.save(obj, io.BytesIO())


def test_map_location():
    for where in (None, "cpu", minidl.device("cpu")):
        file = io.BytesIO()
        minidl.save(minidl.ones(1), file)
        file.seek(0)
        assert minidl.load(file, map_location=where).device == minidl.device("cpu")
    with pytest.raises(TypeError, match="map_location must be a device"):
        minidl.load(file, map_location=lambda storage, location: storage)
    with pytest.raises(RuntimeError, match="load: .*'cuda'"):
        minidl.load(file, map_location="cuda")


# -- damage


@pytest.fixture(scope="module")
def sample():
    """An object with something of everything, and its file."""
    t = minidl.tensor([[1.0, 2.0], [3.0, 4.0]])
    obj = {"model": OrderedDict(w=t.T, b=minidl.tensor(True)), "n": (1, [2.5, math.nan, None, True], b"x"), 3: np.array([1, 2])}
    file = io.BytesIO()
    minidl.save(obj, file)
    return obj, file.getvalue()


def load_bytes(data):
    file = io.BytesIO(data)
    file.name = "some.safetensors"
    return minidl.load(file)


def test_a_damaged_byte_is_noticed_or_does_no_harm(sample):
    obj, data = sample
    harmless = 0
    for place in range(len(data)):
        for flip in (0x01, 0x04, 0x20, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= flip
            try:
                found = load_bytes(bytes(damaged))
            except RuntimeError as error:
                assert "some.safetensors" in str(error)
            else:
                assert same(found, obj), (place, flip)
                harmless += 1
    assert 0 < harmless < len(data)  # of five times as many: spaces and the like


def test_a_truncated_or_lengthened_file_is_refused(sample):
    _, data = sample
    for content in (*(data[:n] for n in range(len(data))), data + b"\0", data + data):
        with pytest.raises(RuntimeError, match=r"some\.safetensors is damaged, cut short or no safetensors file"):
            load_bytes(content)


@given(st.binary(max_size=200))
def test_bytes_at_random_are_refused(data):
    with pytest.raises(RuntimeError, match=r"some\.safetensors"):
        load_bytes(data)


class Bomb:
    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_is_not_run(protocol):
    with pytest.raises(RuntimeError, match="is neither a safetensors file nor .* but a pickle"):
        load_bytes(pickle.dumps(Bomb(), protocol))


def test_arrays_in_numpys_format_are_named(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(RuntimeError, match=r"a\.npy is neither .* but a file of numpy\.save"):
        minidl.load(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", np.ones(3))
    with pytest.raises(RuntimeError, match=r"a\.npz: an archive of numpy\.savez; numpy\.load reads it"):
        minidl.load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "null",
        '{"minidl": 1}',
        '{"minidl": 2, "crc32": "", "content": 1}',
        '{"minidl": 1, "crc32": "00000000", "content": 1}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"tensor": "nowhere"}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"tensor": []}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"object": "os.system"}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"dict": [[[], 1]]}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"dict": 3}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"float": "x"}}',
        '{"minidl": 1, "crc32": "{crc}", "content": {"float": 1' + "0" * 400 + "}}",
        '{"minidl": 1, "crc32": "{crc}", "content": {"cuda": [0]}}',
        '{"minidl": 1, "crc32": "{crc}", "content": ' + "[" * 5000 + "]" * 5000 + "}",
    ],
)
def test_a_structure_that_makes_no_sense_is_refused(document):
    from minidl.serialization import _checksum

    if "{crc}" in document:
        try:
            content = json.loads(document)["content"]
            document = document.replace("{crc}", _checksum(content, {}))
        except RecursionError:
            pass
    with pytest.raises(RuntimeError, match=r"some\.safetensors is damaged"):
        load_bytes(safetensors.numpy.save({}, {"minidl": document}))


@pytest.mark.parametrize("shape", [[1] * 65, [2**62, 0]])
def test_a_shape_that_no_array_can_have(shape):
    n = 0 if 0 in shape else 4
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, n]}}).encode()
    with pytest.raises(RuntimeError, match=r"some\.safetensors: 'w' has a shape that no array can have"):
        load_bytes(len(header).to_bytes(8, "little") + header + bytes(n))


def test_where_safetensors_is_missing_only_files_are(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-c", "import sys; sys.modules['safetensors'] = None; import minidl"], check=True)
    minidl.save(1, tmp_path / "file")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: minidl.save(1, tmp_path / "other"), lambda: minidl.load(tmp_path / "file")):
        with pytest.raises(ImportError, match=r"save and load want the package safetensors.*docs/install.md"):
            call()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        minidl.load(tmp_path / "nothing-here")


# -- whole or not at all


@pytest.fixture
def old(tmp_path):
    """A folder with one saved file."""
    minidl.save({"epoch": 1}, tmp_path / "checkpoint")
    yield tmp_path / "checkpoint"
    assert minidl.load(tmp_path / "checkpoint") == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_an_error_while_writing_leaves_the_old_file(monkeypatch, old, at, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, at, fail)
    with pytest.raises(type(error)):
        minidl.save({"epoch": 2}, old)


def test_an_object_that_cannot_be_saved_leaves_the_old_file(old):
    with pytest.raises(TypeError, match="got Foo"):
        minidl.save({"epoch": 2, "net": Foo()}, old)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="wants a device that is always full")
def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space"), open("/dev/full", "wb", buffering=0) as file:
        minidl.save({"epoch": 2}, file)


def test_folders_and_devices_are_not_replaced(tmp_path):
    for path in (tmp_path, "/dev/null"):
        if os.path.exists(path):
            with pytest.raises(OSError, match="is no ordinary file"):
                minidl.save({}, path)
            assert not os.path.isfile(path)


def test_a_link_goes_on_pointing_to_the_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "last").symlink_to(tmp_path / "deep" / "epoch1")
    minidl.save({"epoch": 1}, tmp_path / "last")
    assert (tmp_path / "last").is_symlink() and minidl.load(tmp_path / "deep" / "epoch1") == {"epoch": 1}


SAVER = """
import sys, minidl
path, i = sys.argv[1], 0
t = minidl.zeros(500_000)
while True:
    i += 1
    t.fill_(i)
    minidl.save({"i": i, "t": t}, path)
    print(i, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    path = tmp_path / "checkpoint"
    for delay in (0.0, 0.001, 0.002, 0.004, 0.007):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()  # it has saved once, and goes on
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = minidl.load(path)
        assert found["i"] >= 1 and (found["t"] == found["i"]).all()


def test_a_missing_folder_and_swapped_arguments_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"save: there is no folder {tmp_path / 'none'}$"):
        minidl.save(minidl.ones(1), tmp_path / "none" / "file")
    with pytest.raises(TypeError, match="save: f must be a path or a binary file, got dict; the object comes first"):
        minidl.save("file", {"a": minidl.ones(1)})
