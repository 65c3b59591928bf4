"""The gate: whether a candidate may take a baseline's place, from two evaluations of the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from headwater.core.errors import EvalError
from headwater.core.storage import storage_errors
from headwater.eval.compare import POWER, compare, holm
from headwater.eval.results import Results, Sample, Score

Verdict = Literal["GO", "NO-GO", "INCONCLUSIVE"]
LEVEL, MARGIN = 0.05, 0.02


class Unit(BaseModel):
    """One task or group: the candidate against the baseline. See `compare.Comparison`.

    Attributes:
        task: lm-eval's name.
        metric: lm-eval's name, with the filter where there is one.
        p_corrected: `p_worse`, corrected for the number of tasks.
        margin: The loss that does not matter.
        verdict: NO-GO: it is worse, with what is left of the level after the correction. GO: a loss as large as the
            margin is ruled out. INCONCLUSIVE: neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    metric: str
    higher_is_better: bool
    items: int
    baseline: float
    candidate: float
    effect: float
    low: float | None
    high: float | None
    p_worse: float
    p_corrected: float
    detectable: float | None
    differing: float
    gained: int | None
    lost: int | None
    test: str
    margin: float
    verdict: Verdict


class Decision(BaseModel):
    """What the gate says.

    Attributes:
        verdict: NO-GO when one task is; GO when all are; otherwise INCONCLUSIVE.
        level: Probability of a NO-GO, at most, when the two models are alike.
        units: The tasks, worst first.
        missing: Tasks that were refused or are not in both evaluations: no GO without them.
        baseline, candidate: Where the evaluations lie.
        warnings: What makes the comparison doubtful, in sentences.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    level: float
    power: float = POWER
    units: list[Unit]
    missing: list[str]
    baseline: str
    candidate: str
    warnings: list[str] = []


class Evaluated:
    """An evaluation on disk.

    Args:
        folder: Holds `results.json` and `samples/`.

    Raises:
        EvalError: It does not, or they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "results.json"
        if not path.is_file():
            raise EvalError(
                f"{folder} holds no evaluation", found="no results.json",
                hint="give the folder of one (RUN/eval), or of a run or checkpoint together with --suite",
            )  # fmt: skip
        with storage_errors("read", path):
            content = path.read_bytes()
        try:
            self.results = Results.model_validate_json(content)
        except ValueError as error:
            raise EvalError(f"{path} cannot be read: {error}") from error
        self._samples: dict[str, dict[tuple[str, str], Sample]] = {}

    def units(self) -> dict[str, Score]:
        """What was asked for: groups and tasks by name, each with its first metric that is a mean of its items."""
        inner = {member for score in self.results.tasks for member in score.members}
        found: dict[str, Score] = {}
        for score in self.results.tasks:
            if score.task in self.results.asked or (score.task not in inner and not score.group):
                found.setdefault(score.task, score)
        return found

    def samples(self, task: str) -> dict[tuple[str, str], Sample]:
        """Task and digest of an item → what was answered, in the order of the items."""
        if task in self._samples:
            return self._samples[task]
        path = self.folder / "samples" / f"{task}.jsonl"
        if not path.is_file():
            raise EvalError(f"{path} is missing", hint="evaluate again")
        with storage_errors("read", path):
            lines = path.read_bytes().split(b"\n")
        found: dict[tuple[str, str], Sample] = {}
        for number, line in enumerate(lines):
            if not line:
                continue
            try:
                sample = Sample.model_validate_json(line)
            except ValueError as error:
                raise EvalError(f"{path} cannot be read, line {number + 1}: {error}", hint="evaluate again") from error
            # An item may be in a set twice.
            key = (task, sample.document_sha256)
            found[key if key not in found else (task, f"{sample.document_sha256} {number}")] = sample
        self._samples[task] = found
        return found

    def values(self, unit: Score) -> dict[tuple[str, str], float]:
        """Task and digest of an item → its value."""
        found: dict[tuple[str, str], float] = {}
        for task in unit.members or (unit.task,):
            for key, sample in self.samples(task).items():
                value = sample.filters.get(unit.filter, {}).get("metrics", {}).get(unit.metric)
                if not isinstance(value, int | float) or not math.isfinite(value):
                    raise EvalError(
                        f"{self.folder} has no {unit.metric} for item {sample.index} of {task}", found=value,
                        expected="a finite number",
                    )  # fmt: skip
                found[key] = float(value)
        return found


