"""From the training model's weight names and rotary layout to those of transformers' Llama.

The training model rotates neighbouring pairs of a head's dimensions, (0, 1), (2, 3), …; transformers rotates
dimension `i` with dimension `i + head_dim / 2`. Both compute the same attention once the rows of the query and key
projections are put in the other order, which is what `interleaved_to_halves` does (RoPE: Su et al. 2021,
arXiv:2104.09864).

Shapes: D model width, H heads (or key/value heads), K head width.
"""

import re
from collections.abc import Iterable

import torch

TOP_LEVEL = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
IN_LAYER = {
    "attention.qkv_linear.wq.weight": "self_attn.q_proj.weight",
    "attention.qkv_linear.wk.weight": "self_attn.k_proj.weight",
    "attention.qkv_linear.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")


def transformers_name(name: str) -> str | None:
    """The transformers name of a training weight, or None when there is no such weight."""
    if name in TOP_LEVEL:
        return TOP_LEVEL[name]
    match = _LAYER.fullmatch(name)
    if match and match.group(2) in IN_LAYER:
        return f"model.layers.{match.group(1)}.{IN_LAYER[match.group(2)]}"
    return None


def expected_names(n_layers: int, tied: bool) -> set[str]:
    """Every training weight name that a model of `n_layers` layers has; a tied model has no head of its own."""
    names = {name for name in TOP_LEVEL if not (tied and name == "lm_head.weight")}
    return names | {f"layers.{layer}.{name}" for layer in range(n_layers) for name in IN_LAYER}


def model_prefix(names: Iterable[str]) -> str | None:
    """What stands before `tok_embeddings.weight` in a checkpoint's keys ("" or "model."), or None when it is absent."""
    known = set(names)
    return next((prefix for prefix in ("", "model.") if f"{prefix}tok_embeddings.weight" in known), None)


def interleaved_to_halves(weight_HKxD: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Reorders a query or key projection from pairs (0, 1), (2, 3), … to halves (i, i + K/2) within each head."""
    rows, width = weight_HKxD.shape
    return weight_HKxD.view(n_heads, rows // n_heads // 2, 2, width).transpose(1, 2).reshape(rows, width)
