import importlib.machinery
import importlib.util
import json
import pickle
import sys
import types
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from headwater.core.errors import ConfigError, DataError
from headwater.data.cli import data
from headwater.data.models import card, names, token_classifiers
from headwater.data.models.labelled import Sentence, read_sentences
from headwater.data.operators.pii import KINDS, Pii, PiiConfig, original_place, redact

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
FIRST, LAST = {"anna", "otto", "mary", "王", "john"}, {"smith", "o", "neil", "jones", "伟", "r", "marie"}

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="headwater-data[ner] is an extra"
)


def letters():
    """A tokenizer of WordPiece's kind in which every word is its first letter and the rest."""
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    for character in "abcdefghijklmnopqrstuvwxyz王伟和öüé'-.,()<>0123456789":
        for token in (character, f"##{character}"):
            vocabulary[token] = len(vocabulary)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def classifier(labels=LABELS, blind=0, scores=(0.97, 0.97)):
    """Knows a few names, and sees nothing within `blind` tokens of an edge that is not that of its text."""
    tokenizer = letters()
    listed = {number: token for token, number in tokenizer.get_vocab().items()}

    def logits(ids):
        found = np.zeros((len(ids), len(labels)), dtype=np.float32)
        found[:, 0] = 9
        tokens, words = [listed[number] for number in ids], []
        for place, token in enumerate(tokens):
            if token.startswith("##") and words:
                words[-1][1] += token[2:]
            else:
                words.append([place, token])
        for place, word in words:
            which = 1 if word in FIRST else 2 if word in LAST else 0
            if which and blind <= place < len(ids) - blind:
                score = scores[which - 1]
                found[place] = np.log((1 - score) / (len(labels) - 1))
                found[place, which if len(labels) > 2 else 1] = np.log(score)
        return found

    return token_classifiers.TokenClassifier(tuple(labels), tokenizer, [1], [2], 500, logits)


@pytest.fixture
def model(monkeypatch, tmp_path):
    """Puts a classifier in the place of that of a folder; gives the folder."""
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(LABELS))}))
    monkeypatch.setattr(token_classifiers, "load", lambda folder: classifier())
    monkeypatch.setattr(token_classifiers, "weights_of", lambda folder: folder / "config.json")
    names.load.cache_clear()
    yield str(folder)
    names.load.cache_clear()


def found(text, model, min_score=0.5):
    return [text[start:stop] for start, stop in names.load(model).find(text, min_score)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We met Anna Smith, and Otto.", ["Anna Smith", "Otto"]),
        ("Anna-Marie O'Neil; Mary R. Jones", ["Anna-Marie O'Neil", "Mary R. Jones"]),
        ("Anna Otto", ["Anna", "Otto"]),  # each is said to begin a name
        ("Anna\nSmith", ["Anna", "Smith"]),
        ("I saw Anna. Smith left", ["Anna", "Smith"]),
        ("(Anna)'s <Smith>", ["Anna", "Smith"]),
        ("王伟和王", ["王伟", "王"]),
        ("annas ottoman", []),
        ("", []),
        ("Mary\u00a0Jones", ["Mary\u00a0Jones"]),
    ],
)
def test_words_become_whole_names(model, text, expected):
    assert found(text, model) == expected


def test_the_first_token_decides_for_the_word_by_its_probability(model, monkeypatch):
    monkeypatch.setattr(token_classifiers, "load", lambda folder: classifier(scores=(0.9, 0.6)))
    names.load.cache_clear()
    assert found("Anna Smith", model, 0.5) == ["Anna Smith"]
    assert found("Anna Smith", model, 0.8) == ["Anna"]
    assert found("Anna Smith", model, 0.95) == []


@pytest.mark.parametrize("labels", [("O", "PER"), ("O", "PERSON"), ("O", "I-PER"), ("O", "NAME_STUDENT")])
def test_labels_are_told_by_what_they_are_called(model, monkeypatch, labels):
    monkeypatch.setattr(token_classifiers, "load", lambda folder: classifier(labels))
    monkeypatch.setattr(token_classifiers, "labels_of", lambda folder: labels)
    names.load.cache_clear()
    assert found("Then Anna Smith left.", model) == ["Anna Smith"]


def test_given_names_and_surnames_are_one_name(model, monkeypatch):
    labels = ("O", "B-GIVEN_NAME", "B-SURNAME", "B-STREET_NAME")
    monkeypatch.setattr(token_classifiers, "load", lambda folder: classifier(labels))
    monkeypatch.setattr(token_classifiers, "labels_of", lambda folder: labels)
    names.load.cache_clear()
    assert found("Then Anna Smith left.", model) == ["Anna Smith"]
    assert not names.is_name("B-STREET_NAME") and names.is_name("S-given name") and not names.is_name("O")


