import pytest
from pydantic import ValidationError

from headwater.data.operators.length import MEASURES, Length, LengthConfig, measured

TEXTS = ["", "one", "två ord", "a b c\n\nd e", "  \n\t\n", "日本 語\n\n", "x" * 40]
COUNTED = {
    "characters": [len(text) for text in TEXTS],
    "bytes": [len(text.encode()) for text in TEXTS],
    "words": [len(text.split()) for text in TEXTS],
    "lines": [sum(bool(line.strip()) for line in text.split("\n")) for text in TEXTS],
}


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_are_those_of_plain_python(rows, measure):
    assert measured(rows(TEXTS), measure).tolist() == COUNTED[measure]
    assert measured(rows(TEXTS).slice(2, 3), measure).tolist() == COUNTED[measure][2:5]


@pytest.mark.parametrize("measure", MEASURES)
def test_limits_are_inclusive(rows, measure):
    low, high = 2, 5
    verdicts = Length(LengthConfig(**{f"min_{measure}": low, f"max_{measure}": high})).process(rows(TEXTS))
    expected = [
        f"too_few_{measure}" if n < low else f"too_many_{measure}" if n > high else "" for n in COUNTED[measure]
    ]
    assert verdicts.reasons == expected and len(set(expected)) > 1


def test_the_detail_holds_the_figure_and_the_rule(rows):
    verdicts = Length(LengthConfig(max_characters=1_000)).process(rows(["x" * 1_234]))
    assert verdicts.reasons == ["too_many_characters"] and verdicts.details == ["1,234 characters > 1,000"]


@pytest.mark.parametrize("options", [{}, {"min_words": 5, "max_words": 4}, {"min_words": -1}, {"min_word": 3}])
def test_a_list_without_a_sensible_limit_is_refused(options):
    with pytest.raises(ValidationError):
        LengthConfig(**options)
