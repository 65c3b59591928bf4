import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.ngrams import split_words
from headwater.data.operators.decontaminate import Decontaminate, DecontaminateConfig, ItemIndex, overlaps

ITEM = "A farmer has seventeen sheep and all but nine of them ran away over the hill, how many are left?"
SHORT = "What is the capital of the old kingdom?"


def items(*texts):
    return pa.table({"task": ["quiz"] * len(texts), "index": list(range(len(texts))), "text": list(texts)})


def find(texts, *item_texts, **options):
    return overlaps(split_words(texts), ItemIndex.build(items(*item_texts), DecontaminateConfig(**options)))


def test_the_overlap_names_item_and_longest_span():
    text = "Once upon a time: a FARMER has seventeen sheep -- and all but nine of them ran away. The end."
    found = find(["nothing to see", text], ITEM)
    assert found == {1: [("quiz", 0, "a farmer has seventeen sheep and all but nine of them ran away")]}


def test_twelve_words_are_not_enough():
    words = ITEM.split()
    assert find([" ".join(words[:12])], ITEM) == {}
    assert list(find([" ".join(words[:13])], ITEM)) == [0]


def test_short_items_match_whole_only():
    assert find(["So what is the capital of the old kingdom? Nobody knew."], SHORT) == {
        0: [("quiz", 0, "what is the capital of the old kingdom")]
    }
    assert find(["What is the capital of the old republic?"], SHORT) == {}
    assert find(["what is the capital of the old kingdom"], SHORT, min_words=9) == {}


def test_a_run_across_two_documents_is_no_overlap():
    words = ITEM.split()
    assert find([" ".join(words[:8]), " ".join(words[8:])], ITEM) == {}


def test_equal_hashes_are_not_enough():
    index = ItemIndex.build(items(ITEM), DecontaminateConfig())
    words = split_words(["one two three four five six seven eight nine ten eleven twelve thirteen"])
    forged = {13: (words.ngrams(13)[0], index.grams[13][1][:1])}
    assert overlaps(words, ItemIndex(index.tasks, index.indices, index.words, forged)) == {}


def test_every_item_that_matches_is_named():
    other = "Question two. " + ITEM
    assert [(task, index) for task, index, _ in find([ITEM], ITEM, other)[0]] == [("quiz", 0), ("quiz", 1)]


def test_the_verdict_is_json(rows, tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(items(ITEM), tmp_path / "items.parquet")
    operator = Decontaminate(DecontaminateConfig(), tmp_path / "items.parquet")
    verdicts = operator.process(rows(["fine", "He said: " + ITEM]))
    assert verdicts.reasons == ["", "item_overlap"]
    detail = json.loads(verdicts.details[1])
    assert detail[0]["task"] == "quiz" and detail[0]["index"] == 0 and "seventeen sheep" in detail[0]["span"]


WORDS = st.lists(st.sampled_from(["sheep", "Hill", "日本", "x_1", "ран", "İ", "é", "seven-teen"]), max_size=14).map(
    " ".join
)


@given(st.lists(WORDS, max_size=4), st.lists(WORDS, min_size=1, max_size=3), st.integers(2, 5))
def test_the_filter_misses_no_overlap(texts, item_texts, n):
    index = ItemIndex.build(items(*item_texts), DecontaminateConfig(ngram=n, min_words=2))
    found = overlaps(split_words(texts), index)
    assert index.filter(item_texts).candidates(texts).tolist() == list(found)
