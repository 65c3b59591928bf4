"""Near-duplicates among prompts: conversations that ask the same again, whatever was answered."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from headwater.data.operators.minhash_dedup import MinhashDedupConfig

NAME = "prompt_dedup"
REASON = "near_duplicate_prompt"


class PromptDedupConfig(MinhashDedupConfig):
    """Options of `prompt_dedup`: those of `minhash_dedup`, over what users say in all turns together.

    Attributes:
        min_jaccard: Least true similarity for a removal. Many prompts share an instruction and differ in a short input.
    """

    name: ClassVar[str] = NAME
    min_jaccard: float = Field(default=0.9, gt=0, le=1)
