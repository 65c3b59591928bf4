import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.ngrams import words
from headwater.data.earlier import Earlier
from headwater.data.operators.minhash_dedup import (
    MinhashDedupConfig,
    _permutations,
    band_keys,
    candidate_pairs,
    jaccard,
    jaccards,
    shingle_sets,
    signatures,
)
from headwater.data.resolve import MEMBERS, Decide, Walk
from headwater.data.row_keys import row_keys

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


def test_word_split_hash_and_seed_are_pinned():
    """Another numpy, numba, compiler or platform must not change who is compared with whom."""
    texts = [
        "one two three four five six seven eight",
        "Ein Straßenschild, größer als ΣΊΓΜΑ: 日本語 е́ — x_1!",
        "few words",
        "",
    ]
    sets = shingle_sets(texts, 3)
    assert [len(s) for s in sets] == [6, 8, 1, 0]
    assert [s[:2].tolist() for s in sets] == PINNED_SHINGLES
    assert signatures(texts, MinhashDedupConfig(ngram=3, bands=2, rows=2)).tolist() == PINNED_KEYS


PINNED_SHINGLES = [
    [5393678355198908840, 6780920100247747974],
    [2463488941156467057, 6912437418015693374],
    [9050536168524133526],
    [],
]
PINNED_KEYS = [
    [9940135220510624760, 17558035442791337990],
    [12469305316988501558, 7070381813283462484],
    [12667023593567796283, 4062282146472341473],
    [0, 0],
]


SCRIPTS = st.text(
    alphabet=st.one_of(st.sampled_from("ab Z_9.\nÉéΣßжЖ日本ไก่กİK\u0301\u3000-ª"), st.characters()), max_size=80
)


@given(st.lists(SCRIPTS, max_size=5), st.integers(1, 6))
def test_texts_of_every_script_have_the_shingles_of_their_words(texts, n):
    sets = shingle_sets(texts, n)
    assert [len(s) for s in sets] == [len(plain_shingles(text, n)) for text in texts]
    assert all((s[1:] > s[:-1]).all() for s in sets)
    again = shingle_sets([" ".join(words(text)).upper() for text in texts], n)
    for text, one, two in zip(texts, sets, again, strict=True):
        if words(" ".join(words(text)).upper()) == words(text):  # some letters have no way back
            assert one.tolist() == two.tolist()


@given(st.lists(SCRIPTS, max_size=5), st.integers(1, 6), st.sampled_from([(14, 8), (3, 5), (1, 1)]))
def test_signatures_of_texts_are_those_of_their_shingles(texts, n, shape):
    config = MinhashDedupConfig(ngram=n, bands=shape[0], rows=shape[1])
    keys = signatures(texts, config)
    assert keys.tolist() == band_keys(shingle_sets(texts, n), config).tolist()
    if all(c < "\ud800" or c > "\udfff" for text in texts for c in text):
        assert keys.tolist() == signatures(pa.array(texts, pa.string()), config).tolist()


def test_a_signature_is_the_least_value_of_each_permutation():
    """By the definition, in Python's integers."""
    config = MinhashDedupConfig(bands=1, rows=1)
    (shingles,) = shingle_sets(["a b c d e f g h i j k l m n"], 5)
    multipliers, addends = _permutations(1, config.seed)
    least = min((int(multipliers[0]) * (h >> 32) + int(addends[0])) % 2**32 for h in shingles.tolist())
    key = ((0x9E3779B97F4A7C15 ^ least) * 0xD6E8FEB86659FD93) % 2**64
    assert band_keys([shingles], config)[0, 0] == key ^ (key >> 32)


@given(st.lists(st.tuples(*[st.sets(st.integers(0, 30))] * 2), max_size=6))
def test_similarities_of_many_pairs(pairs):
    first, second = (
        ([np.array(sorted(each), np.uint64) for each in side] for side in zip(*pairs, strict=True))
        if pairs
        else ([], [])
    )
    expected = [len(a & b) / len(a | b) if a | b else 0.0 for a, b in pairs]
    assert jaccards(list(first), list(second)).tolist() == expected


def test_candidates_of_a_large_bucket_stay_linear():
    keys = np.array([1] * 4 + [2] + [3] * 100, dtype=np.uint64)
    a, b = candidate_pairs(keys, 32)
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    assert {(i, j) for i in range(4) for j in range(i + 1, 4)} <= pairs
    assert len(pairs) == 6 + 99 + 98 and all(i < j for i, j in pairs)
    assert not any(4 in pair for pair in pairs)


def resolved(sets, threshold):
    """Place of each document that goes → (place of the one that stays, similarity)."""
    keys = row_keys(0, [f"{place:032x}" for place in range(len(sets))], [b"x"] * len(sets)).to_pylist()
    edges = [
        {"component": keys[0], "b": keys[j], "a": keys[i], "jaccard": len(sets[i] & sets[j]) / len(sets[i] | sets[j])}
        for j in range(len(sets))
        for i in range(j)
    ]
    edges = [edge for edge in edges if edge["jaccard"] >= threshold]
    rows = pa.Table.from_pylist(edges, schema=MEMBERS)
    found = {}
    for row in Walk(Decide("minhash_dedup", "near_duplicate", Earlier()))(rows).to_pylist():
        detail = json.loads(row["detail"])
        found[keys.index(row["row"])] = (int(detail["kept"], 16), detail["jaccard"])
    return found


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=8), st.sampled_from([0.5, 0.7, 1.0]))
def test_nobody_goes_without_being_similar_to_one_who_stays(sets, threshold):
    gone = resolved(sets, threshold)
    kept = [place for place in range(len(sets)) if place not in gone]
    assert 0 in kept
    for place, (other, similarity) in gone.items():
        assert other in kept and other < place
        true = len(sets[other] & sets[place]) / len(sets[other] | sets[place])
        assert abs(similarity - true) < 1e-4 and true >= threshold
    for i in kept:
        for j in kept:
            if i < j:
                assert len(sets[i] & sets[j]) / len(sets[i] | sets[j]) < threshold


def test_a_chain_of_neighbours_is_not_merged_whole():
    chain = [set(range(i * 2, i * 2 + 20)) for i in range(6)]  # neighbours at 0.82, ends at 0.33
    assert resolved(chain, 0.7) == {1: (0, 0.8182), 3: (2, 0.8182), 5: (4, 0.8182)}
