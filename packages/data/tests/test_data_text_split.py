from hypothesis import given
from hypothesis import strategies as st

from headwater.data.operators.text_split import split_of, split_texts

# Without NUL: 0 stands for "no last character", so a line that ends in NUL counts as an empty one.
TEXTS = st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=60), max_size=6)


@given(TEXTS)
def test_words_are_those_of_str_split(texts):
    split = split_texts(texts)
    for row, text in enumerate(texts):
        first, end = split.first_words[row], split.first_words[row + 1]
        origin = split.text_starts[row]
        found = [
            text[a - origin : b - origin] for a, b in zip(split.starts[first:end], split.stops[first:end], strict=True)
        ]
        assert found == text.split()


@given(TEXTS)
def test_lines_are_those_of_split_at_line_feeds(texts):
    split = split_texts(texts)
    for row, text in enumerate(texts):
        first, end = split.first_lines[row], split.first_lines[row + 1]
        origin = split.text_starts[row]
        spans = zip(split.line_starts[first:end], split.line_stops[first:end], strict=True)
        lines = text.split("\n")
        assert [text[a - origin : b - origin] for a, b in spans] == lines
        assert split.line_words[first:end].tolist() == [len(line.split()) for line in lines]
        last = [chr(c) if c else "" for c in split.line_last_codes[first:end]]
        assert last == [line.strip()[-1:] for line in lines]
        assert split.ends_with_ellipsis()[first:end].tolist() == [
            line.rstrip().endswith(("...", "…")) for line in lines
        ]


@given(st.text(max_size=80), st.text(max_size=80))
def test_hashes_are_equal_exactly_for_equal_words(a, b):
    words = (a + " " + b).split()
    hashes = split_texts([a, b]).hashes.tolist() if words else []
    assert len(set(hashes)) == len(set(words))
    assert hashes == split_texts([" ".join(words)]).hashes.tolist()


def test_operators_share_one_split(rows):
    batch = rows(["one two", "three"])
    assert split_of(batch) is split_of(batch)
    assert split_of(rows(["one two", "four"])).texts == ["one two", "four"]
