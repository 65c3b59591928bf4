"""Exact repeated substrings: what the pipeline cuts, word for word against a search in memory, and CPU seconds of both.

    python benchmarks/data/substring.py --corpus FOLDER [--limit 2000] [--repeats 3] [--json FILE]

Ours runs the pipeline's own steps on the local engine in one process: everything is written to its work folder and
nothing holds the corpus. The search in memory is the rule by another road: the words of `core.ngrams`, a hash of every
window of 50 words, one sort of all of them, in plain numpy. A word on which the two disagree ends the command with an
error.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from near_dedup import Rows, load

from headwater.core.ngrams import Words, split_words
from headwater.data.arrow import values
from headwater.data.earlier import Earlier
from headwater.data.engines.local import LocalEngine
from headwater.data.operators.substring_dedup import SubstringDedupConfig
from headwater.data.rows import ALIVE
from headwater.data.substrings import repeated_substrings

OPTIONS = SubstringDedupConfig(exempt_types=())
Cuts = dict[bytes, npt.NDArray[np.int64]]


def run_ours(rows: pa.Table) -> Cuts:
    """The bytes that are cut from each row."""
    folder = Path(tempfile.mkdtemp())
    with LocalEngine(folder, workers=1) as engine:
        parts = [Rows(rows.slice(start, 2000)) for start in range(0, rows.num_rows, 2000)]
        cuts = engine.collect(repeated_substrings(engine, engine.read(parts, ALIVE), OPTIONS, Earlier())).to_pylist()
    shutil.rmtree(folder)
    return {row["row"]: np.frombuffer(row["cuts"], "<i8").reshape(-1, 2) for row in cuts}


def run_in_memory(texts: list[str]) -> tuple[Words, npt.NDArray[np.bool_]]:
    """The words of all texts, and which of them lie in a repeated window."""
    size, words = OPTIONS.min_tokens, split_words(texts)
    hashes, places = words.ngrams(size)
    order = np.argsort(hashes, kind="stable")  # places ascend: of equal windows the first comes first
    found = hashes[order]
    fresh = np.concatenate([[True], found[1:] != found[:-1]]) if len(found) else np.empty(0, np.bool_)
    first = places[order][np.maximum.accumulate(np.where(fresh, np.arange(len(found)), 0))]
    mine = places[order]
    repeated = (mine - first >= size) | (words.text_of(mine) != words.text_of(first))
    depth = np.zeros(len(words) + 1, np.int64)
    np.add.at(depth, mine[repeated], 1)
    np.add.at(depth, mine[repeated] + size, -1)
    return words, np.cumsum(depth[:-1]) > 0


def disagreements(rows: pa.Table, texts: list[str], cuts: Cuts) -> tuple[int, int, int]:
    """Words, words that the search in memory cuts, and words on which the two disagree."""
    words, again = run_in_memory(texts)
    wrong = 0
    for number, (row, text) in enumerate(zip(values(rows, "row"), texts, strict=True)):
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        bounds = np.concatenate([[0], np.cumsum(widths)])
        marks = np.zeros(int(bounds[-1]) + 1, np.int64)
        for start, stop in cuts.get(row, ()):
            marks[start:stop] = 1
        before = np.concatenate([[0], np.cumsum(marks)])
        mine = slice(int(words.first_words[number]), int(words.first_words[number + 1]))
        starts, stops = (bounds[each[mine] - words.text_starts[number]] for each in (words.starts, words.stops))
        wrong += int((before[stops] - before[starts] != again[mine] * (stops - starts)).sum())
    return len(words), int(again.sum()), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = load(asked.corpus, asked.limit)
    texts = values(rows, "text")
    size = sum(len(text.encode()) for text in texts)
    print(f"{rows.num_rows:,} documents, {size / 1e6:.1f} MB of text")
    run_ours(rows.slice(0, 100))  # compiles
    ratios, cuts = [], {}
    for _ in range(asked.repeats):
        marks = [time.process_time()]
        cuts = run_ours(rows)
        marks.append(time.process_time())
        run_in_memory(texts)
        marks.append(time.process_time())
        ratios.append((marks[2] - marks[1]) / (marks[1] - marks[0]))
    words, repeated, wrong = disagreements(rows, texts, cuts)
    gone = sum(int((spans[:, 1] - spans[:, 0]).sum()) for spans in cuts.values())
    found = {
        "documents": rows.num_rows, "documents_cut": len(cuts), "bytes_cut_ratio": gone / size,
        "words": words, "words_cut": repeated, "words_disagreeing": wrong, "cpu_ratio": sorted(ratios),
    }  # fmt: skip
    print(
        f"cut from {len(cuts):,} documents: {gone / size:.1%} of the bytes, {repeated / max(1, words):.1%} of the words"
    )
    print(f"words on which the search in memory disagrees: {wrong:,} of {words:,}")
    print(f"the search in memory takes {sorted(ratios)[len(ratios) // 2]:.1f}× our CPU seconds "
          f"({min(ratios):.1f}–{max(ratios):.1f})")  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if wrong:
        raise SystemExit(f"{wrong:,} words are cut by one and not by the other")


if __name__ == "__main__":
    main()
