"""`headwater data tokenize`: documents to Megatron token files, one data set a source.

Documents are encoded in parallel, a slice of one document file at a time; finished slices survive a kill. Then each
source's files are written in the order of the documents (by id), so the number of workers changes nothing.

The tokens are those of Hugging Face tokenizers, to the bit. A much faster encoder makes them where it is shown to give
the same; how that went is in `encoding.json` beside them, which is no part of the data set's identity.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from headwater.core.buckets import BUCKET, bucket_names, bucket_of
from headwater.core.config import nearest
from headwater.core.console import warn
from headwater.core.errors import ConfigError, DataError
from headwater.core.figures import check_figures
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Parent, is_artifact, parent_of, read_manifest
from headwater.core.storage import atomic_write, storage_errors
from headwater.data import PRODUCER
from headwater.data.conversations.sources import conversation_sources
from headwater.data.engines.processes import Workers, workers_for
from headwater.data.outcome import Outcome
from headwater.data.tokens.buckets import cut
from headwater.data.tokens.config import TokensConfig
from headwater.data.tokens.slices import Slice, check_fast, counters_of, encode_slice, slices_of
from headwater.data.tokens.write import write_tokens

ENCODING = "encoding.json"


def make_tokens(layout: RunLayout, config: TokensConfig) -> dict[str, Outcome]:
    """Makes RUN/tokens/<source> for every source of RUN/documents, or a data set for each of its buckets.

    Raises:
        ConfigError: `tokens.buckets` names a source without documents, or a bucket's name is another source's.
        DataError: A source has no document for training, or a worker was lost.
        ManifestError: The documents or the tokenizer are missing or half-written.
        StorageError: The disk refused.
    """
    documents = read_manifest(layout.documents)
    sources = [s for s, n in documents.counters["sources"].items() if n["documents_out"]]
    parts = _parts(sources, config)
    writers = {name: _writer(layout, name, described, config) for name, described in parts.items()}
    _remove_others(layout, sources, parts)
    finished = {source: manifest for source, writer in writers.items() if (manifest := writer.up_to_date())}
    works = {source: writer.begin() for source, writer in writers.items() if source not in finished}
    slices = _slices(layout, works, parts, config, conversation_sources(documents.config))
    why_not = _encode_all(layout, slices, config) if slices else ""
    vocab_size = int(read_manifest(layout.tokenizer).counters["vocab_size"])
    outcomes: dict[str, Outcome] = {}
    for source, writer in writers.items():
        if source in finished:
            outcomes[source] = Outcome(finished[source], False, finished[source].counters)
            continue
        mine = [Path(piece.target) for piece in slices if piece.name == source]
        result = write_tokens(layout.tokens(source), mine, vocab_size)
        if not result["train_tokens"]:
            raise DataError(f"the source {source} has no document for training", found="validation documents only",
                            hint="set a smaller documents.validation_ratio, or collect more")  # fmt: skip
        notes = layout.tokens(source) / ENCODING
        atomic_write(notes, json.dumps(_encoding(mine, why_not), indent=1, sort_keys=True) + "\n")
        outcomes[source] = Outcome(writer.commit(result, volatile=[notes]), True, result)
    return outcomes


def _parts(sources: list[str], config: TokensConfig) -> dict[str, dict[str, Any]]:
    """Token data set → what its manifest says of it: a source, or a bucket of one."""
    for source in config.buckets:
        if source not in sources:
            near = nearest(source, sources)
            raise ConfigError(f"tokens.buckets names {source}, which has no documents", expected=", ".join(sources),
                              hint=f"did you mean {near}?" if near else None)  # fmt: skip
    parts: dict[str, dict[str, Any]] = {}
    for source in sources:
        buckets = config.buckets.get(source)
        names = bucket_names(source, buckets.count) if buckets is not None else [source]
        for number, name in enumerate(names, start=1):
            if name in parts or (buckets is not None and name in sources):
                raise ConfigError(f"two sources would be called {name}", hint=f"rename the source {name}")
            cut_by = buckets.model_dump(mode="json", exclude={"figures"}) if buckets else {}
            described = {"of": source, "number": number, **cut_by} if buckets else None
            parts[name] = {"source": name, BUCKET: described} if described else {"source": name}
    return parts


def _remove_others(layout: RunLayout, sources: list[str], parts: dict[str, dict[str, Any]]) -> None:
    """Removes what an earlier recipe cut otherwise: a temperature would draw the same documents twice."""
    for folder in sorted(path for path in layout.tokens_root.glob("*") if is_artifact(path)):
        manifest = read_manifest(folder)
        if folder.name not in parts and (bucket_of(manifest) or folder.name) in sources:
            warn(f"{folder} is removed: tokens.buckets cuts that source in another way now")
            with storage_errors("remove", folder):
                shutil.rmtree(folder)


def _slices(
    layout: RunLayout, works: dict[str, Path], parts: dict[str, dict[str, Any]], config: TokensConfig,
    conversations: Collection[str],
) -> list[Slice]:  # fmt: skip
    """The units of work of the data sets that are to be made; those of buckets read the documents once a bucket."""
    plain = {name: work for name, work in works.items() if BUCKET not in parts[name]}
    slices = slices_of(layout.documents, plain, conversations) if plain else []
    for source, buckets in config.buckets.items():
        if not any(name in works for name in bucket_names(source, buckets.count)):
            continue
        for bucket in cut(layout.documents, source, buckets):
            if bucket.name in works:
                pieces = slices_of(layout.documents, {source: works[bucket.name]}, conversations)
                slices += [piece._replace(bucket=bucket) for piece in pieces]
    return slices


def _writer(layout: RunLayout, source: str, described: dict[str, Any], config: TokensConfig) -> ArtifactWriter:
    here = layout.tokens(source)
    parents: list[Parent] = [
        parent_of(here, layout.documents, "documents"), parent_of(here, layout.tokenizer, "tokenizer")
    ]  # fmt: skip
    buckets = config.buckets.get(described[BUCKET]["of"]) if BUCKET in described else None
    if buckets is not None and buckets.figures is not None:
        check_figures(Path(buckets.figures))
        parents.append(parent_of(here, buckets.figures, "figures"))
    return ArtifactWriter(here, kind="tokens", name=source, producer=PRODUCER, config=described, parents=parents)


def _encode_all(layout: RunLayout, slices: list[Slice], config: TokensConfig) -> str:
    """Encodes the slices that no earlier run has finished; returns why the fast encoder was not used, if it was not.

    One slice on which it is not exact is enough for all to be encoded by the reference.
    """
    tokenizer = str(layout.tokenizer / "tokenizer.json")
    todo = [piece for piece in slices if not Path(piece.target).exists()]
    why_not = "tokens.encoder is reference" if config.encoder == "reference" else ""
    if todo and not why_not:
        why_not = check_fast(tokenizer, layout.documents)
    _run(tokenizer, todo, len(slices), config, use_fast=not why_not)
    if why_not:
        return why_not
    problems = [problem for piece in slices if (problem := counters_of(piece.target)["problem"])]
    if not problems:
        return ""
    warn(f"{problems[0]}; all documents are encoded by the reference")
    again = [piece for piece in slices if not counters_of(piece.target)["encoder"].startswith("tokenizers ")]
    for piece in again:
        Path(piece.target).unlink()
    _run(tokenizer, again, len(slices), config, use_fast=False)
    return problems[0]


def _run(tokenizer: str, todo: list[Slice], total: int, config: TokensConfig, *, use_fast: bool) -> None:
    with Workers(workers_for(config.workers), "tokens.workers") as workers:
        calls = [(tokenizer, piece, use_fast) for piece in todo]
        workers.run("tokenize", encode_slice, calls, done=total - len(todo))


def _encoding(slices: list[Path], why_not: str) -> dict[str, Any]:
    """How a source's documents were encoded: documents by encoder, how many were compared, and what went wrong."""
    counted = [counters_of(path) for path in slices]
    names = sorted({each["encoder"] for each in counted})
    return {
        "documents_by_encoder": {n: sum(e["documents"] for e in counted if e["encoder"] == n) for n in names},
        "documents_by_reference": sum(each["by_reference"] for each in counted),
        "documents_compared": sum(each["compared"] for each in counted),
        "fast_encoder_not_used": why_not,
    }  # fmt: skip


def read_encoding(folder: Path) -> dict[str, Any]:
    """How a data set was encoded; empty when that was not kept."""
    try:
        return json.loads((folder / ENCODING).read_bytes())
    except (OSError, ValueError):
        return {}
