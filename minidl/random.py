"""Random numbers: a generator with a state that can be kept, and tensors drawn from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes
from .autograd.tape import TensorBase, wrap
from .backend import check_device
from .ops.create import _float, _like, _new
from .shapes import as_shape


class Generator:
    """A source of random numbers (NumPy's PCG64). The numbers differ from PyTorch's for the same seed."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = check_device(device, "Generator")
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer; returns itself."""
        self._seed = int(seed)
        self.numpy = np.random.Generator(np.random.PCG64(self._seed % 2**64))
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
        state: Any = self.numpy.bit_generator.state
        parts = (state["state"]["state"], 16), (state["state"]["inc"], 16), (state["has_uint32"], 8), (state["uinteger"], 8)
        raw = b"".join(int(n).to_bytes(size, "little") for n, size in (*parts, (self._seed % 2**64, 8)))
        return wrap(np.frombuffer(raw, np.uint8).copy())

    def set_state(self, new_state: Any) -> None:
        """Go on from a state that `get_state` returned.

        Raises
        ------
        ValueError
            If it is no such state.
        """
        array = new_state._array if isinstance(new_state, TensorBase) else np.asarray(new_state)
        if array.dtype != np.uint8 or array.shape != (56,):
            raise ValueError(f"Generator.set_state: wants the 56 bytes that get_state returned, got {array.dtype} {array.shape}")
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


def rng(generator: Generator | None) -> np.random.Generator:
    """NumPy's generator behind ``generator``, or behind the default one."""
    return (generator or default_generator).numpy


def _uniform(shape: Any, dtype: Any, generator: Generator | None) -> Any:
    wanted = dtypes.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise TypeError(f"rand: wants a floating dtype, got {wanted}")
    drawn = rng(generator).random(shape, np.float64 if wanted == dtypes.float64 else np.float32)
    return np.asarray(drawn, wanted.dtype)


def _normal(shape: Any, dtype: Any, generator: Generator | None) -> Any:
    wanted = dtypes.as_dtype(dtype)
    if not wanted.is_floating_point:
        raise TypeError(f"randn: wants a floating dtype, got {wanted}")
    drawn = rng(generator).standard_normal(shape, np.float64 if wanted == dtypes.float64 else np.float32)
    return np.asarray(drawn, wanted.dtype)


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Numbers drawn evenly from [0, 1)."""
    return _new(_uniform(as_shape(size, "rand"), _float(dtype), generator), None, device, requires_grad, "rand")


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Numbers drawn from the normal distribution of mean 0 and variance 1."""
    return _new(_normal(as_shape(size, "randn"), _float(dtype), generator), None, device, requires_grad, "randn")


def randint(
    *bounds: Any, size: Any = None, generator: Generator | None = None, dtype: Any = None, device: Any = None
) -> Any:
    """Integers drawn evenly from ``low`` (0) up to but without ``high``: ``randint(high, size)`` or ``randint(low, high, size)``."""
    if size is None:
        *bounds, size = bounds  # type: ignore[assignment]
    if not 1 <= len(bounds) <= 2:
        raise TypeError(f"randint: takes (low,) high and size, got {len(bounds)} bounds")
    low, high = bounds if len(bounds) == 2 else (0, bounds[0])
    if low >= high:
        raise ValueError(f"randint: low must be below high, got {low} and {high}")
    drawn = rng(generator).integers(low, high, as_shape((size,), "randint"))
    return _new(np.asarray(drawn), dtypes.int64 if dtype is None else dtype, device, False, "randint")


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Any:
    """The integers 0 to ``n - 1`` in a random order."""
    return _new(rng(generator).permutation(n), dtypes.int64 if dtype is None else dtype, device, False, "randperm")


def rand_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """`rand` in the shape and dtype of ``input``."""
    like = _like(input, "rand_like")
    return rand(like.shape, dtype=dtype or like.dtype, device=device, requires_grad=requires_grad)


def randn_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """`randn` in the shape and dtype of ``input``."""
    like = _like(input, "randn_like")
    return randn(like.shape, dtype=dtype or like.dtype, device=device, requires_grad=requires_grad)


def normal(mean: float, std: float, size: Any, *, generator: Generator | None = None, dtype: Any = None) -> Any:
    """Numbers drawn from the normal distribution of this mean and standard deviation."""
    if std < 0:
        raise ValueError(f"normal: std must not be negative, got {std}")
    return randn(size, generator=generator, dtype=dtype) * std + mean


def bernoulli(input: Any, *, generator: Generator | None = None) -> Any:
    """Ones and zeros, each a one with the probability that ``input`` gives for it."""
    p = _like(input, "bernoulli")
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError("bernoulli: the probabilities in input must lie between 0 and 1")
    return wrap(np.asarray(rng(generator).random(p.shape) < p, p.dtype))


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Any:
    """Places drawn with the (unnormalised) probabilities in ``input``, a vector or one vector a row.

    Raises
    ------
    ValueError
        If a probability is negative, a row adds up to 0, or too few places are there to draw without replacement.
    """
    p = _like(input, "multinomial").astype(np.float64)
    rows = p if p.ndim == 2 else p[None]
    if rows.ndim != 2 or (rows < 0).any() or (rows.sum(1) <= 0).any():
        raise ValueError("multinomial: input must hold one or more rows of numbers, none negative, with a positive sum each")
    if not replacement and (np.count_nonzero(rows, 1) < num_samples).any():
        raise ValueError(f"multinomial: too few nonzero probabilities to draw {num_samples} without replacement")
    source = rng(generator)
    drawn = np.stack([source.choice(len(r), num_samples, replacement, r / r.sum()) for r in rows])
    return wrap(drawn.reshape(p.shape[:-1] + (num_samples,)))
