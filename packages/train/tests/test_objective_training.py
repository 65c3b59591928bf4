"""Training with objectives: what a token sees, losses against the plain reference, resumes, layouts, and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resume_worker
import torch
import yaml

from headwater.core import metrics as names
from headwater.core.errors import ConfigError
from headwater.core.events import read_events
from headwater.core.layout import RunLayout
from headwater.core.run import ModelShape, read_run
from headwater.core.verify.report import verify_run
from headwater.train import titan
from headwater.train.batches import read_batch
from headwater.train.interchange.export_huggingface import Wanted, export_huggingface
from headwater.train.losses import read_losses
from headwater.train.matrix.compare import compare
from headwater.train.matrix.recipe import Cell, make_data, recipe
from headwater.train.objectives.examples import IGNORE
from headwater.train.parity.compare import TOLERANCE
from headwater.train.parity.compare import compare as compare_layouts
from headwater.train.parity.layouts import LAYOUTS
from headwater.train.runner import open_run, train

PACKED = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
DOCUMENT = slice(4, 9)


@pytest.fixture(scope="module")
def model() -> Any:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.model import model_spec

    shape = ModelShape(
        dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=48, vocab_size=97, rope_theta=1e4, norm_eps=1e-5,
        max_seq_len=16,
    )  # fmt: skip
    built = model_spec(shape, "cpu", 3).model.build()
    built.init_weights(buffer_device=None)
    titan.stop()
    return built.eval()


def changed_places(model: Any, seen: list[int], place: int) -> set[int]:
    """Where the logits of the packed sample change with the token at a place."""
    flags = torch.zeros(1, 9, dtype=torch.bool)
    flags[0, seen] = True
    found: list[torch.Tensor] = []
    for token in (50, 60):
        tokens = torch.arange(9).unsqueeze(0)
        tokens[0, place] = token
        with torch.no_grad():
            masks = model.get_attention_masks(positions=PACKED, seen=flags)
            found.append(model(tokens, positions=PACKED, attention_masks=masks))
    return set(torch.nonzero((found[0] != found[1]).any(dim=-1)[0]).flatten().tolist())


def test_a_prefix_sees_itself_both_ways_and_nothing_after_it(model: Any) -> None:
    prefix = [4, 5, 6]
    assert changed_places(model, prefix, 6) == {4, 5, 6, 7, 8}  # the last token of the prefix reaches its first
    assert changed_places(model, prefix, 7) == {7, 8}  # a target reaches nothing before it
    assert changed_places(model, prefix, 2) == {2, 3}  # the other document is causal, and stays apart


def test_masked_text_flows_both_ways_inside_its_document(model: Any) -> None:
    everything = list(range(9))
    assert changed_places(model, everything, 8) == {4, 5, 6, 7, 8}
    assert changed_places(model, everything, 3) == {0, 1, 2, 3}


def test_dense_and_sparse_masks_are_the_same() -> None:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.cpu import document_mask
    from headwater.train.titan.model import _sees

    titan.stop()
    seen = torch.tensor([[True, False, False, True, True, True, False, False, True]])
    sees, numbers = _sees(PACKED, seen), torch.arange(9)
    sparse = sees(torch.tensor(0), torch.tensor(0), numbers[:, None], numbers[None, :])
    assert torch.equal(sparse, document_mask(PACKED, seen)[0, 0])
    assert torch.equal(document_mask(PACKED, torch.zeros_like(seen)), document_mask(PACKED))


def test_the_generator_s_words_have_its_probabilities() -> None:
    titan.start("cpu", 1, 1)
    from headwater.train.titan.replaced_token import drawn

    titan.stop()
    shares = torch.tensor([0.5, 0.0, 0.3, 0.2])
    chances = (torch.arange(1000) / 1000).unsqueeze(0)
    words = drawn(shares.log().expand(1, 1000, 4), chances)
    assert torch.bincount(words.flatten(), minlength=4).tolist() == pytest.approx([500, 0, 300, 200], abs=1)


def test_first_losses_are_those_of_the_plain_reference(tmp_path: Path) -> None:
    kinds = ("causal_and_masked", "fill_in_the_middle", "ul2", "replaced_token", "multi_token")
    rows = compare([Cell(kind, "", "") for kind in kinds], 10, tmp_path)
    assert {row.objective: (row.state, row.reason) for row in rows} == dict.fromkeys(kinds, ("right", ""))
    check_sources(tmp_path, "causal_and_masked")
    # Models that read from left to right have bits per byte, and verify derives everything of a run again.
    assert not verify_run(RunLayout(tmp_path / "fill_in_the_middle").root).errors


def check_sources(folder: Path, kind: str) -> None:
    """Losses of the sources, by the tokens that they are of, add up to the loss of the first step."""
    lines = (folder / kind / "train" / "metrics.jsonl").read_text().splitlines()
    first = next(row for row in map(json.loads, lines) if names.TRAIN_SOURCE_LOSS.series(source="web") in row)
    batch = read_batch(open_run(folder / f"{kind}.yaml", folder / kind), 0, 8)
    weights = np.where((batch.labels_BL != IGNORE).any(axis=1), 64, 0)  # every sample counts the same
    parts = [
        first[names.TRAIN_SOURCE_LOSS.series(source=source)] * weights[batch.sources_B == number].sum()
        for number, source in enumerate(("code", "web")) if (batch.sources_B == number).any()
    ]  # fmt: skip
    assert first["step"] == 1
    assert sum(parts) / weights.sum() == pytest.approx(first[names.TRAIN_LOSS.name], rel=1e-6)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_data(RunLayout(tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["masked", "ul2", "replaced_token"])
def test_a_resumed_run_has_the_same_losses_to_the_bit(tmp_path: Path, run: Path, kind: str) -> None:
    value = recipe(Cell(kind, "", ""), 8)
    value["train"] |= {"checkpoint": {"every": 4}, "validation": {"every": 4, "batches": 1}}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(value))
    train(file, run)
    resume_worker.rewind(run, tmp_path / "again")
    train(file, tmp_path / "again")
    assert read_losses(run / "train" / "losses.jsonl") == read_losses(tmp_path / "again" / "train" / "losses.jsonl")
    last = [read_run(RunLayout(root).checkpoint(8)) for root in (run, tmp_path / "again")]
    assert last[0] == last[1] and last[0].objective == kind
    event = next(event for event in read_events(run / "train" / "events.jsonl") if event["kind"] == "validation")
    assert (event["bits_per_byte"] is None) == (kind != "ul2") and event["loss"] > 0
    if kind == "masked":
        with pytest.raises(ConfigError, match="objective masked"):
            export_huggingface(RunLayout(run).checkpoint(8), tmp_path / "out", Wanted())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "layouts"),
    [
        ("prefix", ["fsdp2", "ddp2", "tp2", "pp2"]), ("causal_and_masked", ["fsdp2", "tp2", "pp2"]),
        ("replaced_token", ["fsdp2", "ddp2"]), ("multi_token", ["fsdp2", "ddp2"]),
    ],
)  # fmt: skip
def test_layouts_have_the_losses_of_one_process(tmp_path: Path, run: Path, kind: str, layouts: list[str]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(Cell(kind, "", ""), 4)))
    overrides = ["train.micro_batch=1", "train.validation.every=4", "train.validation.batches=1"]
    rows = compare_layouts([LAYOUTS[name] for name in layouts], 4, own=(file, run), overrides=overrides)
    assert {row.layout: (row.state, row.reason) for row in rows if row.state != "same"} == {}
    scale = 50 if kind == "replaced_token" else 1  # its loss is about so many times as large
    assert all(row.loss_difference is not None and row.loss_difference <= TOLERANCE * scale for row in rows)
    assert all(row.validation_difference is not None for row in rows)
