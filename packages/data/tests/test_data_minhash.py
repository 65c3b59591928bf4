import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.ngrams import words
from headwater.data.operators.minhash_dedup import (
    MinhashDedupConfig,
    band_keys,
    candidate_pairs,
    jaccard,
    resolve,
    shingle_sets,
)

WORDS = st.lists(st.sampled_from(["river", "mill", "bridge", "old", "the", "日本", "x1"]), max_size=30).map(" ".join)


def plain_shingles(text, n):
    found = words(text)
    return (
        {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}
        if len(found) >= n
        else ({tuple(found)} if found else set())
    )


@given(st.lists(WORDS, max_size=5), st.integers(1, 6))
def test_shingles_are_the_word_ngrams(texts, n):
    sets = shingle_sets(texts, n)
    assert [len(s) for s in sets] == [len(plain_shingles(text, n)) for text in texts]


@given(WORDS, WORDS, st.integers(1, 4))
def test_jaccard_is_the_true_one(a, b, n):
    first, second = shingle_sets([a, b], n)
    one, two = plain_shingles(a, n), plain_shingles(b, n)
    expected = len(one & two) / len(one | two) if one and two else 0.0
    assert abs(jaccard(first, second) - expected) < 1e-12


@given(WORDS)
def test_equal_texts_share_every_band_in_any_batch(text):
    config = MinhashDedupConfig()
    alone = band_keys(shingle_sets([text], 5), config)
    together = band_keys(shingle_sets(["other words come first", text.upper(), text], 5), config)
    assert (alone[0] == together[2]).all() and (together[1] == together[2]).all()


def test_bands_find_pairs_as_often_as_the_s_curve_says():
    config = MinhashDedupConfig(bands=14, rows=8)
    random = np.random.Generator(np.random.Philox(key=3))
    for similarity in (0.6, 0.75, 0.9):
        found, pairs = 0, 300
        sets = []
        for _ in range(pairs):
            shared = random.integers(0, 2**63, 400, dtype=np.uint64)
            own = round(400 * (1 - similarity) / (2 * similarity))
            sets += [
                np.unique(np.concatenate([shared, random.integers(0, 2**63, own, dtype=np.uint64)])) for _ in range(2)
            ]
        # the hashes of words fill all 64 bits: spread these too
        keys = band_keys([s * np.uint64(0x9E3779B97F4A7C15) for s in sets], config)
        found = int((keys[0::2] == keys[1::2]).any(axis=1).sum())
        expected = 1 - (1 - similarity**8) ** 14
        assert abs(found / pairs - expected) < 4 * (expected * (1 - expected) / pairs) ** 0.5 + 0.02


def test_the_seed_is_part_of_the_signature():
    sets = shingle_sets(["one two three four five six seven eight"], 3)
    assert (band_keys(sets, MinhashDedupConfig(seed=1)) == band_keys(sets, MinhashDedupConfig(seed=1))).all()
    assert (band_keys(sets, MinhashDedupConfig(seed=1)) != band_keys(sets, MinhashDedupConfig(seed=2))).any()
    # A pinned value: another numpy or platform must not change who is compared with whom.
    assert band_keys(sets, MinhashDedupConfig(bands=2, rows=2))[0].tolist() == PINNED


PINNED = [12813485322348350558, 603645108835309324]


def test_candidates_of_a_large_bucket_stay_linear():
    keys = np.array([1] * 4 + [2] + [3] * 100, dtype=np.uint64)
    a, b = candidate_pairs(keys, 32)
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    assert {(i, j) for i in range(4) for j in range(i + 1, 4)} <= pairs
    assert len(pairs) == 6 + 99 + 98 and all(i < j for i, j in pairs)
    assert not any(4 in pair for pair in pairs)


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=8), st.sampled_from([0.5, 0.7, 1.0]))
def test_nobody_goes_without_being_similar_to_one_who_stays(sets, threshold):
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in sets]
    decisions = resolve(arrays, threshold)
    assert decisions[0] is None
    kept = [i for i, decision in enumerate(decisions) if decision is None]
    for place, decision in enumerate(decisions):
        if decision is not None:
            other, similarity = decision
            assert other in kept and other < place
            true = len(sets[other] & sets[place]) / len(sets[other] | sets[place])
            assert abs(similarity - true) < 1e-12 and true >= threshold
    for i in kept:
        for j in kept:
            if i < j:
                assert len(sets[i] & sets[j]) / len(sets[i] | sets[j]) < threshold


def test_a_chain_of_neighbours_is_not_merged_whole():
    chain = [np.arange(i * 2, i * 2 + 20, dtype=np.uint64) for i in range(6)]  # neighbours at 0.82, ends at 0.33
    decisions = resolve(chain, 0.7)
    assert [decision is None for decision in decisions].count(True) >= 3
