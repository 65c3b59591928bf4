"""Initial weights are a function of the seed and the parameter's name."""

from __future__ import annotations

import pytest
import torch
from train_fixtures import VOCAB

from headwater.core.run import Experts, LatentAttention, ModelShape
from headwater.train import titan

DENSE = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 48, "vocab_size": VOCAB,
         "rope_theta": 1e4, "norm_eps": 1e-6, "max_seq_len": 16}  # fmt: skip
SHAPES = {
    "llama3": ModelShape(**DENSE),
    "tied": ModelShape(**DENSE, tied=True),
    "qwen3": ModelShape(**DENSE, family="qwen3", head_dim=12),
    "deepseek_v3": ModelShape(
        **(DENSE | {"n_kv_heads": 4}), family="deepseek_v3", experts=Experts(count=4, top_k=2, ffn_dim=16),
        latent=LatentAttention(kv_rank=16, q_rank=8, nope_dim=8, rope_dim=4, value_dim=8),
    ),
}  # fmt: skip


def built(shape: ModelShape, seed: int) -> torch.nn.Module:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    model = model_spec(shape, "cpu", seed).model.build()
    titan.stop()
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_the_seed_decides_and_the_random_state_does_not(name: str) -> None:
    states = []
    for seed, noise in ((1, 11), (1, 12), (2, 11)):
        torch.manual_seed(noise)
        model = built(SHAPES[name], seed)
        before = torch.get_rng_state()
        model.init_weights(buffer_device=None)  # type: ignore[operator]
        assert torch.equal(before, torch.get_rng_state())
        states.append({key: value.clone() for key, value in model.state_dict().items()})
    one, again, other = states
    assert all(torch.equal(one[key], again[key]) for key in one)
    drawn = [key for key in one if "norm" not in key and "bias" not in key]
    assert drawn and not any(torch.equal(one[key], other[key]) for key in drawn)
    assert not torch.equal(one["layers.0.attention.wo.weight"], one["layers.1.attention.wo.weight"])


@pytest.mark.parametrize("name", SHAPES)
def test_a_part_of_the_model_starts_as_in_the_whole(name: str) -> None:
    whole, part = built(SHAPES[name], 5), built(SHAPES[name], 5)
    del part.layers["0"]  # as a later pipeline stage
    if name != "tied":
        part.tok_embeddings = None
    for model in (whole, part):
        model.init_weights(buffer_device=None)  # type: ignore[operator]
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in part.state_dict().items())


@pytest.mark.parametrize("name", SHAPES)
def test_every_family_is_causal_and_keeps_documents_apart(name: str) -> None:
    model = built(SHAPES[name], 3)
    model.init_weights(buffer_device=None)  # type: ignore[operator]
    model.eval()
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0]])
    masks = model.get_attention_masks(positions=positions)  # type: ignore[operator]

    def logits(tokens: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([tokens]), positions=positions, attention_masks=masks)[0]

    before, after = logits([1, 2, 3, 4, 5, 6, 7, 8]), logits([9, 10, 11, 4, 5, 6, 12, 8])
    torch.testing.assert_close(before[3:6], after[3:6], rtol=0, atol=1e-6)
    torch.testing.assert_close(before[7], after[7], rtol=0, atol=1e-6)
    assert (before[6] - after[6]).abs().max() > 1e-3
