"""Trains a fastText classifier from two folders: what to keep, and what to tell it from.

The training is fastText's (Joulin et al., EACL 2017), as in the filters of GPT-3 (Brown et al., 2020) and DCLM (Li et
al., 2024): a linear model over hashed words and word n-grams. It is done by floret, a fork that installs beside the
prediction-only build of fastText that language identification uses; its file differs from fastText's by two fields of
the header, which are taken out. One thread and a fixed seed: equal documents and options give equal bytes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headwater.core.config import Section
from headwater.core.console import progress
from headwater.core.errors import DataError
from headwater.core.storage import storage_errors
from headwater.data.models import card, fasttext_file, measures
from headwater.data.models.fasttext_file import ARGUMENTS, LABEL
from headwater.data.models.texts import Texts

_FLORET_FIELDS = slice(ARGUMENTS.size - 12, ARGUMENTS.size - 4)  # mode and hash count, before the last two arguments
LEAST_DOCUMENTS = 10
_STEPS = 20_000  # one document each: with fewer, the few documents of a small folder are not learnt


class ClassifierOptions(Section):
    """How a classifier is trained. The defaults give a file of about 17 MB.

    Attributes:
        positive, negative: Names of the labels.
        word_ngrams: Longest run of words that is a feature.
        buckets: Slots that runs of words are hashed into.
        dimensions: Width of the hidden layer; two labels need few.
        epochs: Passes over the documents; 0: as many as give 20,000 steps, at least 5 and at most 100.
        learning_rate: At the start; it falls linearly to zero.
        min_count: Least count of a word that is a feature by itself.
        seed: Of the first weights and of the drawing of words.
        held_out_ratio: Share of documents that are held out to measure it, by their hash.
    """

    positive: str = "hq"
    negative: str = "lq"
    word_ngrams: int = 2
    buckets: int = 2**18
    dimensions: int = 16
    epochs: int = 0
    learning_rate: float = 0.5
    min_count: int = 2
    seed: int = 1
    held_out_ratio: float = 0.1


def train(out: Path, kind: str, positive: Texts, negative: Texts, options: ClassifierOptions) -> dict[str, Any]:
    """Trains, measures, and writes the model and its card.

    Args:
        out: The model's file.
        kind: What it is, for the card.
        positive: Documents of the label that counts.
        negative: Documents of the other label.
        options: How.

    Returns:
        The model card.

    Raises:
        DataError: floret is not installed, or nothing is held out.
        StorageError: The disk refused.
    """
    if importlib.util.find_spec("floret") is None:
        raise DataError("the trainer of fastText models is not installed",
                        hint="pip install 'headwater-data[models]'")  # fmt: skip
    if not (positive.train and negative.train and positive.held_out and negative.held_out):
        raise DataError("too few documents to train on some and measure on others",
                        found=f"{len(positive.held_out)} positive and {len(negative.held_out)} negative ones held out",
                        hint="give more documents, or a larger --held-out-ratio")  # fmt: skip
    if not options.epochs:
        wanted = -(-_STEPS // (len(positive.train) + len(negative.train)))
        options = options.model_copy(update={"epochs": min(max(wanted, 5), 100)})
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with storage_errors("write", out):
        try:
            _fit(temporary, positive, negative, options)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    fasttext_file.labels_of(out)
    kept = _scores(out, options.positive, positive.held_out)
    other = _scores(out, options.positive, negative.held_out)
    data = {name: {"train": len(texts.train), "held_out": len(texts.held_out), "copies": texts.copies}
            for name, texts in ((options.positive, positive), (options.negative, negative))}  # fmt: skip
    return card.write(out, kind, options.model_dump(), data, measures.separation(kept, other))


def _fit(out: Path, positive: Texts, negative: Texts, options: ClassifierOptions) -> None:
    import floret

    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        lines = Path(folder) / "lines.txt"
        with open(lines, "w", encoding="utf-8") as stream:
            for label, text in _mixed(options, positive, negative):
                stream.write(f"{LABEL}{label} {fasttext_file.line_of(text)}")
        model = floret.train_supervised(
            input=str(lines), thread=1, seed=options.seed, dim=options.dimensions, epoch=options.epochs,
            lr=options.learning_rate, wordNgrams=options.word_ngrams, bucket=options.buckets,
            minCount=options.min_count, loss="softmax", verbose=2 if sys.stderr.isatty() else 0,
        )  # fmt: skip
        model.save_model(str(out))
    data = bytearray(out.read_bytes())
    del data[_FLORET_FIELDS]
    out.write_bytes(data)


def _mixed(options: ClassifierOptions, positive: Texts, negative: Texts) -> list[tuple[str, str]]:
    """Both kinds, spread evenly over one another: in runs of one label, gradient descent forgets the other."""
    marked = [
        ((place + 0.5) / len(texts.train), label, text)
        for label, texts in ((options.positive, positive), (options.negative, negative))
        for place, (text, _) in enumerate(texts.train)
    ]
    return [(label, text) for _, label, text in sorted(marked, key=lambda row: row[:2])]


def _scores(model: Path, label: str, rows: Sequence[tuple[str, float]]) -> measures.F64:
    found: list[float] = []
    with progress(len(rows), f"measuring {label}") as shown:
        for text, _ in rows:
            found += fasttext_file.scores(str(model), label, [text])
            shown.advance()
    return np.array(found)
