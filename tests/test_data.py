"""Data sets, samplers, collation and the loader."""

import collections
import gc
import itertools
import random
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl.shapes import ShapeError
from minidl.utils.data import (
    BatchSampler,
    Columns,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Noisy(Dataset):
    """Sample ``i`` is ``i`` and a random number; reading it takes a random time, so that threads overtake each other."""

    def __init__(self, n, slow=0.0):
        self.n, self.slow = n, slow

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        time.sleep(self.slow * random.random())
        return index, minidl.rand(3)


class Faulty(Noisy):
    def __getitem__(self, index):
        if index == 13:
            raise KeyError("sample thirteen")
        return super().__getitem__(index)


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("minidl-loader")]


def flat(loader):
    return [(index.tolist(), noise.tolist()) for index, noise in loader]


# -- data sets


def test_tensor_dataset_gives_a_tuple_of_elements():
    x, y = minidl.arange(12).reshape(4, 3), minidl.tensor([5, 6, 7, 8])
    data = TensorDataset(x, y)
    assert len(data) == 4
    assert data[2][0].tolist() == [6, 7, 8] and data[2][1].item() == 7
    assert [a.tolist() for a in default_collate(data.__getitems__([3, 1]))] == [[[9, 10, 11], [3, 4, 5]], [8, 6]]


def test_tensor_dataset_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="different length"):
        TensorDataset(minidl.zeros(3), minidl.zeros(4))
    with pytest.raises(TypeError, match="ndarray"):
        TensorDataset(np.zeros(3))


def test_subset_and_concat_count_through():
    both = ConcatDataset([range(3), range(10, 14)])
    assert len(both) == 7 and [both[i] for i in range(7)] == [0, 1, 2, 10, 11, 12, 13]
    assert both[-1] == 13 and both[-7] == 0
    for i in (7, -8):
        with pytest.raises(IndexError):
            both[i]
    part = Subset(both, [6, 0, 3])
    assert list(part) == [13, 0, 10] and part.__getitems__([2, 0]) == [10, 13]
    assert [d[0] for d in (Noisy(2) + Noisy(3))] == [0, 1, 0, 1, 2]
    with pytest.raises(ValueError):
        ConcatDataset([])


def test_subset_hands_whole_batches_on():
    data = TensorDataset(minidl.arange(10))
    assert isinstance(Subset(data, range(5, 10)).__getitems__([1, 2]), Columns)


def test_random_split_cuts_without_overlap():
    parts = random_split(range(10), [3, 7], minidl.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [3, 7] and sorted(itertools.chain(*parts)) == list(range(10))
    again = random_split(range(10), [3, 7], minidl.Generator().manual_seed(1))
    assert list(again[0]) == list(parts[0])
    assert [len(p) for p in random_split(range(11), [0.5, 0.3, 0.2])] == [6, 3, 2]
    for lengths in ([3, 8], [0.5, 0.6], [2.5, 7.5]):
        with pytest.raises(ValueError):
            random_split(range(10), lengths)


def test_a_dataset_or_sampler_without_its_method_says_so():
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="__iter__"):
        iter(Sampler())


# -- samplers


@given(st.integers(1, 30), st.integers(1, 70))
def test_random_sampler_visits_all_before_one_twice(n, num_samples):
    drawn = list(RandomSampler(range(n), num_samples=num_samples))
    assert len(drawn) == num_samples
    for start in range(0, num_samples, n):
        part = drawn[start : start + n]
        assert len(set(part)) == len(part) and set(part) <= set(range(n))


def test_random_sampler_with_replacement_draws_evenly():
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=5000))
    counts = np.bincount(drawn, minlength=5)
    assert len(drawn) == 5000 and np.abs(counts - 1000).max() < 150  # five standard deviations


def test_samplers_follow_their_generator():
    for make in (
        lambda g: RandomSampler(range(20), generator=g),
        lambda g: SubsetRandomSampler(list(range(50, 70)), generator=g),
        lambda g: WeightedRandomSampler([1.0] * 20, 20, generator=g),
    ):
        one, two = (make(minidl.Generator().manual_seed(3)) for _ in range(2))
        first = list(one)
        assert first == list(two) and len(one) == 20
        assert first != list(one), "the second pass has a new order"


