# ruff: noqa: E501 — whole lines of text are the data here
from collections import Counter

import pytest

from headwater.data.operators.c4 import C4, C4Config
from headwater.data.operators.fineweb import Fineweb, FinewebConfig
from headwater.data.operators.gopher_quality import GopherQuality, GopherQualityConfig
from headwater.data.operators.gopher_repetition import GopherRepetition, GopherRepetitionConfig

GOOD = """The old town grew where two rivers meet, and for centuries its people lived from wool and salt.
When the first railway came in 1848, many of the weavers left to look for work with the engine builders.
A new bridge, which the council had promised for twenty years, finally opened on a rainy Sunday in May.
Children were given a holiday, a band played on the market square, and the mayor spoke for almost an hour.
Nobody remembers much of what he said; the newspapers of the day have only praise for the iron arches.
Today the bridge carries a tram line, two lanes of traffic and, since last summer, a path for bicycles."""


def reasons(operator, config, rows, *texts):
    return operator(config).process(rows(list(texts))).reasons


def test_prose_passes_everything(rows):
    for operator, config in (
        (GopherQuality, GopherQualityConfig()),
        (GopherRepetition, GopherRepetitionConfig()),
        (C4, C4Config()),
        (Fineweb, FinewebConfig()),
    ):
        assert reasons(operator, config, rows, GOOD) == [""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the cat and the dog", "too_few_words"),
        ("a b c d e f g h i j " * 10, "short_words"),
        ("extraordinarily " * 60, "long_words"),
        ("the dog and that cat have # # " * 12, "hash_ratio"),
        ("the dog and that cat have gone... " * 12, "ellipsis_ratio"),
        ("\n".join(["- the dog and that cat have gone home again"] * 10), "bullet_lines"),
        (
            "\n".join(["the dog and that cat have gone home again and over there they all sleep ..."] * 10),
            "ellipsis_lines",
        ),
        ("the dog 1234 and 5678 that 9012 cat 3456 " * 10, "alpha_words"),
        ("dogs chase cats across fields every single morning without resting " * 8, "stop_words"),
        ("", "too_few_words"),
    ],
)
def test_gopher_quality_reasons(rows, text, reason):
    assert reasons(GopherQuality, GopherQualityConfig(), rows, text) == [reason]


def test_gopher_quality_upper_limit_and_switches(rows):
    assert reasons(GopherQuality, GopherQualityConfig(max_words=60), rows, GOOD) == ["too_many_words"]
    off = GopherQualityConfig(min_words=0, min_mean_word_length=0, max_mean_word_length=None, max_symbol_word_ratio=None,
                              max_bullet_lines_ratio=None, max_ellipsis_lines_ratio=None, min_alpha_words_ratio=0, min_stop_words=0)  # fmt: skip
    assert reasons(GopherQuality, off, rows, "1 2 # #", "- ...") == ["", ""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\n\n".join(["one two three", "one two three", "four five six"]), "duplicate_paragraphs"),
        ("\n".join(["the same line again"] * 4 + ["another one", "and a third", "a fourth"]), "duplicate_lines"),
        (
            "\n".join([f"short {i}" for i in range(9)] + ["a very long line that is repeated " * 3] * 2),
            "duplicate_line_characters",
        ),
        ("buy now " * 30, "top_ngram"),
        (" ".join(f"alpha beta gamma delta epsilon zeta eta theta iota kappa {i}" for i in range(6)), "top_ngram"),
    ],
)
def test_gopher_repetition_reasons(rows, text, reason):
    assert reasons(GopherRepetition, GopherRepetitionConfig(), rows, text) == [reason]


def reference_duplicate_characters(words, n):
    """The rule as the paper's implementations read it: from the left, jumping over each repeated run."""
    seen, taken, place = set(), 0, 0
    while place <= len(words) - n:
        run = tuple(words[place : place + n])
        if run in seen:
            taken += sum(map(len, run))
            place += n
        else:
            seen.add(run)
            place += 1
    return taken


