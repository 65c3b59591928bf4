"""A Llama-3-style model of any shape, as torchtitan's own llama3."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torchtitan.models.common import ComplexRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import get_attention_config, make_ffn_config, make_gqa_config
from torchtitan.models.common.param_init import depth_scaled_std, skip_param_init
from torchtitan.models.llama3 import Llama3Model, parallelize_llama
from torchtitan.models.llama3.model import Llama3TransformerBlock
from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec

from headwater.core.run import ModelShape
from headwater.train.titan import cpu

STD = 0.02
"""Standard deviation of the initial matrices, as in GPT-2 and Llama."""


def model_spec(shape: ModelShape, device: str) -> ModelSpec:
    """The spec that torchtitan's trainer builds the model from.

    Args:
        shape: The model's shape.
        device: "cpu" takes the attention and the reductions that work there.
    """
    attention = cpu.attention_config() if device == "cpu" else get_attention_config("flex")
    head_std = shape.dim**-0.5
    # A tied embedding takes its values from the head.
    embedding_init = skip_param_init if shape.tied else partial(nn.init.normal_, std=1.0)
    config = _model_class(device).Config(
        dim=shape.dim,
        vocab_size=shape.vocab_size,
        enable_weight_tying=shape.tied,
        tok_embeddings=Embedding.Config(
            num_embeddings=shape.vocab_size, embedding_dim=shape.dim, param_init={"weight": embedding_init}
        ),
        norm=_norm(shape),
        lm_head=Linear.Config(
            in_features=shape.dim,
            out_features=shape.vocab_size,
            param_init={"weight": partial(nn.init.trunc_normal_, std=head_std, a=-3 * head_std, b=3 * head_std)},
        ),
        layers=[_layer(shape, index, attention) for index in range(shape.n_layers)],
    )
    return ModelSpec(
        name="llama3", flavor="headwater", model=config,
        parallelize_fn=partial(_parallelize, device=device), pipelining_fn=None, post_optimizer_build_fn=None,
        state_dict_adapter=Llama3StateDictAdapter,
    )  # fmt: skip


def _layer(shape: ModelShape, index: int, attention: Any) -> Llama3TransformerBlock.Config:
    inner = {"weight": partial(nn.init.trunc_normal_, std=STD)}
    outer = {"weight": partial(nn.init.trunc_normal_, std=depth_scaled_std(STD, index))}
    return Llama3TransformerBlock.Config(
        attention_norm=_norm(shape),
        ffn_norm=_norm(shape),
        attention=make_gqa_config(
            dim=shape.dim, n_heads=shape.n_heads, n_kv_heads=shape.n_kv_heads, head_dim=shape.head_width,
            fuse_qkv=True, wqkv_param_init=inner, wo_param_init=outer, inner_attention=attention, rope=_rope(shape),
        ),
        feed_forward=make_ffn_config(
            dim=shape.dim, hidden_dim=shape.ffn_dim, w1_param_init=inner, w2w3_param_init=outer
        ),
    )  # fmt: skip


def _rope(shape: ModelShape) -> ComplexRoPE.Config:
    config = ComplexRoPE.Config(dim=shape.head_width, max_seq_len=shape.max_seq_len, theta=shape.rope_theta)
    if (scaling := shape.rope_scaling) is None:
        return config
    return replace(
        config, scaling="llama", scaling_factor=scaling.factor, low_freq_factor=scaling.low_freq_factor,
        high_freq_factor=scaling.high_freq_factor, original_max_position_embeddings=scaling.original_max_seq_len,
    )  # fmt: skip


def _norm(shape: ModelShape) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=shape.dim, eps=shape.norm_eps, param_init={"weight": nn.init.ones_})


def _model_class(device: str) -> Any:
    return cpu.dense_mask_model(Llama3Model) if device == "cpu" else Llama3Model


def _parallelize(model: Any, *, device: str, **arguments: Any) -> Any:
    model = parallelize_llama(model, **arguments)
    if device == "cpu":
        cpu.force_sum_reduction(model)
    return model
