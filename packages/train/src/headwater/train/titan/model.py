"""Decoders of any shape, as torchtitan's own llama3, qwen3 and deepseek_v3, and gpt2 of its parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torchtitan.distributed.pipeline_parallel import pipeline_llm
from torchtitan.models.common import Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import get_attention_config, make_ffn_config, make_gqa_config
from torchtitan.models.common.param_init import depth_scaled_std, skip_param_init
from torchtitan.models.deepseek_v3 import DeepSeekV3Model, parallelize_deepseekv3
from torchtitan.models.deepseek_v3.state_dict_adapter import DeepSeekV3StateDictAdapter
from torchtitan.models.llama3 import Llama3Model, parallelize_llama
from torchtitan.models.llama3.model import Llama3TransformerBlock
from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
from torchtitan.models.qwen3 import Qwen3Model, parallelize_qwen3
from torchtitan.models.qwen3.model import Qwen3TransformerBlock
from torchtitan.models.qwen3.state_dict_adapter import Qwen3StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec

from headwater.core.errors import ConfigError
from headwater.core.run import ModelShape
from headwater.train.mup import Mup
from headwater.train.objectives.config import Kinds, MultiToken, ReplacedToken
from headwater.train.titan import cpu
from headwater.train.titan.experts import balance_experts, expert_layer
from headwater.train.titan.gpt2 import Gpt2Model, gpt2_layer, gpt2_parts
from headwater.train.titan.initial import key_parameters
from headwater.train.titan.multi_token import later_tokens
from headwater.train.titan.replaced_token import detector
from headwater.train.titan.rope import by_halves, pairwise

STD = 0.02
"""Standard deviation of the initial matrices, as in GPT-2 and Llama."""


@dataclass(frozen=True)
class Family:
    """What torchtitan has for one family of models."""

    model: Any
    layer: Callable[[ModelShape, int, Any], Any]
    parallelize: Callable[..., Any]
    adapter: Any
    parts: Callable[[ModelShape], dict[str, Any]] = lambda shape: {}
    """What the whole model has in place of what is common to the others."""


def model_spec(
    shape: ModelShape, device: str, seed: int = 0, mup: Mup | None = None, objective: Kinds | None = None,
    attention: str = "auto",
) -> ModelSpec:  # fmt: skip
    """The spec that torchtitan's trainer builds the model from.

    Args:
        shape: The model's shape.
        device: "cpu" takes the attention and the reductions that work there.
        seed: Of the initial weights.
        mup: How they depend on the width.
        objective: What the model is trained to predict; none: the next token. Some give it more parts.
        attention: How attention is computed, as `train.attention` says.

    Raises:
        ConfigError: The device has no such attention.
    """
    family, inner = FAMILIES[shape.family], _attention(attention, device)
    head_std = shape.dim**-0.5
    # A tied embedding takes its values from the head.
    embedding_init = skip_param_init if shape.tied else partial(nn.init.normal_, std=1.0)
    common = {
        "tok_embeddings": Embedding.Config(
            num_embeddings=shape.vocab_size, embedding_dim=shape.dim, param_init={"weight": embedding_init}
        ),
        "norm": _norm(shape),
        "lm_head": Linear.Config(
            in_features=shape.dim,
            out_features=shape.vocab_size,
            param_init={"weight": partial(nn.init.trunc_normal_, std=head_std, a=-3 * head_std, b=3 * head_std)},
        ),
    }
    layers = [family.layer(shape, index, inner) for index in range(shape.n_layers)]
    base, parts = family.model, family.parts(shape)
    if isinstance(objective, ReplacedToken):
        base, heads = detector(base, shape, objective, lambda small, index: family.layer(small, index, inner))
        parts |= heads
    elif isinstance(objective, MultiToken):
        parts |= {"mtp_layers": later_tokens(family.layer, shape, objective, inner)}
    config = _model_class(base, device, seed, _std_factors(shape, mup)).Config(
        **{**common, **parts},
        dim=shape.dim,
        vocab_size=shape.vocab_size,
        enable_weight_tying=shape.tied,
        layers=layers,
    )
    return ModelSpec(
        name=shape.family, flavor="headwater", model=config,
        parallelize_fn=partial(_parallelize, family.parallelize, device), pipelining_fn=pipeline_llm,
        post_optimizer_build_fn=balance_experts if shape.experts else None,
        state_dict_adapter=family.adapter,
    )  # fmt: skip


def _attention(kind: str, device: str) -> Any:
    here = ("auto", "sdpa") if device == "cpu" else ("auto", "flex", "flex_flash", "varlen")
    if kind not in here:
        raise ConfigError(f"train.attention is not for this device ({device})", found=kind, expected=", ".join(here))
    if device == "cpu":
        return cpu.attention_config()
    try:
        return get_attention_config("flex" if kind == "auto" else kind)
    except ValueError as error:
        raise ConfigError(f"this GPU has no attention {kind}", found=error, expected="train.attention: flex") from error


def _llama_layer(shape: ModelShape, index: int, attention: Any) -> Any:
    return Llama3TransformerBlock.Config(**_dense_parts(shape, index, attention, pairwise(shape)))


def _qwen_layer(shape: ModelShape, index: int, attention: Any) -> Any:
    qk_norm = _norm(shape, shape.head_width)
    return Qwen3TransformerBlock.Config(**_dense_parts(shape, index, attention, by_halves(shape), qk_norm=qk_norm))


def _dense_parts(shape: ModelShape, index: int, attention: Any, rope: Any, **more: Any) -> dict[str, Any]:
    inner = {"weight": partial(nn.init.trunc_normal_, std=STD)}
    outer = {"weight": partial(nn.init.trunc_normal_, std=depth_scaled_std(STD, index))}
    return {
        "attention_norm": _norm(shape),
        "ffn_norm": _norm(shape),
        "attention": make_gqa_config(
            dim=shape.dim, n_heads=shape.n_heads, n_kv_heads=shape.n_kv_heads, head_dim=shape.head_width,
            fuse_qkv=True, wqkv_param_init=inner, wo_param_init=outer, inner_attention=attention, rope=rope, **more,
        ),
        "feed_forward": make_ffn_config(
            dim=shape.dim, hidden_dim=shape.ffn_dim, w1_param_init=inner, w2w3_param_init=outer
        ),
    }  # fmt: skip


def _norm(shape: ModelShape, width: int | None = None) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=width or shape.dim, eps=shape.norm_eps, param_init={"weight": nn.init.ones_})


FAMILIES = {
    "llama3": Family(Llama3Model, _llama_layer, parallelize_llama, Llama3StateDictAdapter),
    "qwen3": Family(Qwen3Model, _qwen_layer, parallelize_qwen3, Qwen3StateDictAdapter),
    "deepseek_v3": Family(DeepSeekV3Model, expert_layer, parallelize_deepseekv3, DeepSeekV3StateDictAdapter),
    "gpt2": Family(Gpt2Model, gpt2_layer, parallelize_llama, None, gpt2_parts),
}


def _std_factors(shape: ModelShape, mup: Mup | None) -> Callable[[str], float]:
    """Module name → factor of the standard deviation of its initial matrices."""
    if mup is None:
        return lambda name: 1.0
    width = shape.dim
    # Without a width to transfer from, the head starts at 1 / sqrt(width) in the families but gpt2.
    head = mup.std_factor(width, head=True) * (1.0 if shape.family == "gpt2" else (width / mup.base_width) ** 0.5)
    block = mup.std_factor(width, head=False)
    return lambda name: head if name == "lm_head" else block if name.startswith("layers.") else 1.0


def _model_class(base: Any, device: str, seed: int, std_factor: Callable[[str], float]) -> Any:
    """The model with initial weights of the seed and, on a CPU, with dense masks."""

    class HeadwaterModel(base):
        @dataclass(kw_only=True, slots=True)
        class Config(base.Config):
            pass

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            key_parameters(self, seed, std_factor)

        def get_attention_masks(self, positions: torch.Tensor, seen: torch.Tensor | None = None) -> Any:
            if seen is None:
                return super().get_attention_masks(positions)
            return self._create_flex_attention_mask(positions, self.config.first_attention, [_sees(positions, seen)])

    return cpu.dense_mask_model(HeadwaterModel) if device == "cpu" else HeadwaterModel


def _sees(positions_BL: torch.Tensor, seen_BL: torch.Tensor) -> Callable[..., torch.Tensor]:
    """FlexAttention's form of `cpu.document_mask`."""
    starts_BL = torch.arange(positions_BL.shape[1], device=positions_BL.device) - positions_BL

    def sees(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        same = starts_BL[batch, query] == starts_BL[batch, key]
        return same & ((query >= key) | seen_BL[batch, key])

    return sees


@contextmanager
def _without_fsdp(parallelize: Callable[..., Any]) -> Iterator[None]:
    """Leaves out what torchtitan's parallelize functions do last, whatever the degrees."""
    module = sys.modules[parallelize.__module__]
    (name,) = (name for name in vars(module) if name.startswith("apply_fsdp_to_") and name.endswith("decoder"))
    original = getattr(module, name)
    setattr(module, name, lambda model, *_, **__: model)
    try:
        yield
    finally:
        setattr(module, name, original)


def _parallelize(parallelize: Callable[..., Any], device: str, model: Any, **arguments: Any) -> Any:
    # For one process FSDP does nothing but set the precision, and in float32 not even that; its hooks would take a
    # sixth of a small model's step.
    alone = arguments["parallel_dims"].world_size == 1 and arguments["training"].mixed_precision_param == "float32"
    with _without_fsdp(parallelize) if alone else nullcontext():
        model = parallelize(model, **arguments)
    if device == "cpu":
        cpu.force_sum_reduction(model)
    return model
