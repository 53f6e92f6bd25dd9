"""GPUs: how many there are, their memory, their random numbers, streams and events. PyTorch's names, over CuPy.

Nothing here needs a GPU until it is asked for one. What asks raises RuntimeError where there is none, and says why.
"""

from __future__ import annotations

from typing import Any

from . import backend, devices, random
from .devices import check_device, gpu_is_available
from .devices import device as Device


def is_available() -> bool:
    """Whether tensors can live on a GPU: CuPy is installed, and there are a driver and a device for it. Never raises."""
    return gpu_is_available()


def device_count() -> int:
    """How many GPUs can be used; 0 where `is_available` is False."""
    return backend.gpu.xp.cuda.runtime.getDeviceCount() if is_available() else 0


def _number(device: Any, op: str) -> int:
    """The number of a GPU given as a device, its name, its number or None for the current one."""
    where = check_device("cuda" if device is None else device, f"cuda.{op}")
    if where.type != "cuda":
        raise ValueError(f"cuda.{op}: expected a GPU, got {str(where)!r}")
    return where.index  # type: ignore[return-value]


def current_device() -> int:
    """The number of the GPU that ``"cuda"`` stands for."""
    return _number(None, "current_device")


def set_device(device: Any) -> None:
    """Make ``"cuda"`` stand for ``device``. Ops run where their operands are, whatever this is."""
    number = _number(device, "set_device")
    backend.gpu.xp.cuda.Device(number).use()


class device:
    """Inside, ``"cuda"`` stands for ``device``: ``with minidl.cuda.device(1): ...``."""

    def __init__(self, device: Any) -> None:
        self.idx = _number(device, "device")

    def __enter__(self) -> None:
        self._inside = devices.current(Device("cuda", self.idx))
        self._inside.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._inside.__exit__(*error)


def _properties(device: Any, op: str) -> Any:
    """What CUDA knows of a GPU, by CUDA's names."""
    number = _number(device, op)
    return backend.gpu.xp.cuda.runtime.getDeviceProperties(number)


def get_device_name(device: Any = None) -> str:
    """What the maker calls a GPU."""
    return _properties(device, "get_device_name")["name"].decode()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, major and minor."""
    found = _properties(device, "get_device_capability")
    return found["major"], found["minor"]


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that it was given to do."""
    number = _number(device, "synchronize")
    with devices.current(Device("cuda", number)):
        backend.gpu.xp.cuda.runtime.deviceSynchronize()
    devices.settle()


# -- memory, in bytes; CuPy keeps what is freed for what comes next


def _memory(name: str, device: Any, op: str) -> Any:
    with devices.current(Device("cuda", _number(device, op))):
        return getattr(backend.gpu.xp.get_default_memory_pool(), name)()


def memory_allocated(device: Any = None) -> int:
    """How much arrays on a GPU take up now."""
    return _memory("used_bytes", device, "memory_allocated")


def memory_reserved(device: Any = None) -> int:
    """How much is taken from the GPU now, in use or kept for use."""
    return _memory("total_bytes", device, "memory_reserved")


def empty_cache() -> None:
    """Give back to the GPUs what is kept and not in use; nothing where none has been used."""
    for number in range(device_count() if backend.gpu is not None else 0):
        _memory("free_all_blocks", number, "empty_cache")


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """What is free on a GPU and what there is in all, by the driver's account."""
    with devices.current(Device("cuda", _number(device, "mem_get_info"))):
        free, total = backend.gpu.xp.cuda.runtime.memGetInfo()
    return free, total


_peaks: list[Any] = []  # the hook that watches, once there is one


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begin anew to watch how much is in use at most: see `max_memory_allocated`."""
    number = _number(device, "reset_peak_memory_stats")
    if not _peaks:
        _peaks.append(_peak_hook())
        _peaks[0].__enter__()
    _peaks[0].now[number] = _peaks[0].most[number] = memory_allocated(number)


def max_memory_allocated(device: Any = None) -> int:
    """How much arrays on a GPU took up at most since `reset_peak_memory_stats`, counting those made in its thread.

    Raises
    ------
    RuntimeError
        If that was not called: what passed unwatched is not known.
    """
    number = _number(device, "max_memory_allocated")
    if not _peaks or number not in _peaks[0].most:
        raise RuntimeError("cuda.max_memory_allocated: memory is watched from reset_peak_memory_stats() on; call that first")
    return _peaks[0].most[number]


def _peak_hook() -> Any:
    class Peak(backend.gpu.xp.cuda.MemoryHook):  # type: ignore[misc]
        """Counts along with CuPy's pool."""

        name = "minidl.cuda.max_memory_allocated"

        def __init__(self) -> None:
            self.now: dict[int, int] = {}
            self.most: dict[int, int] = {}

        def malloc_postprocess(self, **call: Any) -> None:
            number = call["device_id"]
            self.now[number] = self.now.get(number, 0) + call["mem_size"]
            if number in self.most:
                self.most[number] = max(self.most[number], self.now[number])

        def free_postprocess(self, **call: Any) -> None:
            self.now[call["device_id"]] = self.now.get(call["device_id"], 0) - call["mem_size"]

    return Peak()


