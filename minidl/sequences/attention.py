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
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import differentiable
from ..autograd.op import cast
from ..autograd.sweep import grad
from ..autograd.tape import TensorBase
from ..backend import kernels, xp
from ..devices import waits
from ..functions.shaping import expand, repeat_interleave
from ..ops.compare import logical_not, logical_or
from ..ops.dropout import dropped
from ..ops.elementwise import where
from ..ops.layout import reshape, transpose
from ..ops.linear import matmul
from ..ops.reduce import any, softmax
from ..random import seed_for
from ..shapes import ShapeError, broadcast_shapes
from .products import product

if TYPE_CHECKING:
    from .._tensor import Tensor

BLOCK_BYTES = 1 << 19  # of weights at a time, for each thread: they should stay in its cache
GPU_BLOCK_BYTES = 1 << 26  # on a GPU, which wants much to do at a time
QUERIES = 256  # in a block, or more where the keys are few
IN_ONE_BYTES = 1 << 14  # of weights: so few are made in one piece, as for a token that is generated

# -- the textbook's form


def attention_weights(query: Any, key: Any, mask: Any, scale: float) -> Any:
    """``softmax(query @ key.T * scale)`` over the keys; a query that may see no key has the weights 0.

    Shapes: (..., L, E), (..., S, E), mask broadcast to (..., L, S) -> (..., L, S). A boolean ``mask`` is True where a query may
    look; a floating one is added before the softmax.
    """
    scores = matmul(query * scale, transpose(key, -1, -2))
    if mask is None:
        return softmax(scores, -1)
    is_bool = getattr(mask, "_array", mask).dtype == bool
    seen = mask if is_bool else mask > -math.inf
    blind = logical_not(any(seen, -1, True))  # of these the softmax would be 0 / 0
    scores = where(logical_or(seen, blind), scores, -math.inf) if is_bool else scores + where(blind, 0.0, mask)
    return where(blind, 0.0, softmax(scores, -1))


def _by_weights(query: Any, key: Any, value: Any, mask: Any, scale: float, drops: Any) -> Any:
    weights = attention_weights(query, key, mask, scale)
    return matmul(weights if drops is None else weights * drops, value)


def _whole(query: Any, value: Any, mask: Any) -> Any:
    """What does all of it at once for arrays like these, or None."""
    find = kernels(query).in_one("attention", query.dtype)
    return None if find is None else find(query, value, mask)


def weighed(m: Any, scores: Any, scale: float) -> tuple[Any, Any]:
    """``softmax(scores * scale)``, and the logarithms of the sums of exponentials; ``scores`` is written over."""
    scores *= scores.dtype.type(scale)
    top = scores.max(-1, keepdims=True)
    scores -= top
    m.exp(scores, out=scores)
    total = scores.sum(-1, keepdims=True)
    scores /= total
    return scores, top + m.log(total)


def _in_one(query: Any, key: Any, value: Any, scale: float) -> tuple[Any, Any]:
    """Attention on arrays, without a mask; and the logarithm of the sum of each query's exponentials."""
    weigh = kernels(query).in_one("attention_weights", query.dtype) or weighed
    weights, lse = weigh(xp(query), product(query, key.swapaxes(-1, -2)), scale)
    return product(weights, value), lse


# -- in blocks


