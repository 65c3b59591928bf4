"""`headwater data tokenize`: documents to Megatron token files, one data set a source.

Documents are encoded in parallel, a slice of one document file at a time; finished slices survive a kill. Then each
source's files are written in the order of the documents (by id), so the number of workers changes nothing.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.documents import SIDECAR, SPLITS
from headwater.core.errors import DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, Parent, parent_of, read_manifest
from headwater.core.storage import storage_errors
from headwater.core.tokens import END_OF_TEXT, MegatronWriter, token_dtype
from headwater.data import PRODUCER
from headwater.data.arrow import column, compute, values
from headwater.data.config import TokensConfig
from headwater.data.engines.processes import Workers, workers_for
from headwater.data.outcome import Outcome

Slice = tuple[str, str, int, str]  # source, document file, row group, encoded file
_COLUMNS = ["id", "url", "split", "text", "text_bytes"]


def make_tokens(layout: RunLayout, config: TokensConfig) -> dict[str, Outcome]:
    """Makes RUN/tokens/<source> for every source of RUN/documents.

    Raises:
        DataError: A source has no document for training, or a worker was lost.
        ManifestError: The documents or the tokenizer are missing or half-written.
        StorageError: The disk refused.
    """
    sources = [s for s, n in read_manifest(layout.documents).counters["sources"].items() if n["documents_out"]]
    writers = {source: _writer(layout, source) for source in sources}
    finished = {source: manifest for source, writer in writers.items() if (manifest := writer.up_to_date())}
    slices = {s: _slices(layout.documents, s, writer.begin()) for s, writer in writers.items() if s not in finished}
    tokenizer = str(layout.tokenizer / "tokenizer.json")
    _encode_all(tokenizer, [piece for pieces in slices.values() for piece in pieces], config)
    outcomes: dict[str, Outcome] = {}
    for source, writer in writers.items():
        if source in finished:
            outcomes[source] = Outcome(finished[source], False, finished[source].counters)
            continue
        result = _write(layout.tokens(source), [Path(piece[3]) for piece in slices[source]], tokenizer)
        if not result["train_tokens"]:
            raise DataError(f"the source {source} has no document for training", found="validation documents only",
                            hint="set a smaller documents.validation_ratio, or collect more")  # fmt: skip
        outcomes[source] = Outcome(writer.commit(result), True, result)
    return outcomes


def _writer(layout: RunLayout, source: str) -> ArtifactWriter:
    here = layout.tokens(source)
    parents: list[Parent] = [
        parent_of(here, layout.documents, "documents"), parent_of(here, layout.tokenizer, "tokenizer")
    ]  # fmt: skip
    return ArtifactWriter(
        here, kind="tokens", name=source, producer=PRODUCER, config={"source": source}, parents=parents
    )


def _slices(documents: Path, source: str, work: Path) -> list[Slice]:
    """Units of work that hold this source, in order."""
    found: list[Slice] = []
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                sources = compute.unique(file.read_row_group(group, columns=["source"]).column("source")).to_pylist()
                if source in sources:
                    found.append((source, str(path), group, str(work / f"{path.stem}-{group:05d}.arrow")))
    return found


def _encode_all(tokenizer: str, slices: list[Slice], config: TokensConfig) -> None:
    """Encodes the slices that no earlier run has finished."""
    todo = [piece for piece in slices if not Path(piece[3]).exists()]
    with Workers(workers_for(config.workers), "tokens.workers") as workers:
        calls = [(tokenizer, piece) for piece in todo]
        workers.run("tokenize", _encode, calls, done=len(slices) - len(todo))


def _encode(tokenizer: str, piece: Slice) -> None:
    """Encodes one row group's documents of a source into an Arrow file: the sidecar's columns and the tokens."""
    source, path, group, target = piece
    with storage_errors("write", target):
        rows = pq.ParquetFile(path).read_row_group(group, columns=[*_COLUMNS, "source"])
        rows = rows.filter(compute.equal(rows.column("source"), source))
        tokens, lengths = encode(_load(tokenizer), values(rows, "text"))
        lists = pa.LargeListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int64()), pa.array(tokens))
        table = rows.select(["id", "url", "split", "text_bytes"]).append_column("tokens", lists)
        temporary = Path(f"{target}.{os.getpid()}.tmp")
        try:
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
                out.write_table(table)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def encode(tokenizer: Any, texts: list[str]) -> tuple[np.ndarray, list[int]]:
    """The tokens of several texts laid end to end, each ending with the end-of-text token; and their numbers.

    A text that holds the end-of-text token's own characters has them encoded as plain text.
    """
    end = tokenizer.token_to_id(END_OF_TEXT)
    dtype = token_dtype(tokenizer.get_vocab_size())
    pieces = [np.append(np.asarray(found.ids, dtype=dtype), dtype(end)) for found in tokenizer.encode_batch_fast(texts)]
    flat = np.concatenate(pieces) if pieces else np.empty(0, dtype)
    return flat, [len(piece) for piece in pieces]


@lru_cache(maxsize=1)
def _load(path: str) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True  # "<|endoftext|>" in a document is text, not the end of it
    return tokenizer


def _write(folder: Path, slices: list[Path], tokenizer: str) -> dict[str, Any]:
    """Writes {train,validation}.{bin,idx} and documents.parquet; returns what was counted."""
    vocab_size = _load(tokenizer).get_vocab_size()
    writers = {split: MegatronWriter(folder / split, vocab_size) for split in SPLITS}
    sequences, starts = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    sidecar: dict[str, list[Any]] = {name: [] for name in SIDECAR.names}
    for path in slices:
        with storage_errors("read", path), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        for batch in table.to_batches():
            lists = column(batch, "tokens")
            flat, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
            columns = (batch.column(name).to_pylist() for name in ("id", "url", "split", "text_bytes"))
            for place, (identifier, url, split, text_bytes) in enumerate(zip(*columns, strict=True)):
                tokens = flat[offsets[place] : offsets[place + 1]]
                writers[split].add(tokens)
                row = (identifier, url, split, sequences[split], starts[split], len(tokens), text_bytes)
                for name, value in zip(SIDECAR.names, row, strict=True):
                    sidecar[name].append(value)
                sequences[split] += 1
                starts[split] += len(tokens)
    for writer in writers.values():
        writer.close()
    with storage_errors("write", folder / "documents.parquet"):
        pq.write_table(
            pa.table(sidecar, schema=SIDECAR), folder / "documents.parquet", compression="zstd", row_group_size=10_000
        )
    total, size = sum(starts.values()), sum(sidecar["text_bytes"])
    return {
        "documents": sum(sequences.values()), "train_documents": sequences["train"], "train_tokens": starts["train"],
        "validation_documents": sequences["validation"], "validation_tokens": starts["validation"],
        "text_bytes": size, "bytes_per_token": round(size / max(total, 1), 3), "vocab_size": vocab_size,
    }  # fmt: skip
