"""Trains an n-gram model from a reference corpus: the tokenizer, the counts, the estimate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.config import Section
from headwater.core.console import progress
from headwater.core.errors import DataError
from headwater.data.models import card, kneser_ney, measures, ngram
from headwater.data.models.texts import Texts

_BATCH = 256


class NgramOptions(Section):
    """How an n-gram model is trained.

    Attributes:
        order: Longest n-gram, in tokens.
        vocabulary: Entries of the tokenizer, with the 256 bytes and the two ends of a line.
        prune: For lengths 2, 3, …: n-grams seen this often or less are left out; the last holds for longer ones too.
        max_tokens: Most tokens to count; documents beyond are left out, in the order of their hashes.
        held_out_ratio: Share of documents that are held out to measure it, by their hash.
    """

    order: int = 5
    vocabulary: int = 16_384
    prune: tuple[int, ...] = (0, 0, 1)
    max_tokens: int = 50_000_000
    held_out_ratio: float = 0.1


def train(out: Path, texts: Texts, contrast: Texts | None, options: NgramOptions) -> dict[str, Any]:
    """Trains, measures, and writes the model and its card.

    Args:
        out: The model's file.
        texts: The reference corpus.
        contrast: Documents that are expected to be unlike it, to measure how well the two are told apart; or none.
        options: How.

    Returns:
        The model card.

    Raises:
        DataError: Too little text for the vocabulary, or nothing is held out.
        StorageError: The disk refused.
    """
    if not (texts.train and texts.held_out):
        raise DataError("too few documents to train on some and measure on others",
                        found=f"{len(texts.train)} to train on, {len(texts.held_out)} held out",
                        hint="give more documents, or a larger --held-out-ratio")  # fmt: skip
    tokenizer = _tokenizer([text for text, _ in texts.train], options.vocabulary)
    begin, end = tokenizer.token_to_id(ngram.BEGIN), tokenizer.token_to_id(ngram.END)
    blank = ngram.NgramModel(tokenizer, begin, end, 0, (), (), ())
    tokens, used = _count(blank, [text for text, _ in texts.train], options.max_tokens)
    found = kneser_ney.estimate(tokens, tokenizer.get_vocab_size(), begin, order=options.order, prune=options.prune)
    ngram.write(out, tokenizer, found, {"prune": options.prune})
    model = ngram.load(str(out))
    held_out = _perplexities(model, texts.held_out, "held-out documents")
    measured: dict[str, Any] = {"documents": len(held_out), "percentiles": measures.percentiles(held_out)}
    if contrast is not None:
        other = _perplexities(model, [*contrast.train, *contrast.held_out], "contrast")
        measured["contrast"] = {"documents": len(other), "percentiles": measures.percentiles(other)}
        measured["auc"] = round(measures.auc(-held_out, -other), 6)  # the likeness is the higher score
    data = {
        "train": used, "held_out": len(texts.held_out), "copies": texts.copies, "tokens": len(tokens),
        "ngrams": [len(logs) for logs in found.log_probabilities],
        "discounts": [[round(d, 6) for d in row] for row in found.discounts],
    }  # fmt: skip
    return card.write(out, ngram.KIND, options.model_dump(mode="json"), data, measured)


def _tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=2, special_tokens=[ngram.BEGIN, ngram.END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    )  # fmt: skip
    with progress(len(texts), "tokenizer") as shown:

        def words() -> Iterator[list[str]]:
            for text in texts:
                yield ngram.normalise(text).split()
                shown.advance()

        tokenizer.train_from_iterator(words(), trainer=trainer)
    tokenizer.encode_special_tokens = True  # what looks like the end of a line in a text is text
    return tokenizer


def _count(model: ngram.NgramModel, texts: Sequence[str], most: int) -> tuple[Any, int]:
    parts: list[Any] = []
    used = counted = 0
    with progress(len(texts), "encoding") as shown:
        while used < len(texts) and counted < most:
            batch = texts[used : used + _BATCH]
            parts.append(model.sequences(batch)[0])
            counted += len(parts[-1])
            used += len(batch)
            shown.advance(len(batch))
    return np.concatenate(parts), used


def _perplexities(model: ngram.NgramModel, rows: Sequence[tuple[str, float]], label: str) -> measures.F64:
    found: list[float | None] = []
    with progress(len(rows), f"measuring {label}") as shown:
        for start in range(0, len(rows), _BATCH):
            batch = [text for text, _ in rows[start : start + _BATCH]]
            found += model.perplexities(batch)
            shown.advance(len(batch))
    return np.array([value for value in found if value is not None])