class _Blocks:
    """How the work is cut: into groups of examples and heads that the threads share, and in each into blocks of queries.

    The scores of a block stand as (S, L), a column for each query: so their products are the quickest.
    """

    def __init__(self, query: Any, key: Any, mask: Any, causal: bool, p: float, seed: Any) -> None:
        (n, h, n_queries, _), n_keys = query.shape, key.shape[2]
        self.shape = n, h, n_queries, n_keys
        self.m, self.dtype, self.mask, self.causal, self.p, self.seed = xp(query), query.dtype, mask, causal, p, seed
        self.factor = 1 / (1 - p) if p < 1 else 0.0  # of the weights that dropout keeps
        block, fewest = (GPU_BLOCK_BYTES, QUERIES) if waits(query) else (BLOCK_BYTES, QUERIES // 4)
        self.rows = max(1, min(n_queries, max(QUERIES, block // max(n_keys * query.itemsize, 1))))
        if causal:  # a block sees all keys up to its last query
            self.rows = min(self.rows, max(1, fewest, n_queries // 8))
        at_once = max(1, block // max(self.rows * n_keys * query.itemsize, 1))  # pairs of example and head
        examples, heads = (min(at_once // h, n), h) if 0 < h <= at_once and n else (1, at_once)
        cuts = [(slice(i, i + examples), slice(j, j + heads)) for i in range(0, n, examples) for j in range(0, h, heads)]
        self.groups = cuts if n_keys else []
        self.queries = [slice(i, min(i + self.rows, n_queries)) for i in range(0, n_queries, self.rows)]
        self.size = examples * heads * self.rows * n_keys
        if causal:
            place = self.m.arange(self.rows)
            self.later = self.m.where(place[:, None] > place, -math.inf, 0).astype(self.dtype)

    def keys(self, queries: slice) -> slice:
        """The keys that some of these queries may see."""
        return slice(0, min(queries.stop, self.shape[3]) if self.causal else self.shape[3])

    def products(self, key: Any, query: Any, group: Any, queries: slice, memory: Any) -> Any:
        """``key @ query`` for a block, in ``memory``; both are those of the group, and query is `_turned`."""
        keys, block = key[:, :, self.keys(queries)], query[..., queries]
        shape = (*key.shape[:2], keys.shape[2], block.shape[3])
        return product(keys, block, out=memory[: math.prod(shape)].reshape(shape))

    def scores(self, key: Any, query: Any, group: Any, queries: slice, memory: Any) -> Any:
        """How well these queries, which are scaled already, fit the keys; -inf where they may not look."""
        scores, keys = self.products(key, query, group, queries, memory), self.keys(queries)
        if self.causal and queries.start < keys.stop:
            own = scores[:, :, queries.start :]
            own += self.later[: own.shape[2], : own.shape[3]]
        if self.mask is not None:
            places = zip((*group, queries, keys), self.mask.shape)
            block = self.mask[tuple(slice(None) if n == 1 else place for place, n in places)].swapaxes(-1, -2)
            scores += self.m.where(block, 0, -math.inf).astype(self.dtype) if block.dtype == bool else block
        return scores

    def kept(self, group: Any, queries: slice) -> Any:
        """Which weights of a block dropout keeps, the same whenever it is asked."""
        n, h, q, k = (len(range(size)[s]) for size, s in zip(self.shape, (*group, queries, self.keys(queries))))
        block = (group[0].start * self.shape[1] + group[1].start) * self.shape[2] + queries.start
        drawn = kernels(self.m.empty(0)).bits(n * h * q * k, self.seed, block)
        return (drawn < round((1 - self.p) * 2**32)).reshape(n, h, k, q)

    def drops(self) -> Any:
        """Dropout's factors for all weights."""
        factors = self.m.zeros(self.shape, self.dtype)
        for group in self.groups:
            for queries in self.queries:
                factors[(*group, queries, self.keys(queries))] = self.kept(group, queries).swapaxes(-1, -2) * self.factor
        return factors

    def share(self, function: Any, n_memories: int, features: int) -> None:
        """Call ``function(group, *memories)`` for all groups; a memory is large enough for a block."""

        def run(part: slice) -> None:
            memories = [self.m.empty(self.size, self.dtype) for _ in range(n_memories)]
            for group in self.groups[part]:
                function(group, *memories)

        kernels(self.m.empty(0)).share(run, len(self.groups), math.prod(self.shape) * features)


def _in_rows(x: Any) -> Any:
    """With each row in one piece of memory, and none in that of another, as products want it."""
    fits = x.strides[-1] == x.itemsize and x.strides[-2] >= x.shape[-1] * x.itemsize
    return x if fits else xp(x).ascontiguousarray(x)


def _turned(x: Any, factor: float, last: Any = None) -> Any:
    """``factor * x``, (n, h, L, E) as (n, h, E, L); with ``last``, (n, h, L, 1), as one more feature.

    If the other side of a product has 1 for that feature, ``last`` is added to all of a column, at no cost.
    """
    m, (n, h, length, e) = xp(x), x.shape
    out = m.empty((n, h, e + (last is not None), length), x.dtype)
    m.multiply(x.swapaxes(-1, -2), x.dtype.type(factor), out=out[:, :, :e])
    if last is not None:
        out[:, :, e] = last[..., 0]
    return out


def _with_one(x: Any) -> Any:
    """One more feature, which is 1."""
    m = xp(x)
    return m.concatenate([x, m.ones((*x.shape[:-1], 1), x.dtype)], -1)


@differentiable(keeps="lse seed", promotes="same")
def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, scale: float = 1.0, causal: bool = False, p: float = 0.0
) -> tuple[Any, Any, Any]:
    attend = _whole(query, value, attn_mask)
    if attend is not None:
        seed = seed_for(query) if p else 0
        return *attend(query, key, value, attn_mask, scale, causal, p, seed).forward(), seed
    n, h, length, _ = query.shape
    plain = attn_mask is None and not causal and not p
    if plain and 0 < n * h * length * key.shape[2] * query.itemsize <= IN_ONE_BYTES:
        return *_in_one(query, key, value, scale), 0
    m, seed = xp(query), seed_for(query) if p else 0
    query, key, value = map(_in_rows, (query, key, value))
    blocks = _Blocks(query, key, attn_mask, causal, p, seed)
    made = m.empty if blocks.groups else m.zeros
    out = made((n, length, h, value.shape[3]), query.dtype).swapaxes(1, 2)  # as the heads are put together afterwards
    lse, ones = made((n, h, length, 1), query.dtype), m.ones((key.shape[2], 1), query.dtype)

    def run(group: Any, memory: Any) -> None:
        q, k, v = _turned(query[group], scale), key[group], value[group]
        moderate = not waits(query)  # to know it of scores on a GPU would be to wait for them
        for queries in blocks.queries:
            keys, top = blocks.keys(queries), 0
            if moderate:
                w = blocks.scores(k, q, group, queries, memory)
                with np.errstate(over="ignore"):
                    m.exp(w, out=w)
                total = product(w.swapaxes(-1, -2), ones[keys])
                moderate = total.min() > 1e-15 and total.max() < 1e15
            if not moderate:  # take the largest score of each query away first
                w = blocks.scores(k, q, group, queries, memory)
                top = w.max(-2, keepdims=True)
                top = m.where(top == -math.inf, top.dtype.type(0), top)  # sees no key
                w -= top
                m.exp(w, out=w)
                total, top = product(w.swapaxes(-1, -2), ones[keys]), top.swapaxes(-1, -2)
                total = m.where(total == 0, total.dtype.type(1), total)
            if p:
                w *= blocks.kept(group, queries)
            lse[group][:, :, queries] = top + m.log(total)
            found = product(w.swapaxes(-1, -2), v[:, :, keys], out=out[group][:, :, queries])
            found *= blocks.factor / total

    blocks.share(run, 1, query.shape[3] + value.shape[3])
    return out, lse, seed


def _attention_rule(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    out: Any,
    lse: Any,
    seed: Any,
    scale: float,
    causal: bool,
    p: float,
    wanted: Any,
) -> Any:
    inputs = query, key, value
    if isinstance(g, TensorBase):  # the sweep is recorded
        return _recorded(g, inputs, attn_mask, scale, causal, p, seed, wanted)
    attend = _whole(query, value, attn_mask)
    if attend is not None:
        return attend(query, key, value, attn_mask, scale, causal, p, seed).backward(g, out, lse)
    g, query, key, value = map(_in_rows, (g, query, key, value))
    m, blocks = xp(g), _Blocks(query, key, attn_mask, causal, p, seed)
    gq, gk, gv = map(m.zeros_like, inputs)  # each in the memory order of its own

    def run(group: Any, memory: Any, another: Any) -> None:
        q, k, v, above = query[group], key[group], value[group], g[group]
        # the mean of the weights' gradient: what a softmax takes away
        mean = (above * out[group]).sum(-1) if waits(out) else m.einsum("nhlv,nhlv->nhl", above, out[group])
        mean = mean[..., None]
        q1, k1 = _turned(q, scale, -lse[group]), _with_one(k)
        g1, v1 = (_turned(above, blocks.factor), v) if p else (_turned(above, 1, -mean), _with_one(v))
        for queries in reversed(blocks.queries):  # the last may see all keys
            keys = blocks.keys(queries)
            w = blocks.scores(k1, q1, group, queries, memory)
            m.exp(w, out=w)  # the weights once more
            gw = blocks.products(v1, g1, group, queries, another)
            if p:
                kept = blocks.kept(group, queries)
                gw *= kept
                gw -= mean[:, :, queries].swapaxes(-1, -2)
            gw *= w
            if p:
                w *= kept
            for to, weights, of in ((gv, w, above), (gk, gw, q)):
                if queries.stop == query.shape[2]:
                    product(weights, of[:, :, queries], out=to[group][:, :, keys])
                else:
                    to[group][:, :, keys] += product(weights, of[:, :, queries])
            product(gw.swapaxes(-1, -2), k[:, :, keys], out=gq[group][:, :, queries])
        gq[group] *= query.dtype.type(scale)
        gk[group] *= query.dtype.type(scale)
        gv[group] *= query.dtype.type(blocks.factor)

    blocks.share(run, 2, 3 * query.shape[3] + 2 * value.shape[3])
    return gq, gk, gv


def _recorded(g: Any, inputs: Any, mask: Any, scale: float, causal: bool, p: float, seed: int, wanted: Any) -> Any:
    """The gradients by the textbook's form, differentiated so that they can be differentiated again."""
    q, k, v = (getattr(x, "_array", x) for x in inputs)
    drops, attend = None, _whole(q, v, mask)
    if p:
        drops = (
            _Blocks(q, k, mask, causal, p, seed).drops()
            if attend is None
            else attend(q, k, v, mask, scale, causal, p, seed).factors()
        )
    if causal:
        mask = xp(q).tril(xp(q).ones((q.shape[2], k.shape[2]), bool))
    own = [reshape(x, tuple(x.shape)) for x in inputs]  # though two of them may be one tensor
    again = _by_weights(own[0], own[1], own[2], mask, scale, drops)
    found = iter(grad(again, [x for x, w in zip(own, wanted) if w], g, create_graph=True))
    return tuple(next(found) if w else None for w in wanted)


_attention.op.name = "scaled_dot_product_attention"
_attention.vjp(_attention_rule, query=None, key=None, value=None)


def _check(query: Any, key: Any, value: Any, mask: Any, is_causal: bool) -> tuple[tuple[int, ...], bool]:
    """The dimensions before the last two, and whether all have them so."""
    op = "scaled_dot_product_attention"
    q, k, v = query.shape, key.shape, value.shape
    few = min(len(q), len(k), len(v)) < 2
    if few or q[-1] != k[-1] or k[-2] != v[-2]:
        these = "at least 2 dimensions" if few else "query (..., L, E), key (..., S, E), value (..., S, V)"
        raise ShapeError(f"{op}: wants {these}, got query {q}, key {k}, value {v}")
    alike = q[:-2] == k[:-2] == v[:-2]
    lead = q[:-2] if alike else broadcast_shapes(q[:-2], k[:-2], v[:-2], op=op)
    kind = getattr(query, "_array", query).dtype
    if kind.kind != "f":
        raise TypeError(f"{op}: wants a floating dtype, got {kind}")
    if mask is None:
        return lead, alike
    if is_causal:
        raise RuntimeError(f"{op}: give attn_mask or is_causal=True, not both")
    own = getattr(mask, "_array", mask).dtype
    if own not in (bool, np.float32, kind):
        raise RuntimeError(f"{op}: attn_mask must be boolean, float32 or of query's dtype, got {own}")
    wanted = (*lead, q[-2], k[-2])
    if broadcast_shapes(tuple(mask.shape), wanted, op=op) != wanted:
        raise ShapeError(f"{op}: attn_mask of shape {tuple(mask.shape)} does not broadcast to {wanted}")
    return lead, alike


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
) -> Tensor:
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
    for i, x in enumerate((query, key, value) if attn_mask is None else (query, key, value, attn_mask)):
        if not isinstance(x, TensorBase) and not hasattr(x, "shape"):
            _attention.op.refuse(i, x)
    for name, number in (("dropout_p", dropout_p), ("scale", 0.0 if scale is None else scale)):
        if not isinstance(number, (int, float)) and getattr(number, "ndim", 1):
            raise TypeError(f"scaled_dot_product_attention: {name} must be a number, got {type(number).__name__}")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"scaled_dot_product_attention: dropout_p must lie between 0 and 1, got {dropout_p}")
    if enable_gqa:
        key, value = (_for_all_heads(query, x) for x in (key, value))
    lead, alike = _check(query, key, value, attn_mask, is_causal)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1] or 1)
    if getattr(query, "_array", query).dtype == np.float16:  # sums in float32
        wide, half = np.dtype("float32"), np.dtype("float16")
        query, key, value = (cast(x, wide) for x in (query, key, value))
        if attn_mask is not None and getattr(attn_mask, "_array", attn_mask).dtype == half:
            attn_mask = cast(attn_mask, wide)
        return cast(scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale), half)
    if getattr(attn_mask, "requires_grad", False):
        weights = attention_weights(query, key, attn_mask, scale)
        return matmul(dropped(weights, dropout_p) if dropout_p else weights, value)
    if attn_mask is None and len(lead) == 2 and alike:
        return _attention(query, key, value, None, scale, is_causal, dropout_p)  # the usual case, quickly
    pairs = (math.prod(lead[:-1]), lead[-1]) if lead else (1, 1)  # examples and heads

    def four(x: Any) -> Any:
        x = x if tuple(x.shape[:-2]) == lead else expand(x, (*lead, *x.shape[-2:]))
        return x if len(lead) == 2 else reshape(x, (*pairs, *x.shape[-2:]))

    if attn_mask is not None:
        ones = (1,) * (max(len(lead), 2) + 2 - len(attn_mask.shape))
        attn_mask = reshape(attn_mask, (*ones, *attn_mask.shape))
        if len(lead) > 2:
            attn_mask = four(attn_mask)
    out = _attention(four(query), four(key), four(value), attn_mask, scale, is_causal, dropout_p)
    return out if len(lead) == 2 else reshape(out, (*lead, *out.shape[-2:]))


def _for_all_heads(query: Any, x: Any) -> Any:
    """Key or value with each head repeated, so that there are as many as query has."""
    if min(len(query.shape), len(x.shape)) < 3:
        raise ShapeError("scaled_dot_product_attention: enable_gqa=True wants at least 3 dimensions, (..., H, L, E)")
    heads, own = query.shape[-3], x.shape[-3]
    if heads != own and (not own or heads % own):
        raise ShapeError(f"scaled_dot_product_attention: {heads} heads of query are no multiple of the {own} of key and value")
    return x if heads == own else repeat_interleave(x, heads // own, -3)
