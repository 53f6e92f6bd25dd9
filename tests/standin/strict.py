"""A stand-in for CuPy on a machine without a GPU: NumPy's arithmetic with CuPy's strictness, and more where that finds bugs.

It has the names that CuPy has and no others (``cupy_names.txt``), and their arguments. An array of it holds a NumPy array but
is none. What CuPy would refuse is refused: NumPy arrays among GPU arrays, conversion without being asked, arrays of another
device. What CuPy would do wrongly or slowly without a word is refused too: duplicate indices in an assignment, float64 out of
float32. Whatever would make the host wait for the device is noted in ``SYNCS``, what is sent to the device in ``UPLOADS``.
New memory holds NaN, results lie in C order, and kernels run in the `emulator`.

`install` puts it in CuPy's place.
"""

import contextlib
import functools
import importlib
import math
import pathlib
import re
import sys
import threading
import time
import types
import warnings
import weakref

import numpy as np

from . import capture, cublaslt

__version__ = "14.2.0"  # of the CuPy whose names are in cupy_names.txt
SYNCS: list[str] = capture.Log("the host waits")  # every wait for the device so far
UPLOADS: list[str] = capture.Log("something is sent to the device")  # everything sent to it
SCALARS = (bool, int, float, complex, np.generic)


def _read_names():
    found = {}
    for line in (pathlib.Path(__file__).parent / "cupy_names.txt").read_text().splitlines():
        name, arguments = re.match(r"# CuPy|([\w.]+)(?:\((.*)\))?$", line).groups()
        if name:
            place, _, name = name.partition(".")
            found.setdefault(place, {})[name] = None if arguments is None else arguments.split()
    return found


NAMES = _read_names()


# -- memory, devices, streams


class _Here(threading.local):
    """What each thread has of its own: the device that it works on, and the streams that it is in."""

    def __init__(self):
        self.device, self.streams, self.pool = 0, [Stream.null], None


class Device:
    """`cupy.cuda.Device`."""

    count = 2

    def __init__(self, device=None):
        self.id = here.device if device is None else int(device)
        self.before = []

    def use(self):
        if not 0 <= self.id < Device.count:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        here.device = self.id

    def __enter__(self):
        self.before.append(here.device)
        self.use()
        return self

    def __exit__(self, *_):
        here.device = self.before.pop()

    def synchronize(self):
        SYNCS.append("Device.synchronize")

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    compute_capability = "90"
    mem_info = (2**36, 2**37)


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""


