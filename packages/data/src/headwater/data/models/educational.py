"""Educational value: a linear regression on a document's embedding, after FineWeb-Edu (Penedo et al., 2024).

FineWeb-Edu had a language model score pages from 0 to 5 and fitted a head on frozen embeddings. Here the scores come
from a file, and the head is ridge regression in closed form, as strong as leaves the least leave-one-out error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.config import Section
from headwater.core.console import progress
from headwater.core.errors import ConfigError, DataError
from headwater.core.storage import storage_errors
from headwater.data.models import arrays_file, card, embeddings
from headwater.data.models.texts import Texts

KIND = "educational"
LEAST, MOST = 0.0, 5.0
_RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
F64 = npt.NDArray[np.float64]


class EducationalOptions(Section):
    """How the regression is fitted.

    Attributes:
        embeddings: Folder of the embedding model; none: the packaged one.
        held_out_ratio: Share of documents that are held out to measure it, by their hash.
    """

    embeddings: str | None = None
    held_out_ratio: float = 0.1


@dataclass(frozen=True)
class EducationalModel:
    """A regression that is ready to score.

    Attributes:
        weights: Shape [dimensions].
        bias: The score of an embedding of zeros.
        embeddings_digest: Of the embedding model that it was fitted on.
        embeddings_name: Its name, for people.
    """

    weights: F64
    bias: float
    embeddings_digest: str
    embeddings_name: str

    def score(self, embedding: npt.NDArray[np.float32]) -> float:
        """The score of a document, 0–5, rounded to three decimals."""
        found = self.bias + float((self.weights * embedding).sum())
        return round(min(max(found, LEAST), MOST), 3)


def train(out: Path, texts: Texts, options: EducationalOptions) -> dict[str, Any]:
    """Fits, measures, and writes the model and its card.

    Args:
        out: The model's file.
        texts: Documents with scores from 0 to 5.
        options: How.

    Returns:
        The model card.

    Raises:
        ConfigError: There is no embedding model.
        DataError: A score is out of range, all are equal, or too few documents are held out.
        StorageError: The disk refused.
    """
    scores = np.array([score for _, score in (*texts.train, *texts.held_out)])
    if scores.min() < LEAST or scores.max() > MOST or scores.min() == scores.max():
        raise DataError("the scores cannot be learnt", found=f"from {scores.min():g} to {scores.max():g}",
                        expected="different numbers from 0 to 5")  # fmt: skip
    if len(texts.train) < 2 or len(texts.held_out) < 2:
        raise DataError("too few documents to fit on some and measure on others",
                        found=f"{len(texts.train)} to fit on, {len(texts.held_out)} held out",
                        hint="give more documents, or a larger --held-out-ratio")  # fmt: skip
    folder = embeddings.folder_of(options.embeddings)
    embedder = embeddings.load(str(folder))
    x, y = _embedded(embedder, texts.train, "fitting")
    weights, bias, ridge = fit(x.astype(np.float64), y)
    name = folder.name if options.embeddings else embeddings.NAME
    header = {"bias": bias, "ridge": ridge, "embeddings": embeddings.digest_of(folder), "embeddings_name": name}
    arrays_file.write(out, KIND, header, {"weights": weights.astype(np.float32)})
    model = load(str(out))
    x, y = _embedded(embedder, texts.held_out, "measuring")
    held_out = measure(np.array([model.score(row) for row in x]), y)
    data = {"train": len(texts.train), "held_out": len(texts.held_out), "copies": texts.copies, "ridge": ridge}
    shown = {"embeddings": name, "embeddings_digest": header["embeddings"], "held_out_ratio": options.held_out_ratio}
    return card.write(out, KIND, shown, data, held_out)


def _embedded(
    embedder: embeddings.Embedder, rows: Sequence[tuple[str, float]], label: str
) -> tuple[npt.NDArray[np.float32], F64]:
    found: list[npt.NDArray[np.float32]] = []
    with progress(len(rows), label) as shown:
        for text, _ in rows:
            found.append(embedder.embed(text))
            shown.advance()
    return np.stack(found), np.array([score for _, score in rows])


def fit(x: F64, y: F64) -> tuple[F64, float, float]:
    """Ridge regression with an intercept that is not shrunk.

    Args:
        x: Shape [documents, dimensions].
        y: Shape [documents].

    Returns:
        The weights, the intercept, and the strength whose leave-one-out error is least.
    """
    mean, centre = x.mean(axis=0), float(y.mean())
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    rotated = (x - mean) @ vectors
    target = rotated.T @ (y - centre)
    best: tuple[float, float] = (np.inf, 0.0)
    for ridge in _RIDGES:
        shrunk = 1 / (np.maximum(values, 0) + ridge)
        leverage = (rotated**2 @ shrunk) + 1 / len(y)
        residual = (y - centre - rotated @ (shrunk * target)) / np.maximum(1 - leverage, 1e-9)
        best = min(best, (float(np.mean(residual**2)), ridge))
    weights = vectors @ (target / (np.maximum(values, 0) + best[1]))
    return weights, centre - float(mean @ weights), best[1]


def measure(found: F64, wanted: F64) -> dict[str, Any]:
    """Mean absolute error, Pearson's correlation, and what thresholds do on held-out documents."""
    both_vary = found.std() > 0 and wanted.std() > 0
    rows: list[dict[str, float]] = []
    for threshold in (1, 2, 3, 4):
        kept, good = found >= threshold, wanted >= threshold
        hits = float(np.sum(kept & good))
        rows.append({"threshold": threshold, "kept": round(float(kept.mean()), 6),
                     "precision": round(hits / max(float(kept.sum()), 1), 6),
                     "recall": round(hits / max(float(good.sum()), 1), 6)})  # fmt: skip
    return {
        "documents": len(wanted), "mean_absolute_error": round(float(np.abs(found - wanted).mean()), 6),
        "always_the_mean": round(float(np.abs(wanted - wanted.mean()).mean()), 6),
        "correlation": round(float(np.corrcoef(found, wanted)[0, 1]), 6) if both_vary else 0.0, "thresholds": rows,
    }  # fmt: skip


def load(path: str) -> EducationalModel:
    """The model of a file; opened once as long as the file is unchanged.

    Raises:
        ConfigError: It is no such model, or is damaged.
        StorageError: It cannot be read.
    """
    with storage_errors("read the model", path):
        state = Path(path).stat()
    return _load(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, size: int, modified: int) -> EducationalModel:
    header, arrays = arrays_file.read(Path(path), KIND)
    try:
        weights = arrays["weights"].astype(np.float64)
        return EducationalModel(weights, float(header["bias"]), header["embeddings"], header["embeddings_name"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"the model {path} is damaged: {error}", hint="restore it, or train it again") from error
