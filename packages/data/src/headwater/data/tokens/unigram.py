"""Unigram (Kudo, ACL 2018) by SentencePiece, with byte fallback, converted to a file of Hugging Face tokenizers.

Text is not normalised, so nothing is lost but U+2581, which stands for the space in every vocabulary of this kind.
SentencePiece keeps the sample in memory (about its size), and pieces never cross a line feed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from headwater.core.errors import DataError
from headwater.core.tokens import UNKNOWN
from headwater.data.tokens.config import TokenizerConfig

_LONGEST = 4000  # characters of a line that are learnt from at once; SentencePiece leaves out longer ones
_THREADS = 4  # part of the result: sums are made by thread
_NEVER = -10_000.0
"""Score of entries that no text may become: special tokens and bytes. Spelling any of them costs less than this."""


class Unigram(NamedTuple):
    """A trained tokenizer in both forms, with equal ids."""

    tokenizer: Any
    model: bytes


def train_unigram(texts: Iterable[str], config: TokenizerConfig) -> Unigram:
    """Trains a tokenizer.

    Raises:
        DataError: The sample has too few pieces for the vocabulary, or too many characters.
    """
    import sentencepiece

    specials = list(config.specials)
    # Every character of a special token or of a byte's name (<0x0A>) has to be an entry of its own: see _NEVER.
    required = "".join(sorted({*map(chr, range(33, 127)), *"".join(specials)}))
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts), model_writer=written, model_type="unigram", vocab_size=config.vocab_size,
            byte_fallback=True, character_coverage=0.9995, required_chars=required, normalization_rule_name="identity",
            add_dummy_prefix=False, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
            max_sentence_length=4 * _LONGEST, input_sentence_size=0, shuffle_input_sentence=False,
            num_threads=_THREADS, unk_id=specials.index(UNKNOWN), unk_piece=UNKNOWN, bos_id=-1, eos_id=-1, pad_id=-1,
            control_symbols=[name for name in specials if name != UNKNOWN], minloglevel=3, hard_vocab_limit=True,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        raise DataError(
            "the sample does not fit the vocabulary", found=str(error).strip().splitlines()[-1],
            expected=f"{config.vocab_size:,} entries (tokenizer.vocab_size)",
            hint="raise tokenizer.sample_bytes, collect more, or change tokenizer.vocab_size",
        ) from error  # fmt: skip
    return convert(written.getvalue(), config)


def convert(model: bytes, config: TokenizerConfig) -> Unigram:
    """The model with its special tokens where the recipe wants them, and the same as a `tokenizers.Tokenizer`."""
    import sentencepiece
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if config.special_ids == "last":
        model = _rotated(model, len(config.specials))
    found: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab: list[tuple[str, float]] = []
    for number in range(found.get_piece_size()):
        ordinary = not (found.is_control(number) or found.is_unknown(number) or found.is_byte(number))
        vocab.append((found.id_to_piece(number), found.get_score(number) if ordinary else _NEVER))
    tokenizer = Tokenizer(models.Unigram(vocab, found.unk_id(), byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # No piece holds a line feed, so cutting there changes nothing and keeps the search short.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\n"), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in config.specials])
    return Unigram(tokenizer, model)


def _rotated(model: bytes, count: int) -> bytes:
    """The model with its first `count` pieces behind the others.

    Pieces are the repeated field 1 of the message (`sentencepiece_model.proto`), in the order of their ids. The bytes
    of the fields are moved as they are, so that no version of protobuf comes in.
    """
    pieces: list[bytes] = []
    others: list[bytes] = []
    place = 0
    while place < len(model):
        start = place
        tag, place = _varint(model, place)
        size, place = _varint(model, place)
        assert tag & 7 == 2, "all fields of the message are messages"
        place += size
        (pieces if tag >> 3 == 1 else others).append(model[start:place])
    return b"".join([*pieces[count:], *pieces[:count], *others])


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and the place after it."""
    value = shift = 0
    while True:
        value |= (data[place] & 127) << shift
        shift += 7
        place += 1
        if data[place - 1] < 128:
            return value, place


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), _LONGEST):
                yield line[start : start + _LONGEST]
