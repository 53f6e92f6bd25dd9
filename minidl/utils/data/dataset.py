"""Data sets: anything with ``__getitem__`` and ``__len__``, and ways to cut and join them.

A data set that reads many samples at once better than one by one has ``__getitems__(indices)`` too, which returns a sequence of
samples (see `Columns`).
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic

from ..._tensor import Tensor
from ...functions.sampling import randperm
from ...random import Generator
from .collate import Columns

if TYPE_CHECKING:  # with a default, so that plain ``Dataset`` may be written too
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by number: a subclass has ``__getitem__(index)``, and ``__len__()``.

    ``Dataset[tuple[Tensor, Tensor]]`` says to type checkers what a sample is; so does ``Sampler[int]`` of numbers.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__}: a Dataset must have a method __getitem__(index)")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])


def read_samples(dataset: Any, indices: Sequence[Any]) -> Sequence[Any]:
    """The samples of these numbers: at once where the data set can, else one by one."""
    if callable(getattr(dataset, "__getitems__", None)):
        return dataset.__getitems__(indices)
    return [dataset[i] for i in indices]


class TensorDataset(Dataset):
    """Sample ``i`` is the tuple of ``tensor[i]`` for each of the ``tensors``.

    Raises
    ------
    ValueError
        If the tensors differ in the size of their first dimension.
    """

    def __init__(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"TensorDataset: expected Tensors, got {type(tensor).__name__}; see minidl.from_numpy")
        if len({tensor.size(0) for tensor in tensors}) != 1:
            raise ValueError(f"TensorDataset: tensors of different length: shapes {[tensor.shape for tensor in tensors]}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> Columns:
        return Columns(*(tensor[list(indices)] for tensor in self.tensors))

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The samples of ``dataset`` whose numbers are in ``indices``, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        return read_samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """The samples of several data sets, one set after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: wants at least one data set")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: there is no sample {index} among {len(self)}")
        index %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """``dataset`` cut at random into parts that do not overlap.

    Parameters
    ----------
    lengths
        The sizes of the parts; or fractions that add up to 1 (what rounding leaves over goes to the first parts, one each).
    generator
        Where the order is drawn from.

    Raises
    ------
    ValueError
        If the sizes do not add up to the size of the data set.
    """
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        if not all(0 <= fraction <= 1 for fraction in lengths):
            raise ValueError(f"random_split: fractions must lie between 0 and 1, got {list(lengths)}")
        sizes = [math.floor(len(dataset) * fraction) for fraction in lengths]
        for i in range(len(dataset) - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [int(n) for n in lengths]
    if sum(sizes) != len(dataset) or (sizes != list(lengths) and sum(lengths) > 1):
        raise ValueError(f"random_split: lengths {list(lengths)} do not add up to the {len(dataset)} samples of the data set")
    order = randperm(len(dataset), generator=generator, device="cpu").tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes)]
