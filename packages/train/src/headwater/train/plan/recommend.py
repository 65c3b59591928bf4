"""Learning rates and batch sizes that published trainings used, by method and number of parameters."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from headwater.train.plan.job import Method

KIND: dict[Method, str] = {"pretrain": "pretrain", "sft": "sft", "lora": "adapters", "qlora": "adapters"}
"""Method → what `facts/hyperparameters.csv` calls it."""


@dataclass(frozen=True)
class Hyperparameters:
    """What a published training used.

    Attributes:
        method: "pretrain", "sft" or "adapters".
        model: Its name.
        parameters: How many, active ones of a mixture of experts.
        learning_rate: Peak.
        batch_tokens: Tokens in a step, with samples of the greatest length; none when they were not read.
        source: Where it was read.
    """

    method: str
    model: str
    parameters: float
    learning_rate: float
    batch_tokens: float | None
    source: str


@cache
def published_hyperparameters() -> tuple[Hyperparameters, ...]:
    """The rows of `facts/hyperparameters.csv`."""
    text = (files("headwater.train.plan") / "facts" / "hyperparameters.csv").read_text(encoding="utf-8")
    return tuple(
        Hyperparameters(row["method"], row["model"], float(row["parameters"]), float(row["learning_rate"]),
                        float(row["batch_tokens"]) if row["batch_tokens"] else None, row["source"])
        for row in csv.DictReader(text.splitlines())
    )  # fmt: skip


def nearest_runs(parameters: float, count: int = 3, *, method: Method = "pretrain") -> list[Hyperparameters]:
    """The published trainings of a method whose number of parameters is nearest, by its logarithm."""
    rows = [row for row in published_hyperparameters() if row.method == KIND[method]]
    return sorted(rows, key=lambda row: abs(math.log(row.parameters / parameters)))[:count]


def batch_tokens_for(parameters: float, method: Method = "pretrain") -> float:
    """Tokens in a step: of the nearest published trainings that tell, interpolated in the logarithm of the size.

    Below the smallest of them it shrinks with the square root of the size, to 32,768 at least. Adapters are given the
    batch of SFT: published ones are of one GPU, and of a few samples.
    """
    kind = "pretrain" if method == "pretrain" else "sft"
    rows = sorted(
        (row for row in published_hyperparameters() if row.method == kind and row.batch_tokens),
        key=lambda row: row.parameters,
    )
    smallest = rows[0]
    if parameters < smallest.parameters:
        return max(32_768.0, (smallest.batch_tokens or 0) * math.sqrt(parameters / smallest.parameters))
    near = sorted(rows, key=lambda row: abs(math.log(row.parameters / parameters)))[:2]
    return math.sqrt(math.prod(row.batch_tokens or 1.0 for row in near))
