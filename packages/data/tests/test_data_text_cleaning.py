from hypothesis import given
from hypothesis import strategies as st

from headwater.data.operators.text_cleaning import cleaned

PIECES = st.lists(
    st.sampled_from(["a", "word ", "\n", "\r", "\r\n", " ", "\t", "\u00a0", "\u00c2", "é", "日", "🎉", "12345678"])
)
TEXTS = st.lists(st.tuples(PIECES.map("".join), st.booleans()))


def by_line(text: str, whole: bool) -> str:
    """The rules, one after the other."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if whole:
        return text.strip("\n")
    text = "\n".join(line.rstrip(" \t") for line in text.replace("\u00a0", " ").split("\n"))
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")


@given(TEXTS)
def test_one_pass_does_what_the_rules_do_one_after_the_other(texts):
    found = cleaned([text for text, _ in texts], [whole for _, whole in texts])
    assert found.to_pylist() == [by_line(text, whole) for text, whole in texts]


@given(PIECES.map("".join), st.booleans())
def test_cleaning_what_is_clean_changes_nothing(text, whole):
    once = cleaned([text], [whole]).to_pylist()
    assert cleaned(once, [whole]).to_pylist() == once


def test_tabs_before_blanks_go_too():
    assert cleaned(["Chapter 1\t\t \n\nText\u00a0\t"], [False]).to_pylist() == ["Chapter 1\n\nText"]
