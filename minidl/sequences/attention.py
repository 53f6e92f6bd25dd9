"""Attention: every query takes a mean of the values, weighted by how well it fits their keys.

The textbook's form makes the matrix of all weights, (L, S), which for long sequences is most of the memory. The quick form
makes it for a block of queries at a time, and keeps one number for each query, the logarithm of the sum of its exponentials;
from that the sweep makes the same block of weights again. When the sweep itself is recorded, the textbook's form is
differentiated.

Letters: N examples, H heads, L queries, S keys and values, E features of queries and keys, V of values.
Sources: Vaswani et al., Attention Is All You Need, 2017; for the blocks Rabe and Staats, Self-attention Does Not Need O(n^2)
Memory, 2021, and Dao et al., FlashAttention, 2022.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import differentiable
from ..autograd.sweep import grad
from ..autograd.tape import TensorBase
from ..backend import kernels, xp
from ..functions.shaping import expand, repeat_interleave
from ..ops.elementwise import where
from ..ops.layout import reshape, transpose
from ..ops.linear import matmul
from ..ops.reduce import softmax
from ..random import rng
from ..shapes import ShapeError, broadcast_shapes

BLOCK_BYTES = 1 << 20  # of weights at a time, for each thread: they should stay in its cache
QUERIES = 128  # in a block

# -- the textbook's form


def attention_weights(query: Any, key: Any, mask: Any, scale: float) -> Any:
    """``softmax(query @ key.T * scale)`` over the keys; a query that may see no key has the weights 0.

    Shapes: (..., L, E), (..., S, E), mask broadcast to (..., L, S) -> (..., L, S). A boolean ``mask`` is True where a query may
    look; a floating one is added before the softmax.
    """
    scores = matmul(query * scale, transpose(key, -1, -2))
    if mask is None:
        return softmax(scores, -1)
    array = getattr(mask, "_array", mask)
    seen = array if array.dtype == bool else array > -math.inf
    scores = where(mask, scores, -math.inf) if array.dtype == bool else scores + mask
    blind = ~seen.any(-1, keepdims=True)  # for these the softmax would be 0 / 0
    return where(blind, 0.0, softmax(where(blind, 0.0, scores), -1)) if blind.any() else softmax(scores, -1)


def _by_weights(query: Any, key: Any, value: Any, mask: Any, scale: float, drops: Any = None) -> Any:
    weights = attention_weights(query, key, mask, scale)
    return matmul(weights if drops is None else weights * drops, value)


# -- in blocks


class _Blocks:
    """How the work is cut: groups of examples and heads that the threads share, and in each one block of queries at a time."""

    def __init__(self, query: Any, key: Any, causal: bool, p: float, seed: int) -> None:
        (n, h, self.n_queries, _), self.n_keys = query.shape, key.shape[2]
        self.shape, self.dtype, self.causal, self.p, self.seed = (
            (n, h, self.n_queries, self.n_keys),
            query.dtype,
            causal,
            p,
            seed,
        )
        rows = max(1, min(self.n_queries, QUERIES))
        at_once = max(1, BLOCK_BYTES // max(rows * self.n_keys * query.itemsize, 1))  # pairs of example and head
        examples, heads = (at_once // h, h) if at_once >= h else (1, at_once)
        self.groups = [(slice(i, i + examples), slice(j, j + heads)) for i in range(0, n, examples) for j in range(0, h, heads)]
        self.queries = [slice(i, min(i + rows, self.n_queries)) for i in range(0, self.n_queries, rows)]

    def keys(self, queries: slice) -> slice:
        """The keys that some of these queries may see."""
        return slice(0, min(queries.stop, self.n_keys) if self.causal else self.n_keys)

    def scores(self, query: Any, key: Any, mask: Any, group: Any, queries: slice) -> Any:
        """How well these queries, which are scaled already, fit the keys; -inf where they may not look."""
        keys = self.keys(queries)
        scores = query @ key[group][:, :, keys].swapaxes(-1, -2)
        if self.causal:
            later = np.arange(queries.start, keys.stop) > np.arange(queries.start, queries.stop)[:, None]
            scores[..., queries.start :] += xp(scores).asarray(np.where(later, -math.inf, 0), scores.dtype)
        if mask is not None:
            block = mask[group][:, :, queries, keys]
            if block.dtype == bool:
                scores[~block] = -math.inf
            else:
                scores += block
        return scores

    def drops(self, group: Any, queries: slice) -> Any:
        """Dropout's factors for a block of weights, the same whenever they are asked for."""
        n, h, q, k = (len(range(size)[s]) for size, s in zip(self.shape, (*group, queries, self.keys(queries))))
        bits = np.random.SFC64((self.seed, group[0].start, group[1].start, queries.start))
        kept = np.random.Generator(bits).random((n, h, q, k), "float32") >= self.p
        return (kept * (1 / (1 - self.p) if self.p < 1 else 0.0)).astype(self.dtype)

    def all_drops(self) -> Any:
        """Dropout's factors for all weights."""
        factors = np.zeros(self.shape, self.dtype)
        for group in self.groups:
            for queries in self.queries:
                factors[(*group, queries, self.keys(queries))] = self.drops(group, queries)
        return factors

    def share(self, loops: Any, function: Any, features: int) -> None:
        """Call ``function(group)`` for all groups."""

        def run(part: slice) -> None:
            for group in self.groups[part]:
                function(group)

        loops.share(run, len(self.groups), math.prod(self.shape) * features)


