"""What a tokenizer folder says of its vocabulary, read without a tokenizer library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from headwater.core.errors import ManifestError
from headwater.core.manifest import is_artifact, read_manifest
from headwater.core.tokens import END_OF_TEXT

TOKENIZER_FILE = "tokenizer.json"
END_OF_TEXT_KEY = "end_of_text"
"""Where the manifest of a tokenizer that came from elsewhere keeps the name of the token that ends a document."""


@dataclass(frozen=True)
class Vocabulary:
    """The entries of a tokenizer.

    Attributes:
        ids: Piece → id, with special tokens.
        end_of_text: The piece that ends every document.
    """

    ids: Mapping[str, int]
    end_of_text: str

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.ids.values()) + 1

    @property
    def end_id(self) -> int:
        """Id of the piece that ends every document."""
        return self.ids[self.end_of_text]


def end_of_text_of(folder: str | Path) -> str:
    """The name of the token that ends every document: Headwater's own, unless the tokenizer was imported.

    Raises:
        ManifestError: The tokenizer's manifest is damaged.
    """
    found = read_manifest(folder).config.get(END_OF_TEXT_KEY) if is_artifact(folder) else None
    return str(found) if found else END_OF_TEXT


def read_vocabulary(folder: str | Path) -> Vocabulary:
    """The vocabulary of the `tokenizer.json` (Hugging Face tokenizers) in a folder.

    Raises:
        ManifestError: There is none, it is no tokenizer, or it lacks the token that ends a document.
    """
    path = Path(folder) / TOKENIZER_FILE
    try:
        ids = vocabulary_ids(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a tokenizer: {error}", hint="run: headwater data tokenizer") from error
    end_of_text = end_of_text_of(folder)
    if end_of_text not in ids:
        raise ManifestError(f"{path} has no {end_of_text} token", hint="run: headwater data tokenizer")
    return Vocabulary(ids, end_of_text)


def vocabulary_ids(content: dict[str, Any]) -> dict[str, int]:
    """Piece → id of the content of a `tokenizer.json`.

    Raises:
        KeyError, TypeError, ValueError: It is no tokenizer.
    """
    vocab: Any = content["model"]["vocab"]
    if isinstance(vocab, list):  # of a unigram model: pieces with their scores
        scored = cast("list[tuple[str, float]]", vocab)
        vocab = {piece: place for place, (piece, _) in enumerate(scored)}
    ids: dict[str, Any] = dict(vocab)
    ids.update((token["content"], token["id"]) for token in content.get("added_tokens", []))
    for piece, identifier in ids.items():
        if not isinstance(identifier, int) or identifier < 0:
            raise ValueError(f"the id of {piece!r} is {identifier!r}")
    return ids
