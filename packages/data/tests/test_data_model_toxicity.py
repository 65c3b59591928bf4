import json
import pickle

import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.data.cli import data
from headwater.data.models import word_list
from headwater.data.operators.toxicity import Toxicity, ToxicityConfig

LIST = """# neutral words stand for a real list
turnip
Rotten  Egg
übel
"""


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(LIST, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You turnip!", (2, 1, "turnip")),
        ("Turnips are turnip-like", (4, 1, "turnip")),  # whole words only
        ("a rotten,\nEGG and a rotten apple", (7, 2, "rotten egg")),
        ("ÜBEL übel uebel", (3, 2, "übel")),
        ("rotten", (1, 0, "")),
        ("turnip rotten egg", (3, 3, "turnip")),
        ("", (0, 0, "")),
    ],
)
def test_words_and_phrases_are_counted(listed, text, expected):
    assert word_list.load(listed).found([text]) == [expected]


def test_a_phrase_does_not_reach_into_the_next_text(listed):
    assert word_list.load(listed).found(["so rotten", "egg"]) == [(2, 0, ""), (1, 0, "")]


def test_the_ratio_decides_and_the_detail_names_the_first_phrase(rows, listed):
    texts = ["turnip " + "fine " * 99, "turnip turnip " + "fine " * 98, ""]
    found = Toxicity(ToxicityConfig(words=listed, max_ratio=0.01)).process(rows(texts))
    assert found.reasons == ["", "listed_words", ""] and found.counters == {"listed_words": 3}
    assert found.details[1] == "0.0200 > 0.01: 2 of 100 words, first: turnip"
    assert Toxicity(ToxicityConfig(words=listed, max_ratio=0)).process(rows(texts)).reasons[0] == "listed_words"


def test_a_classifier_and_a_list_work_together_whatever_the_batches(rows, listed, tmp_path, warc):
    pytest.importorskip("floret", reason="the trainer of fastText models is an extra: headwater-data[models]")
    toxic, clean = tmp_path / "toxic.jsonl", tmp_path / "clean.jsonl"
    toxic.write_text(
        "".join(json.dumps({"text": f"cabbage {warc[2](i, 2)} cabbage head {i}"}) + "\n" for i in range(40))
    )
    clean.write_text("".join(json.dumps({"text": warc[2](100 + i, 2)}) + "\n" for i in range(40)))
    out = tmp_path / "toxicity.bin"
    arguments = ["--toxic", str(toxic), "--clean", str(clean), "--out", str(out), "--buckets", "1024"]
    made = CliRunner().invoke(data, ["model", "train", "toxicity", "--held-out-ratio", "0.3", *arguments])
    assert made.exit_code == 0 and json.loads((tmp_path / "toxicity.bin.json").read_text())["kind"] == "toxicity"
    texts = [f"cabbage {warc[2](300, 2)} cabbage head", warc[2](301, 2), warc[2](302, 2) + " turnip" * 9]
    operator = Toxicity(ToxicityConfig(model=str(out), words=listed))
    whole = operator.process(rows(texts))
    assert whole.reasons == ["toxic_score", "", "listed_words"]
    one_by_one = [pickle.loads(pickle.dumps(operator)).process(rows([text])).details[0] for text in texts]
    assert one_by_one == whole.details
    content = ToxicityConfig(model=str(out), words=listed).content()
    assert content["model"].startswith("sha256:") and content["words"].startswith("sha256:")


@pytest.mark.parametrize(
    ("content", "message"), [(b"# only a comment\n\n", "lists nothing"), (b"\xff\xfe\x00", "no UTF-8 text")]
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        ToxicityConfig(words=str(path)).content()


def test_a_changed_list_is_another_one(listed, tmp_path):
    before = ToxicityConfig(words=listed).content()
    with open(listed, "a") as stream:
        stream.write("parsnip\n")
    after = ToxicityConfig(words=listed).content()
    assert before["words"] != after["words"]
    assert word_list.load(listed).found(["parsnip"]) == [(1, 1, "parsnip")]


def test_something_has_to_be_given():
    with pytest.raises(ValueError, match="a model, a list of words, or both"):
        ToxicityConfig()
