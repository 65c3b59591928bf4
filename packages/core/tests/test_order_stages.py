"""Staged orders: what the one-stage order promises, within every stage and across their boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.order import DIGESTED_WHOLE, Order, SourceSpec, StageSpec


@st.composite
def staged_orders(draw: st.DrawFn, max_slots: int = 40) -> Order:
    seq_len = draw(st.integers(1, 9))
    names = [f"source{index}" for index in range(draw(st.integers(1, 4)))]
    sources = [SourceSpec(name, draw(st.integers(seq_len + 1, seq_len * max_slots))) for name in names]
    weights = st.dictionaries(st.sampled_from(names), st.floats(0.01, 100, allow_nan=False), min_size=1)
    stages = [
        StageSpec(f"stage{number}", draw(st.integers(1, 300)), draw(weights))
        for number in range(draw(st.integers(1, 4)))
    ]  # fmt: skip
    return Order(sources, seq_len, draw(st.integers(0, 2**63 - 1)), draw(st.integers(len(names), 120)), stages)


def length(order: Order) -> int:
    """Samples up to the end of the last stage, and as many again, since it goes on."""
    return sum(stage.samples for stage in order.stages) + order.stages[-1].samples


@given(staged_orders())
def test_every_source_is_within_one_sample_of_its_share_at_every_prefix_of_every_stage(order: Order):
    which, _, _ = order.locate_many(np.arange(length(order)))
    for number, stage in enumerate(order.stages):
        start = order.stage_start(number)
        stop = start + stage.samples if number + 1 < len(order.stages) else len(which)
        position = np.arange(1, stop - start + 1)
        for index, source in enumerate(order.sources):
            drawn = np.cumsum(which[start:stop] == index)
            share = order.quota(source.name, number) / order.block
            assert np.abs(drawn - share * position).max() <= 1 + 1e-9
            assert (source.name in stage.weights) == (order.quota(source.name, number) > 0)


@given(staged_orders())
def test_no_slot_comes_again_before_the_whole_source_was_seen_whatever_stages_that_takes(order: Order):
    which, epochs, offsets = order.locate_many(np.arange(length(order)))
    for index, source in enumerate(order.sources):
        slots = order.samples_per_epoch(source.name)
        mine, turns = offsets[which == index], epochs[which == index]
        assert np.array_equal(turns, np.arange(len(mine)) // slots)
        for turn in range(len(mine) // slots + 1):
            seen = mine[turn * slots : (turn + 1) * slots]
            assert len(np.unique(seen)) == len(seen)


@given(staged_orders(), st.data())
def test_invert_and_drawn_agree_with_locate(order: Order, data: st.DataObject):
    until = data.draw(st.integers(0, length(order)))
    which, _, offsets = order.locate_many(np.arange(until))
    index = data.draw(st.integers(0, len(order.sources) - 1))
    source = order.sources[index]
    start = data.draw(st.integers(0, source.tokens))
    stop = data.draw(st.integers(start, source.tokens))
    holds = (which == index) & (offsets < stop) & (offsets + order.seq_len >= start) & (stop > start)
    assert order.invert(source.name, start, stop, until) == np.flatnonzero(holds).tolist()
    assert order.drawn(source.name, until) == int((which == index).sum())


@given(staged_orders(), st.integers(0, 10**12))
def test_any_sample_is_found_again_by_its_place(order: Order, index: int):
    sample = order.locate(index)
    which = [source.name for source in order.sources].index(sample.source)
    nth = np.array([sample.epoch * order.samples_per_epoch(sample.source)])
    nth += order._permutation(which, sample.epoch).backward(np.array([sample.slot]))
    assert order._indices(which, nth) == [index]
    assert order.stages[order.stage_at(index)].weights.get(sample.source)


@given(staged_orders(), st.lists(st.integers(0, 10**6), max_size=30))
def test_a_staged_order_is_a_pure_function(order: Order, indices: list[int]):
    again = Order(order.sources[::-1], order.seq_len, order.seed, order.block, order.stages)
    again.locate_many(np.arange(100))
    for a, b in zip(order.locate_many(indices), again.locate_many(indices[::-1]), strict=True):
        assert np.array_equal(a, b[::-1])
    assert order.digest(50) == again.digest(50)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=30)
def test_one_stage_and_equal_weights_in_whole_blocks_are_the_static_order(sizes: list[int], index: int):
    """Cutting a run into stages of whole blocks with the same weights changes nothing."""
    sources = [SourceSpec("code", 700, 1.0), SourceSpec("web", 2_000, 3.0)]
    static = Order(sources, 8, 5, block=20)
    stages = [StageSpec(str(number), 20 * size, {"code": 1.0, "web": 3.0}) for number, size in enumerate(sizes)]
    staged = Order(sources, 8, 5, 20, stages)
    assert staged.locate(index) == static.locate(index)


def test_a_source_of_a_late_stage_starts_at_its_first_epoch_and_the_others_go_on():
    sources = [SourceSpec("web", 801), SourceSpec("code", 81)]
    order = Order(sources, 8, 3, 10, [StageSpec("main", 95, {"web": 1}), StageSpec("cool", 20, {"web": 1, "code": 1})])
    assert [order.stage_at(index) for index in (0, 94, 95, 10**9)] == [0, 0, 1, 1]
    assert order.drawn("web", 95) == 95 and order.drawn("code", 95) == 0
    later = [order.locate(index) for index in range(95, 115)]
    assert [sample.epoch for sample in later if sample.source == "code"] == [0] * 10
    web = [sample for sample in later if sample.source == "web"]
    assert [sample.epoch for sample in web] == [0] * 5 + [1] * 5  # 100 slots, of which 95 were seen
    seen = {order.locate(index).slot for index in range(95)} | {sample.slot for sample in web[:5]}
    assert seen == set(range(100))


def test_the_digest_of_a_long_run_has_a_bound_and_sees_all_of_it():
    sources = [SourceSpec("web", 10**10), SourceSpec("code", 10**9)]
    count = 10**9
    stages = [StageSpec("main", count - 10**7, {"web": 2, "code": 1}), StageSpec("cool", 10**7, {"code": 1})]
    base = Order(sources, 64, 1, stages=stages)
    moved = [StageSpec("main", count - 2 * 10**7, {"web": 2, "code": 1}), StageSpec("cool", 2 * 10**7, {"code": 1})]
    assert base.digest(count) == Order(sources, 64, 1, stages=stages).digest(count)
    assert len({base.digest(count), base.digest(count - 1), Order(sources, 64, 1, stages=moved).digest(count)}) == 3
    assert count > DIGESTED_WHOLE


@pytest.mark.parametrize(
    ("stage", "match"),
    [
        (StageSpec("x", 0, {"web": 1}), "no samples"),
        (StageSpec("x", 5, {}), "names no source"),
        (StageSpec("x", 5, {"webb": 1}), "names the source webb"),
        (StageSpec("x", 5, {"web": 0}), "must be positive"),
        (StageSpec("x", 5, {"web": 1, "code": 1}), "smaller than the number"),
    ],
)
def test_an_impossible_stage_is_refused(stage: StageSpec, match: str):
    with pytest.raises(ConfigError, match=match):
        Order([SourceSpec("web", 100), SourceSpec("code", 100)], 8, 0, 1, [stage])
