"""Bits per byte on held-out documents, for a checkpoint and for a unigram model beside it.

Bits per UTF-8 byte of text do not depend on the tokenizer, so they can be compared between runs that differ in it.
The cost of the end-of-text token is left out: it stands for no byte. Each document starts after an end-of-text token,
as in training, and is read in consecutive windows of the training length, as lm-eval does for perplexity.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute
import pyarrow.parquet as pq

from headwater.core.errors import EvalError
from headwater.core.tokens import MegatronReader
from headwater.eval.results import Bits, HeldOutBits
from headwater.eval.scoring import Request, Scored, windows
from headwater.eval.unigram import unigram_bits

_pc: Any = pyarrow.compute  # its own types are incomplete


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents of one source.

    Attributes:
        source: The source's name.
        documents: Token ids of each document, without end-of-text.
        bytes: UTF-8 bytes of their text together.
        unigram_bits: What they cost under the unigram model of the source's training tokens, in bits.
    """

    source: str
    documents: list[npt.NDArray[np.int64]]
    bytes: int
    unigram_bits: float


def read_held_out(folder: Path, vocab_size: int, eot_id: int, cap_tokens: int) -> HeldOut | None:
    """Reads a deterministic subset of a source's validation documents.

    Documents are taken in the order of their ids, which are hashes and so as good as random, until `cap_tokens` is
    reached; only whole ones, because only of those the bytes are known, and at least one.

    Args:
        folder: A token data set, `RUN/tokens/<source>`.
        vocab_size: Number of token ids of the tokenizer.
        eot_id: The end-of-text token.
        cap_tokens: Most tokens to take.

    Returns:
        None when the source has no validation documents.

    Raises:
        EvalError: A token id that the tokenizer does not have.
    """
    columns = ["id", "split", "token_start", "token_count", "text_bytes"]
    rows: list[dict[str, Any]] = []
    with pq.ParquetFile(folder / "documents.parquet") as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            # As `pc.equal`, which imports pandas, as `pq.read_table` does: half a second.
            rows += table.filter(_pc.match_like(table.column("split"), "validation")).to_pylist()
    if not rows:
        return None
    reader = MegatronReader(folder / "validation")
    documents: list[npt.NDArray[np.int64]] = []
    taken = text_bytes = 0
    for row in sorted(rows, key=lambda row: row["id"]):
        if documents and taken + row["token_count"] > cap_tokens:
            continue
        tokens = reader.get(row["token_start"], row["token_count"])
        if len(tokens) and tokens[-1] == eot_id:
            tokens = tokens[:-1]
        if len(tokens) == 0 or row["text_bytes"] == 0:
            continue
        documents.append(tokens)
        taken += int(row["token_count"])
        text_bytes += int(row["text_bytes"])
    if not documents:
        return None
    everything = np.concatenate(documents)
    train_tokens = MegatronReader(folder / "train").tokens
    largest = max(int(everything.max()), int(train_tokens.max()) if len(train_tokens) else 0)
    if largest >= vocab_size:
        raise EvalError(
            f"{folder} holds tokens that the tokenizer does not have",
            found=f"token id {largest}",
            expected=f"ids below {vocab_size}",
            hint="run: headwater data tokenize",
        )
    bits = unigram_bits(train_tokens, vocab_size)[everything]
    return HeldOut(folder.name, documents, text_bytes, float(math.fsum(bits)))


def requests_of(held_out: HeldOut, eot_id: int, window: int) -> list[Request]:
    """What the model has to score for a source."""
    return [piece for document in held_out.documents for piece in windows(document.tolist(), eot_id, window)]


def bits_per_byte(
    held_out: Sequence[HeldOut], eot_id: int, window: int, score: Callable[[HeldOut, list[Request]], list[Scored]]
) -> HeldOutBits | None:
    """Bits per byte of every source, and of all together; None when there are no documents.

    Args:
        held_out: The documents.
        eot_id: The end-of-text token, which comes before every document.
        window: Tokens in a window: the length that the model was trained with.
        score: Scores the requests of one source.
    """
    sources: dict[str, Bits] = {}
    model_bits: list[float] = []
    for source in held_out:
        nats = -math.fsum(scored.logprob for scored in score(source, requests_of(source, eot_id, window)))
        model_bits.append(nats / math.log(2))
        sources[source.source] = _figures([source], model_bits[-1])
    if not sources:
        return None
    return HeldOutBits(**_figures(held_out, math.fsum(model_bits)).model_dump(), sources=sources)


def _figures(sources: Sequence[HeldOut], model_bits: float) -> Bits:
    total_bytes = sum(source.bytes for source in sources)
    return Bits(
        model=model_bits / total_bytes,
        unigram=math.fsum(source.unigram_bits for source in sources) / total_bytes,
        documents=sum(len(source.documents) for source in sources),
        tokens=sum(len(document) for source in sources for document in source.documents),
        bytes=total_bytes,
    )
