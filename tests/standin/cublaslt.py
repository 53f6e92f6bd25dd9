"""cublasLt on a machine without a GPU: NumPy computes what the descriptors of a product say, down columns as it counts.

`Library` has the functions that minidl calls, and keeps the descriptors itself; `Real` has them kept by NVIDIA's library, where
the wheel is installed, which works without a GPU, and reads them back there. Both are stricter than the library: every matrix
has to lie in the memory of an array that is alive, as even as was promised, and memory to work in must be what was asked for.
"""

import collections
import ctypes
import functools
import itertools
import weakref

import numpy as np

from . import capture

P = ctypes.c_void_p
TYPES = {0: np.float32, 1: np.float64, 2: np.float16}
ROUNDED = {77: 10, 75: 7}  # TF32, bfloat16: bits that are left of a fraction
FP16 = 74
ATTRIBUTES = {  # of cublasLt.h: the name and type by the number, and what it is until it is set
    "MatmulDesc": {
        0: ("compute", ctypes.c_int32, 0), 1: ("scale", ctypes.c_int32, 0), 3: ("transa", ctypes.c_int32, 0),
        4: ("transb", ctypes.c_int32, 0), 7: ("epilogue", ctypes.c_uint32, 1), 8: ("bias", P, None),
    },
    "MatrixLayout": {
        0: ("type", ctypes.c_uint32, 0), 2: ("rows", ctypes.c_uint64, 0), 3: ("columns", ctypes.c_uint64, 0),
        4: ("ld", ctypes.c_int64, 0), 5: ("batch", ctypes.c_int32, 1), 6: ("stride", ctypes.c_int64, 0),
    },
    "MatmulPreference": {
        1: ("workspace", ctypes.c_uint64, 0), 3: ("reductions", ctypes.c_uint32, 7), 5: ("aligned_a", ctypes.c_uint32, 256),
        6: ("aligned_b", ctypes.c_uint32, 256), 7: ("aligned_c", ctypes.c_uint32, 256), 8: ("aligned_d", ctypes.c_uint32, 256),
    },
}  # fmt: skip
BIAS, RELU, BGRADB = 4, 2, 512
_asked = collections.defaultdict(weakref.WeakValueDictionary)  # by place in memory: arrays that were asked where they are


def _address(x):
    return 0 if x is None else x if isinstance(x, int) else ctypes.cast(x, P).value or 0


def note(array):
    """Note where an array is: one of several, in several threads, of which each may go when it likes."""
    _asked[array.a.ctypes.data][id(array)] = array


def alive(place):
    """An array that begins there."""
    found = [*_asked[place].values()]
    assert found, f"no array begins at {place:#x}"
    return found[-1]


def _memory(place, dtype, shape, strides):
    """An array at a place in the memory of one that is alive, and nowhere else; strides count elements."""
    root = whole = alive(place).a
    while (root := getattr(root, "base", None)) is not None:
        whole = root if isinstance(root, np.ndarray) else whole
    whole = whole.transpose(np.argsort(whole.strides, kind="stable")[::-1])  # as it lies in memory
    strides = [n * np.dtype(dtype).itemsize for n in strides]
    return np.ndarray(shape, dtype, whole, place - whole.ctypes.data, strides)  # NumPy refuses what is longer


def _matrices(place, layout):
    """(batch, rows, columns)."""
    shape = layout["batch"], layout["rows"], layout["columns"]
    assert layout["ld"] >= layout["rows"]
    return _memory(place, TYPES[layout["type"]], shape, (layout["stride"], 1, layout["ld"]))


def _factor(x, turned, compute):
    if compute == FP16:  # with its range
        x = x.astype(np.float16).astype(np.float32)
    elif compute in ROUNDED:
        x = rounded(x, ROUNDED[compute])
    return x.swapaxes(1, 2) if turned else x


def rounded(x, bits):
    """float32 with so many bits of its fraction left, half to even."""
    low = 23 - bits
    words = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    words = words + (1 << low - 1) - 1 + (words >> low & 1)
    return np.where(np.isfinite(x), (words >> low << low).astype(np.uint32).view(np.float32), x)


def arrays(product, a, b, d, places):
    """What a product reads and writes, from descriptors as dicts: both factors, the result and the bias."""
    found, how, (rows, columns) = (
        [_matrices(*m) for m in zip(places, (a, b, d))],
        product["epilogue"],
        (d["rows"], d["columns"]),
    )
    bias = None
    assert found[0].dtype == found[1].dtype and a["batch"] == b["batch"] == d["batch"]
    if how & (BIAS | BGRADB):
        assert d["batch"] == 1
        bias = _memory(product["bias"], TYPES[d["type"]], (columns if how == BGRADB else rows,), (1,))
    return *found, bias


def multiply(product, a, b, out, bias):
    """What ``cublasLtMatmul`` does."""
    how, compute = product["epilogue"], product["compute"]
    wide = np.float64 if compute == 70 else np.float32
    a, b = _factor(a, product["transa"], compute), _factor(b, product["transb"], compute)
    assert product["scale"] == (compute == 70) and a.shape[2] == b.shape[1] and out.shape[1:] == (a.shape[1], b.shape[2])
    found = a.astype(wide, copy=False) @ b.astype(wide, copy=False)
    if how & BIAS:
        found = found + bias[:, None]
    if how & RELU:
        found = np.where(found <= 0, wide(0), found)
    if how == BGRADB:
        bias[...] = b[0].sum(0)
    out[...] = found


