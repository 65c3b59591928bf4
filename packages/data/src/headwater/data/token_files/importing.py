"""`headwater data import-tokens`: token files of other programs become the tokens of a source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.console import Progress, progress
from headwater.core.documents import SIDECAR, SPLITS, document_id, split_of
from headwater.core.errors import ConfigError, DataError
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, is_artifact, parent_of, read_manifest
from headwater.core.storage import file_sha256, storage_errors
from headwater.core.tokenizer import Vocabulary, read_vocabulary
from headwater.core.tokens import MegatronWriter, write_index
from headwater.data import PRODUCER
from headwater.data.arrow import table
from headwater.data.outcome import Outcome
from headwater.data.token_files.files import I64, TokenFile
from headwater.data.token_files.text_sizes import TextSizes
from headwater.data.tokens.write import SidecarWriter, counted

BLOCK_TOKENS = 1 << 22
"""So many tokens, or one document, are looked at at once."""


@dataclass(frozen=True)
class Wanted:
    """What is imported, and how.

    Attributes:
        format: Of `files.FORMATS`.
        files: The training documents.
        validation: Held-out documents.
        validation_ratio: Share of the documents of `files` to hold out, by the hash of their id; not with `validation`.
        append_end: Whether documents that do not end with the end-of-text token get one.
        place: "copy" writes tokens of the narrowest type; "hardlink" and "symlink" make the file itself train.bin.
    """

    format: str
    files: Sequence[TokenFile]
    validation: Sequence[TokenFile] = ()
    validation_ratio: float = 0.0
    append_end: bool = False
    place: str = "copy"


def import_tokens(layout: RunLayout, source: str, wanted: Wanted) -> Outcome:
    """Makes RUN/tokens/<source> from token files.

    Every token is looked at: ids that the tokenizer does not have, and documents without an end, are refused with their
    place.

    Raises:
        ConfigError: The source has tokens made from documents; or the files cannot be used where they are.
        DataError: Tokens that are not of this tokenizer.
        ManifestError: The run has no tokenizer.
        StorageError: The disk refused.
    """
    folder = layout.tokens(source)
    vocabulary = read_vocabulary(layout.tokenizer)
    _refuse_other_tokens(folder, source)
    if wanted.place != "copy":
        _refuse_in_place(wanted)
    writer = ArtifactWriter(folder, kind="tokens", name=source, producer=PRODUCER, config=_config(source, wanted),
                            parents=[parent_of(folder, layout.tokenizer, "tokenizer")])  # fmt: skip
    if (finished := writer.up_to_date()) is not None:
        return Outcome(finished, False, finished.counters)
    writer.begin()
    for split in SPLITS:  # a link of an import that was interrupted must not be written through
        (folder / f"{split}.bin").unlink(missing_ok=True)
    total = sum(len(file.tokens) for file in (*wanted.files, *wanted.validation))
    with progress(total, "import-tokens") as bar:
        result = _Import(folder, source, wanted, vocabulary, TextSizes(layout.tokenizer, vocabulary), bar).run()
    if not result["train_tokens"]:
        raise DataError(f"the source {source} has no document for training", found="validation documents only",
                        hint="set a smaller --validation-ratio")  # fmt: skip
    return Outcome(writer.commit(result), True, result)


def _refuse_other_tokens(folder: Path, source: str) -> None:
    if is_artifact(folder) and any(parent.kind == "documents" for parent in read_manifest(folder).parents):
        raise ConfigError(f"the source {source} has tokens already, made from documents", found=folder,
                          hint="choose another --source")  # fmt: skip


def _refuse_in_place(wanted: Wanted) -> None:
    problem = (
        f"{len(wanted.files)} files" if len(wanted.files) != 1
        else "--validation-ratio, which takes documents out of the file" if wanted.validation_ratio
        else "--append-end-of-text, which changes the file" if wanted.append_end
        else None
    )  # fmt: skip
    if problem:
        raise ConfigError(f"--place {wanted.place} makes the file itself the tokens of the source", found=problem,
                          expected="one file, as it is", hint="use --place copy")  # fmt: skip


def _config(source: str, wanted: Wanted) -> dict[str, Any]:
    def hashes(files: Sequence[TokenFile]) -> dict[str, str]:
        return {path.name: file_sha256(path) for file in files for path in (file.path, *file.beside)}

    with storage_errors("read", wanted.files[0].path.parent):
        return {
            "source": source, "format": wanted.format, "files": hashes(wanted.files),
            "validation": hashes(wanted.validation), "validation_ratio": wanted.validation_ratio,
            "append_end": wanted.append_end, "narrow": wanted.place == "copy",
        }  # fmt: skip


class _Import:
    """One import: blocks of documents are checked, and go to their split's writer and to the sidecar."""

    def __init__(
        self, folder: Path, source: str, wanted: Wanted, vocabulary: Vocabulary, sizes: TextSizes, bar: Progress
    ) -> None:
        self._folder, self._source, self._wanted = folder, source, wanted
        self._vocabulary, self._sizes, self._bar = vocabulary, sizes, bar
        self._sequences: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self._tokens: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self._text_bytes = self._empty = 0

    def run(self) -> dict[str, Any]:
        """Writes all files of the artifact; returns what was counted."""
        in_place = self._wanted.place != "copy"
        lengths: list[I64] = []
        parts = (("train", self._wanted.files), ("validation", self._wanted.validation))
        with (
            SidecarWriter(self._folder / "documents.parquet") as sidecar,
            MegatronWriter(self._folder / "train", self._vocabulary.size) as train,
            MegatronWriter(self._folder / "validation", self._vocabulary.size) as held_out,
        ):
            writers = {"train": train, "validation": held_out}
            for split, file in ((split, file) for split, files in parts for file in files):
                for block in self._blocks(file):
                    stays = in_place and split == "train"
                    if stays:
                        lengths.append(block.lengths)
                    sidecar.add(self._rows(block, split, None if stays else writers))
        if in_place:
            self._link(self._wanted.files[0], np.concatenate(lengths))
        return {
            **counted(self._sequences, self._tokens, self._text_bytes, self._vocabulary.size),
            "empty_documents": self._empty,
        }

    def _blocks(self, file: TokenFile) -> Iterator[_Block]:
        """The documents of a file that are not empty, with their end, a block at a time."""
        end, first, start = self._vocabulary.end_id, 0, 0
        while first < len(file.ends):
            stop = max(first + 1, int(np.searchsorted(file.ends, start + BLOCK_TOKENS, side="right")))
            ends = file.ends[first:stop]
            tokens = np.asarray(file.tokens[start : int(ends[-1])])
            self._require_known(file, tokens, start)
            lengths = np.diff(ends, prepend=start)
            numbers = np.flatnonzero(lengths)
            self._empty += len(lengths) - len(numbers)
            lengths = lengths[numbers]
            places = np.cumsum(lengths)
            open_ = np.flatnonzero(tokens[places - 1] != end)
            if len(open_):
                if not self._wanted.append_end:
                    self._refuse_open(file, int(numbers[open_[0]]) + first, int(tokens[places[open_[0]] - 1]))
                tokens = np.insert(tokens.astype(np.int64), places[open_], end)
                lengths[open_] += 1
            if len(numbers):
                yield _Block(file.name, numbers + first, tokens, lengths)
            self._bar.advance(int(ends[-1]) - start, file.name)
            first, start = stop, int(ends[-1])

    def _require_known(self, file: TokenFile, tokens: npt.NDArray[Any], start: int) -> None:
        size = self._vocabulary.size
        if len(tokens) and (tokens.min() < 0 or tokens.max() >= size):
            place = int(np.flatnonzero((tokens < 0) | (tokens >= size))[0])
            raise DataError(
                f"{file.path} holds tokens that the run's tokenizer does not have",
                found=f"token id {int(tokens[place])} at position {start + place}", expected=f"ids below {size}",
                hint="import the tokenizer that made them: headwater import tokenizer FOLDER --run RUN",
            )  # fmt: skip

    def _refuse_open(self, file: TokenFile, number: int, last: int) -> None:
        raise DataError(
            f"{file.path} has documents that do not end with {self._vocabulary.end_of_text}",
            found=f"document {number} ends with token id {last}", expected=f"token id {self._vocabulary.end_id}",
            hint="add --append-end-of-text (with --place copy), or import the tokenizer that made them",
        )  # fmt: skip

    def _rows(self, block: _Block, split: str, writers: dict[str, MegatronWriter] | None) -> Any:
        """The sidecar's rows of a block, whose tokens go to the writers, if there are any."""
        starts = np.cumsum(block.lengths) - block.lengths
        urls = [f"{self._wanted.format}:{block.name}#{number}" for number in block.numbers]
        ids = self._ids(block, starts, urls)
        ratio = self._wanted.validation_ratio
        splits = [split_of(identifier, ratio) if ratio else split for identifier in ids]
        sequence, start = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
        for name in SPLITS:
            mine = np.array([each == name for each in splits])
            lengths = block.lengths[mine]
            sequence[mine] = self._sequences[name] + np.arange(len(lengths))
            start[mine] = self._tokens[name] + np.cumsum(lengths) - lengths
            self._sequences[name] += len(lengths)
            self._tokens[name] += int(lengths.sum())
            if len(lengths) and writers is not None:
                tokens = block.tokens if len(lengths) == len(ids) else block.tokens[np.repeat(mine, block.lengths)]
                writers[name].add_documents(tokens, lengths)
        text_bytes = self._sizes.of(block.tokens, starts)
        self._text_bytes += int(text_bytes.sum())
        columns = {"id": ids, "url": urls, "split": splits, "sequence": sequence, "token_start": start,
                   "token_count": block.lengths, "text_bytes": text_bytes}  # fmt: skip
        return table({name: columns[name] for name in SIDECAR.names}, SIDECAR)

    def _ids(self, block: _Block, starts: I64, urls: list[str]) -> list[str]:
        """Ids of documents by their tokens without the end, in whichever type they are stored."""
        content = block.tokens.astype("<i4").data.cast("B")
        bounds = zip((starts * 4).tolist(), ((starts + block.lengths - 1) * 4).tolist(), strict=True)
        return [
            document_id(self._source, url, hashlib.sha256(content[start:stop]).hexdigest())
            for url, (start, stop) in zip(urls, bounds, strict=True)
        ]

    def _link(self, file: TokenFile, lengths: I64) -> None:
        """Puts the file itself in the place of train.bin, which nothing was written to."""
        target = self._folder / "train.bin"
        with storage_errors(self._wanted.place, target):
            target.unlink()
            if self._wanted.place == "hardlink":
                os.link(file.path.resolve(), target)
            else:
                target.symlink_to(file.path.resolve())
        kind = np.int32 if file.tokens.dtype == np.uint32 else file.tokens.dtype.type  # the same bits below 2^31
        write_index(self._folder / "train", kind, lengths)


@dataclass(frozen=True)
class _Block:
    """Documents of a file: its name, their numbers in it, their tokens one after another, and how many each has."""

    name: str
    numbers: I64
    tokens: npt.NDArray[Any]
    lengths: I64
