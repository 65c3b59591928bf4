"""Finds what a report is about: an evaluation, and those of the same run's other checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.core.console import warn
from headwater.core.errors import EvalError
from headwater.core.layout import RunLayout
from headwater.core.manifest import Manifest, is_artifact, read_manifest
from headwater.eval.gate import Evaluated
from headwater.eval.notes import headline
from headwater.eval.results import Results, Score

GOLD = "gold_bits_per_byte"
BITS = "bits per byte"


@dataclass(frozen=True)
class Source:
    """An evaluation on disk and where it belongs.

    Attributes:
        evaluated: The evaluation.
        manifest: Its manifest; none for a folder that was copied out of its artifact.
        run: The run whose evaluation it is; none where it lies elsewhere.
    """

    evaluated: Evaluated
    manifest: Manifest | None
    run: RunLayout | None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.evaluated.folder

    @property
    def results(self) -> Results:
        """The content of its `results.json`."""
        return self.evaluated.results

    @property
    def name(self) -> str:
        """What people call it: the run's name, or the folder's."""
        return (self.folder if self.run is None else self.run.root).resolve().name

    @property
    def page(self) -> Path:
        """Where the page goes by default: beside the artifact, of which it is no part."""
        return self.folder.parent / f"{self.folder.resolve().name}.html"


def find(place: Path) -> Source:
    """The evaluation in a folder: its own, or that of a run.

    Args:
        place: An evaluation's folder, or a run: then `RUN/eval`, or the last of `RUN/evals` where there is no other.

    Raises:
        EvalError: There is none.
    """
    run = RunLayout(place)
    for folder in (place, run.eval, *reversed(steps(run))):
        if (folder / "results.json").is_file():
            manifest = read_manifest(folder) if is_artifact(folder) else None
            return Source(Evaluated(folder), manifest, _run_of(folder))
    found = "no such folder" if not place.is_dir() else f"no results.json in it, in {run.eval} or in {run.evals}"
    raise EvalError(
        f"{place} holds no evaluation", found=found, expected="the folder of an evaluation, or of a run that has one",
        hint=f"make one: headwater eval run --recipe RECIPE --run {place}",
    )  # fmt: skip


def steps(run: RunLayout) -> list[Path]:
    """The folders of the evaluations that were made of each checkpoint."""
    return sorted(path for path in run.evals.glob("step-*") if path.is_dir()) if run.evals.is_dir() else []


@dataclass(frozen=True)
class History:
    """A score over the training steps at which it was measured; intervals where there are some."""

    task: str
    metric: str
    steps: list[int]
    values: list[float]
    intervals: list[tuple[float, float] | None]
    chance: float | None
    share: bool


def history(source: Source) -> list[History]:
    """The headline scores, what the right choice took and the held-out bits per byte; what has two points or more.

    An evaluation that cannot be read is told and left out.
    """
    if source.run is None:
        return []
    rows: dict[tuple[str, str], list[tuple[int, Score | float]]] = {}
    for folder in steps(source.run):
        results = _results(folder / "results.json")
        if results is None or results.checkpoint.step is None:
            continue
        asked = results.asked
        first = headline(results.tasks, asked)
        names = {score.task for score in first}
        gold = [score for score in results.tasks if score.task in names and score.metric == GOLD]
        for score in [*first, *gold]:
            rows.setdefault((score.task, score.metric), []).append((results.checkpoint.step, score))
        if results.bits_per_byte is not None:
            rows.setdefault(("held-out text", BITS), []).append((results.checkpoint.step, results.bits_per_byte.model))
    return [_history(task, metric, row) for (task, metric), row in rows.items() if len(row) > 1]


def _history(task: str, metric: str, row: list[tuple[int, Score | float]]) -> History:
    scores = [value if isinstance(value, Score) else None for _, value in row]
    intervals = [
        (s.interval.low, s.interval.high) if s is not None and s.interval is not None else None for s in scores
    ]
    last = scores[-1]
    return History(
        task=task, metric=metric, steps=[step for step, _ in row],
        values=[value.value if isinstance(value, Score) else value for _, value in row], intervals=intervals,
        chance=None if last is None else last.chance, share=all(s is not None and is_share(s) for s in scores),
    )  # fmt: skip


def is_share(score: Score) -> bool:
    """Whether it is a share of items, which fits an axis from 0 to 1."""
    inside = score.interval is None or (score.interval.low >= -0.5 and score.interval.high <= 1.5)
    return 0 <= score.value <= 1 and inside and "bits" not in score.metric and score.higher_is_better is not False


def _results(path: Path) -> Results | None:
    if not path.is_file():
        return None
    try:
        content: Any = json.loads(path.read_bytes())
        return Results.model_validate(content)
    except (OSError, ValueError) as error:
        warn(f"{path} was left out, it cannot be read: {str(error).splitlines()[0]}")
        return None


def _run_of(folder: Path) -> RunLayout | None:
    """The run of `RUN/eval` or `RUN/evals/step-…`, as the reader typed it, for the commands that the page names."""
    here = folder if folder.name else folder.resolve()
    if here.name == "eval":
        return RunLayout(here.parent)
    return RunLayout(here.parent.parent) if here.parent.name == "evals" else None