class Library:
    """The functions of the library, with the same arguments, which are addresses where C has pointers."""

    def __init__(self, stream):
        self.stream, self.count, self.kept, self.log = stream, itertools.count(1), {}, []
        self.algorithms = {}  # what was promised to each
        for kind in ATTRIBUTES:
            for what in ("Create", "SetAttribute", "Destroy"):
                setattr(self, f"cublasLt{kind}{what}", functools.partial(getattr(self, f"_{what.lower()}"), kind))

    def cublasLtGetStatusName(self, code):
        return b"CUBLAS_STATUS_%d" % code

    cublasLtGetStatusString = cublasLtGetStatusName

    def cublasLtCreate(self, place):
        P.from_address(_address(place)).value = next(self.count)
        return 0

    def _create(self, kind, place, *args):
        made = {name: value for name, _, value in ATTRIBUTES[kind].values()}
        made.update(zip([name for name, *_ in ATTRIBUTES[kind].values()], args))
        number = P.from_address(_address(place)).value = next(self.count)
        self.kept[number] = kind, made
        return 0

    def _setattribute(self, kind, made, number, place, size):
        name, type, _ = ATTRIBUTES[kind][number]
        if size != ctypes.sizeof(type):
            return 7
        self._kept(kind, made)[name] = type.from_address(_address(place)).value
        return 0

    def _destroy(self, kind, made):
        self._kept(kind, made)
        del self.kept[_address(made)]
        return 0

    def _kept(self, kind, made):
        found, attributes = self.kept[_address(made)]
        assert found == kind
        return attributes

    def cublasLtMatmulAlgoGetHeuristic(self, handle, product, a, b, c, d, wishes, n, choice, count):
        of, matrices = self._kept("MatmulDesc", product), [dict(self._kept("MatrixLayout", m)) for m in (a, b, c, d)]
        wishes = self._kept("MatmulPreference", wishes)
        narrow = of["scale"] == 1 and of["epilogue"] & ~(RELU | BIAS) > 1
        assert n == 1 and wishes["reductions"] & 1 == 0  # in place would not be the same every time
        ctypes.c_int.from_address(_address(count)).value = int(not narrow)
        if narrow:
            return 15
        k = matrices[0]["rows"] if of["transa"] else matrices[0]["columns"]
        number = next(self.count)
        known = {name: of[name] for name in ("transa", "transb", "epilogue")}
        self.algorithms[number] = known, matrices, dict(wishes), of["bias"]
        address = _address(choice)
        ctypes.c_uint64.from_address(address).value = number
        ctypes.c_size_t.from_address(address + 64).value = min(wishes["workspace"], 4 * 1024) if k > 64 else 0
        ctypes.c_int.from_address(address + 72).value = 0
        return 0

    def cublasLtMatmul(self, handle, product, one, a, of_a, b, of_b, zero, c, of_c, d, of_d, algorithm, work, size, stream):
        of, places = dict(self._kept("MatmulDesc", product)), [_address(x) for x in (a, b, d)]
        matrices = [self._kept("MatrixLayout", m) for m in (of_a, of_b, of_c, of_d)]
        number = ctypes.c_uint64.from_address(_address(algorithm)).value
        known, as_chosen, wishes, bias = self.algorithms[number]
        assert as_chosen == matrices and all(of[name] == value for name, value in known.items()), (
            "an algorithm for another product"
        )
        for name, place in zip("abcd", (a, b, c, d)):
            assert _address(place) % wishes[f"aligned_{name}"] == 0, f"{name} is less even than was promised"
        assert not bias or of["bias"] % bias == 0
        number_type = ctypes.c_double if of["scale"] else ctypes.c_float
        assert (number_type.from_address(_address(one)).value, number_type.from_address(_address(zero)).value) == (1, 0)
        assert _address(c) == _address(d) and _address(stream) == self.stream(), "another stream than the current one"
        used = [*places, of["bias"]] if of["bias"] else places
        if size:
            _memory(_address(work), np.uint8, (size,), (1,))[...] = 0xFF
            used.append(_address(work))
        run = functools.partial(multiply, of, *arrays(of, *matrices[:2], matrices[3], places))
        with np.errstate(all="ignore"):
            run()
        self.log.append(of | {"a": matrices[0], "b": matrices[1], "d": matrices[3]})
        capture.note(run, [*map(alive, used)])
        return 0


class Real(Library):
    """Descriptors are NVIDIA's; only what needs a GPU is done here."""

    def __init__(self, stream, real):
        super().__init__(stream)
        self.real = real
        self.cublasLtGetStatusName, self.cublasLtGetStatusString = real.cublasLtGetStatusName, real.cublasLtGetStatusString
        for kind in ATTRIBUTES:
            for what in ("Create", "SetAttribute", "Destroy"):
                setattr(self, f"cublasLt{kind}{what}", getattr(real, f"cublasLt{kind}{what}"))

    def _kept(self, kind, made):
        read, found = getattr(self.real, f"cublasLt{kind}GetAttribute"), {}
        read.argtypes = P, ctypes.c_int, P, ctypes.c_size_t, P
        for number, (name, type, _) in ATTRIBUTES[kind].items():
            value, written = type(), ctypes.c_size_t()
            code = read(made, number, ctypes.byref(value), ctypes.sizeof(type), ctypes.byref(written))
            assert code == 0 and written.value == ctypes.sizeof(type), f"{kind} {name}"
            found[name] = value.value
        return found
