"""What a model is called in transformers."""

import numpy as np
import pytest

from headwater.core.huggingface import (
    Weight,
    config_of,
    rows_from_huggingface,
    rows_to_huggingface,
    stored_prefix,
    weights_of,
)
from headwater.core.run import ModelShape

LLAMA = ModelShape(
    dim=64, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=160, vocab_size=512, rope_theta=5e5, norm_eps=1e-5,
    max_seq_len=256,
)  # fmt: skip
QWEN = LLAMA.model_copy(update={"family": "qwen3", "head_dim": 32, "tied": True})


def test_rotary_rows_are_reordered_within_heads():
    weight = Weight("wq", "q_proj", (8, 3), turned_heads=2)  # 2 heads of 4 rows
    assert rows_to_huggingface(weight).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    wide = Weight("wq", "q_proj", (48, 3), turned_heads=4)
    rows = np.arange(48)
    assert np.array_equal(rows[rows_to_huggingface(wide)][rows_from_huggingface(wide)], rows)


def test_only_queries_and_keys_of_llama_are_turned():
    turned = {weight.hf_name: weight.turned_heads for weight in weights_of(LLAMA) if weight.turned_heads}
    assert turned == {
        f"model.layers.{layer}.self_attn.{part}_proj.weight": heads
        for layer in (0, 1)
        for part, heads in (("q", 4), ("k", 2))
    }
    assert all(rows_to_huggingface(weight) is None for weight in weights_of(QWEN))


def test_a_tied_model_has_no_head_and_qwen_has_norms_of_a_heads_width():
    sizes = {weight.hf_name: weight.size for weight in weights_of(QWEN)}
    assert "lm_head.weight" not in sizes and "lm_head.weight" in {w.hf_name for w in weights_of(LLAMA)}
    assert sizes["model.layers.1.self_attn.q_norm.weight"] == (32,)
    assert sizes["model.layers.0.self_attn.q_proj.weight"] == (128, 64)
    assert sizes["model.layers.0.self_attn.o_proj.weight"] == (64, 128)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_prefix_of_a_checkpoint(prefix):
    assert stored_prefix([f"{prefix}norm.weight", f"{prefix}tok_embeddings.weight"]) == prefix
    assert stored_prefix(["optimizer.lr"]) is None


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({"kind": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"kind": "yarn", "factor": 4.0, "original_max_seq_len": 64},
         {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.13862943611,
          "original_max_position_embeddings": 64}),
        ({"factor": 32.0},
         {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}),
    ],
)  # fmt: skip
def test_scaling_of_the_rotary_embedding_is_written_as_transformers_reads_it(scaling, expected):
    assert config_of(LLAMA)["rope_scaling"] is None
    for shape in (LLAMA, QWEN):
        scaled = ModelShape.model_validate({**shape.model_dump(), "rope_scaling": scaling})
        assert config_of(scaled)["rope_scaling"] == pytest.approx(expected)
        assert config_of(scaled)["rope_theta"] == shape.rope_theta


def test_ntk_aware_scaling_is_a_larger_base():
    scaled = ModelShape.model_validate({**LLAMA.model_dump(), "rope_scaling": {"kind": "ntk", "factor": 4.0}})
    config = config_of(scaled)
    assert config["rope_scaling"] is None
    assert config["rope_theta"] == pytest.approx(5e5 * 4 ** (16 / 14))
