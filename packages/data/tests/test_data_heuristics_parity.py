"""The heuristic operators against datatrove's filters on one white-space split: the same decision about every text.

What differs, and why, is in docs/data-heuristics.md.
"""

import pydoc_data.topics
import re
from importlib.metadata import distributions

import datatrove.pipeline.filters.c4_filters as c4_filters
import datatrove.pipeline.filters.fineweb_quality_filter as fineweb_quality_filter
import datatrove.pipeline.filters.gopher_quality_filter as gopher_quality_filter
import datatrove.pipeline.filters.gopher_repetition_filter as gopher_repetition_filter
import pytest
from datatrove.data import Document
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data.operators.c4 import C4, C4Config
from headwater.data.operators.fineweb import Fineweb, FinewebConfig
from headwater.data.operators.gopher_quality import GopherQuality, GopherQualityConfig
from headwater.data.operators.gopher_repetition import GopherRepetition, GopherRepetitionConfig
from headwater.data.operators.kernels.characters import CONTENT, TERMINAL, character_bits

REASONS = {
    "gopher_short_doc": "too_few_words", "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "short_words", "gopher_above_avg_threshold": "long_words",
    "gopher_too_many_hashes": "hash_ratio", "gopher_too_many_ellipsis": "ellipsis_ratio",
    "gopher_too_many_bullets": "bullet_lines", "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "alpha_words", "gopher_enough_stop_words": "stop_words",
    "dup_para_frac": "duplicate_paragraphs", "dup_para_char_frac": "duplicate_paragraph_characters",
    "dup_line_frac": "duplicate_lines", "dup_line_char_frac": "duplicate_line_characters",
    "line_punct_ratio": "terminal_lines", "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_line_characters", "list_ratio": "lines_per_word",
}  # fmt: skip
SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]{0,3}(?=\s|$)")


def translated(reason):
    if re.fullmatch(r"top_\d+_gram", reason):
        return "top_ngram"
    return "duplicate_ngrams" if re.fullmatch(r"duplicated_\d+_n_grams", reason) else REASONS.get(reason, reason)


def repeated_characters(words, n, joined=tuple):
    """datatrove's count of characters in repeated n-grams; there `joined` is `"".join`, which forgets the words."""
    seen, taken, place = set(), 0, 0
    while place <= len(words) - n:
        run = joined(words[place : place + n])
        if run in seen:
            taken += sum(map(len, run))
            place += n
        else:
            seen.add(run)
            place += 1
    return taken


SHIPPED = gopher_repetition_filter.find_all_duplicate


def test_what_we_leave_out_of_datatrove_is_only_that_ngrams_forget_where_words_end():
    words = ["a", "bc", "a", "bc", "d", "ab", "c", "d", "a", "bc", "d", "ab", "cd", "abc", "d", "a", "b", "c", "d"]
    for n in range(1, 6):
        assert SHIPPED(words, n) == repeated_characters(words, n, "".join)
    assert SHIPPED(words, 2) != repeated_characters(words, 2)


@pytest.fixture(scope="module")
def pairs():
    """Each operator with datatrove's filter; words by `str.split`, sentences by our rule, n-grams of whole words."""
    patch = pytest.MonkeyPatch()
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        patch.setattr(module, "split_into_words", lambda text, language: text.split())
    patch.setattr(gopher_repetition_filter, "find_all_duplicate", repeated_characters)
    patch.setattr(c4_filters, "split_into_sentences", lambda text, language: SENTENCE_END.findall(text))
    yield [
        (GopherQuality(GopherQualityConfig()), gopher_quality_filter.GopherQualityFilter()),
        (GopherRepetition(GopherRepetitionConfig()), gopher_repetition_filter.GopherRepetitionFilter()),
        (Fineweb(FinewebConfig()), fineweb_quality_filter.FineWebQualityFilter()),
        (C4(C4Config()), c4_filters.C4QualityFilter()),
    ]
    patch.undo()


