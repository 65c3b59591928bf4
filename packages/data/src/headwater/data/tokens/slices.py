"""Encoding in units of work: a run of row groups of one document file, by whichever encoder gives the right tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.documents import SPLITS
from headwater.core.storage import storage_errors
from headwater.core.tokens import token_dtype
from headwater.data.arrow import column, compute, table
from headwater.data.tokens.buckets import Bucket, inside
from headwater.data.tokens.chat import Chat
from headwater.data.tokens.encoder import Fast, NotCovered, Reference, text_buffers
from headwater.data.tokens.exact import Exact
from headwater.data.tokens.gate import adversarial, difference, differs, of_documents
from headwater.data.tokens.lay_out import Pieces, lay_out
from headwater.data.tokens.sample import one_source
from headwater.data.tokens.write import split_file

TEXT_BYTES = 32_000_000  # of one slice, about
CALL_BYTES = 8_000_000  # of text encoded at once, about
SAMPLED = "000"  # of documents whose id (a hash) ends so, one in 4,096, the tokens are compared with the reference's
_COLUMNS = ["id", "url", "split", "text_bytes", "text"]


class Slice(NamedTuple):
    """One unit of work: a source's documents in the row groups [first, stop) of a file; and where they go, encoded.

    `chat` says that they are conversations; with a `bucket`, only its documents are meant.
    """

    source: str
    documents: str
    first: int
    stop: int
    target: str
    chat: bool = False
    bucket: Bucket | None = None

    @property
    def name(self) -> str:
        """Of the token data set that it is a part of."""
        return self.bucket.name if self.bucket is not None else self.source


def slices_of(documents: Path, works: dict[str, Path], conversations: Collection[str] = ()) -> list[Slice]:
    """The units of work of several sources, in the order of the documents.

    Args:
        documents: The documents' folder.
        works: Source → the folder for its encoded slices.
        conversations: The sources that hold conversations.
    """
    found: list[Slice] = []
    with storage_errors("read", documents):
        for path in sorted(documents.glob("part-*.parquet")):
            with pq.ParquetFile(path) as file:
                found += _slices_of_file(file, path, works)
    return [piece._replace(chat=piece.source in conversations) for piece in found]


def _slices_of_file(file: pq.ParquetFile, path: Path, works: dict[str, Path]) -> list[Slice]:
    metadata: Any = file.metadata
    text = metadata.schema.names.index("text")
    open_slices: dict[str, tuple[Slice, int]] = {}
    found: list[Slice] = []
    for group in range(file.num_row_groups):
        only = one_source(file, group)
        sources = [only] if only is not None else _sources(file, group)
        size = metadata.row_group(group).column(text).total_uncompressed_size
        for source in sorted(set(sources) & set(works)):
            last, taken = open_slices.get(source, (None, 0))
            if last is None or last.stop != group or taken + size > TEXT_BYTES:
                if last is not None:
                    found.append(last)
                last, taken = (
                    Slice(source, str(path), group, group, str(works[source] / f"{path.stem}-{group:05d}.arrow")),
                    0,
                )
            open_slices[source] = (last._replace(stop=group + 1), taken + size)
    return found + [last for last, _ in open_slices.values()]


def _sources(file: pq.ParquetFile, group: int) -> list[str]:
    return compute.unique(file.read_row_group(group, columns=["source"]).column("source")).to_pylist()


def check_fast(tokenizer: str, documents: Path) -> str:
    """Why the fast encoder is not to be used here; empty when it gives the reference's tokens on every text tried."""
    try:
        exact = _exact(tokenizer)
    except (NotCovered, ValueError) as error:
        return str(error)
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"it cannot read the tokenizer: {error}"
    names = tuple(token.content for token in _reference(tokenizer).tokenizer.get_added_tokens_decoder().values())
    return difference(exact, _reference(tokenizer), [*adversarial(names), *of_documents(documents)])


def encode_slice(tokenizer: str, piece: Slice, use_fast: bool) -> None:
    """Encodes a slice: tokens into one raw file a split, the sidecar's columns and counters into an Arrow file.

    When the fast encoder gives other tokens than the reference where they are compared, or tokens that do not spell a
    document, the slice is encoded by the reference, and its counters say so.
    """
    target = Path(piece.target)
    use_fast = use_fast and not piece.chat
    problem = _attempt(tokenizer, piece, target, fast=True) if use_fast else ""
    if problem or not use_fast:
        _attempt(tokenizer, piece, target, fast=False, problem=problem)


def counters_of(path: str | Path) -> dict[str, Any]:
    """What an encoded slice says of how it was made."""
    with pa.memory_map(str(path)) as stream, pa.ipc.open_file(stream) as reader:
        return json.loads((reader.schema.metadata or {})[b"counters"])


