import socket

import pytest

from headwater.data.operators.language import Language, LanguageConfig, _model, identify
from headwater.data.operators.language_codes import LANGUAGES

SAMPLES = {
    "en": "The river rises in the hills to the north of the town and runs for many miles through the fields.",
    "de": "Der Fluss entspringt in den Hügeln nördlich der Stadt und fließt viele Meilen durch die Felder.",
    "fr": "La rivière prend sa source dans les collines au nord de la ville et traverse les champs.",
    "ja": "川は町の北の丘に源を発し、畑の中を何マイルも流れています。",
    "ru": "Река берёт начало в холмах к северу от города и течёт через поля.",
}


@pytest.mark.parametrize("code", SAMPLES)
def test_languages_are_told_apart(code):
    assert identify(SAMPLES[code])[0] == code


def test_the_table_holds_exactly_the_model_s_labels():
    every = _model().f.predict("hello\n", 1000, -1.0, "strict")
    assert sorted(label.removeprefix("__label__") for _, label in every) == sorted(LANGUAGES)
    assert len(set(LANGUAGES.values())) == len(LANGUAGES) == 176


def test_the_model_is_loaded_without_a_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("language identification opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    assert identify(SAMPLES["en"])[1] > 0.8


def test_thresholds_are_per_language(rows):
    batch = rows([SAMPLES["en"], SAMPLES["de"], SAMPLES["fr"]])
    verdicts = Language(LanguageConfig(allowed={"en": 0.5, "de": 0.9999})).process(batch)
    assert verdicts.reasons == ["", "low_score", "other_language"]
    assert verdicts.batch.column("language").to_pylist() == ["en", "de", "fr"]
    assert verdicts.details[2].startswith("fr ")


def test_code_is_exempt(rows):
    batch = rows(["x = [i for i in range(10)]"], content_type="text/x-python")
    verdicts = Language(LanguageConfig()).process(batch)
    assert verdicts.outcomes == ["keep"] and verdicts.batch.column("language").to_pylist() == [""]


def test_empty_text_and_surrogates_do_not_stop_it(rows):
    assert identify("")[1] <= 1
    verdicts = Language(LanguageConfig(allowed={})).process(rows(["", "\n\n", "\U0001f600" * 50]))
    assert verdicts.outcomes == ["keep"] * 3