class Block:
    """A piece of device memory, which arrays and their views share."""

    __slots__ = ("__weakref__", "device", "nbytes", "owner", "pool")

    def __init__(self, nbytes, device):
        self.owner = lambda: None  # or a weak reference to the array of all of it
        self.nbytes, self.device, self.pool = -(-nbytes // 512) * 512, device, here.pool or POOLS[device]
        capture.taken(self, here.pool)
        self.pool.take(self.nbytes)

    def __del__(self):
        if POOLS is None:  # Python ends
            return
        with LOCK:
            self.pool.used -= self.nbytes
        for hook in MemoryHook.active:
            hook.free_postprocess(device_id=self.device, size=self.nbytes, mem_size=self.nbytes)


class MemoryPool:
    """`cupy.cuda.MemoryPool`, of one device."""

    def __init__(self, device=None):
        self.device, self.used, self.total = here.device if device is None else device, 0, 0

    def malloc(self, size):
        raise NotImplementedError("the stand-in takes this only as an argument of using_allocator")

    def take(self, nbytes):
        with LOCK:
            self.used += nbytes
            self.total = max(self.total, self.used)
        for hook in MemoryHook.active:
            hook.malloc_postprocess(device_id=self.device, size=nbytes, mem_size=nbytes, mem_ptr=0, pmem_id=0)

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - self.used

    def free_all_blocks(self, stream=None):
        self.total = self.used


class MemoryHook:
    """`cupy.cuda.MemoryHook`."""

    active = []  # noqa: RUF012

    def __enter__(self):
        MemoryHook.active.append(self)
        return self

    def __exit__(self, *_):
        MemoryHook.active.remove(self)

    def malloc_postprocess(self, **_):
        pass

    def free_postprocess(self, **_):
        pass


POOLS = [MemoryPool(i) for i in range(Device.count)]
LOCK = threading.RLock()  # of their counts; memory may be freed while memory is taken


class Stream:
    """`cupy.cuda.Stream`: everything is done at once, so there is nothing to order."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.non_blocking, self.priority, self.ptr, self.device_id = non_blocking, priority or 0, 0 if null else id(self), 0
        self.is_non_blocking, self.done = non_blocking, True

    def use(self):
        here.streams[-1:] = [self]
        return self

    def __enter__(self):
        here.streams.append(self)
        return self

    def __exit__(self, *_):
        here.streams.pop()

    def synchronize(self):
        SYNCS.append("Stream.synchronize")

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        pass

    def begin_capture(self, mode=None):
        if self.ptr == 0 or self is not here.streams[-1]:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: wants the current stream, not the null one")
        capture.begin(_filling, CUDARuntimeError)

    def end_capture(self):
        return capture.end()

    def is_capturing(self):
        return capture.going_on()


@contextlib.contextmanager
def using_allocator(allocator=None):
    """`cupy.cuda.using_allocator`, of a pool."""
    before, here.pool = here.pool, allocator.__self__
    try:
        yield
    finally:
        here.pool = before


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.disable_timing, self.at = disable_timing, None
        self.done, self.ptr = True, id(self)

    def record(self, stream=None):
        self.at = time.perf_counter()

    def synchronize(self):
        SYNCS.append("Event.synchronize")


Stream.null = Stream(null=True)
here = _Here()


def get_elapsed_time(start, end):
    """Milliseconds between two events."""
    if start.disable_timing or end.disable_timing or start.at is None or end.at is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end.at - start.at) * 1000


# -- arrays


class Flags:
    """`ndarray.flags`."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc = flags.forc


def _given(x):
    """An argument as NumPy is to see it."""
    if type(x) is ndarray:
        if x.block.device != here.device:
            raise ValueError(f"Array device must be same as the current device: {x.block.device} is not {here.device}")
        return x.a
    if isinstance(x, np.ndarray) and x.ndim and not x.dtype.names:  # a structure goes to a kernel by value
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(x, (list, tuple)):
        return type(x)(_given(v) for v in x)
    return x


def _result(r, block=None, keep=False):
    """What NumPy returned, as arrays of the device; reductions stay there, as arrays without dimensions."""
    if isinstance(r, (np.ndarray, np.generic)):
        if r.dtype.hasobject:
            raise TypeError("Unsupported dtype object")
        r = np.asarray(r)
        if block is None and not keep and not r.flags.c_contiguous:
            r = r.copy("C")
        return ndarray(r, block)
    if isinstance(r, (list, tuple)) and r and isinstance(r[0], (np.ndarray, np.generic)):
        return type(r)(*(_result(v, block, keep) for v in r)) if hasattr(r, "_fields") else tuple(_result(v, block) for v in r)
    return r


def _arrays(args):
    for x in args:
        if type(x) is ndarray:
            yield x
        elif isinstance(x, (list, tuple)):
            yield from _arrays(x)


def _check_width(name, operands, out):
    """Float64 that comes out of float32 is a slip, and slow."""
    for r in out if isinstance(out, tuple) else (out,):
        if type(r) is ndarray and r.a.dtype == np.float64:
            held = {x.a.dtype for x in operands}
            if np.dtype(np.float64) not in held and {np.dtype(np.float32), np.dtype(np.float16)} & held:
                raise TypeError(f"{name}: float64 comes out of {sorted(map(str, held))}")


WAITS = {
    "nonzero",
    "flatnonzero",
    "argwhere",
    "unique",
    "bincount",
    "histogram",
    "compress",
    "extract",
    "setdiff1d",
    "intersect1d",
}
JOINS = {"concatenate", "stack", "vstack", "hstack"}
KEEP = {"empty_like", "zeros_like", "ones_like", "full_like"}  # these keep the order in memory


def _call(name, function, args, options, known=None):
    """A function of NumPy's on arrays of the device."""
    if known is not None:
        for option in options:
            if option not in known and "**kwargs" not in known:
                raise TypeError(f"{name}() got an unexpected keyword argument {option!r}")
        if len(args) > len(known) and not any(k.startswith("*") for k in known):
            raise TypeError(f"{name}() takes {len(known)} positional arguments, got {len(args)}")
    elif "where" in options or "initial" in options:
        raise TypeError(f"cupy's {name} takes no where= and no initial=")
    if name in WAITS or (name == "where" and len(args) == 1):
        SYNCS.append(name)
    if name in JOINS:
        _joined(args[0])
    if name == "where" and isinstance(args[0], bool):
        raise AttributeError("'bool' object has no attribute 'astype'")
    options.pop("blocking", None)
    given, out = [_given(a) for a in args], options.get("out")
    capture.check(name)
    run = functools.partial(function, *given, **{k: _given(v) for k, v in options.items()})
    operands = [*_arrays(args), *_arrays(options.values())]
    with np.errstate(all="ignore"):
        r = run()
    if out is not None:
        capture.note(run, operands)
        return out
    wrapped = capture.note(run, operands, _share(r, operands, name in KEEP))
    if "dtype" not in options and name not in ("astype", "full"):
        _check_width(name, operands, wrapped)
    return wrapped


def _joined(arrays):
    """More than 8 arrays of one kind are joined in one launch, which is sent where they are; unless they are large."""
    arrays = [*arrays]
    alike = len({x.a.dtype for x in arrays}) == 1 and sum(x.a.nbytes for x in arrays) < len(arrays) << 21
    if len(arrays) > 8 and alike:
        UPLOADS.append("the places of more than 8 arrays to be joined")


def _share(r, operands, keep=False):
    """Wrap a result, which may be a view of an operand."""
    if isinstance(r, np.ndarray):
        for x in operands:
            if r is x.a:
                return x
            if r.base is not None and r.size and np.may_share_memory(r, x.a):
                if not r.flags.writeable and x.a.flags.writeable:
                    r.flags.writeable = True  # CuPy has no others
                return ndarray(r, x.block)
        return _result(r, None, keep)
    if isinstance(r, (list, tuple)) and r and isinstance(r[0], np.ndarray):
        return type(r)(*(_share(v, operands) for v in r)) if hasattr(r, "_fields") else type(r)(_share(v, operands) for v in r)
    return _result(r)


def _key(key, reading):
    """An index as NumPy is to see it."""
    items = key if isinstance(key, tuple) else (key,)
    for k in items:
        if isinstance(k, np.ndarray) and k.ndim:
            raise TypeError("a NumPy array as an index of a GPU array")
        if type(k) is ndarray and k.a.dtype == bool and reading:
            SYNCS.append("boolean index")
        if isinstance(k, list):
            UPLOADS.append("a list as an index")
    return tuple(k.a if type(k) is ndarray else k for k in items)


class ndarray:
    """`cupy.ndarray`."""

    __slots__ = ("__weakref__", "a", "block", "seen_in")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if isinstance(shape, np.ndarray):  # how this module makes them: the array, and the block that it looks into
            self.a, self.block = shape, Block(shape.nbytes, here.device) if dtype in (None, float) else dtype
        else:
            self.a = np.empty(shape, dtype, order)
            self.a.fill(_filling(self.a.dtype))
            self.block = Block(self.a.nbytes, here.device)
        self.seen_in = None
        if self.a.base is None and self.block.owner() is None:
            self.block.owner = weakref.ref(self)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array.")

    def __array_ufunc__(self, ufunc, method, *args, **options):
        if all(type(a) is ndarray for a in args):
            raise TypeError(f"np.{ufunc.__name__} was called on a GPU array: use xp")
        return _call(ufunc.__name__, getattr(ufunc, method), args, options)

    def __array_function__(self, f, types, args, options):
        raise TypeError(f"np.{f.__name__} was called on a GPU array: use xp")

    @property
    def __cuda_array_interface__(self):
        interface = self.a.__array_interface__
        return {"shape": self.a.shape, "typestr": interface["typestr"], "data": interface["data"], "version": 3}

    def __dlpack_device__(self):
        return (2, self.block.device)

    def __dlpack__(self, **_):
        raise BufferError("the stand-in's memory is no GPU's, and cannot be handed on")

    @property
    def device(self):
        return Device(self.block.device)

    @property
    def flags(self):
        return Flags(self.a.flags)

    @property
    def data(self):
        cublaslt.note(self)
        place = self.a.ctypes.data if self.block.nbytes else 0  # CuPy takes no memory for arrays of size 0
        return types.SimpleNamespace(ptr=place, device=self.device, device_id=self.block.device)

    @property
    def base(self):
        """Of a view the array of all the memory, which it keeps."""
        root, behind, owner = self.a, self.a, self.block.owner()
        while (behind := getattr(behind, "base", None)) is not None:  # arrays, and what NumPy puts between them
            root = behind if isinstance(behind, np.ndarray) else root
        if owner is None and root is not self.a:
            owner = ndarray(root, self.block)
        if self.seen_in is None and owner is not self:
            self.seen_in = owner
        return self.seen_in

    def _wait(name, read):
        def method(self):
            SYNCS.append(name)
            return read(self.a)

        return method

    item = _wait("item", lambda a: a.item())
    tolist = _wait("tolist", lambda a: a.tolist())
    tobytes = _wait("tobytes", lambda a: a.tobytes())
    __float__ = _wait("float", float)
    __int__ = _wait("int", int)
    __bool__ = _wait("bool", bool)
    __complex__ = _wait("complex", complex)
    __str__ = _wait("str", str)
    __repr__ = _wait("repr", repr)

    def get(self, stream=None, order="C", out=None, blocking=True):
        if blocking:
            SYNCS.append("get")
        if out is None:
            return self.a.copy(order)
        out[...] = self.a
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray) or arr.shape != self.a.shape or arr.dtype != self.a.dtype:
            raise ValueError("set: wants a NumPy array of the same shape and dtype")
        UPLOADS.append("set")
        self.a[...] = arr

    def __reduce__(self):
        SYNCS.append("pickle")
        return array, (self.a,)

    def __deepcopy__(self, memo):
        return self.copy()

    __copy__ = lambda self: self.copy()  # noqa: E731

    def __len__(self):
        return len(self.a)

    def __iter__(self):
        if not self.a.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self.a)))

    __contains__ = None

    def __getitem__(self, key):
        read = functools.partial(self.a.__getitem__, _key(key, True))
        return capture.note(read, [self, *_arrays([key])], _share(np.asarray(read()), (self,)))

    def __setitem__(self, key, value):
        if self.block.device != here.device:
            raise ValueError(f"Array device must be same as the current device: {self.block.device} is not {here.device}")
        key = _key(key, False)
        numbers = [k for k in key if isinstance(k, (np.ndarray, list)) and np.asarray(k).dtype != bool]
        if any(isinstance(k, np.ndarray) and k.dtype == bool for k in key):  # CuPy counts where it is true first
            SYNCS.append("an assignment at a boolean index")
        if numbers and getattr(value, "size", 1) > 1:
            flat = np.stack(np.broadcast_arrays(*numbers), -1).reshape(-1, len(numbers))
            if len(np.unique(flat, axis=0)) != len(flat):
                raise ValueError("duplicate indices in an assignment: which value wins is left open on a GPU")
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.a.size:  # an empty view may be read-only here, which CuPy's arrays never are
                write = functools.partial(self.a.__setitem__, key, _given(value))
                write()
                capture.note(write, [self, *_arrays([key, value])])

    # what looks at the same memory, or keeps its order

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.a.dtype == dtype:
            return self
        convert = functools.partial(_given(self).astype, dtype, order)
        with np.errstate(all="ignore"):
            return capture.note(convert, [self], _result(convert(), keep=True))

    def copy(self, order="C"):
        copy = functools.partial(self.a.copy, order)
        return capture.note(copy, [self], _result(copy(), keep=True))  # on the current device, wherever this one is

    def view(self, dtype=None, type=None):
        return ndarray(self.a.view() if dtype is None else self.a.view(dtype), self.block)

    def reshape(self, *shape, order="C", copy=None):
        reshape = functools.partial(self.a.reshape, shape[0] if len(shape) == 1 else shape, order=order)
        return capture.note(reshape, [self], _share(reshape(), (self,)))

    @property
    def shape(self):
        return self.a.shape

    @shape.setter
    def shape(self, shape):
        self.a.shape = shape

    def _at(self, ufunc, slices, value):
        run = functools.partial(ufunc.at, self.a, _key(slices, False), _given(value))
        run()
        capture.note(run, [self, *_arrays([slices, value])])

    def scatter_add(self, slices, value):
        self._at(np.add, slices, value)

    def scatter_max(self, slices, value):
        self._at(np.maximum, slices, value)

    def scatter_min(self, slices, value):
        self._at(np.minimum, slices, value)


