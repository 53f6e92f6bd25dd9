"""Recurrent networks: layers that run over whole sequences, and cells that take one step."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..dtypes import check_tensor
from ..functions.creation import empty, zeros
from ..functions.joining import stack
from ..functions.selecting import index_select
from ..ops.layout import cat, transpose
from ..sequences import recurrent
from ..shapes import ShapeError
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, sizes_of


class _Recurrent(Module):
    """What all recurrent layers share: their weights, and how these are drawn."""

    n_gates: int

    def _weights(self, suffix: str, inputs: int, hidden: int, projected: int, bias: bool, device: Any, dtype: Any) -> None:
        """Make the weights of one cell, whose state has the size ``projected``, or ``hidden`` where that is 0."""
        rows = self.n_gates * hidden
        shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, projected or hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
        if projected:
            shapes["weight_hr"] = (projected, hidden)
        for name, shape in shapes.items():
            made = None if name.startswith("bias") and not bias else Parameter(empty(shape, device=device, dtype=dtype))
            if made is not None or suffix == "":
                self.register_parameter(name + suffix, made)

    hidden_size: int

    def reset_parameters(self) -> None:
        """Draw new weights: evenly between ``±1 / sqrt(hidden_size)``."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)


class RNNBase(_Recurrent):
    """A cell, or several one above the other, run over sequences; the base of `RNN`, `LSTM` and `GRU`.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H: the features of the input and of the state.
    num_layers : int
        How many: the states of one are the input of the next.
    bias : bool
        Whether the cells have biases.
    batch_first : bool
        Whether input and output are (N, T, ...) instead of (T, N, ...); the states are not concerned.
    dropout : float
        Dropout on the outputs of all layers but the last, in training.
    bidirectional : bool
        Whether a second cell runs from the end to the beginning; the outputs of both stand side by side.
    proj_size : int
        For an LSTM: P, the size to which the hidden state is projected (0: not at all).
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        modes = [kind.upper() for kind in recurrent.KINDS]
        if mode not in modes:
            raise ValueError(f"{name}: mode must be one of {', '.join(modes)}, got {mode!r}")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout must be a number between 0 and 1, got {dropout!r}")
        for what, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name}: {what} must be True or False, got {flag!r}")
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers, "proj_size": proj_size}
        for what, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name}: {what} must be a whole number, got {size!r}")
            if size < (what != "proj_size"):
                raise ValueError(f"{name}: {what} must be at least {int(what != 'proj_size')}, got {size}")
        if proj_size and mode != "LSTM":
            raise ValueError(f"{name}: proj_size is for LSTM only, got {proj_size}")
        if proj_size >= hidden_size:
            raise ValueError(f"{name}: proj_size {proj_size} must be smaller than hidden_size {hidden_size}")
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout={dropout} comes after all layers but the last, and there is only one", stacklevel=3)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.n_gates = recurrent.KINDS[mode.lower()].n_gates
        self._suffixes = [f"_l{layer}{way}" for layer in range(num_layers) for way in ("", "_reverse")[: 1 + bidirectional]]
        size = input_size
        for i, suffix in enumerate(self._suffixes):
            if i == 1 + bidirectional:
                size = (proj_size or hidden_size) * (1 + bidirectional)
            self._weights(suffix, size, hidden_size, proj_size, bias, device, dtype)
        self.reset_parameters()

    @property
    def all_weights(self) -> list[list[Any]]:
        """The weights of every cell."""
        return [[w for w in self._cell(suffix) if w is not None] for suffix in self._suffixes]

    def _cell(self, suffix: str) -> tuple[Any, ...]:
        """``w_ih, w_hh, b_ih, b_hh, w_hr`` of a cell."""
        names = "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"
        return tuple(getattr(self, name + suffix, None) for name in names)

    def flatten_parameters(self) -> None:
        """Nothing: the weights need not lie side by side here. PyTorch's programs call it."""

    def _check(self, shape: tuple[int, ...], dtype: Any) -> None:
        name, wanted = self._get_name(), self.weight_ih_l0.dtype
        if shape[-1] != self.input_size:
            raise ShapeError(f"{name}: wants {self.input_size} features, input_size, got input of shape {shape}")
        if dtype != wanted:
            raise ValueError(f"{name}: input is {dtype} and the weights are {wanted}; write input.to({wanted})")

    def _states(self, hx: Any, rows: Any, n: int, alone: bool, order: Any) -> tuple[Any, Any]:
        """The states to begin with, hidden ones and cells (or None), for n sequences in this order."""
        name, lstm = self._get_name(), self.mode == "LSTM"
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 1 + lstm]
        if lstm and hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"{name}: hx must be a pair of hidden states and cell states, got {type(hx).__name__}")
        if not lstm and isinstance(hx, (tuple, list)):
            raise TypeError(f"{name}: hx must be one tensor, the hidden states, got {type(hx).__name__}")
        if hx is None:
            states = [zeros(len(self._suffixes), n, size, dtype=rows.dtype, device=rows.device) for size in sizes]
        else:
            states = list(hx) if lstm else [hx]
            for what, x, size in zip(("hx", "the cell state in hx"), states, sizes):
                wanted = (len(self._suffixes), size) if alone else (len(self._suffixes), n, size)
                check_tensor(name, what, x)
                if tuple(x.shape) != wanted:
                    raise ShapeError(f"{name}: {what} must have shape {wanted}, got {tuple(x.shape)}")
                if x.dtype != rows.dtype:
                    raise RuntimeError(f"{name}: {what} is {x.dtype} and the input is {rows.dtype}; they must be the same")
            if alone:
                states = [x[:, None] for x in states]
            if order is not None:
                states = [index_select(x, 1, order) for x in states]
        return states[0], states[1] if lstm else None

    def _run(self, rows: Any, sizes: tuple[int, ...], hidden: Any, cells: Any) -> tuple[Any, ...]:
        """All layers over rows in the order of the steps: the last layer's states, and the last states of all cells."""
        kind, ways, last = self.mode.lower(), 1 + self.bidirectional, []
        for first in range(0, len(self._suffixes), ways):
            if first and self.dropout:
                rows = F.dropout(rows, self.dropout, self.training)
            outs = []
            for i in range(first, first + ways):
                cell, weights = None if cells is None else cells[i], self._cell(self._suffixes[i])
                out, *states = recurrent.sequence(kind, rows, hidden[i], cell, weights, sizes, i > first)
                outs.append(out)
                last.append(states)
            rows = cat(outs, 1) if len(outs) > 1 else outs[0]
        return rows, *(stack(x) if len(x) > 1 else x[0][None] for x in zip(*last) if x[0] is not None)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """The hidden states of the last layer at all steps, and the last states of all cells.

        Shapes: input (T, N, D), (N, T, D) if ``batch_first``, (T, D) for one sequence, or a `PackedSequence`; the states
        (layers * directions, N, H), of an LSTM a pair of them, zeros unless given -> output as the input with
        H * directions for D, and the states. Of a projected LSTM, P takes the place of H in outputs and hidden states.
        """
        packed = isinstance(input, PackedSequence)
        name = self._get_name()
        if packed:
            rows, sizes = input.data, sizes_of(input, name)
            if len(rows.shape) != 2:
                raise ShapeError(f"{name}: wants packed sequences with data (R, D), got shape {tuple(rows.shape)}")
            n = sizes[0]
        else:
            check_tensor(name, "input", input)
            if len(input.shape) not in (2, 3):
                raise ShapeError(f"{name}: wants input (T, N, D) or (T, D), got shape {tuple(input.shape)}")
            alone = len(input.shape) == 2
            steps = input[:, None] if alone else transpose(input, 0, 1) if self.batch_first else input
            t, n, _ = steps.shape
            if not t:
                raise ShapeError(f"{name}: the sequences of input, of shape {tuple(input.shape)}, have no steps")
            rows, sizes = steps.reshape(t * n, steps.shape[2]), (n,) * t
        self._check(tuple((rows if packed else input).shape), rows.dtype)
        lstm = self.mode == "LSTM"
        hidden, cells = self._states(hx, rows, n, not packed and alone, input.sorted_indices if packed else None)
        out, *last = self._run(rows, sizes, hidden, cells)
        if packed:
            if input.unsorted_indices is not None:
                last = [index_select(x, 1, input.unsorted_indices) for x in last]
            result: Any = PackedSequence(out, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        else:
            result = out.reshape(t, n, out.shape[1])
            if alone:
                result, last = result[:, 0], [x[:, 0] for x in last]
            elif self.batch_first:
                result = result.transpose(0, 1)
        return result, tuple(last) if lstm else last[0]

    def extra_repr(self) -> str:
        """The sizes, and whatever is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False}
        return text + "".join(f", {k}={getattr(self, k)}" for k, default in defaults.items() if getattr(self, k) != default)


class RNN(RNNBase):
    """``h = tanh(w_ih @ x + b_ih + w_hh @ h + b_hh)`` at every step, or with relu for tanh.

    The parameters are those of `RNNBase`, and ``nonlinearity``, "tanh" or "relu".

    Source: Elman, Finding Structure in Time, 1990.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", *args: Any, **options: Any
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **options)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: see `minidl.sequences.recurrent.lstm_cell` for the equations, `RNNBase` for the parameters.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, 1997.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__("LSTM", *args, **options)


