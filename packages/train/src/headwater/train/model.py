"""The recipe's `train.model` section."""

from __future__ import annotations

import json
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, model_validator

from headwater.core.config import NotValid, Section, Whole
from headwater.core.errors import ConfigError
from headwater.core.rope import NtkScaling, RopeScaling
from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train.sizes import FAMILIES, values_of

SET_BY_SIZE = ("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "ffn_dim", "experts", "latent")
"""Keys of the section that a size alone decides."""


class Model(Section):
    """Shape of a decoder.

    Attributes:
        size: Number of parameters, as 125m or 8b, which sets the shape (`train.sizes`): width, depth, heads, hidden
            layer, and `vocab_size`, `tied`, `rope_theta` and `norm_eps` where they are not given.
        family: `llama3`; `qwen3`, which also norms each head's query and key; `deepseek_v3`, a mixture of experts with
            latent attention; `gpt2` (Radford et al., 2019), with learned positions, for what was published on it.
        dim: Width of the residual stream.
        n_layers: Transformer blocks.
        n_heads: Query heads.
        n_kv_heads: Key and value heads (grouped-query attention, Ainslie et al., 2023, arXiv:2305.13245). Does not
            apply to `deepseek_v3` and `gpt2`.
        head_dim: Width of a head; default: `dim / n_heads`.
        ffn_dim: Width of the hidden layer (SwiGLU; GELU with `gpt2`).
        vocab_size: Rows of the embedding and of the head, at least as many as the tokenizer has entries; default: as
            many. More of them are for weights that were made so, or to make their number divisible.
        rope_theta: Base of the rotary position embedding.
        rope_scaling: How the rotary embedding is stretched beyond the context of an earlier training: `kind` linear,
            ntk, yarn or llama3 (see `core.rope`); of `llama3` and `qwen3` only.
        norm_eps: Added to the variance in RMSNorm.
        max_seq_len: Longest context that the model is made for, in tokens; default: `train.seq_len`.
        tied: Whether the output head shares the embedding's weights.
        dropout: Share of the activations and attention weights that training drops, of `gpt2` only.
        experts: Mixture of experts, of `deepseek_v3` only (see `core.run.Experts`).
        latent: Latent attention, of `deepseek_v3` only (see `core.run.LatentAttention`).
    """

    size: str | None = Field(default=None, min_length=2)
    family: Literal["llama3", "qwen3", "deepseek_v3", "gpt2"] = "llama3"
    dim: Whole = Field(default=256, ge=8)
    n_layers: Whole = Field(default=4, ge=1, le=10**4)
    n_heads: Whole = Field(default=4, ge=1)
    n_kv_heads: Whole = Field(default=2, ge=1)
    head_dim: Whole | None = Field(default=None, ge=2, multiple_of=2)
    ffn_dim: Whole = Field(default=704, ge=8)
    vocab_size: Whole | None = Field(default=None, ge=2)
    rope_theta: float = Field(default=10_000.0, gt=1)
    rope_scaling: RopeScaling | None = None
    norm_eps: float = Field(default=1e-5, gt=0, lt=1)
    max_seq_len: Whole | None = Field(default=None, ge=2)
    tied: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    experts: Experts | None = None
    latent: LatentAttention | None = None

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, given: Any) -> Any:
        """Fills in the shape of a size."""
        values = cast("dict[str, Any]", given)
        if not isinstance(given, dict) or not isinstance(values.get("size"), str):
            return given  # pydantic says what it should have been
        family, vocabulary = values.get("family", "llama3"), values.get("vocab_size")
        if family not in FAMILIES or not isinstance(vocabulary, int | None):
            return values
        try:
            sized = values_of(values["size"], family, vocabulary)
        except ConfigError as error:
            raise NotValid(str(error.expected), error.hint, key="size") from error
        sized = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in sized.items()}
        for name in SET_BY_SIZE:
            if values.get(name) is not None and values[name] != sized.get(name):
                raise NotValid(
                    f"that of size {values['size']}, which is {sized.get(name)}", f"leave out size or {name}", key=name
                )
        return {**sized, **{name: value for name, value in values.items() if value is not None}}

    @model_validator(mode="after")
    def _heads(self) -> Model:
        if self.family == "deepseek_v3":
            return self
        if self.head_dim is None and self.dim % (2 * self.n_heads):
            raise ValueError(f"dim ({self.dim}) must be a multiple of 2 * n_heads ({2 * self.n_heads})")
        if self.family != "gpt2" and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads})")
        return self

    @model_validator(mode="after")
    def _family(self) -> Model:
        if self.rope_scaling is not None and self.family not in ("llama3", "qwen3"):
            raise ValueError(f"rope_scaling belongs to families llama3 and qwen3, and the family is {self.family}")
        if isinstance(self.rope_scaling, NtkScaling) and (self.head_dim or self.dim // self.n_heads) == 2:
            raise ValueError("rope_scaling.kind ntk needs heads wider than 2")
        if self.dropout and self.family != "gpt2":
            raise ValueError(f"dropout belongs to family gpt2, and the family is {self.family}")
        if self.family != "deepseek_v3":
            for name in ("experts", "latent"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} belongs to family deepseek_v3, and the family is {self.family}")
            return self
        experts = self.expert_shape
        if self.head_dim is not None:
            raise ValueError("head_dim is not of family deepseek_v3: its head widths are in latent")
        if self.tied:
            raise ValueError("tied is not of family deepseek_v3")
        if experts.top_k > experts.count:
            raise ValueError(f"experts.top_k ({experts.top_k}) is above experts.count ({experts.count})")
        if experts.dense_layers >= self.n_layers:
            raise ValueError(
                f"experts.dense_layers ({experts.dense_layers}) of n_layers ({self.n_layers}) leave none to experts"
            )
        return self

    @property
    def expert_shape(self) -> Experts:
        """The mixture of experts, with its defaults."""
        return self.experts or Experts()

    def shape(self, vocab_size: int, seq_len: int) -> ModelShape:
        """The shape with everything filled in.

        Args:
            vocab_size: Entries of the tokenizer's vocabulary.
            seq_len: Tokens in a sample.
        """
        values = self.model_dump(exclude={"size"})
        values.update(vocab_size=self.vocab_size or vocab_size, max_seq_len=self.max_seq_len or seq_len)
        if self.family == "gpt2":
            values.update(n_kv_heads=self.n_heads)
        if self.family == "deepseek_v3":
            values.update(
                n_kv_heads=self.n_heads, experts=self.expert_shape.model_dump(),
                latent=(self.latent or LatentAttention()).model_dump(),
            )  # fmt: skip
        return ModelShape(**values)


def sized(size: str) -> tuple[str, ...]:
    """The overrides of a recipe that give its model a size in place of the shape that it has."""
    cleared = (f"train.model.{name}=null" for name in (*SET_BY_SIZE, "vocab_size", "tied", "rope_theta", "norm_eps"))
    return (*cleared, f"train.model.size={json.dumps(size)}")


def recipe_of(shape: ModelShape) -> dict[str, Any]:
    """The `train.model` section that gives a shape."""
    values = shape.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in values.items() if name in Model.model_fields}
