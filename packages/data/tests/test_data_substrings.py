"""Repeated runs of words: what is cut is what a plain search over all windows says, whatever the partitions."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.core.ngrams import character_tables, word_spans
from headwater.data.cuts import cuts_of
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.operators.apply_cuts import ApplyCuts
from headwater.data.operators.kernels.substrings import place_words
from headwater.data.operators.kernels.texts import as_texts
from headwater.data.operators.substring_dedup import NAME, SubstringDedupConfig, anchors_of
from headwater.data.row_keys import row_keys
from headwater.data.rows import ALIVE, ROWS
from headwater.data.substrings import repeated_substrings


@dataclass(frozen=True)
class Given:
    batch: pa.RecordBatch
    schema: pa.Schema
    size: int = 1_000_000

    def __call__(self):
        yield self.batch.select(self.schema.names)


@pytest.fixture
def pages(rows):
    """A batch of texts; their order among duplicates is that in the list."""

    def build(texts, content_type="text/html"):
        batch = rows(texts, content_type=content_type)
        keys = row_keys(0, batch.column("id").to_pylist(), [str(i).encode() for i in range(len(texts))])
        place = batch.schema.get_field_index("row")
        return batch.set_column(place, batch.schema.field(place), keys)

    return build


def run(folder, batches, config, shuffle_bytes=10**9):
    """The verdicts of each batch, and the cuts of each row."""
    with LocalEngine(folder, shuffle_bytes=shuffle_bytes) as engine:
        cuts = repeated_substrings(engine, engine.read([Given(b, ALIVE) for b in batches], ALIVE), config, Earlier())
        joined = engine.join(engine.read([Given(b, ROWS) for b in batches], ROWS), cuts, left_on="row", right_on="row")
        parts = [batch for part in joined.parts for batch in part()]
        found = {row: spans for batch in parts for row, spans in cuts_of(batch).items()}
        return [ApplyCuts(NAME, config, cuts_of(b)).process(b.select(ROWS.names)) for b in parts], found


def repeated_words(texts, size):
    """By the rule, one window after the other: the words of each text that lie in a repeated window, as characters."""
    first, places = {}, []
    for number, text in enumerate(texts):
        spans = word_spans(text)
        again = np.zeros(len(spans), bool)
        for place in range(len(spans) - size + 1):
            window = tuple(word for word, _, _ in spans[place : place + size])
            earlier = first.setdefault(window, (number, place))
            if earlier[0] != number or place - earlier[1] >= size:
                again[place : place + size] = True
        places.append([(a, b, bool(cut)) for (_, a, b), cut in zip(spans, again, strict=True)])
    return places


def is_cut(spans, start, stop):
    """Whether bytes lie in a span (True), in none (False), or neither (None)."""
    inside = [a <= start and stop <= b for a, b in spans]
    apart = [stop <= a or b <= start for a, b in spans]
    return True if any(inside) else False if all(apart) else None


WORDS = st.sampled_from(["a", "b", "ü", "漢字", "x-y", "It's", "C."])
RUN = st.lists(WORDS, min_size=1, max_size=12)


@st.composite
def texts_with_repeats(draw):
    """Texts put together from a few runs, so that much is repeated, at all lengths, also periodically."""
    runs = draw(st.lists(RUN, min_size=1, max_size=4))
    texts = draw(st.lists(st.lists(st.sampled_from(runs), max_size=5), min_size=1, max_size=6))
    between = draw(st.sampled_from([" ", "\n", ", ", " “"]))
    return [between.join(word for part in text for word in part) for text in texts]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts_with_repeats(), st.sampled_from([2, 3, 5, 8]), st.integers(1, 5), st.booleans())
def test_a_word_is_cut_if_and_only_if_it_lies_in_a_repeated_window(tmp_path_factory, pages, texts, size, place, many):
    config = SubstringDedupConfig(min_tokens=size, min_characters=0)
    whole = pages(texts)
    parts = [part for part in (whole.slice(place), whole.slice(0, place)) if part.num_rows]
    _, cuts = run(tmp_path_factory.mktemp("w"), parts, config, 300_000 if many else 10**9)
    for row, text, places in zip(whole.column("row").to_pylist(), texts, repeated_words(texts, size), strict=True):
        spans = np.frombuffer(cuts.get(row, b""), "<i8").reshape(-1, 2).tolist()
        bytes_before = [len(text[:k].encode()) for k in range(len(text) + 1)]
        assert [is_cut(spans, bytes_before[a], bytes_before[b]) for a, b, _ in places] == [c for _, _, c in places]
        for a, b in spans:  # whole characters
            text.encode()[a:b].decode()


def test_a_random_corpus_of_long_texts_is_cut_as_the_plain_search_says(tmp_path, pages):
    random = np.random.Generator(np.random.Philox(key=5))
    vocabulary = [f"w{k}" for k in range(300)]
    runs = [random.choice(vocabulary, int(n)).tolist() for n in random.integers(20, 200, 25)]
    texts = [
        " ".join(word for k in random.integers(0, 25, 6) for word in runs[k][int(random.integers(0, 15)) :])
        for _ in range(40)
    ]
    config = SubstringDedupConfig(min_characters=0)
    _, cuts = run(tmp_path, [pages(texts)], config, 300_000)
    whole, total = pages(texts).column("row").to_pylist(), 0
    for row, places in zip(whole, repeated_words(texts, 50), strict=True):
        spans = np.frombuffer(cuts.get(row, b""), "<i8").reshape(-1, 2).tolist()
        assert [is_cut(spans, a, b) for a, b, _ in places] == [c for _, _, c in places]
        total += sum(c for _, _, c in places)
    assert 0.3 < total / sum(len(text.split()) for text in texts) < 0.95


def test_texts_that_repeat_themselves_are_cut_as_the_plain_search_says(tmp_path, pages):
    """Four hundred small corpora with words of their own, at once: runs of short periods, and parts of them."""
    random = np.random.Generator(np.random.Philox(key=9))
    texts, size = [], 6
    for corpus in range(400):
        patterns = [random.integers(0, 3, int(n)).tolist() for n in random.integers(1, 6, 2)]
        for _ in range(3):
            words = []
            for pattern in (patterns[k] for k in random.integers(0, 2, 2)):
                start = int(random.integers(0, 5))
                words += (pattern * 30)[start : start + int(random.integers(2, 22))]
            texts.append(" ".join(f"c{corpus}w{word}" for word in words))
    batch = pages(texts)
    _, cuts = run(tmp_path, [batch], SubstringDedupConfig(min_tokens=size, min_characters=0))
    for row, text, places in zip(batch.column("row").to_pylist(), texts, repeated_words(texts, size), strict=True):
        spans = np.frombuffer(cuts.get(row, b""), "<i8").reshape(-1, 2).tolist()
        assert [is_cut(spans, a, b) for a, b, _ in places] == [c for _, _, c in places], text


def sentence(number, words=60):
    return " ".join(f"word{(number * 7919 + k * k) % 9973}" for k in range(words))


def test_the_first_saying_stays_and_the_later_ones_go(tmp_path, pages):
    texts = [f"Alpha begins.\n{sentence(1)}. Alpha ends.", f"Beta starts. {sentence(1).upper()}! Beta stops.",
             f"{sentence(2)}\n\nmiddle\n\n{sentence(2)}"]  # fmt: skip
    verdicts, _ = run(tmp_path, [pages(texts)], SubstringDedupConfig(min_characters=5))
    assert verdicts[0].batch.column("text").to_pylist() == [
        texts[0], "Beta starts. Beta stops.", f"{sentence(2)}\n\nmiddle"
    ]  # fmt: skip
    assert verdicts[0].reasons == ["", NAME, NAME]
    assert verdicts[0].details[1].startswith("1 spans, ")


@pytest.mark.parametrize(("words", "outcome"), [(49, "keep"), (50, "change")])
def test_a_run_is_cut_from_min_tokens_on(tmp_path, pages, words, outcome):
    texts = [f"{name} {sentence(1, words)} {name} and more text that stays" for name in ("one", "two")]
    verdicts, _ = run(tmp_path, [pages(texts)], SubstringDedupConfig(min_characters=0))
    assert verdicts[0].outcomes == ["keep", outcome]


def test_of_a_text_that_repeats_one_word_the_first_window_stays(tmp_path, pages):
    verdicts, _ = run(tmp_path, [pages(["again " * 500])], SubstringDedupConfig(min_characters=0))
    assert verdicts[0].batch.column("text").to_pylist() == ["again " * 50]


def test_what_is_left_too_short_is_set_aside(tmp_path, pages):
    verdicts, _ = run(tmp_path, [pages([sentence(1), f"{sentence(1)} short"])], SubstringDedupConfig())
    assert (verdicts[0].outcomes, verdicts[0].reasons) == (["keep", "reject"], ["", "too_short"])


def test_programs_are_left_alone_and_nothing_is_compared_with_them(tmp_path, pages):
    texts = [sentence(1), sentence(1), sentence(1)]
    batch = pages(texts, content_type=["text/x-python", "text/html", "text/x-python"])
    verdicts, _ = run(tmp_path, [batch], SubstringDedupConfig(min_characters=0))
    assert verdicts[0].outcomes == ["keep"] * 3
    assert verdicts[0].batch.equals(batch)


def test_cuts_keep_whole_characters_of_every_script(tmp_path, pages):
    run_of = "".join(chr(0x4E00 + k) for k in range(60))
    texts = [f"é😀 {run_of}。“ça”", f"ж😀 {run_of}。“où”"]
    verdicts, _ = run(tmp_path, [pages(texts)], SubstringDedupConfig(min_characters=0))
    assert verdicts[0].batch.column("text").to_pylist() == [texts[0], "ж😀 où”"]


SCRIPTS = st.text(
    alphabet=st.one_of(st.sampled_from("ab Z_9.\nÉéжЖ日本ไก่กİK\u0301\u3000-ª"), st.characters()), max_size=60
)


@given(SCRIPTS)
def test_words_lie_where_the_word_split_says(text):
    data, offsets = as_texts([text])
    starts, stops = (np.empty(len(text.encode("utf-8", "surrogatepass")) // 2 + 2, np.int64) for _ in range(2))
    count = place_words(data, 0, offsets[1], character_tables()[1], starts, stops)
    size = [len(text[:k].encode("utf-8", "surrogatepass")) for k in range(len(text) + 1)]
    places = [(size[a], size[b]) for _, a, b in word_spans(text)]
    assert list(zip(starts[:count].tolist(), stops[:count].tolist(), strict=True)) == places


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(2, 9))
def test_anchors_share_out_all_windows(words, size):
    found = anchors_of([" ".join(f"w{k}" for k in words)], SubstringDedupConfig(min_tokens=size))
    bounds = found.places.ravel().tolist()
    assert bounds[1:-1:2] == bounds[2::2]  # one after the other
    assert (bounds[:1], bounds[-1:]) == (([0], [len(words) - size + 1]) if len(words) >= size else ([], []))
