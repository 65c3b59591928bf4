"""The GPT-2-style family: transformers' GPT-2 is the oracle of its forward pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from model_fixtures import build, logits
from train_fixtures import VOCAB, write_recipe

from headwater.core.errors import ConfigError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.run import ModelShape, read_run
from headwater.train.interchange.export_huggingface import Wanted, export_huggingface
from headwater.train.losses import read_losses
from headwater.train.model import Model
from headwater.train.runner import train

SHAPE = ModelShape(
    family="gpt2", dim=32, n_layers=2, n_heads=4, n_kv_heads=4, ffn_dim=128, vocab_size=VOCAB, rope_theta=1e4,
    norm_eps=1e-5, max_seq_len=64, tied=True,
)  # fmt: skip
MODEL = {"family": "gpt2", "dim": 32, "n_layers": 2, "n_heads": 2, "ffn_dim": 64, "tied": True, "dropout": 0.2}


def as_transformers(model: torch.nn.Module) -> torch.nn.Module:
    """The same weights in transformers' GPT-2, whose biases stay 0."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=SHAPE.vocab_size, n_positions=SHAPE.max_seq_len, n_embd=SHAPE.dim, n_layer=SHAPE.n_layers,
        n_head=SHAPE.n_heads, activation_function="gelu", layer_norm_epsilon=SHAPE.norm_eps,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config)
    ours = model.state_dict()
    state = {name: torch.zeros_like(value) for name, value in theirs.state_dict().items()}
    state["transformer.wte.weight"] = state["lm_head.weight"] = ours["lm_head.weight"]
    state["transformer.wpe.weight"] = ours["pos_embeddings.weight"]
    state["transformer.ln_f.weight"] = ours["norm.weight"]
    for layer in range(SHAPE.n_layers):
        at, to = f"layers.{layer}.", f"transformer.h.{layer}."
        state[f"{to}ln_1.weight"] = ours[f"{at}attention_norm.weight"]
        state[f"{to}ln_2.weight"] = ours[f"{at}ffn_norm.weight"]
        parts = [ours[f"{at}attention.qkv_linear.w{part}.weight"] for part in "qkv"]
        state[f"{to}attn.c_attn.weight"] = torch.cat(parts).T
        state[f"{to}attn.c_proj.weight"] = ours[f"{at}attention.wo.weight"].T
        state[f"{to}mlp.c_fc.weight"] = ours[f"{at}feed_forward.w1.weight"].T
        state[f"{to}mlp.c_proj.weight"] = ours[f"{at}feed_forward.w2.weight"].T
    theirs.load_state_dict(state)
    return theirs.eval()


def test_the_forward_pass_is_that_of_gpt2() -> None:
    model = build(SHAPE)
    tokens = torch.randint(0, VOCAB, (2, 50), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = as_transformers(model)(tokens).logits
    found = logits(model, tokens)
    assert expected.abs().max() > 1 and (found - expected).abs().max() < 1e-4


def test_a_packed_document_is_scored_as_if_alone() -> None:
    model = build(SHAPE)
    tokens = torch.arange(10).unsqueeze(0)
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]])
    with torch.no_grad():
        packed = model(tokens, positions=positions, attention_masks=model.get_attention_masks(positions=positions))
    torch.testing.assert_close(packed[:, 4:], logits(model, tokens[:, 4:]), rtol=1e-5, atol=1e-5)


def test_dropout_acts_in_training_and_in_nothing_else() -> None:
    model = build(SHAPE.model_copy(update={"dropout": 0.5}))
    tokens = torch.arange(20).unsqueeze(0)
    assert torch.equal(logits(model, tokens), logits(model, tokens))
    assert torch.equal(logits(model, tokens), logits(build(SHAPE), tokens))
    model.train()
    assert not torch.equal(logits(model, tokens), logits(model, tokens))


def test_initial_weights_are_as_published() -> None:
    from headwater.train import titan

    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    shape = SHAPE.model_copy(update={"dim": 128, "n_layers": 4, "ffn_dim": 512})
    model = model_spec(shape, "cpu", 3).model.build()
    model.init_weights(buffer_device=None)
    titan.stop()
    weights = model.state_dict()
    residual = 0.02 / (2 * 4) ** 0.5
    for name, std in (
        ("layers.1.attention.qkv_linear.wq.weight", 0.02), ("layers.1.attention.wo.weight", residual),
        ("layers.3.feed_forward.w1.weight", 0.02), ("layers.3.feed_forward.w2.weight", residual),
        ("pos_embeddings.weight", 0.02), ("tok_embeddings.weight", 0.02),
    ):  # fmt: skip
        assert float(weights[name].std()) == pytest.approx(std, rel=0.05), name
    assert torch.equal(weights["tok_embeddings.weight"], weights["lm_head.weight"])
    # 4 blocks of 12 D² and two norms, the last norm, and the two tables.
    assert sum(p.numel() for p in model.parameters()) == 4 * (12 * 128**2 + 256) + 128 + 128 * (VOCAB + 64)


def test_with_dropout_too_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, data: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", model=MODEL, steps=8)
    one, two = (Path(shutil.copytree(data, tmp_path / name)) for name in ("one", "two"))
    train(recipe, one)
    shutil.copytree(one / "train", two / "train")
    (two / "train" / "manifest.json").unlink()
    shutil.rmtree(RunLayout(two).checkpoint(8))
    train(recipe, two)
    assert read_losses(one / "train" / "losses.jsonl") == read_losses(two / "train" / "losses.jsonl")
    digests = [read_run(RunLayout(run).checkpoint(8)).weights_digest for run in (one, two)]
    assert digests[0] == digests[1]
    losses = [row["loss"] for row in read_losses(one / "train" / "losses.jsonl")]
    assert losses[-1] < losses[0]
    with pytest.raises(ManifestError, match="family gpt2"):
        export_huggingface(RunLayout(one).checkpoint(8), tmp_path / "out", Wanted())


@pytest.mark.parametrize("changes", ["train.parallel.tp=2", "train.parallel.cp=2", "train.parallel.pp=2"])
def test_layouts_that_it_does_not_have_are_refused(tmp_path: Path, data: Path, changes: str) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", model=MODEL)
    with pytest.raises(ConfigError, match="gpt2"):
        train(recipe, data, [changes])


def test_dropout_belongs_to_it() -> None:
    with pytest.raises(ValueError, match="dropout belongs to family gpt2"):
        Model(dropout=0.1)