# -- random numbers


def manual_seed(seed: int) -> None:
    """Seed the generator of the current GPU; before a GPU is used, of all that will be. Without a GPU nothing happens."""
    if backend.gpu is None:
        random.seed_gpus(seed)
    else:
        random.of_gpu(current_device()).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs. Without a GPU nothing happens."""
    random.seed_gpus(seed)


def seed() -> None:
    """Seed the generator of the current GPU from the operating system."""
    random.of_gpu(current_device()).seed()


def initial_seed() -> int:
    """The seed that the generator of the current GPU last started from."""
    return random.of_gpu(current_device()).initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of a GPU's generator, as a tensor of bytes on the CPU."""
    return random.of_gpu(_number(device, "get_rng_state")).get_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Put a GPU's generator into a state that `get_rng_state` returned."""
    random.of_gpu(_number(device, "set_rng_state")).set_state(new_state)


# -- streams and events


class Stream:
    """A queue of work on a GPU; what is in different queues may run at the same time. Entered by `stream`.

    Parameters
    ----------
    device
        Which GPU; the current one if not given.
    priority : int
        Lower numbers go first.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, _of: Any = None) -> None:
        self.device = Device("cuda", _number(device, "Stream"))
        self.priority = priority
        with devices.current(self.device):
            self.cupy = backend.gpu.xp.cuda.Stream(non_blocking=True, priority=priority) if _of is None else _of

    @property
    def cuda_stream(self) -> int:
        """CUDA's handle of it."""
        return self.cupy.ptr

    def synchronize(self) -> None:
        """Wait until everything in the queue is done."""
        self.cupy.synchronize()

    def query(self) -> bool:
        """Whether everything in the queue is done."""
        return bool(self.cupy.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Put an event (a new one if none is given) at the end of the queue; returns it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """What comes into the queue later waits for ``event``; the program does not."""
        if event.cupy is not None:  # of an event that was never recorded there is nothing to wait for
            self.cupy.wait_event(event.cupy)

    def wait_stream(self, stream: Stream) -> None:
        """What comes into the queue later waits for what is in another one now."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.cuda_stream) == (other.device, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<minidl.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


def current_stream(device: Any = None) -> Stream:
    """The queue that work goes into now."""
    number = _number(device, "current_stream")
    return Stream(number, _of=backend.gpu.xp.cuda.get_current_stream(number))


def default_stream(device: Any = None) -> Stream:
    """The queue that work goes into unless `stream` says otherwise."""
    number = _number(device, "default_stream")
    return Stream(number, _of=backend.gpu.xp.cuda.Stream.null)


class stream:
    """Inside, work goes into a queue: ``with minidl.cuda.stream(s): ...``; nothing happens for None."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            self._device = devices.current(self.stream.device)
            self._device.__enter__()
            self.stream.cupy.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.stream is not None:
            self.stream.cupy.__exit__(*error)
            self._device.__exit__(*error)


class Event:
    """A mark in a queue: to wait for it, or to tell the time between two.

    Parameters
    ----------
    enable_timing : bool
        Whether it can tell the time.
    blocking : bool
        Whether who waits for it sleeps.
    interprocess : bool
        Not supported.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        if interprocess:
            raise NotImplementedError("cuda.Event: interprocess=True is not supported; leave it out")
        _number(None, "Event")
        self.enable_timing, self.blocking = enable_timing, blocking
        self.cupy: Any = None  # made where it is recorded

    def record(self, stream: Stream | None = None) -> None:
        """Put it at the end of a queue, the current one if none is given."""
        stream = current_stream() if stream is None else stream
        with devices.current(stream.device):
            if self.cupy is None:
                self.cupy = backend.gpu.xp.cuda.Event(block=self.blocking, disable_timing=not self.enable_timing)
            self.cupy.record(stream.cupy)

    def wait(self, stream: Stream | None = None) -> None:
        """What comes into a queue (the current one if none is given) later waits for it."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether all that was before it is done."""
        return self.cupy is None or bool(self.cupy.done)

    def synchronize(self) -> None:
        """Wait until all that was before it is done."""
        if self.cupy is not None:
            self.cupy.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds between this event and a later one.

        Raises
        ------
        ValueError
            If one cannot tell the time.
        RuntimeError
            If one is not recorded.
        """
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("elapsed_time: both events must be made with enable_timing=True")
        if self.cupy is None or end_event.cupy is None:
            raise RuntimeError("elapsed_time: both events must be recorded first")
        return backend.gpu.xp.cuda.get_elapsed_time(self.cupy, end_event.cupy)
