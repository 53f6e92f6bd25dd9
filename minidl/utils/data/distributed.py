"""A part of a data set for each of several ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...distributed.group import get_rank, get_world_size
from ...functions.sampling import randperm
from ...random import Generator
from ...shapes import as_index
from .sampler import Sampler


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th sample of an order that all ranks know: rank ``r`` visits the places r, r + n, r + 2n ...

    So batch by batch the ranks together visit what one rank alone would, with a batch as large as theirs together. The order of
    an epoch follows from ``seed`` and the epoch's number: call `set_epoch` before each, or all have the same.

    Parameters
    ----------
    dataset
        Something with a length.
    num_replicas, rank : int, optional
        How many ranks there are and which one this is: those of the process group, if not given.
    shuffle : bool
        A random order, or that of the data set.
    seed : int
        The same on all ranks.
    drop_last : bool
        Where the ranks do not divide the data set: leave out the rest, or else visit some samples twice.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if not hasattr(dataset, "__len__"):
            raise TypeError(f"DistributedSampler: dataset must have a length; a {type(dataset).__name__} has none")
        self.num_replicas = (
            get_world_size() if num_replicas is None else as_index(num_replicas, "DistributedSampler: num_replicas")
        )
        self.rank = get_rank() if rank is None else as_index(rank, "DistributedSampler: rank")
        seed = as_index(seed, "DistributedSampler: seed")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"Invalid rank {self.rank}, rank should be in the interval [0, {self.num_replicas - 1}]")
        self.dataset, self.shuffle, self.seed, self.drop_last, self.epoch = dataset, shuffle, seed, drop_last, 0

    @property
    def num_samples(self) -> int:
        """How many this rank visits in an epoch; all ranks the same."""
        n = len(self.dataset)
        return n // self.num_replicas if self.drop_last else math.ceil(n / self.num_replicas)

    @property
    def total_size(self) -> int:
        """How many all visit together."""
        return self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = (
            randperm(n, generator=Generator().manual_seed(self.seed + self.epoch)).tolist() if self.shuffle else list(range(n))
        )
        order = (order * math.ceil(self.total_size / max(n, 1)))[: self.total_size]
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The number of the epoch to come, from which its order follows."""
        self.epoch = epoch
