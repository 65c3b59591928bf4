"""The recipe sections `documents`, `tokenizer` and `tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator

from headwater.core.config import NotValid, Section, Whole, nearest
from headwater.core.manifest import read_manifest
from headwater.data.engines.beam.options import BeamConfig
from headwater.data.engines.spark.options import SparkConfig
from headwater.data.held_out import HeldOut
from headwater.data.operators.base import Operator, OperatorConfig
from headwater.data.operators.c4 import C4, C4Config
from headwater.data.operators.character_ratios import CharacterRatios, CharacterRatiosConfig
from headwater.data.operators.conversation import Conversation, ConversationConfig
from headwater.data.operators.decontaminate import DecontaminateConfig
from headwater.data.operators.educational_value import EducationalValue, EducationalValueConfig
from headwater.data.operators.exact_dedup import ExactDedupConfig, UrlDedupConfig
from headwater.data.operators.extract import Extract, ExtractConfig
from headwater.data.operators.fineweb import Fineweb, FinewebConfig
from headwater.data.operators.gopher_quality import GopherQuality, GopherQualityConfig
from headwater.data.operators.gopher_repetition import GopherRepetition, GopherRepetitionConfig
from headwater.data.operators.host_boilerplate import HostBoilerplateConfig
from headwater.data.operators.language import Language, LanguageConfig
from headwater.data.operators.length import Length, LengthConfig
from headwater.data.operators.line_dedup import LineDedupConfig
from headwater.data.operators.minhash_dedup import MinhashDedupConfig
from headwater.data.operators.perplexity import Perplexity, PerplexityConfig
from headwater.data.operators.pii import Pii, PiiConfig
from headwater.data.operators.prompt_dedup import PromptDedupConfig
from headwater.data.operators.quality_classifier import QualityClassifier, QualityClassifierConfig
from headwater.data.operators.refusal import Refusal, RefusalConfig
from headwater.data.operators.simhash_dedup import SimhashDedupConfig
from headwater.data.operators.source_code import SourceCode, SourceCodeConfig
from headwater.data.operators.substring_dedup import SubstringDedupConfig
from headwater.data.operators.task_balance import TaskBalanceConfig
from headwater.data.operators.task_type import TaskType, TaskTypeConfig
from headwater.data.operators.toxicity import Toxicity, ToxicityConfig
from headwater.data.operators.turn_language import TurnLanguage, TurnLanguageConfig
from headwater.data.operators.turn_length import TurnLength, TurnLengthConfig
from headwater.data.tokens.config import TokenizerConfig, TokensConfig

__all__ = ["OPERATORS", "DocumentsConfig", "EngineConfig", "Step", "TokenizerConfig", "TokensConfig"]

OPERATORS: Mapping[str, type[Operator]] = {
    operator.name: operator
    for operator in (
        Extract, Language, Length, CharacterRatios, GopherQuality, GopherRepetition, C4, Fineweb, Pii,
        QualityClassifier, EducationalValue, Perplexity, Toxicity, SourceCode, Conversation, TurnLength, TurnLanguage,
        Refusal, TaskType,
    )
}  # fmt: skip
"""Operators that a recipe can list, by name. A new operator is added here and as a field of `Step`."""

FIRST = (Extract.name, Conversation.name)
"""Operators that a source can begin with: they make the text."""
FOR_CONVERSATIONS = frozenset({TurnLength.name, TurnLanguage.name, Refusal.name, TaskType.name})
NOT_FOR_CONVERSATIONS = frozenset({C4.name, SourceCode.name})
"""Operators that cut lines, or look at what conversations have not."""


class Step(Section):
    """One operator of a source's list, with its options: `- gopher_quality: {min_words: 20}` or just `- pii`."""

    extract: ExtractConfig | None = None
    language: LanguageConfig | None = None
    length: LengthConfig | None = None
    character_ratios: CharacterRatiosConfig | None = None
    gopher_quality: GopherQualityConfig | None = None
    gopher_repetition: GopherRepetitionConfig | None = None
    c4: C4Config | None = None
    fineweb: FinewebConfig | None = None
    pii: PiiConfig | None = None
    quality_classifier: QualityClassifierConfig | None = None
    educational_value: EducationalValueConfig | None = None
    perplexity: PerplexityConfig | None = None
    toxicity: ToxicityConfig | None = None
    source_code: SourceCodeConfig | None = None
    conversation: ConversationConfig | None = None
    turn_length: TurnLengthConfig | None = None
    turn_language: TurnLanguageConfig | None = None
    refusal: RefusalConfig | None = None
    task_type: TaskTypeConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, Mapping):
            return {
                name: {} if options is None and name in cls.model_fields else options for name, options in value.items()
            }
        return value

    @model_validator(mode="after")
    def _one(self) -> Step:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a list item names exactly one operator of: {', '.join(OPERATORS)}")
        return self

    @property
    def name(self) -> str:
        """The operator's name."""
        return next(iter(self.model_fields_set))

    def build(self) -> Operator:
        """The operator with its options."""
        options: OperatorConfig = getattr(self, self.name)
        return OPERATORS[self.name](options)

    @model_serializer(mode="plain")
    def resolved(self) -> dict[str, Any]:
        """The step as it would be written in a recipe, with all options."""
        return {self.name: getattr(self, self.name).model_dump(mode="json")}

    def content(self) -> dict[str, Any]:
        """The step as artifacts record it: with the content of the files that it names, not their place."""
        return {self.name: getattr(self, self.name).content()}


