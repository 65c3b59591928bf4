import hashlib
import json
import pickle
import shutil
import struct

import pytest
from click.testing import CliRunner

from headwater.core.config import validate
from headwater.core.errors import ConfigError
from headwater.core.layout import RunLayout
from headwater.data.cli import data
from headwater.data.config import DocumentsConfig, Step
from headwater.data.documents import make_documents
from headwater.data.models import fasttext_file
from headwater.data.operators.quality_classifier import QualityClassifier, QualityClassifierConfig

pytest.importorskip("floret", reason="the trainer of fastText models is an extra: headwater-data[models]")


def noise(seed: int) -> str:
    """Text of a log file, in words that prose does not have."""
    words = ["error", "0x7f", "eth0", "timeout", "[warn]", "daemon", "exit", "pid=31", "retry", "null"]
    numbers = hashlib.sha256(str(seed).encode()).digest()
    return "\n".join(" ".join(words[(number + k) % 10] for k in range(9)) for number in numbers)


@pytest.fixture
def folders(tmp_path, warc):
    """Prose as text files, noise as one JSONL file."""
    return make_folders(tmp_path, warc[2])


def make_folders(folder, prose):
    good, bad = folder / "good", folder / "bad"
    good.mkdir()
    bad.mkdir()
    for i in range(60):
        (good / f"{i}.txt").write_text(prose(i))
    (bad / "bad.jsonl").write_text("".join(json.dumps({"text": noise(i)}) + "\n" for i in range(60)))
    return good, bad


def train_in(folders, out, *more):
    good, bad = folders
    small = ["--buckets", 4096, "--epochs", 20, "--held-out-ratio", 0.3]
    arguments = ["--positive", good, "--negative", bad, "--out", out, *small, *more]
    found = CliRunner().invoke(data, ["model", "train", "quality", *map(str, arguments)])
    assert found.exit_code == 0, found.output + str(found.exception)
    return out


@pytest.fixture
def train(folders, tmp_path):
    """Trains a model by the command and returns its path."""
    return lambda name, *more: train_in(folders, tmp_path / name, *more)


_made = {}


@pytest.fixture
def model(tmp_path, tmp_path_factory, warc):
    """A copy of a model that is trained once, with its card."""
    if not _made:
        folder = tmp_path_factory.mktemp("model")
        _made["at"] = train_in(make_folders(folder, warc[2]), folder / "quality.bin")
    for path in (_made["at"], _made["at"].with_name("quality.bin.json")):
        shutil.copy(path, tmp_path)
    return tmp_path / "quality.bin"


def test_training_twice_gives_equal_bytes_whatever_the_files_are_called(train, folders):
    first = train("a.bin")
    good, _ = folders
    texts = [path.read_text() for path in sorted(good.iterdir())]
    shutil.rmtree(good)
    good.mkdir()
    rows = [json.dumps({"text": text}) + "\n" for text in reversed([*texts, texts[0]])]  # another order, and a copy
    (good / "all.jsonl").write_text("".join(rows))
    second = train("b.bin")
    assert first.read_bytes() == second.read_bytes()
    assert train("c.bin", "--seed", 2).read_bytes() != first.read_bytes()