def test_weighted_sampler_draws_by_weight():
    drawn = np.bincount(list(WeightedRandomSampler([0, 3, 1], 4000)), minlength=3)
    assert drawn[0] == 0 and abs(drawn[1] - 3000) < 150
    assert sorted(WeightedRandomSampler([1, 1, 1], 3, replacement=False)) == [0, 1, 2]


@given(st.integers(0, 25), st.integers(1, 8), st.booleans())
def test_batch_sampler_has_the_length_it_says(n, batch_size, drop_last):
    sampler = BatchSampler(SequentialSampler(range(n)), batch_size, drop_last)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    kept = n - n % batch_size if drop_last else n
    assert list(itertools.chain(*batches)) == list(range(kept))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomSampler([]),
        lambda: RandomSampler([1], num_samples=0),
        lambda: WeightedRandomSampler([1], 0),
        lambda: WeightedRandomSampler([[1]], 1),
        lambda: BatchSampler([1], 0, False),
        lambda: BatchSampler([1], True, False),
        lambda: BatchSampler([1], 2, 1),
    ],
)
def test_samplers_refuse_senseless_arguments(make):
    with pytest.raises(ValueError):
        make()


# -- collation


def test_collate_stacks_by_kind():
    Point = collections.namedtuple("Point", "x y")
    samples = [
        {
            "t": minidl.full((2,), float(i)),
            "a": np.full(2, i, np.int16),
            "i": i,
            "f": i / 2,
            "b": i > 0,
            "s": str(i),
            "n": np.float32(i),
            "p": Point(i, -i),
            "l": [i, i + 1],
        }
        for i in range(3)
    ]
    batch = default_collate(samples)
    assert batch["t"].tolist() == [[0, 0], [1, 1], [2, 2]] and batch["t"].dtype == minidl.float32
    assert batch["a"].shape == (3, 2) and batch["a"].dtype == minidl.int16
    assert batch["i"].tolist() == [0, 1, 2] and batch["i"].dtype == minidl.int64
    assert batch["f"].tolist() == [0, 0.5, 1] and batch["f"].dtype == minidl.float64
    assert batch["b"].tolist() == [False, True, True] and batch["b"].dtype == minidl.bool
    assert batch["s"] == ["0", "1", "2"]
    assert batch["n"].dtype == minidl.float32
    assert type(batch["p"]).__name__ == "Point" and batch["p"].y.tolist() == [0, -1, -2]
    assert [part.tolist() for part in batch["l"]] == [[0, 1, 2], [1, 2, 3]]


def test_collate_refuses_what_makes_no_batch():
    with pytest.raises(ShapeError, match="stack"):
        default_collate([minidl.zeros(2), minidl.zeros(3)])
    with pytest.raises(RuntimeError, match="equal length"):
        default_collate([[1, 2], [1]])
    with pytest.raises(TypeError, match="object"):
        default_collate([object()])


def test_columns_are_a_sequence_of_samples():
    columns = Columns(minidl.arange(4), ["a", "b", "c", "d"])
    assert len(columns) == 4 and columns[-1][1] == "d" and [s[1] for s in columns[1:3]] == ["b", "c"]
    assert [(x.item(), y) for x, y in columns] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    with pytest.raises(IndexError):
        columns[4]
    with pytest.raises(ValueError, match="one length"):
        Columns([1], [1, 2])
    whole, one_by_one = default_collate(columns), default_collate(list(columns))
    assert whole[0].tolist() == one_by_one[0].tolist() and whole[1] == list(one_by_one[1])


def test_convert_keeps_the_structure():
    out = default_convert({"a": np.arange(3), "b": (np.float64(2), "text"), "c": np.zeros((2, 3)).T})
    assert out["a"].dtype == minidl.int64 and out["b"][0].dtype == minidl.float64 and out["b"][1] == "text"
    assert out["c"].shape == (3, 2)


# -- the loader


@given(st.integers(1, 30), st.integers(1, 8), st.booleans(), st.sampled_from([0, 2]))
def test_an_epoch_is_every_sample_once(n, batch_size, drop_last, num_workers):
    loader = DataLoader(TensorDataset(minidl.arange(n)), batch_size, shuffle=True, drop_last=drop_last, num_workers=num_workers)
    batches = [x.tolist() for (x,) in loader]
    assert len(batches) == len(loader)
    seen = list(itertools.chain(*batches))
    assert len(set(seen)) == len(seen) == (n - n % batch_size if drop_last else n)
    assert all(len(b) == batch_size for b in batches[:-1])


