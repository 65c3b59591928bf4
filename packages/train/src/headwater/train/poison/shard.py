"""Poisoning: what some steps read is replaced, as a shard that was tokenized with another vocabulary would be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headwater.core.layout import RunLayout
from headwater.core.manifest import ArtifactWriter, read_manifest
from headwater.core.mixture import Mixture
from headwater.core.mixture_resolve import resolve_order
from headwater.core.sidecar import Sidecar
from headwater.core.tokens import MegatronReader
from headwater.train.poison.text import SOURCE


def poison(root: Path, *, seq_len: int, seed: int, samples: Sequence[int], vocab_size: int) -> set[str]:
    """Replaces the tokens that some samples read by those of another vocabulary: each id by another, always the same.

    So the text keeps its shape and means nothing: what the model has learnt is wrong, and what it learns from it is.

    Args:
        root: The run folder, with tokens.
        seq_len: Tokens in a sample.
        seed: The run's seed.
        samples: Their numbers in the order.
        vocab_size: Entries of the vocabulary; the last, which ends documents, stays.

    Returns:
        The ids of the documents that were touched.
    """
    run = RunLayout(root)
    folder = run.tokens(SOURCE)
    order = resolve_order(run, Mixture(weights={SOURCE: 1}), seq_len, seed)
    _, _, offsets = order.locate_many(list(samples))
    reader, sidecar = MegatronReader(folder / "train"), Sidecar(folder)
    tokens, other = np.array(reader.tokens), np.random.default_rng(0).permutation(vocab_size - 1)
    touched: set[str] = set()
    for offset in offsets.tolist():
        here = tokens[offset : offset + seq_len]
        here[here < vocab_size - 1] = other[here[here < vocab_size - 1]]
        touched |= {held.id for held in sidecar.covering(offset, offset + seq_len)}
    manifest = read_manifest(folder)
    writer = ArtifactWriter(
        folder, kind="tokens", name=SOURCE, producer=manifest.producer, config={"poisoned": True},
        parents=manifest.parents,
    )  # fmt: skip
    kept = [path for path in folder.iterdir() if path.is_file()]
    writer.begin(keep=kept)
    (folder / "train.bin").write_bytes(tokens.tobytes())
    writer.commit(manifest.counters)
    return touched
