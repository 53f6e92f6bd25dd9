"""From samples to a batch: a list of (image, label) pairs becomes a tensor of images and a tensor of labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from ..._tensor import Tensor
from ...dtypes import float64
from ...functions.creation import from_numpy, tensor
from ...functions.joining import stack


class Columns(Sequence[tuple[Any, ...]]):
    """Samples kept by column: all images in one array, all labels in another. The quick way from a data set to a batch.

    To everybody else it is a sequence of samples, tuples of one element from each column; `default_collate` takes the columns
    as they are. A data set returns it from ``__getitems__``.

    Parameters
    ----------
    *columns
        Tensors, arrays or lists of one length.
    """

    def __init__(self, *columns: Any) -> None:
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"Columns: the columns must be of one length, got {[len(column) for column in columns]}")
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"Columns: there is no sample {index} among {len(self)}")
        return tuple(column[index] for column in self.columns)


def default_convert(data: Any) -> Any:
    """NumPy arrays inside ``data`` turned into tensors; containers kept, and everything else left as it is."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "biuf":
        return from_numpy(np.ascontiguousarray(data).reshape(data.shape))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, (tuple, list)):
        return [default_convert(value) for value in data]
    return data


def pinned(data: Any) -> Any:
    """``data`` with whatever has a ``pin_memory`` pinned by it: tensors, and classes of one's own; containers are kept."""
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, MutableMapping):
        copied = copy.copy(data)
        copied.update({key: pinned(value) for key, value in data.items()})
        return copied
    if isinstance(data, Mapping):
        return {key: pinned(value) for key, value in data.items()}
    if isinstance(data, tuple):
        values = map(pinned, data)
        return type(data)(*values) if hasattr(data, "_fields") else type(data)(values)
    if isinstance(data, list):
        return [*map(pinned, data)]
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of a sequence of samples.

    Tensors, arrays and numbers are stacked to tensors with a new first dimension (Python floats in float64, integers in int64);
    tuples and lists give a list with one batch for each place, mappings a dictionary with one for each key; texts stay as they
    are.

    Raises
    ------
    ShapeError
        If tensors of different shapes are to be stacked.
    RuntimeError
        If the samples are sequences of different lengths.
    TypeError
        If the samples are of a type that makes no batch.
    """
    if isinstance(batch, Columns):
        return [default_convert(c) if isinstance(c, (Tensor, np.ndarray)) else default_collate(c) for c in batch.columns]
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch))
    if isinstance(first, np.ndarray) and first.ndim:
        return stack([from_numpy(np.ascontiguousarray(array)) for array in batch])
    if isinstance(first, float) and not isinstance(first, np.generic):
        return tensor(list(batch), dtype=float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, (np.generic, np.ndarray)):
        return tensor(np.asarray(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, Sequence):
        if len({len(sample) for sample in batch}) != 1:
            raise RuntimeError(
                f"default_collate: samples of one batch must be of equal length, got {sorted({len(s) for s in batch})}"
            )
        parts = [default_collate(part) for part in zip(*batch)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(
        f"default_collate: a batch must hold tensors, arrays, numbers, texts, mappings or sequences, found "
        f"{type(first).__name__}; turn it into one of these in the data set (a picture by ToTensor()), or give a collate_fn"
    )
