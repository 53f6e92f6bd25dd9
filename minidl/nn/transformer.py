"""The Transformer: layers of attention and of a small network for each position, one above the other.

Source: Vaswani et al., Attention Is All You Need, 2017; with ``norm_first``: Xiong et al., On Layer Normalization in the
Transformer Architecture, ICML 2020.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from ..functions.creation import full
from ..ops.layout import triu
from ..shapes import ShapeError
from . import functional as F
from . import init
from .attention import MultiheadAttention
from .containers import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm


def _causal_mask(size: int, device: Any = None, dtype: Any = None) -> Any:
    """0 on and below the diagonal, -inf above it."""
    return triu(full((size, size), -math.inf, dtype=dtype, device=device), 1)


def _is_causal(mask: Any, said: bool | None) -> bool:
    """Whether a mask is the causal one, unless that is said."""
    if said is not None or mask is None:
        return bool(said)
    if len(mask.shape) != 2 or mask.shape[0] != mask.shape[1]:
        return False
    return bool((mask == _causal_mask(len(mask)).to(mask.dtype)).all())


class _Layer(Module):
    """What encoder and decoder layers share: self-attention, the network for each position, and how a block is joined on."""

    n_norms: int

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name, where = type(self).__name__, {"device": device, "dtype": dtype}
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise RuntimeError(f"{name}: activation must be 'relu', 'gelu' or a function, got {activation!r}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        if self.n_norms == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **where)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **where)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        for i in range(1, self.n_norms + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **where))
        for i in range(1, self.n_norms + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def _join(self, i: int, x: Any, block: Callable[[Any], Any]) -> Any:
        """Add block number i to x: the norm before it, or after the sum."""
        norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        return x + dropout(block(norm(x))) if self.norm_first else norm(x + dropout(block(x)))

    def _attend(self, x: Any, mask: Any, padding: Any, is_causal: bool) -> Any:
        return self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)[0]

    def _network(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a network of two linear layers for each position; each is added to its input, and normalised.

    Parameters
    ----------
    d_model, nhead : int
        E, the features, and the number of heads.
    dim_feedforward : int
        The width of the network between its two layers.
    dropout : float
        After each part, between the two layers, and on the weights of the attention.
    activation : {"relu", "gelu"} or function
        Between the two layers.
    batch_first : bool
        Whether the tensors are (N, T, E) instead of (T, N, E).
    norm_first : bool
        Whether to normalise the input of each part instead of the sum.
    bias : bool
        Whether linear layers and norms have biases.
    """

    n_norms = 2

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """The layer; masks as in `MultiheadAttention`."""
        x = self._join(1, src, lambda x: self._attend(x, src_mask, src_key_padding_mask, is_causal))
        return self._join(2, x, self._network)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to what the encoder made (``memory``), then the network for each position.

    The parameters are those of `TransformerEncoderLayer`.
    """

    n_norms = 3

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """The layer; masks as in `MultiheadAttention`."""

        def look(x: Any) -> Any:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        x = self._join(1, tgt, lambda x: self._attend(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        x = self._join(2, x, look)
        return self._join(3, x, self._network)


class TransformerEncoder(Module):
    """Copies of a layer, one above the other, and a last norm if one is given.

    ``enable_nested_tensor`` and ``mask_check`` are PyTorch's, for a shortcut of its own that it takes without gradients: it
    puts 0 where ``src_key_padding_mask`` is True. All other numbers are the same.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None) -> Any:
        """All layers. ``is_causal`` says whether ``mask`` is the causal one; None: it is looked at, which `minidl.compile`
        cannot follow.
        """
        causal = _is_causal(mask, is_causal)
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a layer, one above the other, and a last norm if one is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """All layers. ``tgt_is_causal`` says whether ``tgt_mask`` is the causal one; None: it is looked at, which
        `minidl.compile` cannot follow.
        """
        options = {
            "tgt_mask": tgt_mask,
            "memory_mask": memory_mask,
            "tgt_key_padding_mask": tgt_key_padding_mask,
            "memory_key_padding_mask": memory_key_padding_mask,
            "tgt_is_causal": _is_causal(tgt_mask, tgt_is_causal),
            "memory_is_causal": memory_is_causal,
        }
        for layer in self.layers:
            tgt = layer(tgt, memory, **options)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder that reads one sequence, and a decoder that writes another while it looks at what the encoder made.

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias
        As in `TransformerEncoderLayer`.
    num_encoder_layers, num_decoder_layers : int
        How many of each.
    custom_encoder, custom_decoder : Module, optional
        To take the place of the encoder or decoder: called as `TransformerEncoder` and `TransformerDecoder` are, masks by name.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = (dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype)
        kinds = (
            ("encoder", custom_encoder, TransformerEncoder, TransformerEncoderLayer, num_encoder_layers),
            ("decoder", custom_decoder, TransformerDecoder, TransformerDecoderLayer, num_decoder_layers),
        )
        for name, custom, stack, layer, n in kinds:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            setattr(self, name, stack(layer(d_model, nhead, *options), n, norm) if custom is None else custom)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        """What the decoder makes of ``tgt`` while it looks at what the encoder made of ``src``.

        Shapes: (S, N, E) and (T, N, E), or with N first, or without N -> as tgt.
        """
        n = 0 if self.batch_first else 1
        if len(src.shape) == 3 and src.shape[n] != tgt.shape[n]:
            raise ShapeError(
                f"Transformer: src of shape {tuple(src.shape)} and tgt of shape {tuple(tgt.shape)}: batches differ"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(
                f"Transformer: src and tgt want d_model={self.d_model} features, got {tuple(src.shape)}, {tuple(tgt.shape)}"
            )
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """The causal mask, (sz, sz): 0 where a query may look, -inf where not."""
        return _causal_mask(sz, device, dtype)
