"""How many bytes of text tokens stand for, without the text."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ManifestError
from headwater.core.tokenizer import TOKENIZER_FILE, Vocabulary, vocabulary_ids

I64 = npt.NDArray[np.int64]


class TextSizes:
    """Sizes of the texts of documents; the token that ends a document has none.

    Args:
        folder: The tokenizer.
        vocabulary: Its vocabulary.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self._path = folder / TOKENIZER_FILE
        self._vocabulary = vocabulary

    def of(self, tokens: npt.NDArray[Any], starts: I64) -> I64:
        """UTF-8 bytes of each document.

        Args:
            tokens: The tokens of the documents, one after another.
            starts: Where each starts, shape [documents]; none is empty.
        """
        if self._bytes is not None:
            return np.add.reduceat(self._bytes[tokens], starts) if len(starts) else starts
        parts = np.split(tokens, starts[1:])
        kept = [part[part != self._vocabulary.end_id].tolist() for part in parts]
        texts = self._tokenizer.decode_batch(kept, skip_special_tokens=False)
        return np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))

    @cached_property
    def _bytes(self) -> I64 | None:
        """Bytes of each id of a byte-level tokenizer, one a character of its piece; none for the others."""
        content: dict[str, Any] = json.loads(self._path.read_bytes())
        if (content.get("decoder") or {}).get("type") != "ByteLevel":
            return None
        sizes = np.zeros(self._vocabulary.size, np.int64)
        for piece, identifier in vocabulary_ids(content).items():
            sizes[identifier] = len(piece)
        for token in content.get("added_tokens", []):
            sizes[token["id"]] = len(token["content"].encode())
        sizes[self._vocabulary.end_id] = 0
        return sizes

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self._path))
        except Exception as error:  # of no class of its own
            raise ManifestError(f"{self._path} is no tokenizer that its library can load", found=error,
                                hint="import it again from a whole folder") from error  # fmt: skip
