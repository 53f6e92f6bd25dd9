"""Where random numbers come from: generators with a state that can be kept, and the default ones, one for each device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import backend, devices
from .autograd.mode import mode
from .autograd.tape import TensorBase, wrap
from .devices import check_device, device
from .shapes import as_index


def _tell(what: str) -> None:
    if mode.watcher is not None:
        mode.watcher.seen(None, what)


class Philox:
    """Random numbers of a GPU: those that NumPy's generators have, by the same names.

    Number ``i`` of a call depends on the seed, on how many calls there were before, and on ``i`` alone.
    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.calls = seed, 0

    def next(self) -> tuple[int, int]:
        """The seed and how many calls there were; one more from now on."""
        self.calls += 1
        return self.seed, self.calls - 1

    def keep(self, shape: Any, dtype: Any, p: float, value: float) -> Any:
        """0 with probability ``p``, else ``value``."""
        return backend.gpu.kernels.keep(shape, dtype, p, value, self.next)

    def random(self, shape: Any, dtype: Any = "float64") -> Any:
        """Evenly from [0, 1)."""
        return backend.gpu.kernels.uniform(shape, np.dtype(dtype), self.next)

    def standard_normal(self, shape: Any, dtype: Any = "float64") -> Any:
        """From the normal distribution."""
        return backend.gpu.kernels.normal(shape, np.dtype(dtype), self.next)

    def uniform(self, low: float, high: float, shape: Any) -> Any:
        """Evenly from [low, high)."""
        return low + (high - low) * self.random(shape)

    def normal(self, mean: float, std: float, shape: Any) -> Any:
        """From a normal distribution."""
        return mean + std * self.standard_normal(shape)

    def lognormal(self, mean: float, std: float, shape: Any) -> Any:
        """Numbers whose logarithm is normal."""
        return backend.gpu.xp.exp(self.normal(mean, std, shape))

    def standard_cauchy(self, shape: Any) -> Any:
        """From the Cauchy distribution."""
        return backend.gpu.xp.tan(math.pi * (self.random(shape) - 0.5))

    def exponential(self, mean: float, shape: Any) -> Any:
        """From the exponential distribution."""
        return -mean * backend.gpu.xp.log1p(-self.random(shape))

    def geometric(self, p: float, shape: Any) -> Any:
        """How many trials it takes to the first success."""
        xp = backend.gpu.xp
        return xp.maximum(xp.ceil(xp.log1p(-self.random(shape)) / math.log1p(-p)), 1)

    def integers(self, low: int, high: int, shape: Any) -> Any:
        """Integers from low up to but without high: by chance alone up to 2**53 of them, beyond that in steps."""
        drawn = backend.gpu.xp.floor(self.random(shape) * (high - low))
        return backend.gpu.xp.minimum(drawn.astype("int64") + low, high - 1)

    def permutation(self, n: int) -> Any:
        """0 to n - 1 in a random order."""
        return backend.gpu.xp.argsort(self.random(n))

    def poisson(self, rate: Any) -> Any:
        """From Poisson distributions; drawn on the host."""
        source = np.random.Generator(np.random.PCG64(self.next()))
        return backend.gpu.xp.asarray(source.poisson(rate.get()))

    def choice(self, n: int, size: int, replace: bool, p: Any) -> Any:
        """Places with the probabilities p."""
        xp = backend.gpu.xp
        if replace:
            return xp.minimum(xp.searchsorted(xp.cumsum(p), self.random(size), side="right"), n - 1)
        return xp.argsort(self.exponential(1.0, n) / p)[:size]  # the first of several waits for events of these rates


