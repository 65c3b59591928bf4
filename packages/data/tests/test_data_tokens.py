import json
import random
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.documents import DOCUMENTS, SIDECAR, document_id, split_of
from headwater.core.errors import ConfigError, DataError, ManifestError, StorageError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter
from headwater.core.tokens import END_OF_TEXT, MegatronReader
from headwater.data.tokenize import make_tokens, read_encoding
from headwater.data.tokenizer import make_tokenizer, train
from headwater.data.tokens.config import TokenizerConfig, TokensConfig
from headwater.data.tokens.sample import Sampled, write_sample

TEXTS = [
    "def f(x):\n    return x + 1  # naïve\n" * 5,
    "The river rises in the hills. " * 20,
    "日本語 и русский 🎉\t\r\n\x00" * 3,
]


def a_text(choose):
    words = ["river", "hills", "naïve", "日本語", "x = f(1, 22)", "they'll", "1,234", "\n\n", "🎉"]
    words += ["return", "morning", "seventeen", "documents", "of"]
    return " ".join(choose.choices(words, k=choose.randint(20, 90)))


@pytest.fixture
def layout(tmp_path):
    """A run with documents of two sources, in two files of small row groups."""
    layout, choose = RunLayout(tmp_path / "run"), random.Random(5)
    writer = ArtifactWriter(layout.documents, kind="documents", name="documents", producer="test 1", config={})
    writer.begin()
    for number, (source, count) in enumerate((("reference", 30), ("web", 60))):
        rows = []
        for place in range(count):
            text, url = a_text(choose), f"http://{source}/{place}"
            identifier = document_id(source, url, "x")
            rows.append({
                "id": identifier, "source": source, "url": url, "warc_file": "a", "warc_offset": 0,
                "payload_sha256": "", "text": text, "language": "en" if place % 3 else "de", "language_score": 1.0,
                "text_bytes": len(text.encode()), "split": split_of(identifier, 0.2), "verdicts": [],
            })  # fmt: skip
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), DOCUMENTS)
        pq.write_table(table, layout.documents / f"part-{number:05d}.parquet", row_group_size=7)
    writer.commit({"sources": {"reference": {"documents_out": 30}, "web": {"documents_out": 60}}})
    return layout


@pytest.fixture
def made(layout):
    """A run up to the tokenizer: (layout, its configuration)."""
    config = TokenizerConfig(vocab_size=320)
    make_tokenizer(layout, config)
    return layout, config


def documents(layout):
    tables = [pq.read_table(path) for path in sorted(layout.documents.glob("part-*.parquet"))]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def trained(tmp_path, texts, **options):
    """The tokenizer of some texts."""
    from tokenizers import Tokenizer

    path = tmp_path / "sample.txt"
    write_sample(path, [Sampled("s", "en", text, len(text.encode())) for text in texts])
    return Tokenizer.from_str(train(path, TokenizerConfig(**options))["tokenizer.json"])


def test_special_tokens_come_first_and_all_bytes_are_known(tmp_path):
    tokenizer = trained(tmp_path, TEXTS * 30, vocab_size=320)
    assert tokenizer.token_to_id(END_OF_TEXT) == 0 and tokenizer.token_to_id("<|pad|>") == 1
    assert tokenizer.get_vocab_size() == 320


def test_a_tokenizer_of_characters(tmp_path):
    tokenizer = trained(tmp_path, ["ba\nab", "c é"], kind="char", special_tokens=[END_OF_TEXT])
    vocab = tokenizer.get_vocab()
    assert [piece for piece, _ in sorted(vocab.items(), key=lambda entry: entry[1])] == [
        END_OF_TEXT, "<|unk|>", "\n", " ", "a", "b", "c", "é",
    ]  # fmt: skip
    tokenizer.encode_special_tokens = True
    text = "a cé\n\nb  ba"
    assert [vocab[character] for character in text] == tokenizer.encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode("aXb").ids == [vocab["a"], vocab["<|unk|>"], vocab["b"]]
    assert vocab[END_OF_TEXT] not in tokenizer.encode(END_OF_TEXT).ids
    with pytest.raises(DataError, match="too many characters"):
        trained(tmp_path, ["".join(map(chr, range(0x4E00, 0x5000)))], kind="char", vocab_size=300)