def _filling(dtype):
    return math.nan if dtype.kind in "fc" else True if dtype.kind == "b" else 0x55 if dtype.itemsize == 1 else -77 % 2**15


def _attribute(name):
    return property(lambda self: getattr(self.a, name))


def _view_attribute(name):
    return property(lambda self: ndarray(getattr(self.a, name), self.block))


def _method(name, known):
    if name in ("fill", "sort", "partition", "put"):  # these change it

        def method(self, *args, **options):
            capture.check(name)
            run = functools.partial(getattr(_given(self), name), *map(_given, args), **options)
            run()
            capture.note(run, [self, *_arrays(args)])

        return method
    function = getattr(np.ndarray, name)

    def method(self, *args, **options):
        if len(args) > len(known) and not any(k.startswith("*") for k in known):
            raise TypeError(f"ndarray.{name}() takes {len(known)} positional arguments, got {len(args)}")
        return _call(name, function, (self, *args), options, None if not options else [*known, "*"])

    return method


def _operator(name):
    function = getattr(np.ndarray, f"__{name}__")
    in_place = name.startswith("i") and name != "invert"

    def method(self, *others):
        given = _given(self)
        for other in others:
            if type(other) is not ndarray and not isinstance(other, SCALARS):
                if isinstance(other, np.ndarray) and not other.ndim:
                    continue
                if isinstance(other, np.ndarray):
                    raise TypeError(f"Unsupported type {type(other)}")
                return NotImplemented
        capture.check(name)
        run, operands = functools.partial(function, given, *map(_given, others)), [self, *_arrays(others)]
        with np.errstate(all="ignore"):
            r = run()
        if in_place or r is NotImplemented:
            capture.note(run, operands)
            return self if in_place else r
        r = capture.note(run, operands, _result(r))
        _check_width(name, operands, r)
        return r

    return method