def decided_alike(pairs, batch):
    """How often each verdict was given; fails at the first text that the two decide differently about."""
    seen = {}
    texts = batch.column("text").to_pylist()
    for ours, theirs in pairs:
        verdicts = ours.process(batch)
        for row, text in enumerate(texts):
            document = Document(text=text, id=str(row))
            result = theirs.filter(document)
            kept, reason = result if isinstance(result, tuple) else (result, "")
            mine = verdicts.reasons[row] if verdicts.outcomes[row] == "reject" else ""
            assert (mine == "") == kept and mine == translated(reason), (ours.name, verdicts.details[row], text)
            if kept:
                assert verdicts.batch.column("text")[row].as_py() == document.text
            seen[ours.name, mine] = seen.get((ours.name, mine), 0) + 1
    return seen


def real_texts():
    """Documentation and licences that lie on every machine that runs this test, and some that are made worse."""
    texts = list(pydoc_data.topics.topics.values())
    for distribution in distributions():
        texts += filter(None, (distribution.read_text(name) for name in ("METADATA", "LICENSE", "RECORD")))
    texts = [text[:20000] for text in texts[:500]]
    worse = []
    for k, text in enumerate(texts[:250]):
        lines = text.splitlines()
        worse.append(("\n".join("- " + line for line in lines), "\n".join(line + " ..." for line in lines),
                      text + "\n\n" + text[: len(text) // 3], text.replace("\n", "\r\n"), text.replace("e", "#"),
                      " ".join(text.split()[:60] * 3), text.replace(" ", "\u2003").replace("\n", "\u2028"),
                      "".join(lines), "\n".join(lines[: 3 + k % 5]), text.replace(".", "。"))[k % 10])  # fmt: skip
    return texts + worse


def test_real_texts_are_decided_alike(rows, pairs):
    seen = decided_alike(pairs, rows(real_texts()))
    assert sum(times for (_, reason), times in seen.items() if reason) > 100
    assert {name for name, reason in seen if not reason} == {ours.name for ours, _ in pairs}
    assert len(seen) >= 20  # most reasons occur


PIECES = st.sampled_from(
    ["the", "and", "of that", "with have", "a", "b", "river", "javascript", "JavaScript", "cookie policy",
     "Terms of Use", "use coo\u212aies", "lorem ipsum",
     "{", "[1]", "[12", "[edit]", "[citation needed]", "[\u0663]", "...", "…", ".",
     "!", "?", '."', ".”)", ".'))))", "#", "•", "- ", "日本。", "é", "\u0130", "１", "\U0001f600", "x" * 40, "w" * 1001,
     "\n", "\n\n", "\n\n\n", "\r\n", "\r", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\t", " ",
     "one good sentence is here.\n", "Is this another one? Yes it is!\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(PIECES, st.sampled_from(["", " ", "\n"])), max_size=80),
    st.sampled_from([0, 0, 12]),
    st.booleans(),
)
def test_odd_texts_are_decided_alike(rows_of, pairs, pieces, sentences, twice):
    text = "".join(part + gap for part, gap in pieces)
    text += "".join(
        f"Number {k} of the {'lines' if k % 2 else 'rows'} is to be read with care.\n" for k in range(sentences)
    )
    text += text if twice else ""
    if not text.split():
        return  # datatrove divides by the number of words
    decided_alike(pairs, rows_of([text]))


@pytest.fixture(scope="module")
def rows_of():
    import pyarrow as pa

    schema = pa.schema([pa.field("text", pa.string(), nullable=False)])
    return lambda texts: pa.RecordBatch.from_pydict({"text": texts}, schema=schema)


def test_the_character_classes_are_datatroves():
    bits = character_bits()
    assert {chr(code) for code in range(0x110000) if not bits[code] & CONTENT} == PUNCTUATION_SET
    assert {chr(code) for code in range(0x110000) if bits[code] & TERMINAL} == TERMINAL_PUNCTUATION