def _attempt(tokenizer: str, piece: Slice, target: Path, *, fast: bool, problem: str = "") -> str:
    """Encodes a slice by one encoder; returns what was wrong with its tokens, and then leaves nothing."""
    suffix = f".{os.getpid()}.tmp"
    made = {split: split_file(target, split) for split in SPLITS}
    temporary = {path: Path(f"{path}{suffix}") for path in (*made.values(), target)}
    reference = _chat(tokenizer) if piece.chat else _reference(tokenizer)
    encoder = _exact(tokenizer) if fast else reference
    before = getattr(encoder, "rerouted", 0)
    compared, parts = 0, list[pa.Table]()
    columns = [*_COLUMNS, "verdicts"] if piece.bucket is not None else _COLUMNS
    try:
        with storage_errors("write", target), ExitStack() as opened:
            streams = {split: opened.enter_context(open(temporary[path], "wb")) for split, path in made.items()}
            file = opened.enter_context(pq.ParquetFile(piece.documents))
            for groups in _together(file, piece):
                rows = file.read_row_groups(groups, columns=[*columns, "source"])
                if any(one_source(file, group) != piece.source for group in groups):
                    rows = rows.filter(compute.equal(rows.column("source"), piece.source))
                if piece.bucket is not None:
                    rows = rows.filter(inside(piece.bucket, rows))
                counts = np.zeros(len(rows), np.int64)
                for split, stream in streams.items():
                    mine = compute.equal(rows.column("split"), split)
                    part = rows.filter(mine)
                    if not len(part):
                        continue
                    encoded = _encode(part, encoder, reference)
                    if isinstance(encoded, str):
                        return encoded
                    tokens, lengths, looked_at = encoded
                    stream.write(tokens)
                    counts[np.asarray(mine)] = lengths
                    compared += looked_at
                kept = {name: rows.column(name) for name in ("id", "url", "split", "text_bytes")}
                parts.append(table({**kept, "token_count": pa.array(counts)}))
            counters = {
                "encoder": encoder.name, "documents": sum(map(len, parts)), "compared": compared,
                "by_reference": getattr(encoder, "rerouted", 0) - before, "problem": problem,
            }  # fmt: skip
            whole: Any = pa.concat_tables(parts).replace_schema_metadata({"counters": json.dumps(counters)})
            with pa.OSFile(str(temporary[target]), "wb") as sink, pa.ipc.new_file(sink, whole.schema) as out:
                out.write_table(whole)
        for path in (*made.values(), target):  # the Arrow file last: it says that the slice is whole
            temporary[path].replace(path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return ""


def _together(file: pq.ParquetFile, piece: Slice) -> Iterator[list[int]]:
    """A slice's row groups, as many at a time as the fast encoder needs so that a call's own cost does not show."""
    metadata: Any = file.metadata
    text = metadata.schema.names.index("text")
    groups, size = list[int](), 0
    for group in range(piece.first, piece.stop):
        groups.append(group)
        size += metadata.row_group(group).column(text).total_uncompressed_size
        if size >= CALL_BYTES:
            yield groups
            groups, size = [], 0
    if groups:
        yield groups


def _encode(rows: pa.Table, encoder: Exact | Reference, reference: Reference) -> tuple[Any, Any, int] | str:
    """Tokens as they lie in the file, each document's number of them, and how many documents were compared."""
    texts = column(rows, "text")
    texts = texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()  # combining copies, also one chunk
    dtype = token_dtype(reference.vocab_size)
    if isinstance(encoder, Reference):
        ids = encoder.encode(texts)
        return np.insert(ids.flat.astype(dtype), ids.offsets[1:], reference.end), np.diff(ids.offsets) + 1, 0
    try:
        ids = encoder.encode(texts)
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"{encoder.name} fails: {error}"[:300]
    offsets, data = text_buffers(texts)
    out = np.empty(len(ids.flat) + len(texts), dtype)
    wrong = lay_out(ids.flat, ids.offsets, reference.end, data, offsets, _pieces(encoder.fast), out)
    if wrong >= 0:
        return f"{encoder.name}: the tokens of {rows.column('id')[wrong]} do not spell it"
    looked_at = np.flatnonzero(compute.ends_with(rows.column("id"), SAMPLED).to_numpy())
    for place in looked_at:
        one = texts.slice(int(place), 1)
        mine = ids.flat[ids.offsets[place] : ids.offsets[place + 1]]
        if differs(ids._replace(flat=mine, offsets=np.array([0, len(mine)])), reference.encode(one)) is not None:
            return f"{encoder.name}: other tokens for {rows.column('id')[int(place)]}"
    return out, np.diff(ids.offsets) + 1, len(looked_at)


@lru_cache(maxsize=1)
def _reference(path: str) -> Reference:
    return Reference(path)


@lru_cache(maxsize=1)
def _chat(path: str) -> Chat:
    return Chat(path)


@lru_cache(maxsize=1)
def _exact(path: str) -> Exact:
    exact = Exact(Fast(path), _reference(path))
    _pieces(exact.fast)
    return exact


@lru_cache(maxsize=1)
def _pieces(fast: Fast) -> Pieces:
    return Pieces(fast.pieces)
