"""Multi-head attention, and what Transformers need beside it: positions, and a memory of keys and values for generation."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from ..autograd.tape import wrap
from ..dtypes import as_dtype, bool_, check_tensor, float32
from ..functions.creation import arange, as_tensor, empty, zeros
from ..functions.joining import chunk
from ..ops.compare import logical_or
from ..ops.elementwise import cos, exp, sin, where
from ..ops.layout import cat, transpose
from ..ops.linear import linear, matmul
from ..ops.reduce import mean
from ..sequences.attention import attention_weights, scaled_dot_product_attention
from ..shapes import ShapeError, as_index
from . import functional as F
from . import init
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """`Linear`, by the name that it has within PyTorch's `MultiheadAttention`."""


class MultiheadAttention(Module):
    """Attention with ``num_heads`` heads: each looks at queries, keys and values through projections of its own, and a last
    projection puts together what they found.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.2.2.

    Parameters
    ----------
    embed_dim : int
        E: the features of queries and of the output; ``num_heads`` must divide it.
    dropout : float
        Dropout on the weights, in training.
    bias : bool
        Whether the projections have biases.
    add_bias_kv, add_zero_attn : bool
        Whether one more key and value, learnt, or zeros, join all sequences.
    kdim, vdim : int, optional
        The features of keys and values, E unless given.
    batch_first : bool
        Whether the tensors are (N, L, E) instead of (L, N, E).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: num_heads must divide embed_dim, got {embed_dim=} and {num_heads=}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        together = self.kdim == self.vdim == embed_dim
        shapes = {
            "q_proj_weight": None if together else (embed_dim, embed_dim),
            "k_proj_weight": None if together else (embed_dim, self.kdim),
            "v_proj_weight": None if together else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if together else None,
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, shape in shapes.items():
            self.register_parameter(name, None if shape is None else Parameter(empty(shape, device=device, dtype=dtype)))
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            made = Parameter(empty(1, 1, embed_dim, device=device, dtype=dtype)) if add_bias_kv else None
            self.register_parameter(name, made)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name, p in self.named_parameters():
            if name in ("bias_k", "bias_v"):
                init.xavier_normal_(p)
            elif "proj_weight" in name:
                init.xavier_uniform_(p)
            elif name.endswith("bias"):
                init.zeros_(p)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """What the queries found, and the weights (their mean over the heads if ``average_attn_weights``), or None unless
        ``need_weights``: without them it takes less memory and time.

        Shapes: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or with N first, or without N -> as query; and (N, L, S),
        or without the mean (N, H, L, S).

        Parameters
        ----------
        key_padding_mask : tensor, optional
            (N, S), True at keys that do not count; or floating, added to the scores.
        attn_mask : tensor, optional
            (L, S) or (N * num_heads, L, S), True where a query may *not* look; or floating, added to the scores.
        is_causal : bool
            A promise that ``attn_mask``, which must be given, is the causal one; where that is quicker, it is not looked at.

        A query that may look nowhere finds 0, and has weights of 0 (in PyTorch NaN, if ``need_weights``).
        """
        for name, x in (("query", query), ("key", key), ("value", value)):
            check_tensor("MultiheadAttention", name, x)
        alone = len(query.shape) == 2
        if (not alone and len(query.shape) != 3) or len({len(x.shape) for x in (query, key, value)}) != 1:
            raise ShapeError(f"MultiheadAttention: wants 3 dimensions, or 2, for all of {self._said(query, key, value)}")
        if is_causal and attn_mask is None:
            raise RuntimeError("MultiheadAttention: is_causal=True says something about attn_mask; give it as well")
        self._check(query, key, value, None if alone else 0 if self.batch_first else 1)
        attn_mask, key_padding_mask = (None if mask is None else as_tensor(mask) for mask in (attn_mask, key_padding_mask))
        if alone:
            turn = {id(x): x[None] for x in (query, key, value)}
        else:
            turn = {id(x): x if self.batch_first else transpose(x, 0, 1) for x in (query, key, value)}
        q, k, v = self._heads(*(turn[id(x)] for x in (query, key, value)))
        mask = None
        causal = is_causal and key_padding_mask is None and not need_weights
        if not causal:
            keys = k.shape[2] - (self.bias_k is not None) - self.add_zero_attn
            mask = self._mask(attn_mask, key_padding_mask, q, keys, alone)
        p, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            weights = F.dropout(attention_weights(q, k, mask, 1 / math.sqrt(self.head_dim)), p)
            out = matmul(weights, v)
            weights = mean(weights, 1) if average_attn_weights else weights
        else:
            out = scaled_dot_product_attention(q, k, v, mask, p, causal)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if alone:
            return out[0], None if weights is None else weights[0]
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _said(self, *tensors: Any) -> str:
        return ", ".join(f"{name} {tuple(x.shape)}" for name, x in zip(("query", "key", "value"), tensors))

    def _check(self, query: Any, key: Any, value: Any, batch: int | None) -> None:
        """Refuse features and batches, which are along dimension ``batch``, that do not fit."""
        said, sizes = self._said(query, key, value), (self.embed_dim, self.kdim, self.vdim)
        if any(x.shape[-1] != size for x, size in zip((query, key, value), sizes)) or key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(f"MultiheadAttention: wants features {sizes}, and as many values as keys; got {said}")
        if batch is not None and len({x.shape[batch] for x in (query, key, value)}) != 1:
            raise ShapeError(f"MultiheadAttention: batches differ in dimension {batch}: {said}")

    def _heads(self, query: Any, key: Any, value: Any) -> list[Any]:
        """Queries, keys and values projected, (N, H, L or S, E / H)."""
        if self.in_proj_weight is not None and query is key and key is value:
            parts = chunk(linear(query, self.in_proj_weight, self.in_proj_bias), 3, 2)
        else:
            weights: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            if self.in_proj_weight is not None:
                weights = chunk(self.in_proj_weight, 3)
            biases = (None,) * 3 if self.in_proj_bias is None else chunk(self.in_proj_bias, 3)
            parts = tuple(map(linear, (query, key, value), weights, biases))
        q, *others = parts
        for i, learnt in enumerate((self.bias_k, self.bias_v)):
            n = len(query)
            if learnt is not None:
                others[i] = cat([others[i], learnt.expand(n, 1, self.embed_dim)], 1)
            if self.add_zero_attn:
                others[i] = cat([others[i], zeros(n, 1, self.embed_dim, dtype=others[i].dtype, device=others[i].device)], 1)
        return [x.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2) for x in (q, *others)]

    def _mask(self, attn_mask: Any, key_padding_mask: Any, q: Any, s: int, alone: bool) -> Any:
        """Both masks as one for `scaled_dot_product_attention`, where True means that a query may look."""
        n, h, length, _ = q.shape
        for name, mask in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
            if mask is not None and mask.dtype not in (bool_, float32, q.dtype):
                kinds = f"boolean, float32 or of query's dtype, {q.dtype}"
                raise TypeError(f"MultiheadAttention: {name} must be {kinds}, got {mask.dtype}")
        masks = []
        if attn_mask is not None:
            if tuple(attn_mask.shape) not in ((length, s), (n * h, length, s)):
                raise ShapeError(
                    f"MultiheadAttention: attn_mask must have shape {(length, s)} or {(n * h, length, s)}, "
                    f"got {tuple(attn_mask.shape)}"
                )
            masks.append(attn_mask if len(attn_mask.shape) == 2 else attn_mask.reshape(n, h, length, s))
        if key_padding_mask is not None:
            wanted = (s,) if alone else (n, s)
            if tuple(key_padding_mask.shape) != wanted:
                raise ShapeError(
                    f"MultiheadAttention: key_padding_mask must have shape {wanted}, got {tuple(key_padding_mask.shape)}"
                )
            masks.append(key_padding_mask.reshape(n, 1, 1, s))
        added = (self.bias_k is not None) + self.add_zero_attn
        masks = [F.pad(mask, (0, added)) if added else mask for mask in masks]  # all may look at those
        if not masks:
            return None
        if all(mask.dtype.is_floating_point is False for mask in masks):
            return ~(masks[0] if len(masks) == 1 else logical_or(*masks))
        floats = [(mask if mask.dtype.is_floating_point else where(mask, -math.inf, 0.0)).to(q.dtype) for mask in masks]
        return floats[0] if len(floats) == 1 else floats[0] + floats[1]


class KVCache:
    """The keys and values of all tokens so far, so that generation computes those of the new token only.

    >>> import minidl
    >>> cache = KVCache(4)
    >>> step = minidl.ones(1, 2, 1, 3)
    >>> keys, values = cache.extend(step, step)
    >>> keys, values = cache.extend(step, step)
    >>> keys.shape
    (1, 2, 2, 3)

    Parameters
    ----------
    max_len : int
        How many tokens it can hold.
    """

    def __init__(self, max_len: int) -> None:
        if as_index(max_len, "KVCache: max_len") < 1:
            raise ValueError(f"KVCache: max_len must be at least 1, got {max_len}")
        self.max_len, self.length = max_len, 0
        self._kept: tuple[Any, Any] | None = None

    def extend(self, key: Any, value: Any) -> tuple[Any, Any]:
        """Take in keys and values (N, H, L, E) of new tokens; those of all tokens, as views.

        Raises
        ------
        RuntimeError
            If they require a gradient, which would be lost, are of another dtype than those before, or more than fit.
        ShapeError
            If they are not for as many tokens, or for other examples, heads or features than those before.
        """
        if not isinstance(key, Tensor) or not isinstance(value, Tensor):
            raise TypeError(f"KVCache: keys and values must be tensors, got {type(key).__name__} and {type(value).__name__}")
        k, v = key._array, value._array
        if k.ndim != 4 or v.ndim != 4 or k.shape[:3] != v.shape[:3]:
            raise ShapeError(f"KVCache: wants keys (N, H, L, E) and values (N, H, L, V), got {k.shape} and {v.shape}")
        if key.requires_grad or value.requires_grad:
            raise RuntimeError("KVCache: keys and values require a gradient, which cannot be kept; use no_grad()")
        start, stop = self.length, self.length + k.shape[2]
        if stop > self.max_len:
            raise RuntimeError(f"KVCache: {stop} tokens do not fit in max_len={self.max_len}")
        if self._kept is None:
            made = (zeros(*x.shape[:2], self.max_len, x.shape[3], dtype=x.dtype, device=x.device) for x in (key, value))
            self._kept = next(made), next(made)
        keys, values = self._kept[0]._array, self._kept[1]._array
        for kept, new in ((keys, k), (values, v)):
            if kept.shape[:2] != new.shape[:2] or kept.shape[3] != new.shape[3]:
                raise ShapeError(f"KVCache: {new.shape} does not go with what it holds, {kept.shape}")
            if kept.dtype != new.dtype:
                raise RuntimeError(f"KVCache: {as_dtype(new.dtype)} does not go with what it holds, {as_dtype(kept.dtype)}")
        self.length = stop
        keys[:, :, start:stop], values[:, :, start:stop] = k, v  # past the ops, whose overhead is most of a step of generation
        for tensor in self._kept:
            tensor._tell("KVCache.extend changes it in place")
        return wrap(keys[:, :, :stop]), wrap(values[:, :, :stop])

    def select(self, order: Any) -> None:
        """Put the examples into another order, or leave some out, as beam search does: ``order`` has their numbers."""
        if isinstance(order, int) or getattr(order, "shape", None) == ():
            raise TypeError(f"KVCache.select: order must be a list or a vector of numbers, got {order}")
        if self._kept is not None:
            self._kept = self._kept[0][order], self._kept[1][order]


class PositionalEncoding(Module):
    """Adds to each position a pattern of waves that tells where it is: ``sin(t / 10000 ** (2 i / E))`` to feature ``2 i``, the
    cosine of the same to ``2 i + 1``; then dropout.

    Source: Vaswani et al., 2017, section 3.5. (Positions that are learnt are an `Embedding` of ``arange(T)``.)

    Parameters
    ----------
    d_model : int
        E.
    dropout : float
        Its probability.
    max_len : int
        The longest sequence.
    batch_first : bool
        Whether the input is (N, T, E) instead of (T, N, E).
    """

    def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 5000, batch_first: bool = False) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("max_len", max_len)):
            if as_index(size, f"PositionalEncoding: {name}") < 1:
                raise ValueError(f"PositionalEncoding: {name} must be at least 1, got {size}")
        self.dropout, self.batch_first = Dropout(dropout), batch_first
        angles = arange(max_len).unsqueeze(1) * exp(arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        waves = zeros(max_len, d_model)
        waves[:, 0::2], waves[:, 1::2] = sin(angles), cos(angles)[:, : d_model // 2]
        self.register_buffer("pe", waves)

    def forward(self, x: Any) -> Any:
        """The input with its positions.

        Shapes: (T, N, E), (N, T, E) if ``batch_first``, or (T, E) -> the same.
        """
        features = self.pe.shape[1]
        if len(x.shape) not in (2, 3) or x.shape[-1] != features:
            order = "(N, T, E)" if self.batch_first else "(T, N, E)"
            raise ShapeError(f"PositionalEncoding: wants {order} or (T, E) with E = {features}, got shape {tuple(x.shape)}")
        length = x.shape[1] if self.batch_first and len(x.shape) == 3 else x.shape[0]
        if length > len(self.pe):
            raise ShapeError(f"PositionalEncoding: {length} positions, but max_len is {len(self.pe)}")
        waves = self.pe[:length]
        return self.dropout(x + (waves if self.batch_first or len(x.shape) == 2 else waves[:, None]))
