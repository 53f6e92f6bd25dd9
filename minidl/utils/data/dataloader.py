"""The loader: batches of a data set, in order, prepared ahead by threads.

Everything random in an epoch follows from one number drawn at its start: the order of the samples, and for each batch a
generator of its own, from which its transforms draw. So a batch is the same whichever thread makes it, and whenever; and an
epoch can be taken up again in the middle.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ...devices import gpu_is_available
from ...random import Generator, drawing_from, rng
from .collate import default_collate, default_convert, pinned
from .dataset import read_samples
from .sampler import BatchSampler, RandomSampler, SequentialSampler

_END = object()


@dataclass
class _Position:
    """Where an epoch is: the number it follows from, and how many batches have been handed out. No number: it has not begun."""

    seed: int | None = None
    batches: int = 0


class DataLoader:
    """An iterable of the batches of ``dataset``; every ``for`` over it is one epoch.

    Parameters
    ----------
    dataset
        Anything with ``__getitem__(index)`` and ``__len__()``; where it has ``__getitems__(indices)``, that is used.
    batch_size
        Samples in a batch; None for single samples, not collated.
    shuffle
        Visit the samples in a new random order in every epoch.
    sampler, batch_sampler
        An order of one's own: an iterable of sample numbers, or of lists of them.
    num_workers
        How many threads prepare batches ahead; 0 prepares each batch when it is asked for. The batches are the same.
        There are no processes, so nothing is copied or pickled; but a data set must bear being read from several threads.
    collate_fn
        Makes a batch of a sequence of samples; `default_collate` if not given.
    pin_memory
        Put each batch into memory that a GPU reads by itself, so that ``to("cuda", non_blocking=True)`` need not wait:
        every tensor in it, and whatever else has a ``pin_memory()``. Where there is no GPU that is said, and not done.
    drop_last
        Leave out a last batch that is not full.
    timeout
        Seconds to wait for a batch from a worker; 0 waits for ever.
    worker_init_fn
        Called with the worker's number in each worker's thread, at its start.
    multiprocessing_context
        Must be None: there are no processes.
    generator
        Where the randomness of an epoch is drawn from; minidl's default generator if not given. What draws from the default
        generator inside data set, transforms and ``collate_fn`` draws from the batch's own. NumPy's and Python's global
        generators are shared by all threads.
    prefetch_factor
        Batches prepared ahead for each worker: 2 if not given.
    persistent_workers
        Accepted for the sake of scripts: threads start in no time, so each epoch has new ones.

    Raises
    ------
    ValueError
        If arguments contradict each other, as in PyTorch.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        _check_dataset(dataset, batch_sampler if sampler is None else sampler)
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        _check_order(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if generator is not None and not isinstance(generator, Generator):
            raise TypeError(f"DataLoader: generator must be a minidl.Generator, got {type(generator).__name__}")
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            sampler = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.persistent_workers = pin_memory, persistent_workers
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self._position = _Position()
        self._resumes = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset") and hasattr(self, "_position"):
            raise ValueError(f"DataLoader: {name} cannot be changed afterwards; make a new loader")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if not self._resumes:
            self._position = _Position(int(rng(self.generator).integers(2**62)))
        self._resumes = False
        self._pins = self.pin_memory and gpu_is_available()
        if self.pin_memory and not self._pins:
            warnings.warn("DataLoader: pin_memory=True, but there is no GPU; batches are not pinned", UserWarning, stacklevel=2)
        return self._epoch(self._position)

    def _epoch(self, position: _Position) -> Iterator[Any]:
        jobs = self._jobs(position)
        for batch in _ahead(jobs, self) if self.num_workers else _one_by_one(jobs):
            position.batches += 1
            yield batch
        position.seed, position.batches = None, 0

    def _jobs(self, position: _Position) -> Iterator[Callable[[], Any]]:
        """A function for each batch to come that makes it."""
        assert position.seed is not None
        generator, done = Generator("cpu").manual_seed(position.seed), position.batches
        with drawing_from(generator):
            keys = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        for number in itertools.count(1):
            with drawing_from(generator):
                key = next(keys, _END)
            if key is _END:
                return
            if number > done:
                yield partial(self._make, key, position.seed + number)

    def _make(self, key: Any, seed: int) -> Any:
        """The batch of the samples ``key`` (or the one sample), with its own random numbers."""
        with drawing_from(Generator("cpu").manual_seed(seed)):
            batch = self.collate_fn(self.dataset[key] if self.batch_sampler is None else read_samples(self.dataset, key))
        return pinned(batch) if self._pins else batch

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, between two batches of the loop begun last, for `load_state_dict`.

        After an epoch it is at the start of the next; after a loop that was left early, where it was left. Without a
        ``generator`` of its own, the state of minidl's default one belongs to it and must be kept beside it
        (`minidl.get_rng_state`).

        Raises
        ------
        RuntimeError
            If the sampler draws from a generator of its own: give that to the loader instead.
        """
        samplers = self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None)
        if any(getattr(sampler, "generator", None) is not None for sampler in samplers):
            raise RuntimeError(
                "DataLoader.state_dict: the sampler has a generator of its own; give the generator to the DataLoader"
            )
        generator = None if self.generator is None else self.generator.get_state()
        return {**asdict(self._position), "generator": generator, "order": self._order()}

    def _order(self) -> dict[str, Any]:
        """What an epoch is, as far as that can be told without reading the data."""
        return {
            "samples": len(self.dataset) if hasattr(self.dataset, "__len__") else None,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "sampler": type(self.sampler).__name__,
            "batch_sampler": type(self.batch_sampler).__name__,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where another loader, of the same data set and with the same arguments, was.

        The next ``for`` gives the batches that the other had still to give, the same bit for bit.

        Raises
        ------
        ValueError
            If ``state_dict`` is not what `state_dict` returned; or of a loader with another number of samples, batch size or
            kind of sampler; or one of the two has a generator and the other none.
        """
        if not isinstance(state_dict, dict) or state_dict.keys() != {"seed", "batches", "generator", "order"}:
            raise ValueError(f"DataLoader.load_state_dict: wants seed, batches, generator and order, got {state_dict!s:.80}")
        differences = [
            f"{name} {state_dict['order'].get(name)}, not {own}"
            for name, own in self._order().items()
            if state_dict["order"].get(name) != own
        ]
        if differences:
            raise ValueError("DataLoader.load_state_dict: the state is of another loader, with " + ", ".join(differences))
        if (state_dict["generator"] is None) != (self.generator is None):
            one, other = ("a", "no") if self.generator is None else ("no", "a")
            raise ValueError(
                f"DataLoader.load_state_dict: the state is of a loader with {one} generator, this one has {other} generator"
            )
        if self.generator is not None:
            self.generator.set_state(state_dict["generator"])
        self._position = _Position(state_dict["seed"], state_dict["batches"])
        self._resumes = self._position.seed is not None


def _one_by_one(jobs: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    for job in jobs:
        yield job()


def _ahead(jobs: Iterator[Callable[[], Any]], loader: DataLoader) -> Iterator[Any]:
    """What the jobs give, in their order, a few of them always under way in threads.

    Python closes a generator that nobody holds any more, so the threads end with the loop, however it is left.
    """
    numbers, this_thread = itertools.count(), threading.local()

    def work(job: Callable[[], Any]) -> Any:
        if not hasattr(this_thread, "number"):
            this_thread.number = next(numbers)
            if loader.worker_init_fn is not None:
                loader.worker_init_fn(this_thread.number)
        return job()

    pool = futures.ThreadPoolExecutor(loader.num_workers, "minidl-loader")
    depth, late = loader.num_workers * (loader.prefetch_factor or 2), False
    try:
        waiting = deque(pool.submit(work, job) for job in itertools.islice(jobs, depth))
        while waiting:
            late = loader.timeout > 0 and not futures.wait([waiting[0]], loader.timeout).done
            if late:
                raise RuntimeError(f"DataLoader: timed out, no batch came within {loader.timeout} seconds")
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(work, job) for job in itertools.islice(jobs, 1))
            yield batch
    finally:  # wait until the threads have ended, unless one hangs, or is the one where the garbage collector closes this
        pool.shutdown(wait=not late and not hasattr(this_thread, "number"), cancel_futures=True)


def _check_dataset(dataset: Any, order: Any) -> None:
    if not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"DataLoader: dataset must have __getitem__(index); a {type(dataset).__name__} does not; make a list of a stream"
        )
    if order is None and not hasattr(dataset, "__len__"):
        raise TypeError(
            f"DataLoader: dataset must have __len__(), or a sampler must be given; a {type(dataset).__name__} has no length"
        )


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool, context: Any
) -> None:
    if num_workers < 0:
        raise ValueError(f"DataLoader: num_workers must not be negative (0 for none), got {num_workers}")
    if timeout < 0:
        raise ValueError(f"DataLoader: timeout must not be negative, got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("DataLoader: prefetch_factor needs num_workers > 0")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"DataLoader: prefetch_factor must be positive, got {prefetch_factor}")
    if num_workers == 0 and persistent_workers:
        raise ValueError("DataLoader: persistent_workers needs num_workers > 0")
    if context is not None:
        raise NotImplementedError(
            "DataLoader: multiprocessing_context means nothing here, since the workers are threads; leave it out"
        )


def _check_order(batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if not isinstance(shuffle, (bool, type(None))):
        raise ValueError(f"DataLoader: shuffle must be True, False or None, got {shuffle!r}")
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: sampler and shuffle exclude each other")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
    if batch_size is None and drop_last:
        raise ValueError("DataLoader: drop_last needs a batch_size")
