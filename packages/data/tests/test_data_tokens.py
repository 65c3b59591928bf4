import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from headwater.core.config import load_section
from headwater.core.documents import SIDECAR
from headwater.core.errors import ConfigError, DataError, ManifestError, StorageError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.tokens import END_OF_TEXT, MegatronReader
from headwater.data.config import DocumentsConfig, TokenizerConfig, TokensConfig
from headwater.data.documents import make_documents
from headwater.data.tokenize import encode, make_tokens
from headwater.data.tokenizer import make_tokenizer, train

TEXTS = [
    "def f(x):\n    return x + 1  # naïve\n" * 5,
    "The river rises in the hills. " * 20,
    "日本語 и русский 🎉\t\r\n\x00" * 3,
]


@pytest.fixture
def made(tiny):
    """A run up to the tokenizer: (layout, recipe)."""
    run, recipe = tiny()
    layout = RunLayout(run)
    make_documents(layout, load_section("documents", DocumentsConfig, recipe, ()))
    make_tokenizer(layout, load_section("tokenizer", TokenizerConfig, recipe, ()))
    return layout, recipe


def documents(layout):
    tables = [pq.read_table(path) for path in sorted(layout.documents.glob("part-*.parquet"))]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def test_training_twice_gives_the_same_bytes():
    texts = TEXTS * 30
    config = TokenizerConfig(vocab_size=320)
    assert train(texts, config).to_str() == train(texts, config).to_str()


def test_threads_do_not_change_the_tokenizer():
    program = (
        "import hashlib, sys; from headwater.data.config import TokenizerConfig; from headwater.data.tokenizer import train;"  # noqa: E501
        "words = [f'{i * 7919 % 10007:x} the {i:b}' for i in range(20000)];"
        "print(hashlib.sha256(train(words, TokenizerConfig(vocab_size=500)).to_str().encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "RAYON_NUM_THREADS": n, "TOKENIZERS_PARALLELISM": p},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n, p in (("1", "false"), ("2", "true"), ("5", "true"))
    }
    assert len(found) == 1


def test_special_tokens_come_first_and_all_bytes_are_known():
    tokenizer = train(TEXTS * 30, TokenizerConfig(vocab_size=320))
    assert tokenizer.token_to_id(END_OF_TEXT) == 0 and tokenizer.token_to_id("<|pad|>") == 1
    assert tokenizer.get_vocab_size() == 320


@pytest.mark.parametrize("text", [*TEXTS, "", " ", "\n\n  x", f"a {END_OF_TEXT} b", "\ud7ff\ue000\U0010ffff"])
def test_decoding_gives_the_text_back(text, tmp_path):
    from headwater.data.tokenize import _load

    path = tmp_path / "tokenizer.json"
    path.write_text(train(TEXTS * 30, TokenizerConfig(vocab_size=320)).to_str())
    tokenizer = _load(str(path))
    tokens, lengths = encode(tokenizer, [text, "next"])
    first = tokens[: lengths[0]].tolist()
    assert first[-1] == 0 and 0 not in first[:-1], "only the end of the document is the end-of-text token"
    assert tokenizer.decode(first[:-1], skip_special_tokens=False) == text


def test_transformers_loads_the_tokenizer(made):
    transformers = pytest.importorskip("transformers")
    layout, _ = made
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(layout.tokenizer)
    text = "The river rises."
    assert tokenizer.eos_token == END_OF_TEXT and tokenizer.pad_token_id == 1 and len(tokenizer) == 400
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_too_small_a_sample_is_refused():
    with pytest.raises(DataError, match="too small for the vocabulary"):
        train(["ab"], TokenizerConfig(vocab_size=5000))


