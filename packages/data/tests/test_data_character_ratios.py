import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater.data.operators.character_ratios import MEASURES, CharacterRatios, CharacterRatiosConfig, ratios


def share(part, whole):
    return part / whole if whole else float("nan")


def plain(text):
    """The measures as their descriptions read, one character at a time."""
    category = {character: unicodedata.category(character) for character in text}
    written = [c for c in text if not c.isspace()]
    cased = [c for c in text if category[c] in ("Lu", "Lt", "Ll")]
    return {
        "symbol": share(sum(category[c][0] == "S" for c in text), len(written)),
        "digit": share(sum(category[c][0] == "N" for c in text), len(written)),
        "punctuation": share(sum(category[c][0] == "P" for c in text), len(written)),
        "upper_case": share(sum(category[c] in ("Lu", "Lt") for c in cased), len(cased)),
        "white_space": share(sum(c.isspace() for c in text), len(text)),
        "non_alphabetic": share(sum(category[c][0] not in "LM" for c in written), len(written)),
    }


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=5)


@settings(deadline=None)  # the first call builds the table of characters
@given(TEXTS)
def test_ratios_are_those_of_a_plain_loop_over_characters(texts):
    found = ratios(pa.array(["left out", *texts], pa.string()).slice(1))
    for row, text in enumerate(texts):
        expected = plain(text)
        assert {m: found[m][row] for m in MEASURES} == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({"max_symbol": 0.1}, "<<<<====>>>> hi", "high_symbol"),
        ({"max_digit": 0.3}, "1999 2000 2001 years", "high_digit"),
        ({"max_punctuation": 0.2}, "what?!?!?!", "high_punctuation"),
        ({"min_punctuation": 0.01}, "no stop and no comma", "low_punctuation"),
        ({"max_upper_case": 0.5}, "BUY NOW, 50% OFF ok", "high_upper_case"),
        ({"min_white_space": 0.05}, "x" * 50, "low_white_space"),
        ({"max_white_space": 0.5}, "a     b", "high_white_space"),
        ({"max_non_alphabetic": 0.4}, "12:30 | 13:45 | ok", "high_non_alphabetic"),
        ({"min_symbol": 0.5}, "a + b", "low_symbol"),
        ({"min_digit": 0.5}, "a 1 b", "low_digit"),
        ({"min_upper_case": 0.5}, "Abc", "low_upper_case"),
        ({"min_non_alphabetic": 0.5}, "abc", "low_non_alphabetic"),
        ({"max_non_alphabetic": 0.1}, "नमस्ते दुनिया สวัสดีชาวโลก", ""),  # vowel signs belong to letters
        ({"max_symbol": 0.0, "min_digit": 1.0}, "", ""),  # nothing to take a share of
    ],
)
def test_reasons(rows, options, text, reason):
    assert CharacterRatios(CharacterRatiosConfig(**options)).process(rows([text])).reasons == [reason]


def test_every_measure_can_be_low_and_high():
    assert CharacterRatios.reasons == {f"{way}_{m}" for m in MEASURES for way in ("low", "high")}
    for measure in MEASURES:
        assert CharacterRatiosConfig(**{f"max_{measure}": 0.5}).limits(measure) == (None, 0.5)


@pytest.mark.parametrize("options", [{}, {"min_digit": 0.5, "max_digit": 0.4}, {"max_digit": 2}])
def test_a_list_without_a_sensible_limit_is_refused(options):
    with pytest.raises(ValidationError):
        CharacterRatiosConfig(**options)


def test_an_empty_batch_has_no_ratios():
    assert all(np.shape(found) == (0,) for found in ratios(pa.array([], pa.string())).values())
