"""A run folder with tokens, as the data stage leaves it, made from a seeded synthetic language."""

from __future__ import annotations

from pathlib import Path

import yaml

from headwater.core.layout import RunLayout
from headwater.train import synthetic

VOCAB = 97
END = VOCAB - 1
STEPS = 24
"""Of the recipe of `long_recipe`."""


def recipe(**train: object) -> dict[str, object]:
    """A recipe that trains in seconds."""
    section: dict[str, object] = {
        "model": {"dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "ffn_dim": 64},
        "seq_len": 32, "global_batch": 8, "micro_batch": 4, "steps": 12, "threads": 1, "device": "cpu",
        "optimizer": {"learning_rate": 0.01}, "schedule": {"warmup_steps": 2, "decay_ratio": 0.25},
        "validation": {"every": 4, "batches": 4},
        "checkpoint": {"every": 4, "keep_last": 2, "keep_best": 1},
    }  # fmt: skip
    section.update(train)
    return {"name": "tiny", "seed": 7, "mixture": {"weights": {"code": 1, "web": 3}}, "train": section}


def write_recipe(path: Path, **train: object) -> Path:
    """The recipe as a file."""
    path.write_text(yaml.safe_dump(recipe(**train)))
    return path


def make_run(root: Path, *, documents: int = 120) -> Path:
    """Tokenizer and tokens of two sources."""
    run = RunLayout(root)
    make_tokenizer(run)
    for number, source in enumerate(("code", "web")):
        synthetic.make_tokens(run, source, documents, vocab_size=VOCAB, seed=number)
    return root


def make_tokenizer(run: RunLayout, extra: str = "") -> None:
    """A tokenizer of single characters; `extra` changes its digest and nothing else."""
    synthetic.make_tokenizer(run, VOCAB, extra)