@pytest.mark.parametrize("text", ["xx ", "Otto, ", "xxxx, yy; "])
def test_windows_overlap_so_that_every_name_has_text_on_both_sides(model, monkeypatch, text):
    # Were a name looked for near the edge of a window only, this model would not see it.
    monkeypatch.setattr(token_classifiers, "load", lambda folder: classifier(blind=25))
    names.load.cache_clear()
    for count in range(100, 300, 13):
        whole = text * count + "Anna Smith" + ", x" * 100
        assert "Anna Smith" in found(whole, model), count


def test_long_texts_are_read_in_parts_that_cut_no_word(model, monkeypatch):
    monkeypatch.setattr(names, "_PART", 50)
    text = "We met Anna Smith. " * 40 + "x" * 300 + " Otto"
    assert found(text, model) == ["Anna Smith"] * 40 + ["Otto"]
    assert sum(len(part) for _, part in names._parts("ab\n" * 100)) == 300


PIECES = st.sampled_from(
    ["Anna", "Smith", " ", "日本", "é", "a@b.org", "<NAME>", "\n", "O'Neil", "x", ".", "王伟", "-"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_places_of_names_are_exact(text):
    model = names.NameModel(classifier(), np.array([1, 2]), ("PER", ""))
    spans = model.find(text, 0.5)
    assert all(0 <= start < stop <= len(text) for start, stop in spans)
    assert all(before.stop <= after.start for before, after in pairwise(spans))
    assert all(text[start:stop] == text[start:stop].strip(" .-<>\n") for start, stop in spans)


def test_names_are_redacted_beside_the_other_kinds(model, rows):
    config = PiiConfig(kinds=(*KINDS, "name"), name_model=model, placeholders={"email": "[MAIL]"})
    texts = ["Böse: Anna Smith (anna@smith.org) 日本 O'Neil", "nothing here", "<NAME> and <PERSON>, Otto"]
    verdicts = Pii(config).process(rows(texts))
    assert verdicts.batch.column("text").to_pylist() == [
        "Böse: <NAME> ([MAIL]) 日本 <NAME>", "nothing here", "<NAME> and <PERSON>, <NAME>"
    ]  # fmt: skip
    assert verdicts.outcomes == ["change", "keep", "change"] and verdicts.counters["redacted_name"] == 3
    redacted, done = redact(texts[0], config)
    assert texts[0][original_place(done, redacted.index("日本")) :].startswith("日本 O'Neil")
    assert [texts[0][each.start : each.start + each.length] for each in done] == [
        "Anna Smith", "anna@smith.org", "O'Neil"
    ]  # fmt: skip
    again = pickle.loads(pickle.dumps(Pii(config)))
    assert [again.process(rows([text])).details[0] for text in texts] == verdicts.details


def test_names_are_left_alone_by_default(rows):
    assert Pii(PiiConfig()).process(rows(["Anna Smith"])).outcomes == ["keep"]


@pytest.mark.parametrize("options", [{"kinds": ("name",)}, {"name_model": "names"}])
def test_the_kind_and_the_model_go_together(options):
    with pytest.raises(ValueError, match="given together"):
        PiiConfig(**options)


def test_the_model_is_known_by_its_content(model, tmp_path):
    config = PiiConfig(kinds=("name",), name_model=model)
    content = config.content()
    assert content["name_model"].startswith("sha256:")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "config.json").write_bytes((tmp_path / "names" / "config.json").read_bytes())
    assert PiiConfig(kinds=("name",), name_model=str(moved)).content() == content
    (moved / "config.json").write_text('{"id2label": {"0": "PER"}}')
    assert PiiConfig(kinds=("name",), name_model=str(moved)).content() != content
    with pytest.raises(ConfigError, match="by content only"):
        Pii(PiiConfig(**content))


def test_folders_that_are_no_model_are_refused(tmp_path):
    def refused(match):
        with pytest.raises(ConfigError, match=match):
            PiiConfig(kinds=("name",), name_model=str(tmp_path / "m")).content()

    refused("there is no folder")
    (tmp_path / "m").mkdir()
    refused("holds no token classifier")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"")
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    (tmp_path / "m" / "config.json").write_text('{"id2label": {"0": "O", "1": "B-ORG"}}')
    if importlib.util.find_spec("transformers"):
        refused("does not look for names")
        (tmp_path / "m" / "config.json").write_text('{"id2label": {"0": "O", "1": "PER"}}')
        with pytest.raises(ConfigError, match="cannot be loaded"):
            names.load(str(tmp_path / "m"))
        (tmp_path / "m" / "config.json").write_text("[")
        refused("no configuration")


