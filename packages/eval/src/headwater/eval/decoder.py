"""The decoders that training makes, without transformers, whose import takes longer than a short evaluation.

A `Decoder` has the weights of transformers' Llama and Qwen3 under their names, computes what they compute in the same
order, and is called as they are.

Shapes: B sequences, L positions, D model width, H query heads, G key-value heads, K width of a head, F hidden width,
V vocabulary.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

import torch
from torch import nn
from torch.nn.functional import silu

from headwater.core.huggingface import config_of, family_of
from headwater.core.rope import inverse_frequencies
from headwater.core.run import ModelShape
from headwater.eval.attention import attend

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Hidden(NamedTuple):
    """What the body of a model gives. Shape [B, L, D]."""

    last_hidden_state: torch.Tensor


class Logits(NamedTuple):
    """What a model gives. Shape [B, L, V]."""

    logits: torch.Tensor


class Config(SimpleNamespace):
    """The content of the config.json that an export has."""

    def get_text_config(self) -> Config:
        """Itself: there is nothing but text."""
        return self


class Decoder(nn.Module):
    """A decoder of one of the families in `core.huggingface`, in evaluation mode.

    Args:
        shape: The model's shape.
        weights: Name in transformers → tensor, all of one dtype; a tied model has no `lm_head.weight`.

    Raises:
        ManifestError: Of another family.
        RuntimeError: The weights are not those of the shape.
    """

    def __init__(self, shape: ModelShape, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.config = Config(**config_of(shape))
        self.model = _Body(shape)
        self.lm_head = _Linear(shape.dim, shape.vocab_size, bias=False)
        if shape.tied:
            weights = weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
        self.load_state_dict(weights, assign=True)
        if shape.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.requires_grad_(False)
        self.eval()

    @property
    def base_model(self) -> nn.Module:
        """All but the head."""
        return self.model

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.lm_head.weight.dtype

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Logits:
        """The logits after each token of [B, L]."""
        return Logits(self.lm_head(self.model(input_ids).last_hidden_state))


Model: TypeAlias = Union[Decoder, "PreTrainedModel"]
"""A causal language model in evaluation mode."""


# Weights come from a checkpoint: none are drawn. (Torch's device "meta" does the same, and imports its compiler.)
class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        pass


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        pass


class _Norm(nn.RMSNorm):
    def reset_parameters(self) -> None:
        pass


class _Body(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embed_tokens = _Embedding(shape.vocab_size, shape.dim)
        self.layers = nn.ModuleList(_Layer(shape, number) for number in range(shape.n_layers))
        self.norm = _Norm(shape.dim, shape.norm_eps)
        index_K = torch.arange(shape.head_width // 2, dtype=torch.float32)
        inverse_K, self._length = inverse_frequencies(index_K, shape.rope_theta, shape.rope_scaling)
        self._inverse_K: torch.Tensor
        self.register_buffer("_inverse_K", inverse_K, persistent=False)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor | None = None, use_cache: bool = False
    ) -> Hidden:
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        angles_BLK = position_ids[..., None].float() * self._inverse_K
        cos_BL1K, sin_BL1K = ((each * self._length)[:, :, None] for each in (angles_BLK.cos(), angles_BLK.sin()))
        x_BLD = self.embed_tokens(input_ids)
        turns = torch.cat([cos_BL1K, cos_BL1K], -1).to(x_BLD.dtype), sin_BL1K.to(x_BLD.dtype)
        for layer in self.layers:
            x_BLD = layer(x_BLD, turns)
        return Hidden(self.norm(x_BLD))


class _Layer(nn.Module):
    def __init__(self, shape: ModelShape, number: int) -> None:
        super().__init__()
        self.input_layernorm = _Norm(shape.dim, shape.norm_eps)
        self.self_attn = _Attention(shape, number)
        self.post_attention_layernorm = _Norm(shape.dim, shape.norm_eps)
        self.mlp = _FeedForward(shape)

    def forward(self, x_BLD: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x_BLD = x_BLD + self.self_attn(self.input_layernorm(x_BLD), turns)
        return x_BLD + self.mlp(self.post_attention_layernorm(x_BLD))


class _Attention(nn.Module):
    def __init__(self, shape: ModelShape, number: int) -> None:
        super().__init__()
        self.layer_idx, self._width = number, shape.head_width
        queries, keys = shape.n_heads * self._width, shape.n_kv_heads * self._width
        self.q_proj = _Linear(shape.dim, queries, bias=False)
        self.k_proj = _Linear(shape.dim, keys, bias=False)
        self.v_proj = _Linear(shape.dim, keys, bias=False)
        self.o_proj = _Linear(queries, shape.dim, bias=False)
        normed = family_of(shape).query_norm
        self.q_norm: nn.Module = _Norm(self._width, shape.norm_eps) if normed else nn.Identity()
        self.k_norm: nn.Module = _Norm(self._width, shape.norm_eps) if normed else nn.Identity()

    def forward(self, x_BLD: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        query, key, value = (
            each(x_BLD).unflatten(-1, (-1, self._width)) for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _turned(self.q_norm(query), turns), _turned(self.k_norm(key), turns)
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        found_BLHK, _ = attend(self, query, key, value, None, self._width**-0.5)
        return self.o_proj(found_BLHK.flatten(2))


class _FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = _Linear(shape.dim, shape.ffn_dim, bias=False)
        self.up_proj = _Linear(shape.dim, shape.ffn_dim, bias=False)
        self.down_proj = _Linear(shape.ffn_dim, shape.dim, bias=False)

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        return self.down_proj(silu(self.gate_proj(x_BLD), inplace=True).mul_(self.up_proj(x_BLD)))


def _turned(x_BLHK: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turns dimension `i` of each head with `i + K/2` (Su et al., 2021, arXiv:2104.09864).

    Args:
        x_BLHK: Queries or keys.
        turns: Cosines of all dimensions, and sines of the first half of them.
    """
    cos, sin = turns
    turned_BLHK = x_BLHK * cos
    (first, second), (x_first, x_second) = turned_BLHK.chunk(2, -1), x_BLHK.chunk(2, -1)
    first -= x_second * sin
    second += x_first * sin
    return turned_BLHK
