"""The rules for instruction data on labelled sentences: refusals, and types of tasks.

    python benchmarks/data/instruction_rules.py [--wrong] [--json F]

`packages/data/tests/labelled_refusals.py` has beginnings of answers in 14 languages, `labelled_tasks.py` prompts; each
has sentences that were there while the rules were written, and others that were written after them. The negatives are
chosen to look like refusals: their share in real data is far smaller, and so is that of false alarms.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packages" / "data" / "tests"))

import labelled_refusals
import labelled_tasks

from headwater.data.conversations.refusals import begins_with
from headwater.data.conversations.tasks import task_of_prompt

Labelled = Mapping[str, Sequence[str]]


def refusals(refused: Labelled, answered: Labelled) -> dict[str, Any]:
    """Precision and recall of refusals, and what was wrong."""
    missed = [text for texts in refused.values() for text in texts if kind_of(text) != "refusal"]
    false = [text for texts in answered.values() for text in texts if kind_of(text) == "refusal"]
    count = sum(map(len, refused.values()))
    found = count - len(missed)
    return {
        "refusals": count, "answers": sum(map(len, answered.values())), "recall": found / count,
        "precision": found / (found + len(false)), "missed": missed, "false": false,
    }  # fmt: skip


def kind_of(answer: str) -> str:
    """What the rules take an answer for."""
    found = begins_with(answer)
    return found.kind if found else ""


def tasks(prompts: Labelled) -> dict[str, Any]:
    """Accuracy, and precision and recall of each type."""
    pairs = [(label, task_of_prompt(text), text) for label, texts in prompts.items() for text in texts]
    said, right = Counter(found for _, found, _ in pairs), Counter(label for label, found, _ in pairs if label == found)
    named = [label == found for label, found, _ in pairs if found not in ("question_answering", "chat", "other")]
    return {
        "prompts": len(pairs), "accuracy": sum(right.values()) / len(pairs), "precision_named": sum(named) / len(named),
        "types": {label: {"prompts": len(texts), "recall": right[label] / len(texts),
                          "precision": right[label] / said[label] if said[label] else None}
                  for label, texts in prompts.items()},
        "wrong": [f"{label} → {found}: {text}" for label, found, text in pairs if label != found],
    }  # fmt: skip


def measure() -> dict[str, dict[str, Any]]:
    """All figures."""
    return {
        "refusals seen": refusals(labelled_refusals.SEEN_REFUSALS, labelled_refusals.SEEN_ANSWERS),
        "refusals held out": refusals(labelled_refusals.HELD_OUT_REFUSALS, labelled_refusals.HELD_OUT_ANSWERS),
        "tasks seen": tasks(labelled_tasks.SEEN),
        "tasks held out": tasks(labelled_tasks.HELD_OUT),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true", help="show what was wrong")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = measure()
    for name, figures in found.items():
        shown = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        print(
            f"{name:18}  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())
        )
        for task, row in figures.get("types", {}).items():
            precision = "–" if row["precision"] is None else f"{row['precision']:.2f}"
            print(f"    {task:20} {row['prompts']:3} prompts  recall {row['recall']:.2f}  precision {precision}")
        for text in [*figures.get("missed", ()), *figures.get("false", ()), *figures.get("wrong", ())]:
            if asked.wrong:
                print(f"    wrong: {text}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
