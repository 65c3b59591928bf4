"""Encoders: a tokenizer file and a column of texts to token ids.

`Reference` is Hugging Face tokenizers, which defines what is right. `Fast` is gigatoken, for the files that it covers.
Both encode the characters of a special token in a document as plain text.
"""

from __future__ import annotations

import ctypes
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.core.tokenizer import end_of_text_of
from headwater.data.tokens.bpe import CL100K

U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]


class Ids(NamedTuple):
    """Token ids of several texts.

    Attributes:
        flat: The ids, laid end to end, shape [tokens].
        offsets: Where each text begins in `flat`, and one more for the end, shape [texts + 1].
    """

    flat: U32
    offsets: I64


class Encoder(Protocol):
    """Encodes a column of texts; the same ids for a text, whatever stands beside it."""

    name: str

    def encode(self, texts: pa.Array) -> Ids:
        """The ids of each text, with nothing around them."""
        ...


class Reference:
    """Hugging Face tokenizers, in one thread: the processes are the parallelism."""

    def __init__(self, path: str | Path) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import tokenizers

        self.name = f"tokenizers {tokenizers.__version__}"
        self.tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()  # one from elsewhere may cut or fill up
        self.tokenizer.no_padding()
        self.end: int = self.tokenizer.token_to_id(end_of_text_of(Path(path).parent))
        self.vocab_size: int = self.tokenizer.get_vocab_size()

    def encode(self, texts: pa.Array) -> Ids:
        """The ids of each text."""
        found = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        offsets = np.cumsum([0, *(len(each.ids) for each in found)], dtype=np.int64)
        flat = np.fromiter((number for each in found for number in each.ids), np.uint32, int(offsets[-1]))
        return Ids(flat, offsets)


class NotCovered(Exception):
    """A tokenizer that the fast encoder does not cover; says why."""


class Fast:
    """gigatoken (Rød 2026), in one thread, on the text's bytes as Arrow has them.

    Raises:
        NotCovered: It is not installed, or the tokenizer is not byte-level BPE with a split that it is known to make.
    """

    def __init__(self, path: str | Path) -> None:
        content = json.loads(Path(path).read_bytes())
        reason = why_not(content)
        if reason:
            raise NotCovered(reason)
        try:
            import awkward
            import gigatoken
        except ImportError as error:
            raise NotCovered("gigatoken is not installed") from error
        from importlib.metadata import version

        self.name = f"gigatoken {version('gigatoken')}"
        self._awkward: Any = awkward
        # Without its special tokens it takes their characters for plain text.
        self._tokenizer: Any = gigatoken.Tokenizer.from_json(json.dumps({**content, "added_tokens": []}))
        self.pieces: dict[int, bytes] = self._tokenizer.vocab

    def encode(self, texts: pa.Array) -> Ids:
        """The ids of each text."""
        if not len(texts):
            return Ids(np.empty(0, np.uint32), np.zeros(1, np.int64))
        offsets, data = text_buffers(texts)
        layouts = self._awkward.contents
        characters = layouts.NumpyArray(data, parameters={"__array__": "char"})
        strings = layouts.ListOffsetArray(
            self._awkward.index.Index64(offsets), characters, parameters={"__array__": "string"}
        )
        found = self._tokenizer.encode_batch(self._awkward.Array(strings), parallel=False).layout
        flat = np.asarray(found.content.data)
        starts = np.asarray(found.offsets.data, dtype=np.int64)
        if flat.dtype != np.uint32 or len(starts) != len(texts) + 1:
            raise NotCovered(f"gigatoken gave {flat.dtype} for {len(starts) - 1} of {len(texts)} texts")
        return Ids(flat, starts)


def why_not(content: dict[str, Any]) -> str:
    """Why the fast encoder does not cover a tokenizer.json; empty when it does.

    Only what it is known to do exactly is let through, so that a setting that it may read in another way is never met.
    """
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        return f"a {model.get('type')} model"
    plain = {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
             "ignore_merges"}  # fmt: skip
    for key in sorted(plain):
        if model.get(key) not in (None, False, ""):
            return f"the model's setting {key}"
    if content.get("normalizer") or content.get("truncation") or content.get("padding"):
        return "a normalizer, truncation or padding"
    if not any(_covers(content.get("pre_tokenizer"), known) for known in _KNOWN_SPLITS):
        return "a split that is not known"
    if not all(token.get("special") for token in content.get("added_tokens") or ()):
        return "an added token that is not special"
    return ""


_BYTES = {"type": "ByteLevel", "add_prefix_space": False}
_KNOWN_SPLITS: tuple[dict[str, Any], ...] = (
    {**_BYTES, "use_regex": True},
    {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": CL100K}, "behavior": "Isolated", "invert": False},
        {**_BYTES, "use_regex": False},
    ]},
)  # fmt: skip


def _covers(found: Any, known: Any) -> bool:
    """Whether a value has everything that is known; of a ByteLevel only offsets may differ besides."""
    if isinstance(known, dict):
        extra = set(found) - set(known) - {"trim_offsets"} if isinstance(found, dict) else {"?"}
        return not extra and all(_covers(found.get(key), value) for key, value in known.items())
    if isinstance(known, list):
        return isinstance(found, list) and len(found) == len(known) and all(map(_covers, found, known))
    return found == known


def text_buffers(texts: pa.Array) -> tuple[I64, npt.NDArray[np.uint8]]:
    """A column's offsets (shape [texts + 1]) and UTF-8 bytes (shape [bytes]).

    The bytes are not copied: keep the column as long as they are used, and do not write to them.
    """
    array: Any = texts
    wide = pa.types.is_large_string(array.type)
    offsets = np.frombuffer(array.buffers()[1], np.int64 if wide else np.int32)
    offsets = offsets[array.offset : array.offset + len(array) + 1].astype(np.int64, copy=False)
    buffer = array.buffers()[2]
    if buffer is None or not buffer.size:
        return offsets - offsets[0], np.empty(0, np.uint8)
    # Arrow's buffers are read-only, which would be a type of its own to a kernel.
    data = np.frombuffer((ctypes.c_uint8 * buffer.size).from_address(buffer.address), np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


@lru_cache(maxsize=1)
def reference(path: str) -> Reference:
    """The reference, loaded once a process."""
    return Reference(path)


@lru_cache(maxsize=1)
def fast(path: str) -> Fast:
    """The fast encoder, loaded once a process.

    Raises:
        NotCovered: As `Fast`.
    """
    return Fast(path)