@differentiable(keeps="lse seed", promotes="same")
def _attention(
    query: Any, key: Any, value: Any, mask: Any = None, scale: float = 1.0, causal: bool = False, p: float = 0.0
) -> tuple[Any, Any, int]:
    m, seed = xp(query), int(rng(None).integers(1 << 63)) if p else 0
    blocks = _Blocks(query, key, causal, p, seed)
    n, h, length, _ = query.shape
    out = m.empty((n, length, h, value.shape[3]), query.dtype).swapaxes(1, 2)  # as the heads are put together afterwards
    lse = m.empty((n, h, length, 1), query.dtype)

    def run(group: Any) -> None:
        for queries in blocks.queries:
            w = blocks.scores(query[group][:, :, queries] * query.dtype.type(scale), key, mask, group, queries)
            top = w.max(-1, keepdims=True)
            top[top == -math.inf] = 0  # sees no key
            w -= top
            m.exp(w, out=w)
            total = w.sum(-1, keepdims=True)
            total[total == 0] = 1
            if p:
                w *= blocks.drops(group, queries)
            lse[group][:, :, queries] = top + m.log(total)
            m.divide(w @ value[group][:, :, blocks.keys(queries)], total, out=out[group][:, :, queries])

    blocks.share(kernels(query), run, query.shape[3] + value.shape[3])
    return out, lse, seed


def _attention_rule(
    g: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, lse: Any, seed: int, scale: float, causal: bool, p: float
) -> Any:
    inputs = query, key, value
    if any(isinstance(x, TensorBase) for x in (g, *inputs)):  # the sweep is recorded
        arrays = [getattr(x, "_array", x) for x in inputs]
        drops = _Blocks(arrays[0], arrays[1], causal, p, seed).all_drops() if p else None
        again = _by_weights(*inputs, _with_causal(mask, causal, arrays), scale, drops)
        wanted = [x for x in inputs if isinstance(x, TensorBase)]
        found = iter(grad(again, wanted, g, create_graph=True))
        return tuple(next(found) if isinstance(x, TensorBase) else None for x in inputs)
    m, blocks = xp(g), _Blocks(query, key, causal, p, seed)
    gq, gk, gv = (m.zeros(x.swapaxes(1, 2).shape, x.dtype).swapaxes(1, 2) for x in inputs)

    def run(group: Any) -> None:
        for queries in blocks.queries:
            keys, scaled = blocks.keys(queries), query[group][:, :, queries] * query.dtype.type(scale)
            w = blocks.scores(scaled, key, mask, group, queries)
            w -= lse[group][:, :, queries]
            m.exp(w, out=w)  # the weights once more
            above = g[group][:, :, queries]
            gw = above @ value[group][:, :, keys].swapaxes(-1, -2)
            mean = (above * out[group][:, :, queries]).sum(-1, keepdims=True)  # of gw, weighted: what a softmax takes away
            if p:
                drops = blocks.drops(group, queries)
                gw *= drops
                gv[group][:, :, keys] += (w * drops).swapaxes(-1, -2) @ above
            else:
                gv[group][:, :, keys] += w.swapaxes(-1, -2) @ above
            gw -= mean
            gw *= w
            gq[group][:, :, queries] = (gw @ key[group][:, :, keys]) * query.dtype.type(scale)
            gk[group][:, :, keys] += gw.swapaxes(-1, -2) @ scaled

    blocks.share(kernels(g), run, 3 * query.shape[3] + 2 * value.shape[3])
    return gq, gk, gv