def test_the_card_says_what_the_model_reaches_on_documents_it_was_not_trained_on(model):
    card = json.loads(model.with_name("quality.bin.json").read_text())
    assert card["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest() and card["held_out"]["auc"] > 0.99
    counts = card["data"]["hq"]
    assert counts["train"] + counts["held_out"] == 60 and card["held_out"]["positives"] == counts["held_out"] > 5


def test_the_command_prints_thresholds_and_json(train, folders, tmp_path):
    good, bad = map(str, folders)
    arguments = ["model", "train", "quality", "--positive", good, "--negative", bad, "--out", str(tmp_path / "m.bin")]
    table = CliRunner().invoke(data, arguments).stdout
    assert "threshold" in table and "best F1" in table and "AUC" in table.splitlines()[-1]
    again = CliRunner().invoke(data, [*arguments, "--json"])
    assert "exists already" in str(again.exception)
    found = json.loads(CliRunner().invoke(data, [*arguments, "--json", "--force"]).stdout)
    assert found["kind"] == "quality" and len(found["held_out"]["thresholds"]) == 5


def test_decisions_do_not_depend_on_how_rows_are_split_into_batches(model, rows, warc):
    texts = [warc[2](100 + i) if i % 2 else noise(100 + i) for i in range(20)]
    operator = QualityClassifier(QualityClassifierConfig(model=str(model)))
    whole = operator.process(rows(texts))
    assert whole.reasons == ["low_score", ""] * 10 and sum(whole.counters.values()) == 20
    one_by_one = [pickle.loads(pickle.dumps(operator)).process(rows([text])).details[0] for text in texts]
    assert one_by_one == whole.details and float(whole.details[1]) > 0.5


def test_text_that_looks_like_a_label_or_an_end_of_line_is_only_text():
    assert fasttext_file.line_of("a __label__hq\nb </s> \0c\ud800") == "a label hq b < /s> c?\n"


def damaged(name, change):
    return pytest.param(change, id=name)


@pytest.mark.parametrize(
    "change",
    [
        damaged("empty", lambda whole: b""),
        damaged("cut in the header", lambda whole: whole[:30]),
        damaged("cut in the dictionary", lambda whole: whole[:200]),
        damaged("cut in the matrices", lambda whole: whole[:-4]),
        damaged("something after it", lambda whole: whole + b"\0\0\0\0"),
        damaged("another file", lambda whole: b"PK\x03\x04" + whole),
        damaged("word vectors", lambda whole: whole[:36] + struct.pack("<i", 1) + whole[40:]),
        damaged("a dictionary of 2**31 words", lambda whole: whole[:64] + struct.pack("<i", 2**31 - 1) + whole[68:]),
    ],
)
def test_a_damaged_or_wrong_model_is_refused_before_it_is_loaded(model, tmp_path, change):
    other = tmp_path / "other.bin"
    other.write_bytes(change(model.read_bytes()))
    with pytest.raises(ConfigError, match=r"other\.bin"):
        QualityClassifierConfig(model=str(other)).content()


def test_a_missing_model_a_wrong_label_and_a_model_that_is_not_its_cards_are_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        QualityClassifierConfig(model=str(tmp_path / "none.bin")).content()
    with pytest.raises(ConfigError, match="has no label good") as found:
        QualityClassifierConfig(model=str(model), label="good").content()
    assert sorted(found.value.found.split(", ")) == ["hq", "lq"]
    whole = bytearray(model.read_bytes())
    whole[-9] ^= 1
    model.write_bytes(whole)
    with pytest.raises(ConfigError, match="damaged, or was changed"):
        QualityClassifierConfig(model=str(model)).content()


def test_the_same_model_elsewhere_is_the_same_and_a_changed_one_runs_the_stage_again(train, tiny, tmp_path):
    run, recipe = tiny()

    def make(model):
        import yaml

        section = yaml.safe_load(recipe.read_text())["documents"]
        section.update(exact_dedup=None, minhash_dedup=None, decontaminate=None)
        section["sources"]["web"] = ["extract"]
        section["sources"]["reference"] = ["extract", {"quality_classifier": {"model": str(model), "min_score": 0.4}}]
        return make_documents(RunLayout(run), validate(DocumentsConfig, section, "documents"))

    model = train("here.bin")
    first = make(model)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(model, tmp_path / "elsewhere" / "there.bin")
    second = make(moved)
    assert first.fresh and not second.fresh and second.manifest.digest == first.manifest.digest
    assert str(tmp_path) not in json.dumps(first.manifest.config)
    assert make(train("other.bin", "--seed", 3)).fresh
    recorded = DocumentsConfig.model_validate(first.manifest.config)
    assert recorded.content() == first.manifest.config
    with pytest.raises(ConfigError, match="by content only"):
        recorded.sources["reference"][1].build()


def test_a_resolved_recipe_keeps_the_path():
    step = Step.model_validate({"quality_classifier": {"model": "models/q.bin"}})
    assert step.model_dump()["quality_classifier"]["model"] == "models/q.bin"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{bad json\n", "line 1, is not JSON"),
        ('{"body": "x"}\n', "holds too few documents"),
    ],
)
def test_training_data_that_cannot_be_used_is_named(folders, tmp_path, content, message):
    good, bad = folders
    (bad / "bad.jsonl").write_text(content)
    arguments = ["--positive", str(good), "--negative", str(bad), "--out", str(tmp_path / "m.bin")]
    found = CliRunner().invoke(data, ["model", "train", "quality", *arguments])
    assert message in str(found.exception) and not (tmp_path / "m.bin").exists()


def test_the_score_command_shows_what_a_threshold_would_remove(model, tmp_path, folders):
    good, bad = folders
    found = [
        json.loads(CliRunner().invoke(data, ["model", "score", str(model), str(folder), "--json"]).stdout)
        for folder in (good, bad)
    ]
    assert [row["documents"] for row in found] == [60, 60] and found[0]["figure"] == "probability of hq"
    assert found[0]["percentiles"]["1"] > found[1]["percentiles"]["99"]
    wrong = CliRunner().invoke(data, ["model", "score", str(bad / "bad.jsonl"), str(good)])
    assert "no model of Headwater's" in str(wrong.exception)
    label = CliRunner().invoke(data, ["model", "score", str(model), str(good), "--label", "other"])
    assert "has no label other" in str(label.exception)
