"""Words and n-grams: places in the original text, agreement between one text and many, stable hashes."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.ngrams import ngram_hashes, split_words, word_spans, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" .,- ", []),
        ("The cat's hat", ["the", "cat", "s", "hat"]),
        ("def f_1(x): return X+2.5", ["def", "f_1", "x", "return", "x", "2", "5"]),
        ("Ünïcode CAFÉ", ["ünïcode", "café"]),
        ("e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT} ok", ["e\u0301te\u0301", "ok"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("在东京 Tokyo", ["在", "东", "京", "tokyo"]),
        ("a東b", ["a", "東", "b"]),
        ("İstanbul", ["istanbul"]),
        ("\ud800x", ["x"]),
    ],
)
def test_words_of_known_texts(text: str, expected: list[str]):
    assert words(text) == expected


@given(st.text(st.characters(max_codepoint=127), max_size=200))
def test_ascii_words_are_what_the_regular_expression_finds(text: str):
    assert words(text) == [match.group().lower() for match in re.finditer(r"\w+", text)]


@given(st.text(max_size=200))
def test_spans_point_into_the_original_text(text: str):
    before = 0
    for word, start, stop in word_spans(text):
        assert before <= start < stop <= len(text)
        assert len(word) == stop - start
        assert "".join(c.lower()[0] for c in text[start:stop]) == word
        before = stop


@given(st.lists(st.text(st.sampled_from("ab é東\n"), max_size=40), max_size=6), st.integers(1, 4))
def test_many_texts_at_once_equal_each_alone(texts: list[str], n: int):
    hashes, owner = ngram_hashes(texts, n)
    alone = [ngram_hashes(text, n)[0] for text in texts]
    assert owner.tolist() == [i for i, part in enumerate(alone) for _ in range(len(part))]
    assert hashes.tolist() == [h for part in alone for h in part.tolist()]


@given(st.lists(st.sampled_from(["aa", "b", "A", "ab", "é"]), max_size=30), st.integers(1, 5))
def test_equal_hashes_mean_equal_words(tokens: list[str], n: int):
    split = split_words([" ".join(tokens)])
    hashes, places = split.ngrams(n)
    seen: dict[int, list[str]] = {}
    for value, place in zip(hashes.tolist(), places.tolist(), strict=True):
        gram = split.strings(place, place + n)
        assert gram == [t.lower() for t in tokens[place : place + n]]
        assert seen.setdefault(value, gram) == gram
    assert len({tuple(gram) for gram in seen.values()}) == len(seen)


def test_characters_of_a_run_of_words():
    split = split_words(["Once, upon", "a TIME there"])
    assert split.characters(3, 5) == (1, 2, 12)
    assert split.text_of(np.array([0, 1, 2, 4])).tolist() == [0, 0, 1, 1]


def test_hashes_never_change():
    """Hashes are kept in artifacts: another value here means that every stored one is void."""
    hashes, _ = ngram_hashes("the quick brown fox", 3)
    assert [f"{h:016x}" for h in hashes.tolist()] == ["efdc0dc144ad0a1e", "0a4cef1cee70f697"]


def test_n_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        ngram_hashes("a b", 0)
