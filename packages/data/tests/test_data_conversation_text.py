"""The canonical text of conversations: there and back without loss, for any content."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import DataError
from headwater.core.ngrams import words
from headwater.data.conversations.model import Conversation, ToolCall, Turn
from headwater.data.conversations.text import MARKER, from_text, outside_markers, to_text

MARKERS = ["⟦?⟧", "⟦!⟧ ", "\n⟦!⟧ x", "\n\\⟦?⟧", "\\", "⟦", "⟧", "\n", "\n\n", " ", "⟦> name=a⟧", "<|im_start|>", "\0",
           "\r\n"]  # fmt: skip
ANY = st.lists(st.one_of(st.sampled_from(MARKERS), st.text(max_size=8)), max_size=6).map("".join)
NAME = st.one_of(st.just(""), ANY)
CALL = st.builds(ToolCall, name=ANY, arguments=ANY, id=NAME)
TURN = st.one_of(
    st.builds(Turn, st.sampled_from(["system", "user"]), ANY, name=NAME),
    st.builds(Turn, st.just("tool"), ANY, name=NAME, call=NAME),
    st.builds(Turn, st.just("assistant"), ANY, reasoning=ANY, calls=st.lists(CALL, max_size=2).map(tuple)),
)
TURNS = st.lists(TURN, min_size=1, max_size=5).map(tuple)
ANSWER = st.one_of(st.none(), TURNS)
CONVERSATION = st.builds(Conversation, TURNS, ANSWER, ANSWER, tools=ANY)


@given(CONVERSATION)
def test_a_conversation_comes_back_as_it_went_in(conversation):
    text = to_text(conversation)
    assert from_text(text) == conversation
    assert text.encode().decode() == text


@given(TURNS, TURNS)
def test_two_conversations_never_have_one_text(one, two):
    assert (to_text(Conversation(one)) == to_text(Conversation(two))) == (one == two)


def test_what_it_looks_like():
    call = ToolCall("weather", '{"city": "Bergen"}', "call 1")
    conversation = Conversation(
        (Turn("system", "Be brief."), Turn("user", "Rain?\n⟦?⟧ is a marker"),
         Turn("assistant", "", "Look it up.", (call,)), Turn("tool", "rain", call="call 1"), Turn("assistant", "Yes."))
    )  # fmt: skip
    assert to_text(conversation).split("\n") == [
        "⟦*⟧ Be brief.", "⟦?⟧ Rain?", "\\⟦?⟧ is a marker", "⟦~⟧ Look it up.", "⟦!⟧",
        '⟦> name=weather id=call%201⟧ {"city": "Bergen"}', "⟦= id=call%201⟧ rain", "⟦!⟧ Yes.",
    ]  # fmt: skip


def test_markers_hold_no_word_so_runs_go_on_across_turns():
    text = to_text(
        Conversation((Turn("user", "one two"),), (Turn("assistant", "three"),), (Turn("assistant", "four"),))
    )
    assert words(text) == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"), ("Hello", "Hello"), (" ⟦?⟧ x", "⟦?⟧"), ("⟦x⟧ x", "⟦x⟧"), ("⟦~⟧ thought\n⟦?⟧ x", "before"),
        ("⟦?⟧ x\n⟦~⟧ thought", "at the end"), ("⟦?⟧ x\n⟦> name=f⟧ {}", "no assistant"),
    ],
)  # fmt: skip
def test_other_texts_are_refused(text, found):
    with pytest.raises(DataError, match="not that of a conversation") as error:
        from_text(text)
    assert found in str(error.value.found)


def test_an_edit_inside_a_turn_stays_there():
    text = to_text(Conversation((Turn("user", "I am jane@mail.org"), Turn("assistant", "Hello Jane"))))
    edited = from_text(text.replace("jane@mail.org", "<EMAIL>"))
    assert edited.turns == (Turn("user", "I am <EMAIL>"), Turn("assistant", "Hello Jane"))


@given(CONVERSATION, st.data())
def test_spans_outside_markers_miss_no_content_and_touch_no_marker(conversation, data):
    text = to_text(conversation).encode()
    bounds = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [(a, b, "x") for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    marks = [place for m in re.finditer(MARKER.pattern.encode(), text) for place in range(*m.span())]
    wanted = {place for a, b, _ in spans for place in range(a, b)} - set(marks)
    got = [place for a, b, _ in outside_markers(text, spans) for place in range(a, b)]
    assert got == sorted(wanted)
