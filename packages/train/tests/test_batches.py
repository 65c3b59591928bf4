import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from train_fixtures import END, write_recipe

from headwater.core.config import Base, load_section
from headwater.core.layout import RunLayout
from headwater.core.mixture import Mixture
from headwater.core.order import Order
from headwater.core.ramp import RampStage
from headwater.core.skips import Skips
from headwater.train.batches import Batch, documents_of, read_batch, read_batches
from headwater.train.config import TrainConfig
from headwater.train.guard import evidence
from headwater.train.held_out import IGNORE, held_out, unigram_bits_per_byte
from headwater.train.inputs import Inputs, open_inputs


@pytest.fixture(scope="module")
def inputs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    recipe = write_recipe(tmp_path_factory.mktemp("r") / "r.yaml")
    config = load_section("train", TrainConfig, recipe)
    return open_inputs(RunLayout(data), Base(name="t", seed=7), config, load_section("mixture", Mixture, recipe))


def test_labels_are_the_next_tokens_of_the_located_sample(inputs: Inputs) -> None:
    batch = read_batch(inputs, 5, 21)
    for row, index in enumerate(range(5, 21)):
        sample = inputs.order.locate(index)
        tokens = inputs.readers[sample.source].tokens[sample.offset : sample.offset + 33]
        assert batch.inputs_BL[row].tolist() == tokens[:-1].tolist()
        assert batch.labels_BL[row].tolist() == tokens[1:].tolist()


def test_positions_restart_exactly_where_a_document_starts(inputs: Inputs) -> None:
    batch = read_batch(inputs, 0, 64)
    restarts = 0
    for tokens, positions in zip(batch.inputs_BL, batch.positions_BL, strict=True):
        expected = 0
        for index, token in enumerate(tokens):
            assert positions[index] == expected
            expected = 0 if token == END else expected + 1
            restarts += index > 0 and positions[index] == 0
    assert restarts > 10


def test_micro_batches_are_the_same_however_many_are_read_together(
    inputs: Inputs, titan_started: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a ramp of the batch, two ranks, samples left out, another order from a step on, and a way back."""
    from headwater.train.titan import loader

    ramp = [RampStage(batch=4, steps=3), RampStage(batch=8, steps=2)]
    config = inputs.config.model_copy(update={"global_batch": 16, "micro_batch": 2, "steps": 12, "batch_ramp": ramp})
    here = replace(inputs, config=config)
    asked: list[int] = []

    def read(inputs: Inputs, ranges: list[range], skips: Skips) -> list[Batch]:
        asked.append(len(ranges))
        assert max(each.stop for each in ranges) <= config.step_samples.consumed(config.steps)
        return read_batches(inputs, ranges, skips)

    def given(together: int) -> list[tuple[Any, ...]]:
        monkeypatch.setattr(loader, "READ_TOGETHER", together * 2 * config.seq_len)
        found: list[tuple[Any, ...]] = []
        for rank in range(2):
            here.order = inputs.order
            ours = loader.OrderLoader(
                loader.OrderLoader.Config(_inputs=here), dp_world_size=2, dp_rank=rank, local_batch_size=2
            )
            batches = iter(ours)
            for step in (*range(1, 10), *range(9, config.steps + 1)):
                if step == 4:
                    ours.skips = Skips(((12, 30),))
                if step == 7:
                    here.order = Order(inputs.order.sources, inputs.order.seq_len, 99, inputs.order.block)
                if step == 9:
                    ours.load_state_dict({"samples": config.step_samples.consumed(step - 1)})
                    batches = iter(ours)
                rows = [next(batches) for _ in range(ours.micro_batches)]
                assert ours.samples == config.step_samples.consumed(step)
                found.append((ours.take_fed(), [{**tensors, "labels": labels} for tensors, labels in rows]))
        return found

    monkeypatch.setattr(loader, "read_batches", read)
    one_by_one = given(1)
    assert set(asked) == {1}
    asked.clear()
    together = given(5)
    assert max(asked) == 5 and len(asked) < len(one_by_one)
    for (fed, rows), (expected, others) in zip(together, one_by_one, strict=True):
        assert fed == expected
        for row, other in zip(rows, others, strict=True):
            assert all(torch.equal(row[name], other[name]) for name in other)


def test_documents_of_samples_are_those_whose_tokens_they_hold(inputs: Inputs) -> None:
    samples = [0, 3, 17]
    expected: list[tuple[int, str]] = []
    for index in samples:
        sample = inputs.order.locate(index)
        rows = pq.read_table(inputs.run.tokens(sample.source) / "documents.parquet").to_pylist()
        for row in sorted((row for row in rows if row["split"] == "train"), key=lambda row: row["token_start"]):
            first, stop = row["token_start"], row["token_start"] + row["token_count"]
            if any(sample.offset <= token < sample.offset + 33 for token in range(first, stop)):
                expected.append((index, row["id"]))
    assert [(found["sample"], found["id"]) for found in documents_of(inputs, samples)] == expected


def test_a_step_that_comes_again_keeps_the_documents_of_both(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rollback a step has other samples; an event of either names a file of its own."""
    monkeypatch.setattr(evidence, "LISTED", 2)
    here = replace(inputs, run=RunLayout(shutil.copytree(inputs.run.root, tmp_path / "run")))
    here.run.train.mkdir()
    found = [evidence.evidence(here, "rollback", 9, range(*window)) for window in ((8, 24), (24, 40))]
    for fields, window in zip(found, ((8, 24), (24, 40)), strict=True):
        lines = (here.run.train / fields["documents_file"]).read_text().splitlines()
        assert [json.loads(line) for line in lines] == documents_of(inputs, range(*window))
        assert fields["documents"] == documents_of(inputs, range(*window))[:2]
        assert fields["documents_total"] == len(lines) and fields["samples"] == list(window)


def test_held_out_scores_every_text_token_of_its_documents_once(inputs: Inputs) -> None:
    validation = inputs.config.validation.model_copy(update={"batches": 999})
    config = inputs.config.model_copy(update={"validation": validation})
    everything = Inputs(**{**inputs.__dict__, "config": config})
    data = held_out(everything)
    assert data is not None
    texts = sum(
        row["token_count"] - 1
        for source in inputs.held_out
        for row in pq.read_table(inputs.run.tokens(source) / "documents.parquet").to_pylist()
        if row["split"] == "validation"
    )
    assert data.tokens == texts == data.text_bytes  # one byte a token in this tokenizer
    scored = data.labels_BL[data.labels_BL != IGNORE]
    everything_held = np.concatenate([reader.tokens for reader in inputs.held_out.values()])
    assert (
        np.bincount(scored, minlength=END).tolist()
        == np.bincount(everything_held[everything_held != END], minlength=END).tolist()
    )


def test_held_out_keeps_to_its_budget_and_counts_bytes_in_proportion(inputs: Inputs) -> None:
    data = held_out(inputs)
    assert data is not None
    assert data.labels_BL.shape == (32, 32)  # batches (4) of global_batch (8), of seq_len (32)
    assert data.tokens == data.text_bytes or abs(data.tokens - data.text_bytes) <= 2  # two cut documents


def test_unigram_figure_is_the_cross_entropy_of_the_frequencies(inputs: Inputs) -> None:
    data = held_out(inputs)
    assert data is not None
    figure = unigram_bits_per_byte(inputs, data)
    # The chain visits its states about evenly: near log2(96) bits a token, and never below the entropy of a step.
    assert np.log2(3) < figure < np.log2(97) + 0.1