class GRU(RNNBase):
    """Gated recurrent units: see `minidl.sequences.recurrent.gru_cell` for the equations, `RNNBase` for the parameters.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__("GRU", *args, **options)


class RNNCellBase(_Recurrent):
    """One step of a recurrent network; the base of `RNNCell`, `LSTMCell` and `GRUCell`."""

    kind: str

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias, self.n_gates = input_size, hidden_size, bias, num_chunks
        self._weights("", input_size, hidden_size, 0, bias, device, dtype)
        self.reset_parameters()

    def _step(self, input: Any, states: Any) -> Any:
        """The next states (a pair, or one) after these, also of a single sequence."""
        name = self._get_name()
        for what, x in (("input", input), *(("hx", state) for state in states)):
            check_tensor(name, what, x)
        if len(input.shape) not in (1, 2):
            raise ShapeError(f"{name}: wants input (N, {self.input_size}) or ({self.input_size},), got {tuple(input.shape)}")
        alone = len(input.shape) == 1
        if input.shape[-1] != self.input_size or any(tuple(x.shape) != (*input.shape[:-1], self.hidden_size) for x in states):
            said = ", ".join(str(tuple(x.shape)) for x in states)
            raise ShapeError(
                f"{name}: wants {self.input_size} features, input_size, and as many hx of {self.hidden_size}, "
                f"hidden_size; got input {tuple(input.shape)} and hx {said}"
            )
        if alone:
            input, states = input[None], [x[None] for x in states]
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        out = recurrent.KINDS[self.kind].cell(input, tuple(states) if len(states) > 1 else states[0], *weights)
        if not alone:
            return out
        return tuple(x[0] for x in out) if len(states) > 1 else out[0]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state.

        Shapes: input (N, D) or (D,), hx (N, H) or (H,), zeros unless given -> as hx.
        """
        return self._step(input, (self._zeros(input) if hx is None else hx,))

    def _zeros(self, input: Any) -> Any:
        check_tensor(self._get_name(), "input", input)
        return zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype, device=input.device)

    def extra_repr(self) -> str:
        """The sizes, and whatever is not the default."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of an `RNN`; ``nonlinearity`` is "tanh" or "relu". See `minidl.sequences.recurrent.rnn_tanh_cell`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.kind = f"rnn_{nonlinearity}"
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        """The sizes, and whatever is not the default."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`: see `minidl.sequences.recurrent.lstm_cell`."""

    kind = "lstm"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next hidden and cell state.

        Shapes: input (N, D) or (D,), hx a pair of (N, H) or (H,), zeros unless given -> as hx.
        """
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"LSTMCell: hx must be a pair of hidden state and cell state, got {type(hx).__name__}")
        return self._step(input, (self._zeros(input),) * 2 if hx is None else tuple(hx))


class GRUCell(RNNCellBase):
    """One step of a `GRU`: see `minidl.sequences.recurrent.gru_cell`."""

    kind = "gru"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)