for _name in ("dtype", "ndim", "size", "nbytes", "itemsize", "strides"):
    setattr(ndarray, _name, _attribute(_name))
for _name in ("T", "mT", "real", "imag"):
    setattr(ndarray, _name, _view_attribute(_name))
for _name, _known in NAMES["ndarray"].items():
    if _known is not None and _name not in vars(ndarray) and hasattr(np.ndarray, _name):
        setattr(ndarray, _name, _method(_name, _known))
for _name in (
    "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv ifloordiv mod rmod imod pow rpow "
    "ipow matmul rmatmul neg pos abs invert lt le gt ge eq ne and or xor rand ror rxor iand ior ixor lshift rshift ilshift "
    "irshift"
).split():
    setattr(ndarray, f"__{_name}__", _operator(_name))


# -- functions


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, blocking=False):
    """A new array of the device."""
    if type(obj) is ndarray:
        return obj.astype(dtype or obj.dtype, copy=True) if ndmin <= obj.ndim else _result(np.array(obj.a, dtype, ndmin=ndmin))
    if any(True for _ in _arrays([obj])):  # lists of arrays of the device are stacked there
        _joined(_arrays([obj]))
        stack = functools.partial(np.array, _given(obj), dtype, ndmin=ndmin)
        return capture.note(stack, [*_arrays([obj])], _result(stack()))
    if not isinstance(obj, SCALARS):
        UPLOADS.append("array")
    if blocking:
        SYNCS.append("array")
    make = functools.partial(np.array, obj, dtype, ndmin=ndmin, order=order)
    return capture.note(make, [], _result(make(), keep=True))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """`a` on the device, itself if it is there."""
    if type(a) is ndarray and not copy and (dtype is None or a.dtype == dtype):
        return a
    return array(a, dtype, order=order or "K", blocking=blocking)


