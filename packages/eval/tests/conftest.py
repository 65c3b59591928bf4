"""A small finished run: tokenizer, tokens of two sources, and checkpoints with random weights."""

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed.checkpoint as dcp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from headwater.core.documents import SIDECAR
from headwater.core.huggingface import config_of, weights_of
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.core.run import ModelShape, RunInfo, read_run
from headwater.core.tokens import END_OF_TEXT, MegatronWriter
from headwater.eval.checkpoint import read_weights, to_transformers
from headwater.eval.sandbox import Bubblewrap, Landlock, Sandbox

# Hugging Face libraries read these once, at import.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

SHAPE = ModelShape(
    dim=64, n_layers=3, n_heads=4, n_kv_heads=2, ffn_dim=160, vocab_size=512, rope_theta=500000.0, norm_eps=1e-5,
    max_seq_len=256,
)  # fmt: skip
TEXT = "the a river runs down to sea and stone under bridge water where old boats wait for rain to come back"
WORDS = TEXT.split()


def write_artifact(folder: Path, kind: str, name: str, counters: dict | None = None) -> str:
    writer = ArtifactWriter(folder, kind=kind, name=name, producer="test 0", config={}, parents=[])
    return writer.commit(counters or {}).digest


def prose(seed: int, sentences: int) -> str:
    rng = random.Random(seed)
    return " ".join(" ".join(rng.choices(WORDS, k=9)).capitalize() + "." for _ in range(sentences))


def make_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([prose(i, 40) for i in range(20)] + ["def add(a, b):\n    return a + b\n"], trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_artifact(folder, "tokenizer", "tokenizer", {"vocab_size": tokenizer.get_vocab_size()})
    return tokenizer


def make_tokens(folder: Path, tokenizer: Tokenizer, seed: int) -> None:
    folder.mkdir(parents=True)
    rows = []
    eot = tokenizer.token_to_id(END_OF_TEXT)
    for split, count in (("train", 30), ("validation", 6)):
        start = 0
        with MegatronWriter(folder / split, SHAPE.vocab_size) as writer:
            for i in range(count):
                text = prose(seed * 1000 + i + (500 if split == "validation" else 0), 8 + 5 * i % 30)
                ids = [*tokenizer.encode(text).ids, eot]
                writer.add(ids)
                identifier = hashlib.sha256(text.encode()).hexdigest()[:32]
                rows.append((identifier, f"http://x/{i}", split, i, start, len(ids), len(text.encode())))
                start += len(ids)
    columns = [
        pa.array(column, type=field.type) for column, field in zip(zip(*rows, strict=True), SIDECAR, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=SIDECAR), folder / "documents.parquet")
    write_artifact(folder, "tokens", folder.name, {"train_tokens": 1})


def training_weights(shape: ModelShape, seed: int) -> dict[str, torch.Tensor]:
    """Random weights under the training model's names."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for weight in weights_of(shape):
        values = torch.randn(weight.size, generator=generator)
        if len(weight.size) == 1:
            weights[weight.name] = 1 + 0.2 * values
        else:
            weights[weight.name] = values * (1.0 if weight.name == "tok_embeddings.weight" else 0.1)
    return weights


def run_info(run: RunLayout, shape: ModelShape, step: int, loss: float | None) -> RunInfo:
    return RunInfo(
        step=step, samples=step * 8, seq_len=128, global_batch=8, seed=0, steps_planned=100, model=shape,
        tokenizer_digest=read_manifest(run.tokenizer).digest, tokens={}, weights={}, block=1, order_digest="0",
        weights_digest=f"weights-{step}", validation_loss=loss, config={},
    )  # fmt: skip


def make_checkpoint(run: RunLayout, step: int, loss: float | None, shape: ModelShape = SHAPE) -> Path:
    folder = run.checkpoint(step)
    folder.mkdir(parents=True)
    state = {**training_weights(shape, step), "train_state": torch.tensor([step]), "optimizer.lr": torch.tensor(0.1)}
    dcp.save(state, checkpoint_id=str(folder), no_dist=True)
    (folder / "run.json").write_text(run_info(run, shape, step, loss).dump())
    write_artifact(folder, "checkpoint", folder.name)
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunLayout:
    """A run that evaluation can read; tests must not change it."""
    run = RunLayout(tmp_path_factory.mktemp("run"))
    tokenizer = make_tokenizer(run.tokenizer)
    make_tokens(run.tokens("web"), tokenizer, 1)
    make_tokens(run.tokens("code"), tokenizer, 2)
    make_checkpoint(run, 10, 3.0)
    make_checkpoint(run, 20, 2.0)
    make_checkpoint(run, 30, 2.5)
    return run


@pytest.fixture
def own_run(tmp_path: Path) -> RunLayout:
    """A run that the test may change."""
    run = RunLayout(tmp_path / "run")
    tokenizer = make_tokenizer(run.tokenizer)
    make_tokens(run.tokens("web"), tokenizer, 1)
    make_checkpoint(run, 10, 3.0)
    return run


@pytest.fixture(scope="session")
def in_transformers() -> Callable[[Path], Any]:
    """Loads a checkpoint into transformers' own model."""

    def load(folder: Path) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        shape = read_run(folder).model
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config_of(shape)), dtype=torch.float32)
        model.load_state_dict(to_transformers(read_weights(folder, shape), shape), strict=not shape.tied)
        model.tie_weights()
        return model.eval()

    return load


@pytest.fixture(scope="session", params=[Bubblewrap, Landlock], ids=lambda backend: backend.name)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each sandbox for generated code in turn."""
    backend = request.param()
    if not (found := backend.probe()).ok:
        pytest.skip(f"no {backend.name} sandbox on this machine: {found.reason}")
    return backend


@pytest.fixture
def build() -> SimpleNamespace:
    """The builders above, for tests that need more than a finished run."""
    return SimpleNamespace(
        SHAPE=SHAPE, write_artifact=write_artifact, make_tokenizer=make_tokenizer, make_tokens=make_tokens,
        make_checkpoint=make_checkpoint, training_weights=training_weights, prose=prose,
    )  # fmt: skip


CHOICE_YAML = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, dev: {dev}}}}}
test_split: test
fewshot_split: dev
fewshot_config: {{sampler: first_n}}
num_fewshot: {shots}
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.5}}
"""
GENERATE_YAML = """\
task: test_generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
num_fewshot: 0
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["."], do_sample: false, max_gen_toks: 24}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2}}
"""
GROUP_YAML = """\
group: test_group
task: [test_letters, test_words]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 7}
"""


@pytest.fixture(scope="session")
def test_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files: one-letter choices with shots, choices of several words, a group of both, and generation."""
    folder = tmp_path_factory.mktemp("tasks")
    rng = random.Random(5)
    for name, count, letters in (("letters", 24, True), ("words", 15, False), ("dev", 4, True)):
        lines = []
        for i in range(count):
            choices = ["A", "B", "C", "D"] if letters else [prose(1000 * i + c, 1)[: 12 + 9 * c] for c in range(3)]
            item = {"question": prose(i, 1 + i % 5), "choices": choices, "answer": rng.randrange(len(choices))}
            lines.append(json.dumps(item))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, shots in (("letters", 2), ("words", 0)):
        text = CHOICE_YAML.format(
            name=f"test_{name}", data=folder / f"{name}.jsonl", dev=folder / "dev.jsonl", shots=shots
        )
        (folder / f"test_{name}.yaml").write_text(text)
    (folder / "test_generate.yaml").write_text(GENERATE_YAML.format(data=folder / "words.jsonl"))
    (folder / "test_group.yaml").write_text(GROUP_YAML)
    return folder