def decide(
    baseline: Evaluated,
    candidate: Evaluated,
    *,
    tasks: Sequence[str] | None = None,
    metrics: Mapping[str, str] | None = None,
    level: float = LEVEL,
    margins: Mapping[str, float] | None = None,
    margin: float = MARGIN,
) -> Decision:
    """Compares two evaluations.

    Args:
        baseline: An evaluation.
        candidate: One of the same tasks, versions, examples and items.
        tasks: Which of their tasks and groups count; by default all.
        metrics: Task → metric, where it is not the first that lm-eval names.
        level: Probability of a NO-GO when the two are alike.
        margins: Task → the loss that does not matter, where it is not `margin`.
        margin: In the metric's own units where items are right or wrong, otherwise a share of the baseline's value.

    Raises:
        EvalError: The two do not answer the same questions.
    """
    theirs, ours = baseline.units(), candidate.units()
    wanted = list(tasks) if tasks is not None else list(dict.fromkeys([*theirs, *ours]))
    refused = {each.task for side in (baseline, candidate) for each in side.results.refused}
    missing = sorted({name for name in wanted if name not in theirs or name not in ours} | (refused & set(wanted)))
    count = sum(name not in missing for name in wanted)
    if not count:
        raise EvalError(
            "the two evaluations have no task in common",
            found=f"{', '.join(sorted(theirs)) or 'none'} and {', '.join(sorted(ours)) or 'none'}",
            expected=", ".join(wanted) or "the same tasks",
        )
    rows: list[Pair] = []
    for name in wanted:
        if name in missing:
            continue
        before, after = (
            _metric(side, found[name], (metrics or {}).get(name))
            for side, found in ((baseline, theirs), (candidate, ours))
        )
        a, b = _paired(baseline, candidate, before, after)
        metric = before.metric if before.filter == "none" else f"{before.metric} ({before.filter})"
        rows.append(Pair(name, metric, a, b, before.higher_is_better is not False, (margins or {}).get(name)))
    units = judge(rows, level, margin)
    kinds = {unit.verdict for unit in units}
    overall: Verdict = "NO-GO" if "NO-GO" in kinds else "GO" if kinds == {"GO"} and not missing else "INCONCLUSIVE"
    return Decision(
        verdict=overall, level=level, missing=missing, baseline=str(baseline.folder), candidate=str(candidate.folder),
        units=sorted(units, key=lambda unit: (unit.p_corrected, unit.task)),
        warnings=_doubts(baseline.results, candidate.results),
    )  # fmt: skip


class Pair(NamedTuple):
    """A metric of a task: the values of both models on the same items, its direction, and a margin of its own."""

    task: str
    metric: str
    baseline: Sequence[float]
    candidate: Sequence[float]
    higher_is_better: bool = True
    margin: float | None = None


def judge(pairs: Sequence[Pair], level: float = LEVEL, margin: float = MARGIN) -> list[Unit]:
    """A verdict for each task; see `decide`. The level is shared by all of them."""
    found = [
        compare(pair.baseline, pair.candidate, level=level / len(pairs), higher_is_better=pair.higher_is_better)
        for pair in pairs
    ]
    corrected = holm([each.p_worse for each in found])
    units: list[Unit] = []
    for pair, each, p_corrected in zip(pairs, found, corrected, strict=True):
        usual = margin if each.test == "mcnemar" else margin * abs(each.baseline)
        allowed = usual if pair.margin is None else pair.margin
        ruled_out = each.low is not None and each.low > -allowed
        verdict: Verdict = "NO-GO" if p_corrected <= level else "GO" if ruled_out else "INCONCLUSIVE"
        units.append(
            Unit(task=pair.task, metric=pair.metric, higher_is_better=pair.higher_is_better, p_corrected=p_corrected,
                 margin=allowed, verdict=verdict, **each.__dict__)
        )  # fmt: skip
    return units


def _doubts(baseline: Results, candidate: Results) -> list[str]:
    before, after = (side.settings["eval"].get("precision", "float32") for side in (baseline, candidate))
    if before != after:
        return [f"the baseline was computed in {before}, the candidate in {after}"]
    if baseline.checkpoint.weights_digest == candidate.checkpoint.weights_digest:
        return ["baseline and candidate have the same weights: is one of the folders the wrong one?"]
    return []


def _metric(side: Evaluated, first: Score, metric: str | None) -> Score:
    if metric is None:
        return first
    name, _, answer_filter = metric.partition(",")
    found = [
        score for score in side.results.tasks
        if score.task == first.task and score.metric == name and answer_filter in ("", score.filter)
    ]  # fmt: skip
    if not found:
        known = [f"{s.metric},{s.filter}" for s in side.results.tasks if s.task == first.task]
        raise EvalError(f"{first.task} has no metric {metric}", found=", ".join(known), hint="choose one of these")
    return found[0]


def _paired(baseline: Evaluated, candidate: Evaluated, before: Score, after: Score) -> tuple[list[float], list[float]]:
    for what in ("version", "few_shot", "metric", "filter"):
        a, b = getattr(before, what), getattr(after, what)
        if a != b:
            raise EvalError(
                f"{before.task} was not asked in the same way of both models",
                found=f"{what} {a} for the baseline, {b} for the candidate", hint="evaluate both with the same suite",
            )  # fmt: skip
    a, b = baseline.values(before), candidate.values(after)
    if not a or not b:
        raise EvalError(
            f"{before.task} has no items", found=f"{len(a):,} of the baseline, {len(b):,} of the candidate",
            hint="evaluate again",
        )  # fmt: skip
    if a.keys() != b.keys():
        raise EvalError(
            f"the two models did not answer the same items of {before.task}",
            found=f"{len(a.keys() - b.keys()):,} items only of the baseline, {len(b.keys() - a.keys()):,} only of the "
            f"candidate, {len(a.keys() & b.keys()):,} of both",
            hint="evaluate both with the same suite, limit and data",
        )
    keys = sorted(a)
    return [a[key] for key in keys], [b[key] for key in keys]