def test_transformers_loads_the_tokenizer(made):
    transformers = pytest.importorskip("transformers")
    layout, _ = made
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(layout.tokenizer)
    text = "The river rises."
    assert tokenizer.eos_token == END_OF_TEXT and tokenizer.pad_token_id == 1 and len(tokenizer) == 320
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_too_small_a_sample_is_refused(tmp_path):
    with pytest.raises(DataError, match="too small for the vocabulary"):
        trained(tmp_path, ["ab"], vocab_size=5000)


def test_token_files_hold_every_document_once(made):
    layout, _ = made
    outcomes = make_tokens(layout, TokensConfig(workers=1))
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

    real = module.encode_slice
    monkeypatch.setattr(module, "write_tokens", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_tokens(layout, TokensConfig(workers=2))
    monkeypatch.undo()
    calls = []
    monkeypatch.setattr(module, "encode_slice", lambda *args: calls.append(args) or real(*args))
    make_tokens(layout, TokensConfig(workers=1))
    assert not calls, "encoded slices survive"
    assert {source: files(layout.tokens(source)) for source in before} == before


def test_a_changed_tokenizer_makes_the_tokens_again(made):
    layout, _ = made
    first = make_tokens(layout, TokensConfig(workers=1))
    assert not any(outcome.fresh for outcome in make_tokens(layout, TokensConfig(workers=2)).values())
    make_tokenizer(layout, TokenizerConfig(vocab_size=310))
    second = make_tokens(layout, TokensConfig(workers=1))
    assert all(outcome.fresh for outcome in second.values())
    assert first["web"].manifest.digest != second["web"].manifest.digest


def test_a_full_disk_leaves_no_token_artifact(made, monkeypatch):
    layout, _ = made
    monkeypatch.setattr(
        pq, "ParquetWriter", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device"))
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


def test_missing_parents_are_named(tmp_path):
    layout = RunLayout(tmp_path)
    with pytest.raises(ManifestError, match="documents"):
        make_tokenizer(layout, TokenizerConfig())
    with pytest.raises(ManifestError, match="documents"):
        make_tokens(layout, TokensConfig())


def test_config_file_of_the_tokenizer_is_stable(made):
    layout, _ = made
    config = json.loads((layout.tokenizer / "tokenizer_config.json").read_text())
    assert config["eos_token"] == END_OF_TEXT and config["tokenizer_class"] == "PreTrainedTokenizerFast"


def tokens_alone(layout):
    """The files that are the data set, without the notes on how it was made."""
    return {s: {n: c for n, c in files(layout.tokens(s)).items() if n not in VOLATILE} for s in ("web", "reference")}


VOLATILE = ("encoding.json", "volatile.json")


def test_the_fast_encoder_changes_no_byte(made):
    pytest.importorskip("gigatoken")
    layout, _ = made
    make_tokens(layout, TokensConfig(workers=1))
    notes = read_encoding(layout.tokens("web"))
    assert next(iter(notes["documents_by_encoder"])).startswith("gigatoken") and not notes["fast_encoder_not_used"]
    before = tokens_alone(layout)
    for source in before:
        (layout.tokens(source) / "manifest.json").unlink()
    make_tokens(layout, TokensConfig(workers=1, encoder="reference"))
    assert next(iter(read_encoding(layout.tokens("web"))["documents_by_encoder"])).startswith("tokenizers")
    assert tokens_alone(layout) == before


@pytest.mark.parametrize("where", ["gate", "sampled", "spelling", "crash"])
def test_a_fast_encoder_that_differs_is_found_and_not_used(made, monkeypatch, where):
    pytest.importorskip("gigatoken")
    layout, _ = made
    make_tokens(layout, TokensConfig(workers=1, encoder="reference"))
    right = tokens_alone(layout)
    for source in right:
        (layout.tokens(source) / "manifest.json").unlink()
    from headwater.data.tokens import slices
    from headwater.data.tokens.encoder import Fast

    real = Fast.encode

    def wrong(self, texts):
        ids = real(self, texts)
        if where == "crash":
            raise RuntimeError("a panic")
        flat = ids.flat.copy()
        if len(flat):
            flat[-1] = flat[-1] ^ 1 if where != "sampled" else flat[-1]
        return ids._replace(flat=flat)

    slices._exact.cache_clear()
    monkeypatch.setattr(Fast, "encode", wrong)
    if where != "gate":
        monkeypatch.setattr(slices, "difference", lambda *_: "")
    if where == "sampled":  # every document is compared, and the comparison says that they differ
        monkeypatch.setattr(slices, "SAMPLED", "")
        monkeypatch.setattr(slices, "differs", lambda *_: 0)
    make_tokens(layout, TokensConfig(workers=1))
    notes = read_encoding(layout.tokens("web"))
    assert next(iter(notes["documents_by_encoder"])).startswith("tokenizers") and notes["fast_encoder_not_used"]
    assert tokens_alone(layout) == right


def test_without_the_fast_package_the_reference_encodes(made, monkeypatch):
    layout, _ = made
    from headwater.data.tokens import slices

    slices._exact.cache_clear()
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    make_tokens(layout, TokensConfig(workers=1))
    assert read_encoding(layout.tokens("web"))["fast_encoder_not_used"] == "gigatoken is not installed"
    slices._exact.cache_clear()


def test_slices_are_runs_of_row_groups_and_do_not_change_the_files(made, monkeypatch):
    layout, _ = made
    make_tokens(layout, TokensConfig(workers=1))
    before = tokens_alone(layout)
    for source in before:
        (layout.tokens(source) / "manifest.json").unlink()
    from headwater.data.tokens import slices, write

    monkeypatch.setattr(slices, "TEXT_BYTES", 1)
    monkeypatch.setattr(write, "ROWS_PER_ROW_GROUP", 3)
    make_tokens(layout, TokensConfig(workers=1))
    after = tokens_alone(layout)
    for source in before:
        table = pq.read_table(layout.tokens(source) / "documents.parquet")
        assert pq.read_metadata(layout.tokens(source) / "documents.parquet").row_group(0).num_rows <= 3
        assert len(table) and after[source]["train.bin"] == before[source]["train.bin"]
        assert after[source]["train.idx"] == before[source]["train.idx"]


def test_the_report_is_measured_on_held_out_text(made):
    layout, _ = made
    report = json.loads((layout.tokenizer / "report.json").read_text())
    own = report["headwater"]
    assert set(own["by_source"]) == {"web", "reference"} and own["by_language"]
    assert own["all"]["text_bytes"] == sum(part["text_bytes"] for part in own["by_source"].values())
    assert 0 < own["vocab_used_ratio"] <= 1 and 0 < own["all"]["one_piece_ratio"] <= 1
    assert set(report) == {"headwater", "gpt2", "llama-3"}


def test_an_imported_tokenizer_is_taken_as_it_is(layout, tmp_path):
    """One with another end of text, and with settings that would cut every document."""
    make_tokenizer(layout, TokenizerConfig(vocab_size=320))
    with pytest.raises(ManifestError, match="was not imported"):
        make_tokenizer(layout, TokenizerConfig(kind="imported"))
    text = (layout.tokenizer / "tokenizer.json").read_text().replace(END_OF_TEXT, "</stop>")
    content = json.loads(text)
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    config = {"kind": "imported", "end_of_text": "</stop>"}
    writer = ArtifactWriter(layout.tokenizer, kind="tokenizer", name="tokenizer", producer="test", config=config)
    writer.begin()
    (layout.tokenizer / "tokenizer.json").write_text(json.dumps(content))
    manifest = writer.commit({"vocab_size": 320})
    assert make_tokenizer(layout, TokenizerConfig(kind="imported")).manifest.digest == manifest.digest
    make_tokens(layout, TokensConfig(workers=1))
    end = content["model"]["vocab"].get("</stop>", 0)
    reader = MegatronReader(layout.tokens("web") / "train")
    assert reader.lengths.max() > 9
    assert set(reader.tokens[reader.starts + reader.lengths - 1]) == {end}
    assert (reader.tokens == end).sum() == len(reader)
    (layout.tokenizer / "tokenizer.json").write_text(text)
    with pytest.raises(ManifestError, match="changed after it was written"):
        make_tokenizer(layout, TokenizerConfig(kind="imported"))