def ascontiguousarray(a, dtype=None):
    """`a` on the device in C order."""
    a = asarray(a, dtype)
    return a if a.a.flags.c_contiguous and a.ndim else a.copy().reshape(a.shape or 1)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """`a` on the host."""
    return a.get(stream, order, out, blocking) if type(a) is ndarray else np.asarray(a)


def empty(shape, dtype=float, order="C"):
    """New memory."""
    return ndarray(shape, dtype, order=order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    """New memory like that of another array."""
    a = np.empty_like(_given(prototype), dtype=dtype, order=order, shape=shape)
    a.fill(_filling(a.dtype))
    return _result(a, keep=True)


def may_share_memory(a, b, max_work=None):
    """Whether two arrays may overlap."""
    return np.may_share_memory(a.a, b.a)


shares_memory = may_share_memory


def get_array_module(*args):
    """The library that some arrays belong to."""
    return sys.modules[__name__] if any(type(a) is ndarray for a in args) else np


def _answer(f):
    """Functions whose answer NumPy gives as a Python bool, and CuPy as an array."""

    @functools.wraps(f)
    def call(*args, **options):
        return _call(f.__name__, lambda *a, **k: np.asarray(f(*a, **k)), args, options)

    return call


allclose, array_equal = _answer(np.allclose), _answer(np.array_equal)


def repeat(a, repeats, axis=None):
    """`numpy.repeat`; how often must be known on the host."""
    if type(repeats) is ndarray:
        raise ValueError("repeats: only integers and lists of them")
    return _call("repeat", np.repeat, (a, repeats, axis), {})


class _UFunc:
    def __init__(self, ufunc):
        self.ufunc, self.name, self.nin, self.nout = ufunc, ufunc.__name__, ufunc.nin, ufunc.nout
        self.__name__ = ufunc.__name__

    def __call__(self, *args, **options):
        for a in args:
            if type(a) is not ndarray and not isinstance(a, (*SCALARS, np.ndarray)):
                raise TypeError(f"Unsupported type {type(a)}")
        return _call(self.name, self.ufunc, args, options)

    def at(self, a, indices, b=None):
        a._at(self.ufunc, indices, b)

    def reduce(self, *args, **options):
        return _call(self.name + ".reduce", self.ufunc.reduce, args, options)

    def accumulate(self, *args, **options):
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"{self.name}.accumulate is not implemented")
        return _call(self.name + ".accumulate", self.ufunc.accumulate, args, options)

    def outer(self, a, b):
        return _call(self.name + ".outer", self.ufunc.outer, (a, b), {})


