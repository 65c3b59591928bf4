"""Properties of the order of samples: a bijection in each epoch, invertible, in proportion, and pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.order import Order, SourceSpec
from headwater.core.permutation import Permutation


@st.composite
def orders(draw: st.DrawFn, max_slots: int = 60) -> Order:
    seq_len = draw(st.integers(1, 9))
    count = draw(st.integers(1, 5))
    sources = [
        SourceSpec(
            f"source{index}",
            draw(st.integers(seq_len + 1, seq_len * max_slots)),
            draw(st.floats(0.01, 100, allow_nan=False)),
        )
        for index in range(count)
    ]
    return Order(sources, seq_len, draw(st.integers(0, 2**63 - 1)), block=draw(st.integers(count, 200)))


@given(st.integers(1, 5000), st.text(max_size=10))
def test_a_permutation_is_a_bijection_and_its_inverse_undoes_it(size: int, label: str):
    permutation = Permutation(size, label)
    values = np.arange(size, dtype=np.int64)
    forward = permutation.forward(values)
    assert np.array_equal(np.sort(forward), values)
    assert np.array_equal(permutation.backward(forward), values)


@given(st.integers(2**40, 2**62), st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=50))
def test_a_huge_permutation_is_inverted_without_a_table(size: int, some: list[int]):
    permutation = Permutation(size, "huge")
    values = np.array(some, dtype=np.int64)
    forward = permutation.forward(values)
    assert ((forward >= 0) & (forward < size)).all()
    assert np.array_equal(permutation.backward(forward), values)


def test_a_permutation_has_no_favourite_places():
    """Where value 0 goes, over many keys, is uniform: chi-square with 63 degrees, limit at p = 1e-6."""
    size, keys = 64, 6400
    goes = Counter(int(Permutation(size, f"key {key}").forward(np.zeros(1, dtype=np.int64))[0]) for key in range(keys))
    statistic = sum((goes[place] - keys / size) ** 2 / (keys / size) for place in range(size))
    assert statistic < 130


@given(orders(max_slots=30))
@settings(max_examples=40)
def test_each_epoch_visits_every_slot_once(order: Order):
    for index, source in enumerate(order.sources):
        slots = order.samples_per_epoch(source.name)
        assert slots == (source.tokens - 1) // order.seq_len
        until = -(-2 * slots // order.quota(source.name)) * order.block
        which, epochs, offsets = order.locate_many(np.arange(until))
        for epoch in (0, 1):
            mine = np.sort(offsets[(which == index) & (epochs == epoch)])
            assert np.array_equal(mine, np.arange(slots) * order.seq_len)


@given(orders(), st.data())
def test_invert_finds_exactly_the_samples_that_hold_the_tokens(order: Order, data: st.DataObject):
    until = data.draw(st.integers(0, 500))
    which, _, offsets = order.locate_many(np.arange(until))
    source = data.draw(st.sampled_from(order.sources))
    start = data.draw(st.integers(0, source.tokens))
    stop = data.draw(st.integers(start, source.tokens))
    index = order.sources.index(source)
    holds = (which == index) & (offsets < stop) & (offsets + order.seq_len >= start) & (stop > start)
    assert order.invert(source.name, start, stop, until) == np.flatnonzero(holds).tolist()


@given(orders(), st.integers(0, 10**12))
def test_locate_and_locate_many_agree_with_invert(order: Order, index: int):
    sample = order.locate(index)
    which, epoch, offset = order.locate_many([index])
    assert (order.sources[int(which[0])].name, int(epoch[0]), int(offset[0])) == (
        sample.source,
        sample.epoch,
        sample.offset,
    )
    assert sample.offset + order.seq_len + 1 <= next(s.tokens for s in order.sources if s.name == sample.source)


@given(orders(), st.lists(st.integers(0, 5000), min_size=1, max_size=3), st.integers(1, 20))
def test_samples_of_a_batch_are_located_as_each_alone(order: Order, starts: list[int], size: int):
    for start in starts:  # in any order, across what is located together
        which, epoch, offset = order.locate_many(np.arange(start, start + size))
        for row, index in enumerate(range(start, start + size)):
            sample = order.locate(index)
            found = order.sources[int(which[row])].name, int(epoch[row]), int(offset[row])
            assert found == (sample.source, sample.epoch, sample.offset)


@given(orders(), st.integers(0, 500))
def test_invert_of_one_sample_returns_it(order: Order, index: int):
    sample = order.locate(index)
    middle = sample.offset + order.seq_len // 2
    assert index in order.invert(sample.source, middle, middle + 1, index + 1)


@given(orders())
def test_the_mixture_holds_at_every_prefix(order: Order):
    """At each prefix of a block, every source is within one sample of its share of the block."""
    which, _, _ = order.locate_many(np.arange(2 * order.block))
    position = np.arange(1, 2 * order.block + 1)
    for index, source in enumerate(order.sources):
        drawn = np.cumsum(which == index)
        share = order.quota(source.name) / order.block
        assert np.abs(drawn - share * position).max() <= 1 + 1e-9
        assert [order.drawn(source.name, n) for n in (0, 1, order.block, 2 * order.block)] == [
            0,
            drawn[0],
            drawn[order.block - 1],
            drawn[-1],
        ]


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=20), st.integers(20, 1000))
def test_quotas_add_up_and_are_within_one_sample_of_the_weights(weights: list[float], block: int):
    order = Order([SourceSpec(f"s{i:02}", 100, w) for i, w in enumerate(weights)], 4, 0, block)
    quotas = [order.quota(source.name) for source in order.sources]
    assert sum(quotas) == block
    assert min(quotas) >= 1
    if min(weights) / sum(weights) * block >= 1:  # else a source is lifted to one sample, at the cost of the others
        for weight, quota in zip(weights, quotas, strict=True):
            assert abs(quota - weight / sum(weights) * block) < 1 + 1e-9


@given(orders(max_slots=200))
def test_epochs_and_sources_have_permutations_of_their_own(order: Order):
    source = max(order.sources, key=lambda s: s.tokens)
    slots = order.samples_per_epoch(source.name)
    if slots < 30:
        return
    values = np.arange(slots)
    tables = [Permutation(slots, f"{order.seed}\0{source.name}\0{epoch}").forward(values) for epoch in range(3)]
    assert not np.array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[1], tables[2])


def test_each_epoch_and_each_seed_is_another_order():
    def first_epochs(seed: int) -> list[list[int]]:
        order = Order([SourceSpec("web", 1601, 1.0)], 16, seed)
        _, _, offsets = order.locate_many(np.arange(300))
        return offsets.reshape(3, 100).tolist()

    epochs = first_epochs(1)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert first_epochs(2)[0] != epochs[0]
    assert first_epochs(1) == epochs


@given(orders(), st.integers(1, 8), st.sampled_from([1, 2, 3, 4, 6, 8]), st.integers(0, 1000))
def test_slices_of_any_number_of_ranks_tile_the_batch(order: Order, micro: int, ranks: int, step: int):
    batch = micro * ranks
    whole = order.locate_many(np.arange(step * batch, (step + 1) * batch))
    parts = [
        order.locate_many(np.arange(step * batch + rank * micro, step * batch + (rank + 1) * micro))
        for rank in range(ranks)
    ]
    for column in range(3):
        assert np.array_equal(np.concatenate([part[column] for part in parts]), whole[column])


@given(orders(), st.lists(st.integers(0, 10**6), max_size=30))
def test_the_order_is_a_pure_function(order: Order, indices: list[int]):
    """Another object, the sources in another order, other samples asked for before: always the same answer."""
    again = Order(order.sources[::-1], order.seq_len, order.seed, order.block)
    again.locate_many(np.arange(100))
    forward = order.locate_many(indices)
    backward = again.locate_many(indices[::-1])
    for a, b in zip(forward, backward, strict=True):
        assert np.array_equal(a, b[::-1])
    assert order.digest(50) == again.digest(50)


def test_the_digest_changes_with_everything_that_decides_the_order():
    web, code = SourceSpec("web", 1000, 2.0), SourceSpec("code", 500, 1.0)
    base = Order([web, code], 8, 1).digest(500)
    others = [
        Order([web, code], 8, 2),
        Order([web, code], 9, 1),
        Order([web, code], 8, 1, block=10),
        Order([SourceSpec("web", 1000, 3.0), code], 8, 1),
        Order([SourceSpec("web", 990, 2.0), code], 8, 1),
        Order([SourceSpec("net", 1000, 2.0), code], 8, 1),
    ]
    digests = [order.digest(500) for order in others]
    assert len({base, *digests}) == 7
    assert Order([web, code], 8, 1).digest(499) != base


def test_the_order_never_changes():
    """Checkpoints name the digest of their order: another value here would break every old run's trace."""
    order = Order([SourceSpec("web", 10_000, 2.0), SourceSpec("code", 3_000, 1.0)], 16, 7, block=30)
    assert [(s.source, s.epoch, s.offset) for s in map(order.locate, (0, 1, 2, 1000, 10**6))] == [
        ("web", 0, 448),
        ("code", 0, 752),
        ("web", 0, 2544),
        ("code", 1, 944),
        ("code", 1782, 2848),
    ]
    assert order.digest(10_000) == "0226b22c9d823b6b27125aab3cb62f17f9f5119a15f50356d360697f04a4d714"


@pytest.mark.parametrize(
    ("sources", "seq_len", "block", "match"),
    [
        ([], 8, 10, "at least one source"),
        ([SourceSpec("a", 8, 1.0)], 8, 10, "too small"),
        ([SourceSpec("a", 100, 0.0)], 8, 10, "must be positive"),
        ([SourceSpec("a", 100, float("nan"))], 8, 10, "must be positive"),
        ([SourceSpec("a", 100, float("inf"))], 8, 10, "finite"),
        ([SourceSpec("a", 100, 1.0), SourceSpec("b", 100, 1.0)], 8, 1, "smaller than the number"),
        ([SourceSpec("a", 100, 1.0), SourceSpec("a", 90, 1.0)], 8, 10, "twice"),
        ([SourceSpec("a", 100, 1.0)], 0, 10, "seq_len"),
    ],
)
def test_an_impossible_order_is_refused(sources: list[SourceSpec], seq_len: int, block: int, match: str):
    with pytest.raises(ConfigError, match=match):
        Order(sources, seq_len, 0, block)
