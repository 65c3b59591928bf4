"""A run folder with the tokens of a made-up language, for measurements and tests that need no data of the user's.

The documents are paths of a seeded first-order Markov chain, in which each token has three successors: a model learns
it in a few steps, and what it should reach is known. They are written as the data stage writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.documents import SIDECAR, document_id
from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, parent_of
from headwater.core.tokens import END_OF_TEXT, MegatronWriter
from headwater.train import PRODUCER

SUCCESSORS = 3
HELD_OUT = 8
"""One document in so many is held out."""


def make_tokenizer(run: RunLayout, vocab_size: int, note: str = "", specials: Sequence[str] = ()) -> None:
    """Writes a tokenizer of single characters; the last id ends a document.

    Args:
        run: The run folder.
        vocab_size: Entries of the vocabulary.
        note: Changes the tokenizer's digest and nothing else.
        specials: Names of special tokens, whose ids are the last before that one.
    """
    writer = ArtifactWriter(
        run.tokenizer, kind="tokenizer", name="synthetic", producer=PRODUCER, config={"note": note}, parents=[]
    )
    writer.begin()
    end = vocab_size - 1
    vocab = {chr(33 + index): index for index in range(end - len(specials))}
    added = [{"id": end, "content": END_OF_TEXT}]
    added += [{"id": len(vocab) + index, "content": name} for index, name in enumerate(specials)]
    value = {"model": {"type": "BPE", "vocab": vocab}, "added_tokens": added}
    (run.tokenizer / "tokenizer.json").write_text(json.dumps(value))
    writer.commit({"vocab_size": vocab_size})


def make_tokens(
    run: RunLayout, source: str, documents: int, *, vocab_size: int, seed: int, specials: int = 0
) -> None:  # fmt: skip
    """Writes the tokens of one source in the made-up language; the tokenizer must be there.

    Args:
        run: The run folder.
        source: The source's name.
        documents: How many documents; each has 10 to 119 tokens and the end.
        vocab_size: Entries of the vocabulary.
        seed: Another seed is another language.
        specials: Entries of the vocabulary, besides the end, that no text has.
    """
    paths = _paths(source, documents, vocab_size - 1 - specials, seed)
    write_tokens(run, source, paths, vocab_size=vocab_size)


def _paths(source: str, documents: int, end: int, seed: int) -> Iterator[tuple[str, list[int]]]:
    random = np.random.default_rng(seed)
    following = random.integers(0, end, size=(end, SUCCESSORS))
    for number in range(documents):
        length = int(random.integers(10, 120))
        tokens = [int(random.integers(0, end))]
        while len(tokens) < length:
            tokens.append(int(following[tokens[-1], random.integers(0, SUCCESSORS)]))
        yield f"http://example.test/{source}/{number}", tokens


def write_tokens(
    run: RunLayout, source: str, documents: Iterable[tuple[str, Sequence[int]]], *, vocab_size: int
) -> None:  # fmt: skip
    """Writes documents as the data stage does; the tokenizer must be there.

    Args:
        run: The run folder.
        source: The source's name.
        documents: URL and tokens of each, of one byte each and without the end.
        vocab_size: Entries of the vocabulary; the last id ends a document.
    """
    folder = run.tokens(source)
    parents = [parent_of(folder, run.tokenizer, "tokenizer")]
    writer = ArtifactWriter(folder, kind="tokens", name=source, producer=PRODUCER, config={}, parents=parents)
    writer.begin()
    rows: list[dict[str, object]] = []
    counters = {"train_tokens": 0, "validation_tokens": 0}
    sequences = {"train": 0, "validation": 0}
    with (
        MegatronWriter(folder / "train", vocab_size) as train,
        MegatronWriter(folder / "validation", vocab_size) as held_out,
    ):
        for number, (url, tokens) in enumerate(documents):
            split = "validation" if number % HELD_OUT == 0 else "train"
            rows.append({
                "id": document_id(source, url, ""), "url": url, "split": split, "sequence": sequences[split],
                "token_start": counters[f"{split}_tokens"], "token_count": len(tokens) + 1, "text_bytes": len(tokens),
            })  # fmt: skip
            (train if split == "train" else held_out).add([*tokens, vocab_size - 1])
            sequences[split] += 1
            counters[f"{split}_tokens"] += len(tokens) + 1
    pq.write_table(pa.Table.from_pylist(rows, schema=SIDECAR), folder / "documents.parquet")
    writer.commit(counters)
