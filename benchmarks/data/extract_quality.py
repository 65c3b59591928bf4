"""Precision, recall and F1 of the extractors on pages whose main content is known word by word.

    python benchmarks/data/extract_quality.py [--json FILE] [--write FOLDER]

The pages are generated (`labelled_pages`): 48 of 17 kinds in 12 languages. Text is compared as bags of four-word
shingles (runs of characters where words are not set apart), the measure of the article extraction benchmark of
Scrapinghub (2020); pages count alike, as in Bevendorff et al., "An Empirical Comparison of Web Content Extraction
Algorithms", SIGIR 2023. On index pages, which have no main content, what counts is the share of the page's visible
text that is left out.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean

import pyarrow as pa
from labelled_pages.kinds import labelled_pages
from labelled_pages.page import Labelled

from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.rows import ROWS

EXTRACTORS = {
    "resiliparse": {"html": "resiliparse"}, "resiliparse, full": {"html": "resiliparse", "scope": "full"},
    "trafilatura": {"html": "trafilatura"}, "justext": {"html": "justext"},
}  # fmt: skip
# A word, or one character of a script that sets no spaces between words.
TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
SHINGLE = 4


def shingles(text: str) -> Counter[tuple[str, ...]]:
    tokens = TOKEN.findall(text.lower())
    size = min(SHINGLE, max(len(tokens), 1))
    return Counter(tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1) if tokens)


def texts(pages: list[Labelled], options: dict[str, str]) -> list[str]:
    count = len(pages)
    given = {
        "content_type": pa.array(["text/html"] * count), "charset": pa.array(["utf-8"] * count),
        "http_status": pa.array([200] * count, pa.int32()),
        "payload": pa.array([page.html.encode() for page in pages], pa.binary()),
    }  # fmt: skip
    columns = [given.get(each.name, pa.array([b"" if pa.types.is_binary(each.type) else None] * count, each.type))
               for each in ROWS]  # fmt: skip
    batch = pa.RecordBatch.from_arrays(columns, names=ROWS.names)
    return Extract(ExtractConfig(**options)).process(batch).batch.column("text").to_pylist()


def scores(truth: str, found: str) -> tuple[float, float, float]:
    wanted, got = shingles(truth), shingles(found)
    shared = (wanted & got).total()
    precision = shared / got.total() if got else 0.0
    recall = shared / wanted.total()
    return precision, recall, 2 * precision * recall / (precision + recall) if shared else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="write the pages and their main content here, to be looked at")
    asked = parser.parse_args()
    pages = labelled_pages()
    if asked.write:
        asked.write.mkdir(parents=True, exist_ok=True)
        for page in pages:
            name = asked.write / page.name.replace(" ", "-")
            name.with_suffix(".html").write_text(page.html)
            name.with_suffix(".txt").write_text(page.truth)
    kinds = list(dict.fromkeys(page.kind for page in pages))
    found = {name: texts(pages, options) for name, options in EXTRACTORS.items()}
    visible = found["resiliparse, full"]
    results = []
    print(f"{'kind':<20}{'pages':>6}" + "".join(f"{name:>22}" for name in EXTRACTORS))
    for kind in [*kinds, "all but index"]:
        places = [i for i, page in enumerate(pages) if page.kind == kind or (kind == "all but index" and page.truth)]
        line = f"{kind:<20}{len(places):>6}"
        for name in EXTRACTORS:
            if kind == "index":
                left_out = mean(1 - len(found[name][i].split()) / len(visible[i].split()) for i in places)
                line += f"{f'{left_out:.2f} left out':>22}"
                results.append({"kind": kind, "extractor": name, "left_out": left_out})
                continue
            each = [scores(pages[i].truth, found[name][i]) for i in places]
            precision, recall, f1 = (mean(column) for column in zip(*each, strict=True))
            line += f"{f'{precision:.2f} {recall:.2f} {f1:.3f}':>22}"
            results.append({"kind": kind, "extractor": name, "precision": precision, "recall": recall, "f1": f1})
        print(line)
    print("precision, recall, F1; means over pages")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
