"""A decoder in the shape of GPT-2 (Radford et al., 2019), as torchtitan's building blocks: learned positions, LayerNorm
before each part, GELU, dropout; without biases, as nanoGPT trains it.

It is for what was published on that shape. Positions count from a document's start, or a sample's when it begins inside
one.

Shapes: B batch, L sequence, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchtitan.models.common import Embedding, Linear
from torchtitan.models.common.config_utils import make_gqa_config
from torchtitan.models.common.decoder import Decoder, TransformerBlock
from torchtitan.models.common.param_init import skip_param_init
from torchtitan.models.common.rope import RoPE
from torchtitan.models.utils import get_dense_model_nparams_and_flops
from torchtitan.protocols.module import Module

from headwater.core.run import ModelShape
from headwater.train.titan import cpu

STD = 0.02


class Norm(nn.LayerNorm, Module):
    """LayerNorm without a bias."""

    @dataclass(kw_only=True, slots=True)
    class Config(Module.Config):
        """Width, and what is added to the variance."""

        normalized_shape: int
        eps: float

    def __init__(self, config: Config) -> None:
        super().__init__(config.normalized_shape, eps=config.eps, bias=False)


class NoRotation(RoPE):
    """Stands where torchtitan's attention has a rotary embedding: positions are added to the input instead."""

    @dataclass(kw_only=True, slots=True)
    class Config(RoPE.Config):
        """As the base; `max_seq_len` is what the trainer compares with."""

    def _precompute_cache(self) -> torch.Tensor:
        return torch.empty(0)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, positions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both as they are."""
        return query, key


class FeedForward(Module):
    """Two projections with GELU between them."""

    @dataclass(kw_only=True, slots=True)
    class Config(Module.Config):
        """Of the two projections."""

        w1: Linear.Config
        w2: Linear.Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.w1 = config.w1.build()
        self.w2 = config.w2.build()

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return self.w2(F.gelu(self.w1(x_BLD)))


class Gpt2Block(TransformerBlock):
    """Attention and feed-forward, each normed before and dropped out after."""

    @dataclass(kw_only=True, slots=True)
    class Config(TransformerBlock.Config):
        """As the base, and the share that is dropped."""

        dropout: float

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = config.attention.build()
        self.feed_forward = config.feed_forward.build()  # type: ignore[union-attr]
        self.attention_norm = config.attention_norm.build()
        self.ffn_norm = config.ffn_norm.build()
        self.dropout = config.dropout

    def forward(self, x_BLD: torch.Tensor, attention_masks: Any, positions: torch.Tensor | None = None) -> torch.Tensor:
        """The same shape."""
        attended = self.attention(self.attention_norm(x_BLD), attention_masks, positions)
        x_BLD = x_BLD + F.dropout(attended, self.dropout, self.training)
        return x_BLD + F.dropout(self.feed_forward(self.ffn_norm(x_BLD)), self.dropout, self.training)


class Gpt2Model(Decoder):
    """The decoder; its masks are dense on every device, since FlexAttention has no dropout."""

    @dataclass(kw_only=True, slots=True)
    class Config(Decoder.Config):
        """As the base, the table of positions, and the share that is dropped."""

        pos_embeddings: Embedding.Config
        dropout: float

        def get_nparams_and_flops(self, model: nn.Module, seq_len: int) -> tuple[int, int]:
            """Parameters, and floating point operations of a token."""
            heads = self.layers[0].attention.n_heads
            return get_dense_model_nparams_and_flops(
                model, n_layers=len(self.layers), n_heads=heads, head_dims=2 * (self.dim // heads), seq_len=seq_len,
                enable_weight_tying=self.enable_weight_tying,
            )  # fmt: skip

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pos_embeddings = config.pos_embeddings.build()
        self.dropout = config.dropout

    # torchtitan's own masks are sparse; ours go to an attention that takes them.
    def get_attention_masks(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, positions: torch.Tensor, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Dense masks of packed documents; see `cpu.document_mask`."""
        return cpu.document_mask(positions, seen)

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor | None = None, attention_masks: Any = None
    ) -> torch.Tensor:
        """Logits, [B, L, vocabulary]."""
        assert positions is not None
        h_BLD = self.tok_embeddings(tokens) + self.pos_embeddings(positions)
        h_BLD = F.dropout(h_BLD, self.dropout, self.training)
        for layer in self.layers.values():
            h_BLD = layer(h_BLD, attention_masks, positions)
        return self.lm_head(self.norm(h_BLD))


def gpt2_layer(shape: ModelShape, index: int, inner_attention: Any) -> Gpt2Block.Config:
    """The config of one block."""
    inner = {"weight": partial(nn.init.normal_, std=STD)}
    # GPT-2 scales what is added to the residual stream by the number of additions.
    outer = {"weight": partial(nn.init.normal_, std=STD / (2 * shape.n_layers) ** 0.5)}
    rope = NoRotation.Config(dim=shape.head_width, max_seq_len=shape.max_seq_len)
    return Gpt2Block.Config(
        attention_norm=_norm(shape), ffn_norm=_norm(shape), dropout=shape.dropout,
        attention=make_gqa_config(
            dim=shape.dim, n_heads=shape.n_heads, head_dim=shape.head_width, fuse_qkv=True, wqkv_param_init=inner,
            wo_param_init=outer, inner_attention=replace(cpu.attention_config(), dropout=shape.dropout), rope=rope,
        ),
        feed_forward=FeedForward.Config(  # pyright: ignore[reportArgumentType] (torchtitan names its SwiGLU)
            w1=Linear.Config(in_features=shape.dim, out_features=shape.ffn_dim, param_init=inner),
            w2=Linear.Config(in_features=shape.ffn_dim, out_features=shape.dim, param_init=outer),
        ),
    )  # fmt: skip


def gpt2_parts(shape: ModelShape) -> dict[str, Any]:
    """What the whole model has in place of the other families' embedding, norm and head."""
    normal = {"weight": partial(nn.init.normal_, std=STD)}
    embedding = {"weight": skip_param_init} if shape.tied else normal
    return {
        "tok_embeddings": Embedding.Config(
            num_embeddings=shape.vocab_size, embedding_dim=shape.dim, param_init=embedding
        ),
        "pos_embeddings": Embedding.Config(
            num_embeddings=shape.max_seq_len, embedding_dim=shape.dim, param_init=normal
        ),
        "norm": _norm(shape), "dropout": shape.dropout,
        "lm_head": Linear.Config(in_features=shape.dim, out_features=shape.vocab_size, param_init=normal),
    }  # fmt: skip


def _norm(shape: ModelShape) -> Any:
    return Norm.Config(normalized_shape=shape.dim, eps=shape.norm_eps, param_init={"weight": nn.init.ones_})
