"""Token files of other programs: written by datatrove, and by Megatron's format as it is specified."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from headwater.core.documents import split_of
from headwater.core.errors import ConfigError, DataError, ManifestError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.core.parquet import read_rows
from headwater.core.tokenizer import Vocabulary
from headwater.core.tokens import END_OF_TEXT, MegatronReader
from headwater.core.verify.report import verify_run
from headwater.data.cli import data
from headwater.data.token_files import importing
from headwater.data.token_files.files import open_all, open_megatron, open_nanotron
from headwater.data.token_files.importing import Wanted, import_tokens
from headwater.data.token_files.text_sizes import TextSizes

TEXTS = [f"the river {'runs down ' * (number % 7)}to the sea, naïve 日本 {number}" for number in range(60)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture
def run(tmp_path, tokenizer):
    layout = RunLayout(tmp_path / "run")
    writer = ArtifactWriter(layout.tokenizer, kind="tokenizer", name="tokenizer", producer="test", config={})
    writer.begin()
    tokenizer.save(str(layout.tokenizer / "tokenizer.json"))
    writer.commit({"vocab_size": tokenizer.get_vocab_size()})
    return layout


@pytest.fixture
def documents(tokenizer):
    """The tokens of each text, with their end."""
    return [[*tokenizer.encode(text).ids, 0] for text in TEXTS]


def write_megatron(prefix: Path, documents, code=4, boundaries=None):
    """As Megatron-LM's IndexedDatasetBuilder lays a data set out."""
    dtype = {4: "<i4", 5: "<i8", 8: "<u2"}[code]
    lengths = [len(document) for document in documents]
    flat = np.array([token for document in documents for token in document], dtype=dtype)
    prefix.with_name(prefix.name + ".bin").write_bytes(flat.tobytes())
    pointers = np.cumsum([0, *lengths[:-1]]) * np.dtype(dtype).itemsize
    boundaries = list(range(len(documents) + 1)) if boundaries is None else boundaries
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(boundaries))
    body = np.array(lengths, "<i4").tobytes() + pointers.astype("<i8").tobytes() + np.array(boundaries, "<i8").tobytes()
    prefix.with_name(prefix.name + ".idx").write_bytes(head + body)
    return prefix


def write_datatrove(folder: Path, tokenizer_file: Path, texts, eos=END_OF_TEXT, **options):
    """With datatrove's own pipeline step, which is what nanotron reads."""
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer

    step = DocumentTokenizer(
        output_folder=str(folder), tokenizer_name_or_path=str(tokenizer_file), eos_token=eos, seed=1, **options
    )
    step.run((Document(text=text, id=str(n)) for n, text in enumerate(texts)), rank=0, world_size=1)
    return folder


def content(layout, source, split="train"):
    reader = MegatronReader(layout.tokens(source) / split)
    return [reader.get(int(s), int(n)).tolist() for s, n in zip(reader.starts, reader.lengths, strict=True)]


@pytest.mark.parametrize("code", [4, 5, 8])
@pytest.mark.parametrize("place", ["copy", "hardlink", "symlink"])
def test_megatron_files_give_their_documents(run, tmp_path, documents, code, place):
    prefix = write_megatron(tmp_path / "web.v1_text_document", documents, code)
    result = import_tokens(run, "web", Wanted("megatron", open_all("megatron", [prefix]), place=place)).result
    assert content(run, "web") == documents
    assert result["train_documents"] == 60 and result["text_bytes"] == sum(len(text.encode()) for text in TEXTS)
    rows = read_rows(run.tokens("web") / "documents.parquet")
    assert [row["text_bytes"] for row in rows] == [len(text.encode()) for text in TEXTS]
    assert rows[7]["url"] == "megatron:web.v1_text_document#7"
    inode = os.stat(run.tokens("web") / "train.bin").st_ino
    assert (inode == os.stat(tmp_path / "web.v1_text_document.bin").st_ino) == (place != "copy")
    assert not verify_run(run.root).errors


