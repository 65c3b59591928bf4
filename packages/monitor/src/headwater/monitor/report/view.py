"""What the report shows, as plain values: the reader fills them, the charts and the template read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FunnelRow:
    """One operator over one source. ``reasons`` counts the rejected documents by reason."""

    operator: str
    source: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int
    reasons: Mapping[str, int]

    @property
    def removed(self) -> int:
        return self.documents_in - self.documents_out


@dataclass(frozen=True)
class Step:
    """One operator over all sources, for the chart: what is left of each source after it."""

    operator: str
    documents_in: int
    left: Mapping[str, int]
    reasons: Mapping[str, int]

    @property
    def documents_out(self) -> int:
        return sum(self.left.values())

    @property
    def removed(self) -> int:
        return self.documents_in - self.documents_out


@dataclass(frozen=True)
class Funnel:
    """The rows in the order in which the operators ran."""

    rows: Sequence[FunnelRow]

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(row.source for row in self.rows))

    @property
    def documents_in(self) -> int:
        return sum(self._first(source) for source in self.sources)

    @property
    def steps(self) -> list[Step]:
        """Operators in order; a source that an operator did not touch keeps its last count."""
        left = {source: self._first(source) for source in self.sources}
        steps: list[Step] = []
        for operator in dict.fromkeys(row.operator for row in self.rows):
            before, reasons = sum(left.values()), dict[str, int]()
            for row in self.rows:
                if row.operator == operator:
                    left[row.source] = row.documents_out
                    for reason, number in row.reasons.items():
                        reasons[reason] = reasons.get(reason, 0) + number
            steps.append(Step(operator, before, dict(left), reasons))
        return steps

    @property
    def documents_out(self) -> int:
        steps = self.steps
        return steps[-1].documents_out if steps else 0

    @property
    def bytes_in(self) -> int:
        seen: dict[str, int] = {}
        for row in self.rows:
            seen.setdefault(row.source, row.bytes_in)
        return sum(seen.values())

    @property
    def bytes_out(self) -> int:
        return sum({row.source: row.bytes_out for row in self.rows}.values())

    def _first(self, source: str) -> int:
        return next((row.documents_in for row in self.rows if row.source == source), 0)


@dataclass(frozen=True)
class MixtureRow:
    """One source of the mixture. Shares are 0–1; ``epochs`` is how often its tokens were seen."""

    source: str
    weight: float
    drawn: float | None
    samples: int | None
    tokens_seen: int | None
    tokens_available: int
    epochs: float | None


@dataclass(frozen=True)
class Curve:
    """One line of a chart; ``x`` is the training step."""

    name: str
    x: Sequence[float]
    y: Sequence[float]

    def __bool__(self) -> bool:
        return len(self.x) > 0


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl; ``detail`` is what the tooltip says."""

    kind: str
    step: int
    detail: str = ""


@dataclass(frozen=True)
class Training:
    """The curves of a training run. Losses in nats per token, throughput in tokens per second."""

    steps: int
    samples: int | None
    tokens_seen: int | None
    finished: bool
    loss: Curve
    validation: Curve
    validation_bits: Curve
    grad_norm: Curve
    learning_rate: Curve
    throughput: Curve
    step_seconds: Curve
    events: Sequence[Event]
    model: str = ""

    @property
    def resumes(self) -> int:
        return sum(event.kind == "resume" for event in self.events)

    @property
    def nonfinite(self) -> int:
        return sum(event.kind == "nonfinite" for event in self.events)


@dataclass(frozen=True)
class Score:
    """One metric of one task with its confidence interval; ``chance`` is the score of guessing."""

    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    chance: float | None

    @property
    def verdict(self) -> str:
        """Where the interval stands against guessing: ``above``, ``below``, ``at`` chance, or ``unknown``."""
        if self.chance is None:
            return "unknown"
        if self.low > self.chance:
            return "above"
        return "below" if self.high < self.chance else "at"


@dataclass(frozen=True)
class Evaluation:
    """Scores, and bits per byte of held-out text under the model and under a unigram model of the same tokens."""

    scores: Sequence[Score]
    bits_per_byte: float | None = None
    unigram_bits_per_byte: float | None = None
    by_source: Mapping[str, float] = field(default_factory=dict[str, float])
    checkpoint_step: int | None = None
    notes: Sequence[str] = ()

    @property
    def all_at_chance(self) -> bool:
        judged = [score for score in self.scores if score.verdict != "unknown"]
        return bool(judged) and all(score.verdict in ("at", "below") for score in judged)


@dataclass(frozen=True)
class Node:
    """One artifact of the lineage. ``fact`` is the one figure worth reading on the graph."""

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
    """One stage command and whether its artifact is in the run folder."""

    stage: str
    text: str
    present: bool


@dataclass(frozen=True)
class RunView:
    """Everything the page shows; a stage that has not run is ``None``."""

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
