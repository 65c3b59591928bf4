"""What the page shows, put together from an evaluation and, where there is one, another that it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from headwater.core.page import whisker
from headwater.eval.report.charts import Grid, grid
from headwater.eval.report.items import leaves
from headwater.eval.report.pairs import Pair, Pairs, inner_groups, members
from headwater.eval.report.read import History, Source, is_share
from headwater.eval.results import OverlapPart, Results, Sample, Score


@dataclass(frozen=True)
class Row:
    """A score as the page shows it.

    Attributes:
        score: The score.
        group: The inner group that the task belongs to.
        pair: Against the other evaluation.
    """

    score: Score
    group: str = ""
    pair: Pair | None = None

    @property
    def metric(self) -> str:
        """The metric, with the filter where there is one."""
        return self.score.metric if self.score.filter == "none" else f"{self.score.metric} ({self.score.filter})"

    @property
    def is_share(self) -> bool:
        """Whether it is a share of items."""
        return is_share(self.score)

    @property
    def verdict(self) -> str:
        """`above`, `at` or `below` chance, or `unknown`."""
        return self.drawn().verdict if self.score.interval is not None else "unknown"

    def drawn(self) -> whisker.Score:
        """For the chart."""
        score, interval = self.score, self.score.interval
        low, high = (score.value, score.value) if interval is None else (interval.low, interval.high)
        return whisker.Score(score.task, self.metric, score.value, low, high, score.items, score.chance)

    def parts(self) -> list[whisker.Score]:
        """The clean and the overlapping items, for the chart."""
        split = self.score.overlap
        both = [] if split is None else [("clean", split.clean), ("overlapping", split.overlapping)]
        return [self._part(name, part) for name, part in both if part is not None]

    def _part(self, name: str, part: OverlapPart) -> whisker.Score:
        low, high = (part.interval.low, part.interval.high) if part.interval is not None else (part.value, part.value)
        task, metric = self.score.task, f"{name} items · {self.metric}"
        return whisker.Score(task, metric, part.value, low, high, part.items, self.score.chance)


@dataclass(frozen=True)
class Group:
    """A group and its tasks, by their first metric."""

    name: str
    metric: str
    rows: list[Row]

    @property
    def inner(self) -> bool:
        """Whether some of its tasks are in groups inside it."""
        return any(row.group for row in self.rows)

    @property
    def cut(self) -> bool:
        """Whether a prompt was cut."""
        return any(row.score.truncated for row in self.rows)

    @property
    def split(self) -> bool:
        """Whether it is known which items overlap the training documents."""
        return any(row.score.overlap is not None for row in self.rows)


@dataclass(frozen=True)
class View:
    """Everything on the page.

    Attributes:
        source: What the report is about.
        histories: Scores over training steps.
        other: What it is held against.
        pairs: The comparison with that.
    """

    source: Source
    histories: list[History] = field(default_factory=list[History])
    other: Source | None = None
    pairs: Pairs | None = None

    @property
    def results(self) -> Results:
        """Of the evaluation that the report is about."""
        return self.source.results

    @cached_property
    def units(self) -> dict[str, Score]:
        """What was asked for by name, with its first metric."""
        return self.source.evaluated.units()

    @cached_property
    def headline(self) -> list[Row]:
        """The first metric of what was asked for."""
        by_task = {pair.score.task: pair for pair in self.pairs.units} if self.pairs is not None else {}
        return [Row(score, pair=by_task.get(name)) for name, score in self.units.items()]

    @cached_property
    def scores(self) -> list[Row]:
        """Every metric of what was asked for."""
        return [Row(score) for score in self.results.tasks if score.task in self.units]

    @property
    def drawable(self) -> list[Row]:
        """What the chart has room for: all shares, or the first metrics when those are many."""
        every = [row for row in self.scores if row.is_share]
        return every if len(every) <= 14 else [row for row in self.headline if row.is_share]

    @cached_property
    def groups(self) -> list[Group]:
        """The groups that were asked for, with their tasks."""
        found: list[Group] = []
        for name, unit in self.units.items():
            if not unit.members:
                continue
            pairs = {} if self.pairs is None else {p.score.task: p for p in self.pairs.members.get(name, [])}
            groups = inner_groups(self.results, unit)
            if groups:
                rows = [Row(score, pair=pairs.get(score.task)) for score in groups]
                found.append(Group(name, Row(unit).metric, rows))
            inside = {task: score.task.removeprefix(f"{name}_") for score in groups for task in score.members}
            rows = [
                Row(score, inside.get(score.task, ""), pairs.get(score.task)) for score in members(self.results, unit)
            ]
            if rows:  # its tasks may have other metrics than it has
                found.append(Group(name, Row(unit).metric, rows))
        return found

    @cached_property
    def split(self) -> list[Row]:
        """The scores of which it is known what overlapping items do to them."""
        return [row for row in self.scores if row.score.overlap is not None]

    @cached_property
    def needles(self) -> Grid | None:
        """Needles found."""
        return grid(_samples(self.source))

    @cached_property
    def other_needles(self) -> Grid | None:
        """Needles that the other model found."""
        return None if self.other is None else grid(_samples(self.other))

    @property
    def items(self) -> int:
        """Items of all tasks."""
        return sum(len(self.source.evaluated.samples(task)) for task in leaves(self.source.evaluated))

    @property
    def has_questions(self) -> bool:
        """Whether the samples hold what was asked."""
        return self.results.schema_version > 1


def _samples(source: Source) -> Iterator[Sample]:
    for task in leaves(source.evaluated):
        yield from source.evaluated.samples(task).values()