def _from(library, place):
    """What `library` has under a name, if CuPy has it in `place`."""

    def get(name):
        if name not in NAMES[place]:
            raise AttributeError(f"cupy has no {place}.{name}")
        thing = getattr(library, name, None)
        if thing is None:
            raise NotImplementedError(f"the stand-in has no {place}.{name}")
        if isinstance(thing, (type, types.ModuleType)) or not callable(thing):
            return thing
        if isinstance(thing, np.ufunc) and place == "cupy":
            made = _UFunc(thing)
        else:
            known = NAMES[place][name]

            def made(*args, **options):
                return _call(name, thing, args, options, known)

            made.__name__ = name
        return made

    return get


_cupy, _functions = _from(np, "cupy"), {}


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in _functions:
        _functions[name] = _cupy(name)
    return _functions[name]


class _Namespace:
    def __init__(self, **things):
        self.__dict__.update(things)

    def __getattr__(self, name):
        raise AttributeError(f"the stand-in for CuPy has no {name}")


class _Linalg:
    get = staticmethod(_from(np.linalg, "linalg"))

    def __getattr__(self, name):
        return self.get(name)


class _Random:
    def __getattr__(self, name):
        raise AttributeError(f"cupy.random.{name}: minidl draws its own numbers")


def as_strided(x, shape=None, strides=None):
    """Another look at the memory of `x`."""
    return ndarray(np.lib.stride_tricks.as_strided(x.a, shape, strides), x.block)