def test_a_model_in_onnx_runs_on_one_thread_and_gets_what_it_asks_for(monkeypatch, tmp_path):
    asked = []

    class Session:
        def __init__(self, path, options, providers):
            asked.append((path, options.intra_op_num_threads, options.inter_op_num_threads, providers))

        def get_inputs(self):
            return [types.SimpleNamespace(name=name) for name in ("input_ids", "attention_mask")]

        def run(self, outputs, inputs):
            asked.append({name: value.tolist() for name, value in inputs.items()})
            scores = np.zeros((1, inputs["input_ids"].shape[1], 2), dtype=np.float32)
            scores[0, 1:-1, 1] = 2
            return [scores]

    library = types.ModuleType("onnxruntime")
    library.__spec__ = importlib.machinery.ModuleSpec("onnxruntime", None)
    monkeypatch.setattr(library, "SessionOptions", types.SimpleNamespace, raising=False)
    monkeypatch.setattr(library, "InferenceSession", Session, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_q4.onnx").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"id2label": {"0": "O", "1": "PER"}, "max_position_embeddings": 64}')
    letters().save(str(tmp_path / "tokenizer.json"))
    names.load.cache_clear()
    assert found("Otto", str(tmp_path), 0.88) == ["Otto"]  # e² / (e² + 1) is 0.881
    assert asked == [
        (str(tmp_path / "onnx" / "model_q4.onnx"), 1, 1, ["CPUExecutionProvider"]),
        {"input_ids": [[1, *letters().encode("Otto", add_special_tokens=False).ids, 2]], "attention_mask": [[1] * 6]},
    ]
    assert names.load(str(tmp_path)).classifier.max_tokens == 62


SENTENCES = {
    "a.jsonl": '{"text": "Then Anna Smith left.", "names": [[5, 15]]}\n\n'
    '{"tokens": ["Otto", "x"], "labels": ["S-PER", "O"]}\n',
    "b.conll": "-DOCSTART- -X- -X- O\n\nMary NNP B-PER\nJones NNP I-PER\nin IN O\nRome NNP B-LOC\n\nx\tO\n",
}  # fmt: skip


def test_sentences_are_read_in_their_forms(tmp_path):
    for name, content in SENTENCES.items():
        (tmp_path / name).write_text(content)
    read = read_sentences(tmp_path, held_out_ratio=0, least=2)
    assert set(read.train) == {
        Sentence("Then Anna Smith left.", ((5, 15),)), Sentence("Otto x", ((0, 4),)),
        Sentence("Mary Jones in Rome", ((0, 10),)), Sentence("x", ()),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.jsonl", '{"text": "a", "names": [[0, 2]]}', "line 1, is no labelled sentence"),
        ("a.jsonl", '{"tokens": ["a"], "labels": []}', "no labelled sentence"),
        ("a.jsonl", '["a"]', "no labelled sentence"),
        ("a.conll", "Otto\n", "line 1, has a token without a label"),
        ("a.conll", "x O\n", "too few sentences"),
        ("a.csv", "x", "no sentences in"),
    ],
)
def test_what_is_no_sentence_is_told_with_its_place(tmp_path, name, content, match):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=match):
        read_sentences(tmp_path, held_out_ratio=0, least=1)


def encoder(folder):
    """A small encoder without any training, as a base."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    tokenizer = letters()
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=1,
                        num_attention_heads=2, intermediate_size=64, max_position_embeddings=128)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@needs_transformers
@pytest.mark.slow
def test_a_model_is_trained_in_one_command_with_equal_bytes_and_used(tmp_path, rows):
    base = encoder(tmp_path / "base")
    (tmp_path / "s.jsonl").write_text("".join(
        json.dumps({"tokens": ["x" * (n % 7 + 1), who, "left", "y" * (n % 5)], "labels": ["O", label, "O", "O"]}) + "\n"
        for n in range(25) for who, label in (("anna", "B-PER"), ("otto", "B-PER"), ("rome", "O"), ("may", "O"))
    ))  # fmt: skip

    def train(out):
        arguments = ["--sentences", tmp_path / "s.jsonl", "--base", base, "--out", out, "--epochs", 15, "--json",
                     "--learning-rate", 0.01, "--held-out-ratio", 0.2]  # fmt: skip
        return CliRunner().invoke(data, ["model", "train", "names", *map(str, arguments)])

    first, second = train(tmp_path / "one"), train(tmp_path / "two")
    assert first.exit_code == 0, first.output + str(first.exception)
    content = json.loads(first.stdout)
    assert content["sha256"] == card.sha256_of(tmp_path / "one") == json.loads(second.stdout)["sha256"]
    best = content["held_out"]["thresholds"][1]
    assert best["recall"] > 0.9 and best["precision"] > 0.9, content["held_out"]
    assert "exists already" in str(train(tmp_path / "one").exception)
    operator = Pii(PiiConfig(kinds=("name",), name_model=str(tmp_path / "one")))
    assert operator.process(rows(["xx anna left yy", "xx rome left yy"])).outcomes == ["change", "keep"]
    (tmp_path / "one" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is damaged, or was changed"):
        operator.config.content()
