"""Samplers: in which order the samples of a data set are visited. Each is an iterable of sample numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic

from ...functions.creation import as_tensor
from ...functions.sampling import multinomial, randint, randperm
from ...random import Generator
from ...shapes import as_index
from .dataset import T_co


class Sampler(Generic[T_co]):
    """An order of visiting: a subclass has ``__iter__()``, and ``__len__()`` where the length is known."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__}: a Sampler must have a method __iter__()")


class SequentialSampler(Sampler):
    """The samples of ``data_source`` in their order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """The samples of ``data_source`` in a random order, a new one at every pass.

    Parameters
    ----------
    replacement
        Draw each time among all samples, so that some come often and some not at all.
    num_samples
        How many to draw: as many as there are, if not given. Without replacement, all have come before one comes again.
    generator
        Where the order is drawn from.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Generator | None = None
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"RandomSampler: replacement must be True or False, got {replacement!r}")
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        if as_index(self.num_samples, "RandomSampler: num_samples") <= 0:
            raise ValueError(f"RandomSampler: num_samples must be positive, got {self.num_samples}; is the data set empty?")

    @property
    def num_samples(self) -> int:
        """How many are drawn in a pass."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, left = len(self.data_source), self.num_samples
        while left > 0:
            how: dict[str, Any] = {"generator": self.generator, "device": "cpu"}
            some = randint(n, (n,), **how) if self.replacement else randperm(n, **how)
            yield from some.tolist()[:left]
            left -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given ``indices`` in a random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in randperm(len(self.indices), generator=self.generator, device="cpu").tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """``num_samples`` sample numbers, each drawn as often as ``weights`` says (which need not add up to 1)."""

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        if as_index(num_samples, "WeightedRandomSampler: num_samples") <= 0:
            raise ValueError(f"WeightedRandomSampler: num_samples must be positive, got {num_samples}")
        if not isinstance(replacement, bool):
            raise TypeError(f"WeightedRandomSampler: replacement must be True or False, got {replacement!r}")
        self.weights = as_tensor(weights, device="cpu").double()
        if self.weights.ndim != 1:
            raise ValueError(f"WeightedRandomSampler: weights must be one number a sample, got the shape {self.weights.shape}")
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        yield from multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """What ``sampler`` gives in lists of ``batch_size``; a shorter last one is left out with ``drop_last``."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or as_index(batch_size, "BatchSampler: batch_size") <= 0:
            raise ValueError(f"BatchSampler: batch_size must be a positive integer, got {batch_size!r}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"BatchSampler: drop_last must be True or False, got {drop_last!r}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        samples = iter(self.sampler)
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
