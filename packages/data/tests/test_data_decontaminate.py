import json
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater.core.item_runs import ItemIndex
from headwater.core.ngrams import split_words, words
from headwater.data.operators.decontaminate import Decontaminate, DecontaminateConfig
from headwater.data.operators.item_finder import ItemFinder
from headwater.data.operators.run_filter import RunFilter

ITEM = "A farmer has seventeen sheep and all but nine of them ran away over the hill, how many are left?"
SHORT = "What is the capital of the old kingdom?"


def items(*texts):
    return pa.table({"task": ["quiz"] * len(texts), "index": list(range(len(texts))), "text": list(texts)})


def built(*item_texts, ngram=13, min_words=8):
    return ItemIndex.build(item_texts, ngram, min_words)


def find(texts, *item_texts, **options):
    """For each text with an overlap: (task, index, shared words) of each hit."""
    index, found = built(*item_texts, **options), {}
    for number, text in enumerate(texts):
        words = split_words([text])
        runs = index.runs(words)
        if runs:
            found[number] = [("quiz", run.item, " ".join(words.strings(run.first, run.stop))) for run in runs]
    return found


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
    index = built(ITEM)
    words = split_words(["one two three four five six seven eight nine ten eleven twelve thirteen"])
    forged = {13: (words.ngrams(13)[0], index.grams[13][1][:1])}
    assert ItemIndex(index.words, forged).runs(words) == []


def test_every_item_that_matches_is_named():
    other = "Question two. " + ITEM
    assert [(task, index) for task, index, _ in find([ITEM], ITEM, other)[0]] == [("quiz", 0), ("quiz", 1)]


def test_the_verdict_records_every_hit_and_its_place(rows, tmp_path):
    questions = [f"{ITEM} And if number {chr(97 + k % 26)}{k} were to come back again?" for k in range(300)]
    pq.write_table(items(*questions, SHORT), tmp_path / "items.parquet")
    operator = Decontaminate(DecontaminateConfig(rule="ngram"), tmp_path / "items.parquet")
    text = f"Ünter “{SHORT}” stands:\n" + "\n".join(f"{k}. {question}" for k, question in enumerate(questions[:200]))
    verdicts = operator.process(rows(["fine", text]))
    assert verdicts.reasons == ["", "item_overlap"] and verdicts.counters == {"items_matched": 301}
    detail = json.loads(verdicts.details[1])
    hits = {hit["index"]: hit for hit in detail["hits"]}
    assert len(hits) == len(detail["hits"]) == 301 and {hit["task"] for hit in detail["hits"]} == {"quiz"}
    for number, question in enumerate([*questions, SHORT]):
        hit = hits[number]
        shared = text[hit["start"] : hit["start"] + hit["length"]]
        common = question if number < 200 or number == 300 else ITEM + " And if number"
        assert words(shared) == words(common)
    # What hits share is written once.
    assert len(verdicts.details[1]) < 3 * len(text) + 80 * 301
    stretches = [(each["start"], each["start"] + each["length"]) for each in detail["shared"]]
    assert all(stop < start for (_, stop), (start, _) in pairwise(stretches))
    assert all(
        words(text[a:b]) == each["words"].split() for (a, b), each in zip(stretches, detail["shared"], strict=True)
    )
    assert all(
        any(a <= hit["start"] and hit["start"] + hit["length"] <= b for a, b in stretches) for hit in hits.values()
    )


def plain_runs(text, item, n):
    """All longest runs of at least n words, by comparing every place with every place."""
    mine, theirs, found = words(text), words(item), set()
    n = min(n, len(theirs))
    for a in range(len(mine)):
        for b in range(len(theirs)):
            if mine[a] == theirs[b] and (a == 0 or b == 0 or mine[a - 1] != theirs[b - 1]):
                size = 0
                while a + size < len(mine) and b + size < len(theirs) and mine[a + size] == theirs[b + size]:
                    size += 1
                if size >= n:
                    found.add((b, a, size))
    return {
        (b, a, size)
        for b, a, size in found
        if not any(
            (d, c, more) != (b, a, size) and d <= b and b + size <= d + more and (more, -c) > (size, -a)
            for d, c, more in found
        )
    }


WORDS = st.lists(st.sampled_from(["sheep", "Hill", "日本", "x_1", "ран", "İ", "é", "seven-teen"]), max_size=14).map(
    " ".join
)


