"""A mixture of experts with latent attention in the shape of DeepSeek-V3, as torchtitan's own deepseek_v3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torchtitan.components.optimizer import register_moe_load_balancing_hook
from torchtitan.models.common import ComplexRoPE, RMSNorm
from torchtitan.models.common.config_utils import (
    make_ffn_config,
    make_moe_config,
    make_routed_experts_config,
    make_router_config,
)
from torchtitan.models.common.moe import GroupedExperts
from torchtitan.models.common.param_init import depth_scaled_std
from torchtitan.models.deepseek_v3 import make_mla_attention_config
from torchtitan.models.deepseek_v3.model import DeepSeekV3TransformerBlock

from headwater.core.run import Experts, LatentAttention, ModelShape

# Shapes: R tokens routed to the local experts, D model width, F hidden width, E local experts.

STD = 0.02
ROUTE_SCALE = 2.5
"""The factor on the normalised scores, as in DeepSeek-V3."""


class ExactExperts(GroupedExperts):
    """The experts' SwiGLU in the precision of its inputs.

    Covers `torchtitan/models/common/moe.py:107`, which multiplies in bfloat16 also when float32 is asked for.
    Unnecessary once it does not.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(GroupedExperts.Config):
        """As the base."""

    def forward(self, x_RD: torch.Tensor, num_tokens_per_expert_E: torch.Tensor) -> torch.Tensor:
        """The output of each token's expert; tokens come sorted by expert."""
        w1_EFD, w2_EDF, w3_EFD = (
            weight.to_local() if isinstance(weight, DTensor) else weight
            for weight in (self.w1_EFD, self.w2_EDF, self.w3_EFD)
        )
        offsets_E = torch.cumsum(num_tokens_per_expert_E, dim=0, dtype=torch.int32)

        def times(left: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return self._grouped_mm(A=left, B_t=weight.to(left.dtype).transpose(-2, -1), offs=offsets_E)

        return times(F.silu(times(x_RD, w1_EFD)) * times(x_RD, w3_EFD), w2_EDF)


def expert_biases(model_parts: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    """The biases that balance the experts' load, as this process holds them: an optimizer's hook changes them."""
    for part in model_parts:
        for name, buffer in part.named_buffers():
            if name.endswith("expert_bias_E"):
                yield buffer.to_local() if isinstance(buffer, DTensor) else buffer


def expert_blocks(model_parts: Iterable[nn.Module], n_layers: int) -> Iterator[tuple[int, nn.Module]]:
    """The blocks with experts that this process holds, by their number; those that predict later tokens come last."""
    for part in model_parts:
        numbered = [(int(name), block) for name, block in part.get_submodule("layers").named_children()]
        later = getattr(part, "mtp_layers", None) or ()
        numbered += [(n_layers + place, block) for place, block in enumerate(later)]
        yield from ((number, block) for number, block in numbered if getattr(block, "moe_enabled", False))


def balance_experts(optimizers: Any, model_parts: list[nn.Module], parallel_dims: Any) -> None:
    """Registers torchtitan's hook, which balances the load of experts, also for blocks that predict later tokens.

    Covers `torchtitan/components/optimizer/optimizer.py`, `register_moe_load_balancing_hook`, which looks at `layers`
    alone. Unnecessary once it looks at `mtp_layers` too.

    Args:
        optimizers: torchtitan's container.
        model_parts: Of this process.
        parallel_dims: The layout.
    """
    later = [_Layers(blocks) for part in model_parts if (blocks := getattr(part, "mtp_layers", None))]
    register_moe_load_balancing_hook(optimizers, [*model_parts, *later], parallel_dims)


class _Layers(nn.Module):
    """Blocks where torchtitan's hook looks for them."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(place): block for place, block in enumerate(blocks)})


def expert_layer(shape: ModelShape, index: int, inner_attention: Any) -> DeepSeekV3TransformerBlock.Config:
    """The config of one block.

    Args:
        shape: The model's shape, of family "deepseek_v3".
        index: Of the block, from 0.
        inner_attention: Config of the attention product.
    """
    experts, latent = shape.experts or Experts(), shape.latent or LatentAttention()
    moe = index >= experts.dense_layers
    block = DeepSeekV3TransformerBlock.Config(
        attention=_attention(shape, latent, index, inner_attention),
        attention_norm=RMSNorm.Config(normalized_shape=shape.dim, param_init=_norm_init()),
        ffn_norm=RMSNorm.Config(normalized_shape=shape.dim, param_init=_norm_init()),
        feed_forward=None if moe else _feed_forward(shape.dim, shape.ffn_dim, index),
        moe=_mixture(shape.dim, experts, index) if moe else None,
    )
    for _, norm, _, _ in block.traverse(RMSNorm.Config):
        norm.eps = shape.norm_eps  # pyright: ignore[reportAttributeAccessIssue]
    return block


def _attention(shape: ModelShape, latent: LatentAttention, index: int, inner_attention: Any) -> Any:
    config = make_mla_attention_config(
        layer_id=index, dim=shape.dim, n_heads=shape.n_heads, q_lora_rank=latent.q_rank, kv_lora_rank=latent.kv_rank,
        qk_nope_head_dim=latent.nope_dim, qk_rope_head_dim=latent.rope_dim, v_head_dim=latent.value_dim,
        attn_backend="flex", linear_init=_linear_init(STD), norm_init=_norm_init(),
        depth_init=lambda layer: _linear_init(depth_scaled_std(STD, layer)),
        rope=ComplexRoPE.Config(dim=latent.rope_dim, max_seq_len=shape.max_seq_len, theta=shape.rope_theta),
    )  # fmt: skip
    config.inner_attention = inner_attention
    return config


def _mixture(dim: int, experts: Experts, index: int) -> Any:
    inner, outer = _linear_init(STD), _linear_init(depth_scaled_std(STD, index))
    routed = make_routed_experts_config(
        dim=dim, hidden_dim=experts.ffn_dim, num_experts=experts.count, top_k=experts.top_k, comm_backend="standard",
        param_init={"w1_EFD": inner["weight"], "w2_EDF": outer["weight"], "w3_EFD": outer["weight"]},
    )  # fmt: skip
    plain = routed.inner_experts
    routed.inner_experts = ExactExperts.Config(
        dim=plain.dim, hidden_dim=plain.hidden_dim, num_experts=plain.num_experts, param_init=plain.param_init
    )
    return make_moe_config(
        num_experts=experts.count,
        router=make_router_config(
            dim=dim, num_experts=experts.count, gate_param_init=outer, top_k=experts.top_k, score_func="sigmoid",
            route_norm=True, route_scale=ROUTE_SCALE,
        ),
        routed_experts=routed,
        shared_experts=_feed_forward(dim, experts.ffn_dim * experts.shared, index),
    )  # fmt: skip


def _feed_forward(dim: int, hidden_dim: int, index: int) -> Any:
    return make_ffn_config(
        dim=dim, hidden_dim=hidden_dim, w1_param_init=_linear_init(STD),
        w2w3_param_init=_linear_init(depth_scaled_std(STD, index)),
    )  # fmt: skip


def _linear_init(std: float) -> dict[str, Any]:
    return {"weight": partial(nn.init.trunc_normal_, std=std)}


def _norm_init() -> dict[str, Any]:
    return {"weight": nn.init.ones_}
