r"""Megatron-LM indexed token files: `.bin` holds the tokens, `.idx` where each sequence starts.

Layout of `.idx` (Megatron-LM, `megatron/core/datasets/indexed_dataset.py`), little-endian: magic `MMIDIDX\0\0`,
version u64 = 1, dtype code u8, number of sequences u64, number of document boundaries u64, sequence lengths i32,
byte offsets i64, document boundaries i64. Here one sequence is one document.
"""

from __future__ import annotations

import shutil
import struct
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import DataError
from headwater.core.storage import atomic_write, storage_errors

END_OF_TEXT = "<|endoftext|>"
"""Ends every document. Every tokenizer that Headwater makes has it."""
END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")
"""What ends a document in tokenizers from elsewhere, in the order in which it is looked for."""
PAD = "<|pad|>"
UNKNOWN = "<|unk|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD)
"""What a tokenizer has unless a recipe says otherwise; kinds that cannot spell every text add `UNKNOWN`."""
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
"""Begin and end of a turn of a conversation (ChatML), for tokenizers that reserve them."""
MASK = "<|mask|>"
"""Stands for a masked token; for tokenizers that reserve it, as those below."""
MIDDLE_TOKENS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
"""Before prefix, suffix and middle of a text whose middle is to be filled in."""
SENTINEL = "<|extra_{}|>"
"""Stands for the span of a number, from 0, that was taken out of a text."""
MODE_TOKENS = ("<|R|>", "<|S|>", "<|X|>")
"""Before a text with regular spans taken out, with its end, and with extreme spans (UL2)."""

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<QBQQ")
_DTYPES: dict[int, type[np.number[Any]]] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    8: np.uint16,
}


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.int32]:
    """The narrowest type that Megatron uses for a vocabulary of this size."""
    return np.uint16 if vocab_size <= 65535 else np.int32


def _files(prefix: Path) -> tuple[Path, Path]:
    """`.idx` and `.bin` of a prefix, which may have a dot in its name."""
    return prefix.with_name(f"{prefix.name}.idx"), prefix.with_name(f"{prefix.name}.bin")


def write_index(prefix: str | Path, dtype: type[np.number[Any]], lengths: npt.NDArray[Any]) -> None:
    """Writes `<prefix>.idx` for tokens that are in `<prefix>.bin` already.

    Args:
        prefix: Path without ending.
        dtype: The tokens' type.
        lengths: Tokens of each document, which are one sequence each, shape [documents].
    """
    lengths = lengths.astype("<i4")
    ends = np.cumsum(lengths.astype("<i8") * np.dtype(dtype).itemsize)
    pointers = np.concatenate([np.zeros(1, dtype="<i8"), ends])[: len(lengths)].astype("<i8")
    code = next(code for code, known in _DTYPES.items() if known is dtype)
    head = _MAGIC + _HEADER.pack(1, code, len(lengths), len(lengths) + 1)
    documents = np.arange(len(lengths) + 1, dtype="<i8")
    atomic_write(_files(Path(prefix))[0], head + lengths.tobytes() + pointers.tobytes() + documents.tobytes())


