"""What the report shows, as plain values: the reader fills them, the charts and the template read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.core.page.line import Curve, Event
from headwater.core.page.whisker import Score


@dataclass(frozen=True)
class FunnelRow:
    """One operator over one source. `reasons` counts the rejected documents by reason, `changed` the changed ones."""

    operator: str
    source: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int
    reasons: Mapping[str, int]
    changed: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def removed(self) -> int:
        """Documents that the operator rejected."""
        return self.documents_in - self.documents_out


@dataclass(frozen=True)
class Step:
    """One operator over all sources, for the chart: what is left of each source after it."""

    operator: str
    documents_in: int
    left: Mapping[str, int]
    reasons: Mapping[str, int]
    changed: int = 0

    @property
    def documents_out(self) -> int:
        """Documents left, all sources together."""
        return sum(self.left.values())

    @property
    def removed(self) -> int:
        """Documents that the operator rejected, all sources together."""
        return self.documents_in - self.documents_out


@dataclass(frozen=True)
class Funnel:
    """The rows of each source in the order in which its operators ran; sources may have different operators."""

    rows: Sequence[FunnelRow]

    @property
    def sources(self) -> list[str]:
        """Sources in the order of their first row."""
        return list(dict.fromkeys(row.source for row in self.rows))

    @property
    def collected(self) -> dict[str, int]:
        """Documents collected, by source."""
        first = {row.source: row.documents_in for row in reversed(self.rows)}
        return {source: first[source] for source in self.sources}

    @property
    def documents_in(self) -> int:
        """Documents collected."""
        return sum(self.collected.values())

    @property
    def operators(self) -> list[str]:
        """All operators in one order that agrees with the order in every source."""
        lists = [[row.operator for row in self.rows if row.source == source] for source in self.sources]
        merged: list[str] = []
        while heads := [names[0] for names in lists if names]:
            # An operator that waits in the tail of another source comes after what stands before it there.
            ready = [head for head in heads if not any(head in names[1:] for names in lists)]
            merged.append((ready or heads)[0])
            lists = [[name for name in names if name != merged[-1]] for names in lists]
        return merged

    @property
    def steps(self) -> list[Step]:
        """Operators in order; a source that an operator did not touch keeps its last count."""
        left = self.collected
        steps: list[Step] = []
        for operator in self.operators:
            before, reasons, changed = sum(left.values()), dict[str, int](), 0
            for row in self.rows:
                if row.operator == operator:
                    left[row.source] = row.documents_out
                    changed += sum(row.changed.values())
                    for reason, number in row.reasons.items():
                        reasons[reason] = reasons.get(reason, 0) + number
            steps.append(Step(operator, before, dict(left), reasons, changed))
        return steps

    @property
    def documents_out(self) -> int:
        """Documents kept."""
        steps = self.steps
        return steps[-1].documents_out if steps else 0

    @property
    def bytes_in(self) -> int:
        """Bytes collected."""
        return sum({row.source: row.bytes_in for row in reversed(self.rows)}.values())

    @property
    def bytes_out(self) -> int:
        """Bytes of text kept."""
        return sum({row.source: row.bytes_out for row in self.rows}.values())


@dataclass(frozen=True)
class MixtureRow:
    """One source of the mixture. Shares are 0–1; `epochs` is how often its tokens were seen."""

    source: str
    weight: float
    drawn: float | None
    samples: int | None
    tokens_seen: int | None
    tokens_available: int
    epochs: float | None


@dataclass(frozen=True)
class StageRow:
    """One stage of a staged mixture: its first and last step, how much of it is done (0–1), and its weights."""

    name: str
    first_step: int
    last_step: int
    done: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """The curves of a training run. Losses in nats a token, throughput in tokens a second.

    `state` is `finished`, `stopped` or `in progress`.
    """

    steps: int
    samples: int | None
    tokens_seen: int | None
    state: str
    loss: Curve
    validation: Curve
    validation_bits: Curve
    grad_norm: Curve
    learning_rate: Curve
    throughput: Curve
    step_seconds: Curve
    events: Sequence[Event]
    model: str = ""
    unigram_bits: float | None = None

    @property
    def resumes(self) -> int:
        """How often the run was resumed."""
        return sum(event.kind == "resume" for event in self.events)

    @property
    def nonfinite(self) -> int:
        """Steps whose loss or gradient was not finite."""
        return sum(event.kind == "nonfinite" for event in self.events)


@dataclass(frozen=True)
class Bits:
    """Bits per UTF-8 byte of held-out text, under the model and under a unigram model of the same tokens."""

    source: str
    model: float
    unigram: float | None
    documents: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class History:
    """One score over training steps: its task and metric, the scores of the steps evaluated, and guessing."""

    task: str
    metric: str
    curve: Curve
    share: bool
    chance: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores and bits per byte. `refused` says why a task was not run; `notes` must not be missed."""

    scores: Sequence[Score]
    total: Bits | None = None
    by_source: Sequence[Bits] = ()
    checkpoint_step: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()

    @property
    def top(self) -> list[Score]:
        """The scores that are no part of a group: of MMLU the group, not its 57 subjects."""
        groups = [score.task + "_" for score in self.scores if score.group]
        return [score for score in self.scores if not score.task.startswith(tuple(groups))]

    @property
    def headline(self) -> list[Score]:
        """The first metric of each group, and of each task that is in none."""
        return list({score.task: score for score in reversed(self.top)}.values())[::-1]

    @property
    def all_at_chance(self) -> bool:
        """Whether no score can be told from guessing."""
        judged = [score for score in self.scores if score.verdict != "unknown"]
        return bool(judged) and all(score.verdict in ("at", "below") for score in judged)


@dataclass(frozen=True)
class Node:
    """One artifact of the lineage. `fact` is the one figure worth reading on the graph."""

    id: str
    kind: str
    name: str
    digest: str
    producer: str
    files: int
    bytes: int
    fact: str
    parents: Sequence[str]


@dataclass(frozen=True)
class Command:
    """A stage of the line, its command's words and full text, and whether its artifact is in the run folder."""

    stage: str
    words: str
    text: str
    present: bool


@dataclass(frozen=True)
class RunView:
    """Everything the page shows; a stage that has not run is `None`."""

    name: str
    seed: int
    run: str
    recipe_text: str
    funnel: Funnel | None
    mixture: Sequence[MixtureRow] | None
    tokens: Mapping[str, int]
    tokens_validation: Mapping[str, int]
    training: Training | None
    evaluation: Evaluation | None
    lineage: Sequence[Node]
    commands: Sequence[Command]
    problems: Sequence[str] = ()
    stages: Sequence[StageRow] = ()
    history: Sequence[History] = ()

    @property
    def held_out(self) -> Bits | None:
        """Bits per byte of held-out text: from the evaluation, else from the last validation of the training."""
        if self.evaluation and self.evaluation.total:
            return self.evaluation.total
        if self.training and self.training.validation_bits:
            return Bits("validation", self.training.validation_bits.y[-1], self.training.unigram_bits)
        return None

    @property
    def colours(self) -> dict[str, str]:
        """Source → colour class. One source has one colour in every chart."""
        return colours({*(self.funnel.sources if self.funnel else ()), *(row.source for row in self.mixture or ())})


def colours(sources: Iterable[str]) -> dict[str, str]:
    """Source → colour class."""
    return {name: f"s{index % 6 + 1}" for index, name in enumerate(sorted(sources))}
