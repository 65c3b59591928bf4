"""Token files of other programs: Megatron's `.bin/.idx`, and the `.ds` of datatrove and nanotron.

Both are tokens laid end to end, and a second file that says where documents end. Neither is copied to be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError, DataError
from headwater.core.storage import storage_errors
from headwater.core.tokens import MegatronReader

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenFile:
    """The tokens of many documents, one after another.

    Attributes:
        path: The file with the tokens.
        name: What its documents are known by.
        beside: Further files that belong to it.
        tokens: All tokens, shape [tokens], memory-mapped.
        ends: Where each document ends, in tokens, shape [documents].
    """

    path: Path
    name: str
    beside: tuple[Path, ...]
    tokens: npt.NDArray[Any]
    ends: I64


def open_megatron(path: Path) -> TokenFile:
    """Opens `<prefix>.bin` and `<prefix>.idx` (Megatron-LM, `megatron/core/datasets/indexed_dataset.py`).

    Args:
        path: The prefix, or either file.

    Raises:
        DataError: A file is missing, is none of Megatron's, was cut, or is laid out in another way.
    """
    prefix = path.with_name(path.name.removesuffix(".bin").removesuffix(".idx"))
    index, data = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("idx", "bin"))
    for file in (data, index):
        if not file.is_file():
            raise DataError(f"token file {file} is missing", expected="NAME.bin and NAME.idx beside it")
    reader = MegatronReader(prefix)
    ends = np.cumsum(reader.lengths, dtype=np.int64)
    if not np.array_equal(reader.starts, ends - reader.lengths):
        raise DataError(f"{prefix}.idx does not lay its sequences end to end", hint="write it again with Megatron")
    boundaries = np.asarray(reader.documents, dtype=np.int64)
    if not len(boundaries) or boundaries[0] != 0 or boundaries[-1] != len(ends) or (np.diff(boundaries) < 0).any():
        raise DataError(f"{prefix}.idx does not say which sequences are whose", found=f"boundaries {boundaries[:5]} …",
                        expected=f"from 0 to {len(ends)}, ascending")  # fmt: skip
    # A document may be several sequences (Megatron --split-sentences).
    ends = np.concatenate([np.zeros(1, np.int64), ends])[boundaries[1:]]
    return TokenFile(data, prefix.name, (index,), reader.tokens, ends)


def open_nanotron(path: Path) -> TokenFile:
    """Opens `<name>.ds`, `<name>.ds.index` and, where there is one, `<name>.ds.metadata` (datatrove, `TokenizedFile`).

    The tokens are u16 or u32, little-endian; the index is the end of every document in tokens, u64.

    Raises:
        DataError: A file is missing, was cut, or does not fit the others; or there is a loss mask, which training
            does not follow.
    """
    index, mask, metadata = (path.with_name(f"{path.name}.{kind}") for kind in ("index", "loss", "metadata"))
    for file in (path, index):
        if not file.is_file():
            raise DataError(f"token file {file} is missing", expected="NAME.ds and NAME.ds.index beside it")
    if mask.is_file():
        raise DataError(f"{mask} leaves tokens out of the loss, and training does not", hint="write it without a mask")
    size, entries = path.stat().st_size, index.stat().st_size
    if not entries or entries % 8:
        raise DataError(f"{index} is no index of documents, or was cut", found=f"{entries} bytes",
                        expected="8 bytes a document")  # fmt: skip
    with storage_errors("read", index):
        ends = np.fromfile(index, dtype="<u8").astype(np.int64)
    if ends[0] < 0 or (np.diff(ends) < 0).any():
        raise DataError(f"{index} is no index of documents: its numbers do not ascend")
    count = int(ends[-1])
    width = next((width for width in (2, 4) if count * width == size), None)
    if width is None:
        raise DataError(f"{path} does not have the tokens that its index ends with, or was cut", found=f"{size} bytes",
                        expected=f"{count * 2} or {count * 4} bytes")  # fmt: skip
    named = _named_width(metadata)
    if named not in (None, width):
        raise DataError(f"{metadata} gives tokens another width than {path} has", found=f"{named} bytes",
                        expected=f"{width} bytes")  # fmt: skip
    tokens = np.memmap(path, dtype=f"<u{width}", mode="r") if count else np.empty(0, dtype=f"<u{width}")
    return TokenFile(path, path.name.removesuffix(".ds"), (index,), np.asarray(tokens), ends)


def _named_width(metadata: Path) -> int | None:
    """Bytes of a token by a metadata file, whose first line ends with them: `gpt2|2`; none when it does not say."""
    if not metadata.is_file():
        return None
    with storage_errors("read", metadata):
        lines = metadata.read_text(encoding="utf-8", errors="replace").splitlines()
    text = lines[0].rpartition("|")[2] if lines else ""
    return int(text) if text.isascii() and text.isdigit() else None


FORMATS = {"megatron": (open_megatron, ".idx"), "nanotron": (open_nanotron, ".ds")}
"""Format → how a file is opened, and what its files end with."""


def open_all(format_: str, paths: Iterable[Path]) -> list[TokenFile]:
    """Opens files, and all files of the format in folders, in the order given and by name.

    Raises:
        ConfigError: A folder has none, or two files have one name, by which documents are told apart.
        DataError: As the format's function.
    """
    opener, ending = FORMATS[format_]
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob(f"*{ending}")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path} has no {format_} files", expected=f"files that end with {ending}")
        found += inside
    files = [opener(path) for path in found]
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            twice = ", ".join(str(file.path) for file in files if file.name == name)
            raise ConfigError(f"two files are called {name}", found=twice,
                              hint="import them as two sources, or rename one")  # fmt: skip
    return files