class MegatronWriter:
    """Writes `<prefix>.bin` and `<prefix>.idx`.

    Args:
        prefix: Path without ending.
        vocab_size: Decides the token type.
    """

    def __init__(self, prefix: str | Path, vocab_size: int) -> None:
        self.prefix = Path(prefix)
        self.dtype = token_dtype(vocab_size)
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._path = _files(self.prefix)[1]
        with storage_errors("write", self._path):
            self._stream = open(self._path, "wb")  # noqa: SIM115 (closed by close())

    def add(self, tokens: Sequence[int] | npt.NDArray[Any]) -> None:
        """Appends one document's tokens."""
        self.add_documents(np.asarray(tokens, dtype=self.dtype), np.array([len(tokens)]))

    def add_documents(self, tokens: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> None:
        """Appends many documents.

        Args:
            tokens: Their tokens, one after another, of any type that holds them.
            lengths: Tokens of each document, shape [documents].
        """
        with storage_errors("write", self._path):
            self._stream.write(np.ascontiguousarray(tokens, dtype=np.dtype(self.dtype).newbyteorder("<")).data)
        self._lengths.append(lengths.astype("<i4"))

    def add_file(self, path: str | Path, lengths: npt.NDArray[Any]) -> None:
        """Appends many documents whose tokens lie in a file, as they will in `.bin`; memory does not grow with it.

        Args:
            path: The tokens, of this writer's type, little-endian.
            lengths: Tokens of each document, shape [documents].

        Raises:
            DataError: The file does not hold as many tokens.
        """
        path = Path(path)
        with storage_errors("write", self._path):
            found, expected = path.stat().st_size, int(lengths.sum()) * np.dtype(self.dtype).itemsize
            if found != expected:
                raise DataError(f"{path} does not hold the tokens that were encoded", found=f"{found} bytes",
                                expected=f"{expected} bytes", hint="make the tokens again")  # fmt: skip
            with open(path, "rb") as source:
                shutil.copyfileobj(source, self._stream, 1 << 22)
        self._lengths.append(lengths.astype("<i4"))

    def close(self) -> None:
        """Finishes both files."""
        with storage_errors("write", self._path):
            self._stream.close()
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty(0, dtype="<i4")
        write_index(self.prefix, self.dtype, lengths)

    def __enter__(self) -> MegatronWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stream.close()


class MegatronReader:
    """Reads `<prefix>.bin` and `<prefix>.idx` by memory map; opening costs nothing per token and nothing per sequence.

    Attributes:
        lengths: Tokens in each sequence, shape [sequences], memory-mapped.
        documents: Number of the sequence that each document starts with, and of all, shape [documents + 1]; in files
            of Headwater's a sequence is a document.
        tokens: All tokens, shape [tokens], memory-mapped.

    Raises:
        DataError: A file is missing or does not hold what its header says.
    """

    def __init__(self, prefix: str | Path) -> None:
        self.prefix = Path(prefix)
        index, data = _files(self.prefix)
        for path in (index, data):
            if not path.is_file():
                raise DataError(f"token file {path} is missing", hint="run: headwater data tokenize")
        size = index.stat().st_size
        with open(index, "rb") as stream:
            head = stream.read(len(_MAGIC) + _HEADER.size)
        if head[: len(_MAGIC)] != _MAGIC or len(head) < len(_MAGIC) + _HEADER.size:
            raise DataError(f"{index} is not a Megatron index", found=head[:9], expected=_MAGIC)
        version, code, sequences, boundaries = _HEADER.unpack(head[len(_MAGIC) :])
        if version != 1 or code not in _DTYPES or size != len(head) + 12 * sequences + 8 * boundaries:
            raise DataError(f"{index} is damaged", found=f"version {version}, dtype {code}, {size} bytes",
                            expected=f"version 1, {len(head) + 12 * sequences + 8 * boundaries} bytes")  # fmt: skip
        self.dtype = _DTYPES[code]
        item = np.dtype(self.dtype).itemsize
        self.lengths: npt.NDArray[np.int32] = _map(index, "<i4", len(head), sequences)
        self._bytes: npt.NDArray[np.int64] = _map(index, "<i8", len(head) + 4 * sequences, sequences)
        self.documents: npt.NDArray[np.int64] = _map(index, "<i8", len(head) + 12 * sequences, boundaries)
        self._item = item
        count = data.stat().st_size // item
        end = int(self._bytes[-1]) // item + int(self.lengths[-1]) if sequences else count
        if end != count:
            raise DataError(f"{data} does not match its index", found=f"{count} tokens", expected=f"{end} tokens")
        self.tokens: npt.NDArray[Any] = _map(data, np.dtype(self.dtype).newbyteorder("<"), 0, count)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each sequence starts, in tokens, shape [sequences]. Reads the whole index into memory."""
        return self._bytes // self._item

    def start_of(self, sequence: int) -> int:
        """Where a sequence starts, in tokens."""
        return int(self._bytes[sequence]) // self._item

    def starts_between(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """Where the sequences start that start at a token of `[first, stop)`; found by bisection of the index."""
        low = self._first_from(first)
        high = low if self._starts_from(low, stop) else self._first_from(stop, low)
        return np.asarray(self._bytes[low:high], dtype=np.int64) // self._item

    def sequences_of(self, first: int, stop: int) -> tuple[int, int]:
        """Numbers, from and up to, of the sequences that hold the tokens `[first, stop)`."""
        return max(0, self._first_from(first + 1) - 1), self._first_from(stop)

    def positions(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        """Place of each of `count` tokens from `offset` on in its sequence, but counted from `offset` at the earliest.

        It restarts at 0 where a sequence starts: rotary embedding and document mask follow from it.

        Raises:
            DataError: The index is damaged there.
        """
        inside = self.starts_between(offset + 1, offset + count) - offset
        if not len(inside):
            return _counting(count)
        begins = np.zeros(count, dtype=np.int64)
        if inside.min() < 1 or inside.max() >= count:
            raise DataError(
                f"{self.prefix}.idx is damaged: its sequences are not in order near token {offset:,}",
                hint="see what was changed with headwater verify; make the tokens again with headwater data tokenize",
            )
        begins[inside] = inside
        return np.arange(count, dtype=np.int64) - np.maximum.accumulate(begins)

    def _first_from(self, token: int, low: int = 0) -> int:
        # Not np.searchsorted: the offsets are not aligned in the file, so that it would copy all of them.
        return bisect_left(self._bytes, token * self._item, low)

    def _starts_from(self, sequence: int, token: int) -> bool:
        """Whether a sequence starts at a token or later, or there is none."""
        return sequence >= len(self._bytes) or bool(self._bytes[sequence] >= token * self._item)

    def get(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        """`count` tokens from `offset` on, across sequence boundaries, shape [count]."""
        return np.asarray(self.tokens[offset : offset + count]).astype(np.int64)


@lru_cache(maxsize=16)
def _counting(count: int) -> npt.NDArray[np.int64]:
    """0, 1, 2, …, which nobody may change."""
    numbers = np.arange(count, dtype=np.int64)
    numbers.flags.writeable = False
    return numbers


def _map(path: Path, dtype: Any, offset: int, count: int) -> npt.NDArray[Any]:
    if count == 0:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,)))
