"""A model as Hugging Face transformers knows it: its configuration, the names of its weights, and the order of the
rows that a rotary embedding turns.

Training and evaluation both speak to transformers, and never to one another: what they must agree on is here.

Shapes: V vocabulary, D model width, H heads (or key/value heads), K head width, F hidden width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ManifestError
from headwater.core.rope import LinearScaling, Llama3Scaling, RopeScaling, YarnScaling
from headwater.core.run import ModelShape


@dataclass(frozen=True)
class Family:
    """What transformers calls a family of models.

    Attributes:
        model_type: `model_type` of its config.json.
        architecture: Its causal language model.
        interleaved: Whether training turns neighbouring pairs of a head's dimensions, (0, 1), (2, 3), …; transformers
            turns dimension `i` with `i + K/2`. Both give the same attention once the rows of the query and key
            projections are put in the other order (RoPE: Su et al., 2021, arXiv:2104.09864).
        query_norm: Whether queries and keys are normalised, head by head.
        settings: Further keys of config.json, which this family has and a checkpoint does not choose.
    """

    model_type: str
    architecture: str
    interleaved: bool
    query_norm: bool
    settings: dict[str, Any]


FAMILIES = {
    "llama3": Family("llama", "LlamaForCausalLM", True, False, {"attention_bias": False, "mlp_bias": False}),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM", False, True, {"attention_bias": False, "use_sliding_window": False}),
}
"""Our name of a family → transformers'."""


@dataclass(frozen=True)
class Weight:
    """A weight: its name and shape in training, its name in transformers, and whether its rows are in another order.

    Attributes:
        name: Training's name.
        hf_name: transformers' name.
        size: Shape; the same in both.
        turned_heads: Heads whose rows are in another order in transformers; 0 for none.
    """

    name: str
    hf_name: str
    size: tuple[int, ...]
    turned_heads: int = 0

    @property
    def count(self) -> int:
        """Its elements."""
        return prod(self.size)


def family_of(shape: ModelShape) -> Family:
    """The family of a model.

    Raises:
        ManifestError: There is no counterpart in transformers, or none that is known here.
    """
    if shape.family not in FAMILIES:
        raise ManifestError(f"models of the family {shape.family} cannot be read or written as those of transformers",
                            expected=" or ".join(FAMILIES))  # fmt: skip
    return FAMILIES[shape.family]


def weights_of(shape: ModelShape) -> list[Weight]:
    """Every weight of a model, in the order of the forward pass; a tied model has no head of its own.

    Raises:
        ManifestError: As `family_of`.
    """
    family = family_of(shape)
    width, inner, head = shape.dim, shape.ffn_dim, shape.head_width
    queries, keys = shape.n_heads * head, shape.n_kv_heads * head
    turned = (shape.n_heads, shape.n_kv_heads) if family.interleaved else (0, 0)
    inside = [
        ("attention_norm", "input_layernorm", (width,), 0),
        ("attention.qkv_linear.wq", "self_attn.q_proj", (queries, width), turned[0]),
        ("attention.qkv_linear.wk", "self_attn.k_proj", (keys, width), turned[1]),
        ("attention.qkv_linear.wv", "self_attn.v_proj", (keys, width), 0),
        ("attention.wo", "self_attn.o_proj", (width, queries), 0),
        ("ffn_norm", "post_attention_layernorm", (width,), 0),
        ("feed_forward.w1", "mlp.gate_proj", (inner, width), 0),
        ("feed_forward.w3", "mlp.up_proj", (inner, width), 0),
        ("feed_forward.w2", "mlp.down_proj", (width, inner), 0),
    ]
    if family.query_norm:
        inside += [(f"attention.{part}_norm", f"self_attn.{part}_norm", (head,), 0) for part in "qk"]
    vocabulary = (shape.vocab_size, width)
    return [
        Weight("tok_embeddings.weight", "model.embed_tokens.weight", vocabulary),
        *(
            Weight(f"layers.{layer}.{name}.weight", f"model.layers.{layer}.{hf_name}.weight", size, heads)
            for layer in range(shape.n_layers)
            for name, hf_name, size, heads in inside
        ),
        Weight("norm.weight", "model.norm.weight", (width,)),
        *([] if shape.tied else [Weight("lm_head.weight", "lm_head.weight", vocabulary)]),
    ]


def rows_to_huggingface(weight: Weight) -> npt.NDArray[np.int64] | None:
    """The order of a weight's rows in transformers: row `i` there is row `order[i]` of training; none: the same."""
    if not weight.turned_heads:
        return None
    pairs = np.arange(weight.size[0]).reshape(weight.turned_heads, -1, 2)
    return pairs.transpose(0, 2, 1).reshape(-1)


def rows_from_huggingface(weight: Weight) -> npt.NDArray[np.int64] | None:
    """The inverse: row `i` of training is row `order[i]` of transformers'; none: the same order."""
    order = rows_to_huggingface(weight)
    return None if order is None else np.argsort(order)


def stored_prefix(names: Iterable[str]) -> str | None:
    """What stands before `tok_embeddings.weight` in a checkpoint's keys ("" or "model."), or none when it is absent."""
    known = set(names)
    return next((prefix for prefix in ("", "model.") if f"{prefix}tok_embeddings.weight" in known), None)


def config_of(shape: ModelShape, dtype: str = "float32") -> dict[str, Any]:
    """The content of config.json, in keys that transformers 4 and 5 and the servers that read such folders know.

    Args:
        shape: The model's shape.
        dtype: Of the weights: float32, bfloat16 or float16.

    Raises:
        ManifestError: As `family_of`.
    """
    family = family_of(shape)
    return {
        "architectures": [family.architecture], "model_type": family.model_type, "torch_dtype": dtype,
        "hidden_size": shape.dim, "num_hidden_layers": shape.n_layers, "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads, "head_dim": shape.head_width, "intermediate_size": shape.ffn_dim,
        "vocab_size": shape.vocab_size, "max_position_embeddings": shape.max_seq_len, "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps, "rope_theta": shape.rope_base,
        "rope_scaling": _scaling_of(shape.rope_scaling),
        "tie_word_embeddings": shape.tied, "attention_dropout": 0.0, "initializer_range": 0.02,
        "bos_token_id": None, "eos_token_id": None, "use_cache": True, **family.settings,
    }  # fmt: skip


def _scaling_of(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """`rope_scaling` of config.json; NTK-aware scaling is nothing but another `rope_theta` there."""
    match scaling:
        case LinearScaling():
            return {"rope_type": "linear", "factor": scaling.factor}
        case YarnScaling():
            return {
                "rope_type": "yarn", "factor": scaling.factor, "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow, "attention_factor": scaling.temperature,
                "original_max_position_embeddings": scaling.original_max_seq_len,
            }  # fmt: skip
        case Llama3Scaling():
            return {
                "rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_seq_len,
            }  # fmt: skip
        case _:
            return None