def test_token_files_hold_every_document_once(made):
    layout, recipe = made
    outcomes = make_tokens(layout, load_section("tokens", TokensConfig, recipe, ()))
    rows = documents(layout)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(layout.tokenizer / "tokenizer.json"))
    seen = set()
    for source in ("web", "reference"):
        folder = layout.tokens(source)
        sidecar = pq.read_table(folder / "documents.parquet")
        assert sidecar.schema.equals(SIDECAR)
        readers = {split: MegatronReader(folder / split) for split in ("train", "validation")}
        for entry in sidecar.to_pylist():
            reader = readers[entry["split"]]
            assert reader.starts[entry["sequence"]] == entry["token_start"]
            assert reader.lengths[entry["sequence"]] == entry["token_count"]
            tokens = reader.get(entry["token_start"], entry["token_count"]).tolist()
            row = rows[entry["id"]]
            assert tokens[-1] == 0 and tokenizer.decode(tokens[:-1], skip_special_tokens=False) == row["text"]
            assert (row["source"], row["split"], row["text_bytes"], row["url"]) == (
                source, entry["split"], entry["text_bytes"], entry["url"]
            )  # fmt: skip
            seen.add(entry["id"])
        counted = outcomes[source].result
        assert counted["train_tokens"] == len(readers["train"].tokens)
        assert counted["validation_tokens"] == len(readers["validation"].tokens) > 0
        assert readers["train"].dtype is np.uint16
    assert seen == set(rows)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_workers_change_no_byte_and_a_killed_run_goes_on(made, monkeypatch):
    layout, _ = made
    make_tokens(layout, TokensConfig(workers=1))
    before = {source: files(layout.tokens(source)) for source in ("web", "reference")}
    for source in before:
        (layout.tokens(source) / "manifest.json").unlink()
    import headwater.data.tokenize as module

    real = module._encode
    monkeypatch.setattr(module, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_tokens(layout, TokensConfig(workers=2))
    monkeypatch.undo()
    calls = []
    monkeypatch.setattr(module, "_encode", lambda *args: calls.append(args) or real(*args))
    make_tokens(layout, TokensConfig(workers=1))
    assert not calls, "encoded slices survive"
    assert {source: files(layout.tokens(source)) for source in before} == before


def test_a_changed_tokenizer_makes_the_tokens_again(made):
    layout, recipe = made
    first = make_tokens(layout, TokensConfig(workers=1))
    assert not any(outcome.fresh for outcome in make_tokens(layout, TokensConfig(workers=2)).values())
    make_tokenizer(layout, load_section("tokenizer", TokenizerConfig, recipe, ("tokenizer.vocab_size=410",)))
    second = make_tokens(layout, TokensConfig(workers=1))
    assert all(outcome.fresh for outcome in second.values())
    assert first["web"].manifest.digest != second["web"].manifest.digest


def test_a_full_disk_leaves_no_token_artifact(made, monkeypatch):
    layout, _ = made
    monkeypatch.setattr(
        pq, "write_table", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(StorageError, match="No space left"):
        make_tokens(layout, TokensConfig(workers=1))
    assert not (layout.tokens("reference") / "manifest.json").exists()


def test_a_sample_of_an_unknown_source_is_refused_before_anything_starts(tmp_path):
    layout = RunLayout(tmp_path)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 1", config={})
    writer.begin()
    writer.commit({"sources": {"web": {}, "code": {}}})
    with pytest.raises(ConfigError, match=r"sample_bytes names webb(?s:.)*did you mean web\?"):
        make_tokenizer(layout, TokenizerConfig(sample_bytes={"code": 1000, "webb": 1000}))
    assert not layout.tokenizer.exists()


def test_missing_parents_are_named(tiny):
    run, recipe = tiny()
    layout = RunLayout(run)
    with pytest.raises(ManifestError, match="documents"):
        make_tokenizer(layout, load_section("tokenizer", TokenizerConfig, recipe, ()))
    with pytest.raises(ManifestError, match="documents"):
        make_tokens(layout, TokensConfig())


def test_config_file_of_the_tokenizer_is_stable(made):
    layout, _ = made
    config = json.loads((layout.tokenizer / "tokenizer_config.json").read_text())
    assert config["eos_token"] == END_OF_TEXT and config["tokenizer_class"] == "PreTrainedTokenizerFast"