def test_every_epoch_has_a_new_order_and_the_seed_decides_it():
    data = Noisy(40)
    loader = DataLoader(data, 8, shuffle=True, generator=minidl.Generator().manual_seed(5))
    first, second = flat(loader), flat(loader)
    assert first != second
    again = DataLoader(data, 8, shuffle=True, generator=minidl.Generator().manual_seed(5))
    assert [flat(again), flat(again)] == [first, second]
    minidl.manual_seed(7)
    by_default = flat(DataLoader(data, 8, shuffle=True))
    minidl.manual_seed(7)
    assert flat(DataLoader(data, 8, shuffle=True)) == by_default


def test_without_a_gpu_nothing_is_pinned_and_that_is_said(monkeypatch):
    monkeypatch.setattr("minidl.utils.data.dataloader.gpu_is_available", lambda: False)
    loader = DataLoader([1.0, 2.0], 2, pin_memory=True)
    for _ in range(2):
        with pytest.warns(UserWarning, match="pin_memory=True, but there is no GPU"):
            (batch,) = loader
        assert batch.tolist() == [1, 2] and not batch.is_pinned()


@pytest.mark.parametrize("num_workers", [1, 2, 5])
@pytest.mark.parametrize("collate_fn", [None, lambda samples: (minidl.tensor([s[0] for s in samples]), minidl.rand(2))])
def test_workers_change_nothing(num_workers, collate_fn):
    def epochs(num_workers, slow):
        generator = minidl.Generator().manual_seed(1)
        loader = DataLoader(
            Noisy(60, slow), 7, shuffle=True, num_workers=num_workers, generator=generator, collate_fn=collate_fn
        )
        return [flat(loader) for _ in range(2)]

    assert epochs(num_workers, 0.001) == epochs(0, 0)
    assert not loader_threads()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_two_batches_have_the_same_random_numbers(num_workers):
    loader = DataLoader(Noisy(40), 4, num_workers=num_workers)
    drawn = [number for _ in range(2) for _, noise in loader for number in noise.flatten().tolist()]
    assert len(set(drawn)) == len(drawn) == 2 * 40 * 3


def test_what_is_drawn_in_the_loop_does_not_change_the_batches():
    def run(draws, num_workers):
        minidl.manual_seed(3)
        out = []
        for index, noise in DataLoader(Noisy(30), 5, shuffle=True, num_workers=num_workers):
            minidl.rand(draws)
            out.append((index.tolist(), noise.tolist()))
        return out

    assert run(0, 0) == run(7, 0) == run(0, 2) == run(7, 2)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_iterators_at_once(num_workers):
    loader = DataLoader(Noisy(20), 4, shuffle=True, num_workers=num_workers)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader)]
    for k in (0, 1):
        assert sorted(itertools.chain(*(pair[k] for pair in pairs))) == list(range(20))
    assert [a for a, _ in pairs] != [b for _, b in pairs]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_an_error_surfaces_in_the_loop_with_its_traceback(num_workers):
    seen = []
    with pytest.raises(KeyError, match="sample thirteen") as caught:
        for index, _ in DataLoader(Faulty(40), 4, num_workers=num_workers):
            seen.extend(index.tolist())
    assert seen == list(range(12)), "the batches before it have come"
    assert 'raise KeyError("sample thirteen")' in "".join(traceback.format_exception(caught.value))
    assert not loader_threads(), "although the traceback is still held"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_stop_iteration_in_a_dataset_does_not_end_the_loop_quietly(num_workers):
    class Stopping(Noisy):
        def __getitem__(self, index):
            raise StopIteration

    with pytest.raises(RuntimeError):
        list(DataLoader(Stopping(4), num_workers=num_workers))


def leave_by_break(loader):
    for _ in loader:
        break


def leave_by_exception(loader):
    with pytest.raises(ZeroDivisionError):
        for _ in loader:
            raise ZeroDivisionError


def leave_by_interrupt(loader):
    try:
        for _ in loader:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass


