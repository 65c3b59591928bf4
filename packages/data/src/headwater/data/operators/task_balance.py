"""How many conversations of each type of task may stay: shares and numbers to exact caps."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import Field, model_validator

from headwater.core.config import Whole
from headwater.core.errors import DataError
from headwater.data.operators.base import OperatorConfig

NAME = "task_balance"
REASON = "over_share"

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[Whole, Field(ge=0)]


class TaskBalanceConfig(OperatorConfig):
    """Options of `task_balance`, which caps the types that `task_type` has found. At least one is given.

    Attributes:
        max_share: Of a type in all conversations that stay; a mapping names types, a number is for each.
        max_documents: Of a type, likewise.
    """

    max_share: Share | dict[str, Share] | None = None
    max_documents: Count | dict[str, Count] | None = None

    @model_validator(mode="after")
    def _given(self) -> TaskBalanceConfig:
        if self.max_share is None and self.max_documents is None:
            raise ValueError("task_balance needs max_share or max_documents, such as {max_share: {code: 0.3}}")
        return self


def caps(counts: Mapping[str, int], config: TaskBalanceConfig) -> dict[str, int]:
    """How many conversations of each type stay: as many as can, with no share above its limit.

    Shares are of what stays, so a cap on one type lowers those on others. From the full counts downwards there is one
    largest solution, and this finds it: exactly, because shares are fractions here.

    Args:
        counts: Type → conversations.
        config: The limits.

    Raises:
        DataError: The shares of the types that there are leave nothing.
    """
    most = {task: int(min(count, _limit(config.max_documents, task, count))) for task, count in counts.items()}
    shares = {task: Fraction(str(_limit(config.max_share, task, 1))) for task in counts}
    kept = most
    while True:
        total = sum(kept.values())
        lower = {task: min(count, int(shares[task] * total)) for task, count in kept.items()}
        if lower == kept:
            break
        kept = lower
    if sum(most.values()) and not sum(kept.values()):
        allowed = ", ".join(f"{task} {float(share):g}" for task, share in sorted(shares.items()))
        raise DataError(
            "the shares of documents.task_balance leave no conversation", found=f"at most {allowed}",
            expected="shares of the types found that add up to 1 or more, and enough conversations to meet them",
            hint="raise max_share, or name only the types that are too many",
        )  # fmt: skip
    return kept


def _limit(given: float | Mapping[str, float] | None, task: str, default: int) -> float:
    return default if given is None else given.get(task, default) if isinstance(given, Mapping) else given