_attention.op.name = "scaled_dot_product_attention"
_attention.vjp(_attention_rule, query=None, key=None, value=None)


def _with_causal(mask: Any, causal: bool, arrays: Any) -> Any:
    """The mask that says that no query looks at a later key."""
    if not causal:
        return mask
    m = xp(arrays[0])
    return m.tril(m.ones((arrays[0].shape[-2], arrays[1].shape[-2]), bool))


def _check(query: Any, key: Any, value: Any, mask: Any, is_causal: bool) -> tuple[int, ...]:
    """The dimensions before the last two."""
    op = "scaled_dot_product_attention"
    shapes = [tuple(x.shape) for x in (query, key, value)]
    said = f"query {shapes[0]}, key {shapes[1]}, value {shapes[2]}"
    if min(map(len, shapes)) < 2:
        raise ShapeError(f"{op}: wants at least 2 dimensions, got {said}")
    if shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        raise ShapeError(f"{op}: wants query (..., L, E), key (..., S, E), value (..., S, V), got {said}")
    lead = broadcast_shapes(*(s[:-2] for s in shapes), op=op)
    if mask is None:
        return lead
    if is_causal:
        raise RuntimeError(f"{op}: give attn_mask or is_causal=True, not both")
    kind = getattr(mask, "_array", mask).dtype
    if kind != bool and kind != getattr(query, "_array", query).dtype:
        raise RuntimeError(f"{op}: attn_mask must be boolean or of query's dtype, got {kind}")
    wanted = (*lead, shapes[0][-2], shapes[1][-2])
    if broadcast_shapes(tuple(mask.shape), wanted, op=op) != wanted:
        raise ShapeError(f"{op}: attn_mask of shape {tuple(mask.shape)} does not broadcast to {wanted}")
    return lead


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """``dropout(softmax(query @ key.T * scale + mask)) @ value``.

    Shapes: (..., L, E), (..., S, E), (..., S, V), attn_mask broadcast to (..., L, S) -> (..., L, V). The memory it takes grows
    with L and with S, not with their product.

    Parameters
    ----------
    attn_mask : tensor, optional
        Boolean, True where a query may look, or floating, added to the scores. A query that may look nowhere gets 0.
    dropout_p : float
        The probability with which a weight is dropped: always, so give 0 outside of training.
    is_causal : bool
        Whether query i looks at keys 0 to i only; then there is no ``attn_mask``.
    scale : float, optional
        ``1 / sqrt(E)`` unless given.
    enable_gqa : bool
        Whether key and value may have fewer heads (the third dimension from the last): each serves several of query's.

    Raises
    ------
    ShapeError
        If shapes do not fit each other.
    """
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must lie between 0 and 1, got {dropout_p}")
    if enable_gqa:
        key, value = (_for_all_heads(query, x) for x in (key, value))
    lead = _check(query, key, value, attn_mask, is_causal)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if getattr(attn_mask, "requires_grad", False):
        if dropout_p:
            raise NotImplementedError("scaled_dot_product_attention: dropout_p with an attn_mask that requires a gradient")
        return _by_weights(query, key, value, attn_mask, scale)
    pairs = (math.prod(lead[:-1]), lead[-1]) if lead else (1, 1)  # examples and heads

    def four(x: Any) -> Any:
        return x if tuple(x.shape[:-2]) == pairs else reshape(expand(x, (*lead, *x.shape[-2:])), (*pairs, *x.shape[-2:]))

    mask = getattr(attn_mask, "_array", attn_mask)
    if mask is not None:
        mask = np.broadcast_to(mask, (*lead, *mask.shape[-2:])).reshape(*pairs, *mask.shape[-2:])
        mask = np.broadcast_to(mask, (*pairs, query.shape[-2], key.shape[-2]))
    out = _attention(four(query), four(key), four(value), mask, scale, is_causal, dropout_p)
    return out if len(lead) == 2 else reshape(out, (*lead, *out.shape[-2:]))


def _for_all_heads(query: Any, x: Any) -> Any:
    """Key or value with each head repeated, so that there are as many as query has."""
    heads, own = query.shape[-3], x.shape[-3]
    if heads % own:
        raise ShapeError(f"scaled_dot_product_attention: {heads} heads of query are no multiple of the {own} of key and value")
    return repeat_interleave(x, heads // own, -3)
