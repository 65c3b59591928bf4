"""Names of people: what a model finds of a planted set, by language, and CPU seconds for each megabyte of text.

    python benchmarks/data/names.py --model FOLDER [--sentences 200] [--seed 2] [--min-score 0.5] [--corpus FOLDER]
    python benchmarks/data/names.py --training FILE [--sentences 200] [--seed 1]

The second form writes sentences to train a model on; `headwater data model train names --sentences FILE --out FOLDER`
makes one. The planted set (`planted_names.py`) has other sentences than these, and other names, places, companies and
products. Six in ten sentences have names, the others only what is written like one.

A name counts as found when one span covers it whole, a span as false when it touches no name. With a corpus, the
findings in its extracted texts are counted, and `--show 50` prints some, drawn evenly, to be read by hand.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from planted_names import Planted, planted

from headwater.data.models import names


def quality(model: names.NameModel, sentences: list[Planted], min_score: float) -> list[dict[str, Any]]:
    """Recall, precision and false alarms in sentences without names, by language."""
    tallies: dict[str, Counter[str]] = {}
    for sentence in sentences:
        spans = model.find(sentence.text, min_score)
        for tally in (tallies.setdefault(sentence.language, Counter()), tallies.setdefault("all", Counter())):
            tally["names"] += len(sentence.names)
            tally["found"] += sum(any(a <= start and stop <= b for a, b in spans) for start, stop in sentence.names)
            tally["false"] += sum(not any(a < stop and start < b for start, stop in sentence.names) for a, b in spans)
            tally["without"] += not sentence.names
            tally["alarms"] += not sentence.names and bool(spans)
    return [
        {"language": language, "names": t["names"], "recall": t["found"] / t["names"],
         "precision": t["found"] / max(t["found"] + t["false"], 1), "without": t["without"], "alarms": t["alarms"]}
        for language, t in sorted(tallies.items(), key=lambda each: (each[0] == "all", each[0]))
    ]  # fmt: skip


def in_corpus(model: names.NameModel, texts: list[str], min_score: float, show: int) -> dict[str, Any]:
    """What is found in real texts, and how long it takes."""
    start = time.process_time()
    found = [(text, name) for text in texts for name in model.find(text, min_score)]
    seconds = time.process_time() - start
    for text, (a, b) in found[:: max(1, len(found) // show)][:show] if show else []:
        print(repr(f"{text[max(0, a - 40) : a]}⟦{text[a:b]}⟧{text[b : b + 40]}"))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    distinct = len({text[a:b] for text, (a, b) in found})
    print(f"{len(texts)} texts, {megabytes:.2f} MB: {len(found)} names, {distinct} distinct, "
          f"{seconds / megabytes:.0f} CPU seconds a megabyte")  # fmt: skip
    return {"texts": len(texts), "megabytes": megabytes, "found": len(found), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--training", type=Path, help="write sentences to train on, and end")
    parser.add_argument("--sentences", type=int, default=200, help="of each language")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--min-score", type=float, default=0.5)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="documents of the corpus")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.training:
        sentences = planted(asked.sentences, asked.seed, 0)
        asked.training.write_text("".join(json.dumps(each.row(), ensure_ascii=False) + "\n" for each in sentences))
        return
    if asked.model is None:
        parser.error("give --model, or --training")
    model = names.load(str(asked.model))
    rows = quality(model, planted(asked.sentences, asked.seed, 1), asked.min_score)
    print(f"{'':<10}{'names':>7}{'recall':>8}{'precision':>11}{'without':>9}{'alarms':>8}")
    for row in rows:
        print(f"{row['language']:<10}{row['names']:>7}{row['recall']:>8.3f}{row['precision']:>11.3f}"
              f"{row['without']:>9}{row['alarms']:>8}")  # fmt: skip
    if asked.corpus:
        import corpus

        batches = corpus.batches(asked.corpus, asked.limit)
        texts = [str(text) for batch in batches for text in batch.column("text").to_pylist()]
        rows.append(in_corpus(model, texts, asked.min_score, asked.show))
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
