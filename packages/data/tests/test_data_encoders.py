"""The fast encoder against Hugging Face tokenizers, and the trainers against themselves and their origins."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import ConfigError
from headwater.core.tokens import CHAT_TOKENS, END_OF_TEXT
from headwater.data.tokenizer import train
from headwater.data.tokens import bpe
from headwater.data.tokens.config import TokenizerConfig
from headwater.data.tokens.encoder import Fast, NotCovered, Reference, text_buffers, why_not
from headwater.data.tokens.exact import Exact, with_new_characters
from headwater.data.tokens.gate import adversarial, characters, difference
from headwater.data.tokens.lay_out import Pieces, lay_out
from headwater.data.tokens.sample import Sampled, read_sample, write_sample

TEXTS = [
    "def f(x):\n    return x + 1  # naïve\n" * 5,
    "The river rises in the hills, and it's 1,234 miles long. " * 20,
    "日本語 и русский 🎉\t\r\n\x00" * 3,
    "I'm sure they'll say WE'RE done; x = {'a': [1, 22, 333, 4444]}\r\n\r\n\tif y:\n" * 4,
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "sample.txt"
    parts = ["ri", "ver", "na", "tion", "al", "é", "日", "st", "ing", "o", "_x", "qu"]
    choose = random.Random(1)
    words = ["".join(choose.choices(parts, k=choose.randint(2, 6))) for _ in range(3000)]
    texts = [*TEXTS * 20, *(" ".join(words[n : n + 50]) for n in range(0, 3000, 20))]
    write_sample(path, [Sampled("s", "en", text, len(text.encode())) for text in texts])
    return path


@pytest.fixture(scope="module", params=["gpt2", "cl100k"])
def encoders(request, sample, tmp_path_factory):
    pytest.importorskip("gigatoken")
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(train(sample, TokenizerConfig(vocab_size=500, split=request.param))["tokenizer.json"])
    reference = Reference(path)
    return Exact(Fast(path), reference), reference


def test_a_sample_file_gives_the_texts_back(sample, tmp_path):
    texts = ["", "a", "日本\n\x00", "x" * 3_000_000]
    write_sample(tmp_path / "s", [Sampled("s", "", text, 0) for text in texts])
    assert list(read_sample(tmp_path / "s")) == texts


def test_both_libraries_learn_the_same_merges(sample):
    pytest.importorskip("gigatoken")
    fast = bpe.fast_merges(sample, 300, TokenizerConfig())
    assert fast and fast == bpe.reference_merges(read_sample(sample), 300, TokenizerConfig())


def test_merges_that_are_too_rare_are_left_to_the_reference(sample):
    assert bpe.fast_merges(sample, 400, TokenizerConfig(min_frequency=100_000)) is None


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_training_does_not_depend_on_threads_or_hashes(kind, sample):
    program = (
        "import hashlib, sys; from pathlib import Path; from headwater.data.tokens.config import TokenizerConfig;"
        "from headwater.data.tokenizer import train;"
        f"files = train(Path({str(sample)!r}), TokenizerConfig(kind={kind!r}, vocab_size=480));"
        "print([hashlib.sha256(c if isinstance(c, bytes) else c.encode()).hexdigest() for c in files.values()])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env={**os.environ, "RAYON_NUM_THREADS": n, "TOKENIZERS_PARALLELISM": p, "PYTHONHASHSEED": n},
        ).stdout
        for n, p in (("1", "false"), ("3", "true"))
    }  # fmt: skip
    assert len(found) == 1 and len(found.pop()) > 60


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("where", ["first", "last"])
def test_special_tokens_are_pinned_and_never_made_from_text(kind, where, sample):
    from tokenizers import Tokenizer

    config = TokenizerConfig(kind=kind, vocab_size=480, special_ids=where, chat_tokens=True)
    tokenizer = Tokenizer.from_str(train(sample, config)["tokenizer.json"])
    ids = [tokenizer.token_to_id(name) for name in config.specials]
    assert ids == list(range(len(ids)) if where == "first" else range(480 - len(ids), 480))
    assert set(CHAT_TOKENS) < set(config.specials) and tokenizer.get_vocab_size() == 480
    assert tokenizer.encode(f"a {END_OF_TEXT} b").ids.count(tokenizer.token_to_id(END_OF_TEXT)) == 1
    tokenizer.encode_special_tokens = True
    unknown = {tokenizer.token_to_id("<|unk|>")} - {None}
    for name in config.specials:
        assert not (set(tokenizer.encode(f"a {name} b {name}").ids) & set(ids)) - unknown


@pytest.mark.parametrize("where", ["first", "last"])
def test_unigram_is_sentencepieces_model(where, sample):
    import sentencepiece
    from tokenizers import Tokenizer

    files = train(sample, TokenizerConfig(kind="unigram", vocab_size=480, special_ids=where))
    model = sentencepiece.SentencePieceProcessor(model_proto=files["tokenizer.model"])
    tokenizer = Tokenizer.from_str(files["tokenizer.json"])
    tokenizer.encode_special_tokens = True
    assert all(model.id_to_piece(number) == tokenizer.id_to_token(number) for number in range(480))
    for text in [*TEXTS, "", "  a\n\n b ", f"x {END_OF_TEXT} <0x0A> <|unk|>", "\t\x00é👩"]:
        ids = tokenizer.encode(text).ids
        assert ids == model.encode(text)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_transformers_loads_every_kind_and_its_chat_template(sample, tmp_path):
    transformers = pytest.importorskip("transformers")
    for kind in ("bpe", "unigram", "wordpiece"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, content in train(sample, TokenizerConfig(kind=kind, vocab_size=480, chat_tokens=True)).items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        assert tokenizer.eos_token == END_OF_TEXT and len(tokenizer) == 480
        turns = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
        assert turns == "<|im_start|>user\nhi<|im_end|>\n"


def test_the_fast_encoder_gives_the_references_tokens(encoders):
    assert difference(*encoders, [*TEXTS, *adversarial()]) == ""


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_the_fast_encoder_is_exact_on_any_text(encoders, texts):
    assert difference(*encoders, texts) == ""


@pytest.mark.slow
def test_the_fast_encoder_is_exact_on_every_character_of_unicode(encoders):
    assert difference(*encoders, list(characters(0, 0x110000))) == ""


def test_documents_with_characters_newer_than_the_tables_go_to_the_reference(encoders):
    exact, _ = encoders
    texts = ["plain", "new \U000323b0 letter", "é日🎉", "", "x" * 50 + "\u088f", "\u088f", "ab\U00016ea0"]
    assert with_new_characters(pa.array(texts)).tolist() == [0, 1, 0, 0, 1, 1, 1]
    before = exact.rerouted
    exact.encode(pa.array(texts))
    assert exact.rerouted == before + 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x10FFFF))))
def test_new_characters_are_found_at_every_place(texts):
    import unicodedata

    expected = [any(ord(c) >= 0x800 and unicodedata.category(c) == "Cn" for c in text) for text in texts]
    assert with_new_characters(pa.array(texts, pa.large_string())).tolist() == expected


@pytest.mark.parametrize("new", ["\u2065", "\U000323b0"])
def test_a_new_character_is_found_at_every_place_of_a_block_and_in_the_right_text(new):
    for before in range(160):
        texts = ["’" * 30, "a" * before + new + "日 b", "", "é’" * 40]
        assert with_new_characters(pa.array(texts)).tolist() == [0, 1, 0, 0]
        assert with_new_characters(pa.array(texts).slice(1, 2)).tolist() == [1, 0]


def test_columns_may_be_slices_of_either_width(encoders):
    exact, reference = encoders
    for kind in (pa.string(), pa.large_string()):
        column = pa.array(["first", "", *TEXTS, "last"], kind)
        for start, count in ((0, 7), (1, 3), (2, 0), (5, 2)):
            part = column.slice(start, count)
            offsets, data = text_buffers(part)
            assert bytes(data) == "".join(part.to_pylist()).encode() and len(offsets) == count + 1
            ours, theirs = exact.encode(part), reference.encode(part)
            assert np.array_equal(ours.flat, theirs.flat) and np.array_equal(ours.offsets, theirs.offsets)


def test_tokens_that_do_not_spell_the_document_are_found(encoders):
    exact, reference = encoders
    pieces = Pieces(exact.fast.pieces)
    texts = pa.array([*TEXTS, "short", ""])
    ids = exact.encode(texts)
    offsets, data = text_buffers(texts)

    def laid(flat):
        out = np.zeros(len(flat) + len(texts), np.uint16)
        return lay_out(flat, ids.offsets, reference.end, data, offsets, pieces, out), out

    right, out = laid(ids.flat)
    assert right == -1 and np.array_equal(np.flatnonzero(out == 0), ids.offsets[1:] + np.arange(len(texts)))
    for place, value in ((0, ids.flat[0] ^ 1), (3, 10_000_000), (len(ids.flat) - 1, 499)):
        flat = ids.flat.copy()
        flat[place] = value
        assert laid(flat)[0] == int(np.searchsorted(ids.offsets, place, "right")) - 1
    short = ids._replace(offsets=ids.offsets - (ids.offsets == ids.offsets[-1]))
    assert lay_out(short.flat, short.offsets, 0, data, offsets, pieces, np.zeros(len(out), np.uint16)) >= 0


def test_what_the_fast_encoder_is_not_known_to_do_is_left_to_the_reference(sample, tmp_path):
    content = json.loads(train(sample, TokenizerConfig(vocab_size=400))["tokenizer.json"])
    assert why_not(content) == ""
    changes = (
        {"normalizer": {"type": "NFC"}}, {"pre_tokenizer": {"type": "Whitespace"}}, {"truncation": {"max_length": 5}},
        {"pre_tokenizer": {**content["pre_tokenizer"], "add_prefix_space": True}},
        {"model": {**content["model"], "ignore_merges": True}}, {"model": {**content["model"], "type": "Unigram"}},
        {"added_tokens": [{**content["added_tokens"][0], "special": False}]},
    )  # fmt: skip
    for change in changes:
        assert why_not({**content, **change})
    path = tmp_path / "tokenizer.json"
    path.write_text(train(sample, TokenizerConfig(kind="wordpiece", vocab_size=400))["tokenizer.json"])
    with pytest.raises(NotCovered, match="a WordPiece model"):
        Fast(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"special_tokens": ["<|pad|>"]}, "special_tokens with <"),
        ({"special_tokens": [END_OF_TEXT, "word"]}, "look like"),
        ({"special_tokens": [END_OF_TEXT, END_OF_TEXT]}, "there once"),
        ({"special_tokens": [END_OF_TEXT, "<||>"]}, "look like"),
        ({"kind": "unigram", "split": "cl100k"}, "no split with kind: unigram"),
        ({"lowercase": True}, "no lowercase with kind: bpe"),
        ({"sample_bytes": {"web": 5}, "sample_weights": {"web": 1}}, "one number of sample_bytes"),
        ({"kind": "bytes"}, "tokenizer.kind"),
    ],
)
def test_what_is_no_tokenizer_section_is_refused(options, message):
    from headwater.core.config import validate

    with pytest.raises(ConfigError, match=message):
        validate(TokenizerConfig, options, "tokenizer")


def test_weights_share_the_sample_among_the_sources():
    config = TokenizerConfig(sample_bytes=1000, sample_weights={"web": 3, "code": 1})
    assert config.quotas(["code", "other", "web"]) == {"code": 250, "other": 0, "web": 750}