def reference_top_characters(words, n):
    """Characters that the most frequent n-gram takes; of several, the one seen first."""
    runs = Counter(" ".join(words[k : k + n]) for k in range(len(words) - n + 1))
    run, times = runs.most_common(1)[0]
    return len(run) * times


def test_repeated_runs_are_counted_as_by_a_plain_loop(rows):
    state = 1
    for vocabulary in (2, 3, 6, 20):
        words = []
        for _ in range(300):
            state = (state * 1103515245 + 12345) % 2**31
            words.append("w" * (1 + state // 65536 % vocabulary))
        text = " ".join(words)
        switches = {key: None for key in GopherRepetitionConfig.model_fields if key.startswith("max_")}
        for n in range(1, 11):
            for rule, reference in (("duplicate_ngrams", reference_duplicate_characters),
                                    ("top_ngrams", reference_top_characters)):  # fmt: skip
                share = reference(words, n) / len(text)
                for limit, kept in ((share, True), (share - 1e-9, False)):
                    rules = {"top_ngrams": {}, "duplicate_ngrams": {}, rule: {n: max(0.0, min(1.0, limit))}}
                    config = GopherRepetitionConfig(**switches, **rules)
                    if 0 < share <= 1:
                        assert (reasons(GopherRepetition, config, rows, text) == [""]) == kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + "\nLorem ipsum dolor sit amet is here again today.", "lorem_ipsum"),
        (GOOD + "\nfunction f() { return true; } is what they say.", "curly_bracket"),
        ("Only one good sentence is here. \nHome\nAbout", "too_few_sentences"),
    ],
)
def test_c4_reasons(rows, text, reason):
    assert reasons(C4, C4Config(), rows, text) == [reason]


def test_c4_drops_lines_that_are_no_sentences(rows):
    noise = "Home\nSign in to go on\nPlease enable Javascript to see this page.\nWe use cookies on this fine site.\nRead more ...\nNo way."
    verdicts = C4(C4Config()).process(
        rows([GOOD + "\n" + noise + "\nThe mill [12] stands [citation needed] to this day."])
    )
    assert verdicts.batch.column("text")[0].as_py() == GOOD + "\nThe mill  stands  to this day."
    assert verdicts.reasons == ["lines_dropped"] and verdicts.counters == {"lines_dropped": 6}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n\n", "empty"),
        (
            "\n".join(f"Item number {i} of a list that goes on and on without an end" for i in range(20)),
            "terminal_lines",
        ),
        ("\n".join(f"Line {i}." for i in range(20)), "short_lines"),
        (GOOD + "\n" + GOOD.split("\n")[0], "duplicate_line_characters"),
        (
            "\n".join(f"Supercalifragilisticexpialidocious{i} antidisestablishmentarianism." for i in range(20)),
            "lines_per_word",
        ),
    ],
)
def test_fineweb_reasons(rows, text, reason):
    assert reasons(Fineweb, FinewebConfig(), rows, text) == [reason]


def test_decisions_do_not_depend_on_the_batch(rows):
    texts = [GOOD, "the cat", "", "buy now " * 30, "- a\n- b", GOOD + "\n" + GOOD, "x" * 500]
    for operator, config in (
        (GopherQuality, GopherQualityConfig()),
        (GopherRepetition, GopherRepetitionConfig()),
        (C4, C4Config()),
        (Fineweb, FinewebConfig()),
    ):
        together = operator(config).process(rows(texts))
        for row, text in enumerate(texts):
            alone = operator(config).process(rows([text]))
            assert (alone.reasons[0], alone.details[0]) == (together.reasons[row], together.details[row])


def test_a_reason_outside_the_vocabulary_is_a_mistake_in_the_operator(rows):
    from headwater.data.operators.base import Decisions

    with pytest.raises(ValueError, match="vocabulary"):
        Decisions(C4(C4Config()), rows(["x"])).reject(0, "because")
