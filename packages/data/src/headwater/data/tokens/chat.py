"""Tokens of conversations: turns between a tokenizer's chat tokens, as its chat template renders them.

The text between chat tokens is encoded by itself, as plain text: what looks like a chat token in a message never
becomes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.core.tokens import CHAT_TOKENS
from headwater.data.conversations.chatml import pieces
from headwater.data.conversations.text import from_text
from headwater.data.tokens.encoder import Ids, Reference


class Chat(Reference):
    """Encodes canonical texts of conversations.

    A tokenizer that has no chat tokens spells them as plain text.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        ids = [self.tokenizer.token_to_id(token) for token in CHAT_TOKENS]
        self._marks = [
            np.array([number], np.uint32) if number is not None else self._plain([token])[0]
            for token, number in zip(CHAT_TOKENS, ids, strict=True)
        ]

    def encode(self, texts: pa.Array) -> Ids:
        """The ids of each conversation."""
        given: list[Any] = texts.to_pylist()
        spoken = [list(pieces(from_text(text))) for text in given]
        ids = iter(self._plain([piece for each in spoken for piece in each]))
        start, end = self._marks
        found: list[np.ndarray] = []
        for each in spoken:
            mine = [np.empty(0, np.uint32)]
            for place in range(len(each)):  # a turn, then what stands between it and the next
                mine += [start, next(ids), end] if place % 2 == 0 else [next(ids)]
            found.append(np.concatenate(mine))
        offsets = np.cumsum([0, *map(len, found)], dtype=np.int64)
        return Ids(np.concatenate([np.empty(0, np.uint32), *found]), offsets)

    def _plain(self, texts: list[str]) -> list[np.ndarray]:
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(each.ids, np.uint32) for each in found]
