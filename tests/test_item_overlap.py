"""A leaked evaluation item, from the page to the scores: kept and marked, trained on, told apart, traced."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from line_runs import TINY, headwater

from headwater.core.item_parts import item_parts
from headwater.core.layout import RunLayout
from headwater.eval.tasks.packaged import read_split

TASK, INDEX = "headwater_mini_gsm8k", 1


@pytest.mark.slow
def test_scores_tell_a_leaked_item_from_the_others(tmp_path):
    site = tmp_path / "site"
    shutil.copytree(Path(json.__file__).parent, site / "json", ignore=shutil.ignore_patterns("__pycache__"))
    question = item_parts(read_split(TASK, "test")[INDEX]).question
    (site / "leak.txt").write_text(f"Puzzles of the week.\n\n{question.upper()}\n\nAnswers next week.\n")
    value = yaml.safe_load(TINY.read_text())
    value["sources"] = {"notes": {"kind": "tree", "paths": {"notes://team/": str(site)}, "include": ["*.py", "*.txt"],
                                  "date": "2026-01-01T00:00:00Z"}}  # fmt: skip
    value["documents"] = {"sources": {"notes": ["extract", "pii"]}, "validation_ratio": 0.0,
                          "decontaminate": {"action": "mark"}}  # fmt: skip
    value["mixture"] = {"weights": {"notes": 1}, "block": 10}
    value["train"]["validation"] = {"every": 0}
    value["train"]["checkpoint"] = {"every": 4}
    value["eval"] |= {"tasks": [TASK], "checkpoint": "last", "bits_per_byte": False}
    (tmp_path / "leaked.yaml").write_text(yaml.safe_dump(value))
    run = tmp_path / "run"
    headwater("line", "run", tmp_path / "leaked.yaml", "--run", run, "--until", "eval")
    results = json.loads((RunLayout(run).eval / "results.json").read_text())
    for score in results["tasks"]:
        assert (score["overlap"]["clean"]["items"], score["overlap"]["overlapping"]["items"]) == (3, 1)
    assert any(f"hold items of {TASK} (1 of 4)" in note for note in results["notes"])
    found = json.loads(headwater("trace", "item", TASK, str(INDEX), "--run", run, "--json").stdout)
    (first, *_) = found["documents"]
    assert first["url"] == "notes://team/leak.txt" and first["coverage"] > 0.9 and first["rejection"] is None
    assert first["readings"] and set(found["answer"]) == {"prediction", "target", "correct"}
    assert "The model's answer was " in headwater("trace", "item", TASK, str(INDEX), "--run", run).stdout
    assert headwater("verify", run).returncode == 0
