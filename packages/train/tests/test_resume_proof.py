"""The proof of exact resume: what it runs, and that it would see a difference."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.core.errors import ConfigError
from headwater.train.cli import train
from headwater.train.parity.layouts import LAYOUTS
from headwater.train.proof.leg import layouts_of
from headwater.train.proof.prove import _legs
from headwater.train.proof.trial import Reference, _judge


def row(step: int, **changes: Any) -> dict[str, Any]:
    return {"step": step, "loss": 4.0 - step / 8, "samples": [8 * step - 8, 8 * step], "fed": f"{step:016x}", **changes}


def write(run: Path, rows: list[dict[str, Any]]) -> bytes:
    (run / "train").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(item) + "\n" for item in rows).encode()
    (run / "train" / "losses.jsonl").write_bytes(lines)
    return lines


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([row(1), row(2), row(3)], (True, True, True)),
        ([row(1), row(2)], (False, False, False)),  # lost
        ([row(1), row(2, samples=[0, 8]), row(3)], (False, True, False)),  # repeated
        ([row(1), row(2, fed="0" * 16), row(3)], (True, False, False)),  # other tokens under the same numbers
        ([row(1), row(2, loss=3.7500000000000004), row(3)], (True, True, False)),  # one bit
    ],
)
def test_a_lost_a_repeated_and_an_exchanged_sample_and_a_bit_of_the_loss_are_seen(
    tmp_path: Path, rows: list[dict[str, Any]], found: tuple[bool, bool, bool]
) -> None:
    one, whole = LAYOUTS["one"], [row(1), row(2), row(3)]
    reference = Reference(one, whole, write(tmp_path / "whole", whole), "", 1.0, 0.1)
    write(tmp_path / "run", rows)
    trial = _judge(1, [], [one, one], tmp_path / "run", {"one": reference})
    assert (trial.samples_equal, trial.fed_equal, trial.losses_identical) == found
    assert trial.good == all(found)
    changed = _judge(1, [], [LAYOUTS["fsdp2"], one], tmp_path / "run", {"one": reference})
    assert changed.losses_identical is None and changed.good == all(found[:2])


def test_trials_stay_on_every_layout_and_go_from_each_to_each_other() -> None:
    layouts = [LAYOUTS[name] for name in ("one", "fsdp2", "ddp2")]
    plans = Counter(tuple(layout.name for layout in _legs(number, layouts)[:2]) for number in range(1, 51))
    assert len(plans) == 9 and min(plans.values()) >= 4
    assert sum(len(_legs(number, layouts)) == 3 for number in range(1, 51)) == 10
    assert _legs(2, layouts[:1]) == [layouts[0]] * 2


def test_an_unknown_layout_and_a_folder_with_something_in_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no layout fsdp3(?s:.)*did you mean fsdp"):
        layouts_of(["one", "fsdp3"], LAYOUTS)
    with pytest.raises(ConfigError, match="no layout ep2 for a dense model"):
        layouts_of(["ep2"], LAYOUTS)
    (tmp_path / "mine.txt").write_text("keep")
    result = CliRunner().invoke(train, ["resume-proof", "--out", str(tmp_path)])
    assert isinstance(result.exception, ConfigError) and "is not empty" in str(result.exception)


@pytest.mark.slow
def test_killed_trainings_go_on_exactly_on_the_same_and_on_another_layout(tmp_path: Path) -> None:
    """On one process test_train_run.py has the same."""
    arguments = ["resume-proof", "--trials", "2", "--layouts", "fsdp2,one", "--json", "--out", str(tmp_path / "proof")]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    proof = json.loads(result.stdout)
    assert proof["good"] and [trial["layouts"] for trial in proof["trials"]] == [
        ["fsdp2", "fsdp2"], ["one", "fsdp2"]
    ]  # fmt: skip
    assert [trial["losses_identical"] for trial in proof["trials"]] == [True, None]
    assert all(trial["samples_equal"] and trial["fed_equal"] for trial in proof["trials"])
