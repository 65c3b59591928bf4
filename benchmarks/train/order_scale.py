"""What it costs to open a mixture, to go to its middle and to locate a batch there, from 10^6 to 10^12 tokens.

The token files are real files of the full size, with holes in the place of tokens (sparse), so that the whole path is
measured: manifests, memory maps, index, order. Each size is a process of its own; memory is what it has beyond the
interpreter and its imports.

    python benchmarks/train/order_scale.py [--folder DIR] [--repeats 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = (10**6, 10**9, 10**12)
SHARES = {"web": 0.7, "code": 0.25, "reference": 0.05}
SEQ_LEN, GLOBAL_BATCH, VOCAB = 4096, 64, 60_000
TOKENS_A_DOCUMENT = 1000
EPOCHS = 3  # of the small source: its permutation changes


def make(root: Path, tokens: int) -> None:
    """A run folder with tokenizer and token files of so many tokens, all holes."""
    from headwater.core.layout import RunLayout
    from headwater.core.manifest import ArtifactWriter, parent_of
    from headwater.core.storage import atomic_write
    from headwater.core.tokens import END_OF_TEXT

    run = RunLayout(root)
    writer = ArtifactWriter(run.tokenizer, kind="tokenizer", name="t", producer="benchmark", config={})
    writer.begin()
    vocab = {str(index): index for index in range(VOCAB)} | {END_OF_TEXT: VOCAB}
    atomic_write(run.tokenizer / "tokenizer.json", json.dumps({"model": {"vocab": vocab}}))
    writer.commit({"vocab_size": VOCAB + 1})
    for source, share in SHARES.items():
        folder, count = run.tokens(source), round(tokens * share / (EPOCHS if source == "reference" else 1))
        parents = [parent_of(folder, run.tokenizer, "tokenizer")]
        writer = ArtifactWriter(folder, kind="tokens", name=source, producer="benchmark", config={}, parents=parents)
        writer.begin()
        for split, size in (("train", count), ("validation", TOKENS_A_DOCUMENT)):
            _token_file(folder / split, size)
        writer.commit({"train_tokens": count, "validation_tokens": TOKENS_A_DOCUMENT}, files=[])


def _token_file(prefix: Path, tokens: int) -> None:
    documents = max(1, tokens // TOKENS_A_DOCUMENT)
    with open(prefix.with_suffix(".bin"), "wb") as stream:
        stream.truncate(2 * tokens)
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, documents, documents + 1)
    with open(prefix.with_suffix(".idx"), "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + 12 * documents + 8 * (documents + 1))
        last = TOKENS_A_DOCUMENT if documents > 1 else tokens
        stream.seek(len(head) + 4 * (documents - 1))
        stream.write(struct.pack("<i", last))
        stream.seek(len(head) + 4 * documents + 8 * (documents - 1))
        stream.write(struct.pack("<q", 2 * (tokens - last)))


def measure(root: Path, tokens: int) -> dict[str, float]:
    """In a process of its own: seconds and memory of each part."""
    from headwater.core.config import Base
    from headwater.core.layout import RunLayout
    from headwater.core.mixture import Mixture
    from headwater.train.batches import read_batch
    from headwater.train.config import TrainConfig
    from headwater.train.inputs import open_inputs

    samples = tokens // SEQ_LEN
    config = TrainConfig(seq_len=SEQ_LEN, global_batch=GLOBAL_BATCH, steps=max(1, samples // GLOBAL_BATCH))
    before = _peak()
    began = time.process_time()
    inputs = open_inputs(RunLayout(root), Base(name="b", seed=1), config, Mixture(weights=SHARES))
    opened = time.process_time()
    middle = samples // 2
    drawn = [inputs.order.drawn(source, middle) for source in SHARES]
    sought = time.process_time()
    inputs.order.locate_many(range(middle, middle + GLOBAL_BATCH))
    located = time.process_time()
    read_batch(inputs, middle, middle + GLOBAL_BATCH)
    read = time.process_time()
    memory = _peak() - before
    began_digest = time.process_time()
    inputs.order.digest(middle)
    digested = time.process_time()
    assert sum(drawn) == middle
    return {
        "open_seconds": opened - began, "seek_seconds": sought - opened, "locate_seconds": located - sought,
        "read_seconds": read - located, "digest_seconds": digested - began_digest, "memory_bytes": memory,
    }  # fmt: skip


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the sparse files go; default: a temporary folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("RUN", "TOKENS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(Path(given.one[0]), int(given.one[1]))))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = [_row(Path(folder) / str(tokens), tokens, given.repeats) for tokens in SIZES]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'tokens':>8} {'open':>9} {'seek':>9} {'locate':>9} {'read':>9} {'digest':>9} {'memory':>9}   (CPU time)")
    for row in rows:
        times = " ".join(
            f"{row[name + '_seconds'] * 1000:6.1f} ms" for name in ("open", "seek", "locate", "read", "digest")
        )
        print(f"{row['tokens']:8.0e} {times} {row['memory_bytes'] / 1e6:6.1f} MB")


def _row(root: Path, tokens: int, repeats: int) -> dict[str, Any]:
    make(root, tokens)
    command = [sys.executable, __file__, "--one", str(root), str(tokens)]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(repeats)]
    return {"tokens": tokens, **{name: statistics.median(row[name] for row in found) for name in found[0]}}


if __name__ == "__main__":
    main()
