"""Scores of a folder of documents under any model that filters use, to choose a threshold by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from headwater.core.console import progress
from headwater.core.errors import ConfigError
from headwater.data.models import educational, embeddings, fasttext_file, measures, ngram
from headwater.data.models.model_file import digest_of

_BATCH = 64
Scorer = Callable[[Sequence[str]], Sequence[float | None]]


def scores_of(model: Path, texts: Sequence[str], label: str | None, folder: str | None) -> tuple[str, measures.F64]:
    """The figures of documents, as the operators see them.

    Args:
        model: A model of any kind.
        texts: Documents.
        label: Of a classifier, whose probability is wanted; none: the first that a trained classifier looks at.
        folder: Of the embedding model; none: the packaged one.

    Returns:
        What the figures are, and one for each document that has one.

    Raises:
        ConfigError: It is no model, or has no such label.
    """
    digest_of(str(model))
    what, scorer = _scorer(model, label, folder)
    found: list[float] = []
    with progress(len(texts), f"scoring with {model.name}") as shown:
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            found += [value for value in scorer(batch) if value is not None]
            shown.advance(len(batch))
    return what, np.array(found)


def _scorer(model: Path, label: str | None, folder: str | None) -> tuple[str, Scorer]:
    path = str(model)
    if fasttext_file.is_fasttext(model):
        labels = fasttext_file.labels_of(model)
        wanted = label or next((name for name in ("hq", "toxic") if name in labels), labels[0])
        if wanted not in labels:
            raise ConfigError(f"the model {model} has no label {wanted}", found=", ".join(labels[:10]))
        return f"probability of {wanted}", lambda texts: fasttext_file.scores(path, wanted, texts)
    try:
        return "perplexity a token", ngram.load(path).perplexities
    except ConfigError:
        value = educational.load(path)
    embedder = embeddings.load(str(embeddings.folder_of(folder)))
    return "educational value", lambda texts: [value.score(embedder.embed(text)) for text in texts]
