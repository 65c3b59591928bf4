"""A run folder with tokens, as the data stage leaves it, made from a seeded synthetic language."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from headwater.core.documents import SIDECAR, document_id
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of
from headwater.core.tokens import END_OF_TEXT, MegatronWriter

VOCAB = 97
END = VOCAB - 1


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
        make_tokens(run, source, documents, seed=number)
    return root


def make_tokenizer(run: RunLayout, extra: str = "") -> None:
    """A tokenizer of single characters; `extra` changes its digest and nothing else."""
    writer = ArtifactWriter(
        run.tokenizer, kind="tokenizer", name="tiny", producer="test", config={"extra": extra}, parents=[]
    )
    writer.begin()
    vocab = {chr(33 + index): index for index in range(END)}
    value = {"model": {"type": "BPE", "vocab": vocab}, "added_tokens": [{"id": END, "content": END_OF_TEXT}]}
    (run.tokenizer / "tokenizer.json").write_text(json.dumps(value))
    writer.commit({"vocab_size": VOCAB})


def make_tokens(run: RunLayout, source: str, documents: int, seed: int) -> None:
    """Documents of a first-order Markov chain over the vocabulary, one in eight held out."""
    folder = run.tokens(source)
    parents = [parent_of(folder, run.tokenizer, "tokenizer")]
    writer = ArtifactWriter(folder, kind="tokens", name=source, producer="test", config={}, parents=parents)
    writer.begin()
    random = np.random.default_rng(seed)
    following = random.integers(0, END, size=(END, 3))
    rows: list[dict[str, object]] = []
    counters = {"train_tokens": 0, "validation_tokens": 0}
    with (
        MegatronWriter(folder / "train", VOCAB) as train,
        MegatronWriter(folder / "validation", VOCAB) as held_out,
    ):
        sequences = {"train": 0, "validation": 0}
        for number in range(documents):
            split = "validation" if number % 8 == 0 else "train"
            length = int(random.integers(10, 120))
            tokens = [int(random.integers(0, END))]
            while len(tokens) < length:
                tokens.append(int(following[tokens[-1], random.integers(0, 3)]))
            url = f"http://example.test/{source}/{number}"
            rows.append({
                "id": document_id(source, url, ""), "url": url, "split": split, "sequence": sequences[split],
                "token_start": counters[f"{split}_tokens"], "token_count": length + 1, "text_bytes": length,
            })  # fmt: skip
            (train if split == "train" else held_out).add([*tokens, END])
            sequences[split] += 1
            counters[f"{split}_tokens"] += length + 1
    pq.write_table(pa.Table.from_pylist(rows, schema=SIDECAR), folder / "documents.parquet")
    writer.commit(counters)
