"""The heuristic filters against datatrove's: CPU seconds on the same texts, and whether they decide alike.

    python benchmarks/data/filters.py --corpus FOLDER [--limit 8000] [--shipped 200] [--repeats 3] [--json FILE]

Gopher quality, Gopher repetition, FineWeb and C4 over one word split, on extracted text (`--limit 0`: all of it).
datatrove runs twice: as shipped (words and sentences by spaCy, on `--shipped` documents), and with `str.split` in the
place of spaCy's words and a regular expression in the place of its sentences, which decides as ours should. Both go
document by document through all four filters, so that datatrove's own cache of the last splits helps it. A ratio is
datatrove's CPU seconds over ours: above 1, ours is faster. Every disagreement is printed, with its reason
(`--limit 0 --repeats 0`: look for them in the whole corpus, and measure nothing).
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import corpus
import datatrove.pipeline.filters.c4_filters as c4_filters
import datatrove.pipeline.filters.fineweb_quality_filter as fineweb_quality_filter
import datatrove.pipeline.filters.gopher_quality_filter as gopher_quality_filter
import datatrove.pipeline.filters.gopher_repetition_filter as gopher_repetition_filter
import paired
import pyarrow as pa
from datatrove.data import Document

from headwater.data.operators.c4 import C4, C4Config
from headwater.data.operators.fineweb import Fineweb, FinewebConfig
from headwater.data.operators.gopher_quality import GopherQuality, GopherQualityConfig
from headwater.data.operators.gopher_repetition import GopherRepetition, GopherRepetitionConfig
from headwater.data.operators.text_split import split_of

SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]{0,3}(?=\s|$)")
WORD_USERS = (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter)
SHIPPED = WORD_USERS[0].split_into_words, c4_filters.split_into_sentences

OURS = (
    GopherQuality(GopherQualityConfig()), GopherRepetition(GopherRepetitionConfig()), Fineweb(FinewebConfig()),
    C4(C4Config()),
)  # fmt: skip
THEIRS = {
    "gopher_quality": gopher_quality_filter.GopherQualityFilter(),
    "gopher_repetition": gopher_repetition_filter.GopherRepetitionFilter(),
    "fineweb": fineweb_quality_filter.FineWebQualityFilter(),
    "c4": c4_filters.C4QualityFilter(),
}


@lru_cache(5)
def white_space_words(text: str, language: str | None = None) -> list[str]:
    return text.split()


def sentences(text: str, language: str | None = None) -> list[str]:
    return SENTENCE_END.findall(text)


def use(words: Callable[..., list[str]], ends: Callable[..., list[str]]) -> None:
    for module in WORD_USERS:
        module.split_into_words = words
    c4_filters.split_into_sentences = ends


def run_ours(batch: pa.RecordBatch) -> dict[str, float]:
    batch = pa.RecordBatch.from_arrays([batch.column("text")], schema=batch.schema)
    start = time.process_time()
    split_of.__globals__["_last"].__dict__.pop("split", None)  # no split is left from another run
    split_of(batch)
    parts = {"split": time.process_time() - start}
    for operator in OURS:
        start = time.process_time()
        operator.process(batch)
        parts[operator.name] = time.process_time() - start
    return parts


def run_white_space(batch: pa.RecordBatch) -> dict[str, float]:
    use(white_space_words, sentences)
    parts = dict.fromkeys(("split", *THEIRS), 0.0)
    for text in batch.column("text").to_pylist():
        document, start = Document(text=text, id=""), time.process_time()
        white_space_words(text)
        before, start = start, time.process_time()
        parts["split"] += start - before
        for name, filter_ in THEIRS.items():
            filter_.filter(document)
            before, start = start, time.process_time()
            parts[name] += start - before
    return parts


def run_shipped(batch: pa.RecordBatch) -> None:
    use(*SHIPPED)
    for text in batch.column("text").to_pylist():
        document = Document(text=text, id="")
        for filter_ in THEIRS.values():
            filter_.filter(document)


def disagreements(batches: list[pa.RecordBatch]) -> int:
    use(white_space_words, sentences)
    count = 0
    for number, batch in enumerate(batches):
        for operator in OURS:
            verdicts = operator.process(batch)
            left = verdicts.batch.column("text").to_pylist()
            for row, text in enumerate(batch.column("text").to_pylist()):
                document = Document(text=text, id="")
                result = THEIRS[operator.name].filter(document)
                kept, reason = result if isinstance(result, tuple) else (result, "")
                mine = verdicts.outcomes[row] != "reject"
                if kept != mine or (kept and document.text != left[row]):
                    count += 1
                    print(
                        f"differs: batch {number} row {row} {operator.name}: datatrove {kept} {reason}, "
                        f"ours {mine} {verdicts.reasons[row]} {verdicts.details[row]}"
                        f"{why(operator.name, text, mine)}"
                    )
    return count


def why(name: str, text: str, mine: bool) -> str:
    """Known differences of intent, each shown by datatrove's own filter without it."""
    if name != "gopher_repetition":
        return ""
    shipped = gopher_repetition_filter.find_all_duplicate
    gopher_repetition_filter.find_all_duplicate = repeated_characters
    try:
        same = (THEIRS[name].filter(Document(text=text, id="")) is True) == mine
    finally:
        gopher_repetition_filter.find_all_duplicate = shipped
    return "; because datatrove joins the words of an n-gram without a space" if same else ""


def repeated_characters(words: list[str], n: int) -> int:
    """datatrove's count of characters in repeated n-grams, over words instead of their letters."""
    seen: set[tuple[str, ...]] = set()
    taken, place = 0, 0
    while place <= len(words) - n:
        run = tuple(words[place : place + n])
        if run in seen:
            taken += sum(map(len, run))
        place += n if run in seen else 1
        seen.add(run)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=8000)
    parser.add_argument("--shipped", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    batches = corpus.batches(asked.corpus, asked.limit)
    documents = sum(batch.num_rows for batch in batches)
    print(f"{documents} documents, {corpus.megabytes(batches):.0f} MB of text")
    rows = []
    if asked.repeats:
        contenders = {"ours": run_ours, "datatrove, str.split": run_white_space}
        found = paired.measure(contenders, batches, asked.repeats)
        rows += paired.ratios(found, "ours")
        seconds = sorted(run["whole"] for run in found["ours"])[asked.repeats // 2]
        print(f"ours: {corpus.megabytes(batches) / seconds:.0f} MB of text a CPU second")
    if asked.repeats and asked.shipped:
        whole = pa.concat_arrays([batch.column("text") for batch in batches])
        chosen = whole.take(pa.array(range(0, documents, max(1, documents // asked.shipped))))
        sample = [pa.RecordBatch.from_arrays([chosen], schema=batches[0].schema)]
        found = paired.measure({"ours": run_ours, "datatrove as shipped": run_shipped}, sample, asked.repeats)
        rows += paired.ratios(found, "ours")
    paired.show(rows, asked.json)
    print(f"decided differently: {disagreements(batches)} of {documents * len(OURS)} verdicts")


if __name__ == "__main__":
    main()
