"""Evaluation, which reads checkpoints itself, and an export of the same checkpoint: one model."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from headwater.core.layout import RunLayout
from headwater.core.run import read_run
from headwater.eval.checkpoint import load
from headwater.train.interchange.export_huggingface import Wanted, export_huggingface
from headwater.train.interchange.import_huggingface import import_huggingface
from headwater.train.processes import Processes
from headwater.train.runner import train
from headwater.train.synthetic import make_tokenizer, make_tokens

VOCAB = 97
MODEL = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_dim": 64, "max_seq_len": 32}


def train_on_two(recipe: Path, run: Path, *overrides: str) -> None:
    with Processes(2, run.parent / "log.txt", train, recipe, run, overrides) as group:
        assert group.finish() == [0, 0], group.last_words()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["dp_shard", "tp"])
@pytest.mark.parametrize("family", ["llama3", "qwen3"])
def test_a_sharded_checkpoint_its_export_and_a_run_that_starts_from_it(tmp_path, layout, family):
    run = RunLayout(tmp_path / "run")
    make_tokenizer(run, VOCAB)
    make_tokens(run, "web", 60, vocab_size=VOCAB, seed=0)
    section = {
        "model": {**MODEL, "family": family}, "seq_len": 32, "global_batch": 8, "micro_batch": 4, "steps": 2,
        "threads": 1, "device": "cpu", "optimizer": {"learning_rate": 0.01}, "validation": {"batches": 1},
        "parallel": {layout: 2},
    }  # fmt: skip
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump({"name": "t", "seed": 1, "mixture": {"weights": {"web": 1}}, "train": section}))
    train_on_two(recipe, run.root)
    checkpoint = run.checkpoint(2)
    export_huggingface(checkpoint, tmp_path / "out", Wanted(max_shard_bytes=20_000))
    tokens = torch.randint(0, VOCAB, (2, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        direct, exported = (load(path).model(tokens).logits for path in (checkpoint, tmp_path / "out"))
    assert (direct - exported).abs().max() < 1e-4
    other = RunLayout(tmp_path / "other")
    made = import_huggingface(tmp_path / "out", other)
    assert made.weights.counters["weights_digest"] == read_run(checkpoint).weights_digest
    make_tokens(other, "web", 60, vocab_size=VOCAB, seed=0)
    train_on_two(recipe, other.root, "train.init_from=imported", "train.optimizer.learning_rate=1e-12", "train.steps=1")
    with torch.inference_mode():
        started = load(other.checkpoint(1)).model(tokens).logits
    assert (direct - started).abs().max() < 1e-4
    shutil.rmtree(tmp_path)
