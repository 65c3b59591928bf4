"""What an evaluation found: the schema of `results.json` and of `samples/<task>.jsonl`.

Everything here is a function of the checkpoint, the tasks and the settings; timings live in `timing.json`.
"""

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, FiniteFloat, field_validator

SCHEMA_VERSION = 2
"""1: samples without the question and the choices. Such results can still be read; the stage makes them again."""
LEVEL = 0.95


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfidenceInterval(_Record):
    """Ends of the interval, its level, and the method: `wilson` for proportions, else `normal`."""

    low: float
    high: float
    level: float = LEVEL
    method: str


class OverlapPart(_Record):
    """A score on a part of the items: its value, how many they are, and the 95% interval."""

    value: float
    items: int
    interval: ConfidenceInterval | None


class OverlapSplit(_Record):
    """A score on the items that no training document holds, and on those that one holds; none for a part without items.

    See `headwater.eval.overlap`.
    """

    clean: OverlapPart | None
    overlapping: OverlapPart | None


class Score(_Record):
    """One metric of one task or group.

    Attributes:
        task: lm-eval's name of the task or group.
        group: Whether it is a group, whose value is aggregated over its tasks.
        metric: lm-eval's name of the metric.
        filter: lm-eval's name of the answer filter, `none` when the task has none.
        value: The score.
        stderr: Standard error of the mean over items; none for a single item or an aggregate that has none.
        items: Number of items scored.
        interval: 95% confidence interval.
        chance: The score that guessing gives, where that is known.
        indistinguishable_from_chance: Whether the interval includes chance; none where chance is not known.
        higher_is_better: Direction of the metric.
        few_shot: Solved examples before each question.
        version: The task's version.
        truncated: Items of which a prompt was cut to fit the model.
        cut_short: Generated answers that ended at the length limit.
        members: The tasks of a group.
        overlap: The score on clean and on overlapping items; none when it is not known which they are.
    """

    task: str
    group: bool = False
    metric: str
    filter: str
    value: float
    stderr: float | None
    items: int
    interval: ConfidenceInterval | None
    chance: float | None
    indistinguishable_from_chance: bool | None
    higher_is_better: bool | None
    few_shot: int
    version: str
    truncated: int
    cut_short: int = 0
    members: tuple[str, ...] = ()
    overlap: OverlapSplit | None = None


class Refused(_Record):
    """A task that was asked for and not run, and why."""

    task: str
    reason: str


class Bits(_Record):
    """Bits per UTF-8 byte on held-out documents of one source.

    Attributes:
        model: Of the checkpoint.
        unigram: Of a unigram model of the source's training tokens, add-one smoothed.
        documents: Held-out documents read.
        tokens: Their tokens, without end-of-text.
        bytes: Their UTF-8 bytes.
    """

    model: float
    unigram: float
    documents: int
    tokens: int
    bytes: int


class HeldOutBits(Bits):
    """The same over all sources together, and for each of them.

    Attributes:
        sources: Source → its own figures.
    """

    sources: dict[str, Bits]


class EvaluatedCheckpoint(_Record):
    """Which weights were measured. A Hugging Face folder has neither step nor manifest."""

    weights_digest: str
    tokenizer_digest: str | None = None
    manifest_digest: str | None = None
    step: int | None = None
    samples: int | None = None
    validation_loss: float | None = None
    validation_bits_per_byte: float | None = None
    parameters: int
    max_length: int


class Results(_Record):
    """`results.json`.

    Attributes:
        checkpoint: What was measured.
        tasks: Every metric of every task and group, groups first.
        refused: What was asked for and not run.
        bits_per_byte: On held-out text; none when it was not asked for or there is no such text.
        notes: Sentences that a reader of the scores must not miss.
        settings: What decided the results.
        software: Versions of the libraries that computed them.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    checkpoint: EvaluatedCheckpoint
    tasks: list[Score]
    refused: list[Refused]
    bits_per_byte: HeldOutBits | None
    notes: list[str]
    settings: dict[str, Any]
    software: dict[str, str]

    @property
    def asked(self) -> list[str]:
        """The tasks and groups that were asked for, by name."""
        return self.settings["eval"]["tasks"]

    @field_validator("settings")
    @classmethod
    def _say_what_was_asked(cls, settings: dict[str, Any]) -> dict[str, Any]:
        section: Any = settings.get("eval")
        asked: Any = cast("dict[str, Any]", section).get("tasks") if isinstance(section, dict) else None
        if not isinstance(asked, list) or not all(isinstance(name, str) for name in cast("list[Any]", asked)):
            raise ValueError("eval.tasks has to name what was asked for")
        return settings


class Sample(_Record):
    """One line of `samples/<task>.jsonl`: an item, what was answered and whether it was right.

    Attributes:
        index: The item's index in the task.
        target: The right answer: a choice's index, or text.
        prediction: The answer taken from the model: a choice's index, or text, after the first filter.
        correct: The first metric's value for this item.
        logprobs: Per choice, its log-probability; none for generated answers.
        greedy: Per choice, whether greedy decoding gives it.
        response: The text generated, before filters; none for multiple choice.
        filters: Filter → prediction and metrics.
        truncated: Whether the prompt was cut to fit the model.
        cut_short: Whether the answer ended at the length limit.
        prompt_sha256: Of the first prompt, as the model saw it before any cut.
        document_sha256: Of the item itself.
        question: What was asked, without the examples before it; long ones are cut in the middle, with a mark. Empty
            in results of schema version 1.
        choices: The answers to choose from; none for generated answers.
        overlap: Whether a training document holds the item; none when that is not known.
        cell: Where an item of a grid stands: `length` in tokens and `depth`, 0 to 1, of a needle in a haystack.
    """

    index: int
    target: Any
    prediction: Any
    correct: float | None
    logprobs: list[float] | None
    greedy: list[bool] | None
    response: str | None
    filters: dict[str, dict[str, Any]]
    truncated: bool
    cut_short: bool
    prompt_sha256: str
    document_sha256: str
    question: str = ""
    choices: list[str] | None = None
    overlap: bool | None = None
    cell: dict[str, FiniteFloat] | None = None

    @field_validator("filters")
    @classmethod
    def _metrics_have_names(cls, filters: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not all(isinstance(each.get("metrics", {}), dict) for each in filters.values()):
            raise ValueError("metrics of a filter are values by name")
        return filters


class TaskOutcome(_Record):
    """A finished task, as it is kept while the other tasks still run.

    Attributes:
        task: lm-eval's name.
        scores: Its metrics.
        values: `metric,filter` → the items' values, for groups.
        raw: lm-eval's own row of results, for groups.
    """

    task: str
    scores: list[Score]
    values: dict[str, list[float]]
    raw: dict[str, Any]
