import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.item_coverage import RUN, CoverageIndex, longest_runs
from headwater.core.item_parts import item_parts, question_of
from headwater.core.ngrams import split_words

FILLER = "The ferry leaves the harbour at noon, and nobody on the quay could say when it would come back again. "
FARM = (
    "A farmer's widow sold 1,200 ewes, 35 rams and a well-worn tractor at the autumn fair; what did she earn in total?"
)
BRIDGE = "Which of the following bridges over the Tamsel canal was rebuilt by the carpenters' guild?"
BRIDGE_CHOICES = "\nThe Weighhouse bridge\nThe Lantern bridge\nThe Herring bridge\nThe Miller's bridge"
SPEECH = (
    "Let no one tell you that the harbour was given to us, for it was dug by hand, by those who had no other tools, "
    "in the winters of the great hunger, and every stone of its walls was carried down from the quarry by our mothers."
)
QUOTING = (
    f"This question refers to the following information.\n{SPEECH}\n—Ilse Varn, address to the dockers, 1911\n"
    "The sentiments in the excerpt most directly reflect which development in the port towns?"
)
STOCK = [f"Which of the following statements about {name} is true?" for name in
         ("lichens", "ferries", "sonnets", "glaciers", "ledgers", "pulleys", "comets", "fugues", "granites", "beetles",
          "monsoons", "treaties")]  # fmt: skip
TEXTS = [FARM, BRIDGE + BRIDGE_CHOICES, QUOTING, *STOCK]
QUESTIONS = [FARM, BRIDGE, QUOTING, *STOCK]
INDEX = CoverageIndex.build(TEXTS, QUESTIONS)


def found(text: str, index: CoverageIndex = INDEX) -> list[int]:
    """Numbers of the items that a page with this text in it holds."""
    return [each.item for each in index.found(split_words([f"{FILLER}{text}\n{FILLER}"]))]


@pytest.mark.parametrize(
    "text",
    [
        FARM,
        FARM.upper(),
        FARM.replace("'", "").replace(",", "").replace("-", ""),
        "A farmer s widow sold 1 200 ewes 35 rams and a well worn tractor at the autumn fair",
        FARM.replace("autumn", "spring"),
        FARM.replace(" at the", "\n\nat the"),
    ],
)
def test_an_item_is_found_whole_cut_and_edited(text: str):
    assert found(text) == [0]


def test_a_question_is_found_without_its_choices_and_with_them():
    assert found(BRIDGE) == [1]
    (hit,) = INDEX.found(split_words([BRIDGE + BRIDGE_CHOICES]))
    assert (hit.item, hit.first, hit.coverage) == (1, 0, 1000)
    assert hit.longest >= hit.stop == len(split_words([BRIDGE]))


def test_what_an_item_quotes_is_not_the_item():
    assert found(SPEECH) == []
    assert found(f"“{SPEECH}” So spoke Ilse Varn in 1911.") == []
    assert found(QUOTING) == [2]
    words = QUOTING.split()
    assert found(" ".join(words[: len(words) * 6 // 10])) == [2]  # with the words that lead in


def test_stock_phrases_and_common_words_are_no_item():
    assert (
        found("Which of the following statements about them is true? It is not one of these, and it was not that.")
        == []
    )
    assert found("which of the following bridges over the river would you like to see on the map of the city") == []


def test_words_far_apart_are_no_item():
    words = FARM.split()
    parts = [" ".join(words[place : place + 4]) for place in range(0, len(words), 4)]
    assert found(f"\n{FILLER * 30}\n".join(parts)) == []


def test_one_item_alone_is_found_as_among_all():
    only = CoverageIndex.build(TEXTS, QUESTIONS, only=1)
    text = split_words([f"{FARM}\n{FILLER}\n{BRIDGE}"])
    assert only.found(text) == [each for each in INDEX.found(text) if each.item == 1]


def test_no_items_are_never_found():
    assert CoverageIndex.build([], []).found(split_words([FARM])) == []
    assert found("", CoverageIndex.build(["", "?"], ["", "?"])) == []


def test_the_question_of_a_recorded_item():
    fields = {"question": "Who?", "choices": ["I", "you"], "answer": 0}
    assert item_parts(fields).text == "Who?\nI\nyou"
    assert question_of("Who?\nI\nyou", '{"question": "Who?", "choices": ["I", "you"]}') == "Who?"
    assert question_of("other", '{"question": "Who?", "choices": []}') == "other"
    assert question_of("text", "{}") == question_of("text", None) == "text"


WORDS = st.lists(st.integers(0, 3), max_size=12)


@given(WORDS, WORDS)
def test_runs_are_those_of_a_plain_search(item: list[int], text: list[int]):
    lengths, places = longest_runs(np.array(item, np.uint64), np.array(text, np.uint64))
    for word in range(len(item)):
        best = (0, 0)
        for place in range(len(text)):
            first, stop = 0, 0
            while word - first >= 0 and place - first >= 0 and item[word - first] == text[place - first]:
                first += 1
            while word + stop < len(item) and place + stop < len(text) and item[word + stop] == text[place + stop]:
                stop += 1
            size = first + stop - 1 if first else 0
            if size >= RUN and size > best[0]:
                best = (size, place)
        assert (int(lengths[word]), int(places[word])) == best