def test_documents_of_several_sequences_and_of_several_files(run, tmp_path, documents):
    write_megatron(tmp_path / "a", documents[:5], boundaries=[0, 2, 2, 5])
    write_megatron(tmp_path / "b", documents[5:])
    files = open_all("megatron", [tmp_path / "b.idx", tmp_path / "a.bin"])
    result = import_tokens(run, "web", Wanted("megatron", files)).result
    joined = [documents[0] + documents[1], documents[2] + documents[3] + documents[4]]
    assert content(run, "web") == [*documents[5:], *joined]
    assert result["empty_documents"] == 1
    assert {file.name for file in open_all("megatron", [tmp_path])} == {"a", "b"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_files_of_datatrove_give_their_documents(run, tmp_path, documents, shuffled):
    path = run.tokenizer / "tokenizer.json"
    folder = write_datatrove(tmp_path / "ds", path, TEXTS, shuffle_documents=shuffled)
    result = import_tokens(run, "web", Wanted("nanotron", open_all("nanotron", [folder]))).result
    found = content(run, "web")
    assert sorted(found) == sorted(documents) and (found == documents) == (not shuffled)
    assert result["text_bytes"] == sum(len(text.encode()) for text in TEXTS)


def test_tokens_of_four_bytes_are_linked_as_they_are(run, tmp_path, documents):
    flat = np.array([token for document in documents for token in document], "<u4")
    flat.tofile(tmp_path / "web.ds")
    np.cumsum([len(document) for document in documents]).astype("<u8").tofile(tmp_path / "web.ds.index")
    import_tokens(run, "web", Wanted("nanotron", open_all("nanotron", [tmp_path / "web.ds"]), place="hardlink"))
    assert content(run, "web") == documents
    assert MegatronReader(run.tokens("web") / "train").dtype is np.int32


def test_ids_do_not_depend_on_how_tokens_are_stored(run, tmp_path, documents):
    ids = []
    for number, (code, place) in enumerate([(4, "copy"), (8, "hardlink"), (5, "copy")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = open_all("megatron", [write_megatron(folder / "web", documents, code)])
        layout = RunLayout(tmp_path / f"run-{number}")
        layout.root.mkdir()
        os.symlink(run.tokenizer, layout.tokenizer)
        import_tokens(layout, "web", Wanted("megatron", files, place=place))
        ids.append([row["id"] for row in read_rows(layout.tokens("web") / "documents.parquet")])
    assert ids[0] == ids[1] == ids[2] and len(set(ids[0])) == 60


def test_held_out_documents(run, tmp_path, documents):
    files = open_all("megatron", [write_megatron(tmp_path / "web", documents)])
    import_tokens(run, "hashed", Wanted("megatron", files, validation_ratio=0.3))
    rows = read_rows(run.tokens("hashed") / "documents.parquet")
    held_out = [row["split"] == "validation" for row in rows]
    assert held_out == [split_of(row["id"], 0.3) == "validation" for row in rows] and 5 < sum(held_out) < 30
    assert content(run, "hashed", "validation") == [d for d, out in zip(documents, held_out, strict=True) if out]
    assert content(run, "hashed") == [d for d, out in zip(documents, held_out, strict=True) if not out]
    other = open_all("megatron", [write_megatron(tmp_path / "valid", documents[:9])])
    import_tokens(run, "given", Wanted("megatron", files, other, place="symlink"))
    assert content(run, "given") == documents and content(run, "given", "validation") == documents[:9]
    assert not verify_run(run.root).errors


def test_small_blocks_give_the_same_bytes_and_a_second_import_does_nothing(run, tmp_path, documents, monkeypatch):
    files = open_all("megatron", [write_megatron(tmp_path / "web", documents)])
    wanted = Wanted("megatron", files, validation_ratio=0.2)
    first = import_tokens(run, "web", wanted)
    assert not import_tokens(run, "web", wanted).fresh
    (run.tokens("web") / "manifest.json").unlink()
    monkeypatch.setattr(importing, "BLOCK_TOKENS", 11)
    again = import_tokens(run, "web", wanted)
    assert again.fresh and again.manifest.digest == first.manifest.digest


def test_documents_without_an_end_get_one_or_are_refused(run, tmp_path, documents):
    bare = [document[:-1] if number % 2 else document for number, document in enumerate(documents)]
    files = open_all("megatron", [write_megatron(tmp_path / "web", bare, 8)])
    with pytest.raises(DataError, match="do not end with") as caught:
        import_tokens(run, "web", Wanted("megatron", files))
    assert "document 1 ends with" in str(caught.value) and "--append-end-of-text" in str(caught.value)
    import_tokens(run, "web", Wanted("megatron", files, append_end=True))
    assert content(run, "web") == documents


def test_ids_beyond_the_vocabulary_are_named_with_their_place(run, tmp_path, documents):
    documents[3][1] = 400
    files = open_all("megatron", [write_megatron(tmp_path / "web", documents)])
    with pytest.raises(DataError, match="does not have") as caught:
        import_tokens(run, "web", Wanted("megatron", files))
    place = sum(len(document) for document in documents[:3]) + 1
    assert f"token id 400 at position {place}" in str(caught.value)
    assert not (run.tokens("web") / "manifest.json").exists()
    documents[3][1] = -1
    files = open_all("megatron", [write_megatron(tmp_path / "negative", documents)])
    with pytest.raises(DataError, match="does not have"):
        import_tokens(run, "web", Wanted("megatron", files))


def test_damaged_megatron_files_are_refused(tmp_path, documents):
    prefix = write_megatron(tmp_path / "web", documents)
    index, tokens = (prefix.with_name(f"web.{kind}") for kind in ("idx", "bin"))
    whole, right = index.read_bytes(), tokens.read_bytes()
    for broken, message in (
        (b"TNTIDX\x00\x00" + whole[8:], "not a Megatron index"), (whole[:-8], "damaged"),
        (whole[:20], "not a Megatron"),
        (whole[:9] + struct.pack("<Q", 2) + whole[17:], "damaged"), (whole[:17] + b"\x07" + whole[18:], "damaged"),
        (whole[:-8] + struct.pack("<q", 59), "which sequences are whose"),
        (whole[:34] + struct.pack("<i", 1) + whole[38:], "end to end"),
    ):  # fmt: skip
        index.write_bytes(broken)
        with pytest.raises(DataError, match=message):
            open_megatron(prefix)
    index.write_bytes(whole)
    tokens.write_bytes(right[:-4])
    with pytest.raises(DataError, match="does not match its index"):
        open_megatron(prefix)
    tokens.unlink()
    with pytest.raises(DataError, match=r"(?s)web\.bin is missing.*NAME\.bin and NAME\.idx"):
        open_megatron(prefix)


def test_damaged_files_of_datatrove_are_refused(tmp_path, run):
    folder = write_datatrove(tmp_path / "ds", run.tokenizer / "tokenizer.json", TEXTS, shuffle_documents=False)
    path = next(folder.glob("*.ds"))
    index, metadata = path.with_name(path.name + ".index"), path.with_name(path.name + ".metadata")
    whole, right, named = index.read_bytes(), path.read_bytes(), metadata.read_text()
    open_nanotron(path)
    for file, broken, message in (
        (path, right[:-1], "or was cut"), (index, whole[:-3], "was cut"), (index, b"", "was cut"),
        (index, whole[8:16] + whole[:8] + whole[16:], "do not ascend"), (index, b"\xff" * 8 + whole, "do not ascend"),
        (metadata, named.replace("|2", "|4").encode(), "another width"),
        (path.with_name(path.name + ".loss"), b"\x01", "out of the loss"),
    ):  # fmt: skip
        before = file.read_bytes() if file.exists() else None
        file.write_bytes(broken)
        with pytest.raises(DataError, match=message):
            open_nanotron(path)
        file.write_bytes(before) if before is not None else file.unlink()
    index.unlink()
    with pytest.raises(DataError, match="is missing"):
        open_nanotron(path)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=3))
def test_no_damage_to_an_index_ends_in_anything_but_a_message(tmp_path_factory, cut, flips):
    folder = tmp_path_factory.mktemp("damage")
    prefix = write_megatron(folder / "web", [[1, 2, 0], [3, 0]] * 6)
    index = folder / "web.idx"
    damaged = bytearray(index.read_bytes()[:cut])
    for place, value in flips:
        if place < len(damaged):
            damaged[place] = value
    index.write_bytes(damaged)
    try:
        file = open_megatron(prefix)
    except DataError:
        return
    assert file.ends[-1] == len(file.tokens)


def test_what_cannot_stay_where_it_is_is_refused(run, tmp_path, documents):
    files = open_all("megatron", [write_megatron(tmp_path / name, documents) for name in ("a", "b")])
    for wanted, message in (
        (Wanted("megatron", files, place="hardlink"), "2 files"),
        (Wanted("megatron", files[:1], place="symlink", validation_ratio=0.1), "takes documents out"),
        (Wanted("megatron", files[:1], place="symlink", append_end=True), "changes the file"),
    ):
        with pytest.raises(ConfigError) as caught:
            import_tokens(run, "web", wanted)
        assert message in str(caught.value)
    (tmp_path / "more").mkdir()
    twin = write_megatron(tmp_path / "more" / "a", documents)
    with pytest.raises(ConfigError, match="two files are called a"):
        open_all("megatron", [tmp_path / "a", twin])
    with pytest.raises(ConfigError, match="has no nanotron files"):
        open_all("nanotron", [tmp_path / "more"])


def test_tokens_made_from_documents_are_not_overwritten(run, tmp_path, documents):
    writer = ArtifactWriter(run.documents, kind="documents", name="documents", producer="test", config={})
    writer.begin()
    writer.commit({})
    from headwater.core.manifest import parent_of

    folder = run.tokens("web")
    parents = [parent_of(folder, run.documents, "documents"), parent_of(folder, run.tokenizer, "tokenizer")]
    made = ArtifactWriter(folder, kind="tokens", name="web", producer="test", config={}, parents=parents)
    made.begin()
    digest = made.commit({"train_tokens": 1}).digest
    files = open_all("megatron", [write_megatron(tmp_path / "web", documents)])
    with pytest.raises(ConfigError, match="made from documents"):
        import_tokens(run, "web", Wanted("megatron", files))
    assert read_manifest(folder).digest == digest


def test_a_source_file_that_was_changed_is_found(run, tmp_path, documents):
    prefix = write_megatron(tmp_path / "web", documents)
    import_tokens(run, "web", Wanted("megatron", open_all("megatron", [prefix]), place="symlink"))
    tokens = bytearray((tmp_path / "web.bin").read_bytes())
    tokens[8] ^= 1
    (tmp_path / "web.bin").write_bytes(tokens)
    assert any("train.bin" in finding.file for finding in verify_run(run.root).errors)


def test_sizes_of_texts_with_another_kind_of_tokenizer(tmp_path):
    """SentencePiece's pieces are no bytes: documents are decoded."""
    from headwater.data.tokenizer import train
    from headwater.data.tokens.config import TokenizerConfig
    from headwater.data.tokens.sample import Sampled, write_sample

    sample = tmp_path / "sample.txt"
    write_sample(sample, (Sampled("web", "en", text, len(text.encode())) for text in TEXTS * 3))
    layout = RunLayout(tmp_path / "run")
    writer = ArtifactWriter(layout.tokenizer, kind="tokenizer", name="tokenizer", producer="test", config={})
    writer.begin()
    for name, text in train(sample, TokenizerConfig(kind="unigram", vocab_size=362)).items():
        (layout.tokenizer / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    writer.commit({})
    tokenizer = Tokenizer.from_file(str(layout.tokenizer / "tokenizer.json"))
    end = tokenizer.token_to_id(END_OF_TEXT)
    documents = [[*tokenizer.encode(text, add_special_tokens=False).ids, end] for text in TEXTS]
    files = open_all("megatron", [write_megatron(tmp_path / "web", documents)])
    import_tokens(layout, "web", Wanted("megatron", files))
    rows = read_rows(layout.tokens("web") / "documents.parquet")
    assert [row["text_bytes"] for row in rows] == [len(text.encode()) for text in TEXTS]


def test_a_tokenizer_that_its_library_cannot_load_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
    sizes = TextSizes(tmp_path, Vocabulary({"a": 0, "b": 1}, "b"))
    with pytest.raises(ManifestError, match=r"tokenizer\.json is no tokenizer that its library can load"):
        sizes.of(np.array([0, 1]), np.array([0]))


def test_the_command(run, tmp_path, documents):
    write_megatron(tmp_path / "web", documents)
    arguments = [
        "import-tokens",
        "--run",
        str(run.root),
        "--source",
        "web",
        "--format",
        "megatron",
        str(tmp_path / "web"),
    ]
    result = CliRunner().invoke(data, [*arguments, "--validation-ratio", "0.2", "--json"], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["fresh"] and told["documents"] == 60 and told["validation_documents"] > 0
    again = CliRunner().invoke(data, [*arguments, "--validation-ratio", "0.2"], catch_exceptions=False)
    assert again.stdout.startswith("import-tokens: up to date")
    with pytest.raises(ConfigError, match="contradict"):
        CliRunner().invoke(data, [*arguments, "--validation-ratio", "0.2", "--validation", "x"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="no source name"):
        CliRunner().invoke(data, [*arguments[:4], "Web!", *arguments[5:]], catch_exceptions=False)
