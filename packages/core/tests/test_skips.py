"""The order less what was excluded, against lists that were written out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import GLOBAL_BATCH, STEPS, write_run

from headwater.core.errors import ManifestError
from headwater.core.order import Order, SourceSpec, StageSpec
from headwater.core.run import read_run
from headwater.core.skips import KeptOrder, Skips
from headwater.core.trace.steps import trace_step
from headwater.core.trace.training import newest_checkpoint, read_training

HORIZON = 400
windows = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)).map(lambda w: (w[0], w[0] + w[1])), max_size=6)


def skips_of(wanted: list[tuple[int, int]]) -> Skips:
    skips = Skips()
    for start, stop in wanted:
        skips = skips.including(start, stop)
    return skips


def written_out(wanted: list[tuple[int, int]]) -> list[int]:
    out = {index for start, stop in wanted for index in range(start, stop)}
    return [index for index in range(HORIZON) if index not in out]


@given(windows)
def test_positions_and_samples_agree_with_a_list(wanted: list[tuple[int, int]]):
    skips, kept = skips_of(wanted), written_out(wanted)
    assert skips.indices(np.arange(len(kept))).tolist() == kept
    for index in range(HORIZON):
        assert skips.position(index) == (kept.index(index) if index in kept else None)
        assert skips.before(index) == sum(other < index for other in kept)
        assert skips.excludes(index) == (index not in kept)
    assert [skips.reach(count) for count in (0, 1, len(kept))] == [0, kept[0] + 1, kept[-1] + 1]
    assert len(skips) == HORIZON - len(kept)


@given(windows)
def test_windows_are_joined_and_survive_json(wanted: list[tuple[int, int]]):
    skips = skips_of(wanted)
    assert Skips.of(json.loads(json.dumps(skips.as_json()))) == skips
    assert skips_of(wanted[::-1]) == skips
    assert all(one[1] < other[0] for one, other in zip(skips.windows, skips.windows[1:], strict=False))


@pytest.mark.parametrize("wrong", [[[5, 5]], [[6, 5]], [[0, 3], [3, 4]], [[9, 10], [0, 1]], [[-1, 2]]])
def test_a_list_that_is_not_in_order_is_refused(wrong: list[list[int]]):
    with pytest.raises(ManifestError, match="not in order"):
        Skips.of(wrong)


@given(windows, st.booleans())
def test_the_kept_order_is_the_order_at_the_kept_samples(wanted: list[tuple[int, int]], staged: bool):
    sources = [SourceSpec("code", 41, 1), SourceSpec("web", 203, 3)]
    stages = [StageSpec("one", 95, {"web": 1}), StageSpec("two", 100, {"web": 2, "code": 1})] if staged else []
    order, skips, kept = Order(sources, 4, 7, 20, stages), skips_of(wanted), written_out(wanted)
    mine = KeptOrder(order, skips)
    until = len(kept) - 30
    for one, other in zip(mine.locate_many(np.arange(until)), order.locate_many(kept[:until]), strict=True):
        assert one.tolist() == other.tolist()
    assert mine.locate(until - 1) == order.locate(kept[until - 1])
    which = order.locate_many(kept[:until])[0]
    for number, source in enumerate(order.sources):
        assert mine.drawn(source.name, until) == int((which == number).sum())
        found = mine.invert(source.name, 9, 15, until)
        everywhere = order.invert(source.name, 9, 15, kept[until - 1] + 1)
        assert found == [kept.index(index) for index in everywhere if index in kept]
        all_of_it = order.invert(source.name, 9, 15, HORIZON)
        assert mine.excluded(source.name, 9, 15) == sum(index not in kept for index in all_of_it)
    assert mine.digest(until) == order.digest(until, lambda places: np.array(kept)[places])
    assert [mine.stage_at(place) for place in range(until)] == [order.stage_at(index) for index in kept[:until]]
    if staged:
        assert mine.stage_start(1) == sum(index < 95 for index in kept)
        assert [stage.samples for stage in mine.stages] == [
            sum(index < 95 for index in kept), sum(95 <= index < 195 for index in kept)
        ]  # fmt: skip


def test_another_window_gives_another_digest():
    order = Order([SourceSpec("web", 203)], 4, 7, 20)
    digests = {KeptOrder(order, skips_of(wanted)).digest(50) for wanted in ([], [(3, 4)], [(3, 5)], [(60, 70)])}
    assert len(digests) == 3
    assert KeptOrder(order, Skips()).digest(50) == order.digest(50)


def test_trace_goes_through_the_skip_list(tmp_path: Path):
    """Steps name the samples that they read, and documents the steps, with a window left out."""
    run = write_run(tmp_path / "run")
    before = [sample for step in range(1, STEPS + 1) for sample in trace_step(run.layout, step).samples]
    checkpoint = newest_checkpoint(run.layout)
    assert checkpoint is not None
    window = [GLOBAL_BATCH + 1, 3 * GLOBAL_BATCH]
    info = read_run(checkpoint).model_copy(update={"skips": [window]})
    (checkpoint / "run.json").write_text(info.dump())
    after = [sample for step in range(1, STEPS + 1) for sample in trace_step(run.layout, step).samples]
    left = [sample for sample in before if not window[0] <= sample.index < window[1]]
    assert after[: len(left)] == left
    training = read_training(run.layout)
    assert training is not None
    for sample in before:
        stretch = (sample.source, sample.token_start + 1, 1)  # in this sample only, and its other epochs
        steps = {step for reading in training.readings(*stretch) for step in reading.steps}
        same = [(other.source, other.token_start) == (sample.source, sample.token_start) for other in after]
        assert steps == {place // GLOBAL_BATCH + 1 for place, is_it in enumerate(same) if is_it}
    gone = before[window[0]]
    assert training.left_out(gone.source, gone.token_start + 1, 1) >= 1
