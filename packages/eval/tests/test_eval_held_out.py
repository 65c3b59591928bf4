import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import EvalError
from headwater.core.tokens import MegatronReader
from headwater.eval.held_out import HeldOut, bits_per_byte, read_held_out
from headwater.eval.intervals import interval_of_mean, normal, stderr_of_mean, wilson
from headwater.eval.scoring import Scored, batches, windows
from headwater.eval.unigram import unigram_bits


@given(st.integers(0, 60), st.integers(1, 12))
def test_windows_score_every_token_once_within_the_length(count, length):
    tokens = list(range(100, 100 + count))
    cut = windows(tokens, 7, length)
    assert [token for window in cut for token in window.continuation] == tokens
    stream = [7, *tokens]
    for window in cut:
        assert window.context
        assert len(window.context) + len(window.continuation) - 1 <= length
        at = stream.index(window.continuation[0])
        assert list(window.context) == stream[at - len(window.context) : at]


@given(st.lists(st.integers(1, 40)), st.integers(1, 100))
def test_batches_keep_order_and_budget(lengths, budget):
    ordered = sorted(lengths, reverse=True)
    cut = list(batches(ordered, lambda n: n, budget))
    assert [n for batch in cut for n in batch] == ordered
    assert all(len(batch) == 1 or len(batch) * batch[0] <= budget for batch in cut)


def test_wilson_is_the_published_interval():
    # Newcombe 1998 (Statistics in Medicine 17:857), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = wilson(successes, n)
        assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 200), st.data())
def test_wilson_contains_the_score_and_stays_in_range(n, data):
    k = data.draw(st.integers(0, n))
    interval = wilson(k, n)
    assert 0 <= interval.low <= k / n <= interval.high <= 1
    mirrored = wilson(n - k, n)
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_interval_of_a_mean():
    assert interval_of_mean([]) is None
    assert interval_of_mean([0.5]) is None
    assert interval_of_mean([1.0, 0.0]).method == "wilson"
    values = [0.1, 0.5, 0.9]
    assert interval_of_mean(values) == normal(0.5, 0.4 / math.sqrt(3))
    assert stderr_of_mean([1.0]) is None


def test_unigram_bits_by_hand():
    bits = unigram_bits(np.array([0, 0, 0, 2], dtype=np.uint16), 4)
    assert np.allclose(2.0**-bits, np.array([4, 1, 2, 1]) / 8)


@pytest.fixture
def source(finished_run):
    return finished_run.tokens("web")


def _rows(source):
    return [row for row in pq.read_table(source / "documents.parquet").to_pylist() if row["split"] == "validation"]


def test_held_out_reads_whole_documents_in_order_of_id(source):
    everything = read_held_out(source, 512, 0, 10**9)
    rows = sorted(_rows(source), key=lambda row: row["id"])
    assert everything.bytes == sum(row["text_bytes"] for row in rows)
    assert [len(d) + 1 for d in everything.documents] == [row["token_count"] for row in rows]
    assert all((d != 0).all() for d in everything.documents)
    cap = rows[0]["token_count"] + rows[1]["token_count"]
    few = read_held_out(source, 512, 0, cap)
    assert sum(len(d) + 1 for d in few.documents) <= cap
    assert np.array_equal(few.documents[0], everything.documents[0])
    assert len(read_held_out(source, 512, 0, 1).documents) == 1


def test_unigram_cost_is_that_of_the_train_tokens(source):
    held_out = read_held_out(source, 512, 0, 10**9)
    train = MegatronReader(source / "train").tokens
    counts = np.bincount(np.asarray(train), minlength=512) + 1
    text = np.concatenate(held_out.documents)
    assert held_out.unigram_bits == pytest.approx(-np.log2(counts[text] / (len(train) + 512)).sum())


def test_tokens_beyond_the_tokenizer_are_refused(source):
    with pytest.raises(EvalError, match="tokenizer does not have"):
        read_held_out(source, 20, 0, 10**9)


def test_bits_per_byte_by_hand():
    sources = [
        HeldOut("a", [np.array([5, 6, 7])], bytes=12, unigram_bits=30.0),
        HeldOut("b", [np.array([5]), np.array([6, 6])], bytes=8, unigram_bits=10.0),
    ]
    asked = []

    def score(held_out, requests):
        asked.append((held_out.source, requests))
        return [Scored(-math.log(2) * len(r.continuation), False, False) for r in requests]

    bits = bits_per_byte(sources, 0, 2, score)
    assert [(r.context, r.continuation) for r in asked[0][1]] == [([0], [5, 6]), ([5, 6], [7])]
    assert (bits.sources["a"].model, bits.sources["a"].unigram) == (3 / 12, 30 / 12)
    assert (bits.model, bits.unigram, bits.documents, bits.tokens, bits.bytes) == (6 / 20, 2.0, 3, 6, 20)
    assert bits_per_byte([], 0, 2, score) is None