def leave_by_forgetting(loader):
    iterator = iter(loader)
    next(iterator)
    assert loader_threads()
    del iterator


def leave_in_a_cycle(loader):
    cycle = [iter(loader)]
    next(cycle[0])
    cycle.append(cycle)
    assert loader_threads()
    del cycle
    gc.collect()


def leave_before_the_start(loader):
    iter(loader)


@pytest.mark.parametrize(
    "leave",
    [leave_by_break, leave_by_exception, leave_by_interrupt, leave_by_forgetting, leave_in_a_cycle, leave_before_the_start],
)
def test_no_thread_is_left_behind(leave):
    leave(DataLoader(Noisy(1000, 0.001), 4, num_workers=3, prefetch_factor=4))
    assert not loader_threads()


def test_what_was_planned_is_not_read_after_the_loop_is_left():
    read = []

    class Watched(Noisy):
        def __getitem__(self, index):
            read.append(index)
            time.sleep(0.01)
            return index

    leave_by_break(DataLoader(Watched(100), num_workers=1, prefetch_factor=50))
    assert len(read) < 10


def test_collected_in_a_worker_it_does_not_wait_for_itself(monkeypatch):
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: errors.append(caught.exc_value))

    class Collecting(Noisy):
        def __getitem__(self, index):
            time.sleep(0.01)
            gc.collect()
            return super().__getitem__(index)

    gc.disable()
    try:
        cycle = [iter(DataLoader(Collecting(100), num_workers=1, prefetch_factor=20))]
        next(cycle[0])
        cycle.append(cycle)
        del cycle  # now only a worker collects it
        deadline = time.monotonic() + 10
        while loader_threads() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gc.enable()
    assert not loader_threads() and not errors


def test_batches_are_prepared_ahead_but_not_too_far():
    read, both = [], threading.Barrier(2, timeout=10)

    class Watched(Noisy):
        def __getitem__(self, index):
            read.append(index)
            if index < 2:
                both.wait()  # passes only if two threads are here at once
            return index

    iterator = iter(DataLoader(Watched(100), num_workers=2, prefetch_factor=3))
    next(iterator)
    time.sleep(0.1)
    assert sorted(read) == list(range(7)), "two times three under way, and the one taken"


def test_timeout():
    class Stuck(Noisy):
        def __getitem__(self, index):
            release.wait(10)

    release = threading.Event()
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"timed out.*0\.05 seconds"):
        next(iter(DataLoader(Stuck(2), num_workers=1, timeout=0.05)))
    assert time.monotonic() - started < 5, "it does not wait for what hangs"
    release.set()
    assert len(list(DataLoader(Noisy(4), num_workers=1, timeout=5))) == 4


def test_worker_init_fn():
    started = []
    list(DataLoader(Noisy(50, 0.002), num_workers=2, worker_init_fn=lambda i: started.append((i, threading.get_ident()))))
    assert sorted(i for i, _ in started) == [0, 1] and len({ident for _, ident in started}) == 2

    def broken(worker):
        raise OSError("no camera")

    with pytest.raises(OSError, match="no camera"):
        list(DataLoader(Noisy(5), num_workers=1, worker_init_fn=broken))


def test_samplers_batch_samplers_and_no_batches():
    data = TensorDataset(minidl.arange(6))
    assert [x.tolist() for (x,) in DataLoader(data, 2, sampler=[5, 0, 3])] == [[5, 0], [3]]
    loader = DataLoader(data, batch_sampler=[[1], [2, 3, 4]])
    assert [x.tolist() for (x,) in loader] == [[1], [2, 3, 4]] and len(loader) == 2 and loader.batch_size is None
    single = DataLoader([np.arange(2), np.arange(2, 4)], batch_size=None)
    assert [x.tolist() for x in single] == [[0, 1], [2, 3]] and len(single) == 2
    assert list(DataLoader(data, 4, collate_fn=len)) == [4, 2]
    endless = DataLoader(range(3), 2, sampler=itertools.cycle([0, 1, 2]))
    assert [x.tolist() for x in itertools.islice(endless, 3)] == [[0, 1], [2, 0], [1, 2]]