class Generator:
    """A source of random numbers: NumPy's PCG64 on the CPU, Philox on a GPU. The numbers differ from PyTorch's."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = check_device(device, "Generator")
        self.source: Any = None if self.device.type == "cpu" else Philox(0)
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer of 64 bits (a negative one means itself plus ``2**64``); returns itself."""
        _tell("a random generator is seeded")
        self._seed = _check_seed(seed)
        if self.device.type == "cpu":
            self.source = np.random.Generator(np.random.PCG64(self._seed))
        else:  # who draws from it goes on to, such as a step that is captured
            self.source.seed, self.source.calls = self._seed, 0
        return self

    def seed(self) -> int:
        """Start again from a seed drawn from the operating system; returns the seed."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> 1))
        return self._seed

    def initial_seed(self) -> int:
        """The seed it last started from."""
        return self._seed

    def get_state(self) -> Any:
        """The state, as a tensor of bytes on the CPU: 56, or 16 for a GPU (the seed and the number of calls)."""
        _tell("the state of a random generator is read")
        if self.device.type == "cuda":
            return wrap(np.array([self.source.seed, self.source.calls], "<u8").view(np.uint8))
        state: Any = self.source.bit_generator.state
        parts = (state["state"]["state"], 16), (state["state"]["inc"], 16), (state["has_uint32"], 8), (state["uinteger"], 8)
        raw = b"".join(int(n).to_bytes(size, "little") for n, size in (*parts, (self._seed, 8)))
        return wrap(np.frombuffer(raw, np.uint8).copy())

    def set_state(self, new_state: Any) -> None:
        """Go on from a state that `get_state` returned.

        Raises
        ------
        ValueError
            If it is no such state.
        """
        _tell("the state of a random generator is set")
        array = devices.on_host(new_state._array) if isinstance(new_state, TensorBase) else np.asarray(new_state)
        size = 56 if self.device.type == "cpu" else 16
        if array.dtype != np.uint8 or array.shape != (size,):
            raise ValueError(
                f"Generator.set_state: wants the {size} bytes that get_state returned, got {array.dtype} {array.shape}"
            )
        raw = array.tobytes()
        if self.device.type == "cuda":
            self._seed = self.source.seed = int.from_bytes(raw[:8], "little")
            self.source.calls = int.from_bytes(raw[8:], "little")
            return
        number = [int.from_bytes(raw[a:b], "little") for a, b in ((0, 16), (16, 32), (32, 40), (40, 48), (48, 56))]
        self._seed = number[4]
        self.source.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": number[0], "inc": number[1]},
            "has_uint32": number[2],
            "uinteger": number[3],
        }


def _check_seed(seed: Any) -> int:
    number = as_index(seed, "manual_seed: seed")
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"manual_seed: seed must be an integer of 64 bits, got {number}")
    return number % 2**64


default_generator = Generator()
of_gpus: dict[int, Generator] = {}  # the default generators of the GPUs, made when they are first used ...
first_seed: list[int] = []  # ... from this seed, if there is one


def of_gpu(index: int) -> Generator:
    """The default generator of a GPU."""
    if index not in of_gpus:
        of_gpus[index] = Generator(device("cuda", index))
        if first_seed:
            of_gpus[index].manual_seed(first_seed[0])
    return of_gpus[index]


def seed_gpus(seed: int) -> None:
    """Seed the default generators of all GPUs, those too that are made later."""
    first_seed[:] = [_check_seed(seed)]
    for generator in of_gpus.values():
        generator.manual_seed(seed)


def manual_seed(seed: int) -> Generator:
    """Seed the default generators, from which everything random in minidl is drawn, of all devices; returns the CPU's."""
    default_generator.manual_seed(seed)
    seed_gpus(seed)
    return default_generator


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed the default generator last started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator, as a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the default generator into a state that `get_rng_state` returned."""
    default_generator.set_state(new_state)


def host_rng(generator: Generator | None) -> Any:
    """NumPy's generator for numbers drawn on the host: the default one, ``generator``'s, or one that follows from a GPU's."""
    source = rng(generator, devices.CPU if generator is None else generator.device)
    return np.random.Generator(np.random.PCG64(source.next())) if isinstance(source, Philox) else source


def seed_for(array: Any) -> Any:
    """A seed for random bits beside ``array``, drawn on the host; in a captured step it is drawn anew each time."""

    def draw() -> int:
        return int(rng(None).integers(1 << 63))

    return backend.gpu.kernels.Drawn(draw) if type(array) in backend.gpu_types else draw()


_instead: ContextVar[Generator | None] = ContextVar("generator instead of the default one", default=None)


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Inside, and in this thread only, what would be drawn from the default generator is drawn from ``generator``."""
    _tell("another random generator is put in the place of the default one")
    token = _instead.set(generator)
    try:
        yield
    finally:
        _instead.reset(token)


def rng(generator: Generator | None, where: device = devices.CPU) -> Any:
    """NumPy's generator behind ``generator``, or behind the default one of the device ``where``; of a GPU, a `Philox`.

    Raises
    ------
    RuntimeError
        If ``generator`` is of another device.
    """
    _tell("random numbers are drawn, but not by an op such as dropout")
    if generator is None:
        generator = (_instead.get() or default_generator) if where.type == "cpu" else of_gpu(where.index or 0)
    elif generator.device != where:
        raise RuntimeError(f"generator: wants one of the device {str(where)!r}, got one of {str(generator.device)!r}")
    return generator.source
