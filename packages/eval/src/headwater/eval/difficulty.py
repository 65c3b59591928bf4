"""How hard a checkpoint finds each document: its perplexity, for a curriculum that begins with what is easy.

A small model that was trained on a sample of the corpus scores the rest. Documents are read as held-out ones are (see
`held_out`): after an end of text, in consecutive windows of the training length.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import torch

from headwater.core.config import nearest
from headwater.core.console import progress
from headwater.core.errors import EvalError
from headwater.core.figures import FIGURES, write_figures
from headwater.core.layout import RunLayout
from headwater.core.lock import exclusive
from headwater.core.manifest import ArtifactWriter, Manifest, is_artifact, parent_of, read_manifest
from headwater.core.storage import storage_errors
from headwater.eval import PRODUCER
from headwater.eval import checkpoint as checkpoints
from headwater.eval.reader import Reader
from headwater.eval.scoring import score, windows
from headwater.eval.tokenizer import EvalTokenizer, has_tokenizer, load_tokenizer

_pc: Any = pyarrow.compute
_pq: Any = pyarrow.parquet

_SCORED = 256  # documents that are tokenised and scored together


@dataclass(frozen=True)
class _Scorer:
    """A model, and what is needed to read texts with it."""

    loaded: checkpoints.LoadedCheckpoint
    tokenizer: EvalTokenizer
    batch_tokens: int | None

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.loaded.model)

    @property
    def window(self) -> int:
        run, longest = self.loaded.run, self.loaded.max_length
        return min(run.seq_len, longest) if run else longest

    def perplexities(self, texts: Sequence[str]) -> list[float | None]:
        """Of a token of each text; none of a text without tokens."""
        documents = [self.tokenizer.encode(text) for text in texts]
        cut = [windows(tokens, self.tokenizer.begin_id, self.window) for tokens in documents]
        requests = [request for pieces in cut for request in pieces]
        scored = iter(score(self.reader, requests, max_length=self.window,
                            batch_tokens=self.batch_tokens or self.reader.batch_tokens))  # fmt: skip
        nats = [-math.fsum(next(scored).logprob for _ in pieces) for pieces in cut]
        return [math.exp(each / len(tokens)) if tokens else None for each, tokens in zip(nats, documents, strict=True)]


def score_documents(
    run: RunLayout, checkpoint: Path, documents: Path, sources: Sequence[str], output: Path, batch_tokens: int | None
) -> tuple[Manifest, bool]:  # fmt: skip
    """Writes the perplexity of every kept document of some sources, an artifact of kind `figures`.

    Finished files of documents survive a kill.

    Args:
        run: The run that the checkpoint is of; its tokenizer reads the texts.
        checkpoint: The checkpoint, or a Hugging Face model.
        documents: The documents' folder, of this run or another.
        sources: Which of its sources.
        output: The artifact's folder.
        batch_tokens: Most tokens in a forward pass; none: as the device takes.

    Returns:
        The manifest, and whether it was made now.

    Raises:
        EvalError: The documents have no such source, or the tokenizer is not the checkpoint's.
        ManifestError: Something that is needed is missing, half-written or damaged.
    """
    manifest = read_manifest(documents)
    _require_sources(manifest, documents, sources)
    loaded = checkpoints.load(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    brought = loaded.run is None and has_tokenizer(checkpoint)
    folder = checkpoint if brought else run.tokenizer
    scorer = _Scorer(loaded, load_tokenizer(folder, loaded.run), batch_tokens)
    parents = [parent_of(output, documents, "documents")]
    parents += [parent_of(output, checkpoint, "checkpoint")] if is_artifact(checkpoint) else []
    parents += [parent_of(output, folder, "tokenizer")] if is_artifact(folder) else []
    config = {"figure": "perplexity", "sources": sorted(sources), "weights": loaded.weights_digest,
              "window": scorer.window}  # fmt: skip
    with exclusive(output):
        writer = ArtifactWriter(output, kind="figures", name="perplexity", producer=PRODUCER, config=config,
                                parents=parents)  # fmt: skip
        if (done := writer.up_to_date()) is not None:
            return done, False
        work = writer.begin()
        counts = manifest.counters["sources"]
        with progress(sum(counts[source]["documents_out"] for source in sources), "difficulty") as bar:
            parts = [_scored(path, work / path.name, sources, scorer, bar) for path in _parts(documents)]
        return writer.commit({"documents": write_figures(output, parts)}), True


def _require_sources(manifest: Manifest, documents: Path, sources: Sequence[str]) -> None:
    if manifest.kind != "documents":
        raise EvalError(f"{documents} holds no documents", found=f"an artifact of kind {manifest.kind}")
    known = [name for name, counts in manifest.counters["sources"].items() if counts["documents_out"]]
    for source in sources:
        if source not in known:
            near = nearest(source, known)
            raise EvalError(f"{documents} has no documents of {source}", expected=f"one of: {', '.join(known)}",
                            hint=f"did you mean {near}?" if near else None)  # fmt: skip


def _parts(documents: Path) -> list[Path]:
    with storage_errors("read", documents):
        return sorted(documents.glob("part-*.parquet"))


def _scored(path: Path, target: Path, sources: Sequence[str], scorer: _Scorer, bar: Any) -> pa.Table:
    """The figures of one file of documents, which are kept in `target`."""
    if target.is_file():
        kept = _pq.read_table(target, schema=FIGURES)
        bar.advance(len(kept))
        return kept
    ids, figures = list[str](), list[float]()
    for rows in _texts(path, sources):
        texts: list[Any] = rows.column("text").to_pylist()
        identifiers: list[Any] = rows.column("id").to_pylist()
        for identifier, figure in zip(identifiers, scorer.perplexities(texts), strict=True):
            if figure is not None:
                ids.append(identifier)
                figures.append(figure)
        bar.advance(len(rows))
    found = pa.table({"id": ids, "figure": figures}, schema=FIGURES)
    temporary = target.with_suffix(".tmp")
    with storage_errors("write", target):
        _pq.write_table(found, temporary)
        temporary.replace(target)
    return found


def _texts(path: Path, sources: Sequence[str]) -> Iterator[pa.Table]:
    """Ids and texts of the sources' documents, some at a time."""
    with storage_errors("read", path), _pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_SCORED, columns=["id", "source", "text"]):
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(_pc.is_in(rows.column("source"), value_set=pa.array(sources, pa.string())))
            if len(rows):
                yield rows