def sliding_window_view(x, window_shape, axis=None):
    """Windows of `x`."""
    return ndarray(np.lib.stride_tricks.sliding_window_view(x.a, window_shape, axis, writeable=True), x.block)


def broadcast_to(array, shape):
    """`array` stretched, without a copy."""
    a = np.broadcast_to(_given(array), shape)
    return ndarray(np.lib.stride_tricks.as_strided(array.a, a.shape, a.strides), array.block)  # CuPy's can be written to


def broadcast_arrays(*args):
    """All stretched to one shape."""
    shape = np.broadcast_shapes(*(x.shape for x in args))
    return [broadcast_to(x, shape) for x in args]


class _Ogrid:
    def __getitem__(self, key):
        return [_result(a) for a in np.ogrid[key]] if isinstance(key, tuple) else _result(np.ogrid[key])


linalg, random, ogrid = _Linalg(), _Random(), _Ogrid()
lib = _Namespace(stride_tricks=_Namespace(as_strided=as_strided, sliding_window_view=sliding_window_view))


# -- kernels


class RawModule:
    """`cupy.RawModule`: compiled for the CPU and run in the emulator."""

    def __init__(
        self, code=None, *, path=None, options=(), backend="nvrtc", translate_cucomplex=False, enable_cooperative_groups=False,
        name_expressions=None, jitify=False,
    ):  # fmt: skip
        if code is None or backend != "nvrtc" or name_expressions is not None or jitify:
            raise NotImplementedError("the stand-in compiles source text without templates")
        if not isinstance(options, tuple):
            raise TypeError(f"options must be a tuple, got {type(options).__name__}")
        self.code, self.options, self.module = code, options, None

    def compile(self, log_stream=None):
        if self.module is None:
            from . import emulator

            self.module = emulator.Module(self.code, self.options)

    def get_function(self, name):
        self.compile()
        return RawKernel(self.module.get_function(name), name)


