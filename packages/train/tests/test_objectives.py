"""The objectives' samples against the plain reference, and what is drawn for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from headwater.core.config import load_section, read_recipe
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.core.skips import Skips
from headwater.core.tokenizer import Vocabulary
from headwater.core.tokens import END_OF_TEXT
from headwater.train.batches import Batch, read_batch
from headwater.train.config import TrainConfig
from headwater.train.held_out import held_out
from headwater.train.inputs import Inputs
from headwater.train.matrix.compare import samples
from headwater.train.matrix.plain_examples import parts, restored_middle, wrong
from headwater.train.matrix.recipe import TOKENS, VOCAB, Cell, make_data, recipe
from headwater.train.objectives.config import NAMES
from headwater.train.objectives.draws import Draws
from headwater.train.objectives.examples import IGNORE
from headwater.train.objectives.held_out import of_objective
from headwater.train.objectives.opened import open_objective
from headwater.train.runner import open_run

RECIPES = sorted(Path(__file__).parents[3].glob("recipes/objectives/*.yaml"))
Open = Callable[..., Inputs]


@pytest.fixture(scope="module")
def open_kind(tmp_path_factory: pytest.TempPathFactory) -> Open:
    folder = tmp_path_factory.mktemp("objectives")
    make_data(RunLayout(folder))

    def opened(kind: str, *overrides: str) -> Inputs:
        file = folder / f"{kind}.yaml"
        file.write_text(yaml.safe_dump(recipe(Cell(kind, "", ""), 10)))
        return open_run(file, folder, overrides)

    return opened


@pytest.mark.parametrize("kind", NAMES)
def test_samples_are_what_the_plain_reference_says(open_kind: Open, kind: str) -> None:
    found = samples(open_kind(kind), 200)
    assert [fault for sample in found for fault in wrong(kind, sample, TOKENS)] == []
    assert sum(label != IGNORE for sample in found for label in sample.labels) > 200
    # The reference sees a mistake: a label, or what is given, of another sample.
    broken = replace(found[0], labels=found[1].labels, inputs=found[2].inputs)
    assert list(wrong(kind, broken, TOKENS))


def arrays(batch: Batch) -> list[np.ndarray]:
    named = (batch.inputs_BL, batch.labels_BL, batch.positions_BL, batch.seen_BL, batch.chances_BL)
    return [array for array in named if array is not None]


@pytest.mark.parametrize("kind", NAMES)
def test_a_sample_does_not_depend_on_the_batch_that_it_is_in(open_kind: Open, kind: str) -> None:
    inputs = open_kind(kind)
    whole, alone = read_batch(inputs, 0, 24), [read_batch(inputs, at, at + 1) for at in range(24)]
    for array, parts_of_it in zip(arrays(whole), zip(*map(arrays, alone), strict=True), strict=True):
        assert np.array_equal(array, np.concatenate(parts_of_it))
    # Where samples 3 to 9 are left out, position 3 is sample 10.
    without = read_batch(inputs, 3, 17, Skips(((3, 10),)))
    for array, kept in zip(arrays(whole), arrays(without), strict=True):
        assert np.array_equal(array[10:24], kept)
    assert whole.digest == read_batch(open_kind("causal"), 0, 24).digest  # of what was read, whatever is made of it


def test_masks_are_bert_s_and_new_each_time_a_text_is_read(open_kind: Open) -> None:
    inputs = open_kind("masked")
    count = 800
    found = samples(inputs, count)
    text = chosen = masked = kept = 0
    for sample in found:
        mine = [label != IGNORE for label in sample.labels]
        text += sum(token not in TOKENS.special for token in sample.read[:-1])
        chosen += sum(mine)
        masked += sum(token == TOKENS.mask for token in sample.inputs)
        kept += sum(given == label for given, label in zip(sample.inputs, sample.labels, strict=True))
    assert chosen / text == pytest.approx(0.15, abs=0.005)
    assert masked / chosen == pytest.approx(0.8, abs=0.02)
    # One in many of the replaced ones is replaced by itself.
    assert kept / chosen == pytest.approx(0.1 + 0.1 / (VOCAB - len(TOKENS.special)), abs=0.02)
    seen: dict[tuple[int, ...], list[list[int]]] = {}
    for sample in found:
        seen.setdefault(tuple(sample.read), []).append(sample.labels)
    again = [labels for labels in seen.values() if len(labels) > 1]
    assert len(again) > 20 and all(labels[0] != labels[1] for labels in again)


def test_half_of_the_mixture_is_causal(open_kind: Open) -> None:
    found = samples(open_kind("causal_and_masked", "train.objective.causal_ratio=0.3"), 1000)
    assert sum(not any(sample.seen) for sample in found) / 1000 == pytest.approx(0.3, abs=0.05)


def test_prefixes_are_of_every_length(open_kind: Open) -> None:
    shares: list[float] = []
    for sample in samples(open_kind("prefix"), 300):
        for start, stop in parts(sample.places):
            if stop - start > 20:
                shares.append(sum(sample.seen[start:stop]) / (stop - start))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05) and min(shares) < 0.1 and max(shares) > 0.9


def test_whole_documents_are_rearranged_before_they_are_packed(open_kind: Open) -> None:
    """All samples of a pass over a source, laid in the order of the file, are its documents, each rearranged."""
    inputs = open_kind("fill_in_the_middle", "train.objective.spm_rate=0.25")
    order, reader = inputs.order, inputs.readers["web"]
    batches: dict[int, dict[int, list[int]]] = {0: {}, 1: {}}
    for index, given in enumerate(read_batch(inputs, 0, 600).inputs_BL.tolist()):
        sample = order.locate(index)
        if sample.source == "web" and sample.epoch in batches:
            batches[sample.epoch][sample.slot] = given
    slots = order.samples_per_epoch("web")
    assert all(len(batch) == slots for batch in batches.values())
    streams = [[token for slot in range(slots) for token in batch[slot]] for batch in batches.values()]
    kinds = Counter[str]()
    for number in range(len(reader)):
        start, stop = reader.start_of(number), reader.start_of(number) + int(reader.lengths[number])
        if stop > slots * order.seq_len:
            break
        made, read = streams[0][start:stop], reader.tokens[start:stop].tolist()
        moved = made[0] == TOKENS.middle[0]
        kinds["moved"] += moved
        kinds["suffix first"] += moved and made[1] == TOKENS.middle[1]
        kinds["documents"] += 1
        kinds["anew"] += made != streams[1][start:stop]
        assert restored_middle(made, TOKENS) == ([*read[:-4], TOKENS.end] if moved else read)
    assert kinds["documents"] > 100
    assert kinds["moved"] / kinds["documents"] == pytest.approx(0.5, abs=0.12)
    assert kinds["suffix first"] / kinds["moved"] == pytest.approx(0.25, abs=0.12)
    assert kinds["anew"] > kinds["documents"] / 2


def test_spans_are_as_many_and_as_long_as_asked_for(open_kind: Open) -> None:
    text = taken = spans = 0
    for sample in samples(open_kind("spans", "train.objective.density=0.3", "train.objective.mean_length=4"), 400):
        for start, stop in parts(sample.positions):
            targets = [label for label in sample.labels[start:stop] if label != IGNORE]
            if len(targets) < 20:
                continue
            marks = sum(token in TOKENS.sentinels for token in targets)
            spans, taken = spans + marks, taken + len(targets) - 1 - marks
            text += sum(sample.seen[start:stop]) - marks + len(targets) - 1 - marks
    assert taken / text == pytest.approx(0.3, abs=0.01) and taken / spans == pytest.approx(4, abs=0.3)


def test_ul2_takes_each_denoiser_evenly(open_kind: Open) -> None:
    modes = Counter[int]()
    for sample in samples(open_kind("ul2"), 500):
        for start, stop in parts(sample.positions):
            if any(label != IGNORE for label in sample.labels[start:stop]):
                modes[sample.inputs[start]] += 1
    regular, sequential, extreme = (modes[mode] / modes.total() for mode in TOKENS.modes)
    assert (regular, sequential, extreme) == (
        pytest.approx(2 / 7, abs=0.04), pytest.approx(1 / 7, abs=0.04), pytest.approx(4 / 7, abs=0.04)
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["masked", "prefix", "fill_in_the_middle", "ul2", "replaced_token"])
def test_validation_is_always_the_same_and_scores_no_end(open_kind: Open, kind: str) -> None:
    inputs = open_kind(kind)
    data = held_out(inputs)
    assert data is not None
    first, second = (of_objective(data, inputs.objective, inputs.end_of_text) for _ in range(2))
    assert np.array_equal(first.inputs_BL, second.inputs_BL) and np.array_equal(first.labels_BL, second.labels_BL)
    assert first.tokens > 20 and not (first.labels_BL == inputs.end_of_text).any()
    assert not np.array_equal(first.inputs_BL, data.inputs_BL) or kind == "prefix"


def test_draws_are_even_and_their_own() -> None:
    draws = Draws(1, "train sample", 7)
    assert draws.uniform(3).tolist() == Draws(1, "train sample", 7).uniform(3).tolist()
    others = (Draws(2, "train sample", 7), Draws(1, "validation sample", 7), Draws(1, "train sample", 8))
    assert len({draws.uniform(1)[0] for draws in (Draws(1, "train sample", 7), *others)}) == 4
    counts = np.bincount(draws.whole(60_000, 6), minlength=6)
    assert counts.min() > 9_600 and counts.max() < 10_400
    ways = Counter(tuple(draws.composition(5, 3).tolist()) for _ in range(6_000))  # 4 choose 2 of them
    assert len(ways) == 6 and min(ways.values()) > 850 and all(sum(way) == 5 for way in ways)


def test_special_tokens_that_the_tokenizer_lacks_are_named(open_kind: Open) -> None:
    bare = Vocabulary({"a": 0, "b": 1, END_OF_TEXT: 2}, END_OF_TEXT)
    for kind, missing in (("masked", "<|mask|>"), ("fill_in_the_middle", "<|fim_suffix|>"), ("spans", "<|extra_0|>"),
                          ("ul2", "<|R|>"), ("replaced_token", "<|mask|>")):  # fmt: skip
        config = TrainConfig.model_validate({"objective": kind}).objective
        with pytest.raises(ConfigError, match=r"special tokens") as caught:
            open_objective(config, bare, 0, 64)
        assert missing in str(caught.value) and "tokenizer.special_tokens" in str(caught.value)
    with pytest.raises(ConfigError, match="too few sentinels"):
        open_kind("spans", "train.objective.density=0.5", "train.seq_len=128")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.objective=prefix train.parallel.cp=2", "does not go with parallel.cp"),
        ("train.objective=multi_token train.model.family=llama3 train.model.experts=null train.model.latent=null",
         "needs model.family deepseek_v3"),
        ("train.objective=replaced_token train.parallel.tp=2", "does not go with parallel.tp"),
        ("train.objective=replaced_token train.model.tied=true", "does not go with model.tied"),
        ("train.objective=multi_token", "needs model.family deepseek_v3"),
        ("train.objective=replaced_token train.init_from=imported", "does not go with init_from"),
        ("train.objective.kind=masked train.objective.masked=0.95", "more than 1 together"),
        ("train.objective=maskd", "objective"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path: Path, override: str, reason: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(recipe(Cell("causal", "", ""), 10)))
    with pytest.raises(ConfigError, match=reason):
        load_section("train", TrainConfig, file, override.split())


def test_every_objective_has_a_recipe_with_the_tokens_that_it_needs() -> None:
    kinds: list[str] = []
    for file in RECIPES:
        config = load_section("train", TrainConfig, file)
        names = read_recipe(file)["tokenizer"].get("special_tokens", [END_OF_TEXT])
        ids = {name: number for number, name in enumerate([*names, *"abcdef"])}
        open_objective(config.objective, Vocabulary(ids, END_OF_TEXT), 0, config.seq_len)
        kinds.append(config.objective.kind)
    assert sorted(kinds) == sorted(NAMES)
