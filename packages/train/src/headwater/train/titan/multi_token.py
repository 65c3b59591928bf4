"""Multi-token prediction (DeepSeek-V3: DeepSeek-AI, 2024, arXiv:2412.19437, section 2.2): torchtitan's own modules,
each a projection of the hidden state and of the embedding of a later token, and one block. Embedding and head are the
model's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torchtitan.models.common import Linear, RMSNorm
from torchtitan.models.deepseek_v3 import MTPTransformerBlock

from headwater.core.run import ModelShape
from headwater.train.objectives.config import MultiToken

STD = 0.02


def later_tokens(
    layer: Callable[[ModelShape, int, Any], Any], shape: ModelShape, objective: MultiToken, attention: Any
) -> list[MTPTransformerBlock.Config]:  # fmt: skip
    """The modules that predict the tokens after the next, nearest first.

    Args:
        layer: Makes the config of a block.
        shape: The model's shape.
        objective: How many.
        attention: Config of the attention product.
    """
    found: list[MTPTransformerBlock.Config] = []
    for number in range(objective.depth):
        block = layer(shape, shape.n_layers + number, attention)
        found.append(MTPTransformerBlock.Config(
            attention=block.attention, feed_forward=block.feed_forward, moe=block.moe,
            attention_norm=block.attention_norm, ffn_norm=block.ffn_norm, enorm=_norm(shape), hnorm=_norm(shape),
            eh_proj=Linear.Config(
                in_features=2 * shape.dim, out_features=shape.dim,
                param_init={"weight": partial(nn.init.trunc_normal_, std=STD)},
            ),
            mtp_norm=_norm(shape),
        ))  # fmt: skip
    return found


def _norm(shape: ModelShape) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=shape.dim, eps=shape.norm_eps, param_init={"weight": nn.init.ones_})
