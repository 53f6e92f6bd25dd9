"""Sequences of different lengths in one batch: padded to the longest, or packed, step by step, without the padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ... import dtypes
from ...autograd.tape import TensorBase
from ...functions.creation import as_tensor, full
from ...functions.selecting import index_select
from ...ops.layout import cat
from ...shapes import ShapeError


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Packed):
    """Sequences by steps: first the first elements of all of them, the longest sequence's first, then all second ones ...

    ``data`` is (R, ...), all elements; ``batch_sizes`` (T,) says how many sequences have an element at each step.
    ``sorted_indices`` (N,) brought the sequences into the order of their lengths, and ``unsorted_indices`` undoes it; both are
    None if they came in that order. Made by `pack_padded_sequence` and `pack_sequence`; also of a pair (data, batch_sizes).
    """

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise TypeError(f"PackedSequence: without batch_sizes data must be a pair, got {type(data).__name__}")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **options: Any) -> PackedSequence:
        """With its data in another dtype or on another device, itself if they are so already; see `Tensor.to`."""
        data = self.data.to(*args, **options)
        if data is self.data:
            return self
        orders = (None if order is None else order.to(data.device) for order in self[2:])
        return type(self)(data, self.batch_sizes, *orders)

    def cpu(self) -> PackedSequence:
        """With its data in this machine's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> PackedSequence:
        """With its data in a GPU's memory."""
        return self.to("cuda" if device is None else device)

    def double(self) -> PackedSequence:
        """With its data as float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """With its data as float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """With its data as float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """With its data as int64."""
        return self.to(dtypes.int64)


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes another; None for None."""
    return None if permutation is None else permutation.argsort()


def sizes_of(sequence: Any, op: str) -> tuple[int, ...]:
    """``batch_sizes`` as integers, once it is known that they never grow, and are as many in all as there are data."""
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{op}: wants a PackedSequence, got {type(sequence).__name__}")
    sizes, rows = as_tensor(sequence.batch_sizes).tolist(), len(sequence.data)
    if not sizes or sorted(sizes, reverse=True) != sizes or sizes[-1] < 1 or sum(sizes) != rows:
        raise ShapeError(
            f"{op}: batch_sizes must be at least 1, never grow, and be {rows} in all, the rows of data; got {sizes}"
        )
    return tuple(sizes)


def _lengths(lengths: Any, op: str) -> np.ndarray[Any, Any]:
    """Lengths given as a list or tensor, as an array."""
    array = np.asarray(lengths.cpu().numpy() if isinstance(lengths, TensorBase) else lengths)  # type: ignore[attr-defined]
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or array.min() < 1:
        raise ShapeError(f"{op}: lengths must be whole numbers of at least 1, one for each sequence, got {lengths}")
    return array


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """A padded batch of sequences without the padding.

    Shapes: (T, N, ...), or (N, T, ...) if ``batch_first``, and N ``lengths``. They must fall unless ``enforce_sorted`` is off;
    then the sequences are brought into that order.
    """
    array = _lengths(lengths, "pack_padded_sequence")
    if len(input.shape) < 2:
        raise ShapeError(f"pack_padded_sequence: wants input (T, N, ...), got shape {tuple(input.shape)}")
    steps = input.transpose(0, 1) if batch_first else input
    if len(array) != steps.shape[1] or array.max() > steps.shape[0]:
        raise ShapeError(
            f"pack_padded_sequence: {len(array)} lengths of up to {array.max()} do not fit input of shape {tuple(input.shape)}"
        )
    order = None
    if not enforce_sorted:
        sorting = np.argsort(-array, kind="stable")
        order = as_tensor(sorting, device=input.device)
        array, steps = array[sorting], index_select(steps, 1, order)
    elif (np.diff(array) > 0).any():
        raise RuntimeError("pack_padded_sequence: lengths must fall; pass enforce_sorted=False to have the sequences sorted")
    running = np.arange(array.max())[:, None] < array  # (T, N)
    rows = steps.reshape(steps.shape[0] * steps.shape[1], *steps.shape[2:])
    data = index_select(rows, 0, as_tensor(np.flatnonzero(running), device=input.device))
    return PackedSequence(data, as_tensor(running.sum(1), device="cpu"), order, invert_permutation(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Any]:
    """The padded batch, and the lengths: what `pack_padded_sequence` was given. ``total_length`` says T, if not the longest."""
    sizes = np.array(sizes_of(sequence, "pad_packed_sequence"))
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ValueError(f"pad_packed_sequence: total_length must be at least the longest length, {len(sizes)}, got {steps}")
    n, data = int(sizes[0]), sequence.data
    place = np.full((steps, n), len(data))  # the row of each element; the padding is one row more, below all
    running = np.arange(n) < sizes[:, None]
    place[: len(sizes)][running] = np.arange(len(data))
    lengths, device = as_tensor(running.sum(0), device="cpu"), data.device
    padding = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=device)
    rows = as_tensor(place.reshape(-1), device=device)
    padded = index_select(cat([data, padding], 0), 0, rows).reshape(steps, n, *data.shape[1:])
    if sequence.unsorted_indices is not None:
        padded = index_select(padded, 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right") -> Any:
    """Sequences (T_n, ...) as one batch (T, N, ...), T the longest, or (N, T, ...) if ``batch_first``; in the first's dtype."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"pad_sequence: padding_side must be 'left' or 'right', got {padding_side!r}")
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: wants several sequences, got {type(sequences).__name__}")
    sequences = list(map(as_tensor, sequences))
    if not sequences or not all(s.shape for s in sequences):
        raise RuntimeError(f"pad_sequence: wants sequences (T, ...), got shapes {[tuple(s.shape) for s in sequences]}")
    first, longest, rows = sequences[0], max(len(s) for s in sequences), []
    for s in sequences:
        if tuple(s.shape[1:]) != tuple(first.shape[1:]):
            raise ShapeError(f"pad_sequence: shapes {tuple(first.shape)} and {tuple(s.shape)} differ after the first dim")
        padding = full((longest - len(s), *s.shape[1:]), padding_value, dtype=first.dtype, device=first.device)
        s = s.to(first.dtype)
        rows.append(cat([s, padding] if padding_side == "right" else [padding, s], 0)[None])
    padded = cat(rows, 0)
    return padded if batch_first else padded.transpose(0, 1)


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (T_n, ...) packed."""
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded batch."""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [sequence[:n] for sequence, n in zip(batch, _lengths(lengths, "unpad_sequence").tolist())]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences of a packed one."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
