"""An n-gram language model: its file, and the perplexity of documents under it.

After CCNet (Wenzek et al., LREC 2020): subword tokens, each line of a document a sequence of its own, and the
perplexity of the document that of all its lines together. Here the subwords are byte-level BPE, so that there is no
unknown word, and digits are made zeros and letters lower-case before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError
from headwater.core.storage import storage_errors
from headwater.data.models import arrays_file
from headwater.data.models.kneser_ney import Estimate, find, join

KIND = "ngram"
BEGIN, END = "<s>", "</s>"
_DIGIT = re.compile(r"\d")
_MOST_KNOWN = 200_000


@dataclass(frozen=True)
class NgramModel:
    """A model that is ready to score.

    Attributes:
        tokenizer: Text to tokens.
        begin: The token before each line.
        end: The token after each line.
        shift: Bits of a key that hold its last token.
        keys: For each length from 2 up, the sorted keys.
        log_probabilities: For each length from 1 up, natural logarithms.
        log_backoffs: For each length from 1 up to one below the longest, natural logarithms.
        known: Tokens of words that came before; forgotten when it grows large.
    """

    tokenizer: Any
    begin: int
    end: int
    shift: int
    keys: Sequence[npt.NDArray[np.uint64]]
    log_probabilities: Sequence[npt.NDArray[np.float32]]
    log_backoffs: Sequence[npt.NDArray[np.float32]]
    known: dict[str, list[int]] = field(default_factory=dict)

    def sequences(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tokens of texts, line after line, and which text each token belongs to, both of shape [tokens]."""
        lines = [[words for line in normalise(text).split("\n") if (words := line.split())] for text in texts]
        known = self._encoded(set(chain.from_iterable(chain.from_iterable(lines))))
        tokens: list[int] = []
        sizes: list[int] = []
        for text in lines:
            before = len(tokens)
            for words in text:
                tokens.append(self.begin)
                for word in words:
                    tokens += known[word]
                tokens.append(self.end)
            sizes.append(len(tokens) - before)
        return np.array(tokens, dtype=np.int64), np.repeat(np.arange(len(texts)), sizes)

    def _encoded(self, words: set[str]) -> dict[str, list[int]]:
        """The tokens of words. Words come again and again, and looking one up is a tenth of the work of encoding it."""
        if len(self.known) > _MOST_KNOWN:
            self.known.clear()
        fresh = list(words - self.known.keys())
        for word, encoding in zip(fresh, self.tokenizer.encode_batch_fast(fresh), strict=True):
            self.known[word] = encoding.ids
        return self.known

    def log_probability(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The natural logarithm of each token's probability after those before it; 0 for `begin`. Shape [tokens]."""
        fresh = tokens == self.begin
        ends = tokens  # the number of the n-gram that ends at each token; -1 where there is none
        found = self.log_probabilities[0][tokens].astype(np.float64)
        for keys, longer, backoffs in zip(self.keys, self.log_probabilities[1:], self.log_backoffs, strict=True):
            before = np.concatenate([[-1], ends[:-1]])
            before[fresh] = -1
            possible = np.flatnonzero(before >= 0)
            places = find(keys, join(before[possible], tokens[possible], self.shift))
            ends = np.full(len(tokens), -1)
            ends[possible] = places
            hit = places >= 0
            found[possible[~hit]] += backoffs[before[possible[~hit]]]
            found[possible[hit]] = longer[places[hit]]
        found[fresh] = 0.0
        return found

    def perplexities(self, texts: Sequence[str]) -> list[float | None]:
        """The perplexity of each text, a token, rounded to two decimals; none for a text without any.

        A text's perplexity depends on that text and the model only: sums are taken token after token.
        """
        tokens, of_text = self.sequences(texts)
        if not len(tokens):
            return [None] * len(texts)
        total = np.bincount(of_text, weights=self.log_probability(tokens), minlength=len(texts))
        count = np.bincount(of_text[tokens != self.begin], minlength=len(texts))
        return [
            round(float(np.exp(min(-t / c, 700.0))), 2) if c else None
            for t, c in zip(total.tolist(), count.tolist(), strict=True)
        ]


def normalise(text: str) -> str:
    """What the model sees of a text: lower case, zeros for digits. How much space is between words it does not see."""
    return _DIGIT.sub("0", text.lower())


def write(path: Path, tokenizer: Any, estimate: Estimate, header: dict[str, Any]) -> None:
    """Writes a model's file.

    Raises:
        StorageError: The disk refused.
    """
    arrays: dict[str, npt.NDArray[Any]] = {"tokenizer": np.frombuffer(tokenizer.to_str().encode(), np.uint8)}
    for n, logs in enumerate(estimate.log_probabilities, 1):
        arrays[f"log_probability_{n}"] = logs.astype(np.float32)
        if n > 1:
            arrays[f"keys_{n}"] = estimate.keys[n - 2]
        if n < len(estimate.log_probabilities):
            arrays[f"log_backoff_{n}"] = estimate.log_backoffs[n - 1].astype(np.float32)
    arrays_file.write(path, KIND, {**header, "shift": estimate.shift, "order": len(estimate.log_probabilities)}, arrays)


def load(path: str) -> NgramModel:
    """The model of a file; opened once as long as the file is unchanged.

    Raises:
        ConfigError: It is no n-gram model, or is damaged.
        StorageError: It cannot be read.
    """
    with storage_errors("read the model", path):
        state = Path(path).stat()
    return _load(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, size: int, modified: int) -> NgramModel:
    from tokenizers import Tokenizer

    header, arrays = arrays_file.read(Path(path), KIND)
    try:
        tokenizer: Any = Tokenizer.from_str(arrays["tokenizer"].tobytes().decode())
        tokenizer.encode_special_tokens = True  # what looks like the end of a line in a text is text
        orders = range(1, header["order"] + 1)
        return NgramModel(
            tokenizer, tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END), header["shift"],
            [arrays[f"keys_{n}"] for n in orders[1:]], [arrays[f"log_probability_{n}"] for n in orders],
            [arrays[f"log_backoff_{n}"] for n in orders[:-1]],
        )  # fmt: skip
    except Exception as error:  # the tokenizers library raises Exception itself
        raise ConfigError(f"the n-gram model {path} is damaged: {error}",
                          hint="restore it, or train it again") from error  # fmt: skip
