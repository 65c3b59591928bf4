"""Two evaluations on the same items: what differs, with its interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headwater.core.page import format as fmt
from headwater.eval.compare import Comparison, compare
from headwater.eval.gate import Evaluated
from headwater.eval.report.read import is_share
from headwater.eval.results import LEVEL, Results, Score


@dataclass(frozen=True)
class Pair:
    """A score of two evaluations on the items that both answered.

    Attributes:
        score: Of the evaluation that the report is about.
        found: The comparison; its baseline is the other evaluation.
        only_one: Items that only one of them answered; they are left out.
    """

    score: Score
    found: Comparison
    only_one: int

    @property
    def metric(self) -> str:
        """The metric, with the filter where there is one."""
        return self.score.metric if self.score.filter == "none" else f"{self.score.metric} ({self.score.filter})"

    @property
    def is_share(self) -> bool:
        """Whether it is a share of items."""
        return is_share(self.score)

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the difference's interval."""
        assert self.found.low is not None and self.found.high is not None, "left out, see `_pair`"
        return self.found.low, self.found.high

    @property
    def reading(self) -> str:
        """`better`, `worse`, or `no difference seen` where the interval includes none."""
        low, high = self.ends
        return "better" if low > 0 else "worse" if high < 0 else "no difference seen"


@dataclass(frozen=True)
class Pairs:
    """All of them.

    Attributes:
        units: What was asked for by name.
        members: Group → the groups inside it, and its tasks.
        left_out: Task → why it was not compared.
    """

    units: list[Pair]
    members: dict[str, list[Pair]]
    left_out: dict[str, str]


def pairs(this: Evaluated, other: Evaluated) -> Pairs:
    """Compares the headline scores that both have, and those of the tasks of a group."""
    left_out: dict[str, str] = {}

    def compared(scores: Iterable[Score]) -> list[Pair]:
        found: list[Pair] = []
        for score in scores:
            pair = _pair(this, other, score)
            if isinstance(pair, str):
                left_out[score.task] = pair
            else:
                found.append(pair)
        return found

    units = list(this.units().values())
    inside = {
        unit.task: compared([*inner_groups(this.results, unit), *members(this.results, unit)])
        for unit in units if unit.members
    }  # fmt: skip
    shown = compared(units)
    left_out |= {name: "only in the other evaluation" for name in other.units() if name not in this.units()}
    return Pairs(shown, inside, left_out)


def members(results: Results, unit: Score) -> list[Score]:
    """The scores of a group's tasks, by its metric, in its order."""
    by_task = {score.task: score for score in _alike(results, unit)}
    return [by_task[task] for task in unit.members if task in by_task]


def inner_groups(results: Results, unit: Score) -> list[Score]:
    """The scores of the groups inside a group, by its metric."""
    return [score for score in _alike(results, unit) if score.group and set(score.members) < set(unit.members)]


def _alike(results: Results, unit: Score) -> list[Score]:
    return [score for score in results.tasks if (score.metric, score.filter) == (unit.metric, unit.filter)]


def _pair(this: Evaluated, other: Evaluated, score: Score) -> Pair | str:
    """The comparison, or why there is none."""
    same = [s for s in other.results.tasks if (s.task, s.metric, s.filter) == (score.task, score.metric, score.filter)]
    if not same:
        return "not in the other evaluation"
    for what, words in (("version", "version"), ("few_shot", "solved examples before each question")):
        mine, theirs = getattr(score, what), getattr(same[0], what)
        if mine != theirs:
            return f"not asked in the same way: {words} {mine} here, {theirs} there"
    a, b = other.values(same[0]), this.values(score)
    keys = sorted(a.keys() & b.keys())
    if not keys:
        return "no item in common"
    found = compare(
        [a[key] for key in keys], [b[key] for key in keys], level=(1 - LEVEL) / 2,
        higher_is_better=score.higher_is_better is not False,
    )  # fmt: skip
    if found.low is None:
        return f"{fmt.plural(len(keys), 'item')} in common: too few to say anything"
    return Pair(score, found, len(a.keys() ^ b.keys()))