class EngineConfig(Section):
    """How the work is spread. Nothing here changes a byte of what comes out.

    Attributes:
        name: Where the work is done: on this machine, on Spark, or on Beam.
        workers: Processes; 0 means one a core.
        partition_bytes: Compressed WARC bytes in one unit of work, about.
        spark: Options of the Spark engine.
        beam: Options of the Beam engine.
    """

    name: Literal["local", "spark", "beam"] = "local"
    workers: int = Field(default=0, ge=0, le=512)
    partition_bytes: Whole = Field(default=2_000_000, ge=1_000)
    spark: SparkConfig = SparkConfig()
    beam: BeamConfig = BeamConfig()


Share = Annotated[float, Field(ge=0, le=1)]


class DocumentsConfig(Section):
    """The `documents` section: from WARC records to kept and rejected documents.

    Attributes:
        sources: For each source, the operators its documents go through, in order; first comes `extract`, or
            `conversation` for instruction data.
        url_dedup: Options; null (the default) switches it off.
        exact_dedup: Options; null switches it off.
        host_boilerplate: Options; null (the default) switches it off.
        line_dedup: Options; null (the default) switches it off.
        substring_dedup: Options; null (the default) switches it off.
        minhash_dedup: Options; null switches it off.
        simhash_dedup: Options; null (the default) switches it off. Only one of it and `minhash_dedup` can be on.
        prompt_dedup: Options; null (the default) switches it off. Conversations only.
        task_balance: Options; null (the default) switches it off. Conversations that `task_type` has labelled only.
        earlier: Indexes (`headwater data index`) of earlier documents, by name: what they have counts as a duplicate.
        max_duplicate_ratio: Share of a source's documents that duplicates may take before an alarm is raised; a mapping
            names sources, and those not named may lose half.
        on_duplicate_alarm: Whether an alarm is a warning (and in funnel.json) or stops the stage.
        decontaminate: Options; null switches it off (and the evaluation items are not needed).
        priority: Sources from which a duplicate is kept first; those not named follow in alphabetical order.
        validation_ratio: Share of the documents held out, by the hash of their id.
        validation_urls: Patterns of URLs (`*`, `?`) whose documents are held out besides, such as a corpus's own tests.
        rows_per_file: Documents in one parquet file.
        allow_empty_sources: Whether a source may end without any document.
        engine: How the work is spread.
    """

    sources: dict[str, tuple[Step, ...]] = Field(min_length=1)
    url_dedup: UrlDedupConfig | None = None
    exact_dedup: ExactDedupConfig | None = ExactDedupConfig()
    host_boilerplate: HostBoilerplateConfig | None = None
    line_dedup: LineDedupConfig | None = None
    substring_dedup: SubstringDedupConfig | None = None
    minhash_dedup: MinhashDedupConfig | None = MinhashDedupConfig()
    simhash_dedup: SimhashDedupConfig | None = None
    prompt_dedup: PromptDedupConfig | None = None
    task_balance: TaskBalanceConfig | None = None
    earlier: dict[str, Path] = Field(default={}, max_length=1_000)
    max_duplicate_ratio: Share | dict[str, Share] = 0.5
    on_duplicate_alarm: Literal["warn", "stop"] = "warn"
    decontaminate: DecontaminateConfig | None = DecontaminateConfig()
    priority: tuple[str, ...] = ()
    validation_ratio: float = Field(default=0.02, ge=0, lt=1)
    validation_urls: tuple[str, ...] = Field(default=(), max_length=1_000)
    rows_per_file: Whole = Field(default=5_000, ge=1)
    allow_empty_sources: bool = False
    engine: EngineConfig = EngineConfig()

    @field_validator("sources")
    @classmethod
    def _text_first(cls, sources: dict[str, tuple[Step, ...]]) -> dict[str, tuple[Step, ...]]:
        for source, steps in sources.items():
            names = [step.name for step in steps]
            if not names or names[0] not in FIRST or sum(map(names.count, FIRST)) != 1:
                raise ValueError(
                    f"the operators of {source} begin with {' or '.join(FIRST)}, and have one of them once"
                )
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{source} has the operator {twice} twice: what it does is counted by its name")
            wrong = NOT_FOR_CONVERSATIONS if names[0] == Conversation.name else FOR_CONVERSATIONS
            for name in names:
                if name in wrong:
                    raise ValueError(f"{name} is not for sources that begin with {names[0]}, as {source} does")
        return sources

    @model_validator(mode="after")
    def _known_sources(self) -> DocumentsConfig:
        unknown = [source for source in self.priority if source not in self.sources]
        if unknown:
            near = nearest(unknown[0], self.sources)
            raise NotValid(
                f"priority names {unknown[0]}, which is no source of documents ({', '.join(self.sources)})",
                f"did you mean {near}?" if near else None,
            )
        return self

    @model_validator(mode="after")
    def _one_search(self) -> DocumentsConfig:
        if self.minhash_dedup and self.simhash_dedup:
            raise NotValid(
                "minhash_dedup and simhash_dedup are both on, and both look for near-duplicates",
                "set documents.minhash_dedup=null to use simhash_dedup",
            )
        return self

    @model_validator(mode="after")
    def _labelled(self) -> DocumentsConfig:
        labelled = any(step.name == TaskType.name for steps in self.sources.values() for step in steps)
        if self.task_balance and not labelled:
            raise NotValid(
                "task_balance needs the operator task_type in a source", "add `- task_type` to its operators"
            )
        return self

    @property
    def held_out(self) -> HeldOut:
        """Which documents are held out."""
        return HeldOut(self.validation_ratio, self.validation_urls)

    @property
    def near_dedup(self) -> MinhashDedupConfig | SimhashDedupConfig | None:
        """The step that looks for near-duplicates."""
        return self.minhash_dedup or self.simhash_dedup

    def expected_duplicates(self) -> dict[str, float]:
        """Each source's largest share of duplicates."""
        given = self.max_duplicate_ratio
        return {s: given.get(s, 0.5) if isinstance(given, Mapping) else given for s in self.sources}

    def ranks(self) -> dict[str, int]:
        """Each source's rank among duplicates; the smallest is kept."""
        order = [*self.priority, *sorted(set(self.sources) - set(self.priority))]
        # The indexes of earlier documents come before all sources.
        return {source: rank for rank, source in enumerate(order, start=len(self.earlier))}

    def content(self) -> dict[str, Any]:
        """Everything that decides the content, as JSON values."""
        plain = self.model_dump(mode="json", exclude={"engine", "sources", "earlier"})
        plain["sources"] = {name: [step.content() for step in steps] for name, steps in self.sources.items()}
        if self.earlier:  # what is in them, not where they lie
            plain["earlier"] = {name: read_manifest(folder).digest for name, folder in sorted(self.earlier.items())}
        return plain