@given(st.lists(WORDS, max_size=4), st.lists(WORDS, min_size=1, max_size=3), st.integers(2, 5))
def test_the_filter_misses_no_overlap(texts, item_texts, n):
    found = find(texts, *item_texts, ngram=n, min_words=2)
    filter_ = RunFilter.of_runs(built(*item_texts, ngram=n, min_words=2), item_texts)
    assert filter_.candidates(texts).tolist() == list(found)


@given(WORDS, WORDS, st.integers(2, 5))
def test_runs_are_the_longest_that_a_plain_search_finds(text, item, n):
    split = split_words([text])
    runs = built(item, ngram=n, min_words=2).runs(split)
    assert all(words(text)[run.first : run.stop] == words(item)[run.place :][: run.stop - run.first] for run in runs)
    if len(words(item)) >= 2 and len(words(text)) <= 8:  # no n-gram has more than eight places
        assert {(run.place, run.first, run.stop - run.first) for run in runs} == plain_runs(text, item, n)


@pytest.mark.parametrize("rule", ["coverage", "ngram"])
def test_a_text_is_recorded_alike_in_any_batch(rows, tmp_path, rule):
    pq.write_table(items(ITEM, SHORT), tmp_path / "items.parquet")
    operator = Decontaminate(DecontaminateConfig(rule=rule), tmp_path / "items.parquet")
    texts = [f"{ITEM} {ITEM} and {SHORT}", f"{SHORT} so {ITEM}", "nothing"]
    together = operator.process(rows(texts)).details
    assert together == [operator.process(rows([text])).details[0] for text in texts]


def test_what_a_text_says_often_is_recorded_at_its_first_place():
    finder = ItemFinder.build(items(ITEM), "ngram", 13, 8)
    split = split_words([f"{ITEM}\n" * 50])
    (hit,) = finder.hits(split)
    assert (hit.first, hit.stop) == (0, len(words(ITEM)))
    assert finder.record(split, [hit])["hits"][0]["start"] == 0


@given(
    st.lists(
        st.sampled_from([ITEM, SHORT, ITEM.upper(), ITEM[20:], ITEM[:60], ITEM.replace(",", ""), "a b"]), max_size=4
    )
)
def test_the_filter_misses_nothing_that_is_covered(parts):
    finder = ItemFinder.build(items(ITEM, SHORT), "coverage", 13, 8)
    texts = [" ".join(parts), *parts]
    held = [row for row, text in enumerate(texts) if finder.hits(split_words([text]))]
    assert set(held) <= set(finder.filter.candidates(texts).tolist())


def test_an_item_cut_short_is_found_by_coverage_only(rows, tmp_path):
    pq.write_table(items(ITEM, SHORT), tmp_path / "items.parquet")
    text = "Known for: a farmer has seventeen sheeps, and all but nine of them ran away up the hill: how many are left?"
    found = {}
    for rule in ("coverage", "ngram"):
        config = DecontaminateConfig(rule=rule)
        found[rule] = Decontaminate(config, tmp_path / "items.parquet").process(rows([text]))
    assert found["ngram"].reasons == [""] and found["coverage"].reasons == ["item_overlap"]
    (hit,) = json.loads(found["coverage"].details[0])["hits"]
    assert (hit["task"], hit["index"]) == ("quiz", 0) and hit["longest"] == 8 and 0.5 < hit["coverage"] < 1


def test_a_marked_document_is_kept_with_its_hits(rows, tmp_path):
    pq.write_table(items(ITEM, SHORT), tmp_path / "items.parquet")
    verdicts = Decontaminate(DecontaminateConfig(action="mark"), tmp_path / "items.parquet").process(rows([ITEM, "x"]))
    assert verdicts.outcomes == ["keep", "keep"] and verdicts.details[1] == ""
    assert json.loads(verdicts.details[0])["hits"][0]["index"] == 0
    assert verdicts.counters == {"documents_marked": 1, "items_matched": 1}


def test_options_of_the_other_rule_are_refused():
    with pytest.raises(ValidationError, match="ngram can be set with rule: ngram only"):
        DecontaminateConfig(ngram=8)
    config = DecontaminateConfig(rule="ngram", ngram=8)
    assert DecontaminateConfig(**config.model_dump()) == config
    assert DecontaminateConfig(**DecontaminateConfig().model_dump()) == DecontaminateConfig()
