"""ONNX nodes for recurrent networks and attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sequences import attention, recurrent
from .graph import Graph
from .sizes import Repeated
from .table import entry

# of each cell its ONNX node, and the order in which that wants our gates
CELLS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
}


@entry(recurrent._sequence)
def _sequence(
    g: Graph,
    input: Any,
    hidden: Any,
    cell: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    kind: str,
    sizes: Any,
    reverse: bool,
) -> Any:
    """All states in a row, as the op gives them: those of the steps, the last hidden ones, the last cells."""
    if w_hr is not None:
        raise NotImplementedError("ONNX has no projected LSTM (proj_size)")
    steps, n = (sizes.count, sizes.item) if isinstance(sizes, Repeated) else (len(sizes), sizes[0])
    if not isinstance(sizes, Repeated) and len(set(sizes)) > 1:
        raise NotImplementedError("sequences of different lengths (a PackedSequence) are not supported")
    node, order, how = CELLS[kind]

    def by_gates(w: Any) -> Any:
        """The gates of a weight in ONNX's order."""
        if len(order) == 1:
            return w
        parts = g.add("Split", w, outputs=len(order), axis=0, num_outputs=len(order))
        return g.add("Concat", *(parts[i] for i in order), axis=0)

    def as_first(x: Any) -> Any:
        """With a dimension for the one direction."""
        return g.add("Unsqueeze", x, np.array([0]))

    bias = None if b_ih is None else as_first(g.add("Concat", by_gates(b_ih), by_gates(b_hh), axis=0))
    states = [as_first(x) for x in (hidden, cell) if x is not None]
    found = g.add(
        node,
        g.reshape(input, (steps, n, input.shape[1])),
        as_first(by_gates(w_ih)),
        as_first(by_gates(w_hh)),
        bias,
        None,
        *states,
        outputs=1 + len(states),
        hidden_size=w_hh.shape[1],
        direction="reverse" if reverse else "forward",
        **how,
    )
    return g.add("Concat", *(g.reshape(x, (-1,)) for x in found), axis=0)


@entry(attention._attention)
def _attention(g: Graph, query: Any, key: Any, value: Any, mask: Any, scale: float, causal: bool, p: float) -> Any:
    """The textbook's form, as `attention_weights` has it: a query that may see no key has the weights 0."""
    if p:
        raise NotImplementedError("dropout on the weights is for training")
    turned = g.add("Transpose", key, perm=[0, 1, 3, 2])
    scores = g.add("MatMul", g.add("Mul", query, g.like(scale, query)), turned)
    if causal:
        ones = g.add("Expand", np.int64(1), g.sizes((query.shape[2], key.shape[2])))
        seen: Any = g.cast(g.add("Trilu", ones, upper=0), bool)
    elif mask is None:
        return g.add("MatMul", g.add("Softmax", scores, axis=-1), value)
    elif mask.dtype == bool:
        seen = mask
    else:
        seen, scores = g.add("Greater", mask, g.like(-np.inf, query)), g.add("Add", scores, mask)
    lowest = g.like(np.finfo(query.dtype).min, query)
    weights = g.add("Softmax", g.add("Where", seen, scores, lowest), axis=-1)
    return g.add("MatMul", g.add("Where", seen, weights, g.like(0, query)), value)
