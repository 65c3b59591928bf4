"""The two networks of replaced-token detection (ELECTRA: Clark et al., ICLR 2020, arXiv:2003.10555).

The detector is the model, with one score a token in place of the head. The generator is as deep and narrower; it reads
the same token embeddings through a projection, and has a head of its own. It learns from its own loss only: a word is
drawn from what it says, and no gradient goes back through that.

Shapes: B batch, L sequence, D the model's width, G the generator's, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torchtitan.models.common import Linear, RMSNorm
from torchtitan.protocols.module import Module, ModuleDict

from headwater.core.run import ModelShape
from headwater.train.objectives.config import ReplacedToken

STD = 0.02


class Generator(Module):
    """Says what the masked tokens of a text were."""

    @dataclass(kw_only=True, slots=True)
    class Config(Module.Config):
        """Of its parts."""

        narrow: Linear.Config
        layers: list[Any]
        norm: RMSNorm.Config
        lm_head: Linear.Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.narrow = config.narrow.build()
        self.layers = ModuleDict({str(number): layer.build() for number, layer in enumerate(config.layers)})
        self.norm = config.norm.build()
        self.lm_head = config.lm_head.build()

    def forward(self, embedded_BLD: torch.Tensor, attention_masks: Any, positions: torch.Tensor) -> torch.Tensor:
        """Logits, [B, L, V]."""
        h_BLG = self.narrow(embedded_BLD)
        for layer in self.layers.values():
            h_BLG = layer(h_BLG, attention_masks, positions)
        return self.lm_head(self.norm(h_BLG))


def drawn(logits_BLV: torch.Tensor, chances_BL: torch.Tensor) -> torch.Tensor:
    """A word for each place, drawn with its probability by inverting the distribution function; [B, L].

    Args:
        logits_BLV: Of the words.
        chances_BL: For each place a number of [0, 1); what is drawn for a lower one is of no use.
    """
    upto_BLV = logits_BLV.detach().float().softmax(dim=-1).cumsum(dim=-1)
    # The last of the sums is 1 up to rounding.
    words_BL1 = torch.searchsorted(upto_BLV, (chances_BL * upto_BLV[..., -1]).unsqueeze(-1), right=True)
    return words_BL1.squeeze(-1).clamp(max=logits_BLV.shape[-1] - 1)


def detector(
    base: Any, shape: ModelShape, objective: ReplacedToken, layer: Callable[[ModelShape, int], Any]
) -> tuple[Any, dict[str, Any]]:
    """The class of the model, and the configs of the parts that it has in place of, or beside, a decoder's.

    Args:
        base: torchtitan's decoder.
        shape: The model's shape.
        objective: How wide the generator is.
        layer: Makes the config of a block of a shape.
    """

    class Detector(base):
        @dataclass(kw_only=True, slots=True)
        class Config(base.Config):
            generator: Generator.Config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.generator = config.generator.build()

        def forward(
            self, tokens: torch.Tensor, positions: torch.Tensor, attention_masks: Any, chances: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            """The generator's logits [B, L, V], what is at each place then [B, L], and the scores [B, L]."""
            logits_BLV = self.generator(self.tok_embeddings(tokens), attention_masks, positions)
            put_BL = torch.where(chances >= 0, drawn(logits_BLV, chances), tokens)
            return logits_BLV, put_BL, super().forward(put_BL, positions, attention_masks).squeeze(-1)

    narrow = _narrow(shape, objective.generator_ratio)
    generator = Generator.Config(
        narrow=_linear(shape.dim, narrow.dim, STD),
        layers=[layer(narrow, index) for index in range(narrow.n_layers)],
        norm=RMSNorm.Config(normalized_shape=narrow.dim, eps=shape.norm_eps, param_init={"weight": nn.init.ones_}),
        lm_head=_linear(narrow.dim, shape.vocab_size, narrow.dim**-0.5),
    )
    return Detector, {"generator": generator, "lm_head": _linear(shape.dim, 1, shape.dim**-0.5)}


def _narrow(shape: ModelShape, ratio: float) -> ModelShape:
    """The generator's shape: heads as wide as the model's, and fewer of them."""
    groups = shape.n_heads // shape.n_kv_heads
    kv_heads = max(1, round(shape.n_kv_heads * ratio))
    heads = kv_heads * groups
    return shape.model_copy(update={
        "n_kv_heads": kv_heads, "n_heads": heads, "head_dim": shape.head_width, "dim": heads * shape.head_width,
        "ffn_dim": max(8, round(shape.ffn_dim * ratio)),
    })  # fmt: skip


def _linear(width: int, out: int, std: float) -> Linear.Config:
    return Linear.Config(
        in_features=width, out_features=out, param_init={"weight": partial(nn.init.trunc_normal_, std=std)}
    )
