"""Redaction: what is found of a planted set, and CPU seconds against datatrove's PIIFormatter on the same texts.

    python benchmarks/data/pii.py [--planted 1000] [--seed 2] [--corpus FOLDER] [--limit 8000] [--repeats 5] [--json F]

The planted set (`packages/data/tests/planted_pii.py`) holds made-up values of each kind in many written forms, in
sentences of several languages, and as many sentences again that only look as if they had some. Recall is the share of
the values that are gone; a false alarm is a text without any value of a kind in which something of that kind was
replaced. datatrove's formatter knows e-mail addresses and IP addresses; both run on the same texts, one kind at a time.

With a corpus, both redact its extracted texts: e-mail and IP addresses (the work that both do), and all kinds of ours.
A ratio is datatrove's CPU seconds over ours: above 1, ours is faster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import paired
import pyarrow as pa
from datatrove.pipeline.formatters.pii import PIIFormatter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packages" / "data" / "tests"))

from planted_pii import Case, cases

from headwater.data.operators.pii import KINDS, Pii, PiiConfig, redact

THEIRS = {
    "email": PIIFormatter(remove_emails=True, remove_ips=False),
    "ip": PIIFormatter(remove_emails=False, remove_ips=True),
}


def redact_ours(kind: str) -> Callable[[str], str]:
    config = PiiConfig(kinds=(kind,))
    return lambda text: redact(text, config)[0]


def quality(planted: list[Case], kind: str, change: Callable[[str], str]) -> dict[str, Any]:
    """Recall and precision by texts."""
    mine = [case for case in planted if any(each == kind for each, _ in case.planted)]
    others = [case for case in planted if not any(each == kind for each, _ in case.planted)]
    gone = sum(value not in change(case.text) for case in mine for each, value in case.planted if each == kind)
    alarms = [case for case in others if change(case.text) != case.text]
    return {
        "kind": kind,
        "planted": len(mine),
        "others": len(others),
        "recall": gone / len(mine),
        "false_alarms": len(alarms),
        "precision": gone / max(gone + len(alarms), 1),
    }


def show_quality(planted: list[Case]) -> list[dict[str, Any]]:
    rows = [{"of": "headwater", **quality(planted, kind, redact_ours(kind))} for kind in KINDS]
    rows += [{"of": "datatrove", **quality(planted, kind, each.format)} for kind, each in THEIRS.items()]
    print(f"{'':<12}{'kind':<8}{'planted':>8}{'recall':>8}{'other texts':>12}{'false alarms':>14}{'precision':>11}")
    for row in rows:
        print(f"{row['of']:<12}{row['kind']:<8}{row['planted']:>8}{row['recall']:>8.3f}{row['others']:>12}"
              f"{row['false_alarms']:>14}{row['precision']:>11.3f}")  # fmt: skip
    return rows


def ours(config: PiiConfig) -> Callable[[pa.RecordBatch], None]:
    operator = Pii(config)

    def run(batch: pa.RecordBatch) -> None:
        operator.process(batch)

    return run


def theirs(batch: pa.RecordBatch) -> None:
    formatter = PIIFormatter()
    pa.array([formatter.format(text) for text in batch.column("text").to_pylist()], pa.string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, default=1000, help="values of each kind")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--limit", type=int, default=8000, help="documents; 0: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = show_quality(cases(asked.planted, asked.seed))
    if asked.corpus is None:
        print("speed: skipped, no corpus; give the folder of one by --corpus")
    else:
        batches = [
            batch.append_column("content_type", pa.nulls(len(batch), pa.string()))
            for batch in corpus.batches(asked.corpus, asked.limit)
        ]
        print(f"{corpus.megabytes(batches):.1f} MB of text")
        for name, config in (("e-mail and IP", PiiConfig(kinds=("email", "ip"))), ("all kinds", PiiConfig())):
            found = paired.measure({"ours": ours(config), f"datatrove, ours {name}": theirs}, batches, asked.repeats)
            rows += paired.ratios(found, "ours")
    paired.show([row for row in rows if "ratio" in row], None)
    if asked.json:
        import json

        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