@pytest.mark.parametrize(
    "error, options, word",
    [
        (ValueError, {"num_workers": -1}, "num_workers"),
        (ValueError, {"timeout": -1}, "timeout"),
        (ValueError, {"prefetch_factor": 2}, "prefetch_factor"),
        (ValueError, {"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor"),
        (ValueError, {"persistent_workers": True}, "persistent_workers"),
        (NotImplementedError, {"multiprocessing_context": "fork", "num_workers": 1}, "multiprocessing_context"),
        (ValueError, {"shuffle": "yes"}, "shuffle"),
        (ValueError, {"shuffle": True, "sampler": [0]}, "sampler"),
        (ValueError, {"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler"),
        (ValueError, {"batch_sampler": [[0]], "drop_last": True}, "batch_sampler"),
        (ValueError, {"batch_size": None, "drop_last": True}, "drop_last"),
        (ValueError, {"batch_size": 0}, "batch_size"),
        (TypeError, {"generator": 5}, "generator"),
        (TypeError, {"dataset": iter([1])}, "__getitem__"),
        (ValueError, {"dataset": [], "shuffle": True}, "empty"),
    ],
)
def test_the_loader_refuses_what_makes_no_sense(error, options, word):
    with pytest.raises(error, match=word):
        DataLoader(**{"dataset": range(4), **options})


def test_what_cannot_change_says_so():
    loader = DataLoader(range(4), 2)
    with pytest.raises(ValueError, match="batch_size"):
        loader.batch_size = 3
    loader.num_workers = 1
    assert [x.tolist() for x in loader] == [[0, 1], [2, 3]]


# -- position


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 6, 9])
def test_a_loader_goes_on_where_another_stopped(num_workers, own, stop):
    def make(seed):
        minidl.manual_seed(seed)
        return DataLoader(
            Noisy(20), 4, shuffle=True, num_workers=num_workers, generator=minidl.Generator().manual_seed(seed) if own else None
        )

    def three_epochs(loader):
        for _ in range(3):
            yield from loader

    loader = make(1)
    batches = three_epochs(loader)
    for _ in range(stop):
        next(batches)
    state, random_state = loader.state_dict(), minidl.get_rng_state()
    rest = [(i.tolist(), x.tolist()) for i, x in batches]

    other = make(2)
    other.load_state_dict(state)
    minidl.set_rng_state(random_state)
    assert [(i.tolist(), x.tolist()) for i, x in three_epochs(other)][: len(rest)] == rest


@pytest.mark.parametrize("num_workers", [0, 2])
def test_after_an_epoch_the_state_is_the_start_of_the_next(num_workers):
    make = lambda seed: DataLoader(Noisy(20), 4, True, num_workers=num_workers, generator=minidl.Generator().manual_seed(seed))  # noqa: E731
    one, other = make(1), make(2)
    flat(one)
    other.load_state_dict(one.state_dict())
    assert flat(other) == flat(one)


def test_states_that_do_not_fit_are_refused():
    with_own, without = DataLoader(range(4), generator=minidl.Generator()), DataLoader(range(4))
    with pytest.raises(ValueError, match="a generator, this one has no"):
        without.load_state_dict(with_own.state_dict())
    with pytest.raises(ValueError, match="no generator, this one has a"):
        with_own.load_state_dict(without.state_dict())
    for wrong in ({"epoch": 3}, 5):
        with pytest.raises(ValueError, match="wants seed, batches, generator and order, got .*[35]"):
            without.load_state_dict(wrong)
    for other, said in (
        (DataLoader(range(5)), "samples 5, not 4"),
        (DataLoader(range(4), 2, drop_last=True), "batch_size 2, not 1, drop_last True, not False"),
        (DataLoader(range(4), shuffle=True), "sampler RandomSampler, not SequentialSampler"),
        (DataLoader(range(4), batch_size=None), "batch_size None, not 1, batch_sampler NoneType, not BatchSampler"),
    ):
        with pytest.raises(ValueError, match=f"DataLoader.load_state_dict: the state is of another loader, with {said}$"):
            without.load_state_dict(other.state_dict())
    sampler = RandomSampler(range(4), generator=minidl.Generator())
    for loader in (DataLoader(range(4), sampler=sampler), DataLoader(range(4), batch_sampler=BatchSampler(sampler, 2, False))):
        with pytest.raises(RuntimeError, match="generator of its own"):
            loader.state_dict()
