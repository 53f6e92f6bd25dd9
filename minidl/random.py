"""Where random numbers come from: a generator with a state that can be kept, and the default one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .autograd.mode import mode
from .autograd.tape import TensorBase, wrap
from .backend import check_device
from .shapes import as_index


def _tell(what: str) -> None:
    if mode.watcher is not None:
        mode.watcher.seen(None, what)


class Generator:
    """A source of random numbers (NumPy's PCG64). The numbers differ from PyTorch's for the same seed."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = check_device(device, "Generator")
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer of 64 bits (a negative one means itself plus ``2**64``); returns itself."""
        _tell("a random generator is seeded")
        number = as_index(seed, "manual_seed: seed")
        if not -(2**63) <= number < 2**64:
            raise ValueError(f"manual_seed: seed must be an integer of 64 bits, got {number}")
        self._seed = number % 2**64
        self.numpy = np.random.Generator(np.random.PCG64(self._seed))
        return self

    def seed(self) -> int:
        """Start again from a seed drawn from the operating system; returns the seed."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> 1))
        return self._seed

    def initial_seed(self) -> int:
        """The seed it last started from."""
        return self._seed

    def get_state(self) -> Any:
        """The state, as a tensor of 56 bytes."""
        _tell("the state of a random generator is read")
        state: Any = self.numpy.bit_generator.state
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
        array = new_state._array if isinstance(new_state, TensorBase) else np.asarray(new_state)
        if array.dtype != np.uint8 or array.shape != (56,):
            raise ValueError(
                f"Generator.set_state: wants the 56 bytes that get_state returned, got {array.dtype} {array.shape}"
            )
        raw = array.tobytes()
        number = [int.from_bytes(raw[a:b], "little") for a, b in ((0, 16), (16, 32), (32, 40), (40, 48), (48, 56))]
        self._seed = number[4]
        self.numpy.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": number[0], "inc": number[1]},
            "has_uint32": number[2],
            "uinteger": number[3],
        }


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which everything random in minidl is drawn; returns it."""
    return default_generator.manual_seed(seed)


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


def rng(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator behind ``generator``, or behind the default one."""
    _tell("random numbers are drawn, but not by an op such as dropout")
    return (generator or _instead.get() or default_generator).numpy
