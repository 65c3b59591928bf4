"""Near-duplicate prompts on any engine: the search of `near`, over what users say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from headwater.data.arrow import column, compute, table, values
from headwater.data.conversations.text import from_text
from headwater.data.earlier import Earlier
from headwater.data.engine import Dataset, Engine, Needs
from headwater.data.near import near_duplicates
from headwater.data.operators import prompt_dedup
from headwater.data.operators.prompt_dedup import PromptDedupConfig
from headwater.data.rows import CONVERSATION

_PROMPTS = pa.schema([pa.field("row", pa.binary()), pa.field("text", pa.string())])


def near_duplicate_prompts(engine: Engine, alive: Dataset, config: PromptDedupConfig) -> Dataset:
    """Rows of `DECISIONS` about conversations that ask nearly the same as one that stays."""
    prompts = engine.derive(alive, Prompts())
    return near_duplicates(engine, prompts, config, Earlier(), stage="prompts", reason=prompt_dedup.REASON)


@dataclass(frozen=True)
class Prompts:
    """What users say in each conversation, as a text; other documents take no part."""

    needs: ClassVar[Needs] = Needs(("row", "text", "content_type"))
    outputs: Mapping[str, pa.Schema] = field(default_factory=lambda: {"prompts": _PROMPTS})

    def __call__(self, batch: pa.RecordBatch) -> Mapping[str, pa.Table]:
        """Reads `row`, `text` and `content_type`."""
        batch = batch.filter(compute.equal(batch.column("content_type"), CONVERSATION))
        texts = [from_text(text).prompt() for text in values(batch, "text")]
        return {"prompts": table({"row": column(batch, "row"), "text": pa.array(texts, pa.string())}, _PROMPTS)}
