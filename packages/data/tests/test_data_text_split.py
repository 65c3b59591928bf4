import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.data.operators.kernels import columns
from headwater.data.operators.kernels.characters import SPACE, character_bits
from headwater.data.operators.text_split import split_of, split_texts

ODD = "\0\x1c\x1f\x85\xa0\u2028\u3000 \n\r\v.…•-#aZ9é日\U0001f600"
CHARACTERS = st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8"))
TEXTS = st.lists(st.text(alphabet=CHARACTERS, max_size=60), max_size=6)


def between(split, starts, stops):
    return [bytes(split.data[a:b]).decode() for a, b in zip(starts, stops, strict=True)]


@given(TEXTS)
def test_words_are_those_of_str_split(texts):
    split = split_texts(texts)
    assert len(split) == len(texts) and split.characters.tolist() == [len(text) for text in texts]
    for row, text in enumerate(texts):
        mine = slice(split.first_words[row], split.first_words[row + 1])
        words = text.split()
        assert between(split, split.starts[mine], split.stops[mine]) == words
        assert split.ends[mine].tolist() == [sum(map(len, words[: k + 1])) for k in range(len(words))]


@given(TEXTS)
def test_lines_are_those_of_split_at_line_feeds(texts):
    split = split_texts(texts)
    for row, text in enumerate(texts):
        mine = slice(split.first_lines[row], split.first_lines[row + 1])
        lines = text.split("\n")
        assert between(split, split.line_starts[mine], split.line_stops[mine]) == lines
        assert split.line_words[mine].tolist() == [len(line.split()) for line in lines]
        assert split.line_lengths[mine].tolist() == [len(line) for line in lines]


@given(TEXTS)
def test_the_other_lines_are_those_of_splitlines(texts):
    split = split_texts(texts)
    for row, text in enumerate(texts):
        mine = slice(split.first_breaks[row], split.first_breaks[row + 1])
        lines, first = text.splitlines(), split.first_words[row]
        counts = [len(line.split()) for line in lines]
        assert (split.break_words[mine] - first).tolist() == [sum(counts[: k + 1]) for k in range(len(lines))]
        figures = split.figures[row]
        assert figures[columns.SPLIT_LINES] == len(lines)
        assert figures[columns.BULLET_LINES] == sum(line.lstrip().startswith(("•", "-")) for line in lines)
        assert figures[columns.ELLIPSIS_LINES] == sum(line.rstrip().endswith(("...", "…")) for line in lines)


@given(TEXTS)
def test_figures_are_those_of_plain_python(texts):
    bits = character_bits()
    split = split_texts(texts)
    for row, text in enumerate(texts):
        figures = split.figures[row]
        assert figures[columns.HASH_SIGNS] == text.count("#")
        assert figures[columns.ELLIPSES] == text.count("...") + text.count("…")
        assert figures[columns.LETTER_WORDS] == sum(any(c.isalpha() for c in word) for word in text.split())
        assert all(bool(bits[ord(c)] & SPACE) == c.isspace() for c in text)


@given(st.text(max_size=80), st.text(max_size=80))
def test_hashes_are_equal_exactly_for_equal_words(a, b):
    words = (a + " " + b).split()
    hashes = split_texts([a, b]).hashes.tolist() if words else []
    assert len(set(hashes)) == len(set(words))
    assert hashes == split_texts([" ".join(words)]).hashes.tolist()


@given(TEXTS, st.integers(0, 3))
def test_a_slice_of_a_column_is_split_like_a_list(texts, start):
    texts = [text.replace("\ud800", "") for text in texts]
    for kind in (pa.string(), pa.large_string()):
        array = pa.array(texts, kind).slice(min(start, len(texts)))
        one, two = split_texts(array), split_texts(texts[start:])
        assert one.hashes.tolist() == two.hashes.tolist() and one.figures.tolist() == two.figures.tolist()


def test_operators_share_one_split(rows):
    batch = rows(["one two", "three"])
    assert split_of(batch) is split_of(batch)
    assert split_of(rows(["one two", "four"])).words.tolist() == [2, 1]