class RawKernel:
    """`cupy.RawKernel`, got from a `RawModule`."""

    def __init__(self, kernel, name):
        self.kernel, self.name, self.max_dynamic_shared_size_bytes = kernel, name, 48 << 10

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        if math.prod(block) > 1024 or not 0 < math.prod(block) or not all(0 < n < 2**31 for n in grid):
            raise CUDARuntimeError(f"cudaErrorInvalidConfiguration: {self.name}: grid {grid}, block {block}")
        if any(n >= 2**16 for n in grid[1:]):
            raise CUDARuntimeError(f"cudaErrorInvalidConfiguration: {self.name}: grid {grid}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDARuntimeError(f"cudaErrorInvalidValue: {self.name}: {shared_mem} bytes of shared memory")
        for i, a in enumerate(args):
            if isinstance(a, np.ndarray) and a.ndim and not a.dtype.names:
                raise TypeError(f"{self.name}: argument {i}: Unsupported type {type(a)}")
            if type(a) is ndarray and not a.a.flags.c_contiguous:
                raise TypeError(
                    f"{self.name}: argument {i} has gaps or another order, strides {a.strides}, and a kernel sees none"
                )
        run = functools.partial(self.kernel, grid, block, tuple(_given(a) for a in args), shared_mem)
        run()
        capture.note(run, [*_arrays(args)])


# -- what is beside


def _elementwise(f):
    def call(x, out=None):
        compute = functools.partial(np.vectorize(f, otypes=[x.dtype if x.dtype.kind == "f" else float]), _given(x))
        r = capture.note(compute, [x], _result(compute()))
        return r if x.dtype.kind != "f" else r.astype(x.dtype)

    return call


def _device_properties(device):
    return {"name": b"Stand-in", "totalGlobalMem": 2**37, "major": 9, "minor": 0, "multiProcessorCount": 132, "warpSize": 32}


def _scatter(method):
    return lambda a, slices, value: getattr(a, method)(slices, value)


runtime = _Namespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: Device.count,
    getDevice=lambda: here.device,
    setDevice=lambda i: Device(i).use(),
    getDeviceProperties=_device_properties,
    memGetInfo=lambda: (2**36, 2**37),
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    deviceSynchronize=lambda: SYNCS.append("deviceSynchronize"),
)
cuda = types.ModuleType("cupy.cuda")
vars(cuda).update(
    Device=Device,
    Event=Event,
    Graph=capture.Graph,
    MemoryHook=MemoryHook,
    MemoryPool=MemoryPool,
    Stream=Stream,
    alloc_pinned_memory=lambda n: PinnedMemoryPointer(n),
    get_current_stream=lambda device_id=-1: here.streams[-1],
    get_device_id=lambda: here.device,
    get_elapsed_time=get_elapsed_time,
    is_available=lambda: Device.count > 0,
    memory=_Namespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
    runtime=runtime,
    using_allocator=using_allocator,
)
is_available = cuda.is_available


class _Pools:
    """CuPy's pool: one object, which answers for the current device."""

    def __getattr__(self, name):
        return getattr(POOLS[here.device], name)


def get_default_memory_pool():
    """The pool of the current device."""
    return _Pools()


class PinnedMemoryPointer(bytearray):
    """`cupy.cuda.PinnedMemoryPointer`."""


cupyx = types.ModuleType("cupyx")
special = types.ModuleType("cupyx.scipy.special")
special.erf, special.erfc = _elementwise(math.erf), _elementwise(math.erfc)
vars(cupyx).update(
    scatter_add=_scatter("scatter_add"),
    scatter_max=_scatter("scatter_max"),
    scatter_min=_scatter("scatter_min"),
    rsqrt=lambda x: 1 / x**0.5,
    scipy=types.ModuleType("cupyx.scipy"),
)
cupyx.scipy.special = special


products = cublaslt.Library(lambda: here.streams[-1].ptr)


def install():
    """Put this module in CuPy's place.

    Raises
    ------
    RuntimeError
        If minidl's kernels work with another module already: CuPy and its stand-in would meet in one launch.
    """
    loader = sys.modules.get("minidl.kernels.cuda.loader")
    if loader is not None and loader.cupy is not sys.modules[__name__]:
        raise RuntimeError(f"minidl's kernels work with {loader.cupy.__name__} already: its stand-in would be beside it")
    sys.modules["cupy"] = sys.modules[__name__]
    sys.modules["cupy.cuda"] = cuda
    sys.modules |= {"cupyx": cupyx, "cupyx.scipy": cupyx.scipy, "cupyx.scipy.special": special}
    binding = importlib.import_module("minidl.kernels.cuda.cublaslt")
    binding.library = lambda: products
